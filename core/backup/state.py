"""What the newest durable archive held, as one digest a record: the base of the next incremental.

A local file beside the catalogue, in the order of the archive, sealed by a checksum over all of
it. It is only a saving: where it is missing, damaged or another archive's, the next backup is a
full. It is written before an archive is delivered and put in force after.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from core.backup.errors import CatalogueError
from core.backup.records import DIGEST_BYTES, Position

_MAGIC = b"BURSAR-STATE\x02"
_CHECK_BYTES = 32


class Known(msgspec.Struct, frozen=True, gc=False):
    """A record that the archive held."""

    position: Position
    digest: bytes


class _Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Records of one kind, in order: its rank, their keys, their digests end to end."""

    rank: int
    keys: list[tuple[str, ...]]
    digests: bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Frame)


class StateWriter:
    """Digests in, in order; `path` exists once `finish` returned, and is durable then."""

    def __init__(self, path: Path, archive_id: str) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.tmp")
        self._check = hashlib.sha256()
        descriptor = os.open(
            self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        self._file = os.fdopen(descriptor, "wb")
        self._write(_MAGIC + archive_id.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is not None:
            self._temporary.unlink(missing_ok=True)

    def add(self, rank: int, keys: list[tuple[str, ...]], digests: list[bytes]) -> None:
        """The next records of the archive's state, all of the kind with that rank."""
        frame = _ENCODER.encode(_Frame(rank, keys, b"".join(digests)))
        self._write(len(frame).to_bytes(4, "big") + frame)

    def finish(self) -> None:
        """Seal, fsync and name the file."""
        self._file.write(self._check.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._temporary.rename(self._path)

    def _write(self, part: bytes) -> None:
        self._check.update(part)
        self._file.write(part)


def read_state(path: Path, archive_id: str) -> Iterator[Known] | None:
    """What that archive held, in order; None where this file does not say so, whole and sound.

    The checksum is read through before the first record. Raises CatalogueError if the disk fails.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror}.") from error
    end = os.fstat(file.fileno()).st_size - _CHECK_BYTES
    start = _MAGIC + archive_id.encode()
    if file.read(len(start)) != start or end < len(start) or not _is_sound(file, end):
        file.close()
        return None
    file.seek(len(start))
    return _known(file, end)


def _is_sound(file: BinaryIO, end: int) -> bool:
    file.seek(0)
    check = hashlib.sha256()
    left = end
    while left and (part := file.read(min(left, 1024 * 1024))):
        check.update(part)
        left -= len(part)
    return file.read() == check.digest()


def _known(file: BinaryIO, end: int) -> Iterator[Known]:
    with file:
        at = file.tell()
        while at < end:
            length = int.from_bytes(file.read(4), "big")
            yield from _records(_DECODER.decode(file.read(length)))
            at += 4 + length


def _records(frame: _Frame) -> Iterator[Known]:
    if len(frame.digests) != len(frame.keys) * DIGEST_BYTES:
        raise CatalogueError("The state of the last backup is not in its format.")
    ends = range(DIGEST_BYTES, len(frame.digests) + 1, DIGEST_BYTES)
    for key, end in zip(frame.keys, ends, strict=True):
        yield Known(Position(frame.rank, key), frame.digests[end - DIGEST_BYTES : end])
