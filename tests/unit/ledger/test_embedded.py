"""The embedded ledger around its book: group commit, order, snapshots, reopening, locking."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.ledger import (
    Account,
    AccountFilter,
    AccountFilterFlags,
    EmbeddedLedger,
    FieldOutOfRange,
    LedgerClosed,
    LedgerDamaged,
    LedgerInUse,
    QueryFilter,
    TooManyEvents,
    Transfer,
    TransferFlags,
    TransferStatus,
)
from core.ledger.files import RealFolder
from core.ledger.recovery import recover
from tests.crash.simulated import SimFolder
from tests.crash.workload import described
from tests.unit.ledger.worlds import ManualClock


def accounts(count: int = 2) -> list[Account]:
    return [Account(id=i, ledger=1, code=1) for i in range(1, count + 1)]


def draft(id_: int, amount: int = 1, **fields: int) -> Transfer:
    given = {"id": id_, "debit_account_id": 1, "credit_account_id": 2, "ledger": 1, "code": 1}
    return Transfer(amount=amount, **(given | fields))


async def test_concurrent_callers_share_syncs_and_keep_their_order(tmp_path: Path) -> None:
    ledger = EmbeddedLedger(tmp_path, ManualClock())
    await ledger.open()
    await ledger.create_accounts(accounts())
    before = ledger.health()
    order: list[int] = []

    async def caller(number: int) -> None:
        for i in range(20):
            [result] = await ledger.create_transfers([draft(1 + number * 100 + i)])
            assert result.status is TransferStatus.CREATED
            order.append(result.timestamp)

    await asyncio.gather(*map(caller, range(64)))
    after = ledger.health()
    assert after.commits - before.commits == 64 * 20
    assert after.syncs - before.syncs < 64 * 20 / 8
    assert order == sorted(order)  # acknowledged as they were committed
    assert (await ledger.get_account_balance(2)).balance == 64 * 20
    await ledger.close()


class HeldFolder(SimFolder):
    """A disk whose syncs wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.before_step = self._wait

    def _wait(self, kind: str) -> None:
        if kind == "sync":
            assert self.go.wait(10)


async def test_every_reply_waits_for_what_it_was_computed_from_reads_and_exists_too() -> None:
    folder = HeldFolder()
    ledger = EmbeddedLedger("simulated", ManualClock(), folder=folder, idle_seconds=9)
    await ledger.open()
    await ledger.create_accounts(accounts())
    folder.go.clear()
    calls = [asyncio.create_task(ledger.create_transfers([draft(1)])) for _ in range(2)]
    await asyncio.sleep(0)
    rows_read = asyncio.create_task(ledger.lookup_accounts([1]))
    transfers_read = asyncio.create_task(ledger.lookup_transfers([1]))
    _, waiting = await asyncio.wait([*calls, rows_read, transfers_read], timeout=0.05)
    assert len(waiting) == 4
    beat = 0
    for _ in range(20):  # the loop itself is not held
        await asyncio.sleep(0.001)
        beat += 1
    assert beat == 20
    folder.go.set()
    first, again = await asyncio.gather(*calls)
    assert first[0].status is TransferStatus.CREATED
    assert again[0].status is TransferStatus.EXISTS
    rows, transfers = await rows_read, await transfers_read
    assert rows[0].debits_posted == 1
    assert transfers[0].id == 1
    await ledger.close()


async def test_a_reopened_ledger_is_the_one_that_was_closed(tmp_path: Path) -> None:
    clock = ManualClock()
    ledger = EmbeddedLedger(tmp_path, clock)
    await ledger.open()
    await ledger.create_accounts(accounts())
    await ledger.create_transfers(
        [
            draft(1, 5),
            draft(2, 6, flags=int(TransferFlags.PENDING), timeout=10),
            Transfer(id=3, debit_account_id=1, credit_account_id=77, ledger=1, code=1),
        ]
    )
    held = described(ledger._book.state)
    await ledger.close()
    await ledger.close()
    assert any(p.name.startswith("snapshot-") for p in tmp_path.iterdir())
    again = EmbeddedLedger(tmp_path, clock)
    await again.open()
    assert described(again._book.state) == held
    assert again.health().notices == ()
    [burnt] = await again.create_transfers([draft(3)])
    assert burnt.status is TransferStatus.ID_ALREADY_FAILED
    clock.advance(11)
    [row] = await again.lookup_accounts([1])
    assert row.debits_pending == 0
    await again.close()
    recovered = recover(RealFolder(tmp_path))
    assert recovered is not None
    assert recovered.state.next_due() == 0


