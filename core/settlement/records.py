"""The settlement rows as this process knows them, and the only way to change one.

The store owns them. A change is written only over the version it was decided on; where another
process was faster the row is read again, and whoever asked decides anew.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from core.clock import give_way
from core.events import Bus, SettlementRequired, SettlementStateChanged
from core.settlement.listeners import Listeners
from core.settlement.rows import Change, key_of
from core.settlement.types import SettlementKey
from core.store.protocol import SettlementRow, SettlementStore

STRIDE = 500  # rows looked at between two turns of the loop

log = logging.getLogger("bursar.settlement")


class Records:
    """Rows by key. Raises StoreError where the store does."""

    def __init__(self, store: SettlementStore, bus: Bus, listeners: Listeners) -> None:
        self._store = store
        self._bus = bus
        self._listeners = listeners
        self._rows: dict[SettlementKey, SettlementRow] = {}

    def __getitem__(self, key: SettlementKey) -> SettlementRow:
        """The row of a key; one never seen is idle."""
        return self._rows.get(key) or SettlementRow(key.peer, key.token, key.direction.value)

    def open(self) -> list[SettlementKey]:
        """The keys whose settlement is not done; a copy."""
        return [key for key, row in self._rows.items() if not row.armed]

    async def load(self, keys: Collection[SettlementKey] | None = None) -> None:
        """Read what other processes wrote: of all rows, or of some."""
        only = None if keys is None else [(k.peer, k.token, k.direction.value) for k in keys]
        for number, row in enumerate(await self._store.settlements(only), start=1):
            key = key_of(row)
            known = self._rows.get(key)
            if known is None or row.version > known.version:
                self._rows[key] = row
            if number % STRIDE == 0:
                await give_way()

    async def change(self, changes: Sequence[Change]) -> list[bool]:
        """Write rows with their events, in one transaction, and tell of them. False where
        another process had changed the row; then it was read again."""
        if not changes:
            return []
        written = await self._store.change_settlements(changes)
        lost = []
        for (row, events), records in zip(changes, written, strict=True):
            if records is None:
                lost.append(key_of(row))
                continue
            self._rows[key_of(row)] = row
            if records:
                self._bus.publish(records[-1].seq)
            self._listeners.tell(events)
            for event in events:
                if isinstance(event, SettlementStateChanged):
                    log.info(
                        "settlement of %s: %s -> %s: %s",
                        key_of(row),
                        event.old_state,
                        event.new_state,
                        event.reason,
                    )
                elif type(event) is SettlementRequired:
                    log.warning(
                        "settlement of %s required: %d exceeds %d by %d",
                        key_of(row),
                        event.current_balance,
                        event.threshold,
                        event.exceeds_by,
                    )
        if lost:
            await self.load(lost)
        return [records is not None for records in written]
