"""Backups as a service of the engine: on schedule, on command, one job at a time.

The engine owns the data directory's lock, so `bursar backup run-due` of another process either
speaks to this one or takes its turn after it. A backup that fails is told, kept and tried again
later, and never stops the engine. Everything heavy runs in threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from core.api import (
    BackupsView,
    BackupView,
    Command,
    CommandRefusedError,
    CreateBackup,
    DestinationView,
    Outcome,
    PruneBackups,
    RekeyBackups,
    RunDueBackups,
    VerifyBackup,
)
from core.backup import delivery, proving, pruning, reslotting, schedule, standing
from core.backup.catalogue import Catalogue, Entry
from core.backup.configured import (
    build_destination,
    key_source,
    location_of,
    retention_of,
    schedule_of,
)
from core.backup.destinations import Destination
from core.backup.errors import BackupError, DestinationError
from core.backup.header import BackupType
from core.backup.keyring import KeyRing, Ring
from core.backup.maker import Delivered, Maker
from core.backup.making import Snapshot
from core.backup.retention import Verdict
from core.backup.source import Source
from core.backup.stock import Memory, Stock
from core.balances.versions import ChangeLog, VersionCounter
from core.config import Settings
from core.config.backup_checks import places
from core.engine import backup_keys, backup_words
from core.engine.backup_keys import HeldKey
from core.engine.backup_reports import BackupReports
from core.engine.backup_views import backup_views, slot_words
from core.engine.jobs import Jobs
from core.events import Event, iso_utc
from core.model import Clock, Secret
from core.telemetry.audit import AuditError, AuditLog
from core.wallets.vault import SeedVault

log = logging.getLogger("bursar.backup")

_LOOK_S = 15.0
_AGAIN_MS = 300_000
_DETAILS = {"component": "backup"}


class Backing:
    """`open` once, then `run` as its one task. `take` reads the installation in a thread;
    `publish` stores events. Without an audit log it only shows what is there."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        counter: VersionCounter,
        take: Callable[[], AbstractContextManager[Snapshot]],
        publish: Callable[[Sequence[Event]], Awaitable[None]],
        audit: AuditLog | None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._take = take
        self._audit = audit
        self._writes = audit is not None
        self._log = ChangeLog[str](counter)
        self._started_ms = clock.now_ms()
        self._key = HeldKey(key_source(settings), clock, runs_commands=audit is not None)
        self._listed_ms = 0
        self._told_trouble = ""
        self._broken = ""
        self._views: tuple[Catalogue, tuple[BackupView, ...]] = (Catalogue(), ())
        self._unusable: dict[str, str] = {}
        self.turn = asyncio.Lock()
        """Held by whoever makes, changes or restores backups."""
        self.jobs = Jobs(clock, self._changed)
        self.stock = Stock(settings.data_path)
        self.reports = BackupReports(self.stock, clock, publish, self._note_trouble)
        self.maker = Maker(
            self.stock,
            self._destinations(),
            [place.name for place in places(settings) if place.write_only],
            delivery.Require(settings.backup.require),
            clock,
        )

    def _destinations(self) -> dict[str, Destination]:
        built: dict[str, Destination] = {}
        for place in places(self._settings):
            try:
                built[place.name] = build_destination(place)
            except DestinationError as error:
                self._unusable[place.name] = str(error)
        return built

    async def open(self) -> None:
        """Read catalogue and key. Never raises for what is wrong with backups: `off` says it."""
        try:
            names = [place.name for place in places(self._settings)]
            await self.stock.open(names, writes=self._writes)
        except BackupError as error:
            self._broken = str(error)
            log.error("%s", error, extra=_DETAILS)
            self._writes = False
            return
        for problem in self.stock.problems:
            log.error("%s", problem, extra=_DETAILS)
        await self.refresh_key()

    async def run(self) -> None:
        """Look at the schedule and the outbox until cancelled."""
        while True:
            try:
                await self.refresh_key()
                if not self.off and not self.turn.locked():
                    await self._run_due(schedule_of(self._settings.backup), self.stock.memory)
            except BackupError as error:
                log.info("the next attempt comes by itself: %s", error, extra=_DETAILS)
            except Exception as error:
                log.error("backups: %s", error, exc_info=error, extra=_DETAILS)
            self._note_trouble()
            await self._clock.sleep(_LOOK_S)

    # --- the key ---------------------------------------------------------------------------

    async def refresh_key(self) -> None:
        """Take up a key ring that appeared or changed."""
        if await self._key.refresh():
            self._changed()

    async def ring(self) -> KeyRing:
        """The key ring as it is now. Raises KeySlotError."""
        return await self._key.read()

    @property
    def install_id(self) -> str:
        """Whose backups these are, "" before there is a key."""
        return self._key.ring.install_id if self._key.ring else ""

    @property
    def off(self) -> str:
        """Why no backup can be made, "" where one can."""
        return self._broken or self._key.off

    def readable(self) -> dict[str, Destination]:
        """The destinations that archives may be fetched from."""
        maker = self.maker
        return {n: d for n, d in maker.destinations.items() if n not in maker.write_only}

    # --- commands --------------------------------------------------------------------------

    async def execute(self, command: Command) -> Outcome:
        """Carry out a command about backups. Raises CommandRefusedError where nothing was done,
        BackupError."""
        if not self._writes:
            raise CommandRefusedError(self.off or "This connection only reads.")
        if isinstance(command, CreateBackup):
            return await self._create(command)
        if isinstance(command, RunDueBackups):
            # A timer has its own jitter, and whoever asks now does not want to wait.
            now = msgspec.structs.replace(schedule_of(self._settings.backup), jitter_ms=0)
            return await self._run_due(now, Memory())
        if isinstance(command, VerifyBackup):
            return await self._verify(command.id)
        if isinstance(command, PruneBackups):
            return await self._prune(command.dry_run)
        if isinstance(command, RekeyBackups):
            return await self._rekey()
        raise CommandRefusedError("This is no command about backups.")

    async def at(self, source: str) -> Sequence[BackupView]:
        """The backups at a destination of that name, in a folder or in a file, newest first.
        When they were last proven is what the own catalogue says. Raises CommandRefusedError."""
        try:
            place = Source(source, self.maker.destinations, self.stock.catalogue, self.install_id)
            found = await place.look(self._clock.now_ms(), self.stock.path)
        except BackupError as error:
            raise CommandRefusedError(str(error)) from error
        return backup_views(found.catalogue.with_proofs_of(self.stock.catalogue))

    async def set_up(
        self, vault: SeedVault, password: Secret, recovery: Secret, create: bool
    ) -> Outcome:
        """Make the key ring; with `create` a first full backup too, sealed while the password's
        key is derived. That one failing leaves the ring. Raises CommandRefusedError, TooSoonError.
        """
        async with self.turn:
            await self._record("backup.setup", "backup key")
            making = await backup_keys.begin(self._key.source, vault, password, recovery)
            first = await self._first(making) if create else Outcome("", 0)
            told = await backup_keys.finish(self._key.source, making)
        await self.refresh_key()
        return Outcome(f"{told} {first.message}".rstrip(), 1 + first.changed, first.details)

    async def _first(self, ring: Ring) -> Outcome:
        try:
            return backup_words.told(await self.make(BackupType.FULL, ring))
        except BackupError as error:
            return Outcome("", 0, (str(error),))

    async def change_password(
        self, vault: SeedVault, current: Secret, password: Secret, recovery: Secret
    ) -> Outcome:
        """Give vault and key ring another password. Raises CommandRefusedError, TooSoonError."""
        async with self.turn:
            await self._record("backup.password", "backup key and seed vault")
            outcome = await backup_keys.change(self._key.source, vault, current, password, recovery)
        await self.refresh_key()
        return outcome

    async def _record(self, action: str, subject: str) -> None:
        """An operator's action is in the audit log before it is done."""
        assert self._audit is not None
        try:
            await self._audit.append(action, "operator", subject, {})
        except AuditError as error:
            raise CommandRefusedError(str(error)) from error

    async def _create(self, command: CreateBackup) -> Outcome:
        if command.type not in set(BackupType):
            raise CommandRefusedError(f"There is no backup type {command.type!r}.")
        async with self.turn:
            return backup_words.told(await self.make(BackupType(command.type)))

    async def _run_due(self, plan: schedule.Schedule, memory: Memory) -> Outcome:
        """Make what is due, and send what is waiting. Raises BackupError."""
        async with self.turn:
            await self._list_again()
            done = await self._send_waiting()
            due = standing.due_now(
                self.stock.catalogue,
                self.install_id,
                plan,
                memory,
                self._started_ms,
                self._clock.now_ms(),
            )
            if due is not None:
                done.append(await self.make(due.type))
        if not done:
            coming = schedule.next_run(plan, self._clock.now_ms())
            return Outcome(f"Nothing is due; the next {coming.type.value} backup is due "
                           f"{iso_utc(coming.slot_ms)}.")  # fmt: skip
        outcomes = [backup_words.told(delivered) for delivered in done]
        return Outcome(
            " ".join(outcome.message for outcome in outcomes),
            len(done),
            tuple(line for outcome in outcomes for line in outcome.details),
        )

    async def _send_waiting(self) -> list[Delivered]:
        if not self.stock.catalogue.outbox(self._clock.now_ms()):
            return []
        with self.jobs.begin("backup", "sending what is waiting") as job:
            key = self._key.ring.key if self._key.ring else None
            done = await self.maker.send_waiting(key, job)
            for delivered in done:
                await self.reports.told(delivered)
            if any(delivered.fresh for delivered in done):
                await self.reports.succeeded()
            job.says(" ".join(backup_words.told(delivered).message for delivered in done))
        return done

    async def make(self, wanted: BackupType, ring: Ring | None = None) -> Delivered:
        """Make a backup and send it, the turn being held; without a ring, with the one that is
        kept. Raises BackupError, and where no destination took it; then the outbox has it."""
        with self.jobs.begin("backup", "starting") as job:
            try:
                ring = ring or await self.ring()
                await self._list_again()
                delivered = await self.maker.make(ring, self._take, wanted, job)
                self._changed()
                await self.reports.told(delivered)
            except BackupError as error:
                await self.reports.failed("create", "", wanted.value, str(error))
                raise
            if delivered.outcome is delivery.Outcome.FAILED:
                reason = "; ".join(delivered.missing())
                entry = delivered.entry
                await self.reports.failed("deliver", entry.id, entry.type.value, reason)
                raise BackupError(
                    f"Backup {entry.id} was made and is not where it has to be yet ("
                    f"require = {self._settings.backup.require}): {reason} It is tried again."
                )
            await self.reports.succeeded()
            job.says(backup_words.told(delivered).message)
        await self._prune_after()
        return delivered

    async def _list_again(self) -> None:
        """After the catalogue was lost; a destination that does not answer is asked again, with
        a pause."""
        now_ms = self._clock.now_ms()
        if self.stock.memory.unlisted and now_ms - self._listed_ms >= _AGAIN_MS:
            self._listed_ms = now_ms
            for problem in await self.stock.list_again(
                self.maker.destinations, self.install_id, now_ms
            ):
                log.warning("%s", problem, extra=_DETAILS)
            self._changed()

    async def _verify(self, archive_id: str) -> Outcome:
        async with self.turn:
            with self.jobs.begin("verify", "fetching") as job:
                ring = await self.ring()
                await self._list_again()
                entry = self.maker.find(archive_id, self.install_id)
                try:
                    proof = await proving.prove(
                        self.maker, entry, ring.key, self._clock.now_ms(), job
                    )
                except BackupError as error:
                    reason = str(error)
                    await self.reports.refused("verify", entry.id, entry.type.value, 1, reason)
                    raise
                finally:
                    self._changed()
                message = backup_words.proven(entry, proof)
                job.says(message)
                return Outcome(message, proof.sound, proof.unproven)

    async def _prune(self, dry_run: bool) -> Outcome:
        async with self.turn:
            verdicts = self._verdicts()
            going = [verdict.entry for verdict in verdicts if not verdict.stays]
            if dry_run:
                message = f"{len(going)} of {len(verdicts)} backups would be deleted."
                return Outcome(message, len(going), backup_words.verdict_lines(verdicts))
            await self._record("backup.prune", f"{len(going)} backups")
            pruned = await self._delete(going)
            message = f"Deleted {len(pruned.gone)} of {len(verdicts)} backups."
            return Outcome(message, len(pruned.gone), pruned.failed)

    def _verdicts(self) -> list[Verdict]:
        return pruning.verdicts(
            self.stock.catalogue,
            self.install_id,
            retention_of(self._settings.backup),
            self._clock.now_ms(),
            self._settings.backup.timezone,
        )

    async def _prune_after(self) -> None:
        """Retention, after a success; what it cannot delete is tried after the next."""
        if going := [verdict.entry for verdict in self._verdicts() if not verdict.stays]:
            for problem in (await self._delete(going)).failed:
                log.warning("%s", problem, extra=_DETAILS)

    async def _delete(self, going: Sequence[Entry]) -> pruning.Pruned:
        with self.jobs.begin("prune", "deleting") as job:
            pruned = await pruning.prune(self.maker, going, job)
            job.says(f"Deleted {len(pruned.gone)} backups.")
        for entry in pruned.gone:
            log.info("retention deleted backup %s", entry.id, extra=_DETAILS)
        self._changed()
        return pruned

    async def _rekey(self) -> Outcome:
        async with self.turn:
            await self._record("backup.rekey", "backups")
            with self.jobs.begin("rekey", "reading the key ring") as job:
                ring = await self.ring()
                await self._list_again()
                done = await reslotting.reslot(self.maker, ring, job)
                self._changed()
                message = (
                    f"{done.changed} backups have new key slots, {done.unchanged} had them already."
                )
                job.says(message)
            return Outcome(message, done.changed, done.failed)

    # --- state -----------------------------------------------------------------------------

    def all(self) -> BackupsView:
        """Everything about backups as it stands."""
        backup = self._settings.backup
        now_ms = self._clock.now_ms()
        if self._views[0] is not self.stock.catalogue:
            self._views = (self.stock.catalogue, backup_views(self.stock.catalogue))
        views = self._views[1]
        zone = backup.timezone
        return BackupsView(
            off=self.off,
            trouble=self._trouble(),
            installation=self.install_id,
            require=backup.require,
            backups=views,
            destinations=tuple(
                DestinationView(place.name, location_of(place), self._error_at(place.name))
                for place in places(self._settings)
            ),
            slots=slot_words(slot.kind for slot in self._key.ring.slots) if self._key.ring else (),
            jobs=self.jobs.views(),
            next_full_ms=schedule.next_slot(backup.full, zone, now_ms),
            next_incremental_ms=schedule.next_slot(backup.incremental, zone, now_ms),
            next_drill_ms=schedule.next_slot(backup.drill, zone, now_ms),
            last_ms=max((view.created_ms for view in views if view.durable_ms), default=0),
            last_verified_ms=max((view.verified_ms for view in views), default=0),
            last_drilled_ms=max((view.drilled_ms for view in views), default=0),
        )

    def changed_since(self, version: int) -> BackupsView | None:
        """The view if it changed after `version`, else None."""
        return self.all() if self._log.since(version) else None

    def touch(self) -> None:
        """Have the view sent again."""
        self._changed()

    def _changed(self) -> None:
        self._log.mark("backups")

    def _error_at(self, name: str) -> str:
        """Why a destination could last not be used."""
        if name in self._unusable:
            return self._unusable[name]
        for entry in self.stock.catalogue:
            if (copy := entry.copies.get(name)) is not None:
                return copy.error
        return ""

    def _note_trouble(self) -> None:
        if self._trouble() != self._told_trouble:
            self._told_trouble = self._trouble()
            self._changed()

    def _trouble(self) -> str:
        """What fails or is overdue."""
        if self.off:
            return ""
        return standing.trouble(
            self.stock.catalogue,
            self.install_id,
            self._settings.backup,
            self.stock.memory,
            self._started_ms,
            self._clock.now_ms(),
        )
