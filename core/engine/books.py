"""The engine's books: ledger, peers and custody, kept open, watched and mirrored as views.

A ledger that is away is a state, not an end: everything else goes on, the reason is shown, and
opening it is tried again. Views follow the "touched" signal; custody follows the fleet's own
change log, so that its cost is what changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from core.accounting import (
    AccountingError,
    AccountManager,
    ChainReading,
    Custody,
    Direction,
    FindingState,
    Holding,
    Movement,
    Packet,
    Pair,
    Stage,
    Step,
)
from core.api import (
    BookUnexplained,
    CommandRefusedError,
    CustodyView,
    LedgerAwayError,
    LedgerView,
    Outcome,
    PacketOutcome,
    PacketStep,
    PeerView,
    RecordMovements,
    RecordSettlement,
    TransferView,
    TrialView,
)
from core.balances.cache import BalanceCache
from core.balances.versions import ChangeLog, VersionCounter
from core.config import Settings
from core.engine.ledger_views import (
    custody_view,
    ledger_view,
    peer_view,
    transfer_views,
    trial_view,
)
from core.engine.ledgers import build_ledger, credit_limits, custody_rules
from core.ledger import AccountFilter, AccountFilterFlags, LedgerError
from core.model import Asset, Clock, NoWallet
from core.store.protocol import Store, StoreError

log = logging.getLogger("bursar.ledger")

_VIEW_S = 0.25
_HEALTH_S = 1.0
_TRIAL_S = 30.0
_CUSTODY_S = 5.0
_CUSTODY_SLICE = 500
_RETRY_S = 5.0
_BOTH = int(AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS | AccountFilterFlags.REVERSED)
_QUIET = {FindingState.EQUAL.value, FindingState.OPENED.value}


class BookChanges(msgspec.Struct, frozen=True):
    """What changed in the books after a version, as a `StatePatch` carries it."""

    ledger: LedgerView | None
    peers: tuple[PeerView, ...]
    trial: tuple[TrialView, ...] | None
    custody: tuple[CustodyView, ...]


NO_BOOKS = BookChanges(None, (), None, ())
"""Where there are no books (a connection that only reads)."""


class Books:
    """One node's books. `open` and `close` once each; `run` is their one task."""

    def __init__(
        self,
        settings: Settings,
        generation: Path,
        store: Store,
        cache: BalanceCache,
        clock: Clock,
        counter: VersionCounter,
    ) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._ledger = build_ledger(settings.ledger, generation, clock)
        node = settings.settlement.node_id
        self.manager = AccountManager(
            self._ledger, node, settings.ledger.tokens, credit_limits(settings.ledger)
        )
        rules, default = custody_rules(settings.custody)
        self.custody = Custody(self._ledger, node, rules, default)
        self._log = ChangeLog[str](counter)
        self._open = False
        self._away = "not opened yet"
        self._tried = False
        self._opening = asyncio.Lock()
        self._known: set[Pair] = set()
        self._view: LedgerView | None = None
        self._peers: dict[str, PeerView] = {}
        self._trial: tuple[TrialView, ...] = ()
        self._findings: dict[str, CustodyView] = {}
        self._unsettled: set[int] = set()  # accounts whose finding may change by time alone

    # --- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the ledger. One that is away or damaged is noted and shown; nothing is raised."""
        async with self._opening:
            if not self._open:
                await self._try_to_open()
        self._look()

    async def _try_to_open(self) -> None:
        self._tried = True
        try:
            await self._ledger.open()
            await self.manager.open()
            self._known = {Pair(peer, token) for peer, token in await self._store.pairs()}
            wanted = [pair for pair in self._known if pair.token in self.manager.tokens]
            await self.manager.open_accounts(wanted)
        except (LedgerError, AccountingError, StoreError) as error:
            self._away = str(error)
            log.error("the ledger is away: %s", error)
        else:
            self._open, self._away = True, ""
            log.info("Accounting backend: %s", self._ledger.backend)
            await self._refresh(wanted)

    async def close(self) -> None:
        """Let go of the ledger in good order."""
        try:
            await self._ledger.close()
        except LedgerError as error:
            log.error("the ledger could not be closed: %s", error)

    async def run(self) -> None:
        """Open, then keep views, trial balance and custody up to date; until cancelled."""
        self._look()
        await self.open()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="peers")
            group.create_task(self._watch(), name="ledger health")
            group.create_task(self._prove(), name="trial balance")
            group.create_task(self._reconcile_changes(), name="custody")

    async def _follow(self) -> None:
        """Mirror the pairs that commits touch, at most four times a second."""
        reader = self.manager.touched()
        try:
            async for pairs in reader:
                try:
                    await self._note_pairs(pairs)
                    await self._refresh(pairs)
                except (LedgerError, StoreError) as error:
                    log.error("pairs not followed: %s", error)
                await self._clock.sleep(_VIEW_S)
        finally:
            reader.close()

    async def _watch(self) -> None:
        tried = self._clock.monotonic()
        while True:
            await self._clock.sleep(_HEALTH_S)
            if not self._open and self._clock.monotonic() - tried >= _RETRY_S:
                await self.open()
                tried = self._clock.monotonic()
            self._look()

    async def _prove(self) -> None:
        while True:
            if self._open:
                try:
                    await self._take_trial()
                except (LedgerError, AccountingError) as error:
                    log.error("no trial balance: %s", error)
            await self._clock.sleep(_TRIAL_S)

    async def _take_trial(self) -> None:
        trials = [*await self.manager.trial_balance(), *await self.custody.trial_balance()]
        views = tuple(trial_view(trial) for trial in trials)
        if views != self._trial:
            self._trial = views
            self._log.mark("trial")

    # --- mirrors ---------------------------------------------------------------------------

    def _look(self) -> None:
        health = self._ledger.health()
        if self._away:
            health = msgspec.structs.replace(health, ok=False, reason=self._away)
        view = ledger_view(health)
        if view != self._view:
            self._view = view
            self._log.mark("ledger")

    async def _note_pairs(self, pairs: Iterable[Pair]) -> None:
        new = set(pairs) - self._known
        if new:
            await self._store.add_pairs(sorted(new))
            self._known |= new

    async def _refresh(self, pairs: Iterable[Pair]) -> None:
        wanted = sorted(pairs)
        for balance in await self.manager.get_account_balances(wanted) if wanted else ():
            key = f"peer:{balance.peer}\0{balance.token}"
            view = peer_view(balance)
            if self._peers.get(key) != view:
                self._peers[key] = view
                self._log.mark(key)

    def all(self) -> BookChanges:
        """Everything as it stands."""
        return BookChanges(
            self._view,
            tuple(self._peers.values()),
            self._trial,
            tuple(v for v in self._findings.values() if v.state not in _QUIET),
        )

    def changed_since(self, version: int) -> BookChanges:
        """What is new after `version`."""
        keys = self._log.since(version)
        return BookChanges(
            self._view if "ledger" in keys else None,
            tuple(self._peers[key] for key in keys if key.startswith("peer:")),
            self._trial if "trial" in keys else None,
            tuple(self._findings[key] for key in keys if key.startswith("custody:")),
        )

    # --- packets and settlements -----------------------------------------------------------

    @asynccontextmanager
    async def _at_hand(self) -> AsyncIterator[None]:
        if not self._tried:
            await self.open()
        if not self._open:
            raise LedgerAwayError(f"The ledger is away: {self._away}")
        try:
            yield
        except LedgerError as error:
            raise LedgerAwayError(f"The ledger does not answer: {error}") from error

    async def packets(self, steps: Sequence[PacketStep]) -> list[PacketOutcome]:
        """Book steps of packets. Raises LedgerAwayError, and CommandRefusedError for a step that
        cannot be understood; then none was booked."""
        wanted = [_step(step) for step in steps]
        async with self._at_hand():
            results = await self.manager.commit(wanted)
        return [PacketOutcome(r.packet, r.stage.value, r.status, r.message) for r in results]

    async def settle(self, command: RecordSettlement) -> Outcome:
        """Book a payment between us and a peer."""
        try:
            direction = Direction(command.direction)
            async with self._at_hand():
                result = await self.manager.record_settlement(
                    command.peer, command.token, direction, command.amount, command.reference
                )
        except ValueError as error:
            raise CommandRefusedError(
                f"A settlement reduces the receivable or the payable, not {command.direction!r}."
            ) from error
        except AccountingError as error:
            raise CommandRefusedError(str(error)) from error
        if result.replayed:
            return Outcome(f"Settlement {command.reference} had been booked before.")
        return Outcome(
            f"Booked a settlement of {int(command.amount)} {command.token} with peer "
            f"{command.peer}.",
            1,
        )

    async def transfers(
        self, peer: str, token: str, limit: int, before_ms: int
    ) -> list[TransferView]:
        """The newest transfers of a pair. Raises LedgerAwayError; CommandRefusedError for a pair
        that has no accounts."""
        pair = Pair(peer, token)
        if pair not in self.manager.pairs:
            raise CommandRefusedError(f"There are no accounts of peer {peer} in {token}.")
        async with self._at_hand():
            [accounts] = await self.manager.open_accounts([pair])
            until = max(before_ms, 0) * 1_000_000
            found = [
                await self._ledger.get_account_transfers(
                    AccountFilter(account_id=id_, timestamp_max=until, limit=limit, flags=_BOTH)
                )
                for id_ in (accounts.debit, accounts.credit)
            ]
        return transfer_views(accounts, *found)[:limit]

    # --- custody ---------------------------------------------------------------------------

    async def _reconcile_changes(self) -> None:
        """Hand readings on to custody: all at first, then those that moved or still differ."""
        version = 0
        while True:
            if self._open:
                changes = self._cache.changed_since(version)
                due = {row.account for row in changes.balances} | self._unsettled
                try:
                    await self._reconcile(sorted(due))
                except (LedgerError, AccountingError) as error:
                    log.error("chain and ledger not compared: %s", error)
                else:
                    version = changes.version
            await self._clock.sleep(_CUSTODY_S)

    async def _reconcile(self, accounts: Sequence[int]) -> list[CustodyView]:
        found: list[CustodyView] = []
        for start in range(0, len(accounts), _CUSTODY_SLICE):
            part = accounts[start : start + _CUSTODY_SLICE]
            known = [a for a in part if self._cache.view(a).amount is not None]
            readings = [self._reading(account) for account in known]
            for account, finding in zip(known, await self.custody.reconcile(readings), strict=True):
                found.append(self._note(custody_view(account, finding)))
        return found

    def _reading(self, account: int) -> ChainReading:
        row = self._cache.view(account)
        asset = self._cache.assets[row.asset]
        amount = None if row.error or row.amount is None else int(row.amount)
        block = self._cache.chain_state(row.chain).block or row.block
        return ChainReading(holding_of(row.agent, asset), amount, block, row.error)

    def _note(self, view: CustodyView) -> CustodyView:
        key = f"custody:{view.account}"
        before = self._findings.get(key)
        is_new = before is None or before != msgspec.structs.replace(view, block=before.block)
        if is_new and not (before is None and view.state in _QUIET):
            self._log.mark(key)
        self._findings[key] = view
        if view.state in _QUIET or view.booked:
            self._unsettled.discard(view.account)
        else:
            self._unsettled.add(view.account)
        return view

    async def reconcile(self, agent: str) -> list[CustodyView]:
        """Compare chain and ledger for an agent (all, if empty), as last read. Raises NoWallet,
        LedgerAwayError."""
        accounts = (
            list(self._cache.accounts_of(agent))
            if agent
            else [row.account for row in self._cache.views()]
        )
        if not accounts and agent:
            raise NoWallet(f"No wallet for agent {agent}")
        async with self._at_hand():
            return await self._reconcile(accounts)

    async def move(self, command: RecordMovements) -> Outcome:
        """Book movements that callers know of; refuses all for one that names no balance."""
        movements = []
        for row in command.movements:
            account = self._cache.find(row.agent, row.chain, row.asset)
            if account is None:
                raise CommandRefusedError(
                    f"There is no balance of {row.asset} on {row.chain} for agent {row.agent}; "
                    "nothing was booked."
                )
            asset = self._cache.assets[self._cache.view(account).asset]
            movements.append(Movement(holding_of(row.agent, asset), row.amount, row.reference))
        async with self._at_hand():
            results = await self.custody.record_movements(movements)
        self._unsettled |= {
            account
            for row in command.movements
            if (account := self._cache.find(row.agent, row.chain, row.asset)) is not None
        }
        refused = [result.message for result in results if result.refused]
        booked = sum(result.booked for result in results)
        replayed = sum(result.replayed for result in results)
        return Outcome(
            f"Booked {booked} movements; {replayed} had been booked before, {len(refused)} were "
            "refused.",
            booked,
            tuple(refused),
        )

    async def explain(self, command: BookUnexplained) -> Outcome:
        """Book what is unexplained of one balance, with the operator's reason."""
        account = self._cache.find(command.agent, command.chain, command.asset)
        if account is None:
            raise CommandRefusedError(
                f"There is no balance of {command.asset} on {command.chain} for agent "
                f"{command.agent}."
            )
        if not command.reason.strip():
            raise CommandRefusedError("Say why: a correction without a reason is not booked.")
        asset = self._cache.assets[self._cache.view(account).asset]
        holding = holding_of(command.agent, asset)
        try:
            async with self._at_hand():
                finding = await self.custody.book_unexplained(*holding, command.reason)
        except AccountingError as error:
            raise CommandRefusedError(str(error)) from error
        self._note(custody_view(account, finding))
        return Outcome(f"Booked {finding.unexplained} base units of {holding} as explained.", 1)


def holding_of(agent: str, asset: Asset) -> Holding:
    """An asset's name among its chain's: the contract, with the symbol where an issuer has
    several; the symbol of the coin."""
    name = asset.symbol if asset.contract is None else f"{asset.symbol}@{asset.contract}"
    return Holding(agent, asset.chain, name)


def _step(step: PacketStep) -> Step:
    try:
        stage = Stage(step.stage)
    except ValueError as error:
        known = ", ".join(s.value for s in Stage)
        raise CommandRefusedError(
            f"Packet {step.id}: there is no stage {step.stage!r} (known: {known})."
        ) from error
    packet = Packet(
        step.id, step.source, step.destination, step.token, step.amount_in, step.amount_out
    )
    return Step(stage, packet, step.timeout_s)
