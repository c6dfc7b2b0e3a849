"""Fills the cache from the store: registry and last balances at once, history by and by."""

from __future__ import annotations

from core.balances.cache import BalanceCache
from core.balances.trend import DAY_MS
from core.clock import give_way
from core.model import Clock
from core.store.protocol import Registry, Store

_SLICE = 100  # rows: about a millisecond


async def load_registry(store: Store, cache: BalanceCache) -> Registry:
    """Take over the registry as it stands; rows new to the cache start from what the store last
    knew of them, so that a change while nothing ran is a change. Rows that look different under
    a new group or limit are marked changed. Answers the registry. Raises StoreError."""
    registry = await store.registry()
    stored = await store.balances()
    cache.load(registry, stored)
    accounts = [account.id for account in registry.accounts]
    await reconsider(cache, accounts)
    return registry


async def reconsider(cache: BalanceCache, accounts: list[int]) -> None:
    """Look at rows again in slices that do not hold up the loop."""
    for start in range(0, len(accounts), _SLICE):
        cache.reconsider(accounts[start : start + _SLICE])
        await give_way()


async def rebuild(cache: BalanceCache) -> None:
    """Make the views that changed, in slices, before a desk asks for all of them at once."""
    left = cache.rebuild(_SLICE)
    while left:
        await give_way()
        left = cache.rebuild(_SLICE)


async def build(cache: BalanceCache) -> None:
    """Make the views of all rows, in slices, before somebody starts from all of them."""
    for chain in cache.chains:
        accounts = cache.book(chain).accounts
        for start in range(0, len(accounts), _SLICE):
            for account in accounts[start : start + _SLICE]:
                cache.view(account.id)
            await give_way()
            if cache.book(chain).accounts is not accounts:
                return  # the registry was loaded anew: what is missing is made when asked for


async def load_past(store: Store, cache: BalanceCache, clock: Clock) -> None:
    """Give every account that changed within a day its trend, one query each, so that memory
    stays flat however long the history is. Raises StoreError."""
    now_ms = clock.now_ms()
    for account in cache.changed_after(now_ms - DAY_MS):
        rows = await store.history(account, now_ms - DAY_MS, clock.now_ms())
        cache.remember_past(account, [(row.time_ms, row.amount) for row in rows])
