"""A hundred agents with ether, two ERC-20 tokens and XRP: the whole engine on a real EVM node and
a rippled-shaped server, held to the chains' own truth."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from core.config import Settings
from core.demo.rippled import RippledServer
from core.engine import Engine
from core.events import EventRecord
from core.model import Asset, EndpointState, human
from tests.chain.anvil import Anvil
from tests.chain.bench import CHAIN, Fleet, make_fleet, token
from tests.chain.proxy import proxied
from tests.chain.tokens import (
    BURNS_ALL_GAS,
    LARGEST,
    RETURNS_31_BYTES,
    RETURNS_NOTHING,
    REVERTS,
)
from tests.clock import until
from tests.integration.chains.ledgers import Faults, Ledger, xrpl_account
from tests.integration.real_nodes import (
    CHANGED,
    REVERTED,
    Key,
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

pytestmark = pytest.mark.anvil

AGENTS = 100
XRP_AT_FIRST = 25_000_000


class World(NamedTuple):
    """Both chains, the fleet on them, its truth, and settings that point at them."""

    anvil: Anvil
    fleet: Fleet
    truth: Truth
    ledger: Ledger
    xrpl_url: str
    settings: Settings

    def close_ledger(self, moved: dict[int, int]) -> None:
        """A ledger in which these agents come to hold so many drops."""
        self.ledger.close({(xrpl_account(n), None): drops for n, drops in moved.items()})
        for number, drops in moved.items():
            self.truth.amounts[agent_name(number), "xrpl", "XRP"] = drops

    @property
    def tokens(self) -> list[str]:
        """Contracts of the two ERC-20 tokens."""
        return [asset.contract for asset in self.fleet.assets if asset.contract]


@asynccontextmanager
async def world_in(folder: Path, *evm: str, anvil: Anvil | None = None) -> AsyncIterator[World]:
    """The two chains with a hundred agents on them; `evm` are endpoints instead of the node's."""
    async with AsyncExitStack() as owner:
        anvil = anvil or owner.enter_context(own_anvil())
        fleet = make_fleet(anvil, AGENTS)
        ledger = Ledger()
        server = await owner.enter_async_context(RippledServer(ledger, Faults()))
        settings = settings_of(folder, evm or (anvil.url,), fleet.assets, server.url)
        made = World(anvil, fleet, Truth(anvil, fleet), ledger, server.url, settings)
        made.close_ledger({number: XRP_AT_FIRST + number for number in range(AGENTS)})
        yield made


async def begun(world: World, engine: Engine) -> int:
    """Follow the fleet and read it once; the newest event after that."""
    await follow(engine, world.fleet)
    state = await cycle(engine)
    assert amounts_of(state) == world.truth.amounts
    assert [chain.state for chain in state.chains] == ["live", "live"]
    return state.seq


def differences(before: dict[Key, int], after: dict[Key, int]) -> dict[Key, tuple[int, int, int]]:
    """(old, new, change) of what differs."""
    return {
        key: (before[key], new, new - before[key])
        for key, new in after.items()
        if before[key] != new
    }


def ten_transactions(world: World) -> None:
    """Native and token payments from outside and between agents, whose fees count too."""
    pay, (usdc, dai) = world.truth.pay, world.tokens
    pay(None, 0, 10**18)
    pay(None, 9, 1)  # an empty wallet gets one wei
    pay(None, 1, 5_000_000, usdc)
    pay(None, 9, 10**24 + 1, dai)
    pay(2, 3, 12_345)
    pay(2, 4, 67_890)  # the same sender twice in one cycle
    pay(5, 6, 1_000_001, usdc)
    pay(7, 8, 2, dai)
    pay(6, 5, 1, usdc)
    pay(99 - 1, 99, 3 * 10**15)


