"""A full and the incrementals upon it: which belong together, how they differ, how they add up.

Differences are found by comparing digests with the parent's, never by time stamps, so neither a
clock nor a writer that forgot to stamp can lose a change. Folding merges sorted streams, the
newest archive that names a record decides; nothing is held in memory but one line per archive.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from core.backup.errors import ChainError, MissingParentError
from core.backup.header import BackupType
from core.backup.records import KIND_NAMES, AnyRecord, Gone, Line, Position
from core.backup.runs import Run
from core.backup.state import Known

LONGEST = 7


class Link(msgspec.Struct, frozen=True):
    """What a chain needs to know of an archive."""

    id: str
    install_id: str
    type: BackupType
    sequence: int
    parent_id: str | None
    parent_sha256: str | None
    content_sha256: str | None
    """None where it is not known before the archive is opened."""


def resolve(links: Mapping[str, Link], archive_id: str) -> list[Link]:
    """The chain of an archive, its full first.

    Raises MissingParentError naming the parent, ChainError for one that does not fit.
    """
    if archive_id not in links:
        raise ChainError(f"There is no backup {archive_id}; see `bursar backup list`.")
    chain = [links[archive_id]]
    while (child := chain[-1]).parent_id is not None:
        if len(chain) == LONGEST:
            raise ChainError(f"The chain of backup {archive_id} is longer than {LONGEST}.")
        parent = links.get(child.parent_id)
        if parent is None:
            raise MissingParentError(
                f"Backup {child.id} is an incremental upon {child.parent_id}, which is in none of "
                "the places searched. Fetch that file, or restore an older backup."
            )
        check_link(child, parent)
        chain.append(parent)
    return chain[::-1]


def check_link(child: Link, parent: Link) -> None:
    """Raises ChainError where `child` was not made upon exactly this parent."""
    if child.install_id != parent.install_id:
        raise ChainError(f"Backup {child.id} and its parent are of different installations.")
    if parent.sequence >= child.sequence:
        raise ChainError(f"Backup {child.id} does not come after its parent {parent.id}.")
    if parent.content_sha256 not in (None, child.parent_sha256):
        raise ChainError(
            f"Backup {child.id} was made upon another {parent.id} than the one found: its content "
            f"is {parent.content_sha256}, not {child.parent_sha256}. Look for another copy."
        )


def differences(parent: Iterable[Known], current: Iterable[Run]) -> Iterator[Line]:
    """Upserts and tombstones that lead from the parent's state to `current`, in order."""
    known = iter(parent)
    before = next(known, None)
    for run in current:
        rank, always = run.kind.RANK, run.kind.ALWAYS
        for key, now, record in zip(run.keys, run.digests, run.records, strict=True):
            here = Position(rank, key)
            while before is not None and before.position < here:
                yield _tombstone(before.position)
                before = next(known, None)
            is_same = False
            if before is not None and before.position == here:
                is_same = before.digest == now
                before = next(known, None)
            if not is_same or always:
                yield record
    while before is not None:
        yield _tombstone(before.position)
        before = next(known, None)


def _tombstone(where: Position) -> Gone:
    return Gone(KIND_NAMES[where.rank], where.key)


def fold(archives: Sequence[Iterable[tuple[Position, Line]]]) -> Iterator[AnyRecord]:
    """The state after the last of `archives` (full first, each as `records.placed` gives it)."""
    if len(archives) == 1:
        yield from (line for _, line in archives[0] if not isinstance(line, Gone))
        return
    ages = [_aged(lines, -age) for age, lines in enumerate(archives)]
    done: Position | None = None
    for where, _, line in heapq.merge(*ages, key=lambda item: item[:2]):
        if where == done:
            continue  # a newer archive has spoken of it
        done = where
        if not isinstance(line, Gone):
            yield line


def _aged(lines: Iterable[tuple[Position, Line]], age: int) -> Iterator[tuple[Position, int, Line]]:
    for where, line in lines:
        yield where, age, line
