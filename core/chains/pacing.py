"""How fast and how much at once: a request budget and a learnt chunk size, per endpoint.

Both are small pure state machines; the budget waits on the clock passed in.
"""

from __future__ import annotations

import math

from core.model import Clock

PROBE_AFTER = 200  # successes at the learnt size before a refused size is tried again


class Pacer:
    """At most `rate` requests a second, with one second's worth of burst; None is no limit.

    Unlike a shared limiter on loop time it runs on Bursar's clock, and callers that wait are
    served in order because each books its slot before it sleeps.
    """

    def __init__(self, clock: Clock, rate: float | None) -> None:
        self._clock = clock
        self._rate = rate
        self._booked = -math.inf  # monotonic time up to which the budget is spent

    async def acquire(self, cost: float = 1.0) -> None:
        """Book `cost` requests and wait until they are due."""
        if not self._rate:
            return
        now = self._clock.monotonic()
        burst_s = max(1.0, 1.0 / self._rate)
        self._booked = max(self._booked, now - burst_s) + cost / self._rate
        wait = self._booked - now
        if wait > 0:
            await self._clock.sleep(wait)


class ChunkSize:
    """How much one request may ask for, learnt: halved on refusal, +10 % on success.

    A size that was refused is remembered and approached but not tried again until `PROBE_AFTER`
    successes, so that a stable limit does not cost a refused request every few cycles.
    """

    def __init__(self, size: int, ceiling: int) -> None:
        self.size = max(1, size)
        self.ceiling = max(self.size, ceiling)
        self._refused_at: int | None = None
        self._successes = 0

    def succeeded(self, asked: int) -> None:
        """A request for `asked` was answered; only one at the full size teaches anything."""
        if asked < self.size:
            return
        self._successes += 1
        if self._refused_at is not None and self._successes >= PROBE_AFTER:
            self._refused_at = None
        limit = self.ceiling
        if self._refused_at is not None:
            limit = min(limit, max(1, self._refused_at * 19 // 20))
        self.size = max(self.size, min(self.size + max(1, self.size // 10), limit))

    def refused(self, asked: int) -> bool:
        """A request for `asked` was too large. Returns False where it cannot become smaller."""
        if asked <= 1:
            return False
        self._refused_at = min(asked, self._refused_at or asked)
        self._successes = 0
        self.size = max(1, min(self.size, asked // 2))
        return True
