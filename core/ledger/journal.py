"""The journal: an append-only file of records, each chained to the one before it.

A record is magic, length, sequence, crc, header crc, body. The crc runs over the header and
body and starts from the previous record's, so no record can vanish from the middle. At most
one record is ever un-synced, which is what lets a reader tell a torn tail (only the last record
can be) from damage (anything else). What it cannot tell from a torn tail is damage to the last
record itself, nor a file cut at an older record: so an idle or closing journal is sealed. The
seal stands in a file of its own, two slots written in turn, and says how far the journal
reached; it covers cuts too, which a sealing record inside the journal would fall to itself. The
first record after a seal marks it open (un-synced: only an orderly stop must leave it closed).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from core.ledger.codec import encode_effects, merged
from core.ledger.effects import Effects
from core.ledger.files import File, Folder
from core.ledger.types import LedgerDamaged, LedgerStopped

SEAL_NAME = "journal.seal"
VERSION = 2  # of what is written; segments of format 1 are read
RECORD_MAX = 64 * 1024 * 1024  # bytes of one body; the largest batch is 1 MB
_SEGMENT_MAGIC = b"BURSLEDG"
_SEAL_MAGIC = b"BURSSEAL"
_RECORD_MAGIC = 0x4C525542  # "BURL"
_SEGMENT = Struct("<8sII16sQI")  # magic, version, 0, identity, first sequence, chain; then crc
_RECORD = Struct("<IIQI")  # magic, length, sequence, chain; then header crc
# magic, identity, generation, segment, sequence, end, chain, open; crc
_SEAL = Struct("<8s16sQQQQII")
_CRC = Struct("<I")
SEGMENT_HEADER = _SEGMENT.size + _CRC.size
RECORD_HEADER = _RECORD.size + _CRC.size
_SLOT = 512  # one sector each: a torn write spoils one slot only
_SEAL_SIZE = _SEAL.size + _CRC.size


def segment_name(first: int) -> str:
    """File name of the segment whose first record has this sequence number."""
    return f"journal-{first:020d}.log"


class Position(NamedTuple):
    """Where a journal stands: the next record goes to `end` of the segment that begins at
    sequence `segment`, is numbered `sequence` + 1, and chains to `chain`."""

    identity: bytes
    segment: int
    sequence: int
    end: int
    chain: int


class Seal(NamedTuple):
    """How far a journal is known to reach, and whether records were begun after that."""

    generation: int
    position: Position
    is_open: bool


class Record(NamedTuple):
    """A record read back: where it ends in its file, and its body."""

    sequence: int
    end: int
    chain: int
    body: memoryview


class TornTail(Exception):
    """The bytes from `offset` on are one record that was never finished."""

    def __init__(self, offset: int, size: int) -> None:
        super().__init__(f"{size} bytes from byte {offset} on are an unfinished record")
        self.offset = offset
        self.size = size


class Journal:
    """The writing end; used by one thread. A failed write or sync ends it for good, because
    what the disk then holds is unknown until it is read again."""

    def __init__(self, folder: Folder, position: Position) -> None:
        self._folder = folder
        self.position = position
        self._sealed = position.sequence
        self._generation = 0
        self._file: File | None = None
        self._seal: File | None = None
        self.failure: str = ""

    @classmethod
    def create(cls, folder: Folder, identity: bytes) -> Journal:
        """Begin a ledger's first segment in an empty folder."""
        journal = cls(folder, Position(identity, 0, 0, 0, 0))
        journal._begin_segment(1)
        return journal

    def resume(self, unsealed: int, *, was_sealed: bool, version: int) -> None:
        """Make durable what a recovery found: cut off a torn tail, and write again what stands
        after the seal, because a sync that failed leaves pages the kernel believes clean. A
        segment has one format, so one of an older format is ended. Raises OSError."""
        _, segment, _, end, _ = self.position
        name = segment_name(segment)
        torn = self._folder.size(name) > end
        if not was_sealed or torn or unsealed < end:
            file = self._open()
            if torn:
                file.truncate(end)
            if unsealed < end:
                file.write_at(unsealed, self._folder.read(name)[unsealed:end])
            file.sync()
            self._write_seal()
        if version < VERSION:
            self._begin_segment(self.position.sequence + 1)

    @property
    def is_sealed(self) -> bool:
        """Whether the seal covers every record."""
        return self._sealed == self.position.sequence

    def append(self, commits: Sequence[Effects]) -> int:
        """Write commits as one record; return its sequence number once it is on the disk.
        Raises LedgerStopped."""
        identity, segment, sequence, end, chain = self.position
        body = encode_effects(merged(commits))
        sequence += 1
        record, chain = frame(body, sequence, chain)
        try:
            file = self._open()
            if self.is_sealed:
                self._write_seal(is_open=True)
            file.append(record)
            file.sync()
        except OSError as error:
            raise self._stopped("written", segment_name(segment), error) from error
        self.position = Position(identity, segment, sequence, end + len(record), chain)
        return sequence

    def seal(self) -> None:
        """Write down how far the journal reached. Raises LedgerStopped."""
        if self.is_sealed:
            return
        try:
            self._write_seal()
        except OSError as error:
            raise self._stopped("sealed", SEAL_NAME, error) from error

    def rotate(self) -> int:
        """End the segment; return the sequence number of its last record. Raises
        LedgerStopped."""
        self.seal()
        try:
            self._begin_segment(self.position.sequence + 1)
        except OSError as error:
            name = segment_name(self.position.sequence + 1)
            raise self._stopped("begun", name, error) from error
        return self.position.sequence

    def close(self) -> None:
        """Let go of the files; seals nothing."""
        for file in (self._file, self._seal):
            if file is not None:
                file.close()
        self._file = self._seal = None

    def _open(self) -> File:
        if self.failure:
            raise LedgerStopped(self.failure)
        if self._file is None:
            self._file = self._folder.open(segment_name(self.position.segment))
        return self._file

    def _begin_segment(self, first: int) -> None:
        identity, _, sequence, _, chain = self.position
        name = segment_name(first)
        temporary = name + ".tmp"
        header = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, 0, identity, first, chain)
        file = self._folder.create(temporary)
        try:
            file.append(header + _CRC.pack(crc32(header)))
            file.sync()
            self._folder.rename(temporary, name)
            self._folder.sync()
        except OSError:
            file.close()
            raise
        if self._file is not None:
            self._file.close()
        self._file = file
        self.position = Position(identity, first, sequence, SEGMENT_HEADER, chain)
        self._write_seal()

    def _write_seal(self, *, is_open: bool = False) -> None:
        identity, segment, sequence, end, chain = self.position
        if self._seal is None:
            self._seal, self._generation = open_seal(self._folder)
        self._generation += 1
        seal = _SEAL.pack(
            _SEAL_MAGIC, identity, self._generation, segment, sequence, end, chain, is_open
        )
        self._seal.write_at(self._generation % 2 * _SLOT, seal + _CRC.pack(crc32(seal)))
        if not is_open:
            self._seal.sync()
            self._sealed = sequence

    def _stopped(self, what: str, name: str, error: OSError) -> LedgerStopped:
        self.failure = (
            f"The ledger stopped: {self._folder.where(name)} could not be {what}"
            f" ({error.strerror or error}). Nothing more is acknowledged; mend the disk and"
            " restart, and what was acknowledged is still there."
        )
        return LedgerStopped(self.failure)


