"""SettlementMonitor: watches balances, asks for settlement once per crossing, keeps the states.

It looks at the pairs each ledger commit touched, and as a safety net at all of them at every
start and interval. It owns no fact: rows are the store's, what is under way is the ledger's.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from core.accounting import AccountManager, Direction, Pair, TouchedReader
from core.clock import give_way
from core.events import Bus, SettlementThresholdChanged
from core.ledger import Ledger
from core.model import BursarError, Clock
from core.settlement.actions import Actions
from core.settlement.driver import Driver
from core.settlement.engines import ManualEngine, SettlementEngine
from core.settlement.explain import explain, span
from core.settlement.listeners import Listener, Listeners
from core.settlement.observer import Observer, is_stuck
from core.settlement.records import STRIDE, Records
from core.settlement.rows import Node, state_of
from core.settlement.states import SettlementState
from core.settlement.thresholds import Level, ThresholdRules, parse, scope_name
from core.settlement.types import (
    MonitorNotStopped,
    SettlementKey,
    SettlementNotPossible,
    SettlementView,
    ThresholdRefused,
)
from core.settlement.views import view_of
from core.store.protocol import SettlementStore, StoredThreshold

log = logging.getLogger("bursar.settlement")

HELD_KEY = "restore.held"
"""Where the store's small memory says "1" as long as settlements are held."""
HELD = (
    "Settlements are held: the data was restored, and payments may have been made that it does not "
    "know of. Compare with the peers, then run `bursar settlements release`."
)
_RECEIVABLE = Direction.RECEIVABLE
_RETRY_S = 1.0


