"""Work a reader does beside its readings, owned by the reader: never forgotten, never orphaned."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Chores:
    """Background tasks by name, one of each at a time. `reap` and `close` await them, so that
    no exception is lost."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[None, None, None]) -> bool:
        """Start `work` unless one of that name still runs; says whether it was started."""
        if name in self._tasks:
            work.close()
            return False
        self._tasks[name] = asyncio.create_task(work, name=name)
        return True

    def running(self, name: str) -> bool:
        """Whether that work was started and not yet reaped."""
        return name in self._tasks

    def reap(self) -> None:
        """Take finished work off the list; raises what one of them raised."""
        for name, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[name]
                task.result()

    async def finish(self) -> None:
        """Wait until all work is done; raises what one of them raised."""
        for task in list(self._tasks.values()):
            await task
        self.reap()

    async def close(self) -> None:
        """Cancel everything and wait until it is gone."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
