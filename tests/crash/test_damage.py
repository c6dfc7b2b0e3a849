"""Every byte flipped, every length cut: the ledger refuses, or is whole, or says what is gone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from core.ledger.check import check
from core.ledger.fold import fold, trim
from core.ledger.journal import SEAL_NAME
from core.ledger.recovery import recover
from core.ledger.state import State
from core.ledger.types import LedgerDamaged
from tests.crash.simulated import SimFolder
from tests.crash.workload import Run, described

Files = dict[str, bytes]
Damage = Callable[[Files], Iterator[tuple[str, int, Files]]]


def written(*, sealed: bool, snapshots: bool) -> tuple[Files, Run, list[object]]:
    """A small ledger's files, and what it held after each record."""
    run = Run(SimFolder(), random.Random(5))
    history: list[object] = [described(State())]
    for i in range(8):
        run.commit()
        history.append(described(run.acked))
        if i in (1, 3) and snapshots:
            fold(run.folder, run.journal.rotate())
            trim(run.folder)
        if i == 5:
            run.journal.seal()
    if sealed:
        run.journal.seal()
    assert isinstance(run.folder, SimFolder)
    return run.folder.contents(), run, history


def flips(files: Files) -> Iterator[tuple[str, int, Files]]:
    rng = random.Random(3)
    for name, content in files.items():
        for at in range(len(content)):
            damaged = bytearray(content)
            damaged[at] ^= 1 << rng.randrange(8)
            yield name, at, files | {name: bytes(damaged)}


def cuts(files: Files) -> Iterator[tuple[str, int, Files]]:
    for name, content in files.items():
        for size in range(len(content)):
            yield name, size, files | {name: content[:size]}


@pytest.mark.parametrize("snapshots", [False, True], ids=["journal", "with snapshots"])
@pytest.mark.parametrize("damage", [flips, cuts])
def test_damage_to_a_sealed_ledger_never_gives_a_wrong_balance(
    damage: Damage, snapshots: bool
) -> None:
    files, run, _ = written(sealed=True, snapshots=snapshots)
    whole = described(run.acked)
    refused = 0
    for name, at, damaged in damage(files):
        folder = SimFolder(damaged)
        try:
            recovered = recover(folder)
        except LedgerDamaged:
            refused += 1
            assert any("journal" in found.file for found in check(folder).damage), (name, at)
        else:
            assert recovered is not None
            assert described(recovered.state) == whole, (name, at)
            # Whole, because another copy stood in or the file was a spare; the operator hears
            # of it, at the start or from a check. One slot of the seal may go unnoticed: the
            # other still holds.
            assert recovered.notices or check(folder).damage or name == SEAL_NAME, (name, at)
            assert not recovered.torn
        assert folder.contents() == damaged
    assert refused > sum(len(c) for n, c in files.items() if n.startswith("journal-0")) * 0.99


@pytest.mark.parametrize("damage", [flips, cuts])
def test_damage_after_the_seal_is_refused_or_reported_as_a_dropped_tail(
    damage: Damage,
) -> None:
    files, run, history = written(sealed=False, snapshots=False)
    dropped = 0
    for name, at, damaged in damage(files):
        try:
            recovered = recover(SimFolder(damaged))
        except LedgerDamaged:
            continue
        assert recovered is not None
        found = recovered.position.sequence
        assert described(recovered.state) == history[found], (name, at)
        if found < run.journal.position.sequence:
            dropped += 1
            # A flip can only take the last record; a cut, what was not sealed. Both are told.
            assert found >= (7 if damage is flips else 6)
            assert recovered.notices, (name, at)
    assert dropped > 100
