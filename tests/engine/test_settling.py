"""Settlement through the engine: the spec's sequence, commands, restarts, thresholds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.api import (
    CommandRefusedError,
    CompleteSettlement,
    EventQuery,
    FailSettlement,
    PacketStep,
    SetThreshold,
    SettlementPairView,
    StartSettlement,
)
from core.config import Settings, parse_settings
from core.engine import Engine
from core.model import Amount

CONFIG = """
[polling]
interval = "1s"
[ledger]
tokens = ["USD"]
[ledger.limits]
default = 1000
[settlement]
node_id = "connector-a"
[settlement.thresholds]
default = 100
"""


def settings(tmp_path: Path, more: str = "") -> Settings:
    return parse_settings(f'data_dir = "{tmp_path / "data"}"\n{CONFIG}{more}', "test", {})


@asynccontextmanager
async def running(wanted: Settings) -> AsyncIterator[Engine]:
    engine = Engine(wanted)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def pay(engine: Engine, number: int, amount: int) -> None:
    ends = time.monotonic() + 60
    while True:
        ledger = (await engine.state()).ledger
        if ledger is not None and ledger.ok:
            break
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)
    step = PacketStep("record", f"n-{number}", "p", "q", "USD", Amount(amount), Amount(0))
    [outcome] = await engine.packets([step])
    assert outcome.status == "created", outcome


async def row(engine: Engine, state: str, due: int | None = None) -> SettlementPairView:
    ends = time.monotonic() + 60
    while True:
        rows = [r for r in (await engine.state()).settlements if r.peer == "p"]
        if rows and rows[0].state == state and due in (None, rows[0].due):
            return rows[0]
        assert time.monotonic() < ends, rows
        await asyncio.sleep(0.02)


async def required(engine: Engine) -> list[tuple[str, str, str]]:
    found = await engine.events(EventQuery(types=("SETTLEMENT_REQUIRED",), limit=100))
    return [
        (str(e.payload["currentBalance"]), str(e.payload["threshold"]), str(e.payload["exceedsBy"]))
        for e in found
    ]


async def test_fifty_forty_thirty_ten_asks_once_over_restarts_and_settles(tmp_path: Path) -> None:
    wanted = settings(tmp_path)
    async with running(wanted) as engine:
        await pay(engine, 1, 50)
        await pay(engine, 2, 40)
        assert (await row(engine, "IDLE", 90)).threshold == 100
    async with running(wanted) as engine:
        await pay(engine, 3, 30)
        pending = await row(engine, "SETTLEMENT_PENDING", 120)
        assert await required(engine) == [("120", "100", "20")]
    async with running(wanted) as engine:
        await pay(engine, 4, 10)
        again = await row(engine, "SETTLEMENT_PENDING", 130)
        assert again.idempotency_key == pending.idempotency_key
        assert len(await required(engine)) == 1
        told = await engine.explain("p", "USD")
        assert "100" in told
        with pytest.raises(CommandRefusedError):
            await engine.execute(CompleteSettlement("p", "USD"))
        started = await engine.execute(StartSettlement("p", "USD"))
        assert started.changed == 1
        await row(engine, "SETTLEMENT_IN_PROGRESS", 0)
        with pytest.raises(CommandRefusedError):
            await engine.execute(StartSettlement("p", "USD"))
    async with running(wanted) as engine:
        under_way = await row(engine, "SETTLEMENT_IN_PROGRESS")
        assert under_way.amount == 130
        await engine.execute(CompleteSettlement("p", "USD"))
        settled = await row(engine, "IDLE", 0)
        assert settled.settled_amount == 130
        await pay(engine, 5, 101)
        crossed = await row(engine, "SETTLEMENT_PENDING", 101)
        assert crossed.idempotency_key != under_way.idempotency_key
        assert len(await required(engine)) == 2


async def test_a_failed_settlement_is_asked_for_again_and_thresholds_can_change(
    tmp_path: Path,
) -> None:
    wanted = settings(tmp_path)
    async with running(wanted) as engine:
        await pay(engine, 1, 150)
        await row(engine, "SETTLEMENT_PENDING")
        await engine.execute(StartSettlement("p", "USD", amount=Amount(60)))
        await row(engine, "SETTLEMENT_IN_PROGRESS")
        await engine.execute(FailSettlement("p", "USD", "bank closed"))
        back = await row(engine, "SETTLEMENT_PENDING", 150)
        assert "bank closed" in back.reason + back.trouble
        with pytest.raises(CommandRefusedError):
            await engine.execute(SetThreshold("p", "USD", "2000", "above the limit"))
        await engine.execute(SetThreshold("p", "USD", "50%", "a trusted peer"))
        idle = await row(engine, "IDLE")
        assert idle.threshold == 500
    async with running(wanted) as engine:
        assert (await row(engine, "IDLE")).threshold == 500  # it was kept


async def test_the_monitor_says_why_it_does_not_watch(tmp_path: Path) -> None:
    cluster = '[ledger.tigerbeetle]\ncluster_id = 0\nreplicas = ["127.0.0.1:1"]\n'
    async with running(settings(tmp_path, cluster)) as engine:
        health = (await engine.state()).settlement
        assert health is None or not health.running
        async with asyncio.timeout(60):
            while health is None or not health.error:
                await asyncio.sleep(0.02)
                health = (await engine.state()).settlement
        assert not health.running
        assert "ledger" in health.error
