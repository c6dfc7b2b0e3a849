"""Everything that stands on one generation of the data: opened once, served, closed for good.

A restore closes one and opens another, so nothing of the old state can linger. What outlives a
restore (the directory's lock, the log, the audit log, the socket) belongs to the engine.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from core.api import Outcome, StatePatch, StoreHealth
from core.balances.cache import BalanceCache
from core.balances.lane import CycleReport
from core.balances.sync import SyncWorker
from core.balances.tracker import BalanceTracker
from core.balances.versions import ChangeLog, VersionCounter
from core.balances.view import ProblemRules
from core.chains.protocol import ChainReader
from core.config import Settings
from core.engine import picture
from core.engine.alerting import Alerting
from core.engine.books import Books
from core.engine.chores import keep_house, watch_size
from core.engine.compose import ConfiguredStore, build_reader, configured_assets
from core.engine.executor import Executor
from core.engine.roster import Roster
from core.engine.settling import Settling
from core.events import Bus, EngineStarted, EngineStopped, Event, EventRecord
from core.model import Clock
from core.settlement import SettlementEngine
from core.settlement.monitor import HELD_KEY
from core.store.directory import DataDirectory
from core.store.protocol import StoreError
from core.telemetry.audit import AuditLog
from core.telemetry.event_lines import EventLines
from core.telemetry.event_log import EventLog

if TYPE_CHECKING:
    from core.engine.aftermath import Aftermath
    from core.engine.backing import Backing
    from core.engine.drilling import Drilling
    from core.engine.walleting import Walleting

log = logging.getLogger("bursar.engine")

_LAST_LINES_S = 2.0


class Services:
    """The services of an engine that may write; each owns what it is named for."""

    books: Books
    settling: Settling
    alerting: Alerting
    walleting: Walleting
    drilling: Drilling
    aftermath: Aftermath
    executor: Executor


class Live:
    """`open`, then `serve` where chains are polled, then `close`. `own` is None where the database
    is only read."""

    def __init__(
        self, settings: Settings, directory: DataDirectory, clock: Clock, audit: AuditLog
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.clock = clock
        self.audit = audit
        self.instance = uuid.uuid4().hex
        self.started_ms = clock.now_ms()
        self.bus = Bus()
        self.counter = VersionCounter()
        self.intervals_ms = {
            chain.name: int(chain.interval or settings.polling.interval) for chain in settings.chain
        }
        rules = ProblemRules(
            runway_s=int(settings.problems.runway) // 1000,
            unread_intervals=settings.problems.unread_intervals,
            lag_after_ms=int(settings.problems.lag_after),
        )
        self.cache = BalanceCache(clock, self.intervals_ms, rules, self.counter)
        self.health_log = ChangeLog[str](self.counter)
        """Changes of "store" and "clients"."""
        self.stopping = asyncio.Event()
        self.running: asyncio.Task[None] | None = None
        """The task of all services; None until `serve` and after `stop`."""
        self.worker: SyncWorker | None = None
        self.store = ConfiguredStore(directory.database, settings)
        self.roster = Roster(self.store, self.cache, self.counter)
        self.tracker: BalanceTracker
        self.own: Services | None = None
        self.backing: Backing
        self.clients = 0
        """Desks attached to this engine's socket."""
        self.undo = ""
        """The generation that a restore could be undone to."""
        self._reason = "closed"
        self._readers: dict[str, ChainReader] = {}
        self._owned = AsyncExitStack()
        self._newcomers = asyncio.Event()
        self._first_seq = 0
        self._store_error = ""
        self._store_bytes = 0

    # --- opening ---------------------------------------------------------------------------

    async def open(self, *, writes: bool, settlement_engine: SettlementEngine | None) -> None:
        """Load what is known and compose the services. Raises StoreError, ConfigError; `close` it
        then all the same."""
        settings = self.settings
        assets = configured_assets(settings)
        if writes:
            await self.store.open()
        else:
            await self.store.open_read_only()
        self._owned.push_async_callback(self.store.close)
        if writes:
            chains = [(chain.name, chain.kind) for chain in settings.chain]
            await self.store.put_registry(chains, assets)
        self.tracker = BalanceTracker(
            self.store, self.cache, self.bus, self.clock, self.read_chains
        )
        await self.roster.load()
        self._first_seq = await self.store.last_seq()
        self.bus.publish(self._first_seq)
        self.backing = await self._open_backups(self.audit if writes else None)
        if writes:
            for chain in settings.chain:
                reader = build_reader(chain, settings, self.clock, self.store)
                self._owned.push_async_callback(reader.close)
                self._readers[chain.name] = reader
            self.own = await self._open_services(settlement_engine)
            self.undo = self.directory.previous()

    async def _open_backups(self, audit: AuditLog | None) -> Backing:
        from core.backup.installation import read_installation  # with its cryptography
        from core.engine.backing import Backing

        backing = Backing(
            self.settings,
            self.clock,
            self.counter,
            lambda: read_installation(self.directory.generation(), self.settings),
            self.publish,
            audit,
        )
        await backing.open()
        return backing

    async def _open_services(self, settlement_engine: SettlementEngine | None) -> Services:
        own = Services()
        own.books = Books(
            self.settings,
            self.directory.generation(),
            self.store,
            self.cache,
            self.clock,
            self.counter,
            self.publish,
        )
        self._owned.push_async_callback(own.books.close)
        own.settling = await self._open_settlements(own.books, settlement_engine)
        own.alerting = Alerting(
            self.settings,
            self.store,
            self.bus,
            self.clock,
            self.counter,
            self.audit,
            self.patch,
            self.cache.view,
            lambda: self.roster.agents,
            lambda: self.roster.assets,
        )
        await own.alerting.ensure()
        own.walleting = self._open_wallets()
        await self._open_restores(own)
        own.executor = Executor(
            self.store,
            self.clock,
            tuple(self._readers),
            self.read_chains,
            self._reload,
            own.books,
            own.settling,
            own.alerting,
            own.walleting,
            self.backing,
            own.drilling,
            self._release,
        )
        return own

    async def _open_settlements(self, books: Books, engine: SettlementEngine | None) -> Settling:
        settling = Settling(
            self.settings.settlement,
            books.manager,
            books.ledger,
            self.store,
            self.bus,
            self.clock,
            self.counter,
            generation=self.directory.generation().name,
            is_ready=books.answers,
            engine=engine,
            held=await self.store.recall(HELD_KEY) == "1",
        )
        self._owned.push_async_callback(settling.close)
        return settling

    def _open_wallets(self) -> Walleting:
        from core.engine.walleting import Walleting

        return Walleting(
            self.settings.wallets,
            self.directory.generation(),
            self.store,
            self.bus,
            self.clock,
            self.counter,
            self.audit,
            self._agents_changed,
            self.roster.moved,
        )

    async def _open_restores(self, own: Services) -> None:
        from core.engine.aftermath import Aftermath
        from core.engine.drilling import Drilling

        own.drilling = Drilling(self.settings, self.backing, self.clock)
        own.aftermath = Aftermath(
            self.directory.generation(),
            self.store,
            self.clock,
            {
                chain.name: partial(build_reader, chain, self.settings, self.clock, self.store)
                for chain in self.settings.chain
            },
            own.walleting.vault.accounts,
            own.walleting.hold_creation,
            self.publish,
        )
        await own.aftermath.open()

    # --- serving ---------------------------------------------------------------------------

    async def serve(self) -> None:
        """Begin to poll the chains, and start every service's task."""
        assert self.own is not None
        for reader in self._readers.values():
            await reader.open()
        self.worker = self._sync_worker(self._readers)
        agents = len(self.roster.agents)
        started = EngineStarted(timestamp=self.clock.now_ms(), version=_version(), agents=agents)
        await self.publish([started])
        # A collection over a large fleet would hold up the loop; what is loaded now stays.
        gc.collect()
        gc.freeze()
        self.running = asyncio.create_task(self._run(self.own, self.worker), name="engine")

    def _sync_worker(self, readers: Mapping[str, ChainReader]) -> SyncWorker:
        polling = self.settings.polling
        return SyncWorker(
            self.store,
            readers,
            self.cache,
            self.bus,
            self.clock,
            intervals_ms=self.intervals_ms,
            # A name that outlives the process: after a crash the next engine takes up its leases.
            worker=f"engine {self.settings.settlement.node_id}",
            lease_ms=int(polling.lease),
            batch=polling.batch or None,
            push=polling.push,
            on_store=self._note_store,
        )

    async def _run(self, own: Services, worker: SyncWorker) -> None:
        lines = self._event_lines()
        work = {
            "sync": worker.run(),
            "newcomers": self._read_newcomers(worker),
            "books": own.books.run(),
            "settlements": own.settling.run(),
            "alerts": own.alerting.run(),
            "wallets": own.walleting.run(),
            "backups": self.backing.run(),
            "drills": own.drilling.run(),
            "after a restore": own.aftermath.run(),
            "housekeeping": keep_house(
                self.store, self.settings.history, self.clock, self._note_store
            ),
            "store size": watch_size(self.store, self.clock, self._note_size, self._note_store),
            "event log": EventLog(self.store, self.bus, self.clock, self._first_seq).run(),
        }
        if lines is not None:
            work["event lines"] = lines.run()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each, name=name) for name, each in work.items()]
            await self.stopping.wait()
            await worker.stop()
            stopped = EngineStopped(timestamp=self.clock.now_ms(), reason=self._reason)
            await self.publish([stopped])
            if lines is not None:
                await self._last_lines(lines)
            for task in tasks:
                task.cancel()

    def _event_lines(self) -> EventLines | None:
        log_settings = self.settings.log
        if not log_settings.events:
            return None
        return EventLines(
            self.store,
            self.bus,
            self.clock,
            self.directory.logs / "events.jsonl",
            rotate_bytes=log_settings.rotate_bytes,
            keep_files=log_settings.keep_files,
        )

    async def _last_lines(self, lines: EventLines) -> None:
        """Give the file a moment to take the last events; it catches up at the next start."""
        ends = self.clock.monotonic() + _LAST_LINES_S
        while lines.written < self.bus.last and not lines.error:
            if self.clock.monotonic() > ends:
                return
            await self.clock.sleep(0.02)

    async def _read_newcomers(self, worker: SyncWorker) -> None:
        """Read at once after the registry changed, so that nobody waits an interval."""
        while True:
            await self._newcomers.wait()
            self._newcomers.clear()
            await worker.read_now()

    async def stop(self, reason: str = "closed") -> None:
        """End the services, and say why in the events."""
        self._reason = reason
        self.stopping.set()
        if self.running is not None:
            await asyncio.wait({self.running})
            if not self.running.cancelled() and (error := self.running.exception()):
                await self._record_failure(error)
            self.running = None

    async def _record_failure(self, error: BaseException) -> None:
        reason = causes(error)
        log.error("the engine failed: %s", reason, exc_info=error, extra={"component": "engine"})
        failed = EngineStopped(timestamp=self.clock.now_ms(), reason=f"failed: {reason}")
        try:
            await self.publish([failed])
        except StoreError as told:
            log.error("the stop could not be recorded: %s", told)

    async def close(self) -> None:
        """Close everything that was opened; `stop` it first."""
        await self._owned.aclose()

    # --- what services ask of it -----------------------------------------------------------

    async def patch(self, version: int) -> StatePatch:
        """What changed after a version."""
        return await picture.patch(self, version)

    async def publish(self, events: Sequence[Event]) -> None:
        """Store events and wake their readers."""
        records = await self.store.append(events)
        self.bus.publish(records[-1].seq)

    async def read_chains(self, chains: Sequence[str]) -> list[CycleReport]:
        """Read chains now (all, if none is named), by the poller or, without one, once."""
        if self.worker is not None:
            return await self.worker.read_now(chains)
        readers = {name: self._readers[name] for name in chains or self._readers}
        for reader in readers.values():
            await reader.open()
        worker = self._sync_worker(readers)
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(), name="sync")
            await asyncio.sleep(0)  # let it begin, so that it takes the request
            reports = await worker.read_now()
            await worker.stop()
        return reports

    async def _reload(self, records: Sequence[EventRecord]) -> None:
        await self.roster.load()
        if records:
            self.bus.publish(records[-1].seq)
        self._newcomers.set()

    async def _agents_changed(self, read: bool) -> None:
        await self.roster.load()
        if read:
            self._newcomers.set()

    async def _release(self, reason: str) -> Outcome:
        """Let settlements go on that a restore holds."""
        assert self.own is not None
        if not self.own.settling.held:
            return Outcome("No settlements are held.")
        node = self.settings.settlement.node_id
        await self.audit.append("settlements.release", "operator", node, {"reason": reason})
        await self.store.remember(HELD_KEY, "")
        await self.own.settling.release()
        self.backing.touch()
        return Outcome("Settlements go on.", 1)

    # --- health ----------------------------------------------------------------------------

    def health(self) -> StoreHealth:
        """Whether facts reach the disk."""
        return StoreHealth("sqlite", str(self.store.path), self._store_error, self._store_bytes)

    def note_clients(self, count: int) -> None:
        """So many desks are attached now."""
        self.clients = count
        self.health_log.mark("clients")

    def _note_store(self, error: str) -> None:
        self._store_error = error
        self.health_log.mark("store")

    def _note_size(self, size_bytes: int) -> None:
        self._store_bytes = size_bytes
        self.health_log.mark("store")


def causes(error: BaseException) -> str:
    """The leaves of an exception group in words."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(causes(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


def _version() -> str:
    try:
        return version("bursar")
    except PackageNotFoundError:
        return "unknown"
