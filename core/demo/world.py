"""The simulated fleet's truth: agents, addresses, and balances as a pure function of
(seed, account, block number).

Nothing is stored: a block's number gives its time, the time gives every account's tick (see
`patterns`), the tick its amount. So any past can be asked for, two processes with the same
seed and start agree, and a read costs a comparison. Servers answer from a `WorldChain`.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Final

import msgspec

from core.demo.cast import (
    ASSETS,
    CHAINS,
    GROUPS,
    NO_GAS,
    REGIONS,
    Group,
    WorldAsset,
)
from core.demo.chain import HOUR_MS, WorldChain
from core.demo.incidents import ROUND_S, SCHEDULE, BalanceScript
from core.demo.patterns import (
    OFFICES,
    Burner,
    Emptied,
    Idle,
    Pattern,
    Scripted,
    Trader,
    mix,
    moment_at,
)
from core.model import BursarError, Clock


class UnknownChainError(BursarError):
    """The demo has no chain of that name."""


# A few accounts in ten thousand are in trouble for reasons of their own.
_EMPTIED_BELOW: Final = 25
_LOW_BELOW: Final = 125
_HUNGRY_BELOW: Final = 275


class WorldAgent(msgspec.Struct, frozen=True):
    """An agent with its address on each chain, as the chain's people write it."""

    id: str
    group: str
    tags: tuple[str, ...]
    addresses: dict[str, str]


class World:
    """Agents and chains by seed. `start_ms` is when the incidents begin; the same seed, fleet
    size and start give the same world in every process."""

    def __init__(self, seed: int, agents: int, start_ms: int, clock: Clock) -> None:
        if agents < 1:
            raise BursarError(f"A demo needs at least one agent, not {agents}.")
        self.seed = seed
        self.size = agents
        self.start_ms = start_ms
        self.clock = clock
        self.chains = {
            plan.name: WorldChain(
                plan,
                seed=seed,
                size=agents,
                start_ms=start_ms,
                clock=clock,
                pattern=self.pattern,
            )
            for plan in CHAINS
        }
        # A large fleet moves at the rate of a middling one: the desk shows changes, not noise.
        self.slowness = max(1, math.isqrt(agents // 200))

    def chain(self, name: str) -> WorldChain:
        """One of base, xrpl and tron. Raises UnknownChainError."""
        if name not in self.chains:
            raise UnknownChainError(
                f"The demo has no chain {name!r}; it has {', '.join(self.chains)}."
            )
        return self.chains[name]

    @cached_property
    def agents(self) -> tuple[WorldAgent, ...]:
        """Everybody, by number."""
        return tuple(self._agent(number) for number in range(self.size))

    def _agent(self, number: int) -> WorldAgent:
        group, key = self.group(number), mix(self.seed, number + 1)
        tags = (*group.tags, REGIONS[key % len(OFFICES)], *(("canary",) if key % 29 == 0 else ()))
        addresses = {name: chain.written(number) for name, chain in self.chains.items()}
        return WorldAgent(f"agent-{number + 1:04d}", group.name, tags, addresses)

    def group(self, number: int) -> Group:
        """The group of an agent."""
        at = mix(self.seed ^ 0xA11CE, number) % 100
        for group in GROUPS:
            at -= group.share
            if at < 0:
                return group
        raise AssertionError("the shares of GROUPS are less than 100")

    def pattern(self, number: int, asset: WorldAsset) -> Pattern:
        """How that balance moves."""
        slot = ASSETS.index(asset)
        key = mix(mix(self.seed, number + 1), slot + 1)
        office = mix(self.seed, number + 1) % len(OFFICES)
        full = asset.target * (80 + mix(key, 1) % 80) // 100 * (1, 1, 1, 2, 5)[mix(key, 2) % 5]
        for incident in SCHEDULE:
            if (
                isinstance(incident, BalanceScript)
                and incident.agent == number
                and (incident.chain, incident.symbol) == (asset.chain, asset.symbol)
            ):
                return self._scripted(incident, key, full, asset, office)
        usual = self._usual(key, number, full, asset, office)
        if number == NO_GAS and asset.symbol == "ETH":
            return Emptied(usual, (self.start_ms - 5 * HOUR_MS) // 1000, asset.least)
        return usual

    def _usual(self, key: int, number: int, full: int, asset: WorldAsset, office: int) -> Pattern:
        luck = mix(key, 3) % 10_000
        pace = (20 + mix(key, 4) % 40 << mix(key, 5) % 5) * self.slowness  # 20 s to 16 min
        if luck < _EMPTIED_BELOW:
            hours_ago = 2 + mix(key, 6) % 70
            return Emptied(
                Idle(key, amount=full, unit=asset.unit),
                (self.start_ms - hours_ago * HOUR_MS) // 1000,
                asset.least,
            )
        if luck < _LOW_BELOW:
            top, low, days = asset.floor * 8 // 10, asset.floor // 4, 6
        elif luck < _HUNGRY_BELOW:
            top, low, days, pace = asset.target, asset.least, 1, max(20, pace // 8)
        else:
            top, low, days = full, max(asset.floor * 2, full * 3 // 10), 5 + key % 10
            group, share = self.group(number), mix(key, 7) % 100
            if share < group.traders:
                period = (6 + mix(key, 8) % 20) * self.slowness
                return Trader(key, middle=full, period=period, unit=asset.unit)
            if share >= group.traders + group.burners:
                return Idle(key, amount=full, unit=asset.unit)
        return Burner(
            key,
            top=top,
            low=low,
            period=pace,
            cycle=days * 86_400 // (4 if luck < _HUNGRY_BELOW else 1),
            unit=asset.unit,
            office=office,
        )

    def _scripted(
        self, script: BalanceScript, key: int, full: int, asset: WorldAsset, office: int
    ) -> Pattern:
        first = script.frames[0][1]
        top = full * first // 1000
        before = Burner(
            key,
            top=top,
            low=top * 6 // 10,
            period=97,
            cycle=9 * 86_400,
            unit=asset.unit,
            office=office,
        )
        start = self.start_ms // 1000
        at_start = before.amount(before.tick(moment_at(start)))
        return Scripted(
            before,
            script.frames,
            full=at_start * 1000 // first,
            start=start,
            period=ROUND_S,
            unit=asset.unit,
        )
