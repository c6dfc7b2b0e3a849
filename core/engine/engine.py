"""Engine: the EngineApi in this process, and the owner of every service behind it.

One task runs all services in one TaskGroup; `close` ends and awaits it. Three modes share the
code: FULL owns the data directory, polls and serves its socket; COMMAND owns it for one command
and polls only when asked; READ opens the database read-only beside whoever owns it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, TypeVar

import msgspec

from core.api import (
    AccountTotals,
    BackupsView,
    BackupView,
    Command,
    CommandRefusedError,
    CustodyView,
    EngineLostError,
    EngineState,
    EventQuery,
    History,
    Outcome,
    PacketOutcome,
    PacketStep,
    PeerView,
    ReconciliationView,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
    StatePatch,
    StoreHealth,
    TransferView,
    TrialView,
    Update,
    WalletView,
)
from core.balances.cache import BalanceCache
from core.balances.lane import CycleReport
from core.balances.loading import build, load_registry, rebuild
from core.balances.sync import SyncWorker
from core.balances.tracker import BalanceTracker, sparkline
from core.balances.versions import ChangeLog, VersionCounter
from core.balances.view import ProblemRules
from core.chains.protocol import ChainReader
from core.clock import SystemClock
from core.config import Settings, default_config, load_settings
from core.engine.alerting import Alerting
from core.engine.books import NO_BOOKS, Books
from core.engine.chores import keep_house, watch_size
from core.engine.compose import (
    ConfiguredStore,
    build_reader,
    configured_assets,
)
from core.engine.executor import Executor
from core.engine.heap import keep_little
from core.engine.settling import NO_SETTLEMENTS, Settling
from core.engine.wallet_views import wallet_views
from core.events import Bus, EngineStarted, EngineStopped, Event, EventRecord
from core.model import Agent, Asset, BursarError, Clock, Secret, WalletState
from core.settlement import SettlementEngine
from core.settlement.monitor import HELD_KEY
from core.store.directory import DataDirectory
from core.store.protocol import StoreError
from core.telemetry.audit import AuditLog
from core.telemetry.event_lines import EventLines
from core.telemetry.event_log import EventLog
from core.telemetry.logs import LogFile

if TYPE_CHECKING:
    from core.engine.aftermath import Aftermath
    from core.engine.backing import Backing
    from core.engine.drilling import Drilling
    from core.engine.restoring import Restoring
    from core.engine.walleting import Walleting
    from core.service.server import Server

log = logging.getLogger("bursar.engine")
T = TypeVar("T")

_TICK_S = 0.25
_EVENT_PAGE = 1_000
_LAST_LINES_S = 2.0


class EngineMode(StrEnum):
    """How much of an engine is wanted."""

    FULL = "full"
    COMMAND = "command"
    READ = "read"


class Engine:
    """See `core.api.EngineApi` for what the calls mean. `start` once, then `close`."""

    def __init__(
        self,
        settings: Settings,
        *,
        mode: EngineMode = EngineMode.FULL,
        clock: Clock | None = None,
        demo: bool = False,
        settlement_engine: SettlementEngine | None = None,
    ) -> None:
        """`settlement_engine` acts instead of the configured one (the demo's simulated one)."""
        self.mode = mode
        self.directory = DataDirectory(settings.data_path)
        self._clock = clock or SystemClock()
        self.audit = AuditLog(settings.data_path / "audit.jsonl", self._clock)
        """One for all who audit: it knows the last line, which the next one follows."""
        self._demo = demo
        self._settlement_engine = settlement_engine
        self._clients = 0
        self._closing = asyncio.Event()
        self._kept = AsyncExitStack()
        """What outlives a restore; the rest is `_owned`."""
        self._restoring: Restoring | None = None
        self._away = ""
        self._present = asyncio.Event()
        self._present.set()
        self._server: Server | None = None
        self._reset(settings)

    def _reset(self, settings: Settings) -> None:
        """Know nothing yet of the data: before the first start, and after a restore."""
        self.settings = settings
        self._instance = uuid.uuid4().hex
        self._started_ms = self._clock.now_ms()
        self._bus = Bus()
        self._counter = VersionCounter()
        self._intervals_ms = {
            chain.name: int(chain.interval or settings.polling.interval) for chain in settings.chain
        }
        rules = ProblemRules(
            runway_s=int(settings.problems.runway) // 1000,
            unread_intervals=settings.problems.unread_intervals,
            lag_after_ms=int(settings.problems.lag_after),
        )
        self._cache = BalanceCache(self._clock, self._intervals_ms, rules, self._counter)
        self._own_log = ChangeLog[str](self._counter)
        self._agents: dict[str, Agent] = {}
        self._assets: dict[int, Asset] = {}
        self._first_seq = 0
        self._store_error = ""
        self._store_bytes = 0
        self._stopping = asyncio.Event()
        self._newcomers = asyncio.Event()
        self._owned = AsyncExitStack()
        self._services: asyncio.Task[None] | None = None
        self._store: ConfiguredStore
        self._tracker: BalanceTracker
        self._executor: Executor
        self._books: Books | None = None
        self._settling: Settling | None = None
        self._alerting: Alerting | None = None
        self.walleting: Walleting | None = None
        """The wallets' service; None before `start` and in READ mode."""
        self.backing: Backing | None = None
        """The backups' service; None before `start`. In READ mode it only shows."""
        self._drilling: Drilling
        self._aftermath: Aftermath | None = None
        self._undo = ""
        self._loading = asyncio.Lock()
        self._worker: SyncWorker | None = None
        self._readers: dict[str, ChainReader] = {}

    # --- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the data directory, load what is known, start the services. Raises
        DirectoryInUseError, StoreError, ConfigError; then nothing is left running."""
        keep_little()
        try:
            await self._open()
        except BaseException:
            await self._owned.aclose()
            await self._kept.aclose()
            self.directory.release()
            raise

    async def _open(self) -> None:
        configured_assets(self.settings)  # refuses before anything is taken
        if self.mode is not EngineMode.READ:
            from core.engine.restoring import Restoring

            self.directory.prepare()
            self.directory.acquire()
            for name in await asyncio.to_thread(self.directory.clean):
                log.info("removed %s, which nothing needs any more", name)
            log_settings = self.settings.log
            self._kept.enter_context(
                LogFile(
                    self.directory.logs / "bursar.log",
                    level=log_settings.level,
                    rotate_bytes=log_settings.rotate_bytes,
                    keep_files=log_settings.keep_files,
                )
            )
            self._kept.push_async_callback(self.audit.close)
            self._restoring = Restoring(self, self._clock)
            await self._settle_in()
        await self._open_data()

    async def _settle_in(self) -> None:
        """Take up what a restore brought to a machine that had no settings or no backup key."""
        from core.backup.finishing import settle_in

        config = default_config(os.environ)
        generation = self.directory.generation()
        if await asyncio.to_thread(settle_in, generation, self.settings, config):
            found = load_settings(str(config))
            self._reset(msgspec.structs.replace(found, data_dir=self.settings.data_dir))
            await asyncio.to_thread(settle_in, generation, self.settings, config)

    async def _open_data(self) -> None:
        settings = self.settings
        assets = configured_assets(settings)
        writes = self.mode is not EngineMode.READ
        self._store = ConfiguredStore(self.directory.database, settings)
        if writes:
            await self._store.open()
        else:
            await self._store.open_read_only()
        self._owned.push_async_callback(self._store.close)
        if writes:
            chains = [(chain.name, chain.kind) for chain in settings.chain]
            await self._store.put_registry(chains, assets)
        self._tracker = BalanceTracker(
            self._store, self._cache, self._bus, self._clock, self._read_chains
        )
        await self._load()
        self._first_seq = await self._store.last_seq()
        self._bus.publish(self._first_seq)
        if not writes:
            self.backing = await self._open_backups(None)
            return
        for chain in settings.chain:
            reader = build_reader(chain, settings, self._clock, self._store)
            self._owned.push_async_callback(reader.close)
            self._readers[chain.name] = reader
        self._books = Books(
            settings,
            self.directory.generation(),
            self._store,
            self._cache,
            self._clock,
            self._counter,
            self._publish_all,
        )
        self._owned.push_async_callback(self._books.close)
        is_held = await self._store.recall(HELD_KEY) == "1"
        self._settling = Settling(
            settings.settlement,
            self._books.manager,
            self._books.ledger,
            self._store,
            self._bus,
            self._clock,
            self._counter,
            generation=self.directory.generation().name,
            is_ready=self._books.answers,
            engine=self._settlement_engine,
            held=is_held,
        )
        self._owned.push_async_callback(self._settling.close)
        self._alerting = Alerting(
            settings,
            self._store,
            self._bus,
            self._clock,
            self._counter,
            self.audit,
            self._patch,
            self._cache.view,
            lambda: self._agents,
            lambda: self._assets,
        )
        await self._alerting.ensure()
        self.walleting = self._open_wallets()
        self.backing = await self._open_backups(self.audit)
        await self._open_restores(self.backing, self.walleting)
        self._executor = Executor(
            self._store,
            self._clock,
            tuple(self._readers),
            self._read_chains,
            self._reload,
            self._books,
            self._settling,
            self._alerting,
            self.walleting,
            self.backing,
            self._drilling,
            self._release,
        )
        if self.mode is EngineMode.FULL:
            await self._serve()

    async def _serve(self) -> None:
        from core.service.server import Server

        for reader in self._readers.values():
            await reader.open()
        self._worker = self._sync_worker(self._readers)
        if self._server is None:
            self._server = Server(self, self.directory.socket, self._note_clients)
            await self._server.start()
            self._kept.push_async_callback(self._server.stop)
        await self._publish(
            EngineStarted(
                timestamp=self._clock.now_ms(), version=_version(), agents=len(self._agents)
            )
        )
        # A collection over a large fleet would hold up the loop; what is loaded now stays.
        gc.collect()
        gc.freeze()
        self._services = asyncio.create_task(self._run_services(), name="engine")

    async def _open_backups(self, audit: AuditLog | None) -> Backing:
        from core.backup.installation import read_installation
        from core.engine.backing import Backing

        backing = Backing(
            self.settings,
            self._clock,
            self._counter,
            lambda: read_installation(self.directory.generation(), self.settings),
            self._publish_all,
            audit,
        )
        await backing.open()
        return backing

    async def _open_restores(self, backing: Backing, walleting: Walleting) -> None:
        from core.engine.aftermath import Aftermath
        from core.engine.drilling import Drilling

        self._drilling = Drilling(self.settings, backing, self._clock)
        self._aftermath = Aftermath(
            self.directory.generation(),
            self._store,
            self._clock,
            {
                chain.name: partial(build_reader, chain, self.settings, self._clock, self._store)
                for chain in self.settings.chain
            },
            walleting.vault.accounts,
            walleting.hold_creation,
            self._publish_all,
        )
        await self._aftermath.open()
        self._undo = self.directory.previous()

    def _open_wallets(self) -> Walleting:
        from core.engine.walleting import Walleting

        return Walleting(
            self.settings.wallets,
            self.directory.generation(),
            self._store,
            self._bus,
            self._clock,
            self._counter,
            self.audit,
            self._agents_changed,
            self._agents_moved,
        )

    def _sync_worker(self, readers: Mapping[str, ChainReader]) -> SyncWorker:
        polling = self.settings.polling
        return SyncWorker(
            self._store,
            readers,
            self._cache,
            self._bus,
            self._clock,
            intervals_ms=self._intervals_ms,
            # A name that outlives the process: after a crash the next engine takes up its leases.
            worker=f"engine {self.settings.settlement.node_id}",
            lease_ms=int(polling.lease),
            batch=polling.batch or None,
            push=polling.push,
            on_store=self._note_store,
        )

    async def _run_services(self) -> None:
        settings = self.settings
        assert self._worker is not None
        assert self._books is not None
        assert self._settling is not None
        assert self._alerting is not None
        assert self.walleting is not None
        assert self.backing is not None
        assert self._aftermath is not None
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._worker.run(), name="sync")]
            workers.append(group.create_task(self._read_newcomers(), name="newcomers"))
            workers.append(group.create_task(self._books.run(), name="books"))
            workers.append(group.create_task(self._settling.run(), name="settlements"))
            workers.append(group.create_task(self._alerting.run(), name="alerts"))
            workers.append(group.create_task(self.walleting.run(), name="wallets"))
            workers.append(group.create_task(self.backing.run(), name="backups"))
            workers.append(group.create_task(self._drilling.run(), name="drills"))
            workers.append(group.create_task(self._aftermath.run(), name="after a restore"))
            house = keep_house(self._store, settings.history, self._clock, self._note_store)
            workers.append(group.create_task(house, name="housekeeping"))
            size = watch_size(self._store, self._clock, self._note_size, self._note_store)
            workers.append(group.create_task(size, name="store size"))
            told = EventLog(self._store, self._bus, self._clock, self._first_seq)
            workers.append(group.create_task(told.run(), name="event log"))
            lines = self._event_lines()
            if lines is not None:
                workers.append(group.create_task(lines.run(), name="event lines"))
            await self._stopping.wait()
            await self._worker.stop()
            reason = self._away or "closed"
            await self._publish(EngineStopped(timestamp=self._clock.now_ms(), reason=reason))
            if lines is not None:
                await self._last_lines(lines)
            for worker in workers:
                worker.cancel()

    def _event_lines(self) -> EventLines | None:
        log_settings = self.settings.log
        if not log_settings.events:
            return None
        return EventLines(
            self._store,
            self._bus,
            self._clock,
            self.directory.logs / "events.jsonl",
            rotate_bytes=log_settings.rotate_bytes,
            keep_files=log_settings.keep_files,
        )

    async def _last_lines(self, lines: EventLines) -> None:
        """Give the file a moment to take the last events; it catches up at the next start."""
        ends = self._clock.monotonic() + _LAST_LINES_S
        while lines.written < self._bus.last and not lines.error:
            if self._clock.monotonic() > ends:
                return
            await self._clock.sleep(0.02)

    async def wait_failed(self) -> None:
        """Wait until a service fails (raises its error) or the engine is closed (returns)."""
        closing = asyncio.create_task(self._closing.wait(), name="closing")
        try:
            while self._services is not None and not self._closing.is_set():
                services = self._services
                await asyncio.wait({services, closing}, return_when=asyncio.FIRST_COMPLETED)
                await self._present.wait()  # after a restore there are other services
                if services.done() and self._services is services:
                    if not services.cancelled() and (error := services.exception()):
                        raise BursarError(f"The engine stopped: {_causes(error)}") from error
                    return
        finally:
            closing.cancel()

    async def close(self) -> None:
        """End the services, say so in the events, close everything, let the directory go."""
        if self._restoring is not None:
            await self._restoring.close()
        self._closing.set()
        await self._stop_services()
        log.info("the engine stops")
        await self._owned.aclose()
        await self._kept.aclose()
        self.directory.release()

    async def _stop_services(self) -> None:
        self._stopping.set()
        if self._services is not None:
            await asyncio.wait({self._services})
            if not self._services.cancelled() and (error := self._services.exception()):
                await self._record_failure(error)
            self._services = None

    async def reopen(self, change: Callable[[], Awaitable[T]]) -> T:
        """See `core.engine.restoring.Host`."""
        before = self.directory.generation().name
        self._away = "a restore is being applied"
        self._present.clear()
        try:
            await self._stop_services()
            await self._owned.aclose()
            settings = self.settings
            try:
                result = await change()
            except BaseException:
                await asyncio.to_thread(self._go_back_to, before)
                await self._reopen_on(settings)
                raise
            try:
                await self._reopen_on(settings)
            except (BursarError, OSError) as error:
                log.error("the restored state cannot be used: %s", error, exc_info=error)
                await self._owned.aclose()
                await asyncio.to_thread(self._go_back_to, before)
                await self._reopen_on(settings)
                raise BursarError(
                    f"The restored state cannot be used: {error}. The old one is in use again."
                ) from error
            return result
        finally:
            self._away = ""
            self._present.set()

    def _go_back_to(self, generation: str) -> None:
        """See that CURRENT names what was in use: a swap that was half told is none."""
        if self.directory.generation().name != generation:
            self.directory.use(generation)

    async def _reopen_on(self, settings: Settings) -> None:
        """Start on what CURRENT names now."""
        self._reset(settings)
        await self._settle_in()
        await self._open_data()

    async def _record_failure(self, error: BaseException) -> None:
        reason = _causes(error)
        log.error("the engine failed: %s", reason, exc_info=error, extra={"component": "engine"})
        try:
            await self._publish(
                EngineStopped(timestamp=self._clock.now_ms(), reason=f"failed: {reason}")
            )
        except StoreError as failed:
            log.error("the stop could not be recorded: %s", failed)

    # --- state -----------------------------------------------------------------------------

    def _refuse_while_away(self) -> None:
        if self._away:
            raise EngineLostError(f"The engine is away for a moment: {self._away}.")

    async def state(self) -> EngineState:
        await build(self._cache)
        self._refuse_while_away()
        books = self._books.all() if self._books else NO_BOOKS
        board = self._settling.all() if self._settling else NO_SETTLEMENTS
        return EngineState(
            instance=self._instance,
            version=self._counter.value,
            seq=self._bus.last,
            now_ms=self._clock.now_ms(),
            started_ms=self._started_ms,
            node_id=self.settings.settlement.node_id,
            environment=self.settings.ui.environment,
            demo=self._demo,
            interval_ms=int(self.settings.polling.interval),
            chains=self._cache.chain_states(),
            endpoints=self._cache.endpoints(),
            assets=tuple(self._assets.values()),
            agents=tuple(self._agents.values()),
            balances=self._cache.views(),
            totals=self._cache.totals(),
            store=self._health(),
            clients=self._clients,
            ledger=books.ledger,
            peers=books.peers,
            trial=books.trial or (),
            custody=books.custody,
            settlements=board.rows,
            settlement=board.health,
            alerts=self._alerting.all() if self._alerting else (),
            jobs=self.walleting.jobs() if self.walleting else (),
            backups=self._with_restore(self.backing.all()) if self.backing else None,
        )

    async def updates(self, after_version: int, after_seq: int) -> AsyncIterator[Update]:
        self._refuse_while_away()
        version, seq = after_version, after_seq
        stopping = self._stopping  # of this run: what comes after a restore is another stream
        while not stopping.is_set():
            if self._services is not None and self._services.done():
                raise EngineLostError("The engine stopped; its log says why.")
            if self._counter.value > version:
                patch = await self._patch(version)
                version = patch.version
                yield patch
            while self._bus.last > seq:
                page = await self._store.events_after(seq, _EVENT_PAGE)
                for record in page:
                    seq = record.seq
                    yield record
                if not page:
                    seq = self._bus.last
            await self._clock.sleep(_TICK_S)

    def _backups_since(self, version: int) -> BackupsView | None:
        view = self.backing.changed_since(version) if self.backing else None
        return self._with_restore(view) if view is not None else None

    def _with_restore(self, view: BackupsView) -> BackupsView:
        held = self._settling is not None and self._settling.held
        return msgspec.structs.replace(view, held=held, undo=self._undo)

    async def _patch(self, version: int) -> StatePatch:
        """What changed after a version. A whole fleet may have: its views are made in slices."""
        await (rebuild(self._cache) if version else build(self._cache))
        changes = self._cache.changed_since(version)
        own = self._own_log.since(version)
        books = self._books.changed_since(version) if self._books else NO_BOOKS
        board = self._settling.changed_since(version) if self._settling else NO_SETTLEMENTS
        agents = [key.removeprefix("agent:") for key in own if key.startswith("agent:")]
        return StatePatch(
            version=self._counter.value,
            now_ms=self._clock.now_ms(),
            chains=changes.chains,
            endpoints=changes.endpoints,
            assets=tuple(self._assets.values()) if "assets" in own else (),
            agents=tuple(self._agents[name] for name in agents),
            balances=changes.balances,
            removed=changes.removed,
            totals=changes.totals,
            store=self._health() if "store" in own else None,
            clients=self._clients if "clients" in own else None,
            ledger=books.ledger,
            peers=books.peers,
            trial=books.trial,
            custody=books.custody,
            settlements=board.rows,
            settlement=board.health,
            alerts=self._alerting.changed_since(version) if self._alerting else None,
            jobs=self.walleting.changed_since(version) if self.walleting else None,
            backups=self._backups_since(version),
        )

    def _health(self) -> StoreHealth:
        return StoreHealth("sqlite", str(self._store.path), self._store_error, self._store_bytes)

    async def events(self, query: EventQuery) -> Sequence[EventRecord]:
        return await self._store.find_events(
            after_seq=query.after_seq,
            limit=query.limit,
            newest=query.newest,
            types=query.types,
            subject=query.subject,
            text=query.text,
            since_ms=query.since_ms,
            until_ms=query.until_ms,
        )

    async def history(
        self, agent: str, chain: str, asset: str, start_ms: int, end_ms: int
    ) -> History:
        return await self._tracker.get_balance_history(agent, chain, asset, start_ms, end_ms)

    async def sparklines(
        self, accounts: Sequence[int], start_ms: int, end_ms: int, buckets: int
    ) -> dict[int, tuple[int | None, ...]]:
        lines = {}
        for account in accounts:
            rows = await self._store.history(account, start_ms, end_ms)
            lines[account] = sparkline(rows, start_ms, end_ms, buckets)
        return lines

    # --- books -----------------------------------------------------------------------------

    async def packets(self, steps: Sequence[PacketStep]) -> Sequence[PacketOutcome]:
        return await self._writable_books().packets(steps)

    async def transfers(
        self, peer: str, token: str, limit: int, before_ms: int = 0
    ) -> Sequence[TransferView]:
        return await self._writable_books().transfers(peer, token, limit, before_ms)

    async def peer_balances(self) -> Sequence[PeerView]:
        return await self._writable_books().peer_balances()

    async def trial_balance(self) -> Sequence[TrialView]:
        return await self._writable_books().trial_balance()

    async def ledger_totals(self) -> Sequence[AccountTotals]:
        return await self._writable_books().totals()

    @property
    def accounting_backend(self) -> str:
        """Which ledger this engine keeps, in words."""
        return self._writable_books().backend

    async def explain(self, peer: str, token: str, direction: str = "receivable") -> str:
        await self._writable_books().ready()
        assert self._settling is not None
        return await self._settling.explain(peer, token, direction)

    async def reconcile(self, agent: str = "") -> Sequence[CustodyView]:
        return await self._writable_books().reconcile(agent)

    def _writable_books(self) -> Books:
        if self._books is None:
            raise CommandRefusedError("This connection only reads the database, not the ledger.")
        return self._books

    # --- backups and restore ---------------------------------------------------------------

    async def backups_at(self, source: str) -> Sequence[BackupView]:
        self._refuse_while_away()
        return await self._backups().at(source)

    async def set_up_backups(self, password: Secret, recovery: Secret) -> Outcome:
        return await self._backups().set_up(self._writable_wallets().vault, password, recovery)

    async def change_password(self, current: Secret, password: Secret, recovery: Secret) -> Outcome:
        vault = self._writable_wallets().vault
        return await self._backups().change_password(vault, current, password, recovery)

    def _backups(self) -> Backing:
        if self.backing is None or self.mode is EngineMode.READ:
            raise CommandRefusedError("This connection only reads.")
        return self.backing

    async def drill(self, backup: str, password: Secret) -> Outcome:
        self._backups()
        return await self._drilling.drill(backup, password if password.reveal() else None)

    async def plan_restore(self, request: RestoreRequest, password: Secret) -> RestorePlan:
        return await self._restores().plan(request, password)

    async def apply_restore(self, plan: str, typed: str) -> RestoreResult:
        return await self._restores().apply(plan, typed)

    async def discard_restore(self, plan: str) -> None:
        await self._restores().discard(plan)

    async def undo_restore(self, typed: str) -> RestoreResult:
        return await self._restores().undo(typed)

    async def reconciliation(self) -> ReconciliationView | None:
        self._refuse_while_away()
        if self._aftermath is None:
            raise CommandRefusedError("This connection only reads.")
        if self._services is None:  # nobody else asks the chains in this mode
            await self._aftermath.once()
        return await self._aftermath.view()

    def _restores(self) -> Restoring:
        self._refuse_while_away()
        if self._restoring is None:
            raise CommandRefusedError("This connection only reads.")
        return self._restoring

    def backups(self) -> Backing:
        """See `core.engine.restoring.Host`."""
        return self._backups()

    async def tell(self, events: Sequence[Event]) -> None:
        """See `core.engine.restoring.Host`."""
        await self._publish_all(events)

    async def audited(self, action: str, subject: str, details: Mapping[str, str]) -> None:
        """See `core.engine.restoring.Host`."""
        await self.audit.append(action, "operator", subject, dict(details))

    async def _release(self, reason: str) -> Outcome:
        """Let settlements go on that a restore holds."""
        assert self._settling is not None
        if not self._settling.held:
            return Outcome("No settlements are held.")
        await self.audited("settlements.release", self.settings.settlement.node_id,
                           {"reason": reason})  # fmt: skip
        await self._store.remember(HELD_KEY, "")
        await self._settling.release()
        if self.backing is not None:
            self.backing.touch()
        return Outcome("Settlements go on.", 1)

    # --- wallets ---------------------------------------------------------------------------

    async def wallets(self, agent: str = "") -> Sequence[WalletView]:
        return await wallet_views(self._store, agent)

    async def verify_seed(self, words: Secret) -> Outcome:
        return await self._writable_wallets().verify_seed(words)

    async def unlock_seed(self, password: Secret) -> Outcome:
        return await self._writable_wallets().unlock_seed(password)

    def _writable_wallets(self) -> Walleting:
        if self.walleting is None:
            raise CommandRefusedError("This connection only reads the database, not the seed.")
        return self.walleting

    # --- commands --------------------------------------------------------------------------

    async def execute(self, command: Command) -> Outcome:
        if self.mode is EngineMode.READ:
            raise CommandRefusedError("This connection only reads.")
        return await self._executor.execute(command)

    async def _read_chains(self, chains: Sequence[str]) -> list[CycleReport]:
        if self._worker is not None:
            return await self._worker.read_now(chains)
        return await self._read_once(chains)

    async def _read_once(self, chains: Sequence[str]) -> list[CycleReport]:
        """Nobody polls in this mode: run a worker on these chains for one cycle."""
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

    # --- inside ----------------------------------------------------------------------------

    async def _load(self) -> None:
        """Take the registry over, one at a time, and note what of it is new or different."""
        async with self._loading:
            await self._take_registry()

    async def _take_registry(self) -> None:
        registry = await load_registry(self._store, self._cache)
        agents = {agent.id: agent for agent in registry.agents}
        for name, agent in agents.items():
            if self._agents.get(name) != agent:
                self._own_log.mark(f"agent:{name}")
        assets = {asset.id: asset for asset in registry.assets}
        if assets != self._assets:
            self._own_log.mark("assets")
        self._agents, self._assets = agents, assets

    async def _reload(self, records: Sequence[EventRecord]) -> None:
        await self._load()
        if records:
            self._bus.publish(records[-1].seq)
        self._newcomers.set()

    async def _agents_changed(self, read: bool) -> None:
        await self._load()
        if read:
            self._newcomers.set()

    async def _agents_moved(self, names: Sequence[str], state: WalletState) -> None:
        """States that change nothing else need no look at the whole registry."""
        async with self._loading:  # one that was read before the change must not come after it
            for name in names:
                self._agents[name] = msgspec.structs.replace(self._agents[name], state=state)
                self._own_log.mark(f"agent:{name}")

    async def _publish(self, event: Event) -> None:
        await self._publish_all([event])

    async def _publish_all(self, events: Sequence[Event]) -> None:
        records = await self._store.append(events)
        self._bus.publish(records[-1].seq)

    def _note_store(self, error: str) -> None:
        self._store_error = error
        self._own_log.mark("store")

    def _note_size(self, size_bytes: int) -> None:
        self._store_bytes = size_bytes
        self._own_log.mark("store")

    def _note_clients(self, count: int) -> None:
        self._clients = count
        self._own_log.mark("clients")

    async def _read_newcomers(self) -> None:
        """Read at once after the registry changed, so that nobody waits an interval."""
        assert self._worker is not None
        while True:
            await self._newcomers.wait()
            self._newcomers.clear()
            await self._worker.read_now()


def _version() -> str:
    try:
        return version("bursar")
    except PackageNotFoundError:
        return "unknown"


def _causes(error: BaseException) -> str:
    """The leaves of an exception group in words."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_causes(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"
