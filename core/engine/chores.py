"""What an engine does now and then: retention, and a look at the database's size."""

from __future__ import annotations

import logging
from collections.abc import Callable

from core.config import HistorySettings
from core.model import Clock
from core.store.protocol import Store, StoreError

log = logging.getLogger("bursar.engine")

_HOUSEKEEPING_S = 3600.0
_SIZE_S = 15.0
_SIZE_STEP_BYTES = 64 * 1024


async def watch_size(
    store: Store,
    clock: Clock,
    on_size: Callable[[int], None],
    on_error: Callable[[str], None],
) -> None:
    """Report the database's size when it moved; until cancelled."""
    known = 0
    while True:
        try:
            size = await store.size_bytes()
        except StoreError as error:
            on_error(str(error))
        else:
            if abs(size - known) > _SIZE_STEP_BYTES:
                known = size
                on_size(size)
        await clock.sleep(_SIZE_S)


async def keep_house(
    store: Store, kept: HistorySettings, clock: Clock, on_error: Callable[[str], None]
) -> None:
    """Retention, once an hour; until cancelled."""
    while True:
        await clock.sleep(_HOUSEKEEPING_S)
        now_ms = clock.now_ms()
        try:
            gone = await store.prune(
                history_before_ms=now_ms - kept.keep,
                thin_before_ms=now_ms - kept.thin_after,
                events_before_ms=now_ms - kept.events,
                polls_before_ms=now_ms - kept.thin_after,
            )
        except StoreError as error:
            on_error(str(error))
        else:
            log.info("retention removed %d rows", gone, extra={"component": "engine"})
