"""The simulated fleet: same seed same world, balances from nothing but the block."""

from __future__ import annotations

import itertools
import random

import pytest
from eth_utils.address import is_checksum_address
from xrpl.core.addresscodec import is_valid_classic_address

from core.chains.base58 import tron_hash
from core.demo.cast import ASSETS, NO_GAS, NOT_ACTIVATED
from core.demo.chain import DAY_MS, HOUR_MS, WorldChain
from core.demo.incidents import ROUND_S, SCHEDULE, Reorganisation
from core.demo.patterns import Burner, Moment, Pattern, moment_at
from core.demo.protocol import SimulatedChain
from core.demo.world import UnknownChainError, World
from core.model import BursarError
from tests.demo.worlds import START_MS, SetClock, asset, balance, chain_of, make_world

MINUTE_MS = 60_000


def snapshot(world: World, at_ms: int) -> list[int | None]:
    return [
        balance(world, agent, token.symbol, at_ms)
        for agent in range(world.size)
        for token in ASSETS
    ]


def test_the_same_seed_gives_the_same_agents_blocks_and_balances() -> None:
    (first, clock), (second, _) = make_world(seed=7), make_world(seed=7)
    assert first.agents == second.agents
    assert snapshot(first, clock.ms) == snapshot(second, clock.ms)
    assert [c.head() for c in first.chains.values()] == [c.head() for c in second.chains.values()]


def test_another_seed_gives_other_addresses_and_balances() -> None:
    (first, clock), (second, _) = make_world(seed=1), make_world(seed=2)
    ours, theirs = (
        {a for agent in world.agents for a in agent.addresses.values()} for world in (first, second)
    )
    assert not ours & theirs
    assert snapshot(first, clock.ms) != snapshot(second, clock.ms)
    assert first.chain("base").head().hash != second.chain("base").head().hash


def test_a_balance_depends_on_the_block_alone_and_not_on_what_was_asked_before() -> None:
    times = [START_MS + step * 7_000 for step in range(-40, 60)]
    world, clock = make_world(20)
    clock.ms = START_MS + DAY_MS  # all of these blocks are history
    expected = {at: snapshot(world, at) for at in times}
    shuffled = times.copy()
    random.Random(3).shuffle(shuffled)
    other = World(1, 20, START_MS, clock)
    for at in shuffled:
        assert snapshot(other, at) == expected[at]


def test_addresses_are_valid_and_nobody_shares_one() -> None:
    world, _ = make_world(300)
    for agent in world.agents:
        assert is_checksum_address(agent.addresses["base"])
        assert is_valid_classic_address(agent.addresses["xrpl"])
        assert len(tron_hash(agent.addresses["tron"])) == 20
        assert agent.addresses["tron"].startswith("T")
    everything = [a for agent in world.agents for a in agent.addresses.values()]
    assert len(set(everything)) == 900


def test_token_contracts_are_valid_addresses_of_their_chains() -> None:
    for token in ASSETS:
        if token.contract is not None and token.chain == "base":
            assert is_checksum_address(token.contract)
        elif token.contract is not None:
            assert len(tron_hash(token.contract)) == 20


def test_every_balance_is_a_whole_number_of_base_units_and_never_negative() -> None:
    world, clock = make_world(200)
    for minutes in range(-3000, 30, 97):
        clock.ms = START_MS + minutes * MINUTE_MS
        for amount in snapshot(world, clock.ms):
            assert amount is None or (type(amount) is int and amount >= 0)


def test_a_fleet_has_groups_tags_and_some_of_everything() -> None:
    world, _ = make_world(200)
    assert {agent.group for agent in world.agents} == {
        "payments",
        "trading",
        "research",
        "support",
    }
    assert {tag for agent in world.agents for tag in agent.tags} >= {"eu", "us", "ap", "market"}
    patterns = {
        type(world.pattern(agent, token)).__name__ for agent in range(200) for token in ASSETS
    }
    assert patterns == {"Burner", "Trader", "Idle", "Emptied", "Scripted"}


def test_about_one_balance_in_fifty_moves_between_two_blocks_of_base() -> None:
    world, clock = make_world(200)
    before = snapshot(world, clock.ms)
    after = snapshot(world, clock.ms + 2_000)
    moved = sum(a != b for a, b in zip(before, after, strict=True))
    assert 5 <= moved <= 60


