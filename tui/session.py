"""What the desk holds of the engine: one picture, fed by the update stream, drained per tick.

The pump folds whatever arrives into a pending picture; once per tick the drain makes it the
shown one and sets a frozen snapshot per concern on reactive attributes, which widgets watch.
So a burst of a thousand changes costs one repaint, and a paused desk costs none. A lost engine
is a state, not an error: the last picture stays, and the session comes back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from types import MappingProxyType

import msgspec
from textual.dom import DOMNode
from textual.reactive import var

from core.api import (
    AlertView,
    AssetTotal,
    BackupsView,
    BalanceView,
    ChainState,
    Command,
    CommandRefusedError,
    CustodyView,
    EngineApi,
    EngineLostError,
    EngineState,
    EventQuery,
    LedgerView,
    Outcome,
    PeerView,
    SettlementHealth,
    SettlementPairView,
    StatePatch,
    StoreHealth,
    TrialView,
)
from core.events import EventRecord
from core.model import Agent, Asset, BursarError, Clock, EndpointHealth
from tui import alerts as open_alerts
from tui.alerts import OpenAlerts
from tui.fleet import FleetModel
from tui.settlements import SettlementKey, key_of

EVENT_TAIL = 500
"""Events kept for the screen, and read at the start; older ones are read from the store."""
PERIODS_S = (0.25, 0.5, 1.0, 2.0, 5.0)
"""The rates of display, fastest first: 4 Hz to 0.2 Hz."""
SLICE = 1_000
"""Changed rows that a drain takes between two turns of the loop: about a millisecond."""
RETRY_S = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Waits before each new try to reach a lost engine; the last one repeats."""
AGREES = frozenset({"equal", "opened"})
"""States of a `CustodyView` in which chain and ledger simply agree."""

PairKey = tuple[str, str]
"""Peer and token."""


