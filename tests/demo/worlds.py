"""A clock that tests set, and worlds on it."""

from __future__ import annotations

from core.demo.cast import ASSETS, WorldAsset
from core.demo.chain import WorldChain
from core.demo.world import World

START_MS = 1_795_176_000_000  # 2026-11-20 12:00 UTC


class SetClock:
    """Stands still until a test moves it."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


def make_world(agents: int = 50, seed: int = 1) -> tuple[World, SetClock]:
    """A world at the moment its incidents begin."""
    clock = SetClock()
    return World(seed, agents, START_MS, clock), clock


def asset(symbol: str) -> WorldAsset:
    """The demo's token of that symbol."""
    return next(a for a in ASSETS if a.symbol == symbol)


def chain_of(world: World, symbol: str) -> WorldChain:
    """The chain the token is on."""
    return world.chain(asset(symbol).chain)


def balance(world: World, agent: int, symbol: str, at_ms: int) -> int | None:
    """The balance at the newest block of a moment, through the protocol the servers use."""
    token = asset(symbol)
    chain = world.chain(token.chain)
    address = world.agents[agent].addresses[token.chain]
    return chain.balance(address, token.contract, chain.block_at(at_ms))
