"""The engine's books: ledger, peers and custody, kept open, watched and mirrored as views.

A ledger that is away is a state, not an end: everything else goes on, the reason is shown, and
opening it is tried again. Views follow the "touched" signal; custody is in `custody_watch`, files
are in `ledger_io`.
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
    Custody,
    Direction,
    Pair,
    Step,
    account_id,
)
from core.accounting.chart import PEER_KINDS
from core.api import (
    AccountTotals,
    BookUnexplained,
    CommandRefusedError,
    CustodyView,
    ImportTotals,
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
from core.engine.custody_watch import CustodyWatch, Publish
from core.engine.ledger_io import foreign_ids, posted_totals
from core.engine.ledger_origin import Origin
from core.engine.ledger_views import (
    ledger_view,
    packet_step,
    peer_view,
    transfer_views,
    trial_view,
)
from core.engine.ledgers import build_ledger, credit_limits, custody_rules
from core.ledger import (
    BATCH_MAX,
    AccountFilter,
    AccountFilterFlags,
    FieldOutOfRange,
    Ledger,
    LedgerError,
)
from core.ledger.interchange import InterchangeError
from core.model import Amount, Clock
from core.store.protocol import Store, StoreError

log = logging.getLogger("bursar.ledger")

_VIEW_S = 0.25
_HEALTH_S = 1.0
_TRIAL_S = 30.0
_RETRY_S = 5.0
_BOTH = int(AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS | AccountFilterFlags.REVERSED)


class BookChanges(msgspec.Struct, frozen=True):
    """What changed in the books after a version, as a `StatePatch` carries it."""

    ledger: LedgerView | None
    peers: tuple[PeerView, ...]
    trial: tuple[TrialView, ...] | None
    custody: tuple[CustodyView, ...]


NO_BOOKS = BookChanges(None, (), None, ())
"""Where there are no books (a connection that only reads)."""


class Books:
    """One node's books. `open` and `close` once each; `run` is their one task. `publish` stores
    and announces events."""

    def __init__(
        self,
        settings: Settings,
        generation: Path,
        store: Store,
        cache: BalanceCache,
        clock: Clock,
        counter: VersionCounter,
        publish: Publish,
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
        custody = Custody(self._ledger, node, rules, default)
        self._log = ChangeLog[str](counter)
        self.custody = CustodyWatch(custody, cache, store, clock, counter, publish)
        self._origin = Origin(settings, self._ledger, self.manager, cache, clock)
        self._open = False
        self._away = "not opened yet"
        self._tried = False
        self._opening = asyncio.Lock()
        self._known: set[Pair] = set()
        self._complaints: dict[str, str] = {}
        self._view: LedgerView | None = None
        self._peers: dict[str, PeerView] = {}
        self._trial: tuple[TrialView, ...] = ()

    @property
    def backend(self) -> str:
        """Which ledger it is, as the start-up message says it."""
        return self._ledger.backend

    # --- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the ledger. One that is away or damaged is noted and shown; nothing is raised."""
        async with self._opening:
            if not self._open:
                await self._try_to_open()
        self._look()

    async def ready(self) -> None:
        """Return when opening was tried, here or by somebody else; nothing is raised."""
        async with self._opening:
            pass  # one that is under way is waited for, and not repeated
        if not self._tried:
            await self.open()

    async def _try_to_open(self) -> None:
        try:
            await self._ledger.open()
            self._known |= {Pair(peer, token) for peer, token in await self._store.pairs()}
            await self._origin.start_from_file(self._known)
            await self.manager.open()
            await self._note_pairs(await self._origin.named_here())
            wanted = await self._take_over()
            await self._refresh(wanted)
        except (LedgerError, AccountingError, StoreError) as error:
            self._away = str(error)
            self._complain("opening", error)
        else:
            self._complaints.pop("opening", None)
            self._open, self._away = True, ""
        finally:
            self._tried = True

    async def _take_over(self) -> list[Pair]:
        """Make the accounts of the pairs that are known by name, and learn which accounts in the
        ledger are nobody's."""
        foreign = await foreign_ids(self._ledger)
        self.custody.begin(foreign)
        named = sorted(pair for pair in self._known if pair.token in self.manager.tokens)
        lost = [pair for pair in named if foreign and self._ids_of(pair) & foreign]
        for pair in lost:
            log.error(
                "ledger: the accounts of peer %s in %s came with a file before the peer was named"
                " in the settings, so they are foreign; start a new ledger from that file",
                *pair,
            )
        wanted = [pair for pair in named if pair not in lost]
        await self.manager.open_accounts(wanted)
        return wanted

    def _ids_of(self, pair: Pair) -> set[int]:
        return {account_id(self.manager.node_id, *pair, kind) for kind in PEER_KINDS}

    async def close(self) -> None:
        """Write the plain file of the settings, and let go of the ledger in good order."""
        if self._open:
            await self._origin.leave_file()
        try:
            await self._ledger.close()
        except LedgerError as error:
            log.error("the ledger could not be closed: %s", error)

    async def run(self) -> None:
        """Open, then keep views, trial balance and custody up to date; until cancelled."""
        log.info("Accounting backend: %s", self.backend)
        self._look()
        await self.open()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="peers")
            group.create_task(self._watch(), name="ledger health")
            group.create_task(self._prove(), name="trial balance")
            group.create_task(self.custody.run(self.answers), name="custody")

    @property
    def ledger(self) -> Ledger:
        """The ledger itself, for the settlement monitor."""
        return self._ledger

    def answers(self) -> bool:
        """Whether it is open and was not stopped by a failed write."""
        return self._open and self._ledger.health().ok

    async def _follow(self) -> None:
        """Mirror the pairs that commits touch, at most four times a second. What could not be
        read stays to be read."""
        reader = self.manager.touched()
        late: frozenset[Pair] = frozenset()
        try:
            async for pairs in reader:
                late |= pairs
                while late:
                    try:
                        await self._note_pairs(late)
                        await self._refresh(late)
                    except (LedgerError, AccountingError, StoreError) as error:
                        self._complain("following pairs", error)
                        await self._clock.sleep(_HEALTH_S)
                        late |= reader.take()
                    else:
                        self._complaints.pop("following pairs", None)
                        late = frozenset()
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
            if self.answers():
                try:
                    await self._take_trial()
                except (LedgerError, AccountingError) as error:
                    self._complain("the trial balance", error)
                else:
                    self._complaints.pop("the trial balance", None)
            await self._clock.sleep(_TRIAL_S)

    def _complain(self, what: str, error: Exception) -> None:
        """Log a failure that is tried again: once, until it is another one."""
        if self._complaints.get(what) != str(error):
            self._complaints[what] = str(error)
            log.error("ledger, %s: %s", what, error)

    async def _take_trial(self) -> tuple[TrialView, ...]:
        trials = [
            *await self.manager.trial_balance(),
            *await self.custody.custody.trial_balance(),
        ]
        views = tuple(trial_view(trial) for trial in trials)
        if views != self._trial:
            self._trial = views
            self._log.mark("trial")
        return views

    # --- mirrors ---------------------------------------------------------------------------

    def _look(self) -> None:
        health = self._ledger.health()
        if self._away:
            health = msgspec.structs.replace(health, ok=False, reason=self._away)
        if self._origin.notices:
            notices = (*health.notices, *self._origin.notices)
            health = msgspec.structs.replace(health, notices=notices)
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
            self._view, tuple(self._peers.values()), self._trial, self.custody.shown()
        )

    def changed_since(self, version: int) -> BookChanges:
        """What is new after `version`."""
        keys = self._log.since(version)
        return BookChanges(
            self._view if "ledger" in keys else None,
            tuple(self._peers[key] for key in keys if key.startswith("peer:")),
            self._trial if "trial" in keys else None,
            self.custody.changed_since(version),
        )

    # --- questions and commands ------------------------------------------------------------

    @asynccontextmanager
    async def _at_hand(self) -> AsyncIterator[None]:
        await self.ready()
        if not self._open:
            raise LedgerAwayError(f"The ledger is away: {self._away}")
        try:
            yield
        except (FieldOutOfRange, InterchangeError, AccountingError) as error:
            raise CommandRefusedError(str(error)) from error
        except LedgerError as error:
            raise LedgerAwayError(f"The ledger does not answer: {error}") from error
        finally:
            self._look()

    async def packets(self, steps: Sequence[PacketStep]) -> list[PacketOutcome]:
        """Book steps of packets. Raises LedgerAwayError, and CommandRefusedError for a step that
        cannot be understood; then none was booked."""
        wanted = [packet_step(step) for step in steps]
        async with self._at_hand():
            # Names first: the ledger keeps hashes, and a stop between the two would leave
            # accounts whose names nobody knows.
            await self._note_pairs(self._pairs_of(wanted))
            results = await self.manager.commit(wanted)
        return [PacketOutcome(r.packet, r.stage.value, r.status, r.message) for r in results]

    def _pairs_of(self, steps: Sequence[Step]) -> set[Pair]:
        tokens = frozenset(self.manager.tokens)
        return {
            Pair(peer, step.packet.token)
            for step in steps
            for peer in (step.packet.source, step.packet.destination)
            if peer and step.packet.token in tokens
        }

    async def settle(self, command: RecordSettlement) -> Outcome:
        """Book a payment between us and a peer."""
        try:
            direction = Direction(command.direction)
        except ValueError as error:
            raise CommandRefusedError(
                f"A settlement reduces the receivable or the payable, not {command.direction!r}."
            ) from error
        async with self._at_hand():
            if command.peer and command.token in self.manager.tokens:
                await self._note_pairs([Pair(command.peer, command.token)])
            result = await self.manager.record_settlement(
                command.peer, command.token, direction, command.amount, command.reference
            )
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
        rows = min(max(limit, 0), BATCH_MAX)
        async with self._at_hand():
            if pair not in self.manager.pairs:
                raise CommandRefusedError(f"There are no accounts of peer {peer} in {token}.")
            [accounts] = await self.manager.open_accounts([pair])
            until = max(before_ms, 0) * 1_000_000
            found = [
                await self._ledger.get_account_transfers(
                    AccountFilter(account_id=id_, timestamp_max=until, limit=rows, flags=_BOTH)
                )
                for id_ in (accounts.debit, accounts.credit)
            ]
        return transfer_views(accounts, *found)[:rows]

    async def peer_balances(self) -> list[PeerView]:
        """Every open pair, as of now. Raises LedgerAwayError."""
        async with self._at_hand():
            balances = await self.manager.get_account_balances(sorted(self.manager.pairs))
        return [peer_view(balance) for balance in balances]

    async def trial_balance(self) -> list[TrialView]:
        """Every ledger number's trial balance, taken now. Raises LedgerAwayError."""
        async with self._at_hand():
            await self.custody.meet()
            return list(await self._take_trial())

    async def totals(self) -> list[AccountTotals]:
        """Posted totals of every account. Raises LedgerAwayError, and CommandRefusedError where
        the ledger moves too fast."""
        async with self._at_hand():
            totals = await posted_totals(self._ledger)
        return [
            AccountTotals(str(t.id), Amount(t.debits_posted), Amount(t.credits_posted))
            for t in totals
        ]

    async def start_from(self, command: ImportTotals) -> Outcome:
        """Start the empty ledger from totals. Raises LedgerAwayError; CommandRefusedError, and
        then nothing was booked."""
        async with self._at_hand(), self._opening:
            started = await self._origin.start_from(command.totals, self._known, command.peers)
            if started is None:
                raise CommandRefusedError(
                    "The ledger already holds transfers; only an empty one can start from a file."
                )
            await self._note_pairs(started.pairs)
            await self._refresh(await self._take_over())
        named = tuple(str(id_) for id_ in started.foreign)
        return Outcome(f"Imported {started.sentence()}", started.accounts, named)

    async def reconcile(self, agent: str) -> list[CustodyView]:
        """Compare chain and ledger for an agent (all, if empty), as last read. Raises NoWallet,
        LedgerAwayError."""
        async with self._at_hand():
            return await self.custody.reconcile(agent)

    async def move(self, command: RecordMovements) -> Outcome:
        """Book movements that callers know of; refuses all for one that names no balance."""
        async with self._at_hand():
            return await self.custody.move(command)

    async def explain(self, command: BookUnexplained) -> Outcome:
        """Book what is unexplained of one balance, with the operator's reason."""
        async with self._at_hand():
            return await self.custody.explain(command)
