"""The embedded ledger measured: durable transfers beside SQLite at synchronous=FULL and beside a
raw loop that writes the same bytes and syncs; look-ups, restart, and the loop under a slow disk.

`python -m tests.bench.bench_ledger [rows]`: rows (default 1,000,000) is the restart's size. Short
rounds of the three alternate, so that all see the same disk, and the median of each counts. The
SQLite table keeps what the ledger keeps (128-bit ids as blobs, balances read and written, both
accounts indexed), one transaction per batch; it has no rules, chains or pending transfers.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from core.clock import SystemClock
from core.ledger import Account, EmbeddedLedger, Transfer, TransferStatus
from core.ledger.codec import encode_effects
from core.ledger.files import RealFolder
from core.ledger.journal import Journal
from core.ledger.memory import Book
from tests.bench.figures import Figure, report
from tests.crash.simulated import SimFolder

ACCOUNTS = 300
ROUNDS = 40


class Load(NamedTuple):
    """Callers at once, each with so many batches one after the other in a round, and of all of
    them as many as SQLite is given; the goals beside the bare loop and beside SQLite."""

    name: str
    size: int
    callers: int
    commits: int
    inserts: int
    raw_goal: float
    sqlite_goal: float


LOADS = (
    Load("batch 1", 1, 1, 50, 20, 0.6, 0.8),
    Load("batch 100", 100, 1, 20, 10, 0.8, 3.5),
    Load("batch 100, two in flight", 100, 2, 10, 6, 0.8, 3.5),
    Load("batch 8,000", 8_000, 1, 1, 1, 0.5, 4.5),
    Load("batch 8,000, two in flight", 8_000, 2, 2, 1, 0.5, 4.5),
    Load("64 callers with 1", 1, 64, 20, 20, 0.5, 10),
)


def run(rows: int = 1_000_000) -> list[Figure]:
    """All figures of the ledger."""
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(durable_transfers(Path(folder)))
    figures += [cpu_per_transfer(), look_ups(), asyncio.run(loop_stall())]
    with tempfile.TemporaryDirectory() as folder:
        figures.append(asyncio.run(restart(Path(folder), rows)))
    return figures


def ids() -> Iterator[int]:
    """Fresh ids, as wide as real ones."""
    number = 1 << 100
    while True:
        number += 1
        yield number


def batches(fresh: Iterator[int], size: int, count: int) -> list[list[Transfer]]:
    """Plain transfers between two halves of the accounts."""
    return [
        [
            Transfer(
                id=next(fresh),
                debit_account_id=1 + i % 150,
                credit_account_id=151 + i % 150,
                amount=5 + i,
                ledger=1,
                code=1,
            )
            for i in range(size)
        ]
        for _ in range(count)
    ]


async def durable_transfers(folder: Path) -> list[Figure]:
    """Transfers a second at three batch sizes, by one caller and by two whose batches overlap,
    and from 64 callers with one transfer each."""
    ledger = EmbeddedLedger(folder / "ledger", SystemClock())
    await ledger.open()
    await ledger.create_accounts([Account(id=i, ledger=1, code=1) for i in range(1, ACCOUNTS + 1)])
    fresh = ids()
    figures = []
    with contextlib.closing(prepared(folder / "beside.db")) as beside:
        for load in LOADS:
            figures += await load_beside(load, fresh, ledger, folder / "raw", beside)
    await ledger.close()
    return figures


async def load_beside(
    load: Load,
    fresh: Iterator[int],
    ledger: EmbeddedLedger,
    raw: Path,
    beside: sqlite3.Connection,
) -> list[Figure]:
    """One load on the ledger; its bytes written and synced in as many pieces by a bare loop; and
    the same batches in SQLite, one transaction each."""
    total = load.size * load.commits * load.callers
    ours, bare, theirs, shared = [], [], [], []
    for _ in range(ROUNDS):
        callers = [batches(fresh, load.size, load.commits) for _ in range(load.callers)]
        before = ledger.health()
        began = time.perf_counter()
        await asyncio.gather(*(committed(ledger, made) for made in callers))
        ours.append(total / (time.perf_counter() - began))
        after = ledger.health()
        syncs = after.syncs - before.syncs
        shared.append((after.commits - before.commits) / syncs)
        piece = (after.journal_bytes - before.journal_bytes) // syncs
        bare.append(total / written_raw(raw, piece, syncs))
        inserts = [batch for made in callers for batch in made][: load.inserts]
        theirs.append(load.size * len(inserts) / inserted(beside, inserts))
    rate, name = statistics.median(ours), f"ledger, durable transfers, {load.name}"
    return [
        Figure(
            f"{name}, beside {other}",
            rate,
            "transfers/s",
            beside=f"{statistics.median(rates):,.0f} {what}",
            ratio=rate / statistics.median(rates),
            goal=f">= {goal}",
            met=rate / statistics.median(rates) >= goal,
        )
        for other, what, rates, goal in (
            (
                "raw",
                "by writing and syncing the same bytes as often"
                f" ({statistics.median(shared):.1f} commits a sync)",
                bare,
                load.raw_goal,
            ),
            ("SQLite", "by SQLite WAL synchronous=FULL", theirs, load.sqlite_goal),
        )
    ]


async def committed(ledger: EmbeddedLedger, made: list[list[Transfer]]) -> None:
    """Commit batches one after the other."""
    for batch in made:
        await ledger.create_transfers(batch)


def written_raw(path: Path, size: int, count: int) -> float:
    """Seconds to append and sync that many pieces."""
    piece = os.urandom(size)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        began = time.perf_counter()
        for _ in range(count):
            os.write(fd, piece)
            os.fdatasync(fd)
        return time.perf_counter() - began
    finally:
        os.close(fd)


def wide(number: int) -> bytes:
    """A 128-bit integer as SQLite can keep it."""
    return number.to_bytes(16, "big")


def prepared(path: Path) -> sqlite3.Connection:
    """The same accounts in SQLite."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(
        """
        PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
        CREATE TABLE accounts (id BLOB PRIMARY KEY, debits_pending BLOB, debits_posted BLOB,
            credits_pending BLOB, credits_posted BLOB, ledger INT, code INT, flags INT
        ) WITHOUT ROWID;
        CREATE TABLE transfers (timestamp INTEGER PRIMARY KEY, id BLOB UNIQUE, debit BLOB,
            credit BLOB, amount BLOB, pending_id BLOB, user_data_128 BLOB, user_data_64 INT,
            user_data_32 INT, timeout INT, ledger INT, code INT, flags INT);
        CREATE INDEX by_debit ON transfers (debit, timestamp);
        CREATE INDEX by_credit ON transfers (credit, timestamp);
        """
    )
    zero = wide(0)
    db.executemany(
        "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, 1, 1, 0)",
        [(wide(i), zero, zero, zero, zero) for i in range(1, ACCOUNTS + 1)],
    )
    return db


