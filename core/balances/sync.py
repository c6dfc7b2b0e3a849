"""The sync worker: every chain read at its interval, each on its own, until told to stop.

One task per chain runs its lane's cycles on a fixed grid of time; a slow, hanging or dead chain
therefore delays nobody. Pushed heads only wake a cycle early. A keeper looks at states and at
what changes by time alone.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from core.balances.cache import BalanceCache
from core.balances.lane import CycleReport, Lane, LaneSettings
from core.balances.loading import load_past, reconsider
from core.balances.waiting import first_of
from core.chains.protocol import ChainReader
from core.events import Bus
from core.model import Clock
from core.store.protocol import Store, StoreError

log = logging.getLogger("bursar.sync")

_KEEPER_S = 5.0
_RECONSIDER_S = 60.0


class SyncWorker:
    """Reads all chains that have a reader. `run` is its one task; its owner awaits it."""

    def __init__(
        self,
        store: Store,
        readers: Mapping[str, ChainReader],
        cache: BalanceCache,
        bus: Bus,
        clock: Clock,
        *,
        intervals_ms: Mapping[str, int],
        worker: str = "engine",
        lease_ms: int = 120_000,
        batch: int | None = None,
        shared: bool = False,
        push: bool = True,
        push_gap_s: float = 5.0,
        grace_s: float = 5.0,
        on_store: Callable[[str], None] = lambda error: None,
    ) -> None:
        """`push_gap_s` is the shortest time between two cycles that heads wake; `grace_s` what a
        cycle gets to finish at `stop`; `on_store` hears when the store fails ("" when it works
        again)."""
        self._store_errors: dict[str, str] = {}
        self._store = store
        self._cache = cache
        self._clock = clock
        self._push = push
        self._push_gap_s = push_gap_s
        self._grace_s = grace_s
        self._on_store = on_store
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._begun = False
        self._schedules = {
            name: _Schedule(
                Lane(
                    reader,
                    store,
                    cache,
                    bus,
                    clock,
                    LaneSettings(worker, intervals_ms[name], lease_ms, batch, shared),
                    partial(self._note_store, name),
                )
            )
            for name, reader in readers.items()
        }

    async def run(self) -> None:
        """Read until `stop`. The first cycle of every chain starts at once. The cache must have
        been loaded. Cancelled, it gives its leases back."""
        self._stopping.clear()
        self._ended.clear()
        self._begun = True
        try:
            async with asyncio.TaskGroup() as group:
                cycles = [group.create_task(self._drive(s)) for s in self._schedules.values()]
                others = [
                    group.create_task(self._keep()),
                    group.create_task(self._remember()),
                ]
                if self._push:
                    others += [group.create_task(self._follow(s)) for s in self._schedules.values()]
                await self._stopping.wait()
                for task in others:
                    task.cancel()
                if cycles:
                    await first_of(self._clock.sleep(self._grace_s), _all(cycles))
                for task in cycles:
                    task.cancel()
        finally:
            for schedule in self._schedules.values():
                schedule.abandon()
                await schedule.lane.close()
            self._ended.set()

    async def stop(self) -> None:
        """End `run`: a cycle under way may finish within the grace, else its lease is given
        back. Returns when everything has ended."""
        self._stopping.set()
        await self._ended.wait()
        for schedule in self._schedules.values():
            schedule.abandon()  # who asked before `run` began

    async def read_now(self, chains: Sequence[str] = ()) -> list[CycleReport]:
        """Read these chains (all, if empty), due or not, and return when they were read: by a
        cycle that began after this call; asked before `run` has begun, by its first one. Raises
        KeyError for a chain without a reader."""
        if self._begun and self._ended.is_set():
            names = chains or list(self._schedules)
            return [CycleReport(name, error="the sync worker is not running") for name in names]
        waits = [self._schedules[name].request() for name in chains or self._schedules]
        return list(await asyncio.gather(*waits))

    def cycles(self) -> dict[str, int]:
        """How many cycles each chain has completed, read or not."""
        return {name: schedule.cycles for name, schedule in self._schedules.items()}

    @property
    def store_error(self) -> str:
        """Why the store does not take what is read; "" when it does."""
        return next(filter(None, self._store_errors.values()), "")

    def _note_store(self, chain: str, error: str) -> None:
        before = self.store_error
        self._store_errors[chain] = error
        if self.store_error != before:
            self._on_store(self.store_error)

    async def _drive(self, schedule: _Schedule) -> None:
        interval_s = schedule.lane.settings.interval_ms / 1000
        schedule.due = self._clock.monotonic()
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            wait_s = schedule.due - now
            if wait_s > 0 and not schedule.requests:
                schedule.woken.clear()
                await first_of(
                    self._clock.sleep(wait_s), schedule.woken.wait(), self._stopping.wait()
                )
                continue
            # A cycle that was asked for early starts a new grid; one on time keeps its own.
            early = wait_s > 0
            schedule.began = now
            schedule.due = (now if early else schedule.due) + interval_s
            requests, schedule.requests = schedule.requests, []
            forced, schedule.pushed = bool(requests) or schedule.pushed, False
            try:
                report = await schedule.lane.cycle(forced=forced)
                schedule.cycles += 1
            except BaseException:
                for request in requests:
                    request.cancel()
                raise
            for request in requests:
                if not request.done():
                    request.set_result(report)
            # A cycle longer than the interval misses its turn; it is never made up for.
            late = self._clock.monotonic() - schedule.due
            if late > 0 and not schedule.pushed:
                schedule.due += interval_s * (late // interval_s + 1)

    async def _follow(self, schedule: _Schedule) -> None:
        """Let pushed heads wake the chain's cycle."""
        while True:
            try:
                async for _ in schedule.lane.reader.heads():
                    schedule.push(self._push_gap_s)
            except Exception:  # push is a convenience: without it the interval still holds
                log.warning("heads stopped", exc_info=True, extra={"chain": schedule.lane.name})
            await self._clock.sleep(schedule.lane.settings.interval_ms / 1000)

    async def _keep(self) -> None:
        """States every few seconds; deltas, runway and severity once a minute."""
        reconsidered = self._clock.monotonic()
        while True:
            await self._clock.sleep(_KEEPER_S)
            for schedule in self._schedules.values():
                await schedule.lane.look(self._clock.now_ms())
            if self._clock.monotonic() - reconsidered >= _RECONSIDER_S:
                reconsidered = self._clock.monotonic()
                await reconsider(self._cache, self._cache.moving())

    async def _remember(self) -> None:
        """The past day from the store, beside the first cycles."""
        try:
            await load_past(self._store, self._cache, self._clock)
            await reconsider(self._cache, self._cache.moving())
            # What was loaded stays: collections to come need not walk it while the loop waits.
            # Not collected first: over a large fleet that alone holds the loop up for 0.2 s.
            gc.freeze()
        except StoreError as error:  # no deltas until the day has been seen anew
            log.error("history not loaded: %s", error)


class _Schedule:
    """When a lane runs next, and who waits for it. Times are seconds on the monotonic clock."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.due = 0.0
        self.began = float("-inf")
        self.pushed = False
        self.cycles = 0
        self.woken = asyncio.Event()
        self.requests: list[asyncio.Future[CycleReport]] = []

    def request(self) -> asyncio.Future[CycleReport]:
        """Ask for a cycle that begins from now on."""
        future: asyncio.Future[CycleReport] = asyncio.get_running_loop().create_future()
        self.requests.append(future)
        self.woken.set()
        return future

    def push(self, gap_s: float) -> None:
        """Bring the next cycle forward, but not closer than `gap_s` to the last one."""
        due = self.began + gap_s
        if due < self.due:
            self.due = due
            self.pushed = True
            self.woken.set()

    def abandon(self) -> None:
        """Nobody will serve these requests any more."""
        for request in self.requests:
            if not request.done():
                request.set_result(CycleReport(self.lane.name, error="the sync worker has stopped"))
        self.requests = []


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)
