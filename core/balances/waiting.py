"""Waiting for the first of several things on a clock that is passed in."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from core.model import BursarError, Clock

T = TypeVar("T")

# What a cancelled coroutine gets (real seconds) before it is taken to ignore cancellation.
_LAST_WORD_S = 1.0


class TooLateError(BursarError):
    """Something did not return in time. `task` is set where it ignored its cancellation and so
    still runs: whoever catches this owns it."""

    def __init__(self, message: str, task: asyncio.Task[Any] | None) -> None:
        super().__init__(message)
        self.task = task


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first has; the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T], what: str) -> T:
    """The result of `work`, or TooLateError after `seconds` on the clock."""
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        in_time = task.done()
        if not in_time:
            task.cancel()
            await asyncio.wait((task,), timeout=_LAST_WORD_S)
        await asyncio.gather(timer, return_exceptions=True)
    if in_time:
        return task.result()
    raise TooLateError(f"{what} within {seconds:g} s", None if task.done() else task)
