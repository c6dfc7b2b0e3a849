"""A node that settles: embedded ledger, SQLite store, accounts, monitor, and a clock set by hand.

`start` can be called again after `stop`: everything that was not on disk is gone then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.accounting import AccountManager, CreditLimits, Direction, Packet, Pair
from core.events import Bus, Event, EventRecord
from core.ledger import EmbeddedLedger, Ledger
from core.settlement import SettlementEngine, SettlementMonitor, SettlementState, ThresholdRules
from core.store.sqlite import SqliteStore
from tests.clock import TestClock, until

IDLE, PENDING, IN_PROGRESS = SettlementState
HUNDRED = ThresholdRules(default=100)


class Node:
    """One node on one directory. `seen` is what a listener was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = TestClock()
        self.seen: list[Event] = []
        self._packets = 0
        self._opened = False

    async def open(self) -> None:
        """Ledger and store, as far as they are not open."""
        if self._opened:
            return
        self.store = SqliteStore(self.folder / "bursar.db", "node-a")
        await self.store.open()
        self.embedded = EmbeddedLedger(self.folder / "ledger", self.clock)
        await self.embedded.open()
        self._opened = True

    def monitor_of(
        self,
        manager: AccountManager,
        rules: ThresholdRules = HUNDRED,
        *,
        ledger: Ledger | None = None,
        engine: SettlementEngine | None = None,
        held: bool = False,
    ) -> SettlementMonitor:
        """Another monitor over the same store and ledger, as of another process."""
        return SettlementMonitor(
            manager,
            ledger or self.embedded,
            self.store,
            Bus(),
            self.clock,
            rules,
            generation="gen-1",
            engine=engine,
            rng=lambda: 1.0,
            held=held,
        )

    async def start(
        self,
        rules: ThresholdRules = HUNDRED,
        limits: CreditLimits | None = None,
        *,
        engine: SettlementEngine | None = None,
        ledger: Ledger | None = None,
        pairs: tuple[Pair, ...] = (),
        held: bool = False,
    ) -> SettlementMonitor:
        """A started monitor; `ledger` stands in the way of the real one."""
        await self.open()
        self.manager = AccountManager(ledger or self.embedded, "node-a", ("USD", "EUR"), limits)
        await self.manager.open_accounts(pairs)
        self.monitor = self.monitor_of(self.manager, rules, ledger=ledger, engine=engine, held=held)

        async def listen(event: Event) -> None:
            self.seen.append(event)

        self.monitor.add_listener(listen)
        await self.monitor.start()
        return self.monitor

    async def owe(self, amount: int, peer: str = "P", token: str = "USD") -> None:
        """A packet of the peer; what we forward goes to Z."""
        self._packets += 1
        packet = Packet(f"packet-{self._packets}", peer, "Z", token, amount, amount)
        [result] = await self.manager.record_packet_transfers([packet])
        assert result.booked, result

    async def forward(self, amount: int, peer: str = "P") -> None:
        """A packet to the peer: we owe it more."""
        self._packets += 1
        packet = Packet(f"packet-{self._packets}", "A", peer, "USD", amount, amount)
        [result] = await self.manager.record_packet_transfers([packet])
        assert result.booked, result

    async def pay(self, amount: int, peer: str = "P") -> None:
        """The peer pays without being asked."""
        self._packets += 1
        await self.manager.record_settlement(
            peer, "USD", Direction.RECEIVABLE, amount, f"tx-{self._packets}"
        )

    async def quiet(self) -> None:
        """Wait until the monitor has looked at everything that was committed."""
        await self.monitor.sweep()

    async def events(self, *types: str) -> list[EventRecord]:
        """What the store reports."""
        return await self.store.find_events(types=types)

    async def required(self, peer: str = "P") -> list[tuple[int, int, int]]:
        """Balance, threshold and excess of every SETTLEMENT_REQUIRED of a peer."""
        rows = await self.store.find_events(types=("SETTLEMENT_REQUIRED",))
        return [
            (
                int(str(row.payload["currentBalance"])),
                int(str(row.payload["threshold"])),
                int(str(row.payload["exceedsBy"])),
            )
            for row in rows
            if row.payload["peerId"] == peer
        ]

    async def state_becomes(self, state: SettlementState, peer: str = "P") -> None:
        """Wait for a state of a peer's USD."""
        await until(
            lambda: self.monitor.get_settlement_state(peer, "USD") is state, f"{peer} {state}"
        )

    async def close(self) -> None:
        """End in good order."""
        if self._opened:
            if hasattr(self, "monitor"):
                await self.monitor.stop()
            await self.embedded.close()
            await self.store.close()
            self._opened = False


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    yield made
    await made.close()
