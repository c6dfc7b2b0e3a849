"""A store with an EVM, an XRPL and a TRON chain, and the seed's account keys beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from core.events import Bus, EventRecord
from core.model import BlockRef, ChainKind, Clock, Consistency, Secret
from core.store.protocol import Change, NewAsset, Sweep
from core.store.sqlite import SqliteStore
from core.wallets.accounts import Accounts, derive_accounts
from core.wallets.agents import AgentWallets
from core.wallets.lifecycle import Lifecycle
from core.wallets.seed import Seed
from tests.clock import TestClock
from tests.wallets.vectors import JUNK

CHAINS = (
    ("base", ChainKind.EVM),
    ("ethereum", ChainKind.EVM),
    ("xrpl", ChainKind.XRPL),
    ("tron", ChainKind.TRON),
)
ASSETS = (
    NewAsset("base", "ETH", "Ether", 18),
    NewAsset("ethereum", "ETH", "Ether", 18),
    NewAsset("xrpl", "XRP", "XRP", 6),
    NewAsset("tron", "TRX", "TRON", 6),
)


def accounts(words: str = JUNK) -> Accounts:
    return derive_accounts(Seed.from_words(Secret(words)))


class Fleet:
    """One open store with what works on it."""

    def __init__(self, path: Path, clock: TestClock) -> None:
        self.store = SqliteStore(path, "node")
        self.clock = clock
        self.bus = Bus()
        self.wallets = AgentWallets(self.store, accounts, as_clock(clock), self.bus)
        self.lifecycle = Lifecycle(self.store, as_clock(clock), self.bus)

    async def fund(self, agent: str, amount: int, chain: str = "base", block: int = 1) -> None:
        """The agent's native balance as a reading of the chain finds it."""
        registry = await self.store.registry()
        account = next(a for a in registry.accounts if (a.agent, a.chain) == (agent, chain))
        now_ms = self.clock.now_ms()
        lease = await self.store.claim(
            chain, "w", now_ms=now_ms, due_before_ms=now_ms + 1, lease_ms=60_000, limit=None
        )
        assert lease is not None
        await self.store.record(
            Sweep(
                lease=lease,
                time_ms=now_ms,
                block=BlockRef(block, f"0x{block:064x}", now_ms),
                consistency=Consistency.PINNED,
                first_block=block,
                endpoint="",
                seconds=0.0,
                changes=[Change(account.id, amount)],
            ),
            (),
        )

    async def events(self, *types: str) -> Sequence[EventRecord]:
        return await self.store.find_events(types=types, limit=100_000)


def as_clock(clock: TestClock) -> Clock:
    return clock


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(path, TestClock())
    await fleet.store.open()
    try:
        await fleet.store.put_registry(CHAINS, ASSETS)
        yield fleet
    finally:
        await fleet.store.close()
