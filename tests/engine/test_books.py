"""The engine with its books: packets, views, custody, restarts, and a ledger that is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.api import (
    BookUnexplained,
    CommandRefusedError,
    ImportWallets,
    LedgerAwayError,
    MovementRow,
    PacketStep,
    PeerView,
    RecordMovements,
    RecordSettlement,
    StatePatch,
    SyncNow,
    WalletRow,
)
from core.config import Settings, parse_settings
from core.engine import Engine, EngineMode
from core.model import Amount
from tests.cli.shell import base_config, base_node, small_world

LEDGER = """
[ledger]
tokens = ["USD", "ILP"]
[ledger.limits]
default = 5000
peers.rich = 1000000
"""


def settings(tmp_path: Path, url: str = "http://127.0.0.1:9", more: str = "") -> Settings:
    text = f'data_dir = "{tmp_path / "data"}"\n[polling]\ninterval = "1s"\n'
    return parse_settings(text + base_config(url) + LEDGER + more, "test", {})


@asynccontextmanager
async def running(wanted: Settings, mode: EngineMode = EngineMode.FULL) -> AsyncIterator[Engine]:
    engine = Engine(wanted, mode=mode)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.02)


def packet(number: int, stage: str = "record", source: str = "p", amount: int = 1000) -> PacketStep:
    return PacketStep(stage, f"{source}-{number}", source, "q", "USD", Amount(amount),
                      Amount(amount - amount // 100))  # fmt: skip


async def peers_of(engine: Engine) -> dict[tuple[str, str], PeerView]:
    return {(p.peer, p.token): p for p in (await engine.state()).peers}


async def ready(engine: Engine) -> None:
    ends = time.monotonic() + 60
    while True:
        ledger = (await engine.state()).ledger
        if ledger is not None and ledger.ok:
            return
        assert time.monotonic() < ends, ledger
        await asyncio.sleep(0.02)


async def test_the_worked_example_through_the_engine_and_a_restart(tmp_path: Path) -> None:
    wanted = settings(tmp_path)
    async with running(wanted) as engine:
        await ready(engine)
        version = (await engine.state()).version
        [done] = await engine.packets([packet(1)])
        assert done.status == "created"
        [again] = await engine.packets([packet(1)])
        assert again.status == "exists"
        async for update in engine.updates(version, engine.live.bus.last):
            if isinstance(update, StatePatch) and update.peers:
                break
        rows = await peers_of(engine)
        assert (rows["p", "USD"].receivable, rows["p", "USD"].payable) == (1000, 0)
        assert (rows["q", "USD"].receivable, rows["q", "USD"].payable) == (0, 990)
        assert (rows["p", "USD"].net, rows["q", "USD"].net) == (1000, -990)
        assert rows["p", "USD"].headroom == 4000
        [transfer, *_] = await engine.transfers("p", "USD", 10)
        assert (transfer.side, transfer.kind, transfer.amount) == ("receivable", "packet in", 1000)
        settled = await engine.execute(
            RecordSettlement("p", "USD", "receivable", Amount(400), "tx-1")
        )
        assert settled.changed == 1
        assert (
            await engine.execute(RecordSettlement("p", "USD", "receivable", Amount(400), "tx-1"))
        ).changed == 0
    async with running(wanted) as engine:
        await ready(engine)
        rows = await peers_of(engine)  # the names came from the store, the amounts from the ledger
        assert rows["p", "USD"].receivable == 600
        assert rows["q", "USD"].payable == 990
        await engine.live.own.books._take_trial()  # type: ignore[union-attr]
        assert all(trial.balanced for trial in (await engine.state()).trial)


async def test_a_limit_refuses_in_words_and_the_rest_of_the_batch_goes_on(tmp_path: Path) -> None:
    async with running(settings(tmp_path), EngineMode.COMMAND) as engine:
        outcomes = await engine.packets(
            [packet(1, amount=5000), packet(2, amount=1), packet(3, source="rich", amount=6000)]
        )
        assert [o.status for o in outcomes] == ["created", "exceeds_credits", "created"]
        assert "p" in outcomes[1].message
        with pytest.raises(CommandRefusedError, match="no stage 'steal'"):
            await engine.packets([packet(4), packet(5, stage="steal")])
        with pytest.raises(CommandRefusedError, match="no accounts of peer nobody"):
            await engine.transfers("nobody", "USD", 1)
        with pytest.raises(CommandRefusedError, match="not 'sideways'"):
            await engine.execute(RecordSettlement("p", "USD", "sideways", Amount(1), "r"))


async def test_custody_opens_with_the_first_reading_and_says_what_is_unexplained(
    tmp_path: Path,
) -> None:
    world, clock = small_world(40)
    rows = tuple(WalletRow(a.id, "base", a.addresses["base"]) for a in world.agents)
    strict = '[custody]\npolicy = "strict"\nfinality = 0\n'
    async with base_node(world) as node:
        wanted = settings(tmp_path, node.url, strict)
        async with running(wanted, EngineMode.COMMAND) as engine:
            await engine.execute(ImportWallets(rows))
            await engine.execute(SyncNow())
            opened = await engine.reconcile()
            assert {view.state for view in opened} == {"opened"}
            assert {v.state for v in await engine.reconcile(world.agents[0].id)} == {"equal"}
            clock.ms += 600_000
            await engine.execute(SyncNow())
            found = {view.account: view for view in await engine.reconcile()}
            changed = [view for view in found.values() if view.state == "unexplained"]
            assert changed
            state = await engine.state()
            assert {view.account for view in state.custody} == {view.account for view in changed}
            by_id = {row.account: row for row in state.balances}
            assets = {asset.id: asset for asset in state.assets}
            view = changed[0]
            row = by_id[view.account]
            assert view.chain_amount == row.amount
            assert view.difference == view.unexplained != 0
            symbol = assets[row.asset].symbol
            with pytest.raises(CommandRefusedError, match="Say why"):
                await engine.execute(BookUnexplained(row.agent, "base", symbol, " "))
            booked = await engine.execute(
                BookUnexplained(row.agent, "base", symbol, "payment of invoice 7")
            )
            assert booked.changed == 1
            other = changed[1]
            lost = by_id[other.account]
            assert other.difference is not None
            move = MovementRow(
                lost.agent, "base", assets[lost.asset].symbol, other.difference, "tx-9"
            )
            assert (await engine.execute(RecordMovements((move,)))).changed == 1
            after = {v.account: v.state for v in await engine.reconcile()}
            assert after[view.account] == after[other.account] == "equal"
            with pytest.raises(CommandRefusedError, match="nothing was booked"):
                await engine.execute(
                    RecordMovements((MovementRow("nobody", "base", "ETH", Amount(1), "r"),))
                )


async def test_a_missing_cluster_is_a_state_and_everything_else_goes_on(tmp_path: Path) -> None:
    world, _ = small_world()
    cluster = '[ledger.tigerbeetle]\ncluster_id = 0\nreplicas = ["127.0.0.1:1"]\n'
    rows = tuple(WalletRow(a.id, "base", a.addresses["base"]) for a in world.agents)
    async with base_node(world) as node:
        started = time.monotonic()
        async with running(settings(tmp_path, node.url, cluster)) as engine:
            assert time.monotonic() - started < 7.5  # it would wait for 8
            await engine.execute(ImportWallets(rows))
            read = await engine.execute(SyncNow())
            assert read.changed or read.message.startswith("Read")
            with pytest.raises(LedgerAwayError):
                await engine.packets([packet(1)])
            ledger = (await engine.state()).ledger
            assert ledger is not None
            assert not ledger.ok
            assert ledger.reason
            assert "TigerBeetle (cluster: 0" in ledger.backend
            assert all(row.amount is not None for row in (await engine.state()).balances)
        assert time.monotonic() - started < 60


async def test_a_command_waits_for_the_ledger_that_is_being_opened(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as engine:
        [done] = await engine.packets([packet(1)])  # at once: the ledger opens beside the start
        assert done.status == "created"
