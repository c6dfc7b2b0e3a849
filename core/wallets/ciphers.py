"""The primitives behind vault, slots and archives, from libraries imported when first used.

`cryptography` maps 10 MB into a process; an engine that nobody asks to seal or to open something
does without. Argon2id comes from `argon2-cffi`, the reference implementation with SIMD: the same
bytes as `cryptography` gives, for a little less work. What the primitives are used for is said
where they are used.
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
    """RFC 9106, version 0x13, a thread for each lane; other Python threads run meanwhile. Raises
    MemoryError where the system has not the memory or the threads for it."""
    from argon2.exceptions import HashingError
    from argon2.low_level import Type, hash_secret_raw

    try:
        derived = hash_secret_raw(
            secret.reveal(),
            salt,
            time_cost=iterations,
            memory_cost=memory_kib,
            parallelism=lanes,
            hash_len=length,
            type=Type.ID,
        )
    except HashingError as error:
        raise MemoryError(str(error)) from error
    return SecretBytes(derived)
