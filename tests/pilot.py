"""When an app under a Textual pilot is at rest.

Textual's pilot takes a process that uses little of the processor for one that has nothing to do.
That costs a fiftieth of a second three times per key, and on a busy machine it is wrong: a process
that is given no time looks idle. The loop itself knows: an app is at rest when no callback is
ready to run and no thread works for it, so that only time or a socket can go on with it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import textual.app
import textual.pilot

_QUIET_TURNS = 3  # of the loop, one after the other: what a thread or socket hands in takes one


async def at_rest() -> None:
    """Wait until nothing on this loop is ready to run, nor brought there by a thread."""
    loop: Any = asyncio.get_running_loop()  # Any: asyncio has no public word for either
    quiet = 0
    while quiet < _QUIET_TURNS:
        await asyncio.sleep(0.001 if _works(loop._default_executor) else 0)
        quiet = 0 if loop._ready or _works(loop._default_executor) else quiet + 1


def _works(threads: ThreadPoolExecutor | None) -> bool:
    """Whether a thread of `asyncio.to_thread` has something to do."""
    return threads is not None and threads._idle_semaphore._value < len(threads._threads)


@pytest.fixture(autouse=True)
def pilot_rests(monkeypatch: pytest.MonkeyPatch, no_cover: None) -> None:
    """Let Textual's pilot wait for rest and not for a guess of it. Lines are not counted
    meanwhile: no gated room is at work under a scripted desk, and counting doubles its cost."""
    for module in (textual.app, textual.pilot):
        monkeypatch.setattr(module, "wait_for_idle", lambda *_: at_rest())
