"""Ten thousand agents by three assets on a real EVM node, through the whole engine: few requests,
one block, every value right, and a loop that goes on turning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.api import StatePatch
from core.engine import Engine
from core.model import Consistency
from tests.chain.bench import CHAIN, make_fleet
from tests.chain.proxy import proxied
from tests.integration.real_nodes import (
    CHANGED,
    Truth,
    agent_name,
    amounts_of,
    cycle,
    engine_on,
    events_of,
    follow,
    hold_to_single_reads,
    own_anvil,
    settings_of,
    token_events,
)

AGENTS = 10_000
SAMPLE = range(7, AGENTS, AGENTS // 200)


@asynccontextmanager
async def heartbeat(period_s: float = 0.005) -> AsyncIterator[list[float]]:
    """How late each turn of the loop came, in milliseconds, while the block runs."""
    late: list[float] = []

    async def beat() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(period_s)
            late.append((time.perf_counter() - began - period_s) * 1000)

    beating = asyncio.create_task(beat())
    try:
        yield late
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


def in_words(late: list[float]) -> str:
    """The stalls of a heartbeat; the proxy that counts requests turns in the same loop."""
    ranked = sorted(late)
    p50, p99 = ranked[len(ranked) // 2], ranked[len(ranked) * 99 // 100]
    return f"{len(ranked)} beats, late by p50 {p50:.1f} p99 {p99:.1f} max {ranked[-1]:.1f} ms"


async def self_tested(engine: Engine) -> None:
    """Wait until the reader has compared itself with web3, as it does once per endpoint."""
    async with asyncio.timeout(60):
        async for update in engine.updates(0, (await engine.state()).seq):
            found = update.endpoints if isinstance(update, StatePatch) else None
            if any("agree with single reads" in endpoint.note for endpoint in found or ()):
                return
    raise AssertionError("the updates ended before the self-test did")


@pytest.mark.anvil
@pytest.mark.slow
async def test_ten_thousand_agents_are_read_in_ten_requests_at_one_block_and_rightly(
    tmp_path: Path,
) -> None:
    with own_anvil() as anvil:
        fleet = make_fleet(anvil, AGENTS)
        truth = Truth(anvil, fleet)
        async with (
            proxied(anvil.url) as proxy,
            engine_on(settings_of(tmp_path, (proxy.url,), fleet.assets)) as engine,
        ):
            async with heartbeat() as late:
                await follow(engine, fleet, xrpl=False)
                state = await cycle(engine)
            print(f"\nimport and first cycles: {in_words(late)}")
            assert amounts_of(state) == truth.amounts
            await self_tested(engine)  # its single reads go through the proxy too
            for _ in range(3):
                for number in range(0, AGENTS, AGENTS // 4):
                    truth.pay(None, number, 1 + number, fleet.assets[1].contract)
                async with heartbeat() as late:
                    sent = len(proxy.bodies)
                    seq = state.seq
                    state = await cycle(engine)
                    sent = len(proxy.bodies) - sent
                (chain,) = state.chains
                print(f"cycle of {chain.seconds:.2f} s, {sent} requests: {in_words(late)}")
                assert sent == chain.requests <= 10
                assert (chain.consistency, chain.unknown) == (Consistency.PINNED, 0)
                header = anvil.rpc("eth_getBlockByNumber", hex(chain.block), False)
                assert isinstance(header, dict)
                assert chain.block_hash == header["hash"]
                assert amounts_of(state) == truth.amounts
                told = token_events(await events_of(engine, CHANGED, after=seq))
                moved = {agent: change for (agent, _, _), (_, _, change) in told.items()}
                assert moved == {agent_name(n): n + 1 for n in range(0, AGENTS, AGENTS // 4)}
            assert len(SAMPLE) == 200
            await hold_to_single_reads(state, anvil, fleet, SAMPLE)
            assert {row.chain for row in state.balances} == {CHAIN}
