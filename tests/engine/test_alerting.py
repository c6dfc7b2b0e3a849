"""Alerts through the engine: opened by a real reading, acknowledged, silenced, audited."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from core.api import (
    AcknowledgeAlert,
    AlertView,
    CommandRefusedError,
    EventQuery,
    ImportWallets,
    SilenceAlert,
    WalletRow,
)
from core.config import parse_settings
from core.engine import Engine
from core.telemetry.audit import verify
from tests.cli.shell import base_config, base_node, small_world


async def open_alerts(engine: Engine, rule: str, count: int) -> list[AlertView]:
    ends = time.monotonic() + 20
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