def test_an_agent_drains_to_exactly_nothing_and_is_topped_up() -> None:
    world, _ = make_world()
    amounts = [
        balance(world, 6, "USDC", START_MS + second * 1000) or 0 for second in range(0, 350, 2)
    ]
    bottom = amounts.index(0)
    assert amounts[0] > asset("USDC").floor
    assert 80 <= bottom * 2 <= 110
    assert amounts[: bottom + 1] == sorted(amounts[: bottom + 1], reverse=True)
    assert len(set(amounts[:bottom])) > 15
    assert amounts[-1] == amounts[0]


def test_an_agent_below_its_floor_is_refilled_above_its_target() -> None:
    world, _ = make_world()
    ether = asset("ETH")
    before = balance(world, 2, "ETH", START_MS + 30_000)
    after = balance(world, 2, "ETH", START_MS + 50_000)
    assert before is not None
    assert 0 < before < 2 * ether.floor
    assert after is not None
    assert after > 5 * before


def test_scripts_repeat_and_join_the_past_without_a_jump() -> None:
    world, _ = make_world()
    at_start = balance(world, 6, "USDC", START_MS + 2_000)
    assert at_start == balance(world, 6, "USDC", START_MS + ROUND_S * 1000 + 2_000)
    before = balance(world, 6, "USDC", START_MS - 2_000)
    assert before is not None
    assert at_start is not None
    assert abs(at_start - before) < before // 20


def test_one_agent_never_activated_its_xrpl_account_and_one_has_no_gas() -> None:
    world, _ = make_world()
    assert balance(world, NOT_ACTIVATED, "XRP", START_MS) is None
    assert balance(world, NO_GAS, "ETH", START_MS) == 0
    assert balance(world, NO_GAS, "ETH", START_MS - 6 * HOUR_MS) != 0


def test_no_activated_xrpl_account_falls_below_the_base_reserve() -> None:
    world, _ = make_world(2_000)
    amounts = [balance(world, agent, "XRP", START_MS) for agent in range(2_000)]
    known = [amount for amount in amounts if amount is not None]
    assert len(known) == 1_999
    assert min(known) == asset("XRP").least == 1_000_000


def test_strangers_have_nothing_and_unknown_contracts_are_none() -> None:
    world, _ = make_world()
    base, xrpl, tron = (world.chain(name) for name in ("base", "xrpl", "tron"))
    stranger = "0x" + "11" * 20
    assert base.balance(stranger, None, base.head().number) == 0
    assert base.balance(stranger, asset("USDC").contract, base.head().number) == 0
    assert base.balance(stranger, stranger, base.head().number) is None
    assert xrpl.balance("rrrrrrrrrrrrrrrrrrrrrhoLvTp", None, xrpl.head().number) is None
    assert tron.balance("T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb", None, tron.head().number) == 0
    assert base.is_contract(str(asset("USDC").contract).lower())
    assert not base.is_contract(stranger)


def test_blocks_are_chained_and_found_by_hash() -> None:
    world, _ = make_world()
    chains: list[SimulatedChain] = list(world.chains.values())
    for chain in chains:
        head = chain.head()
        parent = chain.block(head.number - 1)
        assert parent is not None
        assert parent.hash == head.parent
        assert head.time_ms > parent.time_ms
        assert chain.block_by_hash(head.hash) == head
        assert chain.block(head.number + 1) is None
        assert chain.block_by_hash("0x" + "ab" * 32) is None


def test_a_block_is_found_by_hash_in_a_world_that_never_made_it() -> None:
    (world, _), (other, _) = make_world(), make_world()
    block = world.chain("tron").block(world.chain("tron").head().number - 500)
    assert block is not None
    assert other.chain("tron").block_by_hash(block.hash) == block


def test_hashes_are_written_as_each_chain_writes_them() -> None:
    world, _ = make_world()
    base, tron, xrpl = (world.chain(name).head() for name in ("base", "tron", "xrpl"))
    assert base.hash == base.hash.lower()
    assert len(base.hash) == 66
    assert int(tron.hash[2:18], 16) == tron.number
    assert xrpl.hash == xrpl.hash.upper()
    assert len(xrpl.hash) == 64


