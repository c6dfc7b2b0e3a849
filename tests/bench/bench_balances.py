"""Balances measured: a cached answer beside a dict lookup, a cycle with store and events beside
the reading alone, and what a cycle holds the loop up. `python -m tests.bench.bench_balances
[agents ...]`. The chain is scripted: what is measured is what Bursar adds to a reading."""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Sequence
from pathlib import Path

from tests.balances.fleet import USDC, Fleet, fleet, running
from tests.bench.figures import Figure, report

CHANGED = 0.01
CYCLES = 9


def run(fleets: Sequence[int] = (1_000, 10_000)) -> list[Figure]:
    """All figures of the balances room; `fleets` are numbers of agents with two balances each."""
    figures = [asyncio.run(cached_answer())]
    for agents in fleets:
        figures += asyncio.run(cycle_cost(agents))
    return figures


async def cached_answer(agents: int = 10_000) -> Figure:
    """`get_balance` from the cache beside the lookup of a number in a dict of that size,
    in the same process. The best of fifty rounds each: neighbours only ever add."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"agent-{number:05}" for number in range(agents)]
        async with fleet(Path(folder), agents=names) as made, running(made):
            plain = {(name, "base", "USDC"): 1 for name in names}
            get = made.tracker.get_balance
            asked = random.Random(3).sample(names, 1_000)

            async def ours() -> None:
                for name in asked:
                    await get(name, "base", "USDC")

            def theirs() -> None:
                for name in asked:
                    plain[name, "base", "USDC"]

            times = []
            for _ in range(50):
                started = time.process_time()
                await ours()
                times.append(time.process_time() - started)
            answer = min(times) / len(asked)
            lookup = min(timeit.repeat(theirs, number=10, repeat=50))
            lookup /= 10 * len(asked)
    ratio = answer / lookup
    return Figure(
        "cached get_balance",
        answer * 1e9,
        "ns CPU",
        f"dict lookup {lookup * 1e9:.0f} ns",
        ratio,
        "<= 20 times",
        ratio <= 20,
    )


async def cycle_cost(agents: int) -> list[Figure]:
    """CPU of a cycle with 1 % changed (claim, reading, comparison, store, events, views) and of
    the scripted reading alone; and the longest the loop stood still meanwhile."""
    chance = random.Random(5)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"agent-{number:06}" for number in range(agents)]
        async with fleet(Path(folder), agents=names) as made, running(made):
            made.cache.views()
            cpu, stalls = [], []
            for _ in range(CYCLES):
                for name in chance.sample(names, round(agents * 2 * CHANGED)):
                    made.put(name, "base", chance.randrange(10**9), USDC)
                version = made.cache.counter.value
                stall = asyncio.create_task(longest_stall())
                await asyncio.sleep(0)
                started = time.process_time()
                await made.worker.read_now()
                made.cache.changed_since(version)
                cpu.append(time.process_time() - started)
                stall.cancel()
                stalls.append(await stall)
            reading = await read_alone(made)
    cycle, stood = statistics.median(cpu), statistics.median(stalls)
    rows = agents * 2
    return [
        Figure(
            f"cycle over {rows:,} balances, 1 % changed",
            cycle * 1e3,
            "ms CPU",
            f"scripted reading alone {reading * 1e3:.1f} ms",
        ),
        Figure(f"loop stall in that cycle, {rows:,} balances", stood * 1e3, "ms"),
    ]


async def longest_stall() -> float:
    """The longest time between two turns of the loop, in seconds, until cancelled."""
    longest, last = 0.0, time.perf_counter()
    try:
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last - 0.001), now
    except asyncio.CancelledError:
        return longest


async def read_alone(made: Fleet) -> float:
    """CPU seconds of the scripted reading."""
    times = []
    plan = made.cache.book("base").plan
    for _ in range(CYCLES):
        started = time.process_time()
        await made.readers["base"].read(plan.requests)
        times.append(time.process_time() - started)
    return statistics.median(times)


if __name__ == "__main__":
    chosen = [int(argument) for argument in sys.argv[1:]]
    report(run(chosen) if chosen else run())
