"""An XRPL cycle beside a raw pipelined websockets loop, both against a server in a process of
its own; and the reader's resident memory over 200 cycles.

The raw loop is what one writes by hand: requests as `json.dumps`, a window of 1,000, answers by
`json.loads`, balances into a dictionary. It checks nothing and remembers nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection, connect

from core.chains.xrpl import XrplReader
from core.model import Request
from tests.bench.figures import Figure
from tests.integration.chains.ledgers import XRP, Kept, RealClock, xrpl_account

ACCOUNTS = 10_000
WINDOW = 1_000
RUNS = 9
CYCLES = 200
WARM_UP = 20


class Cost(NamedTuple):
    """Median seconds of a cycle."""

    wall: float
    cpu: float


@contextlib.contextmanager
def server(accounts: int) -> Iterator[str]:
    """The server's URL while it runs."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.xrpl_child", str(accounts)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip()
    finally:
        child.stdin.close()
        child.wait(10)
        child.stdout.close()


async def raw_cycle(socket: ClientConnection, accounts: list[str]) -> dict[int, int]:
    """Every balance at one ledger, by hand."""
    await socket.send(json.dumps({"id": -1, "command": "ledger", "ledger_index": "validated"}))
    ledger_hash = json.loads(await socket.recv())["result"]["ledger_hash"]

    async def ask(number: int) -> None:
        request = {
            "id": number,
            "command": "account_info",
            "account": accounts[number],
            "ledger_hash": ledger_hash,
        }
        await socket.send(json.dumps(request))

    balances: dict[int, int] = {}
    sent = min(WINDOW, len(accounts))
    for number in range(sent):
        await ask(number)
    while len(balances) < len(accounts):
        reply = json.loads(await socket.recv())
        balances[reply["id"]] = int(reply["result"]["account_data"]["Balance"])
        if sent < len(accounts):
            await ask(sent)
            sent += 1
    return balances


@contextlib.asynccontextmanager
async def reader_at(url: str) -> AsyncIterator[XrplReader]:
    """An open reader."""
    reader = XrplReader("xrpl", [url], RealClock(), Kept())
    await reader.open()
    try:
        yield reader
    finally:
        await reader.close()


async def timed(cycle: Callable[[], Awaitable[object]]) -> Cost:
    """One cycle."""
    wall, cpu = time.perf_counter(), time.process_time()
    await cycle()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def middle(costs: list[Cost]) -> Cost:
    """The median of each column."""
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs))


async def compare(url: str, count: int) -> tuple[Cost, Cost]:
    """(ours, raw), alternating over sockets that are open already."""
    accounts = [xrpl_account(number) for number in range(count)]
    requests = [Request(account, XRP) for account in accounts]
    ours: list[Cost] = []
    raw: list[Cost] = []
    # No limit on queued answers, or the loop could block against the server's own full buffers.
    async with reader_at(url) as reader, connect(url, compression=None, max_queue=None) as socket:
        reading = await reader.read(requests)
        by_hand = await raw_cycle(socket, accounts)
        assert list(reading.amounts) == [by_hand[number] for number in range(count)]
        for _ in range(RUNS):
            ours.append(await timed(lambda: reader.read(requests)))
            raw.append(await timed(lambda: raw_cycle(socket, accounts)))
    return middle(ours), middle(raw)


async def growth(url: str, count: int) -> tuple[float, float]:
    """Resident MiB after the warm-up, and how much it grew over the other cycles."""
    requests = [Request(xrpl_account(number), XRP) for number in range(count)]
    async with reader_at(url) as reader:
        for _ in range(WARM_UP):
            await reader.read(requests)
        gc.collect()
        before = resident_mib()
        for _ in range(CYCLES - WARM_UP):
            await reader.read(requests)
        gc.collect()
        return before, resident_mib() - before


def resident_mib() -> float:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run() -> list[Figure]:
    """All figures of this module."""
    figures: list[Figure] = []
    per_account: dict[int, float] = {}
    with server(100_000) as url:
        for count in (1_000, ACCOUNTS, 100_000):
            ours, raw = (
                asyncio.run(compare(url, count)) if count <= ACCOUNTS else _large(url, count)
            )
            per_account[count] = ours.cpu / count * 1e6
            if count == ACCOUNTS:
                figures += _figures(ours, raw)
        if Path("/proc/self/statm").exists():
            resident, grown = asyncio.run(growth(url, ACCOUNTS))
            figures.append(
                Figure(
                    f"XRPL memory over {CYCLES} cycles",
                    grown,
                    "MiB grown",
                    f"{resident:.0f} MiB after {WARM_UP} cycles",
                    goal="flat: under 2 MiB",
                    met=grown < 2.0,
                )
            )
    figures.append(
        Figure(
            "XRPL CPU per account, 100,000 accounts",
            per_account[100_000],
            "microseconds",
            f"{per_account[1_000]:.1f} at 1,000, {per_account[ACCOUNTS]:.1f} at 10,000",
            per_account[100_000] / per_account[ACCOUNTS],
            "may not rise (<= 1.2)",
            per_account[100_000] <= 1.2 * per_account[ACCOUNTS],
        )
    )
    return figures


def _large(url: str, count: int) -> tuple[Cost, Cost]:
    """Three cycles of ours alone: the raw loop has nothing to add at this size."""

    async def cycles() -> Cost:
        requests = [Request(xrpl_account(number), XRP) for number in range(count)]
        async with reader_at(url) as reader:
            await reader.read(requests)
            return middle([await timed(lambda: reader.read(requests)) for _ in range(3)])

    cost = asyncio.run(cycles())
    return cost, cost


def _figures(ours: Cost, raw: Cost) -> list[Figure]:
    goal = "<= 1.5 times its time"
    return [
        Figure(
            "XRPL cycle, 10,000 accounts",
            ours.wall,
            "s",
            f"raw pipelined websockets loop {raw.wall:.3f} s",
            ours.wall / raw.wall,
            goal,
            ours.wall <= 1.5 * raw.wall,
        ),
        Figure(
            "XRPL cycle, 10,000 accounts, client CPU",
            ours.cpu,
            "s",
            f"raw pipelined websockets loop {raw.cpu:.3f} s",
            ours.cpu / raw.cpu,
            goal,
            ours.cpu <= 1.5 * raw.cpu,
        ),
    ]
