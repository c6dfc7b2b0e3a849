"""Restores as the engine carries them out: planned beside what is in use, applied by one swap.

A plan is a staged generation, proven and compared. Applying it stops every service, finishes the
generation, points CURRENT at it and starts again in the same process; whatever fails before the
swap starts the old state again. What comes after the swap is `aftermath`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from core.api import (
    CommandRefusedError,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
)
from core.backup.catalogue import Catalogue, Entry
from core.backup.comparing import at_rest
from core.backup.configured import key_source
from core.backup.errors import BackupError
from core.backup.finishing import APPLIED, INDICES, Applied, Fresh, copy_back, finish
from core.backup.header import BackupType
from core.backup.installation import DATABASE_FILE, LEDGER_FOLDER
from core.backup.source import Source
from core.backup.staging import (
    GENERATION,
    STAGE_PREFIX,
    Staged,
    compare_again,
    stage,
    unlock_chain,
)
from core.config import ConfigError, Settings, hidden_in, parse_settings, settings_text
from core.engine.aftermath import Looked
from core.engine.backing import Backing
from core.engine.backup_views import backup_view
from core.engine.jobs import Job
from core.engine.restore_words import changes_of, told_difference, warnings_of
from core.events import Event, RestoreCompleted, RestoreFailed
from core.ledger.check import check
from core.ledger.files import RealFolder
from core.model import BursarError, Clock, Secret
from core.store.directory import DataDirectory
from core.store.whole import WholeReader
from core.wallets import private_files
from core.wallets.vault import FILE_NAME as SEED_FILE

log = logging.getLogger("bursar.restore")

_DETAILS = {"component": "restore"}
T = TypeVar("T")


class Host(Protocol):
    """The engine, as far as a restore needs it."""

    settings: Settings
    directory: DataDirectory

    def backups(self) -> Backing:
        """The backups' service. Raises CommandRefusedError where there is none."""
        ...

    async def reopen(self, change: Callable[[], Awaitable[T]]) -> T:
        """Stop everything that uses the data, make the change, and start on what CURRENT then
        names. Raises what the change raises, the old state being in use again."""
        ...

    async def tell(self, events: Sequence[Event]) -> None:
        """Store and announce events."""
        ...

    async def audited(self, action: str, subject: str, details: Mapping[str, str]) -> None:
        """Write an operator's action to the audit log, before it is done."""
        ...


class _Planned(msgspec.Struct):
    plan: RestorePlan
    staged: Staged
    fresh: Fresh
    is_empty: bool


