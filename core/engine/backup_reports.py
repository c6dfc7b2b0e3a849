"""What comes of backups, told: an event, a line in the log, and what is remembered of failures."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from core.backup.errors import BackupError
from core.backup.maker import Delivered
from core.backup.stock import Stock
from core.engine import backup_words
from core.events import BackupFailed, Event
from core.model import BursarError, Clock

log = logging.getLogger("bursar.backup")

_DETAILS = {"component": "backup"}


class BackupReports:
    """`publish` stores events; `remembered` is told that failures were counted or forgotten."""

    def __init__(
        self,
        stock: Stock,
        clock: Clock,
        publish: Callable[[Sequence[Event]], Awaitable[None]],
        remembered: Callable[[], None],
    ) -> None:
        self._stock = stock
        self._clock = clock
        self._publish = publish
        self._remembered = remembered

    async def told(self, delivered: Delivered) -> None:
        """A backup that became durable is an event, whoever sent it."""
        if not delivered.fresh:
            return
        log.info("%s", backup_words.told(delivered).message, extra=_DETAILS)
        await self.say(backup_words.created(delivered.entry, self._clock.now_ms()))

    async def succeeded(self) -> None:
        """The next attempt waits for nothing."""
        await self._remember(failures=0, failed_ms=0, error="")

    async def failed(self, operation: str, backup_id: str, kind: str, reason: str) -> None:
        """A backup could not be made or delivered: one failure more in a row."""
        failures = self._stock.memory.failures + 1
        await self._remember(failures=failures, failed_ms=self._clock.now_ms(), error=reason)
        await self.refused(operation, backup_id, kind, failures, reason)

    async def refused(
        self, operation: str, backup_id: str, kind: str, attempt: int, reason: str
    ) -> None:
        """An operation on a backup came to nothing; no attempt is put off for it."""
        log.error("backup failed (%s): %s", operation, reason, extra=_DETAILS)
        await self.say(
            BackupFailed(
                timestamp=self._clock.now_ms(),
                operation=operation,
                backup_id=backup_id,
                backup_type=kind,
                attempt=attempt,
                reason=reason,
            )
        )

    async def say(self, event: Event) -> None:
        """Store and announce an event; that it cannot be stored changes nothing else."""
        try:
            await self._publish([event])
        except BursarError as error:  # the database: the backup stands all the same
            log.error("an event was not stored: %s", error, extra=_DETAILS)

    async def _remember(self, **changes: int | str) -> None:
        try:
            await self._stock.remember(msgspec.structs.replace(self._stock.memory, **changes))
        except BackupError as error:  # only the pause before the next attempt hangs on it
            log.error("%s", error, extra=_DETAILS)
        self._remembered()