def test_a_reorganisation_replaces_blocks_and_takes_payments_back() -> None:
    world, clock = make_world()
    base = world.chain("base")
    fork = next(i for i in SCHEDULE if isinstance(i, Reorganisation))
    usdc, owner = asset("USDC").contract, world.agents[0].addresses["base"]
    clock.ms = START_MS + fork.end * 1000 - 1
    seen = base.head()
    paid = base.balance(owner, usdc, seen.number)
    common = base.block(base.block_at(START_MS + fork.begin * 1000 - 1))
    clock.ms = START_MS + fork.end * 1000
    replaced = base.block(seen.number)
    kept = base.balance(owner, usdc, seen.number)
    assert replaced is not None
    assert replaced.hash != seen.hash
    assert base.block_by_hash(seen.hash) is None
    clock.ms += 2_000
    assert base.head().parent == replaced.hash
    assert common is not None
    assert base.block(common.number) == common
    assert paid is not None
    assert kept is not None
    assert paid == kept + fork.payment


def test_a_token_that_reverts_gives_no_balance_while_the_others_do() -> None:
    world, _ = make_world()
    at_ms = START_MS + 180_000
    assert balance(world, 3, "EURC", at_ms) is None
    assert chain_of(world, "EURC").is_contract(str(asset("EURC").contract))
    assert balance(world, 3, "USDC", at_ms) is not None
    assert balance(world, 3, "EURC", at_ms + 60_000) is not None


def test_the_past_is_what_the_balances_were_dense_now_and_sparse_then() -> None:
    world, clock = make_world(100)
    clock.ms += ROUND_S * 1000
    for token in ASSETS:
        chain = world.chain(token.chain)
        grid = chain.grid(clock.ms - 30 * DAY_MS, clock.ms)
        assert len(grid) <= 60
        assert sum(at >= clock.ms - HOUR_MS for at, _, _ in grid) >= 9
        assert grid[0][0] <= clock.ms - 29 * DAY_MS
        for agent in range(0, 100, 9):
            points = chain.past(agent, token, grid)
            assert all(a.time_ms < b.time_ms for a, b in itertools.pairwise(points))
            assert all(a.amount != b.amount for a, b in itertools.pairwise(points))
            address = world.agents[agent].addresses[token.chain]
            for point in points:
                assert chain.second_of(point.block) * 1000 == point.time_ms
                assert chain.balance(address, token.contract, point.block) == point.amount


def test_most_charts_of_every_range_have_something_to_show() -> None:
    world, clock = make_world(200)
    for days, least in ((1, 300), (7, 500), (30, 500)):
        moving = 0
        for token in ASSETS:
            chain = world.chain(token.chain)
            grid = chain.grid(clock.ms - days * DAY_MS, clock.ms)
            moving += sum(len(chain.past(n, token, grid)) > 3 for n in range(200))
        assert moving >= least


class CountingPattern:
    """Counts how often an amount is worked out."""

    def __init__(self, inner: Pattern) -> None:
        self.inner = inner
        self.worked_out = 0

    def tick(self, moment: Moment) -> int:
        return self.inner.tick(moment)

    def amount(self, tick: int) -> int:
        self.worked_out += 1
        return self.inner.amount(tick)


def test_a_balance_is_worked_out_once_per_change_and_not_once_per_read() -> None:
    burner = Burner(5, top=10**9, low=0, period=600, cycle=86_400, unit=1, office=0)
    counting = CountingPattern(burner)
    clock = SetClock()
    plan = make_world()[0].chain("base").plan
    chain = WorldChain(
        plan, seed=1, size=1, start_ms=START_MS, clock=clock, pattern=lambda _n, _a: counting
    )
    address = chain.written(0)
    first = chain.head().number
    amounts = [chain.balance(address, None, first + step) for step in range(900)]
    assert len(set(amounts)) <= counting.worked_out <= 6


def test_a_burner_falls_within_a_cycle_in_payments_of_the_least_unit() -> None:
    burner = Burner(9, top=1_000_000, low=200_000, period=60, cycle=6_000, unit=100, office=0)
    amounts = [burner.amount(tick) for tick in range(100, 200)]
    assert amounts == sorted(amounts, reverse=True)
    assert all(amount % 100 == 0 and amount >= 200_000 for amount in amounts)
    assert burner.amount(200) > amounts[-1]


def test_work_keeps_up_with_the_clock_day_by_day() -> None:
    day = moment_at(86_400 * 20_000)
    next_day = moment_at(86_400 * 20_001)
    assert [b - a for a, b in zip(day.work, next_day.work, strict=True)] == [86_400] * 3


def test_an_unknown_chain_and_an_empty_fleet_are_refused_in_words() -> None:
    world, clock = make_world(1)
    with pytest.raises(UnknownChainError, match="base, xrpl, tron"):
        world.chain("bsc")
    with pytest.raises(BursarError, match="at least one agent"):
        World(1, 0, START_MS, clock)
