"""`bursar demo` without its screen: servers, engine and a past, up together and gone together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.api import EngineApi, EngineState, EventQuery
from core.clock import SystemClock
from core.config import ConfigError
from core.demo.chain import DAY_MS
from core.demo.process import RunningDemo, start_demo
from core.demo.setup import host_demo
from core.events import EventRecord
from tests.demo.test_process import alive

AGENTS = 30


async def state_when(api: EngineApi, holds: Callable[[EngineState], bool]) -> EngineState:
    """The first state that does; fails after twenty seconds."""
    async with asyncio.timeout(60):
        while True:
            state = await api.state()
            if holds(state):
                return state
            await asyncio.sleep(0.1)


async def balance_changes(api: EngineApi) -> Sequence[EventRecord]:
    """The first balance changes; fails when there is none in a minute.

    Waited for by their own name: settlements, alerts and incidents count in the sequence too."""
    async with asyncio.timeout(60):
        while True:
            changes = await api.events(EventQuery(types=("AGENT_BALANCE_CHANGED",)))
            if changes:
                return changes
            await asyncio.sleep(0.1)


async def test_a_hosted_demo_is_live_on_three_chains_and_leaves_nothing(tmp_path: Path) -> None:
    demo, api = await host_demo(tmp_path, agents=AGENTS, seed=5)
    try:
        first = await api.state()
        assert first.demo
        assert len(first.agents) == AGENTS
        # Every row has its last figure before any chain was asked.
        assert len(first.balances) == AGENTS * 6
        assert all(row.amount is not None for row in first.balances)
        live = await state_when(
            api, lambda s: all(c.state == "live" and c.unknown == 0 for c in s.chains)
        )
        assert {chain.name for chain in live.chains} == {"base", "xrpl", "tron"}
        assert all(asset.floor and asset.target and asset.price for asset in live.assets)
        await state_when(api, lambda s: s.seq > first.seq + 3)
        history = await api.history(
            "agent-0001", "base", "USDC", live.now_ms - 7 * DAY_MS, live.now_ms
        )
        assert len(history.points) > 10
        assert history.gaps == ()
    finally:
        await api.close()
        await demo.stop()
    assert not alive(demo.pid)


async def test_the_engine_reads_what_the_world_says(tmp_path: Path) -> None:
    demo, api = await host_demo(tmp_path, agents=AGENTS, seed=6)
    try:
        state = await state_when(
            api, lambda s: all(c.state == "live" and c.block for c in s.chains)
        )
        blocks = {chain.name: chain.block for chain in state.chains}
        world = demo.world(SystemClock())
        contracts = {asset.id: asset.contract for asset in state.assets}
        for row in state.balances:
            chain = world.chain(row.chain)
            truth = chain.balance(row.address, contracts[row.asset], blocks[row.chain])
            assert row.amount == (truth or 0)
    finally:
        await api.close()
        await demo.stop()


async def test_every_change_is_an_event_with_amounts_of_the_world(tmp_path: Path) -> None:
    demo, api = await host_demo(tmp_path, agents=AGENTS, seed=7)
    try:
        events = await balance_changes(api)
        world = demo.world(SystemClock())
        numbers = {agent.id: agent for agent in world.agents}
        for event in events:
            payload = event.payload
            chain = world.chain(str(payload["chain"]))
            address = numbers[str(payload["agentId"])].addresses[chain.plan.name]
            contract = payload["contract"]
            assert contract is None or isinstance(contract, str)
            block = payload["block"]
            assert isinstance(block, int)
            truth = chain.balance(address, contract, block)
            assert str(payload["newBalance"]) == str(truth)
    finally:
        await api.close()
        await demo.stop()


async def test_a_demo_whose_engine_cannot_start_leaves_no_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[RunningDemo] = []

    async def remembered(seed: int, agents: int, *, start_ms: int) -> RunningDemo:
        started.append(await start_demo(seed, agents, start_ms=start_ms))
        return started[-1]

    monkeypatch.setattr("core.demo.setup.start_demo", remembered)
    monkeypatch.setattr("core.demo.setup.interval_ms", lambda _agents: 0)
    with pytest.raises(ConfigError):
        await host_demo(tmp_path, agents=3, seed=1)
    assert len(started) == 1
    assert not alive(started[0].pid)


async def test_hosting_is_quick(tmp_path: Path) -> None:
    began = time.process_time()
    demo, api = await host_demo(tmp_path, agents=200, seed=1)
    spent = time.process_time() - began
    await api.close()
    await demo.stop()
    assert spent < 3.0  # about 0.5 s on a quiet machine; this catches a seeding gone quadratic
