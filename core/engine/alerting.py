"""The engine's alerts: what changed since the last look becomes observations, once a second.

The alerts room decides and stores; here is only where its observations come from, and who
carries its events out. A store that fails is said once and tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from core.alerts import (
    AlertKeeper,
    AlertRefusedError,
    Observation,
    backups_seen,
    balance_gone,
    balance_seen,
    chain_seen,
    configured_rules,
    custody_seen,
    endpoints_seen,
    event_webhook,
    settlement_of,
    settlement_seen,
    trial_seen,
)
from core.api import (
    AcknowledgeAlert,
    AlertView,
    BackupsView,
    BalanceView,
    CommandRefusedError,
    Outcome,
    SilenceAlert,
    StatePatch,
)
from core.balances.versions import ChangeLog, VersionCounter
from core.clock import give_way
from core.config import Settings
from core.events import Bus
from core.model import Agent, Asset, Clock
from core.store.protocol import Store, StoreError
from core.telemetry.audit import AuditError, AuditLog
from core.telemetry.webhooks import open_client

log = logging.getLogger("bursar.alerts")

_LOOK_S = 1.0
_RETRY_S = 5.0
_SLICE = 500
_AGEING_S = 60.0
"""Backups grow old without any change: they are looked at again this often."""


class Alerting:
    """`run` is its one task. `patch(version)` answers what changed after a version; `row` a
    balance by account."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        bus: Bus,
        clock: Clock,
        counter: VersionCounter,
        audit: AuditLog,
        patch: Callable[[int], Awaitable[StatePatch]],
        row: Callable[[int], BalanceView],
        agents: Callable[[], Mapping[str, Agent]],
        assets: Callable[[], Mapping[int, Asset]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._clock = clock
        self._patch = patch
        self._row = row
        self._agents = agents
        self._assets = assets
        self._keeper = AlertKeeper(store, clock, configured_rules(settings), audit, bus)
        self._log = ChangeLog[str](counter)
        self._backups: BackupsView | None = None
        self._aged_at = -_AGEING_S
        self._revision = -1
        self._started = False
        self._error = ""

    async def run(self) -> None:
        """Observe and send out until cancelled."""
        webhooks = self._settings.webhooks
        async with asyncio.TaskGroup() as group, open_client(webhooks.url) as client:
            sender = event_webhook(webhooks, self._store, self._bus, self._clock, client)
            if sender is not None:
                group.create_task(sender.run(), name="webhook")
            await self._watch()

    async def _watch(self) -> None:
        version = 0
        while True:
            try:
                await self.ensure()
                patch = await self._patch(version)
                if patch.version > version:
                    await self._observe(patch)
                await self._observe_backups(patch)
                version, self._error = patch.version, ""
            except (StoreError, AlertRefusedError) as error:
                if str(error) != self._error:
                    self._error = str(error)
                    log.error("alerts are not kept: %s", error)
                await self._clock.sleep(_RETRY_S)
            if self._keeper.revision != self._revision:
                self._revision = self._keeper.revision
                self._log.mark("alerts")
            await self._clock.sleep(_LOOK_S)

    async def ensure(self) -> None:
        """Know what stands open. Raises StoreError."""
        if not self._started:
            await self._keeper.start()
            self._started = True

    async def _observe(self, patch: StatePatch) -> None:
        agents, assets = self._agents(), self._assets()
        seen: list[Observation] = [chain_seen(chain) for chain in patch.chains]
        seen += [trial_seen(trial) for trial in patch.trial or ()]
        seen += [settlement_seen(settlement_of(view)) for view in patch.settlements]
        for account in patch.removed:
            seen += balance_gone(account)
        for view in patch.custody:
            row = self._row(view.account)
            seen.append(custody_seen(view, row, assets[row.asset], agents[row.agent].group))
        complete: tuple[str, ...] = ()
        if patch.endpoints is not None:
            seen += endpoints_seen(patch.endpoints)
            complete = ("endpoint",)
        await self._keeper.observe(seen, complete)
        for start in range(0, len(patch.balances), _SLICE):
            await self._keeper.observe(
                [
                    balance_seen(row, assets[row.asset], agents[row.agent].group)
                    for row in patch.balances[start : start + _SLICE]
                    if row.agent in agents
                ]
            )
            await give_way()

    async def _observe_backups(self, patch: StatePatch) -> None:
        now = self._clock.monotonic()
        if patch.backups is None and now < self._aged_at + _AGEING_S:
            return
        self._backups = patch.backups or self._backups
        if self._backups is not None:
            await self._keeper.observe(backups_seen(self._backups, self._clock.now_ms()))
        self._aged_at = now

    # --- what desks see and operators say --------------------------------------------------

    def all(self) -> tuple[AlertView, ...]:
        """Every open alert, oldest first."""
        return self._keeper.open_alerts()

    def changed_since(self, version: int) -> tuple[AlertView, ...] | None:
        """The open alerts if they changed after `version`, else None."""
        return self.all() if self._log.since(version) else None

    async def execute(self, command: AcknowledgeAlert | SilenceAlert) -> Outcome:
        """Carry out an operator's command. Raises CommandRefusedError, StoreError."""
        await self.ensure()
        try:
            if isinstance(command, AcknowledgeAlert):
                view = await self._keeper.acknowledge(command.id, "operator", command.reason)
                return Outcome(f"Alert {view.id} ({view.about}) is acknowledged.", 1)
            view = await self._keeper.silence(command.id, command.until_ms, command.reason)
            verb = "silenced" if command.until_ms else "no longer silenced"
            return Outcome(f"Alert {view.id} ({view.about}) is {verb}.", 1)
        except (AlertRefusedError, AuditError) as error:
            raise CommandRefusedError(str(error)) from error
