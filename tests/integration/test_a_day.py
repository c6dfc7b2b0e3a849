"""A day of operation: 2,880 cycles over 1,000 agents of which 1 % change each time.

The real store, cache, worker and event lines over a scripted chain, on a clock moved by hand:
the database grows as changes do and not as readings do, memory stays flat, no task is left.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from pathlib import Path

import pytest

from core.telemetry.event_lines import EventLines
from tests.balances.fleet import Fleet, fleet, running

AGENTS = 1_000
CYCLES = 2_880
CHANGING = AGENTS // 100


def drain(made: Fleet, chance: random.Random, balances: list[int]) -> None:
    for agent in chance.sample(range(AGENTS), CHANGING):
        balances[agent] -= chance.randrange(1, 1_000)
        if balances[agent] < 1_000:
            balances[agent] += 1_000_000
        made.put(f"agent-{agent:04}", "base", balances[agent])


@pytest.mark.slow
@pytest.mark.no_cover  # each line of it runs thousands of times; the room's own tests count them
@pytest.mark.timeout(1200)  # it is a bound, not a figure: other work may share the machine
async def test_a_day_of_cycles_grows_by_what_changed_and_leaves_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    balances = [chance.randrange(500_000, 1_500_000) for _ in range(AGENTS)]
    names = [f"agent-{agent:04}" for agent in range(AGENTS)]
    async with fleet(tmp_path, agents=names, token=False) as made:
        for agent, name in enumerate(names):
            made.put(name, "base", balances[agent])
        path = tmp_path / "events.jsonl"
        tasks_before = asyncio.all_tasks()
        lines = EventLines(made.store, made.bus, made.clock, path)
        writing = asyncio.create_task(lines.run())
        reader = made.readers["base"]
        sizes: list[int] = []
        blocks: list[int] = []
        async with running(made):
            tasks_running = len(asyncio.all_tasks())
            await made.clock.advance(1)  # off the grid of the keeper
            for cycle in range(1, CYCLES + 1):
                drain(made, chance, balances)
                await made.clock.advance(30)
                await made.completed({"base": cycle + 1})
                reader.reads.clear()
                reader.requests.clear()
                if cycle % (CYCLES // 8) == 0:
                    made.cache.views()  # a desk looks
                    sizes.append(await made.store.size_bytes())
                    gc.collect()
                    blocks.append(sys.getallocatedblocks())
            assert len(asyncio.all_tasks()) == tasks_running
            for agent, name in enumerate(names):
                assert await made.tracker.get_balance(name, "base", "ETH") == balances[agent]
        last = await made.store.last_seq()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert asyncio.all_tasks() == tasks_before
        changes = await made.store.find_events(types=["AGENT_BALANCE_CHANGED"], limit=100_000)
        assert len(changes) == CYCLES * CHANGING
        assert last == len(changes) + 1  # and the chain that went live

        # Memory: what lives after an hour and a half lives at the end, give or take caches.
        print(f"blocks allocated: {blocks}; bytes of database: {sizes}")
        assert max(blocks[4:]) < blocks[3] * 1.02
        # Database: by change (history, event and index), never by reading.
        per_change = (sizes[-1] - sizes[3]) / (CYCLES / 2 * CHANGING)
        assert per_change < 1_000
        assert path.read_bytes().count(b"\n") == last
