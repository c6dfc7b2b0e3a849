"""The fleet as the desk arranges it: rows by account, filtered, sorted, counted.

`load` takes a whole state, `apply` a patch and answers which rows changed; `arrange` then brings
the order up to date, at most once a second and never while the cursor moves. A tick costs what
changed: nothing here walks all rows unless the order itself must change. Drawing is the table's.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core.api import AssetTotal, BalanceView, ChainState, EngineState, StatePatch
from core.model import Agent, Asset, ChainKind, Clock, Severity
from tui import query
from tui.fleet_order import FleetOrder, SortKey
from tui.fleet_row import ChainLine, FleetRow

ARRANGE_S = 1.0
"""Least seconds between two automatic re-sorts, and the rest after the cursor moved."""


LARGE = 5_000
"""Rows that the garbage collector does not walk, for keys wait meanwhile; no row is in a cycle."""


Tally = tuple[int, int, int]
"""How many rows of an agent are OK, a warning, a problem."""
NO_ROWS: Tally = (0, 0, 0)
_LOUDNESS = {Severity.OK: 0, Severity.WARNING: 1, Severity.PROBLEM: 2}


class FleetCounts(NamedTuple):
    """Agents by the worst severity among their rows."""

    agents: int
    ok: int
    warning: int
    problem: int


class SymbolTotal(NamedTuple):
    """The fleet's sum of one symbol over all chains, exact, in units of 10^-`decimals`."""

    symbol: str
    decimals: int
    amount: int
    unknown: int


