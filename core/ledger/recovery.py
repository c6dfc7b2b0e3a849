"""What a ledger's folder holds: the newest valid snapshot, then the records after it.

Only reads. A torn tail is a finding, not an error; damage anywhere else raises LedgerDamaged
with file and offset. `recover` serves the start, the folding of snapshots and the export;
`core.ledger.check` asks the same questions and goes on after the first bad answer.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from core.ledger.codec import decode_effects
from core.ledger.files import Folder
from core.ledger.journal import (
    SEAL_NAME,
    SEGMENT_HEADER,
    Position,
    TornTail,
    read_records,
    read_seal,
    read_segment_header,
    segment_name,
    segment_version,
)
from core.ledger.snapshot import Snapshot, read_snapshot, sequence_of
from core.ledger.state import State
from core.ledger.types import LedgerDamaged


class Recovered(NamedTuple):
    """A ledger as its files tell it. `notices` are for the operator; `torn` bytes at the end of
    the newest segment belong to a record that was never acknowledged; `unsealed` is where the
    part of that segment begins that a sync may not have reached; `was_sealed` is whether the
    last stop left nothing open; `version` is that segment's format."""

    state: State
    position: Position
    base: int  # sequence of the snapshot it started from
    notices: list[str]
    torn: int
    unsealed: int
    was_sealed: bool
    version: int


def segments_of(names: list[str]) -> list[str]:
    """Names of journal segments, oldest first."""
    return [n for n in names if n.startswith("journal-") and n.endswith(".log")]


def snapshots_of(names: list[str]) -> list[str]:
    """Names of snapshots, oldest first."""
    return [n for n in names if n.startswith("snapshot-") and n.endswith(".bin")]


def recover(folder: Folder, upto: int | None = None) -> Recovered | None:
    """Read the ledger, or what it was after record `upto`; None if the folder holds none.
    Raises LedgerDamaged and OSError."""
    with collector_paused():
        return _recover(folder, upto)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Nothing that is loaded can be garbage, and collecting it costs as much as loading it.
    Whoever keeps what was loaded freezes it before the collector may look at it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _recover(folder: Folder, upto: int | None) -> Recovered | None:
    names = folder.names()
    notices = [
        f"{folder.where(name)} was left unfinished by a stop; it is not read"
        for name in names
        if name.endswith(".tmp")
    ]
    segments = segments_of(names)
    if upto is not None:
        segments = [name for name in segments if sequence_of(name) <= upto]
    snapshots = snapshots_of(names)
    if not segments:
        if snapshots:
            where = folder.where(segment_name(1))
            raise LedgerDamaged(where, 0, "there are snapshots but no journal")
        return None
    base, damage = newest_snapshot(folder, snapshots, upto)
    notices += [
        f"{error.file}: {error.reason} at byte {error.offset}; what it held is read from older"
        " files instead"
        for error in damage
    ]
    state = base.state if base else State()
    after = base.sequence if base else 0
    if sequence_of(segments[0]) > after + 1:
        if damage:
            raise damage[0]
        missing = folder.where(segment_name(after + 1))
        raise LedgerDamaged(missing, 0, f"the records from {after + 1} on are missing")
    seal = read_seal(folder)
    if seal is None:
        where = folder.where(SEAL_NAME)
        notices.append(f"{where} is missing or damaged; a cut of the journal would go unseen")
    position: Position | None = None
    torn = version = 0
    for name in segments:
        position, torn, version = _read_segment(
            folder, name, position, base, state, upto, last=name == segments[-1]
        )
    assert position is not None
    if position.sequence < after:
        where = folder.where(segments[-1])
        raise LedgerDamaged(where, position.end, f"records up to {after} are missing")
    unsealed = _check_seal(folder, seal.position if seal else None, position, upto)
    was_sealed = seal is not None and not seal.is_open and unsealed == position.end
    if torn:
        notices.append(
            f"{folder.where(segments[-1])}: a tail of {torn} bytes at byte {position.end} is a"
            " record that was never finished; it is dropped"
        )
    elif upto is None and seal is not None and not was_sealed:
        notices.append(
            f"{folder.where(segments[-1])} was not sealed: the last stop was not an orderly one;"
            f" the last record found is {position.sequence}"
        )
    return Recovered(state, position, after, notices, torn, unsealed, was_sealed, version)


