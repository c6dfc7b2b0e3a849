"""Files that belong to one user alone: read whole or not at all, written so that no reader and no
crash ever meets half of one.

Owner and mode are checked on the open file, so that nothing can be put in its place in between.
"""

from __future__ import annotations

import glob
import os
import secrets
import stat
from pathlib import Path

from core.model import BursarError


class PrivateFileError(BursarError):
    """A private file cannot be read or written, or others may read it."""


class AbsentError(PrivateFileError):
    """The folder was read and there is no such file. Never raised for a read that failed."""


def exists(path: Path) -> bool:
    """Whether the file is there. Raises PrivateFileError where that cannot be told: a folder that
    is not there may be a disk that is not mounted."""
    try:
        with os.scandir(path.parent) as entries:
            return any(entry.name == path.name for entry in entries)
    except OSError as error:
        raise PrivateFileError(f"{path.parent} cannot be read: {error.strerror}.") from error


def read(path: Path, largest: int) -> bytes:
    """The whole file. Raises AbsentError; PrivateFileError for a file that cannot be read, is
    larger than `largest` bytes, is somebody else's or may be read by others."""
    if not exists(path):
        raise AbsentError(f"{path} is not there.")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            _refuse_shared(path, os.fstat(fd))
            content = file.read(largest + 1)
    except OSError as error:
        raise PrivateFileError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > largest:
        raise PrivateFileError(f"{path} is larger than any file of its kind; it was not read.")
    return content


def create(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet, 0600, durable when this returns: of two that create
    it at once one succeeds. Raises FileExistsError, PrivateFileError."""
    temporary = _written(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        temporary.unlink()
    _sync_folder(path)


def replace(path: Path, content: bytes) -> None:
    """Write a file or put a new one in its place, 0600, durable when this returns. Raises
    PrivateFileError."""
    temporary = _written(path, content)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink()
        raise _write_error(path, error) from error
    _sync_folder(path)


def remove_leftovers(path: Path) -> None:
    """Remove what writers of this file left when they were killed. A writer at work would lose
    what it writes, and say so: call it where there is none. Raises PrivateFileError."""
    try:
        for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise PrivateFileError(f"{path.parent} cannot be tidied: {error.strerror}.") from error


def _written(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
    except OSError as error:
        temporary.unlink()
        raise _write_error(path, error) from error
    return temporary


def _sync_folder(path: Path) -> None:
    try:
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise PrivateFileError(
            f"{path} was written, but {path.parent} cannot be synced: {error.strerror}; a power "
            "cut may undo it."
        ) from error


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PrivateFileError(f"{path} is not a file.")
    if status.st_uid != os.geteuid():
        raise PrivateFileError(
            f"{path} belongs to user {status.st_uid}, not to user {os.geteuid()}; it was not read."
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise PrivateFileError(
            f"{path} can be read or written by other users (mode {mode:04o}); it was not used. "
            f"Run `chmod 600 {path}`, and ask who could have read it."
        )


def _write_error(path: Path, error: OSError) -> PrivateFileError:
    return PrivateFileError(f"{path} cannot be written: {error.strerror}; nothing was changed.")
