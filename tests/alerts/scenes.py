"""Facts as an engine would state them, and a keeper over a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from core.alerts import AlertKeeper, Observation, Rule, RuleKind, balance_seen
from core.api import BalanceView
from core.events import Bus, Event, EventRecord
from core.model import Amount, Asset
from core.store.protocol import AlertRow
from core.store.sqlite import SqliteStore
from core.telemetry.audit import AuditLog
from tests.clock import TestClock

USDC = Asset(id=1, chain="base", symbol="USDC", name="USD Coin", decimals=2)
BELOW = Rule("low", RuleKind.BALANCE_BELOW, clear=120)


def balance(
    amount: int | None,
    *,
    account: int = 7,
    floor: int | None = 100,
    reserved: int = 0,
    error: str = "",
    change_24h: int | None = None,
    change_1h: int | None = None,
    runway_s: int | None = None,
    sure: str = "",
    group: str = "hot",
) -> Observation:
    """A row of the fleet; amounts in cents."""
    view = BalanceView(
        account=account,
        agent=f"agent-{account}",
        chain="base",
        asset=1,
        address=f"0x{account:040x}",
        amount=None if amount is None else Amount(amount),
        reserved=Amount(reserved),
        error=error,
        floor=None if floor is None else Amount(floor),
        change_1h=None if change_1h is None else Amount(change_1h),
        change_24h=None if change_24h is None else Amount(change_24h),
        runway_s=runway_s,
        runway_sure=sure,
    )
    return balance_seen(view, USDC, group)


class CountingStore(SqliteStore):
    """The store, counting transactions and rows of alerts; it fails while `failing`."""

    transactions = 0
    rows = 0
    failing: Exception | None = None

    async def change_alerts(
        self, changes: Sequence[tuple[AlertRow, Sequence[Event]]]
    ) -> list[list[EventRecord] | None]:
        if self.failing is not None:
            raise self.failing
        self.transactions += 1
        self.rows += len(changes)
        return await super().change_alerts(changes)


class Watch:
    """A keeper with what is around it."""

    def __init__(self, store: CountingStore, audit: AuditLog, rules: Sequence[Rule]) -> None:
        self.store = store
        self.audit = audit
        self.bus = Bus()
        self.clock = TestClock()
        self.keeper = AlertKeeper(store, self.clock, rules, audit, self.bus)

    async def told(self) -> list[str]:
        """Types of all events, in order."""
        return [record.type for record in await self.store.find_events(limit=100_000)]


@asynccontextmanager
async def watch(folder: Path, *rules: Rule) -> AsyncIterator[Watch]:
    """A started keeper on the database in `folder`, for one life."""
    store = CountingStore(folder / "bursar.db", "node-a")
    await store.open()
    audit = AuditLog(folder / "audit.jsonl", TestClock())
    try:
        watched = Watch(store, audit, rules or (BELOW,))
        await watched.keeper.start()
        yield watched
    finally:
        await audit.close()
        await store.close()
