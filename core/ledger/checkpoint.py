"""A checkpoint of the embedded ledger: its own files up to one record, as one stream of bytes.

Taken beside a running ledger without stopping it: a snapshot and ended segments never change, and
the newest segment is taken up to the last record that is whole. What a checkpoint is written into
is a ledger like any other. A line of JSON, `[[name, size], ...]`, then the files. All of it blocks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from zlib import crc32

import msgspec

from core.ledger.files import RealFolder
from core.ledger.journal import Journal, TornTail, read_records, read_segment_header
from core.ledger.recovery import recover, segments_of, snapshots_of
from core.ledger.snapshot import sequence_of
from core.ledger.types import LedgerDamaged, LedgerError

_NAME = re.compile(r"(?:journal-\d{20}\.log|snapshot-\d{20}\.bin)")
_LIST = msgspec.json.Decoder(list[tuple[str, int]])
_MOST_LIST_BYTES = 1024 * 1024
_PIECE = 1024 * 1024
_CRC_BYTES = 4
_TRIES = 5


class Checkpoint:
    """The ledger in `directory` as it lies now (None: there is none here). Use as a context
    manager: the files stay open within it, whatever the ledger trims. Raises LedgerDamaged,
    OSError."""

    def __init__(self, directory: Path | None) -> None:
        self._folder = RealFolder(directory or Path())
        self._is_here = directory is not None and directory.is_dir()
        self._open = ExitStack()
        self._files: list[tuple[str, int, BinaryIO]] = []
        self.sequence = 0
        """The last record in it."""

    def __enter__(self) -> Self:
        for left in reversed(range(_TRIES)):
            try:
                self._take()
                return self
            except FileNotFoundError:  # trimmed between listing and opening: look again
                self._open.close()
                if not left:
                    raise
            except BaseException:
                self._open.close()
                raise
        raise AssertionError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def size(self) -> int:
        """How many bytes `content` gives; 0 where there is no ledger."""
        return sum(size for _, size, _ in self._files) + len(self._list()) if self._files else 0

    def content(self, piece: int = _PIECE) -> Iterator[bytes]:
        """The bytes, in pieces of that size, the last one shorter."""
        gathered = bytearray()
        for part in self._parts():
            gathered += part
            while len(gathered) >= piece:
                yield bytes(gathered[:piece])
                del gathered[:piece]
        if gathered:
            yield bytes(gathered)

    def _parts(self) -> Iterator[bytes]:
        if not self._files:
            return
        yield self._list()
        for name, size, file in self._files:
            file.seek(0)
            left = size
            while left:
                part = file.read(min(left, _PIECE))
                if not part:
                    raise LedgerDamaged(self._folder.where(name), 0, "it became shorter")
                left -= len(part)
                yield part

    def _list(self) -> bytes:
        return msgspec.json.encode([(name, size) for name, size, _ in self._files]) + b"\n"

    def _take(self) -> None:
        self._files = []
        names = self._folder.names() if self._is_here else []
        after = 0
        for name in reversed(snapshots_of(names)):
            size, file = self._opened(name)
            if _is_whole(file, size):
                self._files.append((name, size, file))
                after = sequence_of(name)
                break
        segments = segments_of(names)
        following = [*map(sequence_of, segments[1:]), None] if segments else []
        for name, then in zip(segments, following, strict=True):
            if then is not None and then <= after + 1:
                continue  # all of it is in the snapshot
            size, file = self._opened(name)
            if then is None:
                size, self.sequence = self._whole_records(name, file)
            self._files.append((name, size, file))

    def _opened(self, name: str) -> tuple[int, BinaryIO]:
        file = self._open.enter_context((self._folder.path / name).open("rb"))
        return os.fstat(file.fileno()).st_size, file

    def _whole_records(self, name: str, file: BinaryIO) -> tuple[int, int]:
        """Where the last whole record of the newest segment ends, and its number."""
        where, packed = self._folder.where(name), file.read()
        start = read_segment_header(where, packed)
        end, sequence = start.end, start.sequence
        try:
            for record in read_records(where, packed, start):
                end, sequence = record.end, record.sequence
        except TornTail:
            pass  # it is being written right now, or a stop left it
        return end, sequence


def write_checkpoint(directory: Path, content: Iterable[bytes]) -> int:
    """Make a ledger of a checkpoint in a folder that is not there yet; the number of its last
    record. Durable when it returns. Raises LedgerError for what is none, LedgerDamaged, OSError.
    """
    directory.mkdir(mode=0o700)
    folder = RealFolder(directory)
    stream = _Stream(content)
    for name, size in stream.files():
        file = folder.create(name)
        try:
            for part in stream.take(size):
                file.append(part)
            file.sync()
        finally:
            file.close()
    stream.check_end()
    recovered = recover(folder)
    if recovered is None:
        raise LedgerError("The ledger checkpoint holds no journal.")
    journal = Journal(folder, recovered.position)
    journal.resume(recovered.unsealed, was_sealed=False, version=recovered.version)
    journal.close()
    folder.sync()
    return recovered.position.sequence


class _Stream:
    """Pieces of any size as the list and the files in it."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._content = iter(content)
        self._rest = b""

    def files(self) -> list[tuple[str, int]]:
        while b"\n" not in self._rest:
            part = next(self._content, b"")
            if not part or len(self._rest) > _MOST_LIST_BYTES:
                raise LedgerError("The ledger checkpoint does not begin with a list of its files.")
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\n")
        try:
            found = _LIST.decode(text)
        except msgspec.DecodeError as error:
            raise LedgerError(f"The ledger checkpoint has no list of files: {error}.") from error
        for name, size in found:
            if not _NAME.fullmatch(name) or size < 0:
                raise LedgerError(f"A ledger has no file {name[:80]!r}; the checkpoint is not one.")
        return found

    def take(self, size: int) -> Iterator[bytes]:
        while size:
            part = self._rest or next(self._content, b"")
            if not part:
                raise LedgerError("The ledger checkpoint ends too early.")
            self._rest = part[size:]
            size -= len(part) - len(self._rest)
            yield part[: len(part) - len(self._rest)]

    def check_end(self) -> None:
        if self._rest or next(self._content, b""):
            raise LedgerError("The ledger checkpoint goes on after its last file.")


def _is_whole(file: BinaryIO, size: int) -> bool:
    """Whether the crc at the end of a snapshot is that of what stands before it."""
    left, crc = size - _CRC_BYTES, 0
    while left > 0 and (part := file.read(min(left, _PIECE))):
        crc = crc32(part, crc)
        left -= len(part)
    return left == 0 and file.read(_CRC_BYTES) == crc.to_bytes(_CRC_BYTES, "little")
