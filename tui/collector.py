"""Full garbage collections while nobody types.

A full collection walks everything the process made since the last `gc.freeze`: over a fleet that
is 30 to 50 ms in which no key is served, and Python starts one whenever it sees fit. The young
generations stay Python's affair; the old one is collected when the desk has been left alone for
a moment, and at the latest after some minutes.
"""

from __future__ import annotations

import gc

from core.model import Clock

EVERY_S = 30.0
"""Seconds between two full collections."""
REST_S = 2.0
"""Seconds without a key before one is made."""
MOST_S = 300.0
"""Seconds after which one is made even while somebody types."""
NEVER = 1_000_000_000


class Collector:
    """Makes the full collections of this process between `begin` and `end`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before: tuple[int, int, int] | None = None
        self._touched = float("-inf")
        self._collected = 0.0

    def begin(self) -> None:
        """From here on Python makes none by itself."""
        self._before = gc.get_threshold()
        self._collected = self._clock.monotonic()
        gc.set_threshold(self._before[0], self._before[1], NEVER)

    def end(self) -> None:
        """Leave it to Python again."""
        if self._before is not None:
            gc.set_threshold(*self._before)
            self._before = None

    def touched(self) -> None:
        """A key was pressed, or the mouse."""
        self._touched = self._clock.monotonic()

    def tick(self) -> None:
        """Collect if it is due and nobody waits for it."""
        now = self._clock.monotonic()
        since = now - self._collected
        rested = now - self._touched >= REST_S
        if since >= MOST_S or (since >= EVERY_S and rested):
            self._collected = now
            gc.collect()