def inserted(db: sqlite3.Connection, made: list[list[Transfer]]) -> float:
    """Seconds to book batches, one transaction each: balances read, rows and balances written."""
    [[timestamp]] = db.execute("SELECT coalesce(max(timestamp), 0) FROM transfers")
    zero = wide(0)
    began = time.perf_counter()
    for batch in made:
        db.execute("BEGIN IMMEDIATE")
        touched = {wide(t.debit_account_id) for t in batch} | {
            wide(t.credit_account_id) for t in batch
        }
        balances: dict[bytes, list[int]] = {}
        for id_ in touched:
            [row] = db.execute(
                "SELECT debits_posted, credits_posted FROM accounts WHERE id = ?", (id_,)
            )
            balances[id_] = [int.from_bytes(part, "big") for part in row]
        rows = []
        for t in batch:
            timestamp += 1
            debit, credit = wide(t.debit_account_id), wide(t.credit_account_id)
            balances[debit][0] += t.amount
            balances[credit][1] += t.amount
            rows.append(
                (timestamp, wide(t.id), debit, credit, wide(t.amount), zero, zero, 0, 0, 0, 1, 1, 0)
            )
        db.executemany("INSERT INTO transfers VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
        db.executemany(
            "UPDATE accounts SET debits_posted = ?, credits_posted = ? WHERE id = ?",
            [(wide(debits), wide(credits_), id_) for id_, (debits, credits_) in balances.items()],
        )
        db.execute("COMMIT")
    return time.perf_counter() - began


def cpu_per_transfer() -> Figure:
    """CPU to judge, book and encode a batch of 8,000, without the disk; beside what the official
    TigerBeetle client takes to turn such a batch into C and the results back, without a server.
    The least of many rounds of each, because neighbours only ever add."""
    book = Book(SystemClock())
    book.create_accounts([Account(id=i, ledger=1, code=1) for i in range(1, ACCOUNTS + 1)])
    made = batches(ids(), 8_000, 15)
    ours = []
    for batch in made:
        began = time.process_time()
        encode_effects([book.commit_transfers(batch).effects])
        ours.append(time.process_time() - began)
    least = min(ours) / 8_000 * 1e6
    try:
        theirs = min(converted_by_the_official_client(batch) for batch in made[:5]) / 8_000 * 1e6
    except ImportError:
        return Figure("ledger, CPU per transfer, batch 8,000", least, "us of CPU")
    return Figure(
        "ledger, CPU per transfer, batch 8,000",
        least,
        "us of CPU",
        beside=f"{theirs:.1f} us for the official client's conversion alone",
        ratio=least / theirs,
    )


def converted_by_the_official_client(batch: list[Transfer]) -> float:
    """Seconds of CPU; the conversions are those of its `_acquire_packet` and `_c_on_completion`.
    Raises ImportError where it is not installed."""
    bindings: Any = importlib.import_module("tigerbeetle.bindings")
    rows = [
        bindings.Transfer(
            **{name: getattr(t, name) for name in t.__struct_fields__ if name != "flags"},
            flags=bindings.TransferFlags.NONE,
        )
        for t in batch
    ]
    results = (bindings.CCreateTransferResult * len(rows))()
    for i, result in enumerate(results):
        result.timestamp, result.status = i, int(TransferStatus.CREATED)
    began = time.process_time()
    sent = (bindings.CTransfer * len(rows))(*map(bindings.CTransfer.from_param, rows))
    answered = [result.to_python() for result in results]
    taken = time.process_time() - began
    assert len(sent) == len(answered) == len(batch)
    return taken


def look_ups() -> Figure:
    """Accounts looked up per second of CPU, 8,000 at a time; the median of twenty."""
    book = Book(SystemClock())
    asked = [random.Random(i).getrandbits(127) + 1 for i in range(8_000)]
    book.create_accounts([Account(id=id_, ledger=1, code=1) for id_ in asked])
    rates = []
    for _ in range(20):
        began = time.process_time()
        book.lookup_accounts(asked)
        rates.append(len(asked) / max(time.process_time() - began, 1e-9))
    rate = statistics.median(rates)
    return Figure(
        "ledger, look-ups of 8,000", rate, "a second of CPU", goal=">= 1,000,000", met=rate >= 1e6
    )


async def loop_stall() -> Figure:
    """The longest gap between two turns of the loop while 16 callers commit and each fsync takes
    50 ms, beside the longest over as long with nothing to do: the machine's own."""
    commits, nothing = [], []
    for _ in range(3):
        gap, took = await longest_gap(committing_slowly())
        commits.append(gap)
        nothing.append((await longest_gap(asyncio.sleep(took)))[0])
    slow, still = min(commits), min(nothing)  # neighbours only ever add
    return Figure(
        "ledger, loop stall under 50 ms fsyncs",
        slow * 1000,
        "ms",
        beside=f"{still * 1000:.1f} ms of an idle loop",
        ratio=slow / still,
        goal="unmoved: far below 50 ms",
        met=slow < 0.02,
    )


async def committing_slowly() -> None:
    """Sixteen callers, fifteen commits each, on a disk whose syncs take 50 ms."""
    folder = SimFolder()
    folder.before_step = lambda kind: time.sleep(0.05) if kind == "sync" else None
    ledger = EmbeddedLedger("in memory", SystemClock(), folder=folder)
    await ledger.open()
    await ledger.create_accounts([Account(id=i, ledger=1, code=1) for i in range(1, ACCOUNTS + 1)])
    fresh = ids()
    await asyncio.gather(*(committed(ledger, batches(fresh, 1, 15)) for _ in range(16)))
    await ledger.close()


async def longest_gap(work: Coroutine[object, object, None]) -> tuple[float, float]:
    """Seconds between two turns of the loop, at worst, while `work` is done; and how long it
    took."""
    began = last = time.perf_counter()
    task = asyncio.create_task(work)
    worst = 0.0
    while not task.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        worst, last = max(worst, now - last), now
    await task
    return worst, last - began


async def restart(folder: Path, rows: int) -> Figure:
    """CPU to read back that many accounts and transfers from the journal alone. Ids are random
    128-bit numbers, as the hashes are that the accounting makes its ids of."""
    files = RealFolder(folder)
    journal = Journal.create(files, os.urandom(16))
    book = Book(SystemClock())
    draw = random.Random(1).getrandbits
    for first in range(0, rows, 8_000):
        new = [draw(127) + 1 for _ in range(first, min(first + 8_000, rows))]
        accounts = book.commit_accounts([Account(id=id_, ledger=1, code=1) for id_ in new])
        transfers = book.commit_transfers(
            [
                Transfer(
                    id=draw(127) + 1,
                    debit_account_id=id_,
                    credit_account_id=new[i - 1],
                    amount=1_000_000 + i,
                    ledger=1,
                    code=1,
                )
                for i, id_ in enumerate(new)
            ]
        )
        journal.append([accounts.effects, transfers.effects])
    journal.seal()
    journal.close()
    [lent] = book.lookup_accounts([new[0]])
    del book
    ledger = EmbeddedLedger(folder, SystemClock())
    began = time.process_time()
    await ledger.open()
    taken = time.process_time() - began
    assert await ledger.lookup_accounts([lent.id]) == [lent]
    assert ledger.health().journal_bytes > rows * 150  # no snapshot stood in for the journal
    await ledger.close()
    return Figure(
        f"ledger, restart of {rows:,} accounts and as many transfers",
        taken,
        "s of CPU",
        beside="-",
        goal="<= 4 for 1,000,000",
        met=taken * 1_000_000 / rows <= 4,
    )


if __name__ == "__main__":
    report(run(*map(int, sys.argv[1:])))
