"""The format of `master-seed.enc`: bytes to header and ciphertext, and back. Pure.

    BURSEED\\x01 | u32 header length | header JSON | AES-256-GCM ciphertext and tag | SHA-256

The plaintext is the seed's entropy. All before the ciphertext is its associated data. The key is
random and wrapped in the header's slots. The SHA-256 over all before it is public: it tells damage
from a wrong password before any KDF runs, and proves nothing about who wrote the file.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final, Literal

import msgspec

from core.model import BursarError
from core.wallets.ciphers import AesGcm, ForgedError
from core.wallets.secrets import Opener, Password, RecoveryKey, SecretBytes
from core.wallets.seed import Seed, SeedError
from core.wallets.slots import KEY_BYTES, Argon2Parameters, Slot, check_slots, unwrap, wrap

MAGIC: Final = b"BURSEED\x01"
LARGEST: Final = 64 * 1024
_FAMILY: Final = MAGIC[:-1]
_LENGTH_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_DIGEST_BYTES: Final = 32


class VaultDamagedError(BursarError):
    """A vault file is not whole or was changed. Nothing of it was used."""


class VaultHeader(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the file says in clear. `id` is new at every writing; `fingerprint` names the seed
    (`Seed.fingerprint`); the GCM tag is the ciphertext's last 16 bytes."""

    format: Literal["bursar-seed"]
    version: Literal[1]
    id: str
    created_ms: int
    fingerprint: str
    cipher: Literal["aes-256-gcm"]
    nonce: bytes
    slots: tuple[Slot, ...]


class SealedVault(msgspec.Struct, frozen=True):
    """A file that is whole: its header and what it takes to open it."""

    header: VaultHeader
    associated: bytes
    ciphertext: bytes


def seal(
    seed: Seed,
    password: Password,
    recovery: RecoveryKey | None,
    created_ms: int,
    parameters: Argon2Parameters | None = None,
) -> bytes:
    """The content of a new file. Blocks for the KDF's quarter of a second."""
    vault_id = os.urandom(16).hex()
    key = SecretBytes(os.urandom(KEY_BYTES))
    slots = [wrap(key, password, _context(vault_id), parameters)]
    if recovery is not None:
        slots.append(wrap(key, recovery, _context(vault_id)))
    header = VaultHeader(
        format="bursar-seed",
        version=1,
        id=vault_id,
        created_ms=created_ms,
        fingerprint=seed.fingerprint(),
        cipher="aes-256-gcm",
        nonce=os.urandom(_NONCE_BYTES),
        slots=tuple(slots),
    )
    encoded = msgspec.json.encode(header)
    associated = MAGIC + len(encoded).to_bytes(_LENGTH_BYTES) + encoded
    content = associated + AesGcm(key).encrypt(header.nonce, seed.entropy.reveal(), associated)
    return content + hashlib.sha256(content).digest()


def parse(content: bytes, where: str) -> SealedVault:
    """Check a file as far as it can be without its key; `where` names it in errors.

    Raises VaultDamagedError; SlotRefusedError for KDF parameters that no sane file has.
    """
    if not content.startswith(MAGIC):
        if content.startswith(_FAMILY) and len(content) > len(MAGIC):
            raise VaultDamagedError(
                f"{where} has format {content[len(_FAMILY)]}, which this Bursar does not know: "
                "it was written by a newer one, or is damaged."
            )
        raise VaultDamagedError(f"{where} is no seed vault, or its beginning is damaged.")
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    start = len(MAGIC) + _LENGTH_BYTES
    if len(body) < start or hashlib.sha256(body).digest() != digest:
        raise VaultDamagedError(
            f"{where} is damaged (its SHA-256 does not fit); nothing was changed. Restore it from "
            "a backup, or import the words again into an empty data directory."
        )
    end = start + int.from_bytes(body[len(MAGIC) : start])
    try:
        header = msgspec.json.decode(body[start:end], type=VaultHeader)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VaultDamagedError(f"{where} is damaged: its header cannot be read.") from error
    if len(header.nonce) != _NONCE_BYTES or end > len(body):
        raise VaultDamagedError(f"{where} is damaged: its header does not fit its length.")
    check_slots(header.slots)
    return SealedVault(header, body[:end], body[end:])


def unseal(vault: SealedVault, opener: Opener, where: str) -> Seed:
    """Open it. Blocks for the KDF. Raises slots.WrongKeyError; VaultDamagedError where the key
    is right and the rest is not."""
    key = unwrap(vault.header.slots, opener, _context(vault.header.id))
    seed = _opened(vault, key)
    if seed is None or seed.fingerprint() != vault.header.fingerprint:
        raise VaultDamagedError(
            f"{where} was changed: the password is right and the content does not fit the header. "
            "Restore it from a backup."
        )
    return seed


def _opened(vault: SealedVault, key: SecretBytes) -> Seed | None:
    try:
        return Seed(
            SecretBytes(AesGcm(key).decrypt(vault.header.nonce, vault.ciphertext, vault.associated))
        )
    except (ForgedError, SeedError):
        return None


def _context(vault_id: str) -> bytes:
    """What the slots of this file are bound to."""
    return b"seed vault " + vault_id.encode()
