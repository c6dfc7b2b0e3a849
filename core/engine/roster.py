"""Agents and assets as this process last read them, and which of them changed since when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from core.balances.cache import BalanceCache
from core.balances.loading import load_registry
from core.balances.versions import ChangeLog, VersionCounter
from core.model import Agent, Asset, WalletState
from core.store.protocol import Store

_ASSETS = ""  # no agent has this name


class Roster:
    """The registry of one store. Loading it also gives the balances' cache its accounts."""

    def __init__(self, store: Store, cache: BalanceCache, counter: VersionCounter) -> None:
        self.agents: dict[str, Agent] = {}
        self.assets: dict[int, Asset] = {}
        self._store = store
        self._cache = cache
        self._log = ChangeLog[str](counter)
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Take the registry over, one at a time, and note what of it is new or different."""
        async with self._loading:
            registry = await load_registry(self._store, self._cache)
            agents = {agent.id: agent for agent in registry.agents}
            for name, agent in agents.items():
                if self.agents.get(name) != agent:
                    self._log.mark(name)
            assets = {asset.id: asset for asset in registry.assets}
            if assets != self.assets:
                self._log.mark(_ASSETS)
            self.agents, self.assets = agents, assets

    async def moved(self, names: Sequence[str], state: WalletState) -> None:
        """Agents are in another state; nothing else of the registry needs to be looked at."""
        async with self._loading:  # one that was read before the change must not come after it
            for name in names:
                self.agents[name] = msgspec.structs.replace(self.agents[name], state=state)
                self._log.mark(name)

    def changed_since(self, version: int) -> tuple[tuple[Agent, ...], tuple[Asset, ...]]:
        """Agents that changed after a version, and all assets where one of them did."""
        names = list(self._log.since(version))
        assets = tuple(self.assets.values()) if _ASSETS in names else ()
        return tuple(self.agents[name] for name in names if name != _ASSETS), assets
