"""How many requests a second a server bears: as configured, or as its refusals taught.

What was learnt is kept with the endpoint like a chunk size, so it outlives the connection and a
restart. Sending at that pace is the connection's business.
"""

from __future__ import annotations

from typing import Final

from core.chains.endpoints import Endpoint

_LEARNT: Final = "requests per second"  # its name among the endpoint's chunk sizes
_FASTEST: Final = 1000  # rippled: 1,250 a second for ever before it drops a client
_GROWTH: Final = 5  # steps of 10 % after a sweep without refusal: a bad minute is soon forgotten
_TELLING: Final = 10  # answers before a refusal, from which a rate can be told


class Pace:
    """The pace of each endpoint; `limit` is the configured one, None where there is none."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit or None

    def of(self, endpoint: Endpoint[object]) -> float | None:
        """Requests a second: the lower of what is configured and what was learnt."""
        learnt = endpoint.chunks.get(_LEARNT)
        rates = [rate for rate in (self._limit, learnt and float(learnt.size)) if rate]
        return min(rates, default=None)

    def warned(self, endpoint: Endpoint[object]) -> float:
        """The server says that the load is high: from now on it is paced."""
        return float(endpoint.chunk(_LEARNT, _FASTEST, _FASTEST).size)

    def refused(self, endpoint: Endpoint[object], answered: int, elapsed_s: float) -> None:
        """It refused: keep to what it answered before that, and to half the next time. Where it
        answered next to nothing it tells no rate: it is full, and the back-off is enough."""
        if answered < _TELLING:
            return
        if _LEARNT in endpoint.chunks:
            rate = endpoint.chunks[_LEARNT]
            rate.refused(rate.size)
        else:
            seen = int(answered / max(elapsed_s, 1.0))
            endpoint.chunk(_LEARNT, max(1, min(seen, _FASTEST)), _FASTEST)

    def kept_up(self, endpoint: Endpoint[object]) -> None:
        """A whole sweep went without a refusal: a learnt pace may rise."""
        if _LEARNT in endpoint.chunks:
            for _ in range(_GROWTH):
                endpoint.chunks[_LEARNT].succeeded(endpoint.chunks[_LEARNT].size)
