"""The engine's settlement monitor: started when the books are open, mirrored as the board's rows.

A monitor that cannot start is a state with its reason, tried again; rates and expected times come
from the last minutes of each pair's own balance.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable

import httpx
import msgspec

from core.accounting import AccountManager, Direction, Pair
from core.api import (
    CommandRefusedError,
    CompleteSettlement,
    FailSettlement,
    LedgerAwayError,
    Outcome,
    SetThreshold,
    SettlementHealth,
    SettlementPairView,
    StartSettlement,
)
from core.balances.versions import ChangeLog, VersionCounter
from core.clock import give_way
from core.config import SettlementSettings
from core.events import Bus, Event
from core.ledger import Ledger, LedgerError
from core.model import Amount, BursarError, Clock, Secret
from core.settlement import (
    ManualEngine,
    SettlementEngine,
    SettlementError,
    SettlementMonitor,
    SettlementView,
    Sides,
    ThresholdRules,
    WebhookEngine,
)
from core.settlement.monitor import HELD
from core.store.protocol import SettlementStore, StoreError
from core.telemetry.webhooks import SignedPost, open_client

log = logging.getLogger("bursar.settlement")

_LOOK_S = 0.25
_ALL_S = 5.0  # rates and `stuck` move with time alone
_SLICE = 200
_RETRY_S = 5.0
_RATE_WINDOW_MS = 300_000
_RATE_LEAST_MS = 10_000
_RATE_POINTS = 32

Key = tuple[str, str, str]


class SettlementChanges(msgspec.Struct, frozen=True):
    """What changed on the board after a version."""

    rows: tuple[SettlementPairView, ...]
    health: SettlementHealth | None


NO_SETTLEMENTS = SettlementChanges((), None)


class Settling:
    """One node's settlements. `run` is its one task; `is_ready` says when the books are open."""

    def __init__(
        self,
        settings: SettlementSettings,
        manager: AccountManager,
        ledger: Ledger,
        store: SettlementStore,
        bus: Bus,
        clock: Clock,
        counter: VersionCounter,
        *,
        generation: str,
        is_ready: Callable[[], bool],
        engine: SettlementEngine | None = None,
        held: bool = False,
    ) -> None:
        self._clock = clock
        self._is_ready = is_ready
        self._client: httpx.AsyncClient | None = None
        self._manager = manager
        self._sides = Sides(settings.direction).directions
        self._heard: set[Pair] = set()
        self._engine = engine or self._engine_of(settings, clock)
        thresholds = settings.thresholds
        rules = ThresholdRules(
            default=thresholds.default,
            peers=dict(thresholds.peers),
            tokens={peer: dict(levels) for peer, levels in thresholds.tokens.items()},
            settle_to=settings.settle_to,
            rearm=settings.rearm,
            direction=Sides(settings.direction),
        )
        self._monitor = SettlementMonitor(
            manager,
            ledger,
            store,
            bus,
            clock,
            rules,
            generation=generation,
            engine=self._engine,
            stuck_after_s=int(settings.stuck_after) / 1000,
            held=held,
        )
        self._log = ChangeLog[Key](counter)
        self._health_log = ChangeLog[str](counter)
        self._rows: dict[Key, SettlementPairView] = {}
        self._pace: dict[Key, deque[tuple[int, int]]] = {}
        self._running = False
        self._error = "waiting for the ledger"
        self._health: SettlementHealth | None = None

    def _engine_of(self, settings: SettlementSettings, clock: Clock) -> SettlementEngine:
        if settings.engine == "manual":
            return ManualEngine()
        self._client = open_client(settings.webhook_url)
        secret = Secret(os.environ[settings.webhook_secret_env])
        post = SignedPost(self._client, settings.webhook_url, secret, clock)
        return WebhookEngine(post, clock)

    # --- life ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start the monitor when the books are open, mirror it, and stop it when cancelled."""
        reader = self._manager.touched()
        self._monitor.add_listener(self._hear)
        looked = float("-inf")
        try:
            while True:
                if not self._running and self._is_ready():
                    await self._start()
                if self._running:
                    moved, self._heard = reader.take() | self._heard, set()
                    if self._clock.monotonic() - looked >= _ALL_S:
                        looked = self._clock.monotonic()
                        await self._mirror_all()
                    else:
                        self._mirror(moved)
                self._look()
                await self._clock.sleep(_LOOK_S if self._running else _LOOK_S * 4)
        finally:
            self._monitor.remove_listener(self._hear)
            reader.close()
            await self._stop()

    async def _hear(self, event: Event) -> None:
        """A state changed without the ledger being touched (a failure, a threshold)."""
        peer, token = getattr(event, "peer_id", ""), getattr(event, "token_id", "")
        if peer and token:
            self._heard.add(Pair(peer, token))
        else:
            self._heard |= set(self._manager.pairs)

    async def _start(self) -> None:
        try:
            await self._monitor.start()
        except (SettlementError, StoreError, LedgerError) as error:
            self._error = str(error)
            log.error("settlements are not watched: %s", error)
            self._look()
            await self._clock.sleep(_RETRY_S)
        else:
            self._running, self._error = True, ""

    async def _stop(self) -> None:
        if self._running:
            self._running = False
            try:
                await self._monitor.stop()
            except BursarError as error:
                log.error("the settlement monitor had ended: %s", error)
        if self._client is not None:
            await self._client.aclose()

    # --- mirrors ---------------------------------------------------------------------------

    async def _mirror_all(self) -> None:
        """Every pair, in slices that do not hold up the loop."""
        pairs = self._manager.pairs
        for start in range(0, len(pairs), _SLICE):
            self._mirror(pairs[start : start + _SLICE])
            await give_way()

    def _mirror(self, pairs: Iterable[Pair]) -> None:
        now_ms = self._clock.now_ms()
        views = [self._monitor.view(*pair, side) for pair in pairs for side in self._sides]
        for view in views:
            key = (view.peer, view.token, view.direction.value)
            row = self._row(key, view, now_ms)
            if self._rows.get(key) != row:
                self._rows[key] = row
                self._log.mark(key)

    def _row(self, key: Key, view: SettlementView, now_ms: int) -> SettlementPairView:
        rate = self._rate(key, view.due, now_ms)
        eta_s = None
        if rate and rate > 0 and view.threshold is not None and view.due is not None:
            eta_s = max(0, (view.threshold + 1 - view.due) * 60 // rate)
            eta_s -= eta_s % (60 if eta_s >= 600 else 5)  # a quiet board moves in coarse steps
        return SettlementPairView(
            peer=view.peer,
            token=view.token,
            direction=view.direction.value,
            state=view.state.value,
            due=_amount(view.due),
            threshold=_amount(view.threshold),
            rearm=_amount(view.rearm),
            settle_to=Amount(view.settle_to),
            unmonitored=view.unmonitored,
            amount=_amount(view.amount),
            attempt=view.attempt,
            idempotency_key=view.idempotency_key,
            begun_by=view.begun_by,
            since_ms=view.since_ms,
            stuck=view.stuck,
            retry_ms=view.retry_ms,
            reason=view.reason,
            trouble=view.trouble,
            settled_ms=view.settled_ms,
            settled_amount=_amount(view.settled_amount),
            rate_per_minute=_amount(rate),
            eta_s=eta_s,
        )

    def _rate(self, key: Key, due: int | None, now_ms: int) -> int | None:
        """Base units a minute over the last minutes. A fall (somebody paid) starts anew, so that
        a settlement does not look like falling debt."""
        if due is None:
            return None
        points = self._pace.setdefault(key, deque(maxlen=_RATE_POINTS))
        if points and due < points[-1][1]:
            points.clear()
        if not points or due != points[-1][1]:
            points.append((now_ms, due))
        while len(points) > 1 and points[1][0] < now_ms - _RATE_WINDOW_MS:
            points.popleft()
        span_ms = now_ms - points[0][0]
        if span_ms < _RATE_LEAST_MS or len(points) < 2:
            return None
        per_minute = (due - points[0][1]) * 60_000 // span_ms
        step = int(10 ** max(0, len(str(per_minute)) - 2))
        return per_minute - per_minute % step

    def _look(self) -> None:
        health = SettlementHealth(
            running=self._running,
            engine=self._engine.name,
            error=self._error or self._monitor.error,
            sweeps=self._monitor.sweeps,
            failures=self._monitor.failures,
            warnings=((HELD,) if self._monitor.held else ()) + self._monitor.warnings,
        )
        quiet = self._health and msgspec.structs.replace(health, sweeps=self._health.sweeps)
        if quiet != self._health or self._health is None:
            self._health = health
            self._health_log.mark("health")

    def all(self) -> SettlementChanges:
        """The board as it stands."""
        return SettlementChanges(tuple(self._rows.values()), self._health)

    def changed_since(self, version: int) -> SettlementChanges:
        """What is new after `version`."""
        return SettlementChanges(
            tuple(self._rows[key] for key in self._log.since(version)),
            self._health if self._health_log.since(version) else None,
        )

    # --- commands --------------------------------------------------------------------------

    async def execute(
        self, command: StartSettlement | CompleteSettlement | FailSettlement | SetThreshold
    ) -> Outcome:
        """Carry out a command. Raises CommandRefusedError, LedgerAwayError."""
        await self.ensure()
        try:
            if isinstance(command, SetThreshold):
                return await self._set_threshold(command)
            direction = Direction(command.direction)
            where = f"{command.peer} in {command.token}"
            if isinstance(command, StartSettlement):
                view = await self._monitor.mark_settlement_in_progress(
                    command.peer, command.token, direction, amount=command.amount
                )
                return Outcome(f"Settlement of {view.amount} with {where} is under way.", 1)
            key = command.key or None
            if isinstance(command, CompleteSettlement):
                view = await self._monitor.mark_settlement_completed(
                    command.peer,
                    command.token,
                    direction,
                    amount=command.amount,
                    idempotency_key=key,
                )
                return Outcome(f"Settled {view.settled_amount} with {where}; now {view.state}.", 1)
            view = await self._monitor.mark_settlement_failed(
                command.peer, command.token, direction, reason=command.reason, idempotency_key=key
            )
            return Outcome(f"The settlement with {where} failed; now {view.state}.", 1)
        except (SettlementError, ValueError) as error:
            raise CommandRefusedError(str(error)) from error
        except LedgerError as error:
            raise LedgerAwayError(f"The ledger does not answer: {error}") from error

    async def _set_threshold(self, command: SetThreshold) -> Outcome:
        text = command.level.strip()
        level = int(text) if text.isdecimal() else (text or None)
        warnings = await self._monitor.set_threshold(
            command.peer, command.token, level, by="operator", reason=command.reason
        )
        return Outcome("The threshold is set.", 1, tuple(warnings))

    async def explain(self, peer: str, token: str, direction: str) -> str:
        """Why a pair is or is not settling. Raises LedgerAwayError, CommandRefusedError."""
        await self.ensure()
        try:
            return self._monitor.explain(peer, token, Direction(direction))
        except ValueError as error:
            raise CommandRefusedError(f"There is no direction {direction!r}.") from error

    @property
    def held(self) -> bool:
        """Whether settlements wait for an operator after a restore."""
        return self._monitor.held

    async def release(self) -> None:
        """Let them go on. Raises LedgerAwayError where they cannot be looked at right now; they
        are released all the same."""
        try:
            await self._monitor.release()
        except LedgerError as error:
            raise LedgerAwayError(f"The ledger does not answer: {error}") from error
        finally:
            self._look()

    async def ensure(self) -> None:
        """Start the monitor for one command, where nothing runs. Raises LedgerAwayError."""
        if not self._running and self._is_ready():
            await self._start()
            await self._mirror_all()
            self._look()
        if not self._running:
            raise LedgerAwayError(f"Settlements are not watched: {self._error}")

    async def close(self) -> None:
        """Stop a monitor that `ensure` started."""
        await self._stop()


def _amount(value: int | None) -> Amount | None:
    return None if value is None else Amount(value)
