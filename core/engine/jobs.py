"""Long work as desks see it: what runs, how far it is, and how the last of its kind ended.

Progress may be told from a thread; it reaches the desks a few times a second at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from core.api import JobView
from core.model import BursarError, Clock

_TOLD_EVERY_S = 0.2


class Job:
    """One piece of work under way. Every method may be called from a thread."""

    def __init__(self, view: JobView, tell: Callable[[], None]) -> None:
        self.view = view
        self._tell = tell
        self._done = 0
        self._told = 0.0

    def stage(self, words: str, total: int = 0, unit: str = "") -> None:
        """The next part begins: `total` units, 0 where that is not known."""
        self._done = 0
        self.view = msgspec.structs.replace(self.view, stage=words, done=0, total=total, unit=unit)
        self._tell()

    def advance(self, units: int = 1) -> None:
        """So many units more are done."""
        self._done += units
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY_S:
            self._told = now
            self.view = msgspec.structs.replace(self.view, done=self._done)
            self._tell()

    def note(self, words: str, done: int, total: int, unit: str) -> None:
        """Where the work stands, for work that counts by itself."""
        if words != self.view.stage or total != self.view.total:
            self.stage(words, total, unit)
        self.advance(done - self._done)

    def says(self, message: str) -> None:
        """What came of it, for its end."""
        self.view = msgspec.structs.replace(self.view, message=message)


class Jobs:
    """The work under way and the last of each kind. `changed` is called on the loop."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._jobs: dict[str, Job] = {}

    @contextmanager
    def begin(self, kind: str, stage: str) -> Iterator[Job]:
        """Work of a kind, from here to the end of the block; an exception is its failure."""
        loop = asyncio.get_running_loop()
        now_ms = self._clock.now_ms()
        view = JobView(f"{kind}-{now_ms}", kind, stage, now_ms)

        def tell() -> None:
            loop.call_soon_threadsafe(self._changed)

        job = Job(view, tell)
        self._jobs[kind] = job
        self._changed()
        error = "it was broken off"
        try:
            yield job
            error = ""
        except BursarError as failed:
            error = str(failed)
            raise
        except Exception as failed:
            error = type(failed).__name__
            raise
        finally:
            job.view = msgspec.structs.replace(
                job.view, done=job.view.total, ended_ms=self._clock.now_ms(), error=error
            )
            self._changed()

    def views(self) -> tuple[JobView, ...]:
        """What runs, and the last of each kind."""
        return tuple(job.view for job in self._jobs.values())
