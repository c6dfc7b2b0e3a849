"""Alerts through the engine: opened by a real reading, acknowledged, silenced, audited."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from core.api import (
    AcknowledgeAlert,
    AlertView,
    BackupsView,
    CommandRefusedError,
    EventQuery,
    ImportWallets,
    SilenceAlert,
    StatePatch,
    WalletRow,
)
from core.balances.versions import VersionCounter
from core.config import parse_settings
from core.engine import Engine
from core.engine.alerting import Alerting
from core.events import Bus
from core.model import Severity
from core.store.sqlite import SqliteStore
from core.telemetry.audit import AuditLog, verify
from tests.cli.shell import base_config, base_node, small_world
from tests.clock import TestClock, until


async def open_alerts(engine: Engine, rule: str, count: int) -> list[AlertView]:
    ends = time.monotonic() + 60
    while True:
        found = [a for a in (await engine.state()).alerts if a.kind == rule]
        if len(found) == count:
            return found
        assert time.monotonic() < ends, (await engine.state()).alerts
        await asyncio.sleep(0.05)


async def test_a_balance_below_its_floor_is_one_alert_over_a_restart(tmp_path: Path) -> None:
    world, _ = small_world()
    agent = world.agents[0]
    async with base_node(world) as node:
        config = base_config(node.url).replace('floor = "50"', 'floor = "99999"')
        text = f'data_dir = "{tmp_path / "data"}"\n[polling]\ninterval = "1s"\n{config}'
        settings = parse_settings(text, "test", {})
        engine = Engine(settings)
        await engine.start()
        row = WalletRow(agent.id, "base", agent.addresses["base"])
        await engine.execute(ImportWallets((row,)))
        [alert] = await open_alerts(engine, "balance-below", 1)
        assert agent.id in alert.about
        with pytest.raises(CommandRefusedError, match="reason is needed"):
            await engine.execute(AcknowledgeAlert(alert.id, " "))
        await engine.execute(AcknowledgeAlert(alert.id, "refill ordered"))
        until_ms = int(time.time() * 1000) + 3_600_000
        await engine.execute(SilenceAlert(alert.id, until_ms, "night"))
        await engine.close()
        again = Engine(settings)
        await again.start()
        [kept] = await open_alerts(again, "balance-below", 1)
        assert (kept.id, kept.acknowledged_reason) == (alert.id, "refill ordered")
        assert not kept.loud(int(time.time() * 1000))
        await asyncio.sleep(2.5)  # two more looks
        opened = await again.events(EventQuery(types=("ALERT_OPENED",), limit=100))
        assert sum("USDC" in str(event.payload) for event in opened) == 1
        await again.close()
    checked = verify(settings.data_path / "audit.jsonl")
    assert checked.ok


async def test_backups_grow_overdue_without_any_change_and_are_told_of_once(tmp_path: Path) -> None:
    clock, level_ms = TestClock(), 8 * 86_400_000
    store = SqliteStore(tmp_path / "bursar.db", "node-a")
    await store.open()
    made_ms = clock.now_ms() - level_ms + 90_000
    audit = AuditLog(tmp_path / "audit.jsonl", clock)
    first = StatePatch(1, 0, backups=BackupsView(last_ms=made_ms))

    async def patch(version: int) -> StatePatch:
        return first if version < 1 else StatePatch(version, 0)

    alerting = Alerting(
        parse_settings("", "test", {}),
        store,
        Bus(),
        clock,
        VersionCounter(),
        audit,
        patch,
        row=lambda account: pytest.fail("no balance is observed"),
        agents=dict,
        assets=dict,
    )

    async def looks(seconds: int) -> None:
        for _ in range(seconds):  # what is written is written in real time
            await until(lambda: clock.sleepers() > 0)
            await clock.advance(1)

    running = asyncio.create_task(alerting.run())
    try:
        await looks(89)
        assert alerting.all() == ()
        await looks(91)
        await until(lambda: len(alerting.all()) == 1)
        await looks(180)
        [alert] = alerting.all()
        assert (alert.kind, alert.about) == ("backup-overdue", "backups")
        assert alert.severity is Severity.WARNING
        assert alert.message == "the last backup was made 8d0h ago"
        opened = await store.find_events(limit=10)
        assert [record.type for record in opened] == ["ALERT_OPENED"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await audit.close()
        await store.close()
