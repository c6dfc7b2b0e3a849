"""The few file operations a ledger needs, behind a protocol, so that a test can cut the power.

`Folder` is one flat directory. Nothing here is durable before `File.sync` (the bytes) and
`Folder.sync` (the names); `RealFolder` maps them to fdatasync and fsync.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Protocol

from core.ledger.types import LedgerInUse


class File(Protocol):
    """An open file that is appended to, or written at an offset."""

    def append(self, data: bytes | bytearray) -> None:
        """Write at the end. Raises OSError; what was written before it stays."""
        ...

    def write_at(self, offset: int, data: bytes) -> None:
        """Write in place."""
        ...

    def truncate(self, size: int) -> None:
        """Cut to `size` bytes."""
        ...

    def sync(self) -> None:
        """Return once everything written is on the disk."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Folder(Protocol):
    """One directory of a ledger."""

    def names(self) -> list[str]:
        """Names of its files, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """A whole file."""
        ...

    def size(self, name: str) -> int:
        """Length of a file in bytes."""
        ...

    def create(self, name: str) -> File:
        """Open an empty file for writing, replacing one of that name."""
        ...

    def open(self, name: str) -> File:
        """Open an existing file for writing."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing one that has it."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file."""
        ...

    def sync(self) -> None:
        """Return once created, renamed and removed names are on the disk."""
        ...

    def lock(self) -> None:
        """Hold the folder against other processes. Raises LedgerInUse."""
        ...

    def unlock(self) -> None:
        """Let go of it."""
        ...

    def where(self, name: str) -> str:
        """How an operator finds a file: its path."""
        ...


class RealFile:
    """A file descriptor, written unbuffered."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def append(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            view, offset = view[done:], offset + done

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, 0, os.SEEK_END)

    def sync(self) -> None:
        if sys.platform == "darwin":  # there fsync leaves the bytes in the drive's cache
            fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class RealFolder:
    """A directory on a local disk; folders are 0700 and files 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path))

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def create(self, name: str) -> RealFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return RealFile(os.open(self.path / name, flags, 0o600))

    def open(self, name: str) -> RealFile:
        fd = os.open(self.path / name, os.O_WRONLY | os.O_CLOEXEC)
        os.lseek(fd, 0, os.SEEK_END)
        return RealFile(fd)

    def rename(self, old: str, new: str) -> None:
        os.replace(self.path / old, self.path / new)

    def remove(self, name: str) -> None:
        os.unlink(self.path / name)

    def sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise LedgerInUse(
                f"{self.path} is held by another process; stop the running engine,"
                " or go through its socket."
            ) from error
        except OSError:
            os.close(fd)
            raise
        self._lock_fd = fd

    def unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def where(self, name: str) -> str:
        return str(self.path / name)
