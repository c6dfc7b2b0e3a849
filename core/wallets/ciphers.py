"""The primitives behind vault, slots and archives, from `cryptography`, imported when first used.

The library maps 10 MB into a process; an engine that nobody asks to seal or to open something
does without. What the primitives are used for is said where they are used.
"""

from __future__ import annotations

from core.wallets.secrets import SecretBytes


class ForgedError(Exception):
    """A ciphertext, its nonce or its associated data are not as they were sealed under this key."""


class AesGcm:
    """AES-256-GCM (NIST SP 800-38D) under one key."""

    def __init__(self, key: SecretBytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._gcm = AESGCM(key.reveal())

    def encrypt(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        """Ciphertext and tag."""
        return self._gcm.encrypt(nonce, plain, associated)

    def decrypt(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """The plain text. Raises ForgedError."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._gcm.decrypt(nonce, sealed, associated)
        except InvalidTag as error:
            raise ForgedError from error


def hkdf_sha256(secret: SecretBytes, salt: bytes, info: bytes, length: int) -> SecretBytes:
    """RFC 5869."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    hkdf = HKDF(algorithm=SHA256(), length=length, salt=salt, info=info)
    return SecretBytes(hkdf.derive(secret.reveal()))


def argon2id(
    secret: SecretBytes, salt: bytes, length: int, *, iterations: int, lanes: int, memory_kib: int
) -> SecretBytes:
    """RFC 9106. Raises MemoryError."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    kdf = Argon2id(
        salt=salt, length=length, iterations=iterations, lanes=lanes, memory_cost=memory_kib
    )
    return SecretBytes(kdf.derive(secret.reveal()))
