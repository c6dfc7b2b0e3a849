"""Carrying a ledger over: timestamps kept, everything compared, the rest named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.ledger import Account, AccountFlags, EmbeddedLedger, Transfer, TransferFlags
from core.ledger.journal import Journal
from core.ledger.memory import Book
from core.ledger.migration import MigrationRefused, migrate
from tests.crash.simulated import SimFolder
from tests.crash.workload import IDENTITY, Run
from tests.unit.ledger.worlds import ManualClock

F = TransferFlags


def draft(id_: int, debit: int, credit: int, amount: int, **fields: int) -> Transfer:
    return Transfer(
        id=id_,
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        ledger=1,
        code=1,
        **fields,
    )


async def target_at(path: Path, ms: int) -> EmbeddedLedger:
    ledger = EmbeddedLedger(path, ManualClock(ms))
    await ledger.open()
    return ledger


async def test_random_ledgers_are_carried_with_timestamps_and_equal_balances(
    tmp_path: Path,
) -> None:
    for seed in range(8):
        run = Run(SimFolder(), random.Random(seed))
        assert isinstance(run.journal, Journal)
        assert run.journal.position.identity == IDENTITY
        for _ in range(12):
            run.commit()
        run.clock.advance(10)
        lapsed = run.book.expire()
        assert lapsed is None or lapsed.expired
        state = run.book.state
        target = await target_at(tmp_path / str(seed), run.clock.ms + 5)
        report = await migrate(state, target)
        assert report.accounts == len(state.account_order)
        assert report.transfers + report.lapsed_left == len(state.transfer_order)
        assert report.burnt_ids_left == len(state.burnt) > 0
        for account in state.account_order:
            [found] = await target.lookup_accounts([account.id])
            assert found.debits_posted == account.debits_posted
            assert found.timestamp == account.timestamp
        assert await migrate(state, target) == report  # run again, it changes nothing
        await target.close()


async def test_closed_accounts_chains_and_lapsed_transfers_come_over_as_they_stand(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    book = Book(clock)
    closed = int(AccountFlags.CLOSED)
    book.create_accounts(
        [Account(id=i, ledger=1, code=1, flags=closed if i == 4 else 0) for i in range(1, 5)]
    )
    book.create_transfers(
        [
            draft(1, 1, 2, 5, flags=int(F.LINKED)),
            draft(2, 2, 1, 3),
            draft(3, 1, 2, 9, flags=int(F.PENDING), timeout=1),
            draft(4, 1, 2, 7, flags=int(F.PENDING), timeout=60),
            draft(5, 3, 1, 0, flags=int(F.PENDING | F.CLOSING_DEBIT)),
        ]
    )
    target = await target_at(tmp_path, clock.ms + 100_000)
    with pytest.raises(MigrationRefused, match=r"2 transfers are pending with a time-out"):
        await migrate(book.state, target)
    assert await target.lookup_accounts([1]) == []
    clock.advance(2)
    book.create_transfers(
        [Transfer(id=6, pending_id=4, amount=6, flags=int(F.POST_PENDING_TRANSFER))]
    )
    report = await migrate(book.state, target)
    assert (report.lapsed_left, report.time_outs_left) == (1, 1)
    assert "1 pending transfers that lapsed" in report.lines()[1]
    rows = await target.lookup_accounts([1, 2, 3, 4])
    assert [bool(a.flags & closed) for a in rows] == [False, False, True, True]
    assert [a.debits_posted for a in rows] == [11, 3, 0, 0]
    await target.close()


async def test_a_target_that_holds_something_else_is_refused_by_name(tmp_path: Path) -> None:
    clock = ManualClock()
    book = Book(clock)
    book.create_accounts([Account(id=1, ledger=1, code=1), Account(id=2, ledger=1, code=1)])
    book.create_transfers([draft(1, 1, 2, 5)])
    target = await target_at(tmp_path, clock.ms + 5)
    await target.create_accounts([Account(id=1, ledger=1, code=2)])
    with pytest.raises(MigrationRefused, match="refuses account 2: imported_event"):
        await migrate(book.state, target)
    await target.close()
    behind = await target_at(tmp_path / "behind", clock.ms - 1_000)
    with pytest.raises(MigrationRefused, match="imported_event_timestamp_must_not_advance"):
        await migrate(book.state, behind)
    await behind.close()
