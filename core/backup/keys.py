"""Who can open a backup: a random backup key, wrapped once per way to unlock it.

The slots are those of the seed vault (`core.wallets.slots`). The engine holds the backup key alone
and copies the slots into every archive, so a slot is bound to the installation and not to one
archive. From the backup key every archive has a file key of its own.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence

from core.backup.errors import KeySlotError, WrongKeyError
from core.wallets import slots as key_slots
from core.wallets.ciphers import hkdf_sha256
from core.wallets.secrets import Opener, Password, RecoveryKey, SecretBytes
from core.wallets.slots import KEY_BYTES, Argon2Parameters, Slot


def new_key() -> SecretBytes:
    """A new backup key from the system's random source."""
    return SecretBytes(os.urandom(KEY_BYTES))


def make_slots(
    key: SecretBytes,
    install_id: str,
    password: Password,
    recovery: RecoveryKey | None = None,
    parameters: Argon2Parameters | None = None,
) -> tuple[Slot, ...]:
    """The backup key wrapped under a password and, if there is one, a recovery key. Blocks for
    the KDF. Raises KeySlotError."""
    openers: list[Opener] = [password] if recovery is None else [password, recovery]
    try:
        return tuple(key_slots.wrap(key, opener, _context(install_id), parameters)
                     for opener in openers)  # fmt: skip
    except key_slots.SlotError as error:
        raise KeySlotError(str(error)) from error


def unlock(
    slots: Sequence[Slot], opener: Opener, install_id: str, file: str = "the backup"
) -> SecretBytes:
    """The backup key. Blocks for the KDF of a password. Raises WrongKeyError, or KeySlotError
    before any KDF runs."""
    try:
        return key_slots.unwrap(slots, opener, _context(install_id))
    except key_slots.WrongKeyError as error:
        raise WrongKeyError(
            f"{error} {file} was not opened, or its key slot was damaged. A backup keeps the "
            "password and the recovery key that were in use when it was made: try the other of "
            "the two, or older ones."
        ) from error
    except key_slots.SlotError as error:
        raise KeySlotError(f"{file}: {error}") from error


def check_slots(slots: Sequence[Slot]) -> None:
    """Raises KeySlotError for slots that Bursar cannot have written; runs no KDF."""
    try:
        key_slots.check_slots(slots)
    except key_slots.SlotError as error:
        raise KeySlotError(str(error)) from error


def file_key(key: SecretBytes, salt: bytes, archive_id: str) -> SecretBytes:
    """The key of one archive's chunks: HKDF-SHA256 (RFC 5869) of the backup key."""
    return _hkdf(key, salt, b"bursar archive\0" + archive_id.encode())


def slots_tag(key: SecretBytes, archive_id: str, slots_json: bytes) -> str:
    """HMAC-SHA256 over the slots as they stand in a header, hex: a flipped bit in one way to
    unlock is noticed by those who came another way."""
    mac_key = _hkdf(key, b"", b"bursar slots\0" + archive_id.encode())
    return hmac.digest(mac_key.reveal(), slots_json, "sha256").hex()


def _context(install_id: str) -> bytes:
    """What the slots are bound to: one moved to another installation opens nothing."""
    return b"backup " + install_id.encode()


def _hkdf(key: SecretBytes, salt: bytes, info: bytes) -> SecretBytes:
    return hkdf_sha256(key, salt, info, KEY_BYTES)
