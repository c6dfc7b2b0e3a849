"""One chain's accounts as parallel lists, and what a reading changes about them.

The one idea: a reading of 30,000 balances is compared list against list, and only rows that
differ become objects. `compare` and `compare_fork` decide and change nothing; `apply` changes
and decides nothing, so that the store can say no in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from operator import ne
from typing import NamedTuple, overload

import msgspec

from core.api import BalanceView
from core.model import Account, Asset, Reading, Request
from core.store.protocol import StoredBalance


class Requests(Sequence[Request]):
    """What accounts ask a reader for, each made when it is looked at: a reader looks at a plan
    once and keeps what it worked out, and a fleet's requests would be one more copy of it."""

    __slots__ = ("_accounts", "_assets")

    def __init__(self, accounts: Sequence[Account], assets: Mapping[int, Asset]) -> None:
        self._accounts = accounts
        self._assets = {account.asset: assets[account.asset] for account in accounts}

    def __len__(self) -> int:
        return len(self._accounts)

    @overload
    def __getitem__(self, at: int) -> Request: ...

    @overload
    def __getitem__(self, at: slice) -> Requests: ...

    def __getitem__(self, at: int | slice) -> Request | Requests:
        if isinstance(at, slice):
            return Requests(self._accounts[at], self._assets)
        account = self._accounts[at]
        return Request(account.address, self._assets[account.asset])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Requests):
            return NotImplemented
        return self._accounts == other._accounts and self._assets == other._assets

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that compares by content


class Plan(msgspec.Struct, frozen=True):
    """The balances one reading asks for. The same plan is given again as long as the accounts
    stay the same, so that a reader can keep what it worked out for its `requests`."""

    accounts: tuple[int, ...]
    requests: Requests


class Replacement(NamedTuple):
    """A row whose amount is new. `told` is what store and events say so far (None: nothing)."""

    row: int
    told: int | None
    amount: int


class Fault(NamedTuple):
    """A row that could not be read, and why."""

    row: int
    reason: str


class Remark(NamedTuple):
    """A row whose mark or reserve is new."""

    row: int
    mark: str
    reserved: int


class Difference(NamedTuple):
    """What a reading changes, by row. `replacements` are amounts the store does not hold yet;
    `settled` are rows where a change that never reached the store has gone away again."""

    replacements: list[Replacement]
    settled: list[tuple[int, int]]
    faults: list[Fault]
    recovered: list[int]
    remarks: list[Remark]


