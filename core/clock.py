"""The machine's clock, for whoever is not given another, and how long work gives way to others."""

from __future__ import annotations

import asyncio
import time
from typing import Final

_TURNS: Final = 4


class SystemClock:
    """A `core.model.Clock` on the system's time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def give_way() -> None:
    """Let everybody else have a few turns of the loop between two slices of housekeeping.

    What answers a person passes the loop some ten times between a key and its paint. With one
    turn between slices it would wait for a slice at each of them, and for one of every job.
    """
    for _ in range(_TURNS):
        await asyncio.sleep(0)