class SettlementMonitor:
    """Over a manager and its ledger, both open, and a store.

    `generation` names the data the node runs on. While it is `held` it watches, and nothing is
    triggered or begun until `release`. `sweeps` counts sweeps, `failures` readings
    that failed; `error` says why the last look or sweep could not be finished, "" if it was;
    `warnings` are thresholds that are close to their credit limits.
    """

    def __init__(
        self,
        manager: AccountManager,
        ledger: Ledger,
        store: SettlementStore,
        bus: Bus,
        clock: Clock,
        rules: ThresholdRules,
        *,
        generation: str,
        engine: SettlementEngine | None = None,
        polling_interval_s: float = 30.0,
        stuck_after_s: float = 600.0,
        rng: Callable[[], float] = random.random,
        held: bool = False,
    ) -> None:
        self.sweeps = 0
        self.error = ""
        self.warnings: tuple[str, ...] = ()
        self._manager = manager
        self._store = store
        self._bus = bus
        self._clock = clock
        self._configured = rules
        self._interval_s = polling_interval_s
        self._stuck_after_ms = round(stuck_after_s * 1000)
        node = Node(manager.node_id, generation)
        self._listeners = Listeners()
        self._records = Records(store, bus, self._listeners)
        self._observer = Observer(manager, self._records, clock, node, rules)
        self._actions = Actions(manager, ledger, self._records, self._observer, clock, rng)
        self._driver = Driver(engine or ManualEngine(), self._actions, self._records, clock, node)
        self._observer.on_trigger = self._driver.wake
        self._observer.held = self._driver.held = held
        self._running: asyncio.Task[None] | None = None
        self._warned: set[tuple[SettlementKey, int, int]] = set()

    # -- life

    async def start(self) -> None:
        """Load what is known, look at every pair, and watch from then on. Returns when the first
        sweep is done. Raises MonitorNotStopped, ThresholdRefused, StoreError."""
        if self._running is not None:
            raise MonitorNotStopped("The settlement monitor runs already; stop it first.")
        ready = asyncio.Event()
        self._running = task = asyncio.create_task(self._run(ready), name="settlement-monitor")
        waiting = asyncio.ensure_future(ready.wait())
        try:
            await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        finally:
            waiting.cancel()
        if task.done() and not ready.is_set():
            if self._running is task:
                self._running = None
            if task.cancelled():
                raise MonitorNotStopped("The settlement monitor was stopped while it started.")
            task.result()

    async def stop(self) -> None:
        """End every task; what is under way stays under way, and is taken up at the next start.
        Raises what made the monitor end before, if something did."""
        task, self._running = self._running, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    async def _run(self, ready: asyncio.Event) -> None:
        reader = self._manager.touched()  # first: nothing is missed while the rest is read
        try:
            await self._load_rules()
            await self._records.load()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listeners.run(), name="settlement-listeners")
                group.create_task(self._driver.run(), name="settlement-driver")
                await asyncio.sleep(0)  # both own tasks now
                await self._open_pairs()
                await self._guarded_sweep()
                group.create_task(self._watch(reader), name="settlement-watch")
                group.create_task(self._poll(), name="settlement-poll")
                ready.set()
        finally:
            reader.close()

    async def _load_rules(self) -> None:
        """Configured rules that cannot work stop the start; one set at run time that limits now
        forbid is left out, loudly, since it could not be changed while nothing runs."""
        rules, refused = self._configured, []
        rules.check(self._manager.limits)
        for stored in await self._store.thresholds():
            try:
                level = parse(stored.level, scope_name(stored.peer, stored.token))
                text = level if isinstance(level, int) else stored.level
                more = rules.with_level(stored.peer, stored.token, text)
                more.check(self._manager.limits)
                rules = more
            except ThresholdRefused as error:
                refused.append(f"Not in force: {error}")
        self.warnings = (*refused, *rules.check(self._manager.limits))
        for warning in self.warnings:
            log.warning("%s", warning)
        self._observer.rules = rules

    async def _open_pairs(self) -> None:
        """The ledger keeps hashes: pairs whose settlement is not done are named to it."""
        for key in self._records.open():
            try:
                await self._manager.open_accounts([key.pair])
            except BursarError as error:
                log.error("settlement of %s cannot be taken up: %s", key, error)
                self._observer.trouble[key.pair] = str(error)

    async def _watch(self, reader: TouchedReader) -> None:
        async for pairs in reader:
            touched = pairs
            while not await self._looked(touched):
                await self._clock.sleep(_RETRY_S)
                touched |= reader.take()

    async def _looked(self, pairs: frozenset[Pair]) -> bool:
        try:
            await self._observer.look(pairs)
        except BursarError as error:
            self._note(str(error))
        except Exception as error:
            log.exception("a look at %d pairs failed", len(pairs))
            self._note(str(error))
        else:
            self._note("")
            return True
        return False

    async def _poll(self) -> None:
        while True:
            await self._clock.sleep(self._interval_s)
            await self._guarded_sweep()

    async def _guarded_sweep(self) -> None:
        try:
            await self.sweep()
            self._note("")
        except BursarError as error:
            self._note(str(error))
        except Exception as error:
            log.exception("a settlement sweep failed")
            self._note(str(error))

    async def sweep(self) -> None:
        """Look at every pair now, carry on what was interrupted, and warn of what is stuck.
        Raises StoreError, LedgerError."""
        await self._records.load()
        await self._actions.recover([self._records[key] for key in self._records.open()])
        pairs = {*self._manager.pairs, *(key.pair for key in self._records.open())}
        await self._observer.look(pairs)
        for number, key in enumerate(self._records.open(), start=1):
            self._driver.wake(key)
            self._warn_if_stuck(key)
            if number % STRIDE == 0:
                await give_way()
        self.sweeps += 1

    def _warn_if_stuck(self, key: SettlementKey) -> None:
        row, now_ms = self._records[key], self._clock.now_ms()
        mark = (key, row.epoch, row.attempt)
        if is_stuck(row, now_ms, self._stuck_after_ms) and mark not in self._warned:
            self._warned.add(mark)
            log.warning(
                "settlement of %s is stuck: %d under way for %s; ask whoever pays by key %s, then"
                " complete or fail it",
                key,
                row.amount,
                span(now_ms - row.changed_ms),
                row.key,
            )

    def _note(self, error: str) -> None:
        if error and error != self.error:
            log.error("settlements: %s", error)
        self.error = error

    # -- held after a restore

    @property
    def held(self) -> bool:
        """Whether settlements wait to be released."""
        return self._observer.held

    async def release(self) -> None:
        """Let settlements go on, and look at every pair now if the monitor runs. Raises
        StoreError, LedgerError."""
        self._observer.held = self._driver.held = False
        if self._running is not None:
            await self.sweep()

    # -- states

    @property
    def failures(self) -> int:
        """Readings of balances that failed."""
        return self._observer.failures

    @property
    def listener_failures(self) -> int:
        """Times a listener raised."""
        return self._listeners.failures

    def get_settlement_state(
        self, peer: str, token: str, direction: Direction = _RECEIVABLE
    ) -> SettlementState:
        """Where settling stands; IDLE for a pair never seen."""
        return state_of(self._records[SettlementKey(peer, token, direction)])

    def get_all_settlement_states(self) -> dict[SettlementKey, SettlementState]:
        """Every monitored pair and every settlement that is not done; a copy."""
        return {key: state_of(self._records[key]) for key in self._keys()}

    def view(self, peer: str, token: str, direction: Direction = _RECEIVABLE) -> SettlementView:
        """All that is known of one pair in one direction."""
        key = SettlementKey(peer, token, direction)
        return view_of(
            key,
            self._records[key],
            self._observer.balances.get(key.pair),
            self._observer.threshold(key),
            self._driver.trouble.get(key)
            or self._actions.trouble.get(key)
            or self._observer.trouble.get(key.pair, ""),
            self._clock.now_ms(),
            self._stuck_after_ms,
        )

    def views(self) -> list[SettlementView]:
        """The same for every pair: what a board shows; also pairs that have no threshold."""
        shown = dict.fromkeys(self._keys())
        for pair in self._manager.pairs:
            for side in self._observer.rules.direction.directions:
                shown.setdefault(SettlementKey(pair.peer, pair.token, side))
        return [self.view(*key) for key in shown]

    def explain(self, peer: str, token: str, direction: Direction = _RECEIVABLE) -> str:
        """Why the pair is or is not settling, and what to do."""
        told = explain(self.view(peer, token, direction), self._stuck_after_ms)
        return f"{HELD} {told}" if self.held else told

    def _keys(self) -> list[SettlementKey]:
        pairs = dict.fromkeys(self._manager.pairs)
        pairs |= dict.fromkeys(key.pair for key in self._records.open())
        return self._observer.keys(pairs)

    # -- commands

    async def mark_settlement_in_progress(
        self,
        peer: str,
        token: str,
        direction: Direction = _RECEIVABLE,
        *,
        amount: int | None = None,
        idempotency_key: str | None = None,
        by: str = "operator",
    ) -> SettlementView:
        """A payment has begun: of `amount` base units, or of what is due above `settle_to`.

        Raises IllegalTransition, SettlementNotPossible; then nothing was changed. So for all
        three commands; `idempotency_key`, where given, must be that of the settlement meant.
        """
        if self.held:
            raise SettlementNotPossible(HELD)
        key = SettlementKey(peer, token, direction)
        await self._actions.begin(key, amount, by, idempotency_key)
        self._driver.wake(key)
        return self.view(*key)

    async def mark_settlement_completed(
        self,
        peer: str,
        token: str,
        direction: Direction = _RECEIVABLE,
        *,
        amount: int | None = None,
        idempotency_key: str | None = None,
    ) -> SettlementView:
        """The payment arrived: all of it, or the smaller `amount`. What is still due above the
        threshold is asked for at once."""
        key = SettlementKey(peer, token, direction)
        await self._actions.complete(key, amount, idempotency_key)
        return self._ended(key)

    async def mark_settlement_failed(
        self,
        peer: str,
        token: str,
        direction: Direction = _RECEIVABLE,
        *,
        reason: str,
        idempotency_key: str | None = None,
    ) -> SettlementView:
        """The payment was not made. It is required again, under the same key."""
        key = SettlementKey(peer, token, direction)
        await self._actions.fail(key, reason, idempotency_key)
        return self._ended(key)

    def _ended(self, key: SettlementKey) -> SettlementView:
        """The engine is asked no more about what ended, and at once about what comes after."""
        self._driver.drop(key)
        self._driver.wake(key)
        return self.view(*key)

    # -- thresholds and listeners

    @property
    def rules(self) -> ThresholdRules:
        """The thresholds in force."""
        return self._observer.rules

    async def set_threshold(
        self, peer: str, token: str, level: Level | None, *, by: str, reason: str = ""
    ) -> tuple[str, ...]:
        """Set a threshold while running: of a pair, with token "" of a peer, with both "" the
        default; None goes back to what is configured. It is kept, reported, and looked at at
        once. Answers warnings; raises ThresholdRefused and then nothing was changed."""
        configured = {(p, t): value for p, t, value in self._configured.scopes()}
        in_force = {(p, t): value for p, t, value in self.rules.scopes()}
        fallback = configured.get((peer, token)) if level is None else level
        rules = self.rules.with_level(peer, token, fallback)
        warnings = rules.check(self._manager.limits)
        event = SettlementThresholdChanged(
            timestamp=self._clock.now_ms(),
            peer_id=peer,
            token_id=token,
            old_level=_text(in_force.get((peer, token))),
            new_level=_text(fallback),
            operator=by,
            reason=reason,
        )
        records = await self._store.set_threshold(
            StoredThreshold(peer, token, _text(level)), [event]
        )
        self._observer.rules = rules
        self.warnings = warnings
        self._bus.publish(records[-1].seq)
        self._listeners.tell([event])
        log.info(
            "%s: %s -> %s by %s",
            scope_name(peer, token),
            event.old_level or "none",
            event.new_level or "none",
            by,
        )
        await self._observer.look(self._manager.pairs)
        return warnings

    def add_listener(self, listener: Listener) -> None:
        """Tell a function of every event from now on, amounts as ints. Whatever it does, others
        are told and detection goes on."""
        self._listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners.remove(listener)


def _text(level: Level | None) -> str:
    return "" if level is None else str(level)
