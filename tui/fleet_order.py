"""The order of the fleet: which rows are shown and in which sequence, at the cost of what changed.

A change is taken over in two steps. Looking makes the sort keys and asks the filter about the rows
concerned, in slices, so that keys pressed meanwhile wait for one slice and no more. Moving then
puts the rows whose key differs into their new places, all at once. When to do either is the
model's affair.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from core.model import Asset, Severity, WalletState
from tui.fleet_row import FleetRow

SLICE = 500
"""Rows looked at between two turns of the loop: about a millisecond."""

FEW = 500
"""Rows that are put in their places one by one; more are merged in, which looks at all rows."""


class SortKey(StrEnum):
    """What rows can be sorted by; the values are the keys of the table's columns."""

    SEVERITY = "severity"
    AGENT = "agent"
    CHAIN = "chain"
    ASSET = "asset"
    BALANCE = "balance"
    CHANGE = "change"
    RUNWAY = "runway"
    STATE = "state"
    CHECKED = "checked"


_DESCENDING = frozenset({SortKey.SEVERITY, SortKey.BALANCE})
_LOUDNESS = {Severity.OK: 0, Severity.WARNING: 1, Severity.PROBLEM: 2}
_LIFE = {state: rank for rank, state in enumerate(WalletState)}
_DIGITS = re.compile(r"(\d+)")

_UNKNOWN = 1 << 600
"""Above every value: amounts are below 2^256, scaled to at most 77 decimals."""

Value = Callable[[FleetRow], int | None]
Matches = Callable[[FleetRow], bool]


class Looked(NamedTuple):
    """What looking found: the new keys of rows whose key differs, the rows that enter or leave
    the filter, and the key and the members that this was found against."""

    keys: dict[int, int]
    flipped: set[int]
    key: Callable[[FleetRow], int]
    members: set[int] | None


