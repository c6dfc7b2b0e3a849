"""A clock that a test moves by hand.

`advance` wakes sleepers in the order of their times and lets their tasks run in between, so that
hours pass in milliseconds and always in the same order. Work in threads (the store) runs in real
time: wait for it with `until`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

START_MS = 1_780_000_000_000  # 2026-05-28T20:26:40Z


class TestClock:
    """A `core.model.Clock` whose time is moved by `advance` alone."""

    __test__ = False  # not a test case

    def __init__(self, start_ms: int = START_MS) -> None:
        self._start_ms = start_ms
        self._elapsed_ms = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def now_ms(self) -> int:
        return self._start_ms + self._elapsed_ms

    def monotonic(self) -> float:
        return self._elapsed_ms / 1000

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due_ms = self._elapsed_ms + max(1, round(seconds * 1000))
        heapq.heappush(self._sleepers, (due_ms, next(self._count), woken))
        await woken

    def sleepers(self) -> int:
        """How many tasks sleep on this clock."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let that much time pass, stopping at every sleeper that is due."""
        end_ms = self._elapsed_ms + round(seconds * 1000)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_ms:
            due_ms, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_ms = max(self._elapsed_ms, due_ms)
            if not woken.done():
                woken.set_result(None)
                await settle()
        self._elapsed_ms = end_ms
        await settle()

    async def leap(self, seconds: float) -> None:
        """Let that much time pass at once, as on a machine that slept: whoever was due in it
        wakes late, and once."""
        self._elapsed_ms += round(seconds * 1000)
        await self.advance(0)


async def settle(turns: int = 12) -> None:
    """Let every task that can run without waiting for a thread or socket do so."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool], what: str = "", seconds: float = 60.0) -> None:
    """Wait in real time until something holds; fails the test when it does not come to."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come about in {seconds:g} s: {what or holds}")
        await asyncio.sleep(0.001)
