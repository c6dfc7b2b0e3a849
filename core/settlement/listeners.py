"""Functions that are told of events, each from a queue and a task of its own.

A listener that raises is counted and logged; one that never returns keeps only itself waiting.
What does not fit its queue any more it finds in the store, like everybody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from core.events import Event

log = logging.getLogger("bursar.settlement")

Listener = Callable[[Event], Awaitable[None]]
_QUEUED = 10_000


class _Queue:
    """What one listener has not yet been told."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.events: deque[Event] = deque(maxlen=_QUEUED)
        self.moved = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Listeners:
    """Who is told. `failures` counts what listeners raised, `dropped` events that found a full
    queue."""

    def __init__(self) -> None:
        self.failures = 0
        self.dropped = 0
        self._queues: list[_Queue] = []
        self._group: asyncio.TaskGroup | None = None

    def add(self, listener: Listener) -> None:
        """Tell it of events from now on."""
        queue = _Queue(listener)
        self._queues.append(queue)
        self._begin(queue)

    def remove(self, listener: Listener) -> None:
        """Tell it no more; what it is doing is cancelled."""
        for queue in [queue for queue in self._queues if queue.listener == listener]:
            self._queues.remove(queue)
            if queue.task is not None:
                queue.task.cancel()

    def tell(self, events: Sequence[Event]) -> None:
        """Queue events for all; never waits and cannot fail."""
        for queue in self._queues:
            self.dropped += max(0, len(queue.events) + len(events) - _QUEUED)
            queue.events.extend(events)
            queue.moved.set()

    async def run(self) -> None:
        """Serve the listeners until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for queue in self._queues:
                    self._begin(queue)
                await asyncio.Event().wait()
        finally:
            self._group = None

    def _begin(self, queue: _Queue) -> None:
        if self._group is not None:
            queue.task = self._group.create_task(self._serve(queue), name="settlement-listener")

    async def _serve(self, queue: _Queue) -> None:
        while True:
            await queue.moved.wait()
            queue.moved.clear()
            while queue.events:
                event = queue.events.popleft()
                try:
                    await queue.listener(event)
                except Exception:  # whatever a listener does is its own affair
                    self.failures += 1
                    log.exception(
                        "a listener failed at %s of %s", event.TYPE, event.subject() or "the node"
                    )
