"""What the tracker answers, and what of it changes by time alone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api import EngineState, StoreHealth
from core.balances.cache import BalanceCache
from core.balances.topup import topups
from core.balances.tracker import BalanceUnknownError, sparkline
from core.model import Account, Agent, Amount, Asset, Chain, ChainKind, NoWallet, Severity
from core.store.protocol import HistoryRow, Limit, NewAsset, NewWallet, Registry
from tests.balances.fleet import INTERVAL_S, USDC, Fleet, fleet, running
from tests.clock import TestClock, until

HOUR_S = 3600


def account(made: Fleet, agent: str, asset: str = "ETH") -> int:
    found = made.cache.find(agent, "base", asset)
    assert found is not None
    return found


async def test_an_unknown_agent_has_no_wallet(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        with pytest.raises(NoWallet, match=r"^No wallet for agent nobody$"):
            await made.tracker.get_balance("nobody", "base", "ETH")
        with pytest.raises(NoWallet, match="holds DAI on base"):
            await made.tracker.get_balance("a", "base", "DAI")
        assert await made.tracker.get_all_balances("nobody") == []


async def test_a_balance_comes_from_the_cache_while_it_is_young(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 10**20)
        made.put("a", "base", 5, USDC)
        async with running(made):
            reads = made.readers["base"].reads
            await made.clock.advance(INTERVAL_S - 1)
            for name in ("USDC", "usdc", USDC, USDC.lower()):
                assert await made.tracker.get_balance("a", "base", name) == 5
            assert await made.tracker.get_balance("a", "base", "ETH") == 10**20
            assert len(reads) == 1


async def test_an_old_or_unread_balance_is_read_anew(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.fail("a", "base", "timeout")
        async with running(made):
            with pytest.raises(BalanceUnknownError, match="timeout"):
                await made.tracker.get_balance("a", "base", "ETH")
            made.fail("a", "base", "")
            made.put("a", "base", 7)
            several = [made.tracker.get_balance("a", "base", "ETH") for _ in range(20)]
            assert await asyncio.gather(*several) == [7] * 20
            assert len(made.readers["base"].reads) == 3  # twenty askers, one reading


async def test_all_balances_come_natives_first_with_block_and_time(tmp_path: Path) -> None:
    async with fleet(tmp_path, chains=("base", "bsc")) as made:
        made.put("a", "base", 3)
        made.put("a", "bsc", 4)
        made.fail("a", "bsc", "reverted", USDC)
        async with running(made):
            await made.cycle()
            balances = await made.tracker.get_all_balances("a")
            now_ms = made.clock.now_ms()
        assert [(b.chain, b.token, b.balance) for b in balances] == [
            ("base", "ETH", 3),
            ("bsc", "ETH", 4),
            ("base", "USDC", 0),
        ]
        assert {b.block for b in balances} == {102}
        assert {b.last_updated for b in balances} == {now_ms}


async def test_history_starts_with_the_value_that_stood_at_the_start(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 10)
        async with running(made):
            for amount in (20, 30):
                made.put("a", "base", amount)
                await made.cycle()
            now_ms = made.clock.now_ms()
            history = await made.tracker.get_balance_history(
                "a", "base", "ETH", now_ms - 45_000, now_ms
            )
        assert [(p.amount, p.time_ms - now_ms, p.carried) for p in history.points] == [
            (10, -45_000, True),
            (20, -30_000, False),
            (30, 0, False),
        ]


async def test_deltas_runway_and_severity_follow_a_drain_and_a_limit(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 100_000, USDC)
        made.put("a", "base", 1)
        async with running(made):
            for step in range(1, 25):
                made.put("a", "base", 100_000 - 1_000 * step, USDC)
                for _ in range(20):
                    await made.cycle()
            row = account(made, "a", "USDC")
            view = made.cache.view(row)
            assert view.amount == 76_000
            assert (view.change_1h, view.change_24h) == (-6_000, None)
            assert view.runway_sure == "good"
            assert view.runway_s is not None
            assert abs(view.runway_s - 76 * 600) <= 76 * 60
            assert view.severity is Severity.WARNING
            assert view.problem.startswith("runway 12h")
            await made.store.set_limit(
                Limit("agent", "a", view.asset, floor=80_000, target=90_000), ()
            )
            version = made.cache.counter.value
            await made.tracker.load()
            changed = made.cache.changed_since(version).balances
            assert [(v.account, v.problem, v.runway_s) for v in changed] == [
                (row, "below floor", 0)
            ]


async def test_deltas_are_there_after_a_restart(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 50)
        async with running(made):
            made.put("a", "base", 40)
            await made.cycle()
        made.compose()
        await made.clock.advance(HOUR_S / 2)
        await made.tracker.load()
        row = account(made, "a")
        assert made.cache.view(row).change_1h is None  # not known yet, so not claimed
        async with running(made):
            await until(lambda: bool(made.cache.moving()))
            made.put("a", "base", 35)
            await made.cycle()
            assert made.cache.view(row).change_1h is None  # the agent is younger than an hour
            for _ in range(60):
                await made.cycle()
            assert made.cache.view(row).change_1h == -5


async def test_time_alone_ends_a_delta_and_marks_only_rows_that_look_different(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 50)
        async with running(made):
            await made.clock.advance(HOUR_S)
            made.put("a", "base", 40)
            await made.completed({"base": 2})
            await made.worker.read_now()
            row = account(made, "a")
            assert made.cache.view(row).change_1h == -10
            made.cache.views()
            version = made.cache.counter.value
            for _ in range(12):
                await made.cycle(HOUR_S / 10)
            changed = made.cache.changed_since(version)
            assert {v.account for v in changed.balances} <= {v.account for v in made.cache.views()}
            assert made.cache.view(row).change_1h == 0
            # a's delta ended; the others only came to be known for an hour
            assert all(v.change_1h == 0 for v in changed.balances)


async def test_a_chain_unread_for_five_intervals_is_a_problem_until_it_is_read(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, token=False) as made:
        for agent in "abc":
            made.put(agent, "base", 1)
        async with running(made):
            assert {v.severity for v in made.cache.views()} == {Severity.OK}
            made.readers["base"].hangs = True
            version, since_ms = made.cache.counter.value, made.clock.now_ms()
            await shown(made, "unread for 5 intervals")
            assert made.clock.now_ms() - since_ms >= 4 * 30_000
            assert len(made.cache.changed_since(version).balances) == 3
            made.readers["base"].hangs = False
            await shown(made, "")
            assert made.cache.chain_state("base").state == "live"


async def shown(made: Fleet, problem: str) -> None:
    """Let time pass, however slow the store's thread is, until every row has this problem."""
    deadline = time.monotonic() + 30
    while {view.problem for view in made.cache.views()} != {problem}:
        assert time.monotonic() < deadline, {view.problem for view in made.cache.views()}
        await made.clock.advance(5)
        await asyncio.sleep(0.003)


