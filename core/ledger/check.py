"""Read every file of a ledger and say what is wrong with it, by file and offset.

Changes nothing, and unlike a start goes on after the first damage. Reading a ledger that an
engine has open is safe; its newest record may then show as a torn tail.
"""

from __future__ import annotations

import struct

import msgspec

from core.ledger.codec import decode_effects
from core.ledger.files import Folder
from core.ledger.journal import (
    Position,
    TornTail,
    read_records,
    read_seal,
    read_segment_header,
    segment_version,
)
from core.ledger.recovery import check_succession, recover, segments_of, snapshots_of
from core.ledger.snapshot import read_snapshot
from core.ledger.types import LedgerDamaged


class Finding(msgspec.Struct, frozen=True):
    """One thing the operator should know: `offset` is in bytes from the start of `file`."""

    file: str
    offset: int
    what: str


class FileReport(msgspec.Struct, frozen=True):
    """A file that was read to its end. `records` is 0 for a snapshot."""

    file: str
    size: int
    first: int
    last: int
    records: int
    commits: int


class Report(msgspec.Struct, frozen=True):
    """What `bursar ledger check` prints; the ledger starts if `damage` is empty."""

    files: tuple[FileReport, ...]
    damage: tuple[Finding, ...]
    notices: tuple[str, ...]
    accounts: int
    transfers: int
    sealed_upto: int  # the last record that the seal vouches for


def check(folder: Folder) -> Report:
    """Read and verify everything. Raises OSError."""
    files: list[FileReport] = []
    damage: list[Finding] = []
    notices: list[str] = []
    names = folder.names()
    for name in snapshots_of(names):
        where, packed = folder.where(name), folder.read(name)
        try:
            sequence = read_snapshot(where, packed).sequence
        except LedgerDamaged as error:
            damage.append(Finding(error.file, error.offset, error.reason))
        else:
            files.append(FileReport(where, len(packed), sequence, sequence, 0, 0))
    before: Position | None = None
    segments = segments_of(names)
    for name in segments:
        found, before = _check_segment(folder, name, before, last=name == segments[-1])
        if isinstance(found, FileReport):
            files.append(found)
        else:
            damage.append(found)
    accounts = transfers = 0
    try:
        recovered = recover(folder)
    except LedgerDamaged as error:
        finding = Finding(error.file, error.offset, error.reason)
        if finding not in damage:
            damage.append(finding)
    else:
        if recovered is not None:
            notices += recovered.notices
            accounts = len(recovered.state.account_order)
            transfers = len(recovered.state.transfer_order)
    seal = read_seal(folder)
    return Report(
        tuple(files),
        tuple(damage),
        tuple(notices),
        accounts,
        transfers,
        seal.position.sequence if seal else 0,
    )


def _check_segment(
    folder: Folder, name: str, before: Position | None, *, last: bool
) -> tuple[FileReport | Finding, Position | None]:
    """A segment's report or first damage, and where the next one should go on."""
    where, packed = folder.where(name), folder.read(name)
    try:
        start = end = read_segment_header(where, packed)
        check_succession(where, name, before, start)
        commits = 0
        try:
            for record in read_records(where, packed, start):
                commits += sum(1 for _ in decode_effects(record.body, segment_version(packed)))
                end = end._replace(sequence=record.sequence, end=record.end, chain=record.chain)
        except TornTail as tail:
            if not last:
                return Finding(where, tail.offset, "a record is unfinished"), None
        except (ValueError, struct.error) as error:
            return Finding(where, end.end, f"record {end.sequence + 1}: {error}"), None
    except LedgerDamaged as error:
        return Finding(error.file, error.offset, error.reason), None
    records = end.sequence - start.sequence
    report = FileReport(where, len(packed), start.sequence + 1, end.sequence, records, commits)
    return report, end
