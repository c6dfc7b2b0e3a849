"""Engine: the EngineApi in this process, and the owner of the data directory.

Three modes share the code: FULL owns the directory, polls and serves its socket; COMMAND owns it
for one command and polls only when asked; READ opens the database read-only beside whoever owns
it. What stands on the present generation is `live`; a restore closes it and opens another.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import msgspec

from core.api import (
    AccountTotals,
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
    TransferView,
    TrialView,
    Update,
    WalletView,
)
from core.balances.tracker import sparkline
from core.clock import SystemClock
from core.config import Settings, default_config, load_settings
from core.engine import picture
from core.engine.compose import configured_assets
from core.engine.heap import keep_little
from core.engine.live import Live, Services, causes
from core.engine.wallet_views import wallet_views
from core.events import Event, EventRecord
from core.model import BursarError, Clock, Secret
from core.settlement import SettlementEngine
from core.store.directory import DataDirectory
from core.store.protocol import StoreError
from core.telemetry.audit import AuditLog
from core.telemetry.logs import LogFile

if TYPE_CHECKING:
    from core.engine.backing import Backing
    from core.engine.restoring import Restoring
    from core.engine.walleting import Walleting
    from core.service.server import Server

log = logging.getLogger("bursar.engine")
T = TypeVar("T")

_TICK_S = 0.25
_EVENT_PAGE = 1_000


class EngineMode(StrEnum):
    """How much of an engine is wanted."""

    FULL = "full"
    COMMAND = "command"
    READ = "read"


class Engine:
    """See `core.api.EngineApi` for what the calls mean. `start` once, then `close`."""

    live: Live
    """What stands on the present generation; there from `start` on."""

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
        self.settings = settings
        self.mode = mode
        self.directory = DataDirectory(settings.data_path)
        self._clock = clock or SystemClock()
        self.audit = AuditLog(settings.data_path / "audit.jsonl", self._clock)
        """One for all who audit: it knows the last line, which the next one follows."""
        self._demo = demo
        self._settlement_engine = settlement_engine
        self._closing = asyncio.Event()
        self._kept = AsyncExitStack()
        """What outlives a restore."""
        self._restoring: Restoring | None = None
        self._server: Server | None = None
        self._away = ""
        self._present = asyncio.Event()
        self._present.set()

    # --- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the data directory, load what is known, start the services. Raises
        DirectoryInUseError, StoreError, ConfigError; then nothing is left running."""
        keep_little()
        try:
            configured_assets(self.settings)  # refuses before anything is taken
            if self.mode is not EngineMode.READ:
                await self._take_directory()
            await self._open()
        except BaseException:
            await self._kept.aclose()
            self.directory.release()
            raise

    async def _take_directory(self) -> None:
        from core.backup.configured import key_source
        from core.engine.backup_keys import remove_leftovers
        from core.engine.restoring import Restoring  # with its cryptography

        self.directory.prepare()
        self.directory.acquire()
        for name in await asyncio.to_thread(self.directory.clean):
            log.info("removed %s, which nothing needs any more", name)
        await asyncio.to_thread(
            remove_leftovers, key_source(self.settings), self.directory.generation()
        )
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

    async def _settle_in(self) -> None:
        """Take up what a restore brought to a machine that had no settings or no backup key."""
        from core.backup.finishing import settle_in

        config = default_config(os.environ)
        generation = self.directory.generation()
        if await asyncio.to_thread(settle_in, generation, self.settings, config):
            found = load_settings(str(config))
            self.settings = msgspec.structs.replace(found, data_dir=self.settings.data_dir)
            await asyncio.to_thread(settle_in, generation, self.settings, config)

    async def _open(self) -> None:
        """Open what CURRENT names, and serve it. Raises as `start`; then all of it is closed."""
        live = Live(self.settings, self.directory, self._clock, self.audit)
        try:
            await live.open(
                writes=self.mode is not EngineMode.READ, settlement_engine=self._settlement_engine
            )
            self.live = live
            if self.mode is EngineMode.FULL:
                await self._listen()
                await live.serve()
        except BaseException:
            await live.stop()
            await live.close()
            raise

    async def _listen(self) -> None:
        """Serve the socket, from the first generation on and through restores."""
        from core.service.server import Server

        if self._server is None:
            self._server = Server(self, self.directory.socket, self._note_clients)
            await self._server.start()
            self._kept.push_async_callback(self._server.stop)
        self.live.note_clients(self._server.clients)

    def _note_clients(self, count: int) -> None:
        self.live.note_clients(count)

    async def wait_failed(self) -> None:
        """Wait until a service fails (raises its error) or the engine is closed (returns)."""
        closing = asyncio.create_task(self._closing.wait(), name="closing")
        try:
            while self.live.running is not None and not self._closing.is_set():
                running = self.live.running
                await asyncio.wait({running, closing}, return_when=asyncio.FIRST_COMPLETED)
                await self._present.wait()  # after a restore there are other services
                if running.done() and self.live.running is running:
                    if not running.cancelled() and (error := running.exception()):
                        raise BursarError(f"The engine stopped: {causes(error)}") from error
                    return
        finally:
            closing.cancel()

    async def close(self) -> None:
        """End the services, say so in the events, close everything, let the directory go."""
        if self._restoring is not None:
            await self._restoring.close()
        self._closing.set()
        await self.live.stop()
        log.info("the engine stops")
        await self.live.close()
        await self._kept.aclose()
        self.directory.release()

    # --- what a restore asks of it (`core.engine.restoring.Host`) -----------------------------

    async def reopen(self, change: Callable[[], Awaitable[T]]) -> T:
        """Stop everything that uses the data, make the change, and start on what CURRENT then
        names. Raises what the change raises, the old state being in use again."""
        before = self.directory.generation().name
        settings = self.settings
        self._away = "a restore is being applied"
        self._present.clear()
        try:
            await self.live.stop(self._away)
            await self.live.close()
            try:
                result = await change()
            except BaseException:
                await self._go_back(before, settings)
                raise
            try:
                await self._settle_in()
                await self._open()
            except (BursarError, OSError) as error:
                log.error("the restored state cannot be used: %s", error, exc_info=error)
                await self._go_back(before, settings)
                raise BursarError(
                    f"The restored state cannot be used: {error}. The old one is in use again."
                ) from error
            return result
        finally:
            self._away = ""
            self._present.set()

    async def _go_back(self, generation: str, settings: Settings) -> None:
        """Use again what was in use: a swap that was half told is none."""
        if self.directory.generation().name != generation:
            await asyncio.to_thread(self.directory.use, generation)
        self.settings = settings
        await self._settle_in()
        await self._open()

    def backups(self) -> Backing:
        """The backups' service. Raises CommandRefusedError where there is none."""
        self._own()
        return self.live.backing

    async def tell(self, events: Sequence[Event]) -> None:
        """Store and announce events."""
        await self.live.publish(events)

    async def audited(self, action: str, subject: str, details: Mapping[str, str]) -> None:
        """Write an operator's action to the audit log, before it is done."""
        await self.audit.append(action, "operator", subject, dict(details))

    # --- state -----------------------------------------------------------------------------

    def _refuse_while_away(self) -> None:
        if self._away:
            raise EngineLostError(f"The engine is away for a moment: {self._away}.")

    def _own(self) -> Services:
        """The services of an engine that may write. Raises CommandRefusedError."""
        if self.live.own is None:
            raise CommandRefusedError(
                "This connection only reads the database, not the ledger, the seed or the backups."
            )
        return self.live.own

    async def state(self) -> EngineState:
        self._refuse_while_away()
        return await picture.state(self.live, demo=self._demo)

    async def updates(self, after_version: int, after_seq: int) -> AsyncIterator[Update]:
        self._refuse_while_away()
        live = self.live  # what comes after a restore is another stream
        version, seq = after_version, after_seq
        while not live.stopping.is_set():
            if live.running is not None and live.running.done():
                raise EngineLostError("The engine stopped; its log says why.")
            if live.counter.value > version:
                patch = await live.patch(version)
                version = patch.version
                yield patch
            while live.bus.last > seq:
                try:
                    page = await live.store.events_after(seq, _EVENT_PAGE)
                except StoreError:
                    if live.stopping.is_set():
                        return  # it was closed under this reader: the stream ends
                    raise
                for record in page:
                    seq = record.seq
                    yield record
                if not page:
                    seq = live.bus.last
            await self._clock.sleep(_TICK_S)

    async def events(self, query: EventQuery) -> Sequence[EventRecord]:
        return await self.live.store.find_events(
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
        return await self.live.tracker.get_balance_history(agent, chain, asset, start_ms, end_ms)

    async def sparklines(
        self, accounts: Sequence[int], start_ms: int, end_ms: int, buckets: int
    ) -> dict[int, tuple[int | None, ...]]:
        lines = {}
        for account in accounts:
            rows = await self.live.store.history(account, start_ms, end_ms)
            lines[account] = sparkline(rows, start_ms, end_ms, buckets)
        return lines

    # --- books -----------------------------------------------------------------------------

    @property
    def accounting_backend(self) -> str:
        """Which ledger this engine keeps, in words."""
        return self._own().books.backend

    async def packets(self, steps: Sequence[PacketStep]) -> Sequence[PacketOutcome]:
        return await self._own().books.packets(steps)

    async def transfers(
        self, peer: str, token: str, limit: int, before_ms: int = 0
    ) -> Sequence[TransferView]:
        return await self._own().books.transfers(peer, token, limit, before_ms)

    async def peer_balances(self) -> Sequence[PeerView]:
        return await self._own().books.peer_balances()

    async def trial_balance(self) -> Sequence[TrialView]:
        return await self._own().books.trial_balance()

    async def ledger_totals(self) -> Sequence[AccountTotals]:
        return await self._own().books.totals()

    async def explain(self, peer: str, token: str, direction: str = "receivable") -> str:
        own = self._own()
        await own.books.ready()
        return await own.settling.explain(peer, token, direction)

    async def reconcile(self, agent: str = "") -> Sequence[CustodyView]:
        return await self._own().books.reconcile(agent)

    # --- backups and restore ---------------------------------------------------------------

    async def backups_at(self, source: str) -> Sequence[BackupView]:
        self._refuse_while_away()
        return await self.backups().at(source)

    async def set_up_backups(
        self, password: Secret, recovery: Secret, *, create: bool = False
    ) -> Outcome:
        vault = self._own().walleting.vault
        return await self.backups().set_up(vault, password, recovery, create)

    async def change_password(self, current: Secret, password: Secret, recovery: Secret) -> Outcome:
        vault = self._own().walleting.vault
        return await self.backups().change_password(vault, current, password, recovery)

    async def drill(self, backup: str, password: Secret) -> Outcome:
        return await self._own().drilling.drill(backup, password if password.reveal() else None)

    async def plan_restore(self, request: RestoreRequest, password: Secret) -> RestorePlan:
        return await self._restores().plan(request, password)

    async def apply_restore(self, plan: str, typed: str) -> RestoreResult:
        return await self._restores().apply(plan, typed)

    async def planned_restore(self, plan: str) -> RestorePlan:
        return self._restores().planned(plan)

    async def discard_restore(self, plan: str) -> None:
        await self._restores().discard(plan)

    async def undo_restore(self, typed: str) -> RestoreResult:
        return await self._restores().undo(typed)

    def _restores(self) -> Restoring:
        self._refuse_while_away()
        if self._restoring is None:
            raise CommandRefusedError("This connection only reads.")
        return self._restoring

    async def reconciliation(self) -> ReconciliationView | None:
        self._refuse_while_away()
        aftermath = self._own().aftermath
        if self.live.running is None:  # nobody else asks the chains in this mode
            await aftermath.once()
        return await aftermath.view()

    # --- wallets and commands --------------------------------------------------------------

    @property
    def walleting(self) -> Walleting:
        """The wallets' service. Raises CommandRefusedError where the database is only read."""
        return self._own().walleting

    async def wallets(self, agent: str = "") -> Sequence[WalletView]:
        return await wallet_views(self.live.store, agent)

    async def verify_seed(self, words: Secret) -> Outcome:
        return await self.walleting.verify_seed(words)

    async def unlock_seed(self, password: Secret) -> Outcome:
        return await self.walleting.unlock_seed(password)

    async def execute(self, command: Command) -> Outcome:
        return await self._own().executor.execute(command)
