"""Custody beside a running engine: crossings as events, restarts, and turns of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from core.accounting import ChainReading, Finding
from core.api import BookUnexplained, EventQuery, ImportWallets, SyncNow, WalletRow
from core.engine import Engine, EngineMode
from core.engine.custody_watch import SLICE, CustodyWatch
from core.events import EventRecord
from tests.cli.shell import base_node, small_world
from tests.engine.test_books import ready, running, settings

STRICT = '[custody]\npolicy = "strict"\nfinality = 0\n'


async def crossings(engine: Engine) -> Sequence[EventRecord]:
    return await engine.events(EventQuery(types=("CUSTODY_UNEXPLAINED", "CUSTODY_EXPLAINED")))


def watch_of(engine: Engine) -> CustodyWatch:
    assert engine.live.own is not None
    return engine.live.own.books.custody


async def test_a_crossing_is_told_once_over_a_restart_and_so_is_its_end(tmp_path: Path) -> None:
    world, clock = small_world(40)
    rows = tuple(WalletRow(a.id, "base", a.addresses["base"]) for a in world.agents)
    async with base_node(world) as node:
        wanted = settings(tmp_path, node.url, STRICT)
        async with running(wanted) as engine:
            await ready(engine)
            await engine.execute(ImportWallets(rows))
            await engine.execute(SyncNow())
            await watch_of(engine).catch_up()
            assert await crossings(engine) == []
            clock.ms += 600_000
            await engine.execute(SyncNow())
            await watch_of(engine).catch_up()
            told = await crossings(engine)
            assert told
            standing = [v for v in (await engine.state()).custody if v.state == "unexplained"]
            assert len(told) == len(standing)
            assert {int(str(e.payload["unexplained"])) for e in told} == {
                int(v.unexplained) for v in standing
            }
            await watch_of(engine).catch_up()
            await engine.reconcile()
            assert await crossings(engine) == told
        async with running(wanted) as engine:
            await ready(engine)
            await watch_of(engine).catch_up()  # nothing was read yet: nothing is compared
            await engine.execute(SyncNow())
            await watch_of(engine).catch_up()
            state = await engine.state()
            assert len([v for v in state.custody if v.state == "unexplained"]) == len(standing)
            assert await crossings(engine) == told
            by_account = {row.account: row for row in state.balances}
            symbols = {asset.id: asset.symbol for asset in state.assets}
            row = by_account[standing[0].account]
            await engine.execute(
                BookUnexplained(row.agent, "base", symbols[row.asset], "a known sweep")
            )
            await watch_of(engine).catch_up()
            [end] = [e for e in await crossings(engine) if e.type == "CUSTODY_EXPLAINED"]
            assert (end.subject, end.payload["reason"]) == (row.agent, "a known sweep")
            assert end.payload["booked"] == str(int(standing[0].unexplained))


async def test_a_process_that_read_nothing_itself_compares_what_was_last_read(
    tmp_path: Path,
) -> None:
    world, clock = small_world(40)
    rows = tuple(WalletRow(a.id, "base", a.addresses["base"]) for a in world.agents)
    async with base_node(world) as node:
        wanted = settings(tmp_path, node.url)
        async with running(wanted, EngineMode.COMMAND) as engine:
            await engine.execute(ImportWallets(rows))
            await engine.execute(SyncNow())
            clock.ms += 600_000
            await engine.execute(SyncNow())  # rows of one agent now changed at different blocks
    async with running(wanted, EngineMode.COMMAND) as engine:
        assert {view.state for view in await engine.reconcile()} == {"opened"}
        names = {trial.name for trial in await engine.trial_balance()}
    async with running(wanted, EngineMode.COMMAND) as engine:
        assert {trial.name for trial in await engine.trial_balance()} == names  # met again
        assert len(names) == 4


async def test_a_large_fleet_is_compared_in_slices_with_the_loop_turning_between_them(
    tmp_path: Path,
) -> None:
    world, _ = small_world(150)
    rows = tuple(WalletRow(a.id, "base", a.addresses["base"]) for a in world.agents)
    async with (
        base_node(world) as node,
        running(settings(tmp_path, node.url), EngineMode.COMMAND) as engine,
    ):
        await engine.execute(ImportWallets(rows))
        await engine.execute(SyncNow())
        await engine.reconcile(world.agents[0].id)
        watch = watch_of(engine)
        sizes: list[int] = []
        turns: list[int] = []
        turn = 0
        compare = watch.custody.reconcile

        async def noted(readings: Sequence[ChainReading]) -> list[Finding]:
            sizes.append(len(readings))
            turns.append(turn)
            return await compare(readings)

        async def count() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        watch.custody.reconcile = noted  # type: ignore[method-assign]
        counting = asyncio.create_task(count())
        await watch.catch_up()
        counting.cancel()
        assert sum(sizes) == 300
        assert max(sizes) <= SLICE
        assert len(set(turns)) == len(turns) == 300 // SLICE
