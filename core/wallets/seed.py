"""The seed: entropy as BIP-39 words (English, 12 or 24), and the master key it stands for.

Never printed: words leave only as a `Secret`, for the one screen that shows them. Without a
BIP-39 passphrase: a second secret that, mistyped, silently opens another, empty wallet.
"""

from __future__ import annotations

import functools
import hashlib
import os
import unicodedata
from typing import Final

from core.model import BursarError, Secret
from core.wallets.bip32 import ExtendedPrivateKey
from core.wallets.secrets import SecretBytes

WORD_COUNTS: Final = (12, 24)
_ENTROPY_BYTES: Final = {12: 16, 24: 32}
_ROUNDS: Final = 2048  # BIP-39


class SeedError(BursarError):
    """Words are no seed. The message names places, never words."""


class Seed:
    """The entropy behind the words. Compare seeds by `fingerprint`."""

    __slots__ = ("_entropy",)

    def __init__(self, entropy: SecretBytes) -> None:
        if len(entropy) not in _ENTROPY_BYTES.values():
            raise SeedError(f"A seed has 16 or 32 bytes of entropy, not {len(entropy)}.")
        self._entropy = entropy

    @classmethod
    def generate(cls, words: int = 24) -> Seed:
        """A new seed from the system's random source. Raises SeedError unless 12 or 24 words."""
        if words not in WORD_COUNTS:
            raise SeedError(f"A seed has 12 or 24 words, not {words}.")
        return cls(SecretBytes(os.urandom(_ENTROPY_BYTES[words])))

    @classmethod
    def from_words(cls, typed: Secret) -> Seed:
        """The seed that words mean; case and spacing do not count. Raises SeedError naming the
        place of a word that is none, or saying that the last word's checksum does not fit."""
        return cls(_entropy_of(typed))

    @property
    def entropy(self) -> SecretBytes:
        """The bytes that the vault keeps."""
        return self._entropy

    def words(self) -> Secret:
        """The words, separated by single spaces."""
        from mnemonic import Mnemonic

        return Secret(Mnemonic("english").to_mnemonic(self._entropy.reveal()))

    def stretched(self, passphrase: bytes = b"") -> SecretBytes:
        """BIP-39's 64 bytes of binary seed. Wallets use no passphrase; it is here for BIP-39's
        own vectors, which all have one."""
        return SecretBytes(
            hashlib.pbkdf2_hmac(
                "sha512", self.words().reveal().encode(), b"mnemonic" + passphrase, _ROUNDS
            )
        )

    def master(self) -> ExtendedPrivateKey:
        """The BIP-32 master key."""
        return ExtendedPrivateKey.from_seed(self.stretched())

    def fingerprint(self) -> str:
        """BIP-32's identifier of the master key in hex: 40 digits, the first 8 of which other
        wallets show as the master fingerprint. Says which seed it is and nothing about it."""
        return self.master().public().identifier.hex()

    def __repr__(self) -> str:
        return "Seed(********)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")


@functools.cache
def _places() -> dict[str, int]:
    from mnemonic import Mnemonic

    return {word: place for place, word in enumerate(Mnemonic("english").wordlist)}


def _entropy_of(typed: Secret) -> SecretBytes:
    """BIP-39 backwards: eleven bits a word; the last bits are a checksum over the others."""
    words = [Secret(w) for w in unicodedata.normalize("NFKD", typed.reveal()).lower().split()]
    if len(words) not in WORD_COUNTS:
        raise SeedError(f"A seed has 12 or 24 words; these are {len(words)}.")
    unknown = [str(n) for n, word in enumerate(words, start=1) if word.reveal() not in _places()]
    if unknown:
        raise SeedError(
            f"Not in the English BIP-39 word list: word {', '.join(unknown)}. Look for a typing "
            "error there."
        )
    check_bits = len(words) // 3
    number = functools.reduce(lambda n, word: n << 11 | _places()[word.reveal()], words, 0)
    check = number & (1 << check_bits) - 1
    entropy = SecretBytes((number >> check_bits).to_bytes(_ENTROPY_BYTES[len(words)]))
    del number
    if hashlib.sha256(entropy.reveal()).digest()[0] >> 8 - check_bits != check:
        raise SeedError(
            "The words do not belong together (BIP-39 checksum): one is wrong, or two are swapped."
        )
    return entropy
