"""How backups stand against their schedule: what is made, on its way, due, failing or overdue.

Pure functions of catalogue, memory, settings and time. A slot is kept by a backup that was read
after it, whenever it was delivered.
"""

from __future__ import annotations

from core.backup.catalogue import Catalogue
from core.backup.header import BackupType
from core.backup.schedule import Due, Past, Schedule, decide, previous_slot
from core.backup.stock import Memory
from core.config import BackupSettings
from core.events import iso_utc

_OVERDUE_MS = 3_600_000
_DRILL_OVERDUE_MS = 86_400_000
_DRILL_PAUSE_MS = 3_600_000
_LAST_PAUSE_MS = 24 * 3_600_000


def last_ms(catalogue: Catalogue, install_id: str, kind: BackupType) -> int:
    """When the newest durable backup of a type was read; 0: never."""
    return next(
        (
            entry.created_ms
            for entry in catalogue
            if entry.durable_ms and entry.type is kind and entry.install_id == install_id
        ),
        0,
    )


def is_on_its_way(catalogue: Catalogue, install_id: str, due: Due) -> bool:
    """Whether that slot's backup is made and only waits to be delivered."""
    return any(
        not entry.durable_ms
        and entry.created_ms >= due.slot_ms
        and entry.type in {due.type, BackupType.FULL}
        and entry.install_id == install_id
        for entry in catalogue
    )


def due_now(
    catalogue: Catalogue,
    install_id: str,
    schedule: Schedule,
    memory: Memory,
    started_ms: int,
    now_ms: int,
) -> Due | None:
    """The backup to make now, if any. Failures in `memory` put it off for a while."""
    past = Past(
        full_ms=last_ms(catalogue, install_id, BackupType.FULL),
        incremental_ms=last_ms(catalogue, install_id, BackupType.INCREMENTAL),
        failures=memory.failures,
        failed_ms=memory.failed_ms,
        started_ms=started_ms,
    )
    due = decide(schedule, past, install_id, now_ms)
    return None if due is None or is_on_its_way(catalogue, install_id, due) else due


def last_drilled_ms(catalogue: Catalogue, install_id: str) -> int:
    """When a backup of this installation was last restored in a drill; 0: never."""
    return max((e.drilled_ms for e in catalogue if e.install_id == install_id), default=0)


def drill_is_due(
    catalogue: Catalogue, install_id: str, settings: BackupSettings, memory: Memory, now_ms: int
) -> bool:
    """Whether a slot passed since the last drill; what was begun after the slot waits for the
    next one. A drill that failed is tried again after a pause that grows to a day."""
    pause_ms = min(_DRILL_PAUSE_MS * 2 ** min(memory.drill_failures, 8), _LAST_PAUSE_MS)
    if memory.drill_failures and 0 <= now_ms - memory.drill_failed_ms < pause_ms:
        return False
    return _drill_slot_ms(catalogue, install_id, settings, now_ms) > 0


def _drill_slot_ms(
    catalogue: Catalogue, install_id: str, settings: BackupSettings, now_ms: int
) -> int:
    """The slot whose drill is missing, 0: none is."""
    slot_ms = previous_slot(settings.drill, settings.timezone, now_ms)
    own = [e.created_ms for e in catalogue if e.durable_ms and e.install_id == install_id]
    is_missing = (
        last_drilled_ms(catalogue, install_id) < slot_ms and min(own, default=slot_ms) < slot_ms
    )
    return slot_ms if is_missing else 0


def trouble(
    catalogue: Catalogue,
    install_id: str,
    settings: BackupSettings,
    memory: Memory,
    started_ms: int,
    now_ms: int,
) -> str:
    """What fails or is overdue, in words; "" where all is well. What came due before this engine
    began to look is overdue an hour after that."""
    if memory.failures:
        return f"The last backup failed {iso_utc(memory.failed_ms)}: {memory.error}"
    if memory.drill_failures:
        return f"The last drill failed {iso_utc(memory.drill_failed_ms)}: {memory.drill_error}"
    full_ms = last_ms(catalogue, install_id, BackupType.FULL)
    any_ms = max(full_ms, last_ms(catalogue, install_id, BackupType.INCREMENTAL))
    for words, expression, made_ms in (
        ("full", settings.full, full_ms),
        ("incremental", settings.incremental, any_ms),
    ):
        slot_ms = previous_slot(expression, settings.timezone, now_ms)
        patience_ms = int(settings.jitter) + _OVERDUE_MS
        if made_ms < slot_ms and now_ms > max(slot_ms, started_ms) + patience_ms:
            return f"The {words} backup that was due {iso_utc(slot_ms)} was not made."
    slot_ms = _drill_slot_ms(catalogue, install_id, settings, now_ms)
    if slot_ms and now_ms > max(slot_ms, started_ms) + _DRILL_OVERDUE_MS:
        return f"The restore drill that was due {iso_utc(slot_ms)} was not made."
    return ""