def frame(body: bytearray, sequence: int, chain: int) -> tuple[bytearray, int]:
    """A record around a body, and the chain after it."""
    start = _RECORD.pack(_RECORD_MAGIC, len(body), sequence, 0)[:-4]
    chain = crc32(body, crc32(start, chain))
    header = start + _CRC.pack(chain)
    return bytearray(header + _CRC.pack(crc32(header))) + body, chain


def open_seal(folder: Folder) -> tuple[File, int]:
    """The seal file, created if it is missing, and its newest generation."""
    if SEAL_NAME not in folder.names():
        temporary = SEAL_NAME + ".tmp"
        file = folder.create(temporary)
        file.append(bytes(2 * _SLOT))
        file.sync()
        folder.rename(temporary, SEAL_NAME)
        folder.sync()
        return file, 0
    seals = list(_seal_slots(folder.read(SEAL_NAME)))
    return folder.open(SEAL_NAME), max((seal.generation for seal in seals), default=0)


def read_seal(folder: Folder) -> Seal | None:
    """How far the journal is known to reach; None if nothing legible says so."""
    if SEAL_NAME not in folder.names():
        return None
    return max(_seal_slots(folder.read(SEAL_NAME)), default=None)


def _seal_slots(packed: bytes) -> Iterator[Seal]:
    for at in (0, _SLOT):
        seal = packed[at : at + _SEAL.size]
        crc = packed[at + _SEAL.size : at + _SEAL_SIZE]
        if len(crc) == _CRC.size and _CRC.unpack(crc)[0] == crc32(seal):
            magic, identity, generation, segment, sequence, end, chain, is_open = _SEAL.unpack(seal)
            if magic == _SEAL_MAGIC:
                position = Position(identity, segment, sequence, end, chain)
                yield Seal(generation, position, bool(is_open))


