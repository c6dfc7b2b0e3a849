"""Custody beside the engine: the fleet's readings compared with what is booked, as views.

It follows the fleet's own change log, so that its cost is what changed, in slices that leave the
loop to others. Under the strict policy a difference that cannot be explained is an event, once
per crossing, and so is its end. What a difference is worth is decided in `core.accounting`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from core.accounting import (
    AccountingError,
    ChainReading,
    Custody,
    FindingState,
    Holding,
    Kind,
    Movement,
    Policy,
    account_id,
)
from core.accounting.ids import asset_name
from core.api import (
    BalanceView,
    BookUnexplained,
    CommandRefusedError,
    CustodyView,
    Outcome,
    RecordMovements,
)
from core.balances.cache import BalanceCache
from core.balances.versions import ChangeLog, VersionCounter
from core.clock import give_way
from core.engine.ledger_views import custody_view
from core.events import CustodyExplained, CustodyUnexplained, Event
from core.ledger import LedgerError
from core.model import Asset, Clock, NoWallet
from core.store.protocol import Store, StoreError

log = logging.getLogger("bursar.ledger")

EVERY_S = 5.0
# Accounts between two turns of the loop: an opening entry costs about 40 us of it, a comparison
# a quarter of that.
SLICE = 100
_QUIET = {FindingState.EQUAL.value, FindingState.OPENED.value}
_BY_TIME = {FindingState.PENDING.value, FindingState.UNEXPLAINED.value}
_FOREIGN = (
    "the ledger holds this account as a foreign one: it came with a file before the agent was "
    "registered; start a new ledger from that file"
)
_TOLD_PAGE = 1_000
_FREEZE = 1_000

Publish = Callable[[Sequence[Event]], Awaitable[None]]


class CustodyWatch:
    """One node's custody as a desk shows it. The ledger is opened and closed by `Books`."""

    def __init__(
        self,
        custody: Custody,
        cache: BalanceCache,
        store: Store,
        clock: Clock,
        counter: VersionCounter,
        publish: Publish,
    ) -> None:
        self.custody = custody
        self._cache = cache
        self._store = store
        self._clock = clock
        self._log = ChangeLog[int](counter)
        self._publish = publish
        self._version = 0
        self._due: set[int] = set()
        self._findings: dict[int, CustodyView] = {}  # of accounts that do not simply agree
        self._unsettled: set[int] = set()  # findings that the next blocks alone may change
        self._foreign: frozenset[int] = frozenset()
        self._met: set[int] = set()  # assets that have custody accounts
        self._told: set[int] | None = None  # crossings reported and not yet ended
        self._telling = asyncio.Lock()  # two comparisons of one account tell a crossing once
        self._complaint = ""
        self._opened = 0  # since the last `_freeze`

    def begin(self, foreign: frozenset[int]) -> None:
        """The ledger is open; `foreign` are account ids it keeps without knowing whose they are."""
        self._foreign = foreign

    async def meet(self) -> None:
        """Find the ledger numbers of assets that were opened before this start, so that their
        trial balances can be taken. Raises LedgerError."""
        by_asset: dict[int, list[Holding]] = {}
        for chain in self._cache.chains:
            for account in self._cache.book(chain).accounts:
                if account.asset not in self._met:
                    holding = holding_of(account.agent, self._cache.assets[account.asset])
                    by_asset.setdefault(account.asset, []).append(holding)
        for asset_id, holdings in by_asset.items():
            for start in range(0, len(holdings), SLICE):
                if await self.custody.positions(holdings[start : start + SLICE]):
                    self._met.add(asset_id)
                    break
                await give_way()

    def shown(self) -> tuple[CustodyView, ...]:
        """What does not simply agree."""
        return tuple(self._findings.values())

    def changed_since(self, version: int) -> tuple[CustodyView, ...]:
        """What is new after `version`: an account that agrees again has a view that says so."""
        return tuple(
            self._findings.get(account) or CustodyView(account, FindingState.EQUAL.value, 0)
            for account in self._log.since(version)
        )

    # --- comparing -------------------------------------------------------------------------

    async def run(self, is_open: Callable[[], bool]) -> None:
        """Compare what moved or still differs, for ever; errors are logged and tried again."""
        while True:
            if is_open():
                await self.catch_up()
            await self._clock.sleep(EVERY_S)

    async def catch_up(self) -> None:
        """Compare what changed since the last time. What fails stays due."""
        version = self._cache.counter.value
        self._due.update(self._cache.changed_accounts(self._version))
        self._version = version
        self._due.update(self._unsettled_on_new_blocks())
        ready = self._swept(self._due)
        complaint = ""
        for start in range(0, len(ready), SLICE):
            part = ready[start : start + SLICE]
            try:
                found = await self._compare(part)
            except LedgerError as error:
                complaint = str(error)
                break  # the ledger is away for the others too
            except (AccountingError, StoreError) as error:
                complaint = str(error)
            else:
                self._due.difference_update(part)
                self._freeze(found)
        self._due = set(self._due)  # a copy has no room left of what was taken out
        if complaint and complaint != self._complaint:
            log.error("chain and ledger not compared: %s", complaint)
        self._complaint = complaint

    def _freeze(self, found: Iterable[CustodyView]) -> None:
        """Keep what the first comparison of a large fleet makes in the ledger out of the
        collector's way: a full collection over it would hold up the loop."""
        self._opened += sum(view.state == FindingState.OPENED.value for view in found)
        if self._opened >= _FREEZE:
            self._opened = 0
            gc.freeze()

    async def reconcile(self, agent: str) -> list[CustodyView]:
        """Compare an agent's accounts (all, if empty) as last read. Raises NoWallet, LedgerError,
        AccountingError."""
        accounts = (
            list(self._cache.accounts_of(agent))
            if agent
            else [
                account.id
                for chain in self._cache.chain_states()
                for account in self._cache.book(chain.name).accounts
            ]
        )
        if not accounts and agent:
            raise NoWallet(f"No wallet for agent {agent}")
        found: list[CustodyView] = []
        for start in range(0, len(accounts), SLICE):
            found += await self._compare(accounts[start : start + SLICE])
        return found

    async def _compare(self, accounts: Sequence[int]) -> list[CustodyView]:
        known: list[int] = []
        readings: list[ChainReading] = []
        found: list[CustodyView] = []
        blocks: dict[str, int] = {}
        for account in accounts:
            reading = self._reading(account, blocks)
            if reading is None:
                continue
            if self._foreign and self._account_id(reading.holding) in self._foreign:
                view = CustodyView(account, FindingState.UNREAD.value, 0, reason=_FOREIGN)
                found.append(self._note(view))
                continue
            known.append(account)
            readings.append(reading)
        if readings:
            findings = await self.custody.reconcile(readings)
            self._met.update(row.asset for a in known if (row := self._row(a)) is not None)
            for account, finding in zip(known, findings, strict=True):
                found.append(self._note(custody_view(account, finding)))
        await self._report(found)
        await give_way()
        return found

    def _reading(self, account: int, blocks: dict[str, int]) -> ChainReading | None:
        """What the chain last said; None for a balance never read, or gone meanwhile."""
        row = self._row(account)
        if row is None or row.amount is None:
            return None
        block = blocks.get(row.chain)
        if block is None:
            block = blocks[row.chain] = self._block_of(row.chain)
        asset = self._cache.assets[row.asset]
        book = self._cache.book(row.chain)
        amount = None if row.error else book.amounts[book.row_of[account]]
        return ChainReading(holding_of(row.agent, asset), amount, block, row.error)

    def _block_of(self, chain: str) -> int:
        """The block of the chain's last sweep. Before the first one of this engine: the newest
        block that the store has of it, since all its rows were at least as good as that."""
        block = self._cache.chain_state(chain).block
        return block or max(self._cache.book(chain).blocks, default=0)

    def _swept(self, accounts: set[int]) -> list[int]:
        """Those whose chain was read since the start, in the registry's order. Accounts that are
        gone are dropped."""
        ready: list[int] = []
        waiting: set[int] = set()
        for chain in self._cache.chain_states():
            rows = self._cache.book(chain.name).row_of
            due = [account for account in accounts if account in rows]
            if chain.block:
                ready += sorted(due)
            else:
                waiting.update(due)
        accounts.intersection_update(waiting.union(ready))
        return ready

    def _unsettled_on_new_blocks(self) -> list[int]:
        """Accounts whose chain stands at another block than their unsettled finding."""
        found: list[int] = []
        for chain in self._cache.chain_states():
            rows = self._cache.book(chain.name).row_of
            found += [
                account
                for account in self._unsettled
                if account in rows and self._findings[account].block != chain.block
            ]
        return found

    def _row(self, account: int) -> BalanceView | None:
        """The account's row; None if it left the registry."""
        try:
            return self._cache.view(account)
        except KeyError:
            return None

    def _note(self, view: CustodyView) -> CustodyView:
        """Keep what does not simply agree; of a large fleet that is little."""
        before = self._findings.get(view.account)
        if view.state in _QUIET:
            if self._findings.pop(view.account, None) is not None:
                self._log.mark(view.account)
        else:
            if before is None or before != msgspec.structs.replace(view, block=before.block):
                self._log.mark(view.account)
            self._findings[view.account] = view
        if view.state in _BY_TIME:
            self._unsettled.add(view.account)
        else:
            self._unsettled.discard(view.account)
        return view

    def _account_id(self, holding: Holding) -> int:
        name = asset_name(holding.chain, holding.asset)
        return account_id(self.custody.node_id, holding.agent, name, Kind.CUSTODY)

    # --- events ----------------------------------------------------------------------------

    async def _report(self, views: Iterable[CustodyView]) -> None:
        """Crossings and their ends, in one write; only then they count as told."""
        async with self._telling:
            told = await self._crossings()
            events: list[Event] = []
            crossed: set[int] = set()
            ended: set[int] = set()
            for view in views:
                row = self._row(view.account)
                if row is None:
                    continue
                if view.state == FindingState.UNEXPLAINED.value and not view.booked:
                    if view.account not in told and self._is_strict(row):
                        events.append(self._crossing(row, view))
                        crossed.add(view.account)
                elif view.account in told and (view.state in _QUIET or view.booked):
                    reason = view.reason if view.booked else "chain and ledger agree again"
                    events.append(self._ending(row, view, reason))
                    ended.add(view.account)
            if events:
                await self._publish(events)
                told |= crossed
                told -= ended

    def _is_strict(self, row: BalanceView) -> bool:
        return self.custody.rules_of(row.chain).policy is Policy.STRICT

    async def _crossings(self) -> set[int]:
        """The crossings that stand, read back from the events after a start."""
        if self._told is None:
            told: set[int] = set()
            after = 0
            types = (CustodyUnexplained.TYPE, CustodyExplained.TYPE)
            while page := await self._store.find_events(
                after_seq=after, limit=_TOLD_PAGE, types=types
            ):
                for record in page:
                    contract = record.payload["contract"]
                    account = self._cache.find_told(
                        record.subject,
                        str(record.payload["chain"]),
                        str(record.payload["token"]),
                        None if contract is None else str(contract),
                    )
                    if account is None:
                        continue
                    if record.type == CustodyUnexplained.TYPE:
                        told.add(account)
                    else:
                        told.discard(account)
                after = page[-1].seq
            self._told = told
        return self._told

    def _crossing(self, row: BalanceView, view: CustodyView) -> CustodyUnexplained:
        asset = self._cache.assets[row.asset]
        return CustodyUnexplained(
            timestamp=self._clock.now_ms(),
            agent_id=row.agent,
            chain=row.chain,
            token=asset.symbol,
            contract=asset.contract,
            decimals=asset.decimals,
            unexplained=view.unexplained,
            chain_amount=view.chain_amount,
            ledger_amount=view.ledger_amount,
            block=view.block,
            since_block=view.since,
        )

    def _ending(self, row: BalanceView, view: CustodyView, reason: str) -> CustodyExplained:
        asset = self._cache.assets[row.asset]
        return CustodyExplained(
            timestamp=self._clock.now_ms(),
            agent_id=row.agent,
            chain=row.chain,
            token=asset.symbol,
            contract=asset.contract,
            decimals=asset.decimals,
            booked=view.unexplained,
            block=view.block,
            reason=reason,
        )

    # --- commands --------------------------------------------------------------------------

    async def move(self, command: RecordMovements) -> Outcome:
        """Book movements that callers know of; refuses all for one that names no balance. Raises
        LedgerError."""
        movements: list[Movement] = []
        accounts: list[int] = []
        for row in command.movements:
            account = self._cache.find(row.agent, row.chain, row.asset)
            if account is None:
                raise CommandRefusedError(
                    f"There is no balance of {row.asset} on {row.chain} for agent {row.agent}; "
                    "nothing was booked."
                )
            asset = self._cache.assets[self._cache.view(account).asset]
            accounts.append(account)
            movements.append(Movement(holding_of(row.agent, asset), row.amount, row.reference))
        results = await self.custody.record_movements(movements)
        self._due.update(accounts)
        refused = [result.message for result in results if result.refused]
        booked = sum(result.booked for result in results)
        replayed = sum(result.replayed for result in results)
        return Outcome(
            f"Booked {booked} movement{'s' if booked != 1 else ''}; {replayed} had been booked "
            f"before, {len(refused)} were refused.",
            booked,
            tuple(refused),
        )

    async def explain(self, command: BookUnexplained) -> Outcome:
        """Book what is unexplained of one balance, with the operator's reason. Raises
        LedgerError, StoreError."""
        account = self._cache.find(command.agent, command.chain, command.asset)
        if account is None:
            raise CommandRefusedError(
                f"There is no balance of {command.asset} on {command.chain} for agent "
                f"{command.agent}."
            )
        if not command.reason.strip():
            raise CommandRefusedError("Say why: a correction without a reason is not booked.")
        row = self._cache.view(account)
        holding = holding_of(row.agent, self._cache.assets[row.asset])
        try:
            if account not in self._findings:  # a process of its own has compared nothing yet
                await self._compare([account])
            finding = await self.custody.book_unexplained(*holding, command.reason)
        except AccountingError as error:
            raise CommandRefusedError(str(error)) from error
        view = self._note(custody_view(account, finding))
        # Unlike a crossing, a correction is an operator's act: it is reported under any policy.
        async with self._telling:
            await self._publish([self._ending(row, view, command.reason)])
            (await self._crossings()).discard(account)
        self._due.add(account)
        return Outcome(f"Booked {finding.unexplained} base units of {holding} as explained.", 1)


def holding_of(agent: str, asset: Asset) -> Holding:
    """An asset's name among its chain's: the contract, with the symbol where an issuer has
    several; the symbol of the coin."""
    name = asset.symbol if asset.contract is None else f"{asset.symbol}@{asset.contract}"
    return Holding(agent, asset.chain, name)
