"""XrplReader: all balances of a chain at one validated ledger.

It takes a ledger hash first and asks every account at that hash, pipelined over one socket. A
sweep outlives its connection: the next one, or the next endpoint, is asked only for the rest.
There are no reorganisations here; a server that does not know the ledger is asked for its own.
Failover, health and back-off are `core.chains.endpoints`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Final

from core.chains.endpoints import Endpoint, EndpointPool
from core.chains.failures import EndpointError, FailureKind
from core.chains.protocol import ChainUnreachableError, EndpointMemory
from core.chains.xrpl import wire
from core.chains.xrpl.connection import FIRST_CALL, Connection
from core.chains.xrpl.link import Link
from core.chains.xrpl.sweep import Plan, Sweep
from core.model import (
    BlockRef,
    ChainKind,
    Clock,
    Consistency,
    EndpointHealth,
    Reading,
    Request,
)

RUNG: Final = "account_info"
WINDOW: Final = 1000  # requests in flight
TIMEOUT_S: Final = 10.0

_RATE: Final = "requests per second"  # learnt under this name, like a chunk size
_FASTEST: Final = 1000  # rippled: 1,250 a second for ever before it drops a client
_GROWTH: Final = 5  # steps of 10 % after a sweep without refusal: a bad minute is soon forgotten
_TELLING: Final = 10  # answers before a refusal, from which a rate can be told
_STALE_AFTER_S: Final = 20.0  # ledgers close every four seconds
_STALE_LEDGERS: Final = 3
_LONGEST_S: Final = 600.0  # of a paced sweep: servers forget a ledger after a quarter of an hour
_RETAKES: Final = 3
_ROLLING: Final = 0.05  # of an interval goes to accounts that no stream named
_PASSES: Final = 4  # a sweep that is cut off goes on where it was, so it may be cut often
_YIELD_EVERY: Final = 64
_HEAD_SILENCE_S: Final = 30.0


class XrplReader:
    """The `ChainReader` of an XRPL network.

    `chain_id` is the network id its servers must state (0 mainnet, 1 testnet, ...); None takes
    the first server's word. `requests_per_second` paces every endpoint; None learns a limit
    from refusals. A paced sweep that would take more than `longest_sweep_s` is taken up by the
    next reading where it stopped.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        clock: Clock,
        memory: EndpointMemory,
        *,
        chain_id: int | None = None,
        interval_s: float = 30.0,
        requests_per_second: float | None = None,
        timeout_s: float = TIMEOUT_S,
        longest_sweep_s: float = _LONGEST_S,
    ) -> None:
        self._name = name
        self._clock = clock
        self._network_id = chain_id
        self._requests_per_second = requests_per_second or None
        self._timeout_s = timeout_s
        self._longest_s = longest_sweep_s
        self._pool: EndpointPool[Link] = EndpointPool(
            name, urls, lambda _url: Link(), clock, memory, interval_s=interval_s
        )
        self._plan: Plan | None = None
        self._newest = 0
        self._next_id = 0
        self._closed = False

    @property
    def name(self) -> str:
        """The chain's name in the registry."""
        return self._name

    @property
    def kind(self) -> ChainKind:
        """Always XRPL."""
        return ChainKind.XRPL

    async def open(self) -> None:
        """Take up what was learnt earlier; sockets open when first needed."""
        await self._pool.load()
        for endpoint in self._pool.endpoints:
            endpoint.rung = RUNG

    async def close(self) -> None:
        """Close every socket; no task is left."""
        self._closed = True
        for endpoint in self._pool.endpoints:
            await endpoint.session.close()

    def health(self) -> tuple[EndpointHealth, ...]:
        """Every endpoint, in configured order."""
        return self._pool.health()

    async def read(self, requests: Sequence[Request], at: BlockRef | None = None) -> Reading:
        """All requests at the newest validated ledger, or at `at`; see `ChainReader.read`."""
        if self._plan is None or self._plan.requests is not requests:
            self._plan = Plan(requests)
        sweep = Sweep(self._plan)
        sent = self._sent()
        try:
            label = await self._pool.run(
                partial(self._read_on, sweep=sweep, at=at),
                deadline_s=self._deadline_s(self._plan.jobs),
                passes=_PASSES,
            )
        except ChainUnreachableError as error:
            if not sweep.answered:
                raise
            label = ""
            sweep.abandon(str(error))
        await self._pool.save()
        ledger = sweep.ledger
        assert ledger is not None  # every way here began a sweep at a ledger
        if at is None:
            self._newest = max(self._newest, ledger.number)
        amounts, reasons, marks, reserved = sweep.outcome()
        return Reading(
            ledger,
            Consistency.PINNED,
            amounts,
            reasons,
            marks,
            reserved,
            first_block=ledger.number,
            endpoint=label,
            requests_sent=self._sent() - sent,
        )

    async def heads(self) -> AsyncIterator[BlockRef]:
        """Validated ledgers as the endpoint in use announces them; reconnects until closed."""
        failures = 0
        while not self._closed:
            endpoint = self._pool.in_use or next(iter(self._pool.candidates()), None)
            if endpoint is not None:
                try:
                    async for ledger in self._announced(endpoint):
                        failures = 0
                        yield ledger
                except EndpointError as error:
                    endpoint.erred(error)
            failures = min(failures + 1, 6)
            await self._clock.sleep(0.5 * 2**failures)

    # --- one endpoint -----------------------------------------------------------------------

    async def _read_on(self, endpoint: Endpoint[Link], sweep: Sweep, at: BlockRef | None) -> str:
        try:
            await self._sweep_on(endpoint, sweep, at)
        except EndpointError as error:
            endpoint.erred(error)
            raise
        return endpoint.label

    async def _sweep_on(self, endpoint: Endpoint[Link], sweep: Sweep, at: BlockRef | None) -> None:
        connection = await self._connected(endpoint)
        resumed = sweep.answered > 0
        for _ in range(_RETAKES):
            try:
                if not resumed:
                    ledger = await self._ledger(endpoint, connection, at)
                    rate = self._rate(endpoint)
                    if at is None and rate and sweep.plan.jobs / rate > self._pool.interval_s / 2:
                        spare = max(1, int(rate * self._pool.interval_s * _ROLLING))
                        await endpoint.session.begin_touched(connection, sweep, ledger, spare)
                    else:
                        sweep.begin(ledger)
                assert sweep.ledger is not None
                pinned = sweep.ledger.hash.encode()
                fees = await connection.ask(wire.FEE_SETTINGS, pinned)
                await self._drive(endpoint, connection, sweep)
                sweep.reserves = await self._reserves(connection, fees)
            except EndpointError as error:
                if error.kind is FailureKind.NO_BLOCK and at is None:
                    resumed = False  # this server lacks the ledger: take one that it has
                    continue
                raise
            if at is None and not endpoint.session.completed(sweep):
                endpoint.note = "its transactions stream missed a change: reading every account"
            return
        raise EndpointError(FailureKind.NO_BLOCK, "it does not know the ledger it just named")

    async def _drive(self, endpoint: Endpoint[Link], connection: Connection, sweep: Sweep) -> None:
        """Ask for everything the sweep still needs. Raises EndpointError; the sweep then knows
        what remains."""
        window = endpoint.chunk(RUNG, WINDOW, WINDOW)
        base = self._ids(sweep.plan.jobs)
        wake = asyncio.Event()
        before, received, started = sweep.answered, 0, self._clock.monotonic()

        def on_reply(message: wire.Message) -> None:
            nonlocal received
            received += 1
            sweep.take((message.id or 0) - base, message)
            low = window.size // 2 if sweep.todo else 0
            if len(sweep.flying) <= low or sweep.trouble is not None:
                wake.set()
            if message.warning == "load" and connection.rate is None:
                connection.rate = float(endpoint.chunk(_RATE, _FASTEST, _FASTEST).size)

        connection.on_reply = on_reply
        connection.wakers.add(wake)
        try:
            while not sweep.finished:
                if sweep.trouble is not None:
                    raise sweep.trouble
                if connection.rate and self._clock.monotonic() - started > self._longest_s:
                    asked = sweep.plan.jobs - len(sweep.todo)
                    words = f"{asked} of {sweep.plan.jobs} were read at the server's pace"
                    sweep.put_off(f"not its turn: {words}")
                while sweep.todo and len(sweep.flying) < window.size and sweep.trouble is None:
                    await connection.send(sweep.next_request(base))
                    if connection.rate and self._clock.monotonic() - started > self._longest_s:
                        break
                    if len(sweep.flying) % _YIELD_EVERY == 0:
                        await asyncio.sleep(0)
                await _progress(connection, sweep, wake, window.size, lambda: received)
            if sweep.trouble is not None:
                raise sweep.trouble
        except EndpointError as error:
            if error.kind is FailureKind.TOO_MANY:
                elapsed = self._clock.monotonic() - started
                self._slow_down(endpoint, connection, sweep.answered - before, elapsed)
            raise
        finally:
            connection.on_reply = None
            connection.wakers.discard(wake)
            endpoint.requests += received
            sweep.interrupted()
        if connection.rate is not None and _RATE in endpoint.chunks:
            for _ in range(_GROWTH):
                endpoint.chunks[_RATE].succeeded(endpoint.chunks[_RATE].size)
        window.succeeded(received)

    async def _connected(self, endpoint: Endpoint[Link]) -> Connection:
        """The endpoint's socket, opened if need be, on the right network. Raises EndpointError."""
        link = endpoint.session
        async with link.lock:
            if link.connection is not None and link.connection.alive:
                link.connection.rate = self._rate(endpoint)
                return link.connection
            await link.close()
            if self._closed:
                raise EndpointError(FailureKind.UNREACHABLE, "the reader is closed")
            connection = await Connection.open(endpoint.url, self._clock, self._timeout_s)
            connection.rate = self._rate(endpoint)
            try:
                await self._check_network(endpoint, connection)
            except BaseException:
                await connection.close()
                raise
            connection.on_stream = link.follower.take
            link.connection = connection
            return connection

    async def _check_network(self, endpoint: Endpoint[Link], connection: Connection) -> None:
        started = self._clock.monotonic()
        message = await connection.call(wire.SERVER_INFO)
        endpoint.answered(self._clock.monotonic() - started)
        info = message.result.info if message.result else None
        if info is None:
            raise EndpointError(FailureKind.NOT_JSON, "server_info: not a rippled server")
        version = info.clio_version or info.build_version
        endpoint.note = f"{'clio' if info.clio_version else 'rippled'} {version}".strip()
        stated = info.network_id
        if stated is None:
            # Servers that were given no id leave it out, mainnet's among them.
            if self._network_id:
                words = f"it states no network id, expected {self._network_id}"
                raise EndpointError(FailureKind.WRONG_CHAIN, words)
            return
        if self._network_id is None:
            self._network_id = stated
        if stated != self._network_id:
            words = f"network id {stated}, expected {self._network_id}"
            raise EndpointError(FailureKind.WRONG_CHAIN, words)

    # --- ledgers ----------------------------------------------------------------------------

    async def _ledger(
        self, endpoint: Endpoint[Link], connection: Connection, at: BlockRef | None
    ) -> BlockRef:
        """The endpoint's newest validated ledger, unless it is stale; or `at`, if it has it."""
        if at is not None:
            message = await connection.call(wire.LEDGER_BY_HASH, at.hash.encode())
            return wire.ledger_of(message)
        ledger = await self._validated(endpoint, connection)
        if self._clock.now_ms() - ledger.time_ms > _STALE_AFTER_S * 1000:
            await self._ask_others(endpoint)
        behind = max(self._pool.best_block - _STALE_LEDGERS, self._newest)
        if ledger.number < behind:
            newest = max(self._pool.best_block, self._newest)
            words = f"its ledger is {ledger.number}, others are at {newest}"
            raise EndpointError(FailureKind.STALE, words)
        return ledger

    async def _validated(self, endpoint: Endpoint[Link], connection: Connection) -> BlockRef:
        started = self._clock.monotonic()
        ledger = wire.ledger_of(await connection.call(wire.VALIDATED_LEDGER))
        endpoint.answered(self._clock.monotonic() - started, ledger.number)
        return ledger

    async def _ask_others(self, endpoint: Endpoint[Link]) -> None:
        """An old ledger may be the network's or this server's: see what the others have."""
        now = self._clock.monotonic()
        if now - endpoint.session.probed < _STALE_AFTER_S:
            return
        endpoint.session.probed = now
        for other in self._pool.candidates():
            if other is endpoint:
                continue
            try:
                await self._validated(other, await self._connected(other))
            except EndpointError as error:
                other.erred(error)
                other.leave(error)

    async def _reserves(
        self, connection: Connection, fees: asyncio.Future[wire.Message]
    ) -> wire.Reserves:
        """The reserves voted at the pinned ledger, or those the server states now."""
        message = await connection.settle(fees)
        trouble = wire.server_error(message) if message.error else None
        if trouble is not None and trouble.kind is FailureKind.NO_BLOCK:
            raise trouble
        reserves = wire.reserves_of(message)
        if reserves is None:
            reserves = wire.reserves_of(await connection.call(wire.SERVER_STATE))
        if reserves is None:
            raise EndpointError(
                FailureKind.RPC, "neither FeeSettings nor server_state has reserves"
            )
        return reserves

    async def _announced(self, endpoint: Endpoint[Link]) -> AsyncIterator[BlockRef]:
        connection = await self._connected(endpoint)
        follower = endpoint.session.follower
        slow = self._rate(endpoint) is not None
        connection.wakers.add(follower.fresh)
        try:
            await connection.call(wire.SUBSCRIBE_ALL if slow else wire.SUBSCRIBE_LEDGERS)
            while True:
                try:
                    async with asyncio.timeout(_HEAD_SILENCE_S):
                        await follower.fresh.wait()
                except TimeoutError:
                    return
                follower.fresh.clear()
                if connection.error is not None:
                    raise connection.error
                if follower.latest is not None:
                    yield follower.latest
        finally:
            connection.wakers.discard(follower.fresh)

    # --- slow servers -----------------------------------------------------------------------

    def _rate(self, endpoint: Endpoint[Link]) -> float | None:
        """Requests a second: the lower of what is configured and what was learnt."""
        learnt = endpoint.chunks.get(_RATE)
        rates = [r for r in (self._requests_per_second, learnt and float(learnt.size)) if r]
        return min(rates, default=None)

    def _slow_down(
        self, endpoint: Endpoint[Link], connection: Connection, answered: int, elapsed_s: float
    ) -> None:
        """It refused: keep to what it answered before that, and to half the next time. Where it
        answered next to nothing it tells no rate: it is full, and the back-off is enough."""
        if answered < _TELLING:
            return
        if _RATE in endpoint.chunks:
            rate = endpoint.chunks[_RATE]
            rate.refused(rate.size)
        else:
            seen = int(answered / max(elapsed_s, 1.0))
            endpoint.chunk(_RATE, max(1, min(seen, _FASTEST)), _FASTEST)
        connection.rate = self._rate(endpoint)

    def _deadline_s(self, jobs: int) -> float:
        """The interval, or what a paced sweep needs."""
        rates = [rate for e in self._pool.endpoints if (rate := self._rate(e)) is not None]
        if not rates:
            return self._pool.interval_s
        needed = 10.0 + 1.5 * jobs / min(rates)
        return max(self._pool.interval_s, min(needed, self._longest_s + 30.0))

    # --- numbers ----------------------------------------------------------------------------

    def _ids(self, count: int) -> int:
        """The first of `count` request ids that no recent sweep used."""
        if self._next_id + count > FIRST_CALL:
            self._next_id = 1
        first = self._next_id or 1
        self._next_id = first + count
        return first

    def _sent(self) -> int:
        return sum(e.session.sent for e in self._pool.endpoints)


async def _progress(
    connection: Connection,
    sweep: Sweep,
    wake: asyncio.Event,
    window: int,
    received: Callable[[], int],
) -> None:
    """Wait until half the window came back, or something went wrong; not longer than the
    time-out without any answer. Raises EndpointError."""
    low = window // 2 if sweep.todo else 0
    while len(sweep.flying) > low and sweep.trouble is None:
        if connection.error is not None:
            raise connection.error
        wake.clear()
        before = received()
        try:
            async with asyncio.timeout(connection.timeout_s):
                await wake.wait()
        except TimeoutError as error:
            if received() == before:
                raise connection.give_up() from error
        low = window // 2 if sweep.todo else 0
