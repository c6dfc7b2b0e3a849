"""Drills as the engine runs them: on schedule with its own key, on command, or with a password.

A drill changes nothing but the catalogue, which learns when its archives were last proven to
restore. One that fails is told, and tried again after a pause that grows.
"""

from __future__ import annotations

import logging
import secrets

import msgspec

from core.api import CommandRefusedError, Outcome
from core.backup import standing
from core.backup.catalogue import Entry
from core.backup.drill import Drilled, drill
from core.backup.errors import BackupError, WrongKeyError
from core.backup.keyring import KeyRing
from core.backup.staging import STAGE_PREFIX
from core.config import Settings
from core.engine.backing import Backing
from core.events import BackupFailed
from core.model import BursarError, Clock, Secret

log = logging.getLogger("bursar.backup")

_LOOK_S = 60.0
_DETAILS = {"component": "backup"}


class Drilling:
    """`run` is its one task."""

    def __init__(self, settings: Settings, backing: Backing, clock: Clock) -> None:
        self._settings = settings
        self._backing = backing
        self._clock = clock
        self._started_ms = clock.now_ms()

    async def run(self) -> None:
        """Drill when the schedule says so; until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_S)
            try:
                if not self._backing.off and not self._backing.turn.locked() and self.is_due():
                    await self.drill("", None)
            except CommandRefusedError as error:
                log.info("the next drill comes by itself: %s", error, extra=_DETAILS)
            except Exception as error:
                log.error("drills: %s", error, exc_info=error, extra=_DETAILS)

    def is_due(self) -> bool:
        """Whether a slot passed since the last drill, and there is a backup to drill."""
        stock = self._backing.stock
        return standing.drill_is_due(
            stock.catalogue,
            self._backing.install_id,
            self._settings.backup,
            stock.memory,
            self._clock.now_ms(),
        )

    async def drill(self, backup: str, password: Secret | None) -> Outcome:
        """Restore a backup (the newest, if empty) into a scratch folder. With a password that
        opens it the seed is proven too. Raises CommandRefusedError."""
        backing = self._backing
        async with backing.turn:
            try:
                with backing.jobs.begin("drill", "fetching") as job:
                    opened_by: KeyRing | Secret = password or await backing.ring()
                    entry = backing.maker.find(backup, backing.install_id)
                    try:
                        drilled = await drill(
                            entry,
                            backing.stock.catalogue,
                            backing.readable(),
                            opened_by,
                            self._settings.data_path / f"{STAGE_PREFIX}{secrets.token_hex(6)}",
                            self._settings,
                            self._clock.now_ms(),
                            job.note,
                        )
                    except WrongKeyError:
                        raise  # what was typed is wrong, not the backup
                    except (BursarError, OSError) as error:
                        await self._failed(entry, str(error))
                        raise
                    await self._succeeded(drilled)
                    job.says(drilled.sentence())
            except (BursarError, OSError) as error:
                raise CommandRefusedError(str(error)) from error
        log.info("%s", drilled.sentence(), extra=_DETAILS)
        return Outcome(drilled.sentence(), drilled.addresses)

    async def _succeeded(self, drilled: Drilled) -> None:
        stock, now_ms = self._backing.stock, self._clock.now_ms()
        for link in stock.catalogue.chain_of(drilled.entry.id):
            await stock.save(msgspec.structs.replace(link, verified_ms=now_ms))
        current = stock.catalogue.get(drilled.entry.id)
        if current is not None:
            await stock.save(msgspec.structs.replace(current, drilled_ms=now_ms))
        await stock.remember(
            msgspec.structs.replace(
                stock.memory, drill_failures=0, drill_failed_ms=0, drill_error=""
            )
        )

    async def _failed(self, entry: Entry, reason: str) -> None:
        log.error("drill failed: %s", reason, extra=_DETAILS)
        stock = self._backing.stock
        memory = msgspec.structs.replace(
            stock.memory,
            drill_failures=stock.memory.drill_failures + 1,
            drill_failed_ms=self._clock.now_ms(),
            drill_error=reason,
        )
        try:
            await stock.remember(memory)
        except BackupError as error:
            log.error("%s", error, extra=_DETAILS)
        await self._backing.reports.say(
            BackupFailed(
                timestamp=self._clock.now_ms(),
                operation="drill",
                backup_id=entry.id,
                backup_type=entry.type.value,
                attempt=memory.drill_failures,
                reason=reason,
            )
        )
