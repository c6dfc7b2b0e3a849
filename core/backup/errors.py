"""Everything that can go wrong with a backup, by what the operator has to do about it."""

from __future__ import annotations

from core.model import BursarError


class BackupError(BursarError):
    """Base of this room's errors."""


class DamagedArchiveError(BackupError):
    """Not the bytes that were sealed: `Backup checksum validation failed`, with file and chunk."""

    def __init__(self, file: str, where: str, reason: str) -> None:
        super().__init__(f"Backup checksum validation failed: {file}, {where}: {reason}")


class NotAnArchiveError(BackupError):
    """The file is no Bursar backup, or one of a newer format."""


class WrongKeyError(BackupError):
    """The password, recovery key or backup key does not open this archive."""


class KeySlotError(BackupError):
    """A key slot or key file cannot be used, and why; nothing was computed with it."""


class RecordError(BackupError):
    """A record cannot be read or is out of order; the message names kind and line."""


class ChainError(BackupError):
    """A full and its incrementals do not belong together; the message names the archive."""


class MissingParentError(ChainError):
    """An incremental's parent is nowhere to be found; the message names it."""


class CatalogueError(BackupError):
    """The catalogue on disk cannot be read or written."""


class DestinationError(BackupError):
    """A destination refused or failed; the message names it and the object."""


class AlreadyStoredError(DestinationError):
    """An object of that name exists and holds other bytes; it was not overwritten."""


class CorruptCopyError(DestinationError):
    """What was read back from a destination is not what was sent."""


class ScheduleError(BackupError):
    """A cron expression or time zone cannot be used; the message names the key."""
