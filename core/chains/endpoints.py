"""The endpoints of one chain: order, health, back-off, pacing and learnt chunk sizes.

The heart of every reader and free of any transport: a reader gives `EndpointPool.run` an
operation to try on one endpoint, and reports how each request went. Failover, half-open retry,
Retry-After and the deadline of a polling interval are decided here, on the clock passed in.
What a failure means stands in `failures`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from core.chains.failures import EndpointError, FailureKind, Remedy
from core.chains.pacing import ChunkSize, Pacer
from core.chains.protocol import ChainUnreachableError, EndpointMemory
from core.config.masking import mask_url
from core.model import Clock, EndpointHealth, EndpointState

S_co = TypeVar("S_co", covariant=True)  # sessions are set once: a pool of a subclass is a pool
T = TypeVar("T")

WINDOW_S = 300.0  # latencies and error rate look back this far
WINDOW_REQUESTS = 512
FIRST_BACK_OFF_S = 1.0
LONGEST_RUN = 10.0  # intervals that an operation may take as long as its requests are answered
LONGEST_WAIT_S = 900.0  # a Retry-After beyond this is taken as this


class Learnt(msgspec.Struct):
    """What outlives a restart, as JSON in the `EndpointMemory`."""

    rung: str = ""
    chunks: dict[str, int] = {}
    traits: dict[str, str] = {}


class Endpoint(Generic[S_co]):
    """One URL of a chain with its health. `session` is whatever its reader keeps for it
    (a client, a connection, probe results)."""

    def __init__(
        self,
        chain: str,
        url: str,
        label: str,
        session: S_co,
        clock: Clock,
        *,
        requests_per_second: float | None = None,
        longest_back_off_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.chain = chain
        self.url = url
        self.label = label
        self.session: Final[S_co] = session
        self.state = EndpointState.UNTRIED
        self.rung = ""
        self.note = ""
        self.block = 0
        self.lag = 0
        self.requests = 0
        self.errors = 0
        self.last_error: EndpointError | None = None
        self.chunks: dict[str, ChunkSize] = {}
        self.traits: dict[str, str] = {}  # what else a reader wants kept over restarts
        self._clock = clock
        self._pacer = Pacer(clock, requests_per_second)
        self._longest_back_off_s = longest_back_off_s
        self._jitter = jitter
        self._window: deque[tuple[float, float | None]] = deque(maxlen=WINDOW_REQUESTS)
        self._failures = 0  # consecutive failed runs
        self._retry_at = 0.0  # monotonic
        self._last_error_ms = 0
        self._retry_at_ms = 0

    @property
    def key(self) -> str:
        """Name in the EndpointMemory: the URL's digest, since a URL may hold an API key."""
        return f"endpoint:{self.chain}:{hashlib.sha256(self.url.encode()).hexdigest()[:16]}"

    @property
    def usable(self) -> bool:
        """Whether a run may use it now; a backed-off one becomes half-open when its time is up."""
        return self.state is not EndpointState.REFUSED and self.wait_s <= 0

    @property
    def half_open(self) -> bool:
        """True while the next run is a trial after a failure."""
        return self.state is EndpointState.BACKING_OFF and self.usable

    @property
    def wait_s(self) -> float:
        """Seconds until it may be tried; 0 if it may be tried now."""
        if self.state is not EndpointState.BACKING_OFF:
            return 0.0
        return max(0.0, self._retry_at - self._clock.monotonic())

    async def pace(self, cost: float = 1.0) -> None:
        """Wait until the endpoint's request budget allows `cost` more requests."""
        await self._pacer.acquire(cost)

    def chunk(self, rung: str, start: int, ceiling: int) -> ChunkSize:
        """The learnt chunk size of one technique; `start` where nothing was learnt yet."""
        if rung not in self.chunks:
            self.chunks[rung] = ChunkSize(start, ceiling)
        self.chunks[rung].ceiling = ceiling
        return self.chunks[rung]

    def answered(self, latency_s: float, block: int | None = None) -> None:
        """One request was answered well; `block` if the answer named the head."""
        self.requests += 1
        self._window.append((self._clock.monotonic(), latency_s))
        if block is not None:
            self.block = block

    def erred(self, error: EndpointError) -> None:
        """One request failed; by itself this does not take the endpoint out of use."""
        self.requests += 1
        self.errors += 1
        self._window.append((self._clock.monotonic(), None))
        self.last_error = error
        self._last_error_ms = self._clock.now_ms()

    def recovered(self) -> None:
        """A whole run succeeded on it: the breaker closes."""
        self.state = EndpointState.READY
        self._failures = 0
        self._retry_at_ms = 0

    def leave(self, error: EndpointError) -> None:
        """A run failed on it: refuse it, or back off (exponential, with jitter, but never
        before the Retry-After it asked for)."""
        self.last_error = error
        self._last_error_ms = self._clock.now_ms()
        if error.treatment.remedy is Remedy.REFUSE:
            self.state = EndpointState.REFUSED
            self._retry_at_ms = 0
            return
        full = min(FIRST_BACK_OFF_S * 2.0**self._failures, self._longest_back_off_s)
        delay = full * (0.5 + 0.5 * self._jitter())
        if error.retry_after_s is not None:
            delay = max(min(error.retry_after_s, LONGEST_WAIT_S), 0.0)
            delay += 0.1 * self._jitter()
        self._failures = min(self._failures + 1, 30)
        self._back_off(delay)

    def postpone(self, seconds: float) -> None:
        """Keep a backing-off endpoint out for `seconds` more, after a failed probe."""
        self._back_off(seconds)

    def _back_off(self, delay: float) -> None:
        self.state = EndpointState.BACKING_OFF
        self._retry_at = self._clock.monotonic() + delay
        self._retry_at_ms = self._clock.now_ms() + int(delay * 1000)

    def health(self, in_use: bool = False) -> EndpointHealth:
        """As the desk shows it."""
        since = self._clock.monotonic() - WINDOW_S
        recent = [latency for at, latency in self._window if at >= since]
        good = sorted(latency for latency in recent if latency is not None)
        chunk = self.chunks.get(self.rung)
        return EndpointHealth(
            chain=self.chain,
            url=self.label,
            state=self.state,
            in_use=in_use,
            rung=self.rung,
            chunk=chunk.size if chunk else 0,
            block=self.block,
            lag=self.lag,
            p50_ms=_percentile_ms(good, 0.50),
            p95_ms=_percentile_ms(good, 0.95),
            requests=self.requests,
            errors=self.errors,
            error_rate=(len(recent) - len(good)) / len(recent) if recent else 0.0,
            last_error=str(self.last_error) if self.last_error else "",
            last_error_ms=self._last_error_ms,
            retry_at_ms=self._retry_at_ms,
            note=self.note,
        )


