"""kill -9 in the middle of records: facts and their events are both there or both not."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from pathlib import Path

from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import INTERVAL, NOW, claim, cycle, register

ROOT = Path(__file__).parents[3]
AGENTS = 300

WRITER = """
import asyncio, sys
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import *

async def main():
    store = SqliteStore(sys.argv[1], "n")
    await store.open()
    agents = {a.id: a.agent for a in (await store.registry()).accounts}
    standing = {row.account: row.amount or 0 for row in await store.balances()}
    step = max(row.checked_ms for row in await store.balances()) or NOW
    print("ready", flush=True)
    while True:
        step += INTERVAL
        lease = await leased(store, now_ms=step)
        amounts = {a: standing[a] + 1 for a in lease.accounts}
        events = [changed(agents[a], standing[a], amounts[a], block=step, time_ms=step)
                  for a in lease.accounts]
        records = await store.record(sweep(lease, amounts, time_ms=step, block=step), events)
        print(records[-1].seq, flush=True)
        standing |= amounts

asyncio.run(main())
"""


async def test_a_killed_writer_leaves_no_event_without_its_fact_and_loses_nothing_acknowledged(
    path: Path,
) -> None:
    chance = random.Random(7)
    store = SqliteStore(path, "n")
    await store.open()
    await register(store, AGENTS)
    await store.close()
    finished = 0
    for _ in range(5):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        assert await writer.stdout.readline() == b"ready\n"
        await asyncio.sleep(chance.uniform(0.02, 0.25))
        writer.kill()
        told = [int(line) for line in (await writer.stdout.read()).split(b"\n")[:-1]]
        await writer.wait()
        finished += await _check(path, acknowledged=max(told, default=0))
    assert finished > 0


async def _check(path: Path, *, acknowledged: int) -> int:
    store = SqliteStore(path, "n")
    await store.open()
    try:
        last = await store.last_seq()
        assert last >= acknowledged
    finally:
        await store.close()
    with sqlite3.connect(path) as database:
        count = database.execute("SELECT count(*) FROM events").fetchone()[0]
        assert count == last
        # Each event's new balance is the account's history row of that time, and vice versa.
        facts = database.execute(
            "SELECT w.wallet_id, h.time, CAST(h.balance AS TEXT) FROM balance_history h"
            " JOIN wallet_balances w ON w.id = h.account"
        ).fetchall()
        told = database.execute(
            "SELECT subject, time, json_extract(payload, '$.newBalance') FROM events"
        ).fetchall()
        assert sorted(facts) == sorted(told)
        # ... and the current rows are the newest of them.
        current = "SELECT sum(on_chain_balance_raw) FROM wallet_balances"
        newest = (
            "SELECT sum(balance) FROM balance_history h WHERE time ="
            " (SELECT max(time) FROM balance_history n WHERE n.account = h.account)"
        )
        assert database.execute(current).fetchone() == database.execute(newest).fetchone()
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return int(count)


async def test_a_cancelled_caller_leaves_a_whole_transaction_or_none(path: Path) -> None:
    store = SqliteStore(path, "n")
    await store.open()
    await register(store, 50)
    amounts = dict.fromkeys(range(1, 101), 0)
    for number in range(1, 21):
        at = NOW + number * INTERVAL
        task = asyncio.create_task(
            cycle(store, dict.fromkeys(amounts, number), time_ms=at, block=number)
        )
        for _ in range(number % 4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len({row.amount for row in await store.balances()}) == 1
        lease = await claim(store, now_ms=at + INTERVAL - 1)
        if lease is not None:
            await store.release(lease, (), (), at)
    await store.close()