async def test_a_snapshot_is_folded_by_another_process_and_the_journal_trimmed(
    tmp_path: Path,
) -> None:
    ledger = EmbeddedLedger(tmp_path, ManualClock())
    await ledger.open()
    await ledger.create_accounts(accounts())
    for i in range(1, 5):
        await ledger.create_transfers([draft(i)])
        assert await ledger.snapshot()
        assert ledger.health().snapshot_failure == ""
    names = sorted(p.name for p in tmp_path.iterdir())
    assert [n.partition("-")[2] for n in names if n.startswith("snapshot-")] == [
        f"{n:020d}.bin" for n in (4, 5)
    ]
    assert [n for n in names if n.endswith(".log")] == [f"journal-{n:020d}.log" for n in (5, 6)]
    held = described(ledger._book.state)
    newest = tmp_path / f"snapshot-{5:020d}.bin"
    await ledger.close()
    newest.write_bytes(newest.read_bytes()[:-1])
    again = EmbeddedLedger(tmp_path, ManualClock())
    await again.open()
    assert described(again._book.state) == held
    assert any("snapshot" in notice for notice in again.health().notices)
    await again.close()


async def test_a_journal_that_grew_is_folded_without_being_asked(tmp_path: Path) -> None:
    clock = ManualClock()
    ledger = EmbeddedLedger(tmp_path, clock, snapshot_bytes=500, look_seconds=30)
    await ledger.open()
    await ledger.create_accounts(accounts())
    await ledger.create_transfers([draft(i) for i in range(1, 9)])
    clock.advance(31)
    for _ in range(500):
        await asyncio.sleep(0.01)
        if ledger.health().last_snapshot_ms:
            break
    assert ledger.health().last_snapshot_ms == clock.ms
    await ledger.close()


async def test_two_processes_cannot_hold_one_ledger(tmp_path: Path) -> None:
    ledger = EmbeddedLedger(tmp_path, ManualClock())
    await ledger.open()
    with pytest.raises(LedgerInUse, match="held by another process"):
        await EmbeddedLedger(tmp_path, ManualClock()).open()
    await ledger.close()
    await ledger.open()
    await ledger.close()


async def test_a_damaged_or_foreign_ledger_refuses_to_start_and_is_not_touched(
    tmp_path: Path,
) -> None:
    ledger = EmbeddedLedger(tmp_path, ManualClock())
    await ledger.open()
    await ledger.create_accounts(accounts())
    await ledger.close()
    journal = tmp_path / f"journal-{1:020d}.log"
    content = journal.read_bytes()
    for damaged in (b"foreign file " * 20, content[:60] + b"x" + content[61:]):
        journal.write_bytes(damaged)
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        with pytest.raises(LedgerDamaged, match=str(journal)):
            await EmbeddedLedger(tmp_path, ManualClock()).open()
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


async def test_a_row_that_does_not_fit_raises_and_nothing_of_its_batch_is_booked(
    tmp_path: Path,
) -> None:
    ledger = EmbeddedLedger(tmp_path, ManualClock())
    await ledger.open()
    await ledger.create_accounts(accounts())
    held = described(ledger._book.state)
    lost = Transfer(id=8, debit_account_id=1, credit_account_id=9, ledger=1, code=1)
    pending = draft(9, flags=int(TransferFlags.PENDING))
    for bad in (draft(3, -1), draft(3, 2**128), draft(2**128), draft(3, user_data_32=2**32)):
        with pytest.raises(FieldOutOfRange, match=r"event 3\): \w+ is -?\d+"):
            await ledger.create_transfers([draft(1), pending, lost, bad])
    with pytest.raises(FieldOutOfRange, match="code is 65536"):
        await ledger.create_accounts([Account(id=5, ledger=1, code=1), Account(id=6, code=65536)])
    with pytest.raises(TooManyEvents, match="8190 events"):
        await ledger.create_transfers([draft(i) for i in range(1, 8191)])
    with pytest.raises(TooManyEvents, match="8190 ids"):
        await ledger.lookup_transfers(list(range(8190)))
    assert described(ledger._book.state) == held
    assert await ledger.create_transfers([]) == []
    await ledger.close()
    with pytest.raises(LedgerClosed, match="is not open"):
        await ledger.lookup_accounts([1])


def test_importing_the_room_loads_no_backend_client_and_no_screen() -> None:
    code = (
        "import sys, core.ledger;"
        "print({'tigerbeetle', 'textual', 'rich', 'web3', 'sqlite3'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=os.getcwd()
    )
    assert done.stdout.strip() == "set()"


async def test_a_search_over_many_rows_lets_the_loop_turn_and_sees_one_moment(
    tmp_path: Path,
) -> None:
    ledger = EmbeddedLedger(tmp_path, ManualClock())
    await ledger.open()
    await ledger.create_accounts(accounts())
    for first in range(1, 32_001, 8_000):
        await ledger.create_transfers([draft(i, code=1) for i in range(first, first + 8_000)])
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    search = asyncio.create_task(ledger.query_transfers(QueryFilter(code=9, limit=10)))
    await asyncio.sleep(0)
    [late] = await ledger.create_transfers([draft(99_999, code=9)])
    assert late.status is TransferStatus.CREATED
    assert await search == []
    assert turns >= 7
    both = int(AccountFilterFlags.CREDITS)
    assert await ledger.get_account_transfers(AccountFilter(1, limit=10, flags=both)) == []
    [found] = await ledger.get_account_transfers(AccountFilter(2, code=9, limit=10, flags=both))
    assert found.id == 99_999
    turning.cancel()
    await ledger.close()