class EndpointPool(Generic[S_co]):
    """The endpoints of one chain in configured order.

    `interval_s` is the polling interval: the deadline of a run, and the scale of the longest
    back-off. `attach` makes the reader's session for a URL.
    """

    def __init__(
        self,
        chain: str,
        urls: Sequence[str],
        attach: Callable[[str], S_co],
        clock: Clock,
        memory: EndpointMemory,
        *,
        interval_s: float = 30.0,
        requests_per_second: float | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.chain = chain
        self.interval_s = interval_s
        self.endpoints: tuple[Endpoint[S_co], ...] = tuple(
            Endpoint(
                chain,
                url,
                label,
                attach(url),
                clock,
                requests_per_second=requests_per_second,
                longest_back_off_s=max(2.0 * interval_s, 5.0),
                jitter=jitter,
            )
            for url, label in zip(urls, labels(urls), strict=True)
        )
        self.in_use: Endpoint[S_co] | None = None
        self._clock = clock
        self._memory = memory
        self._saved: dict[str, str] = {}

    @property
    def best_block(self) -> int:
        """The highest block that any endpoint of this chain named."""
        refused = EndpointState.REFUSED
        return max((e.block for e in self.endpoints if e.state is not refused), default=0)

    def candidates(self) -> list[Endpoint[S_co]]:
        """Those that may be tried now, in configured order."""
        return [e for e in self.endpoints if e.usable]

    async def run(
        self,
        operation: Callable[[Endpoint[S_co]], Awaitable[T]],
        *,
        deadline_s: float | None = None,
        passes: int = 2,
    ) -> T:
        """Try `operation` on each usable endpoint in order until one succeeds.

        An EndpointError takes the endpoint out of use by its table row and the next one is
        tried. When all are out, the soonest return is waited for if it lies within the deadline
        (default: the interval): at most `passes` rounds of failures, but as often as endpoints
        merely ask to wait. A given `deadline_s` also cuts an operation off; by default one may
        take ten intervals, since a large fleet on a slow endpoint is late but not lost.
        Raises ChainUnreachableError, which names every endpoint's reason.
        """
        started = self._clock.monotonic()
        until = started + (self.interval_s if deadline_s is None else deadline_s)
        cut = started + LONGEST_RUN * self.interval_s if deadline_s is None else until
        hard_failures = 0
        while True:
            for endpoint in self.candidates():
                now = self._clock.monotonic()
                if now >= until:
                    raise self._unreachable()
                try:
                    result = await self._within(cut - now, operation, endpoint)
                except EndpointError as error:
                    endpoint.leave(error)
                    hard_failures += error.treatment.remedy is not Remedy.WAIT
                    continue
                endpoint.recovered()
                self.in_use = endpoint
                self.measure_lag()
                return result
            self.in_use = None
            alive = [e for e in self.endpoints if e.state is not EndpointState.REFUSED]
            wait = min((e.wait_s for e in alive), default=None)
            spent = hard_failures >= passes * max(1, len(alive))
            if wait is None or spent or self._clock.monotonic() + wait >= until:
                raise self._unreachable()
            await self._clock.sleep(wait)

    async def _within(
        self,
        seconds: float,
        operation: Callable[[Endpoint[S_co]], Awaitable[T]],
        endpoint: Endpoint[S_co],
    ) -> T:
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                return await operation(endpoint)
        except TimeoutError as error:
            if not scope.expired():
                raise
            words = f"not finished within {seconds:.3g} s"
            raise EndpointError(FailureKind.TIMEOUT, words) from error

    def _unreachable(self) -> ChainUnreachableError:
        self.in_use = None
        if not self.endpoints:
            return ChainUnreachableError(
                f"chain {self.chain}: no endpoint is configured; add one under [[chain]] endpoints"
            )
        parts = []
        for endpoint in self.endpoints:
            reason = str(endpoint.last_error) if endpoint.last_error else "not tried in time"
            if endpoint.state is EndpointState.REFUSED:
                reason += " (refused until restart)"
            elif endpoint.wait_s > 0:
                reason += f" (next try in {endpoint.wait_s:.0f} s)"
            parts.append(f"{endpoint.label}: {reason}")
        return ChainUnreachableError(f"chain {self.chain}: no endpoint answers: {'; '.join(parts)}")

    def measure_lag(self) -> None:
        """Set every endpoint's lag behind the best head seen."""
        best = self.best_block
        for endpoint in self.endpoints:
            endpoint.lag = max(0, best - endpoint.block) if endpoint.block else 0

    def health(self) -> tuple[EndpointHealth, ...]:
        """Every endpoint, in configured order."""
        return tuple(e.health(in_use=e is self.in_use) for e in self.endpoints)

    async def load(self) -> None:
        """Take up what an earlier run learnt: the rung and the chunk sizes."""
        for endpoint in self.endpoints:
            text = await self._memory.recall(endpoint.key)
            if text is None:
                continue
            try:
                learnt = msgspec.json.decode(text, type=Learnt)
            except msgspec.DecodeError:
                continue  # written by another version: it is learnt anew and replaced
            self._saved[endpoint.key] = text
            endpoint.rung = learnt.rung
            endpoint.traits = learnt.traits
            for rung, size in learnt.chunks.items():
                if size > 0:
                    endpoint.chunks[rung] = ChunkSize(size, size)

    async def save(self) -> None:
        """Keep what was learnt, where it differs from what is kept."""
        for endpoint in self.endpoints:
            if endpoint.state is EndpointState.UNTRIED:
                continue
            chunks = {rung: chunk.size for rung, chunk in sorted(endpoint.chunks.items())}
            text = msgspec.json.encode(Learnt(endpoint.rung, chunks, endpoint.traits)).decode()
            if self._saved.get(endpoint.key) != text:
                await self._memory.remember(endpoint.key, text)
                self._saved[endpoint.key] = text


def _percentile_ms(ascending: Sequence[float], q: float) -> int:
    """Nearest-rank percentile of seconds, in whole milliseconds (at least 1 if any)."""
    if not ascending:
        return 0
    rank = min(len(ascending) - 1, int(q * len(ascending)))
    return max(1, round(ascending[rank] * 1000))


def labels(urls: Sequence[str]) -> list[str]:
    """The URLs for people, without keys; those that then look alike are numbered."""
    shown = [mask_url(url).removesuffix("/") for url in urls]
    return [
        f"{label} #{shown[: at + 1].count(label)}" if shown.count(label) > 1 else label
        for at, label in enumerate(shown)
    ]