class ChainBook:
    """All accounts of one chain. A row is an index into the lists."""

    def __init__(self, name: str, accounts: Sequence[Account], assets: Mapping[int, Asset]) -> None:
        size = len(accounts)
        self.name = name
        self.accounts = tuple(accounts)
        self.row_of = {account.id: row for row, account in enumerate(accounts)}
        self.plan = self._plan(self.accounts, assets)
        self._planned: Sequence[int] | None = None  # the accounts known to be this plan's
        self.amounts: list[int | None] = [None] * size
        self._all_known = False  # True: no amount is None, and none becomes so again
        self.blocks = [0] * size  # of the last change
        self.first_seen_ms = [0] * size
        self.changed_ms = [0] * size
        self.checked_ms = [0] * size  # of each row alone; see `checked`
        self.errors = [0] * size
        self.views: list[BalanceView | None] = [None] * size  # as last shown; the cache's to fill
        self.moving = bytearray(size)  # 1: the view may change by time alone
        self.marks: dict[int, str] = {}
        self.reserved: dict[int, int] = {}
        self.faults: dict[int, tuple[str, int]] = {}  # row -> reason, since ms
        self.untold: dict[int, int | None] = {}  # row -> amount in the store, where it is older
        self.swept_ms = 0

    @staticmethod
    def _plan(accounts: Sequence[Account], assets: Mapping[int, Asset]) -> Plan:
        return Plan(tuple(account.id for account in accounts), Requests(accounts, assets))

    def plan_for(
        self, accounts: Sequence[int], whole: bool, assets: Mapping[int, Asset]
    ) -> Plan | None:
        """The plan that reads these accounts, None when one is not in the book (the registry
        grew since it was loaded)."""
        if accounts is self._planned:
            return self.plan
        if whole and len(accounts) == len(self.accounts):
            if not all(map(self.row_of.__contains__, accounts)):
                return None
            self._planned = accounts  # the store answers the same ones until something changes
            return self.plan
        try:
            chosen = [self.accounts[self.row_of[account]] for account in accounts]
        except KeyError:
            return None
        return self._plan(chosen, assets)

    def restore(self, row: int, stored: StoredBalance) -> None:
        """Take over what the store remembers of a row."""
        self.amounts[row] = stored.amount
        self._all_known = False
        self.blocks[row] = stored.block
        self.first_seen_ms[row] = stored.first_seen_ms
        self.changed_ms[row] = stored.changed_ms
        self.checked_ms[row] = stored.checked_ms
        self.errors[row] = stored.errors
        if stored.mark:
            self.marks[row] = stored.mark
        if stored.reserved:
            self.reserved[row] = stored.reserved
        if stored.error:
            self.faults[row] = (stored.error, stored.error_ms)

    def all_move(self) -> None:
        """Every view may change by time alone."""
        self.moving[:] = b"\1" * len(self.moving)

    def forget_row(self, row: int) -> None:
        """Drop what only some rows have."""
        for sparse in (self.marks, self.reserved, self.faults, self.untold):
            sparse.pop(row, None)

    def adopt(self, row: int, other: ChainBook) -> bool:
        """Take over a row of a book this one replaces, if that one has its account."""
        other_row = other.row_of.get(self.accounts[row].id)
        if other_row is None:
            return False
        self.amounts[row] = other.amounts[other_row]
        self._all_known = False
        self.blocks[row] = other.blocks[other_row]
        self.first_seen_ms[row] = other.first_seen_ms[other_row]
        self.changed_ms[row] = other.changed_ms[other_row]
        self.checked_ms[row] = other.checked(other_row)
        self.errors[row] = other.errors[other_row]
        self.views[row] = other.views[other_row]
        self.moving[row] = other.moving[other_row]
        for mine, theirs in (
            (self.marks, other.marks),
            (self.reserved, other.reserved),
            (self.faults, other.faults),
            (self.untold, other.untold),
        ):
            if other_row in theirs:
                mine[row] = theirs[other_row]  # type: ignore[assignment]
        return True

    def checked(self, row: int) -> int:
        """When the row was last read, ms; a sweep stamps all rows without a fault at once."""
        if row in self.faults or self.amounts[row] is None:
            return self.checked_ms[row]
        return max(self.checked_ms[row], self.swept_ms)

    def unread(self) -> int:
        """How many rows have no good last reading."""
        never = 0 if self._all_known else self.amounts.count(None)
        self._all_known = not never
        return never + sum(self.amounts[row] is not None for row in self.faults)

    def compare(self, plan: Plan, reading: Reading) -> Difference:
        """What the reading changes. Touches nothing."""
        amounts = list(reading.amounts)
        if plan is self.plan:
            rows: Sequence[int | None] = range(len(amounts))
            cached = self.amounts
        else:  # a part, or a plan from before the registry changed
            rows = [self.row_of.get(account) for account in plan.accounts]
            amounts = [None if row is None else a for row, a in zip(rows, amounts, strict=True)]
            cached = [None if row is None else self.amounts[row] for row in rows]
        replacements: list[Replacement] = []
        settled: list[tuple[int, int]] = []
        differing = list(compress(range(len(amounts)), map(ne, amounts, cached)))
        for index in differing:
            row, new = rows[index], amounts[index]
            if new is not None and row is not None:
                told = self.untold.get(row, cached[index])
                if told == new:
                    settled.append((row, new))
                else:
                    replacements.append(Replacement(row, told, new))
        if self.untold:
            for row, new, old in zip(rows, amounts, cached, strict=True):
                if row is not None and row in self.untold and new is not None and new == old:
                    replacements.append(Replacement(row, self.untold[row], new))
        faults: list[Fault] = []
        # Where every row has a figure, a row without one now is among those that differ.
        if not self._all_known or any(amounts[index] is None for index in differing):
            faults = [
                Fault(row, reading.reasons.get(index, "not read"))
                for index, (row, new) in enumerate(zip(rows, amounts, strict=True))
                if new is None and row is not None
            ]
        return Difference(
            replacements,
            settled,
            faults,
            self._recovered(plan, rows, amounts),
            self._remarks(plan, rows, amounts, reading),
        )

    def _recovered(
        self, plan: Plan, rows: Sequence[int | None], amounts: Sequence[int | None]
    ) -> list[int]:
        if not self.faults:
            return []
        if plan is self.plan:
            return [row for row in self.faults if amounts[row] is not None]
        return [
            row
            for row, amount in zip(rows, amounts, strict=True)
            if row in self.faults and amount is not None and row is not None
        ]

    def _remarks(
        self,
        plan: Plan,
        rows: Sequence[int | None],
        amounts: Sequence[int | None],
        reading: Reading,
    ) -> list[Remark]:
        marks, reserved = reading.marks, reading.reserved
        if plan is self.plan:
            if marks == self.marks and reserved == self.reserved:
                return []
            indexes = marks.keys() | reserved.keys() | self.marks.keys() | self.reserved.keys()
        elif marks or reserved or self.marks or self.reserved:
            indexes = set(range(len(rows)))
        else:
            return []
        remarks = []
        for index in sorted(indexes):
            row = rows[index]
            if row is None or amounts[index] is None:
                continue
            remark = Remark(row, marks.get(index, ""), reserved.get(index, 0))
            if (remark.mark, remark.reserved) != (
                self.marks.get(row, ""),
                self.reserved.get(row, 0),
            ):
                remarks.append(remark)
        return remarks

    def apply(
        self, plan: Plan, reading: Reading, difference: Difference, *, time_ms: int, told: bool
    ) -> None:
        """Take a difference over. `told` says that the store has it; else what the store holds is
        remembered, and the next reading that reaches it reports the change from there."""
        for row, _ in difference.faults:
            self.checked_ms[row] = self.checked(row)
        for row in difference.recovered:
            del self.faults[row]
        block = reading.block.number
        for row, old, amount in difference.replacements:
            if told:
                self.untold.pop(row, None)
            else:
                self.untold[row] = old
            if not self.first_seen_ms[row]:
                self.first_seen_ms[row] = time_ms
            self.amounts[row] = amount
            self.blocks[row] = block
            self.changed_ms[row] = time_ms
        for row, amount in difference.settled:
            self.untold.pop(row, None)
            self.amounts[row] = amount
        for row, mark, reserved in difference.remarks:
            self.marks.pop(row, None)
            self.reserved.pop(row, None)
            if mark:
                self.marks[row] = mark
            if reserved:
                self.reserved[row] = reserved
        for row, reason in difference.faults:
            self.errors[row] += 1
            self.faults[row] = (reason, time_ms)
        for sparse in (self.faults, self.untold):
            if not sparse:
                sparse.clear()  # one that held the whole fleet gives its room back
        if plan is self.plan and not self.faults:
            self.amounts = list(reading.amounts)  # equal; but the reader's ints, not as many more
        self._stamp(plan, time_ms)

    def _stamp(self, plan: Plan, time_ms: int) -> None:
        """Note when rows were read: one figure for a whole sweep, each row for a part."""
        if plan is self.plan:
            self.swept_ms = time_ms
            return
        for account in plan.accounts:
            row = self.row_of.get(account)
            if row is not None and row not in self.faults:
                self.checked_ms[row] = time_ms
        good = (at for row, at in enumerate(self.checked_ms) if row not in self.faults)
        self.swept_ms = max(self.swept_ms, min(good, default=0))