async def test_changed_since_says_what_is_new_and_nothing_else(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made, running(made):
        made.cache.views()
        version = made.cache.counter.value
        made.put("b", "base", 9)
        await made.cycle()
        changes = made.cache.changed_since(version)
        assert [(v.agent, v.amount) for v in changes.balances] == [("b", 9)]
        assert [c.name for c in changes.chains] == ["base"]
        assert changes.totals is not None
        assert {t.total for t in changes.totals} == {0, 9}
        assert changes.removed == ()
        nothing = made.cache.changed_since(changes.version)
        assert (nothing.balances, nothing.chains, nothing.totals) == ((), (), None)


async def test_a_registry_that_shrinks_removes_rows_and_their_share_of_totals(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 5, USDC)
        async with running(made):
            gone = account(made, "a", "USDC")
            version = made.cache.counter.value
            chains = [("base", made.readers["base"].kind)]
            await made.store.put_registry(chains, [NewAsset("base", "ETH", "Ether", 18)])
            await made.tracker.load()
            changes = made.cache.changed_since(version)
            assert gone in changes.removed
            assert len(changes.removed) == 3
            with pytest.raises(NoWallet):
                await made.tracker.get_balance("a", "base", "USDC")
            await made.cycle()
            assert made.cache.chain_state("base").state == "live"
            assert len(made.readers["base"].requests[-1]) == 3


def test_an_issuer_of_two_currencies_does_not_name_one() -> None:
    assets = tuple(
        Asset(id, "xrpl", symbol, symbol, 6, contract)
        for id, symbol, contract in ((1, "XRP", None), (2, "USD", "rIssuer"), (3, "EUR", "rIssuer"))
    )
    accounts = tuple(Account(10 + asset.id, "a", "xrpl", asset.id, "rA") for asset in assets)
    chain = Chain(1, "xrpl", ChainKind.XRPL)
    cache = BalanceCache(TestClock(), {"xrpl": 30_000})
    assert cache.load(Registry((chain,), assets, (Agent("a"),), accounts, ()), ()) == [11, 12, 13]
    assert [cache.find("a", "xrpl", name) for name in ("XRP", "usd", "EUR")] == [11, 12, 13]
    assert cache.find("a", "xrpl", "rIssuer") is None
    assert cache.find_told("a", "xrpl", "EUR", "rIssuer") == 13
    assert cache.find_told("a", "xrpl", "XRP", None) == 11


async def test_a_top_up_says_who_is_below_target_and_by_how_much(tmp_path: Path) -> None:
    async with fleet(tmp_path, agents=("a", "b", "c")) as made:
        for agent, amount in (("a", 100), ("b", 199), ("c", 200)):
            made.put(agent, "base", amount, USDC)
        made.fail("c", "base", "timeout")
        async with running(made):
            pass
        registry = await made.store.registry()
        usdc = next(asset for asset in registry.assets if asset.symbol == "USDC")
        await made.store.label_agents(
            [msgspec.structs.replace(registry.agents[0], group="alpha")], ()
        )
        for agent in "abc":
            await made.store.set_limit(Limit("agent", agent, usdc.id, None, 200), ())
        await made.store.add_wallets([NewWallet("new", "base", "base:new")], (), 0)
        await made.tracker.load()
        registry = await made.store.registry()
        state = EngineState(
            instance="i",
            version=1,
            seq=0,
            now_ms=0,
            started_ms=0,
            node_id="n",
            environment="",
            demo=False,
            interval_ms=30_000,
            chains=made.cache.chain_states(),
            endpoints=(),
            assets=registry.assets,
            agents=registry.agents,
            balances=made.cache.views(),
            totals=made.cache.totals(),
            store=StoreHealth("sqlite", ""),
        )
    assert [(t.agent, t.group, t.amount, t.balance) for t in topups(state)] == [
        ("a", "alpha", 100, 100),
        ("b", "", 1, 199),
    ]
    assert [t.agent for t in topups(state, group="alpha")] == ["a"]
    assert topups(state, chain="bsc") == ()


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9)), max_size=30),
    st.integers(1, 12),
)
def test_a_sparkline_holds_the_value_at_the_end_of_each_slice(
    changes: list[tuple[int, int]], buckets: int
) -> None:
    rows = [HistoryRow(1, at, 0, amount) for at, amount in sorted(changes)]
    line = sparkline(rows, 200, 800, buckets)
    for number, value in enumerate(line, start=1):
        until_ms = 200 + 600 * number // buckets
        standing = [row.amount for row in rows if row.time_ms <= until_ms]
        assert value == (standing[-1] if standing else None)


def test_an_amount_is_exact_at_any_size() -> None:
    rows = [HistoryRow(1, 0, 0, Amount(2**256 - 1))]
    assert sparkline(rows, 0, 10, 1) == (2**256 - 1,)