def read_segment_header(where: str, packed: bytes) -> Position:
    """Where a segment begins. Raises LedgerDamaged."""
    header = packed[: _SEGMENT.size]
    crc = packed[_SEGMENT.size : SEGMENT_HEADER]
    if len(crc) < _CRC.size:
        raise LedgerDamaged(where, len(packed), "the file ends within its header")
    if header[:8] != _SEGMENT_MAGIC:
        raise LedgerDamaged(where, 0, "this is not a ledger's journal")
    if _CRC.unpack(crc)[0] != crc32(header):
        raise LedgerDamaged(where, 0, "the header is damaged")
    _, version, _, identity, first, chain = _SEGMENT.unpack(header)
    if not 1 <= version <= VERSION:
        raise LedgerDamaged(where, 8, f"format {version} is not known to this version")
    return Position(identity, first, first - 1, SEGMENT_HEADER, chain)


def segment_version(packed: bytes) -> int:
    """The format of a segment whose header was read."""
    version: int = _SEGMENT.unpack_from(packed)[1]
    return version


def read_records(where: str, packed: bytes, start: Position) -> Iterator[Record]:
    """The records of a segment, in order. Raises TornTail where an unfinished record explains
    what is there, and LedgerDamaged where nothing does."""
    view = memoryview(packed)
    _, _, sequence, at, chain = start
    while at < len(packed):
        begin, end = at + RECORD_HEADER, at + RECORD_HEADER
        length = _body_length(view, at, sequence + 1)
        if length is None:
            # No header to say how long the record was meant to be: if anything valid follows,
            # it was once complete.
            if len(packed) - at > RECORD_MAX or _record_follows(packed, at, sequence + 1):
                raise LedgerDamaged(where, at, f"record {sequence + 1} is damaged")
            raise TornTail(at, len(packed) - at)
        end += length
        body = view[begin:end]
        expected = crc32(body, crc32(view[at : at + _RECORD.size - 4], chain))
        if len(body) < length or _CRC.unpack_from(view, at + _RECORD.size - 4)[0] != expected:
            if end < len(packed):
                raise LedgerDamaged(where, at, f"record {sequence + 1} is damaged")
            raise TornTail(at, len(packed) - at)
        sequence, at, chain = sequence + 1, end, expected
        yield Record(sequence, end, chain, body)


def _body_length(view: memoryview, at: int, sequence: int) -> int | None:
    if at + RECORD_HEADER > len(view):
        return None
    magic, length, number, _ = _RECORD.unpack_from(view, at)
    header_crc: int = _CRC.unpack_from(view, at + _RECORD.size)[0]
    if magic != _RECORD_MAGIC or header_crc != crc32(view[at : at + _RECORD.size]):
        return None
    return int(length) if number == sequence and length <= RECORD_MAX else None


def _record_follows(packed: bytes, at: int, sequence: int) -> bool:
    """Whether the header of a later record stands anywhere from `at` on."""
    magic = _RECORD_MAGIC.to_bytes(4, "little")
    while (at := packed.find(magic, at)) >= 0:
        header = packed[at : at + _RECORD.size]
        crc = packed[at + _RECORD.size : at + RECORD_HEADER]
        if (
            len(crc) == _CRC.size
            and _CRC.unpack(crc)[0] == crc32(header)
            and _RECORD.unpack(header)[2] >= sequence
        ):
            return True
        at += 1
    return False