class Restoring:
    """The restores of one data directory; it outlives the generations."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._plans: dict[str, _Planned] = {}
        self._applying: asyncio.Task[RestoreResult] | None = None

    def _source(self, text: str) -> Source:
        backups = self._host.backups()
        return Source(text, backups.maker.destinations, backups.stock.catalogue, backups.install_id)

    # --- planning --------------------------------------------------------------------------

    async def plan(self, request: RestoreRequest, password: Secret) -> RestorePlan:
        """See `EngineApi.plan_restore`."""
        backups = self._host.backups()
        self._refuse_while_applying()
        await self._discard_all()
        number = secrets.token_hex(6)
        folder = self._host.directory.path / f"{STAGE_PREFIX}{number}"
        try:
            async with backups.turn:
                with backups.jobs.begin("restore", "looking for the backup") as job:
                    await asyncio.to_thread(folder.mkdir, 0o700)
                    planned = await self._plan(number, folder, request, password, job)
                    job.says(f"Backup {planned.plan.backup.id} can be restored.")
        except BaseException as error:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if not isinstance(error, BursarError | OSError):
                raise
            await self._failed(request.backup, "plan", _reason(error))
            raise CommandRefusedError(_reason(error)) from error
        self._plans[number] = planned
        return planned.plan

    async def _plan(
        self, number: str, folder: Path, request: RestoreRequest, password: Secret, job: Job
    ) -> _Planned:
        host, now_ms = self._host, self._clock.now_ms()
        backups = host.backups()
        note = job.note
        source = self._source(request.source)
        found = await source.look(now_ms, folder)
        entries, files = await source.fetch(found, request.backup, folder, now_ms, note)
        job.stage("checking the password")
        chain = await asyncio.to_thread(unlock_chain, files, password)
        present = host.directory.generation()
        staged = await asyncio.to_thread(
            stage, chain, folder, present, host.settings, request.ledger, note
        )
        is_empty = await asyncio.to_thread(_is_empty, present)
        fresh = await asyncio.to_thread(self._fresh, staged)
        newer = _newer(entries[-1], [found.catalogue, backups.stock.catalogue])
        plan = RestorePlan(
            id=number,
            backup=backup_view(entries[-1], len(entries)),
            chain=tuple(entry.id for entry in entries),
            wallets=staged.header.wallet_count,
            addresses=staged.proven.addresses,
            watch_only=staged.proven.watch_only,
            seed_fingerprint=staged.header.seed_fingerprint or "",
            ledger=staged.ledger.said,
            changes=changes_of(staged.differences),
            confirm="" if is_empty else host.settings.settlement.node_id,
            newer=newer,
            warnings=warnings_of(
                staged,
                host.settings,
                has_key=not backups.off,
                install_id=backups.install_id,
                is_empty=is_empty,
                is_fresh=fresh.settings is not None,
                newer=len(newer),
            ),
        )
        return _Planned(plan, staged, fresh, is_empty)

    def _fresh(self, staged: Staged) -> Fresh:
        """What a machine that has no settings or no backup key gets from the backup. Raises
        ConfigError where its settings cannot work here as they are."""
        settings = self._host.settings
        source = key_source(settings)
        needs_ring = source.path is not None and not source.fixed and not source.exists()
        ring = staged.ring if needs_ring else None
        if settings.source or settings.chain or not staged.built.settings:
            return Fresh(None, ring)
        sections = {
            name: msgspec.json.decode(value) for name, value in staged.built.settings.items()
        }
        text = settings_text(sections)
        try:
            parse_settings(text, "the backup's settings", os.environ)
        except ConfigError as error:
            raise ConfigError(
                f"{error} Set what is missing, or write a settings file of your own, and try again."
            ) from error
        lines = [f"# {key} held a secret that was left out; write it again." for key in
                 hidden_in(sections)]  # fmt: skip
        return Fresh("\n".join([*lines, text]) if lines else text, ring)

    def planned(self, number: str) -> RestorePlan:
        """See `EngineApi.planned_restore`."""
        return self._planned(number).plan

    def _planned(self, number: str) -> _Planned:
        planned = self._plans.get(number)
        if planned is None:
            raise CommandRefusedError("That plan is gone; make the dry run again.")
        return planned

    async def discard(self, number: str) -> None:
        """Drop a plan; one that is not there is no error."""
        self._refuse_while_applying()
        await self._drop(number)

    async def _drop(self, number: str) -> None:
        planned = self._plans.pop(number, None)
        if planned is not None:
            await asyncio.to_thread(shutil.rmtree, planned.staged.folder, ignore_errors=True)

    async def _discard_all(self) -> None:
        for number in list(self._plans):
            await self.discard(number)

    async def close(self) -> None:
        """Let an apply under way come to its end, and drop the plans."""
        if self._applying is not None:
            await asyncio.wait({self._applying})
        self._applying = None
        await self._discard_all()

    # --- applying --------------------------------------------------------------------------

    async def apply(self, number: str, typed: str) -> RestoreResult:
        """See `EngineApi.apply_restore`. Goes on to its end, whoever stops waiting for it."""
        planned = self._planned(number)
        _refuse_unless_typed(planned.plan.confirm, typed)
        return await self._run(self._apply(planned), planned.plan.backup.id, "apply")

    async def undo(self, typed: str) -> RestoreResult:
        """See `EngineApi.undo_restore`."""
        previous = self._host.directory.previous()
        if not previous:
            raise CommandRefusedError("There is no restore that could be undone.")
        _refuse_unless_typed(self._host.settings.settlement.node_id, typed)
        await self._discard_all()
        return await self._run(self._undo(previous), "", "undo")

    async def _run(
        self, work: Awaitable[RestoreResult], backup: str, stage_name: str
    ) -> RestoreResult:
        self._refuse_while_applying()

        async def run() -> RestoreResult:
            try:
                return await work
            except (BursarError, OSError) as error:
                await self._failed(backup, stage_name, _reason(error))
                raise CommandRefusedError(_reason(error)) from error

        self._applying = asyncio.create_task(run(), name="restore")
        return await asyncio.shield(self._applying)

    def _refuse_while_applying(self) -> None:
        if self._applying is not None and not self._applying.done():
            raise CommandRefusedError("A restore is being applied; wait for its end.")

    async def _apply(self, planned: _Planned) -> RestoreResult:
        host, staged = self._host, planned.staged
        backup = planned.plan.backup.id
        await host.audited("restore.apply", backup, {"wallets": str(planned.plan.wallets)})
        backups = host.backups()
        async with backups.turn:
            await self._refuse_if_changed(planned)
            safety = await self._safety_backup(backups, planned.is_empty)

            async def change() -> RestoreResult:
                await self._refuse_if_changed(planned)
                applied = Applied(
                    backup=backup,
                    previous=host.directory.generation().name,
                    safety_backup=safety,
                    applied_ms=self._clock.now_ms(),
                    wallets=planned.plan.wallets,
                    ledger=staged.ledger.keeps,
                )
                return await asyncio.to_thread(
                    self._swap, staged.generation, applied, planned.fresh
                )

            try:
                result = await host.reopen(change)
            except CommandRefusedError:
                raise  # nothing was moved: the plan may be confirmed again
            except BaseException:
                await self._drop(planned.plan.id)
                raise
        await self._drop(planned.plan.id)
        log.info("%s", result.message, extra=_DETAILS)
        return result

    async def _undo(self, previous: str) -> RestoreResult:
        host = self._host
        await host.audited("restore.undo", previous, {})
        backups = host.backups()
        async with backups.turn:
            safety = await self._safety_backup(backups, False)
            folder = host.directory.path / f"{STAGE_PREFIX}{secrets.token_hex(6)}"

            async def change() -> RestoreResult:
                return await asyncio.to_thread(self._swap_back, previous, folder, safety)

            try:
                result = await host.reopen(change)
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        log.info("%s", result.message, extra=_DETAILS)
        return result

    async def _refuse_if_changed(self, planned: _Planned) -> None:
        """Raises CommandRefusedError where the dry run that was confirmed is not what would happen
        any more; the plan then says what would."""
        host = self._host
        now = await asyncio.to_thread(
            compare_again, planned.staged, host.directory.generation(), host.settings
        )
        if at_rest(now) == at_rest(planned.staged.differences):
            return
        said = told_difference(planned.staged.differences, now)
        planned.staged = msgspec.structs.replace(planned.staged, differences=now)
        planned.plan = msgspec.structs.replace(planned.plan, changes=changes_of(now))
        raise CommandRefusedError(
            f"The present state changed since the dry run ({said}); nothing was done. Look at what "
            "would change now, and confirm again."
        )

    async def _safety_backup(self, backups: Backing, is_empty: bool) -> str:
        """Back up what is there, where there is something and a key. Raises BackupError."""
        await backups.refresh_key()
        if is_empty or backups.off:
            return ""
        try:
            delivered = await backups.make(BackupType.FULL)
        except BackupError as error:
            raise BackupError(f"The safety backup could not be made: {error}") from error
        return delivered.entry.id

    # --- in a thread, with everything closed -----------------------------------------------

    def _swap(self, generation: Path, applied: Applied, fresh: Fresh) -> RestoreResult:
        directory = self._host.directory
        before = directory.generation()
        name = directory.new_generation()
        event = RestoreCompleted(
            timestamp=applied.applied_ms,
            backup_id=applied.backup,
            generation=name,
            previous=applied.previous,
            safety_backup=applied.safety_backup,
            wallets=applied.wallets,
            undo=applied.undo,
        )
        finish(
            generation,
            before,
            applied,
            memory=_hold_indices(generation, before),
            events=(event,),
            node_id=self._host.settings.settlement.node_id,
            fresh=fresh,
        )
        directory.adopt(generation, name)
        what = (
            "Went back to the state before the last restore"
            if applied.undo
            else (f"Restored backup {applied.backup}")
        )
        safety = f" Safety backup: {applied.safety_backup}." if applied.safety_backup else ""
        return RestoreResult(
            generation=name,
            previous=applied.previous,
            safety_backup=applied.safety_backup,
            wallets=applied.wallets,
            message=f"{what}: {applied.wallets:,} wallets in {name}.{safety} Settlements are held "
            "until they are released.",
        )

    def _swap_back(self, previous: str, folder: Path, safety: str) -> RestoreResult:
        directory = self._host.directory
        current = directory.generation()
        with WholeReader(current / DATABASE_FILE) as reader:
            text = reader.memory(APPLIED)
        last = msgspec.json.decode(text, type=Applied) if text else None
        keeps = last is not None and last.ledger and _ledger_is_whole(current / LEDGER_FOLDER)
        folder.mkdir(mode=0o700)
        generation = folder / GENERATION
        copy_back(directory.path / previous, generation, without_ledger=keeps)
        with WholeReader(generation / DATABASE_FILE) as reader:
            wallets = reader.address_count()
        applied = Applied(
            backup=last.backup if last else "",
            previous=current.name,
            safety_backup=safety,
            applied_ms=self._clock.now_ms(),
            wallets=wallets,
            ledger=keeps,
            undo=True,
        )
        return self._swap(generation, applied, Fresh())

    async def _failed(self, backup: str, stage_name: str, reason: str) -> None:
        log.error("restore failed (%s): %s", stage_name, reason, extra=_DETAILS)
        event = RestoreFailed(
            timestamp=self._clock.now_ms(), backup_id=backup, stage=stage_name, reason=reason
        )
        try:
            await self._host.tell([event])
        except BursarError as error:
            log.error("an event was not stored: %s", error, extra=_DETAILS)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}. Nothing was changed."
    return str(error)


def _refuse_unless_typed(wanted: str, typed: str) -> None:
    if typed.strip() != wanted:
        raise CommandRefusedError(
            f"Type the installation's name ({wanted}) to replace what is there."
            if wanted
            else "Nothing needs to be typed: the target is empty."
        )


def _is_empty(generation: Path) -> bool:
    if private_files.exists(generation / SEED_FILE):
        return False
    with WholeReader(generation / DATABASE_FILE) as reader:
        return reader.agent_count() == 0


def _ledger_is_whole(folder: Path) -> bool:
    return folder.is_dir() and not check(RealFolder(folder)).damage


def _newer(entry: Entry, catalogues: Sequence[Catalogue]) -> tuple[str, ...]:
    """Names of known backups that are newer, newest first."""
    known = {other.id: other for catalogue in catalogues for other in catalogue}
    newer = [
        other
        for other in known.values()
        if other.install_id == entry.install_id and other.sequence > entry.sequence
    ]
    return tuple(e.name for e in sorted(newer, key=lambda e: e.sequence, reverse=True))


def _hold_indices(generation: Path, before: Path) -> dict[str, str]:
    """From which index on funds are looked for; nothing where addresses are only watched."""
    path = generation / SEED_FILE
    if not private_files.exists(path):
        return {}
    from core.wallets.accounts import read_accounts

    fingerprint = read_accounts(generation).fingerprint
    first = 0
    for folder in (generation, before):
        with WholeReader(folder / DATABASE_FILE) as reader:
            first = max(first, reader.next_index(fingerprint))
    return {INDICES: msgspec.json.encode(Looked(first, first)).decode()}
