"""Every balance of the fleet in memory: rows, views, versions, totals, chain states, trends.

One idea: what the store knows is loaded once, every reading is a difference to it, and a view
is made when somebody asks for a row that changed. It does no I/O and waits for nothing; the
sync worker feeds it, the tracker answers from it. Used from one event loop only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, islice

import msgspec

from core.api import AssetTotal, BalanceView, ChainState
from core.balances.book import ChainBook, Difference, Plan
from core.balances.chain_state import ChainWatch
from core.balances.names import AccountNames
from core.balances.severity import Limits
from core.balances.trend import DAY_MS, Trend
from core.balances.versions import ChangeLog, VersionCounter
from core.balances.view import ProblemRules, build_view
from core.events import ChainStateChanged
from core.model import Account, Agent, Amount, Asset, Clock, EndpointHealth, Reading
from core.store.protocol import Registry, StoredBalance


class Changes(msgspec.Struct, frozen=True):
    """What changed after a version, as a `StatePatch` carries it."""

    version: int
    balances: tuple[BalanceView, ...]
    removed: tuple[int, ...]
    chains: tuple[ChainState, ...]
    totals: tuple[AssetTotal, ...] | None
    endpoints: tuple[EndpointHealth, ...] | None


class BalanceCache:
    """The balances as last read. Amounts are base units, times ms since the epoch."""

    def __init__(
        self,
        clock: Clock,
        intervals_ms: Mapping[str, int],
        rules: ProblemRules | None = None,
        counter: VersionCounter | None = None,
    ) -> None:
        self.counter = counter or VersionCounter()
        self._clock = clock
        self._intervals_ms = intervals_ms
        self._rules = rules or ProblemRules()
        self._chains: dict[str, ChainWatch] = {}
        self._agents: dict[str, Agent] = {}
        self._assets: dict[int, Asset] = {}
        self._limits = Limits()
        self._names = AccountNames((), {})
        self._unbuilt: dict[int, None] = {}
        self._trends: dict[int, Trend] = {}
        self._totals: dict[int, AssetTotal] = {}
        self._rows_log = ChangeLog[int](self.counter)
        self._removed_log = ChangeLog[int](self.counter)
        self._chain_log = ChangeLog[str](self.counter)
        self._whole_log = ChangeLog[str](self.counter)

    # --- registry ---------------------------------------------------------------------------

    def load(self, registry: Registry, stored: Iterable[StoredBalance]) -> list[int]:
        """Take a registry over: at start, and again whenever it changed. Rows already followed
        keep what they know; answers the accounts that are new here."""
        now_ms = self._clock.now_ms()
        self._agents = {agent.id: agent for agent in registry.agents}
        self._assets = {asset.id: asset for asset in registry.assets}
        self._limits = Limits(registry.limits)
        chains = [chain for chain in registry.chains if chain.is_active]
        by_chain: dict[str, list[Account]] = {chain.name: [] for chain in chains}
        for account in registry.accounts:
            by_chain[account.chain].append(account)
        before = [chain.book for chain in self._chains.values()]
        added: list[int] = []
        for chain in chains:
            accounts = by_chain[chain.name]
            known = self._chains.get(chain.name)
            book = ChainBook(chain.name, accounts, self._assets)
            if known is not None and known.book.plan == book.plan:
                book.plan = known.book.plan  # the same object: the reader knows it
            for row, account in enumerate(accounts):
                if not any(book.adopt(row, old) for old in before):
                    added.append(account.id)
            if known is None:
                interval_ms = self._intervals_ms[chain.name]
                state = ChainState(name=chain.name, kind=chain.kind, interval_ms=interval_ms)
                self._chains[chain.name] = known = ChainWatch(book, state, now_ms)
            known.book = book
        for name in self._chains.keys() - by_chain.keys():
            del self._chains[name]
        fresh = set(added)
        for balance in stored:
            if balance.account in fresh:
                book = self._book_of(balance.account)
                book.restore(book.row_of[balance.account], balance)
        for old in before:
            for account_id in old.row_of:
                if self._holder(account_id) is None:
                    self._forget(account_id)
        self._index(added)
        return added

    def _holder(self, account: int) -> ChainBook | None:
        """The book that has the account; chains are few, so there is no index of accounts."""
        for chain in self._chains.values():
            if account in chain.book.row_of:
                return chain.book
        return None

    def _book_of(self, account: int) -> ChainBook:
        """The book that has the account. Raises KeyError for one that is not followed."""
        book = self._holder(account)
        if book is None:
            raise KeyError(account)
        return book

    def _forget(self, account: int) -> None:
        self._trends.pop(account, None)
        self._rows_log.forget(account)
        self._removed_log.mark(account)

    def _index(self, added: Sequence[int]) -> None:
        """Rebuild what is derived from the registry. Rows that were there before may look
        different too (a group, a limit): `reconsider` finds out."""
        self._names = AccountNames(
            [account for chain in self._chains.values() for account in chain.book.accounts],
            self._assets,
        )
        sums: dict[int, list[int]] = {asset: [0, 0, 0] for asset in self._assets}
        for name, chain in self._chains.items():
            book = chain.book
            for row, account in enumerate(book.accounts):
                amount = book.amounts[row]
                total = sums[account.asset]
                total[0] += amount or 0
                total[1 if amount is not None else 2] += 1
                if row in book.faults:
                    book.moving[row] = True
            chain.state = msgspec.structs.replace(
                chain.state, accounts=len(book.accounts), unknown=book.unread()
            )
            self._chain_log.mark(name)
        self._totals = {
            asset: AssetTotal(asset, Amount(total), known, unknown)
            for asset, (total, known, unknown) in sums.items()
        }
        self._whole_log.mark("totals")
        for account_id in added:
            self._removed_log.forget(account_id)
            self._changed(account_id)

    # --- answers ----------------------------------------------------------------------------

    @property
    def chains(self) -> tuple[str, ...]:
        """The names of all chains."""
        return tuple(self._chains)

    @property
    def assets(self) -> Mapping[int, Asset]:
        """All assets by id."""
        return self._assets

    def book(self, chain: str) -> ChainBook:
        """The chain's rows; KeyError for a chain that is not in the registry."""
        return self._chains[chain].book

    def find(self, agent: str, chain: str, asset: str) -> int | None:
        """The account of an agent by symbol or contract (case does not count). None when there
        is none, or when several are meant (an XRPL issuer of two currencies)."""
        return self._names.find(agent, chain, asset)

    def find_told(self, agent: str, chain: str, token: str, contract: str | None) -> int | None:
        """The account an event speaks of; a symbol may have been renamed since."""
        return self._names.find_told(agent, chain, token, contract)

    def accounts_of(self, agent: str) -> Sequence[int]:
        """The agent's accounts, natives first; empty for an unknown agent."""
        return [account.id for account in self._names.of(agent)]

    def cached(self, agent: str, chain: str, asset: str) -> int | None:
        """The amount an asker may have without a reading: `find` and then `fresh_amount`."""
        account = self.find(agent, chain, asset)
        if account is None:
            return None
        return self._fresh(self._chains[chain].book, account, self._clock.now_ms())

    def fresh_amount(self, account: int, now_ms: int) -> int | None:
        """The amount if its row was read well within the last interval, else None."""
        return self._fresh(self._book_of(account), account, now_ms)

    def _fresh(self, book: ChainBook, account: int, now_ms: int) -> int | None:
        row = book.row_of[account]
        if row in book.faults:
            return None
        if now_ms - max(book.swept_ms, book.checked_ms[row]) >= self._intervals_ms[book.name]:
            return None
        return book.amounts[row]

    def agent(self, agent: str) -> Agent | None:
        """The agent as registered."""
        return self._agents.get(agent)

    def view(self, account: int) -> BalanceView:
        """The row as a desk shows it; kept until it changes."""
        book = self._book_of(account)
        row = book.row_of[account]
        view = book.views[row]
        if view is None:
            view = book.views[row] = self._look(book, row, self._clock.now_ms(), None)
            self._unbuilt.pop(account, None)
        return view

    def _look(
        self, book: ChainBook, row: int, now_ms: int, kept: BalanceView | None
    ) -> BalanceView:
        account = book.accounts[row]
        asset = self._assets[account.asset]
        chain = self._chains[book.name]
        unread_ms = now_ms - max(book.checked(row), chain.started_ms)
        return build_view(
            book,
            row,
            asset,
            self._limits.of(self._agents[account.agent], asset),
            self._trends.get(account.id),
            self._rules,
            unread_ms // chain.state.interval_ms,
            now_ms,
            kept,
        )

    def views(self) -> tuple[BalanceView, ...]:
        """Every row. Rows that fail carry the present count of errors."""
        now_ms = self._clock.now_ms()
        for chain in self._chains.values():
            book = chain.book
            for row in book.faults:
                book.views[row] = None
            for row, view in enumerate(book.views):
                if view is None:
                    book.views[row] = self._look(book, row, now_ms, None)
        self._unbuilt = {}
        return tuple(
            view for chain in self._chains.values() for view in chain.book.views if view is not None
        )

    def chain_state(self, chain: str) -> ChainState:
        """The chain as a desk shows it."""
        return self._chains[chain].state

    def chain_states(self) -> tuple[ChainState, ...]:
        """All chains, in the registry's order."""
        return tuple(chain.state for chain in self._chains.values())

    def totals(self) -> tuple[AssetTotal, ...]:
        """The fleet's sum of each asset."""
        return tuple(self._totals.values())

    def endpoints(self) -> tuple[EndpointHealth, ...]:
        """Every endpoint as last reported, chain by chain."""
        return tuple(e for chain in self._chains.values() for e in chain.endpoints)

    def changed_since(self, version: int) -> Changes:
        """What is new after `version`; its cost is what changed."""
        whole = self._whole_log.since(version)
        return Changes(
            self.counter.value,
            tuple(map(self.view, self._rows_log.since(version))),
            tuple(self._removed_log.since(version)),
            tuple(self._chains[name].state for name in self._chain_log.since(version)),
            self.totals() if "totals" in whole else None,
            self.endpoints() if "endpoints" in whole else None,
        )

    def changed_accounts(self, version: int) -> list[int]:
        """The rows among that, without making their views."""
        return self._rows_log.since(version)

    # --- readings ---------------------------------------------------------------------------

    def apply(
        self,
        chain: str,
        plan: Plan,
        reading: Reading,
        difference: Difference,
        *,
        time_ms: int,
        seconds: float,
        told: bool,
        retaken: Mapping[int, int],
    ) -> None:
        """Take a reading over after the store had its say (`told`). `retaken` are rows whose
        history from that time on was undone by a reorganisation."""
        known = self._chains[chain]
        book = known.book
        touched: set[int] = {row for row, _ in difference.settled}
        touched.update(row for row, _, _ in difference.remarks)
        touched.update(difference.recovered)
        touched.update(
            row for row, reason in difference.faults if book.faults.get(row, ("", 0))[0] != reason
        )
        was_unread = known.shown_unread
        new_rows = [r.row for r in difference.replacements] + [row for row, _ in difference.settled]
        before = [(row, book.amounts[row], book.changed_ms[row]) for row in new_rows]
        book.apply(plan, reading, difference, time_ms=time_ms, told=told)
        for row, from_ms in retaken.items():
            trend = self._trends.get(book.accounts[row].id)
            if trend is not None:
                trend.take_back(from_ms)
        for row, old, since_ms in before:
            self._moved(book, row, old, since_ms, time_ms)
            touched.add(row)
        for row, _ in difference.faults:
            book.moving[row] = True
        for row in touched:
            self._changed(book.accounts[row].id)
        if was_unread:
            known.shown_unread = False
            book.all_move()
        known.note(
            reading,
            time_ms,
            swept_ms=book.swept_ms,
            unknown=book.unread(),
            changed=len(difference.replacements),
            seconds=seconds,
        )
        self._chain_log.mark(chain)

    def _moved(
        self, book: ChainBook, row: int, old: int | None, since_ms: int, time_ms: int
    ) -> None:
        """Follow one amount (`old` stood since `since_ms`) into its trend and asset's total."""
        account, new = book.accounts[row], book.amounts[row] or 0
        trend = self._trends.get(account.id)
        if trend is not None:
            trend.add(time_ms, new)
        elif old is not None:  # a first reading needs no record: it stands since it was read
            self._trends[account.id] = Trend(((since_ms, old), (time_ms, new)))
        book.moving[row] = True
        total = self._totals[account.asset]
        self._totals[account.asset] = AssetTotal(
            account.asset,
            Amount(total.total + new - (old or 0)),
            total.known + (old is None),
            total.unknown - (old is None),
        )
        self._whole_log.mark("totals")

    def absorb(self, stored: Iterable[StoredBalance]) -> None:
        """Take over what other workers on the same store have read since."""
        for balance in stored:
            book = self._holder(balance.account)
            row = book.row_of[balance.account] if book is not None else 0
            if book is None or balance.checked_ms <= book.checked(row):
                continue
            old, since_ms = book.amounts[row], book.changed_ms[row]
            book.forget_row(row)
            book.restore(row, balance)
            if balance.amount != old:
                self._moved(book, row, old, since_ms, balance.changed_ms)
            self._changed(balance.account)

    def fail(self, chain: str, accounts: Sequence[int], reason: str, time_ms: int) -> None:
        """A reading did not come about: the rows keep their figures, with the reason."""
        fault = (reason, time_ms)
        known = self._chains[chain]
        book = known.book
        for account in accounts:
            row = book.row_of.get(account)
            if row is None:
                continue
            book.checked_ms[row] = book.checked(row)
            book.errors[row] += 1
            if book.faults.get(row, ("", 0))[0] != reason:
                self._changed(account)
            book.faults[row] = fault
        known.fail(reason, book.unread())
        self._chain_log.mark(chain)

    def judge_chain(self, chain: str, now_ms: int) -> ChainStateChanged | None:
        """Look at the chain as of now; the event to report if its state changed."""
        known = self._chains[chain]
        old, new = known.judge(now_ms, self._rules.lag_after_ms)
        if new != old:
            self._chain_log.mark(chain)
        if (
            known.unread_intervals(now_ms) >= self._rules.unread_intervals
            and not known.shown_unread
        ):
            known.shown_unread = True
            known.book.all_move()
        if new.state == old.state:
            return None
        return ChainStateChanged(
            timestamp=now_ms,
            chain=chain,
            old_state=old.state,
            new_state=new.state,
            reason=new.reason,
        )

    def note_endpoints(self, chain: str, endpoints: tuple[EndpointHealth, ...]) -> None:
        """The chain's endpoints as its reader reports them now."""
        known = self._chains[chain]
        if endpoints != known.endpoints:
            known.endpoints = endpoints
            self._whole_log.mark("endpoints")

    # --- time -------------------------------------------------------------------------------

    def remember_past(self, account: int, changes: Sequence[tuple[int, int]]) -> None:
        """Put stored history (time, amount; ascending) before what was seen since."""
        book = self._holder(account)
        if book is None:
            return
        seen = self._trends.get(account)
        first_ms = changes[-1][0] if changes else 0
        later = [(p.time_ms, p.amount) for p in seen.points if p.time_ms > first_ms] if seen else []
        if len(changes) + len(later) > 1:  # a first reading needs no record
            self._trends[account] = Trend([*changes, *later])
        book.moving[book.row_of[account]] = True

    def changed_after(self, time_ms: int) -> list[int]:
        """The accounts whose amount changed after that time."""
        return [
            account.id
            for chain in self._chains.values()
            for account, changed_ms in zip(chain.book.accounts, chain.book.changed_ms, strict=True)
            if changed_ms > time_ms
        ]

    def moving(self) -> list[int]:
        """The accounts whose deltas, runway or severity may change by time alone."""
        return [
            account.id
            for chain in self._chains.values()
            for account in compress(chain.book.accounts, chain.book.moving)
        ]

    def reconsider(self, accounts: Iterable[int]) -> None:
        """Look at these rows as of now; those that look different are marked changed, those
        that time cannot change any more are left out from now on."""
        now_ms = self._clock.now_ms()
        for account in accounts:
            book = self._holder(account)
            if book is None:
                continue
            row = book.row_of[account]
            kept = book.views[row]
            if kept is not None:  # else nobody has seen the row since it was last marked
                view = self._look(book, row, now_ms, kept)
                if view != kept:
                    book.views[row] = view
                    self._rows_log.mark(account)
            trend = self._trends.get(account)
            last_ms = trend.last_ms if trend is not None else book.changed_ms[row]
            still = last_ms <= now_ms - DAY_MS
            chain = self._chains[book.name]
            if still and row not in book.faults and not chain.shown_unread:
                book.moving[row] = False

    def rebuild(self, limit: int) -> bool:
        """Make up to `limit` of the views that were seen before and have changed since, so that
        nobody who asks has to wait for all of them at once; False when none is left."""
        for account in list(islice(self._unbuilt, limit)):
            self._unbuilt.pop(account)
            if self._holder(account) is not None:
                self.view(account)
        if not self._unbuilt:
            self._unbuilt = {}  # one that held the whole fleet never gives its room back
        return bool(self._unbuilt)

    def _changed(self, account: int) -> None:
        book = self._book_of(account)
        row = book.row_of[account]
        if book.views[row] is not None:
            book.views[row] = None
            self._unbuilt[account] = None
        self._rows_log.mark(account)