class Phase(StrEnum):
    """How this desk stands with its engine."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"
    FAILED = "failed"  # the engine cannot start: trying again would say the same


class Link(msgspec.Struct, frozen=True):
    """The connection and who is at its other end. `reason` says why it is lost or failed."""

    phase: Phase = Phase.CONNECTING
    reason: str = ""
    attempt: int = 0
    node_id: str = ""
    environment: str = ""
    demo: bool = False
    started_ms: int = 0
    interval_ms: int = 30_000
    clients: int = 0


class FleetChange(msgspec.Struct, frozen=True):
    """What the last drain did to the fleet. `serial` counts drains that changed it.

    `dirty` are account ids whose shown text may differ (removed ones included); `reshaped`
    says that agents or assets changed too, or that the whole picture is new.
    """

    serial: int = 0
    dirty: frozenset[int] = frozenset()
    reshaped: bool = False


class EventTail(msgspec.Struct, frozen=True):
    """The newest events, ascending; the last `fresh` of them came with this drain and are
    news (what was stored before this desk looked is not)."""

    records: tuple[EventRecord, ...] = ()
    fresh: int = 0

    @property
    def news(self) -> tuple[EventRecord, ...]:
        """The events that came with this drain."""
        return self.records[len(self.records) - self.fresh :]


class Session(DOMNode):
    """One desk's side of an engine. `run` is its life; the app owns the task."""

    link: var[Link] = var(Link())
    chains: var[tuple[ChainState, ...]] = var(())
    endpoints: var[tuple[EndpointHealth, ...]] = var(())
    totals: var[tuple[AssetTotal, ...]] = var(())
    store: var[StoreHealth | None] = var(None)
    ledger: var[LedgerView | None] = var(None)
    peers: var[Mapping[PairKey, PeerView]] = var(MappingProxyType({}))
    trial: var[tuple[TrialView, ...]] = var(())
    custody: var[Mapping[int, CustodyView]] = var(MappingProxyType({}))
    """By account, what does not simply agree."""
    settlements: var[Mapping[SettlementKey, SettlementPairView]] = var(MappingProxyType({}))
    settlement: var[SettlementHealth | None] = var(None)
    stuck: var[int] = var(0)
    """Settlements under way for longer than they should be."""
    backups: var[BackupsView | None] = var(None)
    alerts: var[OpenAlerts] = var(OpenAlerts())
    """What is wrong now. Pausing the display does not hold these."""
    events: var[EventTail] = var(EventTail())
    fleet: var[FleetChange] = var(FleetChange())
    paused: var[bool] = var(False)
    period_s: var[float] = var(1.0)
    pulse: var[int] = var(0)
    """Counts ticks, also paused ones: for what moves with the clock alone."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[EngineApi]],
        clock: Clock,
        *,
        period_s: float = 1.0,
        read_only: bool = False,
    ) -> None:
        super().__init__()
        self.clock = clock
        self.read_only = read_only
        self.model = FleetModel(clock)
        """The shown picture of the fleet; changes only in a drain."""
        self.restarting = ""
        """Why the engine is about to start again, as this desk asked for; "" where it is not."""
        self.staged = ""
        """A restore that is planned and neither applied nor dropped; `close` drops it."""
        self._connect = connect
        self._api: EngineApi | None = None
        self._version = 0
        self._last_seq = 0
        self._last_alert: int | None = None
        self._tail: deque[EventRecord] = deque(maxlen=EVENT_TAIL)
        self._fresh: deque[EventRecord] = deque(maxlen=EVENT_TAIL)
        self._pending = _Pending()
        self._full: EngineState | None = None
        self._dirty: set[int] = set()  # rows taken in slices that no FleetChange told of yet
        self.set_reactive(Session.period_s, period_s)

    # --- life ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, follow, come back after losses; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick_forever(), name="desk tick")
            tasks.create_task(self._follow_forever(), name="desk updates")

    async def close(self) -> None:
        """Stop or detach the engine, once."""
        api, self._api = self._api, None
        if api is None:
            return
        if self.staged:
            with contextlib.suppress(EngineLostError):  # it took the plan along
                await api.discard_restore(self.staged)
        await api.close()

    async def _follow_forever(self) -> None:
        attempt = 0
        while True:
            try:
                if self._api is None:
                    self._api = await self._connect()
                await self._begin(self._api)
                attempt = 0
                await self._follow(self._api)
                raise EngineLostError("the engine stopped")
            except EngineLostError as error:
                self.link = msgspec.structs.replace(
                    self.link, phase=Phase.LOST, reason=str(error), attempt=attempt
                )
            except BursarError as error:
                self.link = msgspec.structs.replace(
                    self.link, phase=Phase.FAILED, reason=str(error)
                )
                return
            await self.clock.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1

    async def _begin(self, api: EngineApi) -> None:
        """Take the whole state and show it at once, paused or not."""
        state = await api.state()
        if state.seq < self._last_seq:  # another store stands behind the door now
            self._last_seq = 0
            self._last_alert = None
            self._tail.clear()
            self._fresh.clear()
        self._take(state)
        self.drain(force=True)
        if not self._tail:
            stored = await api.events(EventQuery(limit=EVENT_TAIL, newest=True))
            self._tail.extend(stored)
            self._last_seq = max(state.seq, stored[-1].seq if stored else 0)
            self.events = EventTail(tuple(self._tail))

    async def _follow(self, api: EngineApi) -> None:
        async for update in api.updates(self._version, self._last_seq):
            if isinstance(update, StatePatch):
                self._fold(update)
            elif update.seq > self._last_seq:
                self._last_seq = update.seq
                self._fresh.append(update)

    async def _tick_forever(self) -> None:
        while True:
            await self.clock.sleep(self.period_s)
            for _ in self._draining(force=False):
                await asyncio.sleep(0)  # a key pressed meanwhile waits for one slice

    # --- the picture -----------------------------------------------------------------------

    def _take(self, state: EngineState) -> None:
        self._version = state.version
        self._pending = _Pending()
        self._full = state
        self.link = Link(
            phase=Phase.LIVE,
            node_id=state.node_id,
            environment=state.environment,
            demo=state.demo,
            started_ms=state.started_ms,
            interval_ms=state.interval_ms,
            clients=state.clients,
        )

    def _fold(self, patch: StatePatch) -> None:
        """Add a patch to what waits for the next drain."""
        self._version = patch.version
        self._pending.add(patch)
        if patch.clients is not None and patch.clients != self.link.clients:
            self.link = msgspec.structs.replace(self.link, clients=patch.clients)

    def drain(self, *, force: bool = False) -> None:
        """Make what arrived the shown picture; a paused session keeps its own unless forced, but
        for alerts: nobody is to sleep through one because a display was held."""
        for _ in self._draining(force=force):
            pass

    def _draining(self, *, force: bool) -> Iterator[None]:
        """`drain` in slices. Another drain may come between two of them and do all there is."""
        self.model.tick()
        if force or not self.paused:
            if self._full is None:
                while self._pending.rows > SLICE:
                    self._dirty |= self.model.apply(self._pending.slice(self._version, SLICE))
                    yield
            self._drain_state()
            self._drain_events()
        else:
            self._drain_alerts(self._pending.alerts)
        yield from self.model.arranging()
        self.pulse += 1

    def _drain_state(self) -> None:
        full, self._full = self._full, None
        patch, self._pending = self._pending.patch(self._version), _Pending()
        dirty, self._dirty = self._dirty, set()
        if full is not None:
            self.model.load(full)
            dirty |= self.model.rows.keys()
            self.chains, self.endpoints, self.totals = full.chains, full.endpoints, full.totals
            self.store = full.store
            self.ledger, self.trial = full.ledger, full.trial
            self.peers = MappingProxyType({(p.peer, p.token): p for p in full.peers})
            self.custody = _differing({}, full.custody)
            self.settlement = full.settlement
            self.backups = full.backups
            self._drain_alerts(full.alerts)
            self._show_settlements({key_of(view): view for view in full.settlements})
        dirty |= self.model.apply(patch)
        if patch.chains:
            self.chains = tuple(self.model.chains.values())
        if patch.endpoints is not None:
            self.endpoints = patch.endpoints
        if patch.totals is not None:
            self.totals = patch.totals
        if patch.store is not None:
            self.store = patch.store
        if patch.backups is not None:
            self.backups = patch.backups
        self._drain_books(patch)
        self._drain_alerts(patch.alerts)
        reshaped = full is not None or bool(patch.agents or patch.assets)
        if reshaped or dirty:
            self.fleet = FleetChange(self.fleet.serial + 1, frozenset(dirty), reshaped)

    def _drain_books(self, patch: StatePatch) -> None:
        if patch.ledger is not None:
            self.ledger = patch.ledger
        if patch.peers:
            fresh = {(view.peer, view.token): view for view in patch.peers}
            self.peers = MappingProxyType({**self.peers, **fresh})
        if patch.trial is not None:
            self.trial = patch.trial
        if patch.custody:
            self.custody = _differing(self.custody, patch.custody)
        if patch.settlement is not None:
            self.settlement = patch.settlement
        if patch.settlements:
            fresh_rows = {key_of(view): view for view in patch.settlements}
            self._show_settlements({**self.settlements, **fresh_rows})

    def _show_settlements(self, found: dict[SettlementKey, SettlementPairView]) -> None:
        self.stuck = sum(view.stuck for view in found.values())
        self.settlements = MappingProxyType(found)

    def _drain_alerts(self, found: Iterable[AlertView] | None) -> None:
        """Arrange the alerts anew when they changed, or when a silence ended."""
        now_ms, ends_ms = self.now_ms(), self.alerts.until_ms
        if found is None:
            if not ends_ms or now_ms < ends_ms:
                return
            found = self.alerts.listed
        shown = open_alerts.arranged(found, now_ms, self._last_alert)
        self._last_alert = max(
            self._last_alert or 0, max((alert.id for alert in shown.listed), default=0)
        )
        self.alerts = shown

    def _drain_events(self) -> None:
        if self._fresh:
            fresh = len(self._fresh)
            self._tail.extend(self._fresh)
            self._fresh.clear()
            self.events = EventTail(tuple(self._tail), fresh)

    # --- what a desk may ask ---------------------------------------------------------------

    @property
    def api(self) -> EngineApi:
        """The engine, for questions. Raises EngineLostError while there is none."""
        if self._api is None:
            raise EngineLostError("the engine is not there yet")
        return self._api

    @property
    def hosts_engine(self) -> bool:
        """Whether the engine lives in this process and ends with it."""
        from core.service.client import EngineClient

        return self._api is not None and not isinstance(self._api, EngineClient)

    @property
    def writable(self) -> bool:
        """Whether a command could be given now."""
        return not self.read_only and self.link.phase is Phase.LIVE

    async def execute(self, command: Command) -> Outcome:
        """Give a command. Raises CommandRefusedError (always on a read-only desk)."""
        if self.read_only:
            raise CommandRefusedError("this desk is read-only; start one without --read-only")
        return await self.api.execute(command)

    def change_rate(self, steps: int) -> float:
        """Faster (positive) or slower by so many steps; returns the seconds between pictures."""
        nearest = min(range(len(PERIODS_S)), key=lambda i: abs(PERIODS_S[i] - self.period_s))
        self.period_s = PERIODS_S[max(0, min(len(PERIODS_S) - 1, nearest - steps))]
        return self.period_s

    def now_ms(self) -> int:
        """Wall clock in milliseconds since the epoch."""
        return self.clock.now_ms()


def _differing(
    before: Mapping[int, CustodyView], views: Iterable[CustodyView]
) -> Mapping[int, CustodyView]:
    """Custody with newer views laid over it; one that agrees takes an earlier one back."""
    found = dict(before)
    for view in views:
        if view.state in AGREES:
            found.pop(view.account, None)
        else:
            found[view.account] = view
    return MappingProxyType(found)


class _Pending:
    """What arrived since the last drain, newest per key."""

    def __init__(self) -> None:
        self._chains: dict[str, ChainState] = {}
        self._assets: dict[int, Asset] = {}
        self._agents: dict[str, Agent] = {}
        self._accounts: dict[int, BalanceView] = {}
        self._removed: set[int] = set()
        self._endpoints: tuple[EndpointHealth, ...] | None = None
        self._totals: tuple[AssetTotal, ...] | None = None
        self._store: StoreHealth | None = None
        self._ledger: LedgerView | None = None
        self._peers: dict[PairKey, PeerView] = {}
        self._trial: tuple[TrialView, ...] | None = None
        self._custody: dict[int, CustodyView] = {}
        self._settlements: dict[SettlementKey, SettlementPairView] = {}
        self._settlement: SettlementHealth | None = None
        self._backups: BackupsView | None = None
        self.alerts: tuple[AlertView, ...] | None = None

    def add(self, patch: StatePatch) -> None:
        """Lay a newer patch over what waits."""
        self._chains |= {chain.name: chain for chain in patch.chains}
        self._assets |= {asset.id: asset for asset in patch.assets}
        self._agents |= {agent.id: agent for agent in patch.agents}
        for row in patch.balances:
            self._accounts[row.account] = row
            self._removed.discard(row.account)
        for account in patch.removed:
            self._accounts.pop(account, None)
            self._removed.add(account)
        if patch.endpoints is not None:
            self._endpoints = patch.endpoints
        if patch.totals is not None:
            self._totals = patch.totals
        if patch.store is not None:
            self._store = patch.store
        if patch.ledger is not None:
            self._ledger = patch.ledger
        self._peers |= {(view.peer, view.token): view for view in patch.peers}
        if patch.trial is not None:
            self._trial = patch.trial
        self._custody |= {view.account: view for view in patch.custody}
        self._settlements |= {key_of(view): view for view in patch.settlements}
        if patch.settlement is not None:
            self._settlement = patch.settlement
        if patch.backups is not None:
            self._backups = patch.backups
        if patch.alerts is not None:
            self.alerts = patch.alerts

    @property
    def rows(self) -> int:
        """How many balances wait."""
        return len(self._accounts)

    def slice(self, version: int, limit: int) -> StatePatch:
        """Take so many balances, the oldest first, and leave all else for `patch`."""
        accounts = list(islice(self._accounts, limit))
        return StatePatch(version, 0, balances=tuple(map(self._accounts.pop, accounts)))

    def patch(self, version: int) -> StatePatch:
        """All of it as one patch."""
        return StatePatch(
            version,
            0,
            chains=tuple(self._chains.values()),
            endpoints=self._endpoints,
            assets=tuple(self._assets.values()),
            agents=tuple(self._agents.values()),
            balances=tuple(self._accounts.values()),
            removed=tuple(self._removed),
            totals=self._totals,
            store=self._store,
            ledger=self._ledger,
            peers=tuple(self._peers.values()),
            trial=self._trial,
            custody=tuple(self._custody.values()),
            settlements=tuple(self._settlements.values()),
            settlement=self._settlement,
            backups=self._backups,
            alerts=self.alerts,
        )
