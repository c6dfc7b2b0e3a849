"""Hierarchical deterministic keys (BIP-32) on secp256k1: only what wallets need of it.

Private keys go down the hardened part of a path, in memory, once; from an account's extended
public key on everything is public arithmetic. The curve is libsecp256k1's (`coincurve`), base58
the chains room's. Paths and index numbers are BIP-32's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

import msgspec

from core.chains.base58 import decode_check, encode_check
from core.chains.protocol import AddressError
from core.model import BursarError
from core.wallets.secrets import SecretBytes

if TYPE_CHECKING:
    from coincurve import PrivateKey, PublicKey

HARDENED: Final = 0x80000000
_XPUB_VERSION: Final = bytes.fromhex("0488b21e")
_XPUB_BYTES: Final = 78
_STEP: Final = re.compile(r"(0|[1-9][0-9]{0,9})(['hH]?)")


class DerivationError(BursarError):
    """A path, an extended key or an index from which no address can be derived."""


class ExtendedPublicKey(msgspec.Struct, frozen=True):
    """A compressed public key (33 bytes) with its chain code, and where it stands in its tree."""

    key: bytes
    chain_code: bytes
    depth: int
    parent_fingerprint: bytes
    child_number: int

    @property
    def identifier(self) -> bytes:
        """RIPEMD-160 of SHA-256 of the key: 20 bytes, of which the first 4 are the fingerprint."""
        return hash160(self.key)

    def child(self, index: int) -> ExtendedPublicKey:
        """The child at a non-hardened index. Raises DerivationError."""
        if not 0 <= index < HARDENED:
            raise DerivationError(f"Index {index} cannot be derived from a public key.")
        point, chain_code = Parent(self).child(index)
        return ExtendedPublicKey(
            point.format(), chain_code, self.depth + 1, self.identifier[:4], index
        )

    def text(self) -> str:
        """The serialisation that begins with xpub."""
        return encode_check(
            _XPUB_VERSION
            + bytes([self.depth])
            + self.parent_fingerprint
            + self.child_number.to_bytes(4)
            + self.chain_code
            + self.key
        )

    @classmethod
    def parse(cls, text: str) -> ExtendedPublicKey:
        """Read the serialisation. Raises DerivationError for anything that is no extended public
        key of Bitcoin's main network (the form every wallet uses, whatever the chain)."""
        try:
            raw = decode_check(text)
        except AddressError as error:
            raise DerivationError("An extended public key has a wrong letter or checksum.") from (
                error
            )
        if len(raw) != _XPUB_BYTES or raw[:4] != _XPUB_VERSION:
            raise DerivationError("A text is no extended public key (xpub...).")
        key = cls(raw[45:], raw[13:45], raw[4], raw[5:9], int.from_bytes(raw[9:13]))
        if key.depth == 0 and (any(key.parent_fingerprint) or key.child_number):
            raise DerivationError("An extended public key of depth 0 names a parent.")
        _point(key.key)
        return key


class ExtendedPrivateKey:
    """A private key with its chain code. Lives in memory for as long as a path is walked."""

    __slots__ = ("_chain_code", "_key", "child_number", "depth", "parent_fingerprint")

    def __init__(
        self,
        key: SecretBytes,
        chain_code: SecretBytes,
        depth: int = 0,
        parent_fingerprint: bytes = bytes(4),
        child_number: int = 0,
    ) -> None:
        self._key = key
        self._chain_code = chain_code
        self.depth = depth
        self.parent_fingerprint = parent_fingerprint
        self.child_number = child_number

    @classmethod
    def from_seed(cls, seed: SecretBytes) -> ExtendedPrivateKey:
        """The master key of a seed of 16 to 64 bytes."""
        digest = SecretBytes(hmac.digest(b"Bitcoin seed", seed.reveal(), "sha512"))
        return cls(SecretBytes(digest.reveal()[:32]), SecretBytes(digest.reveal()[32:]))

    @property
    def key(self) -> SecretBytes:
        """The private key, 32 bytes."""
        return self._key

    def public(self) -> ExtendedPublicKey:
        """The public half."""
        return ExtendedPublicKey(
            _private(self._key).public_key.format(),
            self._chain_code.reveal(),
            self.depth,
            self.parent_fingerprint,
            self.child_number,
        )

    def child(self, number: int) -> ExtendedPrivateKey:
        """The child with that number; from HARDENED on, hardened."""
        public = self.public()
        head = SecretBytes(b"\0" + self._key.reveal() if number >= HARDENED else public.key)
        digest = SecretBytes(
            hmac.digest(self._chain_code.reveal(), head.reveal() + number.to_bytes(4), "sha512")
        )
        return ExtendedPrivateKey(
            SecretBytes(_private(self._key).add(digest.reveal()[:32]).secret),
            SecretBytes(digest.reveal()[32:]),
            self.depth + 1,
            public.identifier[:4],
            number,
        )

    def walk(self, steps: tuple[int, ...]) -> ExtendedPrivateKey:
        """The descendant at the end of these steps."""
        key = self
        for number in steps:
            key = key.child(number)
        return key

    def __repr__(self) -> str:
        return f"ExtendedPrivateKey(depth={self.depth}, ********)"


class Parent:
    """A public key whose children are derived by the thousand: the point is decoded once."""

    def __init__(self, key: ExtendedPublicKey) -> None:
        self._point = _point(key.key)
        self._key = key.key
        self._chain_code = key.chain_code

    def child(self, index: int) -> tuple[PublicKey, bytes]:
        """Point and chain code of the child at a non-hardened index. Raises DerivationError for
        the one index in 2^127 that BIP-32 says has no key."""
        digest = hmac.digest(self._chain_code, self._key + index.to_bytes(4), "sha512")
        try:
            return self._point.add(digest[:32]), digest[32:]
        except ValueError as error:
            raise DerivationError(f"Index {index} has no key; take the next one.") from error


def parse_path(text: str) -> tuple[int, ...]:
    """The steps of a path such as `m/44'/60'/1'/0/7`. Raises DerivationError."""
    head, *parts = text.split("/")
    steps = []
    for part in parts:
        match = _STEP.fullmatch(part)
        if match is None or int(match[1]) >= HARDENED:
            raise DerivationError(
                f"{text[:80]!r} is no derivation path: {part[:20]!r} is no index."
            )
        steps.append(int(match[1]) + (HARDENED if match[2] else 0))
    if head != "m":
        raise DerivationError(f"{text[:80]!r} is no derivation path; it begins with m.")
    return tuple(steps)


def path_text(steps: tuple[int, ...]) -> str:
    """The path of these steps, hardened ones marked with an apostrophe."""
    return "/".join(("m", *(f"{n - HARDENED}'" if n >= HARDENED else str(n) for n in steps)))


def hash160(content: bytes) -> bytes:
    """RIPEMD-160 of SHA-256, 20 bytes."""
    from Crypto.Hash import RIPEMD160  # OpenSSL 3 has it only in its legacy provider

    return RIPEMD160.new(hashlib.sha256(content).digest()).digest()


def _private(key: SecretBytes) -> PrivateKey:
    from coincurve import PrivateKey  # late: most engines never derive

    return PrivateKey(key.reveal())


def _point(key: bytes) -> PublicKey:
    from coincurve import PublicKey

    if key[:1] not in (b"\x02", b"\x03"):
        raise DerivationError("An extended public key holds no compressed public key.")
    try:
        return PublicKey(key)
    except ValueError as error:
        raise DerivationError("An extended public key holds no point of the curve.") from error
