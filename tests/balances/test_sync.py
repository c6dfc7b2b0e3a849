"""The sync worker over a real store: readings become balances, history and events."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from core.events import EventRecord
from core.model import EndpointHealth, EndpointState, Severity
from core.store.protocol import NewWallet
from tests.balances.fleet import INTERVAL_S, USDC, address, fleet, running
from tests.clock import until

CHANGED, REVERTED = "AGENT_BALANCE_CHANGED", "AGENT_BALANCE_REVERTED"


def told(events: list[EventRecord]) -> list[tuple[object, ...]]:
    fields = ("agentId", "token", "oldBalance", "newBalance")
    return [tuple(event.payload[field] for field in fields) for event in events]


async def test_a_first_reading_is_no_change_and_the_next_difference_is_one(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 10**19)
        async with running(made):
            assert made.amount("a", "base", "ETH") == 10**19
            assert await made.events(CHANGED) == []
            made.put("a", "base", 10**19 - 7)
            await made.cycle()
            await made.cycle()
        (event,) = await made.events(CHANGED)
        assert event.payload == {
            "timestamp": event.payload["timestamp"],
            "agentId": "a",
            "chain": "base",
            "token": "ETH",
            "contract": None,
            "oldBalance": str(10**19),
            "newBalance": str(10**19 - 7),
            "change": "-7",
            "block": 102,
            "decimals": 18,
        }
        assert made.bus.last == event.seq


async def test_an_error_keeps_the_figure_counts_and_is_never_zero(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 500, USDC)
        async with running(made):
            made.fail("a", "base", "execution reverted", USDC)
            await made.cycle()
            await made.cycle()
            account = made.cache.find("a", "base", "usdc")
            assert account is not None
            view = next(v for v in made.cache.views() if v.account == account)
            assert (view.amount, view.error, view.errors) == (500, "execution reverted", 2)
            assert view.checked_ms == made.readers["base"].reads[0]
            assert made.cache.chain_state("base").unknown == 1
            assert made.cache.chain_state("base").state == "live"
            made.fail("a", "base", "", USDC)
            await made.cycle()
            view = made.cache.view(account)
            assert (view.amount, view.error) == (500, "")
        stored = {b.account: b for b in await made.store.balances()}[account]
        assert (stored.amount, stored.error, stored.errors) == (500, "", 2)
        assert await made.events(CHANGED) == []


async def test_a_row_that_was_never_read_has_no_amount(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.fail("a", "base", "no contract", USDC)
        async with running(made):
            account = made.cache.find("a", "base", USDC.lower())
            assert account is not None
            assert made.cache.view(account).amount is None
            (total,) = [t for t in made.cache.totals() if t.asset == made.cache.view(account).asset]
            assert (total.known, total.unknown) == (2, 1)


async def test_after_a_restart_the_last_balances_stand_before_any_reading(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 77)
        async with running(made):
            pass
        made.compose()
        await made.tracker.load()
        assert made.amount("a", "base", "ETH") == 77
        assert made.cache.chain_state("base").state == "starting"


async def test_a_change_while_nothing_ran_is_an_event(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.put("a", "base", 77)
        async with running(made):
            pass
        made.put("a", "base", 70)
        await made.clock.advance(3600)
        made.compose()
        await made.tracker.load()
        async with running(made):
            assert told(await made.events(CHANGED)) == [("a", "ETH", "77", "70")]


async def test_a_hanging_chain_delays_no_other_and_is_given_up_within_its_lease(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, chains=("base", "xrpl")) as made:
        made.readers["base"].hangs = True
        async with running(made):
            for _ in range(2):
                await made.cycle()
            assert len(made.readers["xrpl"].reads) == 3
            assert len(made.readers["base"].reads) == 1
            await made.cycle()
            await until(lambda: made.cache.chain_state("base").state == "down", "base down")
            state = made.cache.chain_state("base")
            assert state.reason == "no answer within 90 s"
            assert made.cache.chain_state("xrpl").state == "live"
            made.readers["base"].hangs = False
            await made.cycle()
            await until(lambda: made.cache.chain_state("base").state == "live", "base live")
        assert made.readers["base"].most_at_once == 1
        states = [
            (e.payload["chain"], e.payload["oldState"], e.payload["newState"])
            for e in await made.events("CHAIN_STATE_CHANGED")
        ]
        assert [s for s in states if s[0] == "xrpl"] == [("xrpl", "starting", "live")]
        assert [s for s in states if s[0] == "base"] == [
            ("base", "starting", "stale"),
            ("base", "stale", "down"),
            ("base", "down", "live"),
        ]


async def test_a_dead_chain_keeps_its_figures_with_the_reason_and_is_told_once(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, chains=("base", "bsc")) as made:
        made.put("a", "base", 9)
        async with running(made):
            made.readers["base"].down = "base: http://base.test: 503"
            for _ in range(3):
                await made.cycle()
            account = made.cache.find("a", "base", "ETH")
            assert account is not None
            view = made.cache.view(account)
            assert (view.amount, view.error) == (9, "base: http://base.test: 503")
            assert made.cache.chain_state("base").state == "down"
            assert made.cache.chain_state("base").unknown == 6
            assert view.severity is Severity.OK
            for _ in range(4):
                await made.cycle()
            assert made.cache.view(account).problem == "unread for 5 intervals"
        stored = {b.account: b for b in await made.store.balances()}[account]
        assert stored.errors == 7
        states = [e.payload["newState"] for e in await made.events("CHAIN_STATE_CHANGED")]
        assert sorted(map(str, states)) == ["down", "live", "live"]


async def test_a_reader_with_a_bug_is_a_failed_chain_and_not_a_crash(tmp_path: Path) -> None:
    async with fleet(tmp_path, chains=("base", "bsc")) as made, running(made):
        made.readers["base"].broken = ZeroDivisionError("division by zero")
        await made.cycle()
        assert made.cache.chain_state("base").reason == (
            "reader failed: ZeroDivisionError: division by zero"
        )
        assert made.cache.chain_state("bsc").state == "live"


async def test_cycles_stay_on_their_grid_and_never_overlap(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        reader = made.readers["base"]
        async with running(made):
            first = reader.reads[0]
            await made.clock.advance(20)
            for turn in range(3):
                reader.gate = asyncio.Event()
                await made.clock.advance(10)
                await until(lambda: reader.reading == 1)
                await made.clock.advance(20)  # a slow answer
                reader.gate.set()
                await made.completed({"base": turn + 2})
            assert reader.most_at_once == 1
            assert [at - first for at in reader.reads] == [0, 30_000, 60_000, 90_000]


async def test_a_cycle_longer_than_the_interval_misses_its_turn_and_keeps_the_grid(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path) as made:
        reader = made.readers["base"]
        async with running(made):
            first = reader.reads[0]
            reader.gate = asyncio.Event()
            await made.clock.advance(INTERVAL_S)
            await until(lambda: reader.reading == 1)
            await made.clock.advance(40)
            reader.gate.set()
            await made.completed({"base": 2})
            await made.clock.advance(20)
            await made.completed({"base": 3})
            assert [at - first for at in reader.reads] == [0, 30_000, 90_000]
            assert reader.most_at_once == 1


async def test_reading_now_reads_at_once_and_starts_a_new_grid(tmp_path: Path) -> None:
    async with fleet(tmp_path, chains=("base", "bsc")) as made:
        base = made.readers["base"]
        async with running(made):
            first = base.reads[0]
            await made.clock.advance(12)
            made.put("a", "base", 5)
            (report,) = await made.worker.read_now(["base"])
            assert (report.read, report.changed, report.error) == (6, 1, "")
            await made.clock.advance(INTERVAL_S)
            await made.completed({"base": 3, "bsc": 2})
            assert [at - first for at in base.reads] == [0, 12_000, 42_000]
            assert len(made.readers["bsc"].reads) == 2
        (report, _) = await made.worker.read_now()
        assert report.error == "the sync worker is not running"


async def test_pushed_heads_wake_a_cycle_but_not_more_often_than_allowed(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        reader = made.readers["base"]
        async with running(made):
            first = reader.reads[0]
            head = (await reader.read([])).block
            reader.reads.pop()
            for second in range(1, 13):
                reader.pushed.put_nowait(head)
                await made.clock.advance(1)
                await made.completed({"base": 1 + second // 5})
            assert [at - first for at in reader.reads] == [0, 5_000, 10_000]


async def test_an_endpoint_that_is_left_is_told_once(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        reader = made.readers["base"]
        async with running(made):
            second = EndpointHealth("base", "http://second", EndpointState.READY, in_use=True)
            left = EndpointHealth(
                "base", "http://base.test", EndpointState.BACKING_OFF, last_error="503"
            )
            reader.endpoints = (left, second)
            for _ in range(3):
                await made.cycle()
            assert made.cache.endpoints() == (left, second)
        (event,) = await made.events("ENDPOINT_STATE_CHANGED")
        assert event.payload["endpoint"] == "http://base.test"
        assert event.payload["newState"] == "backing off"
        assert event.payload["reason"] == "503"


async def test_stopping_in_mid_read_gives_the_lease_back(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        reader = made.readers["base"]
        async with running(made):
            reader.hangs = True
            await made.clock.advance(INTERVAL_S)
            await until(lambda: reader.reading == 1)
        assert reader.reading == 0
        now_ms = made.clock.now_ms()
        lease = await made.store.claim(
            "base", "other", now_ms=now_ms, due_before_ms=now_ms, lease_ms=1000, limit=None
        )
        assert lease is not None


async def test_a_cycle_that_ends_within_the_grace_is_recorded(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        reader = made.readers["base"]
        async with running(made):
            made.put("a", "base", 3)
            reader.gate = asyncio.Event()
            await made.clock.advance(INTERVAL_S)
            await until(lambda: reader.reading == 1)
            stop = asyncio.create_task(made.worker.stop())
            await asyncio.sleep(0)
            reader.gate.set()
            await stop
        assert 3 in [b.amount for b in await made.store.balances()]


async def test_a_cancelled_worker_gives_its_leases_back(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        made.readers["base"].hangs = True
        run = asyncio.create_task(made.worker.run())
        await until(lambda: made.readers["base"].reading == 1)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        now_ms = made.clock.now_ms()
        lease = await made.store.claim(
            "base", "other", now_ms=now_ms, due_before_ms=now_ms, lease_ms=1000, limit=None
        )
        assert lease is not None


async def test_wallets_added_while_running_are_read_in_the_next_cycle(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made, running(made):
        made.put("new", "base", 11)
        await made.store.add_wallets(
            [NewWallet("new", "base", address("new", "base"))], (), made.clock.now_ms()
        )
        await made.cycle()  # nobody told the cache: it notices by the lease
        assert made.amount("new", "base", "ETH") == 11
        assert made.cache.chain_state("base").accounts == 8


async def test_the_same_requests_object_is_given_again(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        async with running(made):
            await made.cycle()
            await made.tracker.load()
            await made.cycle()
        first, second, third = made.readers["base"].requests
        assert first is second is third


async def test_a_chain_that_nobody_has_an_address_on_is_waiting_and_not_failing(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, agents=()) as made, running(made):
        (report,) = await made.worker.read_now()
        assert (report.read, report.error) == (0, "")
        for _ in range(4):
            await made.cycle()
        state = made.cache.chain_state("base")
        assert (state.state, state.reason) == (
            "starting",
            "no address to read on this chain yet",
        )


async def test_a_head_that_stands_still_is_lagging_and_told_once(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        async with running(made):
            made.readers["base"].moves = False
            for _ in range(6):
                await made.cycle()
            state = made.cache.chain_state("base")
            assert (state.state, state.reason) == ("lagging", "head 101 has not moved")
            made.readers["base"].moves = True
            await made.cycle()
            assert made.cache.chain_state("base").state == "live"
        states = [e.payload["newState"] for e in await made.events("CHAIN_STATE_CHANGED")]
        assert states == ["live", "lagging", "live"]


async def test_marks_and_reserves_are_kept_and_leave_again(tmp_path: Path) -> None:
    async with fleet(tmp_path, token=False) as made:
        reader, place = made.readers["base"], (address("a", "base"), None)
        made.put("b", "base", 50)
        reader.marks[place] = "not activated"
        reader.reserved[address("b", "base"), None] = 20
        async with running(made):
            views = {view.agent: view for view in made.cache.views()}
            assert (views["a"].amount, views["a"].mark) == (0, "not activated")
            assert views["b"].reserved == 20
            del reader.marks[place]
            made.fail("b", "base", "timeout")
            await made.cycle()
            views = {view.agent: view for view in made.cache.views()}
            assert views["a"].mark == ""
            assert views["b"].reserved == 20  # not read, so not known to be gone
        stored = {b.account: b for b in await made.store.balances()}
        assert stored[views["b"].account].reserved == 20
        assert stored[views["a"].account].mark == ""


async def test_balance_code_leaves_columns_of_other_workers_alone(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        path = tmp_path / "bursar.db"
        others = ("needs_gas", "priority", "gas_locked_by", "consolidation_locked_until")
        with sqlite3.connect(path) as connection:
            for column in others:
                connection.execute(f"ALTER TABLE wallet_balances ADD COLUMN {column}")
                connection.execute(f"UPDATE wallet_balances SET {column} = 'theirs'")
        async with running(made):
            made.put("a", "base", 4)
            made.fail("b", "base", "timeout")
            await made.cycle()
            made.readers["base"].down = "503"
            await made.cycle()
        with sqlite3.connect(path) as connection:
            rows = connection.execute(f"SELECT {', '.join(others)} FROM wallet_balances").fetchall()
        assert set(rows) == {("theirs",) * len(others)}