class FleetModel:
    """Rows, their order, and what is counted over them. Not thread-safe; no I/O."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rows: dict[int, FleetRow] = {}
        self.agents: dict[str, Agent] = {}
        self.assets: dict[int, Asset] = {}
        self.chains: dict[str, ChainState] = {}
        self.now_ms = 0
        """The moment of the picture, taken by `tick`: ages, staleness and the filter are as of
        then, so that between two ticks nothing looks different but what a key touched."""
        self.is_frozen = False
        self.problems_only = False
        self.query = query.parse("")
        self._lines: dict[str, ChainLine] = {}
        self._totals: dict[int, AssetTotal] = {}
        self._version = 0
        self._per_agent: dict[str, Tally] = {}
        self._tallies: dict[Tally, Tally] = {}  # each once: agents are many, their counts few
        self._by_loudness = [0, 0, 0]
        self._order = FleetOrder(self.rows)
        self._touched: set[int] = set()
        self._reshaped = False
        self._rest_until = 0.0
        self._moves = 0  # of the cursor

    # --- what comes from the engine --------------------------------------------------------

    def tick(self) -> None:
        """Make now the moment of the picture. Once per tick, whether or not anything came."""
        self.now_ms = self.clock.now_ms()

    def load(self, state: EngineState) -> None:
        """Take a whole state in place of everything; filter, sort and freeze stay."""
        self.tick()
        self.rows.clear()
        self._lines.clear()
        self._per_agent.clear()
        self._by_loudness = [0, 0, 0]
        self._touched.clear()
        self.agents = {agent.id: agent for agent in state.agents}
        self.assets = {asset.id: asset for asset in state.assets}
        self.chains = {chain.name: chain for chain in state.chains}
        for agent in state.agents:
            self._per_agent[agent.id] = NO_ROWS
            self._by_loudness[0] += 1
        for chain in state.chains:
            self._lines[chain.name] = ChainLine(chain)
        self._version += 1
        for view in state.balances:
            self._add(view)
        self._totals = {total.asset: total for total in state.totals}
        self._reshaped = True
        self._rebuild()
        if len(self.rows) >= LARGE:
            gc.freeze()

    def apply(self, patch: StatePatch) -> set[int]:
        """Take a patch; answers the ids of rows whose shown text may have changed, removed ones
        included. Those leave the order at once; else it stays as it is until `arrange`."""
        dirty: set[int] = set()
        for chain in patch.chains:
            self.chains[chain.name] = chain
            self._line(chain.name).state = chain
        if patch.assets or patch.agents:
            self._take_registry(patch, dirty)
        rows = self.rows
        for view in patch.balances:
            row = rows.get(view.account)
            self._version += 1
            if row is None:
                self._add(view)
                self._reshaped = True
            else:
                if row.view.severity is not view.severity:
                    self._count(view.agent, row.view.severity, -1)
                    self._count(view.agent, view.severity, 1)
                row.view = view
                row.version = self._version
            dirty.add(view.account)
        for account in patch.removed:
            gone = rows.pop(account, None)
            if gone is not None:
                self._count(gone.agent, gone.severity, -1)
                dirty.add(account)
        if patch.totals is not None:
            self._totals = {total.asset: total for total in patch.totals}
        self._touched |= dirty
        if patch.removed:
            self._touched -= set(patch.removed)
            self._order.drop_removed()
        return dirty

    def _take_registry(self, patch: StatePatch, dirty: set[int]) -> None:
        for asset in patch.assets:
            self.assets[asset.id] = asset
        for agent in patch.agents:
            self.agents[agent.id] = agent
            if agent.id not in self._per_agent:
                self._per_agent[agent.id] = NO_ROWS
                self._by_loudness[0] += 1
        assets = {asset.id for asset in patch.assets}
        agents = {agent.id for agent in patch.agents}
        for account, row in self.rows.items():
            if row.asset.id in assets or row.agent in agents:
                row.asset = self.assets[row.asset.id]
                row.agent_view = self.agents.get(row.agent, row.agent_view)
                row.forget_words()
                self._version += 1
                row.version = self._version
                dirty.add(account)
        self._reshaped = self._reshaped or bool(assets)

    def _add(self, view: BalanceView) -> None:
        asset = self.assets.get(view.asset)
        if asset is None:  # a patch may bring the row before its registry entry: show raw units
            asset = Asset(view.asset, view.chain, f"#{view.asset}", "", 0)
        agent = self.agents.get(view.agent)
        if agent is None:
            agent = Agent(view.agent)
        self.rows[view.account] = FleetRow(
            view, asset, agent, self._line(view.chain), self._version
        )
        self._count(view.agent, view.severity, 1)

    def _line(self, chain: str) -> ChainLine:
        line = self._lines.get(chain)
        if line is None:
            state = self.chains.get(chain) or ChainState(chain, ChainKind.EVM)
            line = self._lines[chain] = ChainLine(state)
        return line

    # --- what is counted -------------------------------------------------------------------

    def _count(self, agent: str, severity: Severity, by: int) -> None:
        """One more or less row of that severity; the agent counts once, by its worst row."""
        counts = self._per_agent.get(agent)
        if counts is None:
            counts = NO_ROWS
            self._by_loudness[0] += 1
        self._by_loudness[_worst(counts)] -= 1
        new = list(counts)
        new[_LOUDNESS[severity]] += by
        found = (new[0], new[1], new[2])
        self._per_agent[agent] = self._tallies.setdefault(found, found)
        self._by_loudness[_worst(found)] += 1

    @property
    def counts(self) -> FleetCounts:
        """Agents in all and by worst severity."""
        ok, warning, problem = self._by_loudness
        return FleetCounts(ok + warning + problem, ok, warning, problem)

    def totals(self) -> list[SymbolTotal]:
        """The fleet's sums by symbol, over chains and decimals, exact; largest registries
        first by order of assets."""
        sums: dict[str, SymbolTotal] = {}
        for total in self._totals.values():
            asset = self.assets.get(total.asset)
            if asset is None:
                continue
            seen = sums.get(asset.symbol, SymbolTotal(asset.symbol, asset.decimals, 0, 0))
            decimals = max(seen.decimals, asset.decimals)
            amount = seen.amount * 10 ** (decimals - seen.decimals)
            amount += total.total * 10 ** (decimals - asset.decimals)
            sums[asset.symbol] = SymbolTotal(
                asset.symbol, decimals, amount, seen.unknown + total.unknown
            )
        return list(sums.values())

    # --- what an operator asks for ---------------------------------------------------------

    def set_filter(self, filter_text: str) -> None:
        """Show what matches. Raises query.QueryError, and then the old filter stands."""
        self.query = query.parse(filter_text)
        self._filter_all()

    def set_problems_only(self, problems_only: bool) -> None:
        """Hide rows whose severity is OK, on top of the filter."""
        self.problems_only = problems_only
        self._filter_all()

    def set_sort(self, sort: SortKey, is_reversed: bool = False) -> None:
        """Sort by that key; each has its natural direction, which `is_reversed` turns round."""
        self._order.sort = sort
        self._order.is_reversed = is_reversed
        self._rebuild()

    def set_frozen(self, is_frozen: bool) -> None:
        """Freeze the order: rows keep their places, new ones come last, until it is released."""
        self.is_frozen = is_frozen
        if not is_frozen:
            self._rebuild()

    def cursor_moved(self) -> None:
        """The cursor was moved: the order rests for a second."""
        self._moves += 1
        self._rest_until = max(self._rest_until, self.clock.monotonic() + ARRANGE_S)

    def next_problem(self, account: int | None, step: int = 1) -> int | None:
        """The next row (`step` -1: the previous) that is not OK, round the end; None if none."""
        size = len(self.order)
        start = self.position(account) if account is not None else None
        at = (-1 if step > 0 else size) if start is None else start
        for distance in range(1, size + 1):
            candidate = self.order[(at + step * distance) % size]
            if self.rows[candidate].view.severity is not Severity.OK:
                return candidate
        return None

    # --- order -----------------------------------------------------------------------------

    @property
    def order(self) -> Sequence[int]:
        """Account ids as shown: filtered and sorted. A new sequence whenever it changes."""
        return self._order.shown

    @property
    def order_version(self) -> int:
        """Counts changes of the order."""
        return self._order.version

    @property
    def sort(self) -> SortKey:
        """What rows are sorted by."""
        return self._order.sort

    @property
    def is_reversed(self) -> bool:
        """Whether that is against its natural direction."""
        return self._order.is_reversed

    @property
    def is_descending(self) -> bool:
        """The direction of the marker: largest, loudest or last first."""
        return self._order.is_descending

    def position(self, account: int) -> int | None:
        """Where a row stands in `order`; None where it is not shown."""
        return self._order.position(account)

    def arrange(self) -> bool:
        """`arranging` at once; True if the order changed."""
        before = self.order_version
        for _ in self.arranging():
            pass
        return self.order_version != before

    def arranging(self) -> Iterator[None]:
        """Bring the order up to date if it is due, in slices.

        Due is at most once a second and not within a second of the cursor's last move; a move
        between two slices puts it off too.
        """
        now = self.clock.monotonic()
        if now < self._rest_until:
            return
        ages_move = self.query.timely or self.sort is SortKey.CHECKED
        if not (self._touched or self._reshaped or ages_move):
            return
        self._rest_until = now + ARRANGE_S
        touched, self._touched = self._touched, set()
        if self.is_frozen:
            if self._reshaped:
                self._order.append_new()
        elif self._reshaped:
            self._rebuild()
        else:
            moves = self._moves
            found = yield from self._order.looking(tuple(self.rows) if ages_move else touched)
            if self._moves != moves:
                self._touched |= touched
            elif not self.is_frozen:
                self._order.move(found)

    def _rebuild(self) -> None:
        """Rank (if rows came or went), key, sort and filter every row."""
        if self._reshaped:
            self._order.rank(self.assets.values())
        self._reshaped = False
        self._touched = set()
        self._order.rebuild()

    def _filter_all(self) -> None:
        self._order.matches = self._matches if self.query or self.problems_only else None
        self._order.filter_all()

    def _matches(self, row: FleetRow) -> bool:
        if self.problems_only and row.view.severity is Severity.OK:
            return False
        return self.query.matches(row, self.now_ms)


def _worst(counts: Sequence[int]) -> int:
    return 2 if counts[2] else 1 if counts[1] else 0
