"""What an engine holds to make backups unattended: the backup key and the slots to copy.

One JSON text, from a 0600 file, a `password_command` or a systemd credential. It opens backups
but neither the seed vault nor any wallet: the seed travels as the ciphertext already on disk.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from core.backup.errors import KeySlotError
from core.backup.keys import SecretKey, Slot, check_slots


class KeyRing(msgspec.Struct, frozen=True):
    """The backup key of one installation with every way to unlock it."""

    install_id: str
    key: SecretKey
    slots: tuple[Slot, ...]


class _Text(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    install_id: str
    backup_key: str
    slots: tuple[Slot, ...]


def format_key_ring(ring: KeyRing) -> bytes:
    """The text to keep secret."""
    text = _Text(ring.install_id, ring.key.reveal().hex(), ring.slots)
    return msgspec.json.format(msgspec.json.encode(text), indent=2) + b"\n"


def parse_key_ring(text: bytes, source: str) -> KeyRing:
    """Raises KeySlotError naming `source`, never showing what it held."""
    try:
        found = msgspec.json.decode(text, type=_Text)
        key = SecretKey(bytes.fromhex(found.backup_key))
    except (msgspec.DecodeError, ValueError):
        # Without the cause: its message could quote the secret.
        raise KeySlotError(f"{source} holds no Bursar backup key.") from None
    check_slots(found.slots)
    return KeyRing(found.install_id, key, found.slots)


def read_key_file(path: Path) -> KeyRing:
    """Raises KeySlotError for a file that others may read, that is not ours or not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise KeySlotError(f"The backup key {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise KeySlotError(
                f"The backup key {path} belongs to someone else or can be read by others; "
                f"run `chmod 600 {path}` as its owner."
            )
        return parse_key_ring(file.read(), str(path))
