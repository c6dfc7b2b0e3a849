"""When a backup is due: a pure function of the clock, the schedule and what happened so far.

Engine, desk, `bursar backup run-due` and a systemd timer ask the same function. A slot that was
missed while nothing ran is made up for once, however many were missed; a full made after an
incremental's slot stands for it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec
from cronsim import CronSim

from core.backup.errors import ScheduleError
from core.backup.header import BackupType
from core.config.backup_checks import check_cron, zone_of

_FIRST_RETRY_MS = 60_000
_LAST_RETRY_MS = 3_600_000


class Schedule(msgspec.Struct, frozen=True):
    """Cron expressions of fulls and incrementals, read in an IANA time zone. `jitter_ms` spreads
    the installations that share a store."""

    full: str = "0 0 * * 0"
    incremental: str = "0 0 * * *"
    timezone: str = "UTC"
    jitter_ms: int = 300_000

    def check(self) -> None:
        """Raises ScheduleError for what cannot be used. Call it where settings are loaded."""
        try:
            zone_of(self.timezone)
        except ValueError as error:
            raise ScheduleError(f"[backup] timezone: {error}.") from error
        for key, expression in (("full", self.full), ("incremental", self.incremental)):
            try:
                check_cron(expression)
            except ValueError as error:
                raise ScheduleError(f"[backup] {key}: {error}.") from error
        if self.jitter_ms < 0:
            raise ScheduleError("[backup] jitter: it cannot be negative.")


class Past(msgspec.Struct, frozen=True):
    """What happened so far; times in ms, 0: never. A success is a durable backup. `failures` are
    those since the last success, `failed_ms` the time of the last of them, `started_ms` when this
    process began to look."""

    full_ms: int = 0
    incremental_ms: int = 0
    failures: int = 0
    failed_ms: int = 0
    started_ms: int = 0


class Due(msgspec.Struct, frozen=True):
    """A backup to make now, and the slot it is for."""

    type: BackupType
    slot_ms: int


def decide(schedule: Schedule, past: Past, install_id: str, now_ms: int) -> Due | None:
    """What to make now, None for nothing. Full goes before incremental and stands for it.

    Raises ScheduleError.
    """
    schedule.check()
    full_ms = _believed(past.full_ms, now_ms)
    any_ms = max(full_ms, _believed(past.incremental_ms, now_ms))
    if 0 <= now_ms - past.failed_ms < _pause_ms(past.failures):
        return None
    for kind, expression, success_ms in (
        (BackupType.FULL, schedule.full, full_ms),
        (BackupType.INCREMENTAL, schedule.incremental, any_ms),
    ):
        slot_ms = previous_slot(expression, schedule.timezone, now_ms)
        if success_ms >= slot_ms:
            continue
        jitter_ms = _jitter_ms(install_id, slot_ms, schedule.jitter_ms)
        # A start-up that catches up waits too: many hosts come back at once. A clock that was
        # set back since this process started must not put the wait off.
        begun_ms = slot_ms if past.started_ms > now_ms else max(slot_ms, past.started_ms)
        if now_ms >= begun_ms + jitter_ms:
            return Due(kind, slot_ms)
        if kind is BackupType.FULL:
            return None  # it stands for the incremental: do not slip one in before it
    return None


def next_run(schedule: Schedule, now_ms: int) -> Due:
    """The next slot of either kind after now, full where both fall together (no jitter)."""
    schedule.check()
    slots = [
        Due(kind, next_slot(expression, schedule.timezone, now_ms))
        for kind, expression in (
            (BackupType.FULL, schedule.full),
            (BackupType.INCREMENTAL, schedule.incremental),
        )
    ]
    return min(slots, key=lambda due: due.slot_ms)


def previous_slot(expression: str, timezone: str, now_ms: int) -> int:
    """The last slot at or before now, ms. A local time that comes twice at the end of daylight
    saving is one slot; one that is skipped at its beginning comes right after the gap."""
    # From the next whole minute backwards, so that a slot that is just now counts.
    after = _local(now_ms - now_ms % 60_000 + 60_000, timezone)
    return _ms(next(CronSim(expression, after, reverse=True)))


def next_slot(expression: str, timezone: str, now_ms: int) -> int:
    """The first slot after now, ms."""
    return _ms(next(CronSim(expression, _local(now_ms, timezone))))


def _local(time_ms: int, timezone: str) -> datetime:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    return moment.astimezone(zone_of(timezone))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp()) * 1000


def _believed(success_ms: int, now_ms: int) -> int:
    """A success in the future was stamped by a clock that has been set back since: believing it
    would mean no backup until then."""
    return success_ms if success_ms <= now_ms else 0


def _pause_ms(failures: int) -> int:
    return min(_FIRST_RETRY_MS * 2 ** min(failures - 1, 16), _LAST_RETRY_MS) if failures else 0


def _jitter_ms(install_id: str, slot_ms: int, most_ms: int) -> int:
    """The same for one installation and slot, so that asking again gives the same answer."""
    seed = hashlib.sha256(f"{install_id} {slot_ms}".encode()).digest()
    return int.from_bytes(seed[:8], "big") % (most_ms + 1)
