"""A day of operation: 2,880 cycles over 1,000 agents of which 1 % change."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from core.store.protocol import NewWallet
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import CHAINS, ETH, INTERVAL, NOW, changed, cycle, evm_address

CYCLES, AGENTS, CHANGING = 2_880, 1_000, 10
ROW_PER_READ = 153  # bytes, as measured for a plain (agent, asset, time, block, balance) table


async def test_a_day_grows_by_what_changed_and_not_by_what_was_read(path: Path) -> None:
    chance = random.Random(1)
    store = SqliteStore(path, "n", interval_ms=INTERVAL)
    await store.open()
    await store.put_registry(CHAINS, [ETH])
    await store.add_wallets(
        [NewWallet(f"agent-{i}", "base", evm_address(i)) for i in range(AGENTS)], (), NOW
    )
    standing = {row.account: 10**18 for row in await store.balances()}
    await cycle(store, standing)
    empty = await store.size_bytes()
    for number in range(1, CYCLES + 1):
        at = NOW + number * INTERVAL
        amounts = {a: chance.randrange(10**19) for a in chance.sample(sorted(standing), CHANGING)}
        events = [
            changed(f"agent-{a - 1}", standing[a], amount, block=number, time_ms=at)
            for a, amount in amounts.items()
        ]
        await cycle(store, amounts, time_ms=at, block=number, events=events)
        standing |= amounts
    end = NOW + CYCLES * INTERVAL
    assert await store.gaps("base", NOW, end) == []
    assert await store.last_seq() == CYCLES * CHANGING
    assert {r.account: r.amount for r in await store.balances()} == standing
    await store.close()

    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT count(*) FROM balance_history").fetchone()[0]
        polls = database.execute("SELECT count(*) FROM polls").fetchone()[0]
    assert (rows, polls) == (AGENTS + CYCLES * CHANGING, CYCLES + 1)
    grown = path.stat().st_size - empty
    # 28,800 changes, each with its event for the outbox: under 20 MB, where a row per read
    # would be 440 MB before a single event.
    assert grown < 700 * CYCLES * CHANGING
    assert grown < CYCLES * AGENTS * ROW_PER_READ / 20