class FleetOrder:
    """Account ids of `rows`, filtered and sorted. `rows` is the model's own mapping; the rank and
    the key of a row stand in the row."""

    def __init__(self, rows: Mapping[int, FleetRow]) -> None:
        self.shown: list[int] = []
        """As shown. A new list whenever it changes."""
        self.version = 0
        self.sort = SortKey.SEVERITY
        self.is_reversed = False
        self.matches: Matches | None = None
        """Whether a row is shown; None shows all. Call `filter_all` after another was set."""
        self._rows = rows
        self._sorted: list[int] = []
        self._members: set[int] | None = None
        self._rank_bits = 0
        self._chains: dict[str, int] = {}
        self._symbols: dict[str, int] = {}
        self._powers: dict[int, int] = {}
        self._key = self._key_of()

    @property
    def is_descending(self) -> bool:
        """The direction of the marker: largest, loudest or last first."""
        return (self.sort in _DESCENDING) is not self.is_reversed

    def position(self, account: int) -> int | None:
        """Where a row stands in `shown`; None where it is not shown."""
        try:
            return self.shown.index(account)
        except ValueError:
            return None

    # --- all rows --------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Key, sort and filter every row: another sort was chosen, or rows came or went."""
        key = self._key = self._key_of()
        for row in self._rows.values():
            row.key = key(row)
        self._sorted = sorted(self._rows, key=self._key_at)
        self.filter_all()

    def filter_all(self) -> None:
        """Ask the filter about every row."""
        matches = self.matches
        self._members = None
        if matches is not None:
            self._members = {account for account, row in self._rows.items() if matches(row)}
        self._show()

    def append_new(self) -> None:
        """Put rows that came at the end: the others keep their places."""
        known = set(self._sorted)
        fresh = [account for account in self._rows if account not in known]
        self._sorted += fresh
        if self._members is not None and self.matches is not None:
            matches = self.matches
            self._members.update(each for each in fresh if matches(self._rows[each]))
        self._show()

    def drop_removed(self) -> None:
        """Let go of rows that are gone, and leave the others where they are."""
        self._sorted = [account for account in self._sorted if account in self._rows]
        if self._members is not None:
            self._members = self._members & self._rows.keys()
        self._show()

    def rank(self, assets: Iterable[Asset]) -> None:
        """Rank rows by agent, chain and symbol: the order within equals, whatever the sort."""
        rows = self._rows
        known = list(assets)
        by_name = sorted({row.view.agent for row in rows.values()}, key=_natural)
        agents = {agent: rank for rank, agent in enumerate(by_name)}
        self._chains = _ranks(row.chain for row in rows.values())
        self._symbols = _ranks(asset.symbol for asset in known)
        chains = self._chains
        ranked = sorted(
            (agents[row.view.agent], chains[row.view.chain], account)
            for account, row in rows.items()
        )
        for rank, (_, _, account) in enumerate(ranked):
            rows[account].rank = rank
        self._rank_bits = len(ranked).bit_length()
        scale = max((asset.decimals for asset in known), default=0)
        self._powers = {
            decimals: 10 ** (scale - decimals)
            for decimals in {0} | {asset.decimals for asset in known}
        }

    # --- some rows -------------------------------------------------------------------------

    def looking(self, accounts: Collection[int]) -> Generator[None, None, Looked]:
        """Look at these rows, in slices; nothing is changed, rows may change meanwhile."""
        rows, key = self._rows, self._key
        found = Looked({}, set(), key, self._members)
        members, matches = self._members, self.matches
        waiting = iter(accounts)
        while part := list(islice(waiting, SLICE)):
            for account in part:
                row = rows.get(account)
                if row is None:
                    continue
                new = key(row)
                if row.key != new:
                    found.keys[account] = new
                if members is None or matches is None:
                    continue
                if matches(row) is not (account in members):
                    found.flipped.add(account)
            yield
        return found

    def move(self, found: Looked) -> None:
        """Put what was looked at in its places. What was found against another sort or filter
        than the present one is left out: they looked at every row themselves."""
        if found.key is not self._key:
            return
        keys = {account: key for account, key in found.keys.items() if account in self._rows}
        if keys:
            for account, key in keys.items():
                self._rows[account].key = key
            stay = [account for account in self._sorted if account not in keys]
            if len(keys) <= FEW:
                for account in keys:
                    insort(stay, account, key=self._key_at)
            else:  # two runs, each in order: the sort only has to merge them
                stay += sorted(keys, key=keys.__getitem__)
                stay.sort(key=self._key_at)
            self._sorted = stay
        flipped = set()
        if self._members is not None and found.members is self._members:
            flipped = found.flipped & self._rows.keys()
            self._members ^= flipped
        if keys or flipped:
            self._show()

    def _show(self) -> None:
        members = self._members
        shown = (
            self._sorted.copy()
            if members is None
            else [account for account in self._sorted if account in members]
        )
        if shown != self.shown:
            self.shown = shown
            self.version += 1

    # --- keys ------------------------------------------------------------------------------

    def _key_at(self, account: int) -> int:
        return self._rows[account].key

    def _key_of(self) -> Callable[[FleetRow], int]:
        """One integer: the value with the direction's sign (unknown last), and below it the rank.
        So balances of any decimals compare exactly, and a fleet's keys are small."""
        value, bits, sign = self._value_of(), self._rank_bits, -1 if self.is_descending else 1

        def key(row: FleetRow) -> int:
            found = value(row)
            above = (_UNKNOWN if found is None else sign * found) << bits
            return above + row.rank if above else row.rank  # most: the rank's own int

        return key

    def _value_of(self) -> Value:
        """What the present sort compares."""
        powers = self._powers
        chains, symbols = self._chains, self._symbols

        def scaled(amount: int | None, decimals: int) -> int | None:
            return None if amount is None else int(amount) * powers.get(decimals, 1)

        values: dict[SortKey, Value] = {
            SortKey.SEVERITY: lambda row: _LOUDNESS[row.view.severity],
            SortKey.AGENT: lambda row: row.rank,
            SortKey.CHAIN: lambda row: chains.get(row.view.chain),
            SortKey.ASSET: lambda row: symbols.get(row.asset.symbol),
            SortKey.BALANCE: lambda row: scaled(row.view.amount, row.asset.decimals),
            SortKey.CHANGE: lambda row: scaled(row.view.change_1h, row.asset.decimals),
            SortKey.RUNWAY: lambda row: row.view.runway_s,
            SortKey.STATE: lambda row: _LIFE[row.state],
            SortKey.CHECKED: lambda row: row.checked_ms,
        }
        return values[self.sort]


def _natural(name: str) -> tuple[str | int, ...]:
    """`agent-2` before `agent-10`: runs of digits compare as numbers."""
    parts = _DIGITS.split(name.lower())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def _ranks(names: Iterable[str]) -> dict[str, int]:
    return {name: rank for rank, name in enumerate(sorted(set(names)))}
