"""The store measured: history growth beside a row per read, a history query, and what a cycle's
claim and record cost as the fleet grows. `python -m tests.bench.bench_store [accounts ...]`."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from core.model import ChainKind
from core.store import history as past
from core.store.protocol import HistoryRow, NewAsset, NewWallet
from core.store.sqlite import SqliteStore
from tests.bench.figures import Figure, report
from tests.unit.store.fleet import INTERVAL, NOW, changed, leased, sweep

ASSETS = (
    NewAsset("base", "ETH", "Ether", 18),
    NewAsset("base", "USDC", "USD Coin", 6, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
    NewAsset("base", "DAI", "Dai", 18, "0x50c5725949A6F0c72E6C4a641F24049A917DB0Cb"),
)
CYCLES = 7
HISTORY_DAYS = 30
CHANGED = 0.01

ROW_PER_READ = """
    CREATE TABLE readings (
        id INTEGER PRIMARY KEY, agent_id TEXT NOT NULL, chain TEXT NOT NULL, token TEXT NOT NULL,
        balance TEXT NOT NULL, block INTEGER NOT NULL, checked_at TEXT NOT NULL
    )"""


def run(fleets: Sequence[int] = (3_000, 30_000, 300_000)) -> list[Figure]:
    """All figures of the store; `fleets` are numbers of accounts."""
    figures = [history_growth(), history_query()]
    for accounts in fleets:
        figures += asyncio.run(cycle_cost(accounts))
    return figures


def history_growth(accounts: int = 3_000, cycles: int = 600) -> Figure:
    """Bytes per cycle of history and polls with 1 % changing, and of a row for every read (which
    is written for 20 of the cycles: its growth is linear)."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        ours = Path(folder) / "bursar.db"

        async def grow() -> None:
            store = SqliteStore(ours, "bench")
            await store.open()
            await _register(store, accounts // len(ASSETS))
            for number in range(cycles):
                amounts = {
                    account: chance.randrange(10**19)
                    for account in chance.sample(range(1, accounts + 1), int(accounts * CHANGED))
                }
                at = NOW + number * INTERVAL
                lease = await leased(store, now_ms=at)
                await store.record(sweep(lease, amounts, time_ms=at, block=number), ())
            await store.close()

        asyncio.run(grow())
        with sqlite3.connect(ours) as database:
            # What grows with time, copied out and compacted: SQLite has no dbstat everywhere.
            grown = Path(folder) / "grown.db"
            database.execute("ATTACH ? AS grown", (str(grown),))
            for table in ("balance_history", "polls"):
                (statement,) = database.execute(
                    "SELECT sql FROM sqlite_master WHERE name = ?", (table,)
                ).fetchone()
                database.execute(statement.replace(table, f"grown.{table}", 1))
                database.execute(f"INSERT INTO grown.{table} SELECT * FROM main.{table}")
        per_cycle = grown.stat().st_size / cycles
        plain = Path(folder) / "plain.db"
        with sqlite3.connect(plain) as database:
            database.execute(ROW_PER_READ)
            for number in range(20):
                database.executemany(
                    "INSERT INTO readings (agent_id, chain, token, balance, block, checked_at)"
                    " VALUES (?, 'base', 'USDC', ?, ?, '2026-11-20T11:30:00.250Z')",
                    (
                        (f"agent-{i}", str(chance.randrange(10**19)), number)
                        for i in range(accounts)
                    ),
                )
        beside = plain.stat().st_size / 20
    return Figure(
        "history growth per cycle, 1 % of 3,000 accounts changed",
        per_cycle,
        "bytes",
        f"a row per read: {beside:,.0f} bytes",
        per_cycle / beside,
        "<= 1/200",
        per_cycle / beside <= 1 / 200,
    )


def history_query() -> Figure:
    """CPU of one agent's 30 days among 300 accounts of which 1 % change each cycle."""
    chance = random.Random(2)
    cycles = HISTORY_DAYS * 86_400_000 // INTERVAL
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bursar.db"

        async def fill() -> None:
            store = SqliteStore(path, "bench")
            await store.open()
            await _register(store, 100)
            rows = [
                HistoryRow(chance.randrange(1, 301), NOW + i * 10_000, i, chance.randrange(10**19))
                for i in range(cycles * 3)
            ]
            await store.put_history(rows)
            await store.close()

        asyncio.run(fill())
        connection = sqlite3.connect(path)
        end = NOW + HISTORY_DAYS * 86_400_000
        seconds: list[float] = []
        count = 0
        for account in chance.sample(range(1, 301), 100):
            before = time.process_time()
            count += len(past.history(connection, account, NOW, end))
            seconds.append(time.process_time() - before)
        connection.close()
    milliseconds = statistics.median(seconds) * 1_000
    return Figure(
        "history query, one account, 30 days",
        milliseconds,
        "ms CPU",
        f"{count // 100} rows answered",
        None,
        "<= 2 ms CPU",
        milliseconds <= 2,
    )


async def cycle_cost(accounts: int) -> list[Figure]:
    """Median wall and CPU of claim and record of a chain with 1 % changed, events included."""
    chance = random.Random(3)
    claims: list[float] = []
    records: list[float] = []
    cpu: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "bursar.db", "bench")
        await store.open()
        await _register(store, accounts // len(ASSETS))
        standing = dict.fromkeys(range(1, accounts + 1), 10**18)
        for number in range(CYCLES + 1):
            at = NOW + number * INTERVAL
            moved = standing if number == 0 else chance.sample(sorted(standing), accounts // 100)
            amounts = {account: chance.randrange(10**19) for account in moved}
            events = [
                changed(f"agent-{a // 3}", standing[a], amount, block=number, time_ms=at)
                for a, amount in amounts.items()
                if number
            ]
            cpu_before, start = time.process_time(), time.perf_counter()
            lease = await leased(store, now_ms=at)
            leased_at, cpu_leased = time.perf_counter(), time.process_time()
            reading = sweep(lease, amounts, time_ms=at, block=number)
            cpu_again, again = time.process_time(), time.perf_counter()
            await store.record(reading, events)
            if number:
                claims.append(leased_at - start)
                records.append(time.perf_counter() - again)
                cpu.append(cpu_leased - cpu_before + time.process_time() - cpu_again)
            standing |= amounts
        await store.close()
    claim_ms, record_ms, cpu_ms = (1_000 * statistics.median(v) for v in (claims, records, cpu))
    return [
        Figure(
            f"claim + record, {accounts:,} accounts, 1 % changed",
            claim_ms + record_ms,
            "ms",
            f"claim {claim_ms:.1f} ms, record {record_ms:.1f} ms",
        ),
        Figure(
            f"claim + record per account, {accounts:,} accounts",
            1_000 * cpu_ms / accounts,
            "us CPU",
        ),
    ]


async def _register(store: SqliteStore, agents: int) -> None:
    await store.put_registry([("base", ChainKind.EVM)], ASSETS)
    wallets = [NewWallet(f"agent-{i}", "base", f"0x{i:040x}") for i in range(agents)]
    await store.add_wallets(wallets, (), NOW - 1)


if __name__ == "__main__":
    chosen = [int(argument) for argument in sys.argv[1:]]
    report(run(chosen) if chosen else run())
