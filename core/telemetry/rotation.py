"""A file of lines that is rotated by size and that only its owner may read (0600).

`events.jsonl` is the newest; `events.jsonl.1` the one before it, and so on. Everything here
blocks: it runs in the one thread that owns the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType


class RotatedFile:
    """Appends whole lines. All methods raise OSError as the disk does."""

    def __init__(self, path: Path, *, rotate_bytes: int, keep_files: int) -> None:
        """`keep_files` counts the present file too."""
        self.path = path
        self._rotate_bytes = rotate_bytes
        self._keep_files = max(1, keep_files)
        self._fd = -1

    def __enter__(self) -> RotatedFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> bytes:
        """Open or create, cut off a last line that a crash left unfinished, and answer the last
        whole line (without its end; empty if there is none)."""
        self.close()
        fd = os.open(
            self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            os.fchmod(fd, 0o600)
            last = _mend(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return last

    def append(self, lines: bytes) -> None:
        """Write whole lines (each with its end), all or none: what a full disk cut off is taken
        back. Rotates first when the file is large enough."""
        if self._fd < 0:
            self.open()
        size = os.fstat(self._fd).st_size
        if size and size + len(lines) > self._rotate_bytes:
            self._rotate()
            size = 0
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._fd, memoryview(lines)[written:])
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def close(self) -> None:
        """Close the file; appending opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep_files - 1, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        if self._keep_files == 1:
            self.path.unlink(missing_ok=True)
        self.open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path


def _mend(fd: int) -> bytes:
    """The last whole line; whatever stands after its end is cut off."""
    end = os.fstat(fd).st_size
    tail, start = b"", end
    while start > 0 and tail.count(b"\n") < 2:
        step = min(64 * 1024, start)
        start -= step
        tail = os.pread(fd, step, start) + tail
    whole, newline, torn = tail.rpartition(b"\n")
    if torn:
        os.ftruncate(fd, end - len(torn))
    return whole.rpartition(b"\n")[2] if newline else b""
