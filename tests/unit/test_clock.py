"""Housekeeping gives way: what needs the loop again and again is not held up at every turn."""

from __future__ import annotations

import asyncio

from core.clock import give_way


async def test_others_have_several_turns_between_two_slices() -> None:
    slices = 0

    async def housekeeping() -> None:
        nonlocal slices
        while True:
            slices += 1
            await give_way()

    jobs = [asyncio.create_task(housekeeping()) for _ in range(2)]
    await asyncio.sleep(0)
    before, turns = slices, 12
    for _ in range(turns):
        await asyncio.sleep(0)
    assert 0 < slices - before <= len(jobs) * turns // 4
    for job in jobs:
        job.cancel()
