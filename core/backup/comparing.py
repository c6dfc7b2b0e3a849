"""What a restore would change: the records of now and those of a backup, side by side.

Both come in order, so it is one merge, whatever the size of the fleet. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from core.backup.records import (
    KIND_NAMES,
    AgentEntry,
    AnyRecord,
    Balance,
    LedgerCheckpoint,
    Lifecycle,
    Position,
    Setting,
    Settlement,
    WalletArchive,
    digest,
    position,
)

_EXAMPLES = 3
# Settings are compared in words, the ledger as a whole.
_LEFT_OUT = (Setting.RANK, LedgerCheckpoint.RANK)
# What moves by itself while an operator looks at a dry run; agents come to life and are archived.
_MOVING = frozenset(
    KIND_NAMES[kind.RANK] for kind in (Balance, Lifecycle, WalletArchive, Settlement)
)
_CHANGING = KIND_NAMES[AgentEntry.RANK]


class Difference(msgspec.Struct, frozen=True):
    """One kind of record: how many the backup adds, changes and removes beside the present."""

    kind: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    examples: tuple[str, ...] = ()


class Comparison:
    """Compares as the backup's records pass `through`; `differences` afterwards."""

    def __init__(self, present: Iterable[AnyRecord]) -> None:
        self._present = ((position(record), record) for record in present)
        self._ahead = next(self._present, None)
        self._found: dict[int, list[int]] = {}
        self._examples: dict[int, list[str]] = {}

    def through(self, records: Iterable[AnyRecord]) -> Iterator[AnyRecord]:
        """The same records, compared one by one."""
        for record in records:
            here = position(record)
            self._skip_to(here)
            if self._ahead is None or self._ahead[0] != here:
                self._count(here, 0)
            else:
                if digest(self._ahead[1]) != digest(record):
                    self._count(here, 1)
                self._ahead = next(self._present, None)
            yield record
        self._skip_to(None)

    def differences(self) -> tuple[Difference, ...]:
        """What was found, by kind."""
        return tuple(
            Difference(KIND_NAMES[rank], added, changed, removed, tuple(self._examples[rank]))
            for rank, (added, changed, removed) in sorted(self._found.items())
        )

    def _skip_to(self, here: Position | None) -> None:
        while self._ahead is not None and (here is None or self._ahead[0] < here):
            self._count(self._ahead[0], 2)
            self._ahead = next(self._present, None)

    def _count(self, here: Position, what: int) -> None:
        if here.rank in _LEFT_OUT:
            return
        self._found.setdefault(here.rank, [0, 0, 0])[what] += 1
        examples = self._examples.setdefault(here.rank, [])
        if len(examples) < _EXAMPLES:
            examples.append("+~-"[what] + " " + " ".join(filter(None, here.key)))


def compare(present: Iterable[AnyRecord], records: Iterable[AnyRecord]) -> tuple[Difference, ...]:
    """What putting `records` in the place of `present` would change."""
    comparison = Comparison(present)
    for _ in comparison.through(records):
        pass
    return comparison.differences()


def at_rest(differences: Iterable[Difference]) -> dict[str, tuple[int, int, int]]:
    """The part that does not move by itself: balances and activity change while one looks."""
    found = {
        d.kind: (d.added, d.changed if d.kind != _CHANGING else 0, d.removed)
        for d in differences
        if d.kind not in _MOVING
    }
    return {kind: counts for kind, counts in found.items() if any(counts)}
