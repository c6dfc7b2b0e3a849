"""What the rest of Bursar asks about balances: one, all of an agent, history, and news.

Answers come from the cache; what is too old is read anew through the sync worker. A figure that
cannot be read is an error with its reason, never 0.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from core.api import History, HistoryPoint
from core.balances.cache import BalanceCache
from core.balances.lane import CycleReport
from core.balances.loading import load_registry
from core.events import AgentBalanceChanged, AgentBalanceReverted, Bus, EventRecord
from core.model import Amount, BursarError, Clock, NoWallet
from core.store.protocol import HistoryRow, Store

_NEWS = (AgentBalanceChanged.TYPE, AgentBalanceReverted.TYPE)
_PAGE = 500


class BalanceUnknownError(BursarError):
    """The balance could not be read; the message says why."""


class AgentBalance(msgspec.Struct, frozen=True):
    """One balance of an agent: base units, the block it was read at, and when (ms). `token` is
    the symbol, `contract` None for the native coin."""

    agent_id: str
    chain: str
    token: str
    contract: str | None
    balance: Amount
    block: int
    last_updated: int


class BalanceTracker:
    """Balances by agent, chain and asset; an asset is named by symbol or contract."""

    def __init__(
        self,
        store: Store,
        cache: BalanceCache,
        bus: Bus,
        clock: Clock,
        read_now: Callable[[Sequence[str]], Awaitable[Sequence[CycleReport]]],
    ) -> None:
        """`read_now` reads chains at once (the sync worker's method of that name)."""
        self._store = store
        self._cache = cache
        self._bus = bus
        self._clock = clock
        self._read_now = read_now

    async def load(self) -> None:
        """Load the cache from the store: before the sync worker runs, and again whenever the
        registry (wallets, groups, tags, limits) was changed. Raises StoreError."""
        await load_registry(self._store, self._cache)

    async def get_balance(self, agent_id: str, chain: str, asset: str) -> int:
        """Base units, no older than the chain's interval: from the cache, else by a fresh read.
        Raises NoWallet, and BalanceUnknownError when the chain does not say."""
        amount = self._cache.cached(agent_id, chain, asset)
        if amount is not None:
            return amount
        account = self._account(agent_id, chain, asset)
        reports = await self._read_now((chain,))
        amount = self._cache.fresh_amount(account, self._clock.now_ms())
        if amount is not None:
            return amount
        why = self._cache.view(account).error or "; ".join(r.error for r in reports if r.error)
        raise BalanceUnknownError(
            f"The {asset} balance of agent {agent_id} on {chain} could not be read: "
            f"{why or 'no answer'}. The last known figure is kept; see the chain's endpoints."
        )

    async def get_all_balances(self, agent_id: str) -> list[AgentBalance]:
        """Every balance of the agent that was ever read, natives first, as last read; empty for
        an unknown agent."""
        balances = []
        for account in self._cache.accounts_of(agent_id):
            view = self._cache.view(account)
            if view.amount is None:
                continue
            asset = self._cache.assets[view.asset]
            state = self._cache.chain_state(view.chain)
            swept = not view.error and state.swept_ms >= view.checked_ms
            balances.append(
                AgentBalance(
                    agent_id,
                    view.chain,
                    asset.symbol,
                    asset.contract,
                    view.amount,
                    max(state.block, view.block) if swept else view.block,
                    state.swept_ms if swept else view.checked_ms,
                )
            )
        return balances

    async def get_balance_history(
        self, agent_id: str, chain: str, asset: str, start_ms: int, end_ms: int
    ) -> History:
        """Changes from `start_ms` to `end_ms`, ascending, the value standing at the start first
        (carried), and the times in which the chain was not read. Raises NoWallet."""
        account = self._account(agent_id, chain, asset)
        rows = await self._store.history(account, start_ms, end_ms)
        gaps = await self._store.gaps(chain, start_ms, end_ms)
        return History(carried(rows, start_ms), tuple(gaps))

    async def subscribe(self, after_seq: int | None = None) -> AsyncIterator[EventRecord]:
        """Every AGENT_BALANCE_CHANGED and AGENT_BALANCE_REVERTED stored after that sequence
        number (None: from now on), once and in order. A slow subscriber delays nobody: events
        wait for it in the store."""
        seq = await self._store.last_seq() if after_seq is None else after_seq
        while True:
            records = await self._store.events_after(seq, _PAGE)
            for record in records:
                seq = record.seq
                if record.type in _NEWS:
                    yield record
            if len(records) < _PAGE:
                await self._bus.wait_beyond(seq)

    def _account(self, agent_id: str, chain: str, asset: str) -> int:
        account = self._cache.find(agent_id, chain, asset)
        if account is not None:
            return account
        if not self._cache.accounts_of(agent_id):
            raise NoWallet(f"No wallet for agent {agent_id}")
        raise NoWallet(
            f"No wallet for agent {agent_id} that holds {asset} on {chain}; "
            "check the chain's name, and the asset's symbol or contract (a name that several "
            "assets share does not do)."
        )


def carried(rows: Sequence[HistoryRow], start_ms: int) -> tuple[HistoryPoint, ...]:
    """History rows as points; the one standing at the start is moved to it and marked."""
    return tuple(
        HistoryPoint(
            max(row.time_ms, start_ms), Amount(row.amount), row.block, row.time_ms < start_ms
        )
        for row in rows
    )


def sparkline(
    rows: Sequence[HistoryRow], start_ms: int, end_ms: int, buckets: int
) -> tuple[int | None, ...]:
    """The balance at the end of each of `buckets` equal slices of [start, end]; None before it
    is known. `rows` are one account's, ascending, with the one standing at the start."""
    values: list[int | None] = []
    at, value = 0, None
    for bucket in range(1, buckets + 1):
        until_ms = start_ms + (end_ms - start_ms) * bucket // buckets
        while at < len(rows) and rows[at].time_ms <= until_ms:
            value = rows[at].amount
            at += 1
        values.append(value)
    return tuple(values)
