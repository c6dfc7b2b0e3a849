"""What an engine holds to make backups unattended: the backup key and the slots to copy.

One JSON text, in a 0600 file, from a `password_command` or a systemd credential. It opens backups
but neither the seed vault nor any wallet: the seed travels as the ciphertext already on disk.
"""

from __future__ import annotations

import os
import stat
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec

from core.backup.errors import KeySlotError
from core.backup.keys import check_slots, make_slots, new_key
from core.model import Secret
from core.wallets import private_files
from core.wallets.passwords import check_password
from core.wallets.secrets import Password, RecoveryKey, SecretBytes
from core.wallets.slots import KEY_BYTES, Argon2Parameters, Slot

FILE_NAME = "backup-key.json"
_LARGEST = 64 * 1024


class KeyRing(msgspec.Struct, frozen=True):
    """The backup key of one installation with every way to unlock it."""

    install_id: str
    key: SecretBytes
    slots: tuple[Slot, ...]


class Ring(Protocol):
    """What it takes to seal a backup: a key ring, or one whose slots are still in the making."""

    @property
    def install_id(self) -> str:
        """Whose backups these are."""
        ...

    @property
    def key(self) -> SecretBytes:
        """The backup key."""
        ...

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Every way to unlock it; blocks while they are made. Raises KeySlotError."""
        ...


class RingInMaking:
    """A new ring whose key is there at once, while a thread derives what wraps it and writes it.

    The slots are handed out when the ring is on the disk, so that what is sealed under them can
    be followed by the next backup. Call `finish` in any case.
    """

    def __init__(self, install_id: str, key: SecretBytes, making: Future[KeyRing]) -> None:
        self.install_id = install_id
        self.key = key
        self._making = making

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Blocks until the ring is written. Raises KeySlotError."""
        return self._making.result().slots

    def finish(self) -> KeyRing:
        """The ring, written. Blocks until then. Raises KeySlotError."""
        return self._making.result()


class _Text(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    install_id: str
    backup_key: str
    slots: tuple[Slot, ...]


def new_install_id() -> str:
    """A name for an installation that no other has."""
    return str(uuid.uuid4())


def create_key_ring(
    path: Path,
    install_id: str,
    password: Secret,
    recovery: RecoveryKey | None = None,
    *,
    parameters: Argon2Parameters | None = None,
) -> KeyRing:
    """Make a ring with a new backup key, opened by the password and by the recovery key if there
    is one: the same two that open the seed vault. Writes it, 0600, where no file is yet; of two
    at once one succeeds. Blocks for the KDF.

    Raises WeakPasswordError; KeySlotError where there is a ring or it cannot be written. Then
    nothing was changed.
    """
    return begin_key_ring(path, install_id, password, recovery, parameters=parameters).finish()


def begin_key_ring(
    path: Path,
    install_id: str,
    password: Secret,
    recovery: RecoveryKey | None = None,
    *,
    parameters: Argon2Parameters | None = None,
) -> RingInMaking:
    """The same, without waiting for the KDF. Raises WeakPasswordError; what else is wrong is
    raised when the slots are asked for."""
    check_password(password)
    key = new_key()

    def make() -> KeyRing:
        slots = make_slots(key, install_id, Password(password), recovery, parameters)
        ring = KeyRing(install_id, key, slots)
        write_key_ring(path, ring)
        return ring

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="key-ring")
    making = pool.submit(make)
    pool.shutdown(wait=False)
    return RingInMaking(install_id, key, making)


def write_key_ring(path: Path, ring: KeyRing) -> None:
    """Write a ring, 0600, where no file is yet. Raises KeySlotError."""
    try:
        private_files.create(path, format_key_ring(ring))
    except FileExistsError as error:
        raise KeySlotError(
            f"{path} is there already; it was not touched. Backups made with it need it; use "
            "`bursar backup rekey` for another password."
        ) from error
    except private_files.PrivateFileError as error:
        raise KeySlotError(str(error)) from error


def with_new_slots(
    ring: KeyRing,
    password: Secret,
    recovery: RecoveryKey | None = None,
    *,
    parameters: Argon2Parameters | None = None,
) -> KeyRing:
    """The same key, opened by another password and recovery key (None: none any more). Blocks.
    Raises WeakPasswordError, KeySlotError."""
    check_password(password)
    slots = make_slots(ring.key, ring.install_id, Password(password), recovery, parameters)
    return KeyRing(ring.install_id, ring.key, slots)


def replace_key_ring(path: Path, ring: KeyRing) -> None:
    """Put a ring in the place of another at one instant. Raises KeySlotError."""
    try:
        private_files.replace(path, format_key_ring(ring))
    except private_files.PrivateFileError as error:
        raise KeySlotError(str(error)) from error


def format_key_ring(ring: KeyRing) -> bytes:
    """The text to keep secret."""
    text = _Text(ring.install_id, ring.key.reveal().hex(), ring.slots)
    return msgspec.json.format(msgspec.json.encode(text), indent=2) + b"\n"


def parse_key_ring(text: bytes, source: str) -> KeyRing:
    """Raises KeySlotError naming `source`, never showing what it held."""
    key = b""
    try:
        found = msgspec.json.decode(text, type=_Text)
        key = bytes.fromhex(found.backup_key)
    except (msgspec.DecodeError, ValueError):
        # Without the cause: its message could quote the secret.
        pass
    if len(key) != KEY_BYTES:
        raise KeySlotError(f"{source} holds no Bursar backup key.")
    check_slots(found.slots)
    return KeyRing(found.install_id, SecretBytes(key), found.slots)


def read_credential(path: Path) -> KeyRing:
    """A ring that the service manager put there for this process: root's file, opened to us by an
    access list whose mask shows as the group's mode. Raises KeySlotError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise KeySlotError(f"{path} cannot be read: {error.strerror}.") from error
    if status.st_uid not in {0, os.geteuid()} or stat.S_IMODE(status.st_mode) & 0o037:
        raise KeySlotError(f"{path} can be read by others or written; it was not used.")
    return parse_key_ring(content, str(path))


def read_key_file(path: Path) -> KeyRing:
    """Raises KeySlotError for a file that others may read, that is not ours or not there."""
    try:
        content = private_files.read(path, _LARGEST)
    except private_files.PrivateFileError as error:
        raise KeySlotError(f"The backup key: {error}") from error
    return parse_key_ring(content, str(path))