def newest_snapshot(
    folder: Folder, names: list[str], upto: int | None
) -> tuple[Snapshot | None, list[LedgerDamaged]]:
    """The newest snapshot that is whole, and what is wrong with those after it."""
    damage: list[LedgerDamaged] = []
    for name in reversed(names):
        if upto is not None and sequence_of(name) > upto:
            continue
        where = folder.where(name)
        try:
            snapshot = read_snapshot(where, folder.read(name))
        except LedgerDamaged as error:
            damage.append(error)
            continue
        if snapshot.sequence != sequence_of(name):
            damage.append(LedgerDamaged(where, 0, "the file bears another snapshot's name"))
            continue
        return snapshot, damage
    return None, damage


def _read_segment(
    folder: Folder,
    name: str,
    before: Position | None,
    base: Snapshot | None,
    state: State,
    upto: int | None,
    *,
    last: bool,
) -> tuple[Position, int, int]:
    """Verify a segment, apply what the state does not hold yet; its end, torn bytes, and
    format."""
    where = folder.where(name)
    packed = folder.read(name)
    position = read_segment_header(where, packed)
    check_succession(where, name, before, position)
    check_base(where, base, position)
    after, version = base.sequence if base else 0, segment_version(packed)
    try:
        for record in read_records(where, packed, position):
            start = position.end
            position = position._replace(
                sequence=record.sequence, end=record.end, chain=record.chain
            )
            check_base(where, base, position)
            if record.sequence > after:
                try:
                    for effects in decode_effects(record.body, version):
                        state.apply(effects)
                except (ValueError, LookupError, struct.error) as error:
                    reason = f"record {record.sequence} makes no sense ({error!r})"
                    raise LedgerDamaged(where, start, reason) from error
            if record.sequence == upto:
                break
    except TornTail as tail:
        if not last or upto is not None:
            raise LedgerDamaged(where, tail.offset, "a record is unfinished") from tail
        return position, tail.size, version
    return position, 0, version


def check_succession(where: str, name: str, before: Position | None, start: Position) -> None:
    """Raise LedgerDamaged unless a segment follows the one before it."""
    if start.segment != sequence_of(name):
        raise LedgerDamaged(where, 0, "the file bears another segment's name")
    if before is None:
        return
    if start.identity != before.identity:
        raise LedgerDamaged(where, 0, "the file belongs to another ledger")
    if start.sequence != before.sequence:
        reason = f"records {before.sequence + 1} to {start.sequence} before it are missing"
        raise LedgerDamaged(where, 0, reason)
    if start.chain != before.chain:
        raise LedgerDamaged(where, 0, "the file does not continue the one before it")


def check_base(where: str, base: Snapshot | None, position: Position) -> None:
    """Raise LedgerDamaged unless the snapshot was taken of this very journal."""
    if base is None:
        return
    if base.identity != position.identity:
        raise LedgerDamaged(where, 0, "the snapshot belongs to another ledger")
    if base.sequence == position.sequence and base.chain != position.chain:
        raise LedgerDamaged(where, position.end, "the snapshot is of another history")


def _check_seal(folder: Folder, seal: Position | None, end: Position, upto: int | None) -> int:
    """Where the unsealed part of the newest segment begins. Raises LedgerDamaged if the seal
    knows of more than the journal holds."""
    if seal is None or upto is not None:
        return SEGMENT_HEADER
    where = folder.where(segment_name(end.segment))
    if seal.identity != end.identity:
        raise LedgerDamaged(folder.where(SEAL_NAME), 0, "the seal belongs to another ledger")
    if seal.sequence > end.sequence or seal.segment > end.segment:
        reason = f"records {end.sequence + 1} to {seal.sequence} were sealed and are missing"
        raise LedgerDamaged(where, end.end, reason)
    if seal.sequence == end.sequence and seal.segment == end.segment and seal != end:
        raise LedgerDamaged(where, seal.end, "the journal is not the one that was sealed")
    return seal.end if seal.segment == end.segment else SEGMENT_HEADER
