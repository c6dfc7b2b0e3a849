"""kill -9 between any two steps of the whole sequence: one trigger and one settlement each."""

from __future__ import annotations

import asyncio
import itertools
import random
from pathlib import Path

import pytest

from core.accounting import AccountManager, PeerBalance
from core.events import EventRecord
from core.ledger import EmbeddedLedger, QueryFilter, Transfer
from core.store.sqlite import SqliteStore
from tests.settlement.life import FIRST, SECOND, life


async def left_behind(folder: Path) -> tuple[list[EventRecord], list[Transfer], PeerBalance]:
    """Events, settlement transfers, and the balance."""
    store = SqliteStore(folder / "bursar.db", "node-a")
    ledger = EmbeddedLedger(folder / "ledger")
    await store.open()
    await ledger.open()
    try:
        manager = AccountManager(ledger, "node-a", ("USD",))
        balance = await manager.get_account_balance("P", "USD")
        transfers = await ledger.query_transfers(QueryFilter(code=500, limit=8_189))
        assert all(trial.balanced for trial in await manager.trial_balance())
        return await store.find_events(), transfers, balance
    finally:
        await ledger.close()
        await store.close()


def check(folder: Path) -> None:
    """Two crossings, two settlements, one failure in between; nothing lost, nothing doubled."""
    events, transfers, balance = asyncio.run(left_behind(folder))
    of_type: dict[str, list[EventRecord]] = {}
    for event in events:
        of_type.setdefault(event.type, []).append(event)
    counts = {name: len(found) for name, found in of_type.items()}
    assert counts == {
        "SETTLEMENT_REQUIRED": 2,
        "SETTLEMENT_TRIGGERED": 2,
        "SETTLEMENT_COMPLETED": 2,
        "SETTLEMENT_FAILED": 1,
        "SETTLEMENT_STATE_CHANGED": 8,
    }
    keys = [event.payload["idempotencyKey"] for event in of_type["SETTLEMENT_TRIGGERED"]]
    assert len(set(keys)) == 2
    assert [e.payload["idempotencyKey"] for e in of_type["SETTLEMENT_COMPLETED"]] == keys
    amounts = [str(event.payload["amount"]) for event in of_type["SETTLEMENT_COMPLETED"]]
    assert amounts == [str(sum(FIRST)), str(sum(SECOND))]
    steps = [
        (e.payload["oldState"], e.payload["newState"]) for e in of_type["SETTLEMENT_STATE_CHANGED"]
    ]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(steps))
    assert (steps[0][0], steps[-1][1]) == ("IDLE", "IDLE")
    assert (balance.receivable, balance.receivable_in_transit) == (0, 0)
    assert len(transfers) == 6  # three held, two posted, one voided


def test_without_a_kill_it_is_as_described(tmp_path: Path) -> None:
    steps = life(tmp_path, None)
    assert steps is not None
    assert steps > 40
    check(tmp_path)
    assert life(tmp_path, None) is not None  # another life finds nothing left to do
    check(tmp_path)


@pytest.mark.slow
def test_a_kill_at_every_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    die_at, killed = 0, True
    while killed:
        folder = tmp_path / str(die_at)
        folder.mkdir()
        killed = life(folder, die_at) is None
        if killed:
            assert life(folder, None) is not None
        check(folder)
        die_at += 1
    assert die_at > 40


@pytest.mark.slow
def test_kills_in_life_after_life_lose_and_double_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    kills = 0
    for run in range(20):
        folder = tmp_path / str(run)
        folder.mkdir()
        while life(folder, rng.randrange(30)) is None:
            kills += 1
        check(folder)
    assert kills > 40
