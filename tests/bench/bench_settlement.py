"""The settlement monitor over 10,000 pairs: from a commit's acknowledgement to the stored event,
beside fdatasync in the same run; what a sweep costs, and how many look-ups it is.

`python -m tests.bench.bench_settlement [pairs]`. Crossings are alternated with raw appends of a
write-ahead log's frame size that end in fdatasync, on the same file system, so that both see the
same disk; the goal is their 99th percentiles' ratio. The event counts once its transaction is
committed and the bus was told.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from core.accounting import AccountManager, Packet, Pair
from core.clock import SystemClock
from core.events import Bus
from core.ledger import BATCH_MAX, Account, EmbeddedLedger
from core.settlement import SettlementMonitor, ThresholdRules
from core.store.sqlite import SqliteStore
from tests.bench.figures import Figure, report

PAIRS = 10_000
CROSSINGS = 2_000
FRAME = 4_120  # a page and its header in SQLite's write-ahead log
GOAL = 3.0  # fdatasyncs


class CountingLedger(EmbeddedLedger):
    """Counts look-ups of accounts."""

    lookups = 0

    async def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        self.lookups += 1
        return await super().lookup_accounts(ids)


def run(pairs: int = PAIRS) -> list[Figure]:
    """Latency and sweep."""
    logging.disable(logging.WARNING)  # every crossing is one
    try:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_run(Path(folder), pairs))
    finally:
        logging.disable(logging.NOTSET)


async def _run(folder: Path, count: int) -> list[Figure]:
    ledger = CountingLedger(folder / "ledger")
    await ledger.open()
    store = SqliteStore(folder / "bursar.db", "node-a")
    await store.open()
    manager = AccountManager(ledger, "node-a", ("USD",))
    pairs = [Pair(f"peer-{number}", "USD") for number in range(count)]
    for start in range(0, count, 2_000):
        await manager.open_accounts(pairs[start : start + 2_000])
    bus = Bus()
    monitor = SettlementMonitor(
        manager, ledger, store, bus, SystemClock(), ThresholdRules(default=100), generation="gen-1"
    )
    await monitor.start()
    ledger.lookups = 0
    began = time.perf_counter()
    await monitor.sweep()
    swept = time.perf_counter() - began
    lookups = ledger.lookups
    gc.collect()
    gc.freeze()  # as the engine does once its state is loaded
    latencies, syncs = await _crossings(manager, bus, pairs, folder / "raw")
    await monitor.stop()
    await ledger.close()
    await store.close()
    gc.unfreeze()
    expected = math.ceil(3 * count / BATCH_MAX)
    return [
        *(_beside(name, q, latencies, syncs) for name, q in (("p50", 0.5), ("p99", 0.99))),
        Figure(f"settlement sweep of {count:,} pairs", swept * 1000, "ms"),
        Figure(
            f"settlement sweep of {count:,} pairs, look-ups",
            lookups,
            "look-ups",
            goal=f"{expected}: one per {BATCH_MAX:,} accounts",
            met=lookups == expected,
        ),
    ]


def _beside(name: str, share: float, latencies: list[float], syncs: list[float]) -> Figure:
    ours, raw = (sorted(values)[int(share * len(values))] * 1000 for values in (latencies, syncs))
    return Figure(
        f"crossing to event, {name}",
        ours,
        "ms",
        beside=f"fdatasync {name} {raw:.3f} ms",
        ratio=ours / raw,
        goal=f"at most {GOAL:g} fdatasyncs" if name == "p99" else "",
        met=ours <= GOAL * raw if name == "p99" else None,
    )


async def _crossings(
    manager: AccountManager, bus: Bus, pairs: Sequence[Pair], raw: Path
) -> tuple[list[float], list[float]]:
    """Seconds from acknowledgement to event, and seconds per fdatasync, alternating."""
    latencies, syncs = [], []
    step = len(pairs) // CROSSINGS
    fd = os.open(raw, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for number in range(CROSSINGS):
            peer = pairs[number * step].peer
            packet = Packet(f"packet-{number}", peer, "bank", "USD", 120, 120)
            seen = bus.last
            event = asyncio.ensure_future(bus.wait_beyond(seen))
            await manager.record_packet_transfers([packet])
            acknowledged = time.perf_counter()
            await event
            latencies.append(time.perf_counter() - acknowledged)
            syncs.append(await asyncio.to_thread(_append, fd))
    finally:
        os.close(fd)
    return latencies, syncs


def _append(fd: int) -> float:
    """Seconds that the fdatasync alone took."""
    os.write(fd, bytes(FRAME))
    began = time.perf_counter()
    os.fdatasync(fd)
    return time.perf_counter() - began


if __name__ == "__main__":
    report(run(int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS))
