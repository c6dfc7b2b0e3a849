"""A fleet on scripted chains with a real store: what the tests of this room start from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from core.balances.cache import BalanceCache
from core.balances.sync import SyncWorker
from core.balances.tracker import BalanceTracker
from core.events import Bus, EventRecord
from core.model import ChainKind
from core.store.protocol import NewAsset, NewWallet
from core.store.sqlite import SqliteStore
from tests.balances.scripted import ScriptedReader
from tests.clock import TestClock, until

INTERVAL_S = 30.0
USDC = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"


def address(agent: str, chain: str) -> str:
    return f"{chain}:{agent}"


class Fleet:
    """Store, cache, worker and tracker as the engine composes them, and their chains."""

    def __init__(self, store: SqliteStore, clock: TestClock, chains: Sequence[str]) -> None:
        self.store = store
        self.clock = clock
        self.bus = Bus()
        self.readers = {name: ScriptedReader(name, clock) for name in chains}
        self.store_errors: list[str] = []
        self.compose()

    def compose(self, **options: object) -> None:
        """New cache, worker and tracker over the same store and chains, as after a restart."""
        intervals = {name: int(INTERVAL_S * 1000) for name in self.readers}
        self.cache = BalanceCache(self.clock, intervals)
        self.worker = SyncWorker(
            self.store,
            self.readers,
            self.cache,
            self.bus,
            self.clock,
            intervals_ms=intervals,
            on_store=self.store_errors.append,
            **options,  # type: ignore[arg-type]
        )
        self.tracker = BalanceTracker(
            self.store, self.cache, self.bus, self.clock, self.worker.read_now
        )

    def put(self, agent: str, chain: str, amount: int, contract: str | None = None) -> None:
        """What the chain answers for an agent from now on."""
        self.readers[chain].balances[address(agent, chain), contract] = amount

    def fail(self, agent: str, chain: str, reason: str, contract: str | None = None) -> None:
        """The chain cannot say, for this reason; "" ends it."""
        key = (address(agent, chain), contract)
        if reason:
            self.readers[chain].reasons[key] = reason
        else:
            self.readers[chain].reasons.pop(key, None)

    def amount(self, agent: str, chain: str, asset: str) -> int | None:
        account = self.cache.find(agent, chain, asset)
        assert account is not None
        return self.cache.view(account).amount

    def sweeps(self) -> dict[str, int]:
        return {state.name: state.swept_ms for state in self.cache.chain_states()}

    async def cycle(self, seconds: float = INTERVAL_S) -> None:
        """One interval passes, and every chain that does not hang is read and stored."""
        before = self.worker.cycles()
        await self.clock.advance(seconds)
        await self.completed({name: count + 1 for name, count in before.items()})

    async def completed(self, counts: dict[str, int]) -> None:
        """Until each chain that does not hang has completed that many cycles."""
        await until(
            lambda: all(
                self.worker.cycles()[name] >= count or self.readers[name].hangs
                for name, count in counts.items()
            ),
            f"cycles {counts}, now {self.worker.cycles()}",
        )

    async def events(self, *types: str) -> list[EventRecord]:
        return await self.store.find_events(types=types, limit=100_000)


@asynccontextmanager
async def fleet(
    path: Path,
    agents: Sequence[str] = ("a", "b", "c"),
    chains: Sequence[str] = ("base",),
    *,
    token: bool = True,
) -> AsyncIterator[Fleet]:
    """A registered fleet of agents with ETH (and USDC) on each chain; nothing runs yet."""
    store = SqliteStore(path / "bursar.db", "node")
    await store.open()
    clock = TestClock()
    assets = [NewAsset(chain, "ETH", "Ether", 18) for chain in chains]
    if token:
        assets += [NewAsset(chain, "USDC", "USD Coin", 6, USDC) for chain in chains]
    await store.put_registry([(chain, ChainKind.EVM) for chain in chains], assets)
    wallets = [NewWallet(a, c, address(a, c)) for a in agents for c in chains]
    await store.add_wallets(wallets, (), clock.now_ms())
    made = Fleet(store, clock, chains)
    try:
        await made.tracker.load()
        yield made
    finally:
        await store.close()


@asynccontextmanager
async def running(made: Fleet) -> AsyncIterator[None]:
    """The worker runs, its first cycle is done; at the end it is stopped and leaves no task."""
    before = asyncio.all_tasks()
    run = asyncio.create_task(made.worker.run())
    try:
        await made.completed(dict.fromkeys(made.readers, 1))
        yield
    finally:
        stop = asyncio.create_task(made.worker.stop())
        await until(lambda: stop.done() or made.clock.sleepers() > 0)
        while not stop.done():
            await made.clock.advance(1)
            await asyncio.sleep(0.001)
        await stop
        await run
        left = asyncio.all_tasks() - before
        assert not left, left
