"""Files that are either whole and durable or not there: create-exclusive, fsync, rename, fsync.

Everything here blocks; call it in a thread.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_PART = 1024 * 1024


def create_exclusive(path: Path) -> BinaryIO:
    """A new file, 0600, to write. Raises FileExistsError rather than touch another's."""
    descriptor = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    return os.fdopen(descriptor, "w+b")


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` under `path` at one instant, durable."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # of a run that died; one lock lets one writer in here
    with create_exclusive(temporary) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def copy_durably(source: Path, target: Path, *, replace: bool = False) -> None:
    """Copy a file to where, unless `replace`, none is yet; it appears whole or not at all.

    Raises FileExistsError when `target` exists, OSError.
    """
    temporary = target.with_name(f".{target.name}.partial")
    temporary.unlink(missing_ok=True)  # of a run that died
    try:
        with source.open("rb") as reading, create_exclusive(temporary) as writing:
            shutil.copyfileobj(reading, writing, _PART)
            writing.flush()
            os.fsync(writing.fileno())
        if not replace and target.exists():
            raise FileExistsError(f"{target} exists")
        temporary.rename(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