async def test_every_balance_equals_single_reads_and_the_ledgers_own(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, engine_on(world.settings) as engine:
        await follow(engine, world.fleet)
        state = await cycle(engine)
        shown = amounts_of(state)
        assert len(shown) == AGENTS * 4
        assert shown == world.truth.amounts
        await hold_to_single_reads(state, world.anvil, world.fleet, range(AGENTS))
        totals = {asset.id: asset.symbol for asset in state.assets}
        for total in state.totals:
            parts = [n for (_, _, symbol), n in shown.items() if symbol == totals[total.asset]]
            assert (total.total, total.known, total.unknown) == (sum(filter(None, parts)), 100, 0)


async def test_ten_transactions_and_xrp_payments_are_noticed_within_one_cycle_exactly_once(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world, engine_on(world.settings) as engine:
        seq = await begun(world, engine)
        streamed: list[EventRecord] = []

        async def listen() -> None:
            async for update in engine.updates(0, seq):
                if isinstance(update, EventRecord):
                    streamed.append(update)

        listening = asyncio.create_task(listen())
        before = dict(world.truth.amounts)
        ten_transactions(world)
        assert len(world.truth.blocks) == 10
        world.close_ledger({0: 1, 1: XRP_AT_FIRST * 3, 50: XRP_AT_FIRST - 10})
        expected = differences(before, world.truth.amounts)
        # Senders and receivers, one line per account however many payments it saw.
        assert len(expected) == 19
        state = await cycle(engine)
        assert amounts_of(state) == world.truth.amounts
        await hold_to_single_reads(state, world.anvil, world.fleet, range(10))
        told = await events_of(engine, CHANGED, after=seq)
        assert token_events(told) == expected
        head = next(chain.block for chain in state.chains if chain.name == CHAIN)
        assert {e.payload["block"] for e in told if e.payload["chain"] == CHAIN} == {head}
        assert head >= max(world.truth.blocks)
        for _ in range(3):
            state = await cycle(engine)
        assert await events_of(engine, CHANGED, after=seq) == told
        await until(lambda: len(streamed) >= len(told), "the stream has them")
        assert [e.seq for e in streamed] == sorted(e.seq for e in streamed)
        assert [e for e in streamed if e.type == CHANGED] == told
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_history_has_every_balance_in_order_with_its_block(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world, engine_on(world.settings) as engine:
        await begun(world, engine)
        usdc = world.tokens[0]
        ether = [world.truth.amounts[agent_name(2), CHAIN, "ETH"]]
        held = [world.truth.amounts[agent_name(3), CHAIN, "T2"]]
        drops = [XRP_AT_FIRST + 3]
        for amount in (10, 20, 30):
            world.truth.pay(2, 3, amount, usdc)
            world.close_ledger({3: drops[-1] - amount})
            await cycle(engine)
            ether.append(world.truth.amounts[agent_name(2), CHAIN, "ETH"])
            held.append(world.truth.amounts[agent_name(3), CHAIN, "T2"])
            drops.append(drops[-1] - amount)
        now_ms = (await engine.state()).now_ms
        for agent, chain, asset, amounts in (
            (2, CHAIN, "ETH", ether),
            (3, CHAIN, usdc, held),
            (3, "xrpl", "XRP", drops),
        ):
            found = await engine.history(agent_name(agent), chain, asset, 0, now_ms + 60_000)
            assert [int(point.amount) for point in found.points] == amounts
            times = [point.time_ms for point in found.points]
            blocks = [point.block for point in found.points]
            assert times == sorted(times)
            assert blocks == sorted(set(blocks))


async def test_a_restart_shows_the_last_known_at_once_and_tells_what_changed_meanwhile(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        async with engine_on(world.settings) as engine:
            seq = await begun(world, engine)
        known = dict(world.truth.amounts)
        world.truth.pay(None, 4, 77)
        world.truth.pay(None, 4, 11)
        world.close_ledger({8: 5_000_000})
        world.close_ledger({8: 6_000_000})
        async with engine_on(world.settings) as engine:
            # Nothing was read yet: this is what the store knew.
            state = await engine.state()
            assert amounts_of(state) == known
            assert not any(row.error for row in state.balances)
            state = await cycle(engine)
            assert amounts_of(state) == world.truth.amounts
            told = await events_of(engine, CHANGED, after=seq)
            assert token_events(told) == differences(known, world.truth.amounts)
            assert len(told) == 2
            now_ms = state.now_ms + 60_000
            found = await engine.history(agent_name(8), "xrpl", "XRP", 0, now_ms)
            assert [int(p.amount) for p in found.points] == [XRP_AT_FIRST + 8, 6_000_000]


async def test_a_reorganisation_takes_back_what_it_undid_and_leaves_the_other_chain_alone(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world, engine_on(world.settings) as engine:
        world.anvil.mine(3)
        await begun(world, engine)
        standing = world.anvil.head()
        kept = dict(world.truth.amounts)
        seq = (await engine.state()).seq
        world.truth.pay(None, 0, 500)
        world.close_ledger({0: 1_000_000})
        await cycle(engine)
        world.truth.pay(None, 1, 900, world.tokens[0])
        await cycle(engine)
        changes = [
            e for e in await events_of(engine, CHANGED, after=seq) if e.payload["chain"] == CHAIN
        ]
        assert len(changes) == 2
        world.anvil.rpc("anvil_reorg", world.anvil.head() - standing, [])
        state = await cycle(engine)
        expected = kept | {(agent_name(0), "xrpl", "XRP"): 1_000_000}
        assert amounts_of(state) == expected
        await hold_to_single_reads(state, world.anvil, world.fleet, range(5))
        reverted = await events_of(engine, REVERTED, after=seq)
        assert {e.payload["revertedSequence"] for e in reverted} == {e.seq for e in changes}
        assert token_events(reverted) == {
            key: (new, old, old - new) for key, (old, new, _) in token_events(changes).items()
        }
        (fork,) = await events_of(engine, "CHAIN_REORGANISED")
        assert (fork.subject, fork.payload["commonBlock"]) == (CHAIN, standing)
        now_ms = state.now_ms + 60_000
        found = await engine.history(agent_name(0), CHAIN, "ETH", 0, now_ms)
        assert [int(p.amount) for p in found.points] == [kept[agent_name(0), CHAIN, "ETH"]]
        # Life goes on after it, and nothing is taken back twice.
        world.truth.amounts |= expected
        world.truth.pay(None, 0, 3)
        state = await cycle(engine)
        assert amounts_of(state) == world.truth.amounts
        assert await events_of(engine, REVERTED, after=seq) == reverted


HOSTILE = {
    "REVERTS": (REVERTS, 18, "revert"),
    "NOTHING": (RETURNS_NOTHING, 18, ""),
    "SHORT": (RETURNS_31_BYTES, 18, ""),
    "GREEDY": (BURNS_ALL_GAS, 18, "gas"),
    "NOBODY": (b"", 18, "no contract"),
}
VAST = {"WHOLE": 0, "FINE": 77}


async def test_hostile_tokens_are_unknown_with_their_reason_beside_good_ones(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        assets: list[Asset] = list(world.fleet.assets)

        def add(symbol: str, decimals: int, code: bytes) -> None:
            address = bytes([0xE0 + len(assets)]) * 20
            world.anvil.set_code(address, code)
            asset = token(len(assets) + 1, address, decimals)
            assets.append(msgspec.structs.replace(asset, symbol=symbol))

        for symbol, (code, decimals, _) in HOSTILE.items():
            add(symbol, decimals, code)
        for symbol, decimals in VAST.items():
            add(symbol, decimals, LARGEST)
        world.anvil.mine()
        settings = settings_of(tmp_path, (world.anvil.url,), assets, world.xrpl_url)
        async with engine_on(settings) as engine:
            await follow(engine, world.fleet)
            state = await cycle(engine)
            shown = amounts_of(state)
            assert {key: shown[key] for key in world.truth.amounts} == world.truth.amounts
            symbols = {asset.id: asset.symbol for asset in state.assets}
            for row in state.balances:
                symbol = symbols[row.asset]
                if symbol in HOSTILE:
                    assert row.amount is None
                    assert row.error
                    assert HOSTILE[symbol][2] in row.error
                elif symbol in VAST:
                    assert row.amount == 2**256 - 1
                else:
                    assert not row.error
            live = next(chain for chain in state.chains if chain.name == CHAIN)
            assert (live.state, live.unknown) == ("live", AGENTS * len(HOSTILE))
            # Good tokens beside them go on being followed.
            before = dict(world.truth.amounts)
            world.truth.pay(None, 0, 4_000, world.tokens[1])
            seq = state.seq
            await cycle(engine)
            told = token_events(await events_of(engine, CHANGED, after=seq))
            assert told == differences(before, world.truth.amounts)
            database = engine.directory.database
        with sqlite3.connect(database) as stored:
            query = """
                SELECT DISTINCT s.symbol, on_chain_balance_raw, on_chain_balance_human
                FROM wallet_balances b JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
                JOIN assets s ON s.id = a.asset_id WHERE s.symbol IN ('WHOLE', 'FINE', 'GREEDY')
            """
            largest = 2**256 - 1
            assert set(stored.execute(query)) == {
                ("WHOLE", str(largest), str(largest)),
                ("FINE", str(largest), human(largest, 77)),
                ("GREEDY", None, None),
            }


async def test_an_endpoint_that_dies_within_a_reading_is_replaced_and_no_other_chain_notices(
    tmp_path: Path,
) -> None:
    with own_anvil() as anvil:
        async with AsyncExitStack() as life, AsyncExitStack() as other_life:
            first = await life.enter_async_context(proxied(anvil.url))
            spare = await other_life.enter_async_context(proxied(anvil.url))
            async with (
                world_in(tmp_path, first.url, spare.url, anvil=anvil) as world,
                engine_on(world.settings) as engine,
            ):
                seq = await begun(world, engine)
                assert not spare.bodies
                first.delay_s = 0.3
                asked = first.seen.total()
                world.truth.pay(None, 1, 123)
                world.close_ledger({1: 2_000_000})
                reading = asyncio.create_task(cycle(engine))
                await until(lambda: first.seen.total() > asked, "asked")
                await life.aclose()
                state = await reading
                assert amounts_of(state) == world.truth.amounts
                health = {e.url: e for e in state.endpoints if e.chain == CHAIN}
                assert health[first.url].state is EndpointState.BACKING_OFF
                assert health[first.url].last_error
                assert health[spare.url].in_use
                left = await events_of(engine, "ENDPOINT_STATE_CHANGED", after=seq)
                assert {e.subject for e in left} == {CHAIN}
                assert [c.state for c in state.chains] == ["live", "live"]

                # The last one goes too: figures stay, with age and reason; XRP goes on.
                await other_life.aclose()
                swept_ms = next(c.swept_ms for c in state.chains if c.name == CHAIN)
                world.close_ledger({2: 3_000_000})
                state = await cycle(engine)
                assert amounts_of(state) == world.truth.amounts
                for row in state.balances:
                    if row.chain == CHAIN:
                        assert row.error
                        assert row.checked_ms <= swept_ms < row.error_ms
                    else:
                        assert not row.error
                xrpl = [e for e in state.endpoints if e.chain == "xrpl"]
                assert [e.errors for e in xrpl] == [0]
                assert not await events_of(engine, REVERTED, after=seq)
