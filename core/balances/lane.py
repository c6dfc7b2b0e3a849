"""One chain's cycle: claim what is due, read it, record it in one transaction, publish.

A lane owns its chain's reader: it never reads twice at a time, lets no reading outlive its
lease, and turns whatever goes wrong into a reason on the rows concerned. When to run is the
sync worker's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from core.balances.book import Difference, Plan
from core.balances.cache import BalanceCache
from core.balances.loading import load_registry, rebuild
from core.balances.report import Retaken, changed_events, retake, rows_to_write
from core.balances.waiting import TooLateError, within
from core.chains.protocol import ChainReader
from core.events import Bus, ChainReorganised, EndpointStateChanged, Event, EventRecord
from core.model import BursarError, Clock, EndpointState, Reading
from core.store.protocol import (
    EVERYTHING_DUE_MS,
    Failure,
    Lease,
    LeaseLostError,
    Store,
    StoreError,
    Sweep,
)

log = logging.getLogger("bursar.sync")

_WAITING_EVENTS = 1_000


class CycleReport(msgspec.Struct, frozen=True):
    """What one cycle did. `error` says why the chain was not read, "" when it was (or when
    nothing was due, `read` 0)."""

    chain: str
    read: int = 0
    changed: int = 0
    unknown: int = 0
    error: str = ""


class LaneSettings(msgspec.Struct, frozen=True):
    """`interval_ms` between cycles; `lease_ms` on accounts; `batch` accounts per claim (None: the
    whole chain); `shared`: other workers may write to the same store."""

    worker: str
    interval_ms: int
    lease_ms: int = 120_000
    batch: int | None = None
    shared: bool = False


class Lane:
    """Reads one chain. `on_store` is told why the store failed, and "" when it works again."""

    def __init__(
        self,
        reader: ChainReader,
        store: Store,
        cache: BalanceCache,
        bus: Bus,
        clock: Clock,
        settings: LaneSettings,
        on_store: Callable[[str], None],
    ) -> None:
        self.name = reader.name
        self.settings = settings
        self._reader = reader
        self._store = store
        self._cache = cache
        self._bus = bus
        self._clock = clock
        self._on_store = on_store
        self._waiting: list[Event] = []  # facts about chain and endpoints the store has not got
        self._telling = asyncio.Lock()  # one batch at a time, so that they stay in order
        self._endpoints: Mapping[str, EndpointState] = {}
        self._forked_below: int | None = None  # a fork the store has not been told of
        self._stuck: asyncio.Task[Reading] | None = None

    @property
    def reader(self) -> ChainReader:
        """The chain's reader."""
        return self._reader

    async def cycle(self, *, forced: bool = False) -> CycleReport:
        """Read what is due (`forced`: everything). Raises nothing but cancellation, and then the
        lease is given back."""
        now_ms = self._clock.now_ms()
        due_ms = self._due_before(now_ms, forced)
        report = CycleReport(self.name)
        while True:
            try:
                lease = await self._claim(now_ms, due_ms)
            except StoreError as error:
                self._store_failed(error)
                return await self._read_unstored(now_ms)
            if lease is None:
                if forced and not report.read and self._cache.book(self.name).accounts:
                    return CycleReport(self.name, error="another worker is reading this chain")
                return report
            step = await self._work_off(lease, now_ms)
            report = CycleReport(
                self.name,
                report.read + step.read,
                report.changed + step.changed,
                report.unknown + step.unknown,
                step.error,
            )
            if lease.whole or step.error:
                return report

    async def close(self) -> None:
        """See a reading that was given up to its end, if it lets itself be ended."""
        if self._stuck is not None:
            self._stuck.cancel()
            await asyncio.wait((self._stuck,), timeout=1.0)
            self._stuck = None

    def _due_before(self, now_ms: int, forced: bool) -> int:
        """Alone on the store the schedule says what is due, whatever the wall clock did. Workers
        that share one go by the stamps, which carry the start of a reading: one interval later
        a row is due, and a worker that comes by halfway leaves it alone."""
        if self.settings.batch is None and (forced or not self.settings.shared):
            return EVERYTHING_DUE_MS
        return now_ms if forced else now_ms - self.settings.interval_ms * 3 // 4

    async def _claim(self, now_ms: int, due_ms: int) -> Lease | None:
        lease = await self._store.claim(
            self.name,
            self.settings.worker,
            now_ms=now_ms,
            due_before_ms=due_ms,
            lease_ms=self.settings.lease_ms,
            limit=self.settings.batch,
        )
        try:
            if self.settings.shared:
                self._cache.absorb(await self._store.balances())
        except BaseException:
            if lease is not None:
                await self._release(lease, (), now_ms)
            raise
        return lease

    async def _work_off(self, lease: Lease, now_ms: int) -> CycleReport:
        """Read a lease's accounts and record them, or give the lease back with the reason."""
        try:
            plan = await self._plan(lease)
            if plan is None:
                await self._release(lease, (), now_ms)
                return CycleReport(self.name, error="the registry is changing; read again")
            started = self._clock.monotonic()
            try:
                reading = await self._read(plan)
            except BursarError as error:
                return await self._give_back(lease, plan, str(error), now_ms)
            seconds = self._clock.monotonic() - started
            report = await self._record(lease, plan, reading, now_ms, seconds)
            log.debug(
                "read %d balances at block %d: %d changed, %d unknown",
                report.read,
                reading.block.number,
                report.changed,
                report.unknown,
                extra={"chain": self.name, "duration_ms": round(seconds * 1000, 1)},
            )
            return report
        except asyncio.CancelledError:
            await self._release(lease, (), now_ms)
            raise

    async def _plan(self, lease: Lease) -> Plan | None:
        """What to ask for; when the registry grew since it was loaded, it is loaded first."""
        for attempt in range(2):
            plan = self._cache.book(self.name).plan_for(
                lease.accounts, lease.whole, self._cache.assets
            )
            if plan is not None or attempt:
                return plan
            try:
                await load_registry(self._store, self._cache)
            except StoreError as error:
                self._store_failed(error)
                return None
        return None

    async def _read(self, plan: Plan) -> Reading:
        """One reading, within the lease. Whatever a reader raises becomes a BursarError."""
        if self._stuck is not None:
            if not self._stuck.done():
                raise BursarError("the last reading was given up and has still not returned")
            self._stuck = None
        seconds = self.settings.lease_ms * 3 / 4 / 1000
        try:
            reading = await within(
                self._clock, seconds, self._reader.read(plan.requests), "no answer"
            )
        except TooLateError as error:
            self._stuck = error.task
            raise
        except BursarError:
            raise
        except Exception as error:  # a fault of one reader must not stop the other chains
            log.exception("reader failed", extra={"chain": self.name})
            raise BursarError(f"reader failed: {type(error).__name__}: {error}") from error
        if len(reading.amounts) != len(plan.requests):
            raise BursarError(
                f"reader answered {len(reading.amounts)} of {len(plan.requests)} requests"
            )
        return reading

    # --- a reading came about ----------------------------------------------------------------

    async def _record(
        self, lease: Lease, plan: Plan, reading: Reading, time_ms: int, seconds: float
    ) -> CycleReport:
        forks = [b for b in (reading.forked_below, self._forked_below) if b is not None]
        self._forked_below = min(forks, default=None)
        old_head = self._cache.chain_state(self.name).block
        told = False
        above: Sequence[EventRecord] = ()
        book = self._cache.book(self.name)
        retaken: Retaken | None = None
        try:
            if self._forked_below is not None:
                above = await self._store.balance_events_above(self.name, self._forked_below)
            retaken = self._decide(plan, reading, above, time_ms)
            self._look_at_endpoints(time_ms)
            if reading.forked_below is not None:
                self._tell_later(
                    ChainReorganised(
                        timestamp=time_ms,
                        chain=self.name,
                        common_block=reading.forked_below,
                        old_head=old_head,
                        new_head=reading.block.number,
                    )
                )
            told = await self._store_sweep(lease, reading, retaken, time_ms, seconds)
        except LeaseLostError as error:
            log.warning("%s", error, extra={"chain": self.name})
        except StoreError as error:
            self._store_failed(error)
            await self._release(lease, (), time_ms)
        # Decide on the rows of now where the registry was loaded anew meanwhile; and a fork that
        # the store did not take is no fork yet.
        if retaken is None or self._cache.book(self.name) is not book or (above and not told):
            retaken = self._decide(plan, reading, above if told else (), time_ms)
        self._cache.apply(
            self.name,
            plan,
            reading,
            retaken.difference,
            time_ms=time_ms,
            seconds=seconds,
            told=told,
            retaken=retaken.since_ms,
        )
        await self._after()
        changed = len(retaken.difference.replacements)
        unknown = len(retaken.difference.faults)
        log.log(
            logging.INFO if changed else logging.DEBUG,
            "read %d balances at block %d: %d changed, %d unknown",
            len(plan.accounts),
            reading.block.number,
            changed,
            unknown,
            extra={
                "chain": self.name,
                "endpoint": reading.endpoint,
                "duration_ms": round(seconds * 1000),
            },
        )
        return CycleReport(self.name, len(plan.accounts), changed, unknown)

    def _decide(
        self, plan: Plan, reading: Reading, above: Sequence[EventRecord], time_ms: int
    ) -> Retaken:
        book = self._cache.book(self.name)
        difference = book.compare(plan, reading)
        if not above:
            return Retaken(difference, [], {})
        return retake(
            book,
            plan,
            reading,
            difference,
            above,
            lambda agent, token, contract: self._cache.find_told(agent, self.name, token, contract),
            time_ms,
        )

    async def _store_sweep(
        self, lease: Lease, reading: Reading, retaken: Retaken, time_ms: int, seconds: float
    ) -> bool:
        book = self._cache.book(self.name)
        changes, marks, failures = rows_to_write(book, retaken.difference)
        sweep = Sweep(
            lease=lease,
            time_ms=time_ms,
            block=reading.block,
            consistency=reading.consistency,
            first_block=reading.first_block or reading.block.number,
            endpoint=reading.endpoint,
            seconds=seconds,
            changes=changes,
            marks=marks,
            failures=failures,
            forked_below=self._forked_below,
        )
        told = changed_events(
            book, self._cache.assets, retaken.difference, reading.block.number, time_ms
        )
        async with self._telling:
            waiting = tuple(self._waiting)
            records = await self._store.record(sweep, [*waiting, *retaken.events, *told])
            del self._waiting[: len(waiting)]
        self._forked_below = None
        self._on_store("")
        self._publish(records)
        return True

    async def _read_unstored(self, now_ms: int) -> CycleReport:
        """The store is not to be had: the cache goes on, and what changes is told later."""
        plan = self._cache.book(self.name).plan
        started = self._clock.monotonic()
        try:
            reading = await self._read(plan)
        except BursarError as error:
            self._failed(plan, str(error), now_ms)
            await self._after()
            return CycleReport(self.name, error=str(error))
        forks = [b for b in (reading.forked_below, self._forked_below) if b is not None]
        self._forked_below = min(forks, default=None)
        difference: Difference = self._cache.book(self.name).compare(plan, reading)
        self._cache.apply(
            self.name,
            plan,
            reading,
            difference,
            time_ms=now_ms,
            seconds=self._clock.monotonic() - started,
            told=False,
            retaken={},
        )
        await self._after()
        changed, unknown = len(difference.replacements), len(difference.faults)
        return CycleReport(self.name, len(plan.accounts), changed, unknown)

    # --- a reading did not come about --------------------------------------------------------

    async def _give_back(self, lease: Lease, plan: Plan, reason: str, now_ms: int) -> CycleReport:
        failures = [Failure(account, reason) for account in plan.accounts]
        await self._release(lease, failures, now_ms)
        self._failed(plan, reason, now_ms)
        await self._after()
        return CycleReport(self.name, unknown=len(plan.accounts), error=reason)

    def _failed(self, plan: Plan, reason: str, now_ms: int) -> None:
        log.error("chain not read: %s", reason, extra={"chain": self.name})
        self._cache.fail(self.name, plan.accounts, reason, now_ms)

    async def _release(self, lease: Lease, failures: Sequence[Failure], now_ms: int) -> None:
        try:
            self._publish(await self._store.release(lease, failures, (), now_ms))
            if failures:  # a fact was written: the store works
                self._on_store("")
        except StoreError as error:
            self._store_failed(error)

    # --- chain and endpoints -----------------------------------------------------------------

    async def _after(self) -> None:
        await self.look(self._clock.now_ms())
        await rebuild(self._cache)

    async def look(self, now_ms: int) -> None:
        """Look at chain and endpoints as of now and tell what changed, once."""
        self._look_at_endpoints(now_ms)
        moved = self._cache.judge_chain(self.name, now_ms)
        if moved is not None:
            self._tell_later(moved)
        async with self._telling:
            if self._waiting:
                waiting = tuple(self._waiting)
                try:
                    self._publish(await self._store.append(waiting))
                    del self._waiting[: len(waiting)]
                except StoreError as error:
                    self._store_failed(error)

    def _look_at_endpoints(self, now_ms: int) -> None:
        health = self._reader.health()
        self._cache.note_endpoints(self.name, health)
        for endpoint in health:
            old = self._endpoints.get(endpoint.url, EndpointState.UNTRIED)
            first_success = (old, endpoint.state) == (EndpointState.UNTRIED, EndpointState.READY)
            if endpoint.state != old and not first_success:
                self._tell_later(
                    EndpointStateChanged(
                        timestamp=now_ms,
                        chain=self.name,
                        endpoint=endpoint.url,
                        old_state=old.value,
                        new_state=endpoint.state.value,
                        reason="" if endpoint.state is EndpointState.READY else endpoint.last_error,
                    )
                )
        self._endpoints = {endpoint.url: endpoint.state for endpoint in health}

    def _tell_later(self, event: Event) -> None:
        if len(self._waiting) < _WAITING_EVENTS:
            self._waiting.append(event)
        else:
            log.error("%s is not stored: the store fails", event.TYPE, extra={"chain": self.name})

    def _publish(self, records: Sequence[EventRecord]) -> None:
        if records:
            self._bus.publish(records[-1].seq)

    def _store_failed(self, error: StoreError) -> None:
        log.error("%s", error, extra={"chain": self.name})
        self._on_store(str(error))
