"""Every event in the log, at the level that its kind deserves.

A reader of the outbox like the event lines, but without a cursor: the log tells of this run. An
event's level is data: one table by type, and for a few types a look at the payload.
"""

from __future__ import annotations

import logging
from typing import Final

from core.events import Bus, EventRecord, Json
from core.model import Clock
from core.store.protocol import Store, StoreError

log = logging.getLogger("bursar.events")

_PAGE: Final = 500
_RETRY_S: Final = 5.0

LEVELS: Final[dict[str, int]] = {
    "SETTLEMENT_TRIGGERED": logging.DEBUG,  # SETTLEMENT_REQUIRED once more, for telemetry
    "SETTLEMENT_REQUIRED": logging.WARNING,
    "SETTLEMENT_FAILED": logging.ERROR,
    "AGENT_BALANCE_REVERTED": logging.WARNING,
    "CHAIN_REORGANISED": logging.WARNING,
    "ENDPOINT_STATE_CHANGED": logging.WARNING,
    "CUSTODY_UNEXPLAINED": logging.WARNING,
    "ALERT_OPENED": logging.WARNING,
    "RESTORE_COMPLETED": logging.WARNING,
    "WALLET_BALANCE_MISMATCH": logging.WARNING,
    "BACKUP_FAILED": logging.ERROR,
    "RESTORE_FAILED": logging.ERROR,
}
"""Levels other than INFO."""
_STATE_LEVELS: Final = {"down": logging.ERROR, "live": logging.INFO, "ready": logging.INFO}
_HEAD: Final = frozenset({"timestamp", "agentId", "chain"})


def level_of(record: EventRecord) -> int:
    """The log level of an event."""
    if record.type in {"CHAIN_STATE_CHANGED", "ENDPOINT_STATE_CHANGED"}:
        return _STATE_LEVELS.get(str(record.payload.get("newState")), logging.WARNING)
    return LEVELS.get(record.type, logging.INFO)


def message_of(record: EventRecord) -> str:
    """Type and subject, then what the event says, `name=value` each."""
    told = " ".join(
        f"{name}={_text(value)}"
        for name, value in record.payload.items()
        if name not in _HEAD and value not in (None, "")
    )
    about = f" {record.subject}" if record.subject else ""
    return f"{record.type}{about}{': ' if told else ''}{told}"


def _text(value: Json) -> str:
    text = str(value)
    return repr(text) if " " in text else text


class EventLog:
    """Logs every event stored after `after_seq` until cancelled."""

    def __init__(self, store: Store, bus: Bus, clock: Clock, after_seq: int) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self.seq = after_seq

    async def run(self) -> None:
        """Follow the events; a store that fails is asked again and says so itself."""
        while True:
            await self._bus.wait_beyond(self.seq)
            try:
                records = await self._store.events_after(self.seq, _PAGE)
            except StoreError as error:
                log.debug("events cannot be read for the log: %s", error)
                await self._clock.sleep(_RETRY_S)
                continue
            for record in records:
                self.seq = record.seq
                self._log(record)
            if not records:
                self.seq = self._bus.last

    def _log(self, record: EventRecord) -> None:
        level = level_of(record)
        if log.isEnabledFor(level):
            fields = {"agent": record.payload.get("agentId"), "chain": record.payload.get("chain")}
            log.log(level, "%s", message_of(record), extra=fields)
