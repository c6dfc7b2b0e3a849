"""Files that are missing, foreign or out of place: refused by name, with nothing changed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from core.ledger import EmbeddedLedger, Ledger, LedgerDamaged, TigerBeetleLedger
from core.ledger.check import check
from core.ledger.files import RealFolder
from core.ledger.fold import fold, trim
from core.ledger.journal import SEAL_NAME, VERSION, Journal, segment_name
from core.ledger.recovery import recover
from core.ledger.snapshot import snapshot_name
from core.ledger.state import State
from tests.crash.simulated import SimFolder
from tests.crash.workload import Run, described


def written(seed: int = 1) -> Run:
    """Two snapshots, three segments, sealed."""
    run = Run(SimFolder(), random.Random(seed))
    for _ in range(3):
        run.commit()
        run.commit()
        fold(run.folder, run.journal.rotate())
        trim(run.folder)
    run.commit()
    run.journal.seal()
    return run


def files_of(run: Run) -> dict[str, bytes]:
    assert isinstance(run.folder, SimFolder)
    return run.folder.contents()


def refused(files: dict[str, bytes], said: str) -> None:
    folder = SimFolder(files)
    with pytest.raises(LedgerDamaged, match=said):
        recover(folder)
    assert check(folder).damage
    assert folder.contents() == files


def test_a_ledger_keeps_two_snapshots_and_the_journal_after_the_older_one() -> None:
    assert sorted(files_of(written())) == [
        segment_name(5),
        segment_name(7),
        SEAL_NAME,
        snapshot_name(4),
        snapshot_name(6),
    ]


def test_an_empty_folder_holds_no_ledger() -> None:
    assert recover(SimFolder()) is None
    assert recover(SimFolder({"snapshot-00000000000000000004.bin.7.tmp": b"half"})) is None


def test_a_check_of_a_whole_ledger_counts_and_finds_nothing() -> None:
    run = written()
    report = check(run.folder)
    assert (report.damage, report.notices) == ((), ())
    assert [(f.first, f.last, f.records) for f in report.files] == [
        (4, 4, 0),
        (6, 6, 0),
        (5, 6, 2),
        (7, 7, 1),
    ]
    assert report.sealed_upto == 7
    assert report.transfers == len(run.book.state.transfers)


def test_a_missing_segment_is_named() -> None:
    files = files_of(written())
    without_last = {n: c for n, c in files.items() if n != segment_name(7)}
    refused(without_last, "were sealed and are missing")
    refused({n: c for n, c in files.items() if "journal-" not in n}, "snapshots but no journal")
    older = {n: c for n, c in files.items() if n != segment_name(5)}
    assert recover(SimFolder(older)) is not None  # the newer snapshot stands for it
    older[snapshot_name(6)] = b"x" * 200
    refused(older, "this is not a ledger's snapshot")


def test_a_gap_between_segments_is_damage() -> None:
    run = Run(SimFolder(), random.Random(4))
    for _ in range(3):
        run.commit()
        run.journal.rotate()
    files = files_of(run)
    del files[segment_name(2)]
    refused(files, "records 2 to 2 before it are missing")
    swapped = files_of(run)
    swapped[segment_name(2)], swapped[segment_name(3)] = (
        swapped[segment_name(3)],
        swapped[segment_name(2)],
    )
    refused(swapped, "bears another segment's name")
    swapped = files_of(run)
    swapped[segment_name(1)] = swapped[segment_name(1)][:60]
    refused(swapped, "a record is unfinished")


def test_files_of_another_ledger_are_refused() -> None:
    ours, theirs = files_of(written(1)), files_of(written(2))
    for name in (segment_name(7), snapshot_name(6)):
        assert ours[name] != theirs[name]
        mixed = ours | {name: theirs[name]}
        refused(mixed, "does not continue|another history|another ledger|not the one")
    renamed = ours | {snapshot_name(6): ours[snapshot_name(4)]}
    recovered = recover(SimFolder(renamed))
    assert recovered is not None
    assert recovered.base == 4
    assert "another snapshot's name" in recovered.notices[0]


def test_a_future_format_is_refused_and_not_guessed_at() -> None:
    files = files_of(written())
    content = bytearray(files[segment_name(7)])
    content[8] = 9
    refused(files | {segment_name(7): bytes(content)}, "header is damaged")


def test_a_ledger_of_the_first_format_is_read_and_goes_on_in_a_segment_of_the_second() -> None:
    written_before = Path(__file__).with_name("format_1")
    files = {path.name: path.read_bytes() for path in written_before.iterdir()}
    expected = json.loads(files.pop("expected.json"))
    found = recover(SimFolder(files))
    assert found is not None
    assert found.version == 1
    run = Run(SimFolder(files), random.Random(1))
    run.acked = found.state
    assert summary(run.book.state) == expected
    names = set(files) | {segment_name(run.journal.position.sequence + 1)}
    assert set(run.folder.names()) == names
    while not any(t.code == 2 for t in run.book.state.transfer_order):
        run.commit()  # runs among them
    again = recover(run.folder)
    assert again is not None
    assert again.version == VERSION
    assert described(again.state) == described(run.book.state)
    assert check(run.folder).damage == ()


def summary(state: State) -> object:
    """What the writer of the files in `format_1` wrote down of them."""
    return {
        "timestamp": state.timestamp,
        "accounts": [
            [
                a.id,
                a.debits_pending,
                a.debits_posted,
                a.credits_pending,
                a.credits_posted,
                len(a.transfers),
            ]
            for a in state.account_order
        ],
        "transfers": [[t.id, t.amount, t.flags, t.timestamp] for t in state.transfer_order],
        "burnt": sorted(state.burnt),
        "pending": [list(item) for item in state.pending.items()],
    }


def test_without_its_seal_a_ledger_starts_and_says_so() -> None:
    run = written()
    files = files_of(run)
    del files[SEAL_NAME]
    recovered = recover(SimFolder(files))
    assert recovered is not None
    assert described(recovered.state) == described(run.book.state)
    assert "missing or damaged" in recovered.notices[0]


def test_the_folding_process_says_why_it_failed(tmp_path: Path) -> None:
    Journal.create(RealFolder(tmp_path), bytes(16)).close()
    command = [sys.executable, "-m", "core.ledger.fold", str(tmp_path), "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not hold record 9" in done.stderr
    assert [n for n in RealFolder(tmp_path).names() if n.startswith("snapshot")] == []


def test_both_backends_stand_behind_one_door(tmp_path: Path) -> None:
    doors: list[Ledger] = [EmbeddedLedger(tmp_path), TigerBeetleLedger(0, "127.0.0.1:3000")]
    assert [door.backend for door in doors] == [
        f"embedded ledger (journal: {tmp_path})",
        "TigerBeetle (cluster: 0, replicas: 127.0.0.1:3000)",
    ]
