"""The store fails or is shared: the cache goes on, and every change is told once."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from core.balances.cache import BalanceCache
from core.balances.sync import SyncWorker
from core.store.sqlite import SqliteStore
from tests.balances.fleet import INTERVAL_S, fleet, running
from tests.clock import until

CHANGED = "AGENT_BALANCE_CHANGED"


def break_writes(path: Path, table: str, statement: str) -> None:
    """From now on the database refuses to write that table, as it does on a full disk."""
    with sqlite3.connect(path) as connection:
        connection.execute(
            f"CREATE TRIGGER broken BEFORE {statement} ON {table}"
            " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    connection.close()


def mend_writes(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER broken")
    connection.close()


@pytest.mark.parametrize(("table", "statement"), [("chain_leases", "UPDATE"), ("polls", "INSERT")])
async def test_a_store_that_fails_is_shown_and_what_it_missed_is_told_when_it_works(
    table: str, statement: str, tmp_path: Path
) -> None:
    path = tmp_path / "bursar.db"
    async with fleet(tmp_path) as made:
        made.put("a", "base", 100)
        made.put("b", "base", 50)
        async with running(made):
            break_writes(path, table, statement)
            made.put("a", "base", 90)
            made.put("b", "base", 40)
            await made.cycle()
            assert made.amount("a", "base", "ETH") == 90
            assert "the disk is full" in made.worker.store_error
            made.put("a", "base", 80)
            made.put("b", "base", 50)  # back to what the store holds
            await made.cycle()
            mend_writes(path)
            await made.cycle()
            await made.cycle()
            assert made.worker.store_error == ""
            assert made.cache.chain_state("base").state == "live"
        assert [
            (e.payload["oldBalance"], e.payload["newBalance"]) for e in await made.events(CHANGED)
        ] == [("100", "80")]
        first, last = made.store_errors
        assert "the disk is full" in first
        assert last == ""


async def test_two_workers_read_no_row_twice_in_a_lease_and_lose_none(tmp_path: Path) -> None:
    async with fleet(tmp_path, agents=[f"agent-{i}" for i in range(6)]) as made:
        made.compose(worker="one", shared=True, batch=4)
        await made.tracker.load()
        intervals = {"base": int(INTERVAL_S * 1000)}
        second_cache = BalanceCache(made.clock, intervals)
        other_store = SqliteStore(tmp_path / "bursar.db", "other")
        await other_store.open()
        second_cache.load(await other_store.registry(), await other_store.balances())
        second = SyncWorker(
            other_store,
            made.readers,
            second_cache,
            made.bus,
            made.clock,
            intervals_ms=intervals,
            worker="two",
            shared=True,
            batch=4,
        )
        reader = made.readers["base"]
        async with running(made):
            run = asyncio.create_task(second.run())
            await until(lambda: second.cycles()["base"] == 1)
            for turn in range(4):
                made.put("agent-1", "base", 100 + turn)
                await made.clock.advance(INTERVAL_S)
                await made.completed({"base": turn + 2})
                await until(lambda turn=turn: second.cycles()["base"] >= turn + 2)  # type: ignore[misc]
            stop = asyncio.create_task(second.stop())
            await stop
            await run
        read: dict[tuple[int, str, str], int] = {}
        for at, requests in zip(reader.reads, reader.requests, strict=True):
            for request in requests:
                key = (at, request.address, request.asset.symbol)
                read[key] = read.get(key, 0) + 1
        assert set(read.values()) == {1}
        assert len(read) == 5 * 12
        changes = [e.payload["newBalance"] for e in await made.events(CHANGED)]
        assert changes == ["100", "101", "102", "103"]
        await other_store.close()


async def test_the_rows_of_a_killed_worker_return_after_its_lease(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        now_ms = made.clock.now_ms()
        dead = await made.store.claim(
            "base", "dead", now_ms=now_ms, due_before_ms=now_ms, lease_ms=120_000, limit=None
        )
        assert dead is not None
        async with running(made):
            assert made.readers["base"].reads == []
            for _ in range(3):
                await made.cycle()
            assert made.readers["base"].reads == []
            await made.cycle()
            assert len(made.readers["base"].reads) == 1


async def test_a_worker_that_was_killed_takes_its_own_rows_again_at_once(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        now_ms = made.clock.now_ms()
        held = await made.store.claim(
            "base", "engine", now_ms=now_ms, due_before_ms=now_ms, lease_ms=120_000, limit=None
        )
        assert held is not None
        async with running(made):
            assert len(made.readers["base"].reads) == 1


async def test_a_subscriber_that_hangs_delays_no_cycle_and_misses_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made, running(made):
        news = made.tracker.subscribe(0)
        made.put("a", "base", 1)
        await made.cycle()
        first = await anext(news)  # and then it does not come back for long
        for amount in (2, 3):
            made.put("a", "base", amount)
            await made.cycle()
        rest = [await anext(news), await anext(news)]
        assert [e.payload["newBalance"] for e in (first, *rest)] == ["1", "2", "3"]
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        made.put("a", "base", 4)
        await made.cycle()
        assert (await waiting).payload["newBalance"] == "4"


async def test_a_reading_that_lost_its_lease_is_not_stored_and_told_by_the_next(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path) as made:
        reader = made.readers["base"]
        async with running(made):
            made.put("a", "base", 5)
            reader.gate = asyncio.Event()
            await made.clock.advance(INTERVAL_S)
            await until(lambda: reader.reading == 1)
            later_ms = made.clock.now_ms() + 120_001
            thief = await made.store.claim(
                "base", "thief", now_ms=later_ms, due_before_ms=later_ms, lease_ms=9, limit=None
            )
            assert thief is not None
            reader.gate.set()
            await made.completed({"base": 2})
            assert made.amount("a", "base", "ETH") == 5
            assert made.worker.store_error == ""
            assert await made.events(CHANGED) == []
            await made.store.release(thief, (), (), later_ms)
            await made.cycle()
        (event,) = await made.events(CHANGED)
        assert (event.payload["oldBalance"], event.payload["newBalance"]) == ("0", "5")


async def test_chain_and_store_down_together_are_both_shown_and_the_chain_told_later(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bursar.db"
    async with fleet(tmp_path) as made:
        async with running(made):
            break_writes(path, "chain_leases", "UPDATE")
            with sqlite3.connect(path) as connection:
                connection.execute(
                    "CREATE TRIGGER mute BEFORE INSERT ON events"
                    " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
                )
            made.readers["base"].down = "503"
            await made.cycle()
            assert made.cache.chain_state("base").state == "down"
            assert "the disk is full" in made.worker.store_error
            assert [view.error for view in made.cache.views()] == ["503"] * 6
            made.readers["base"].down = ""
            await made.cycle()
            mend_writes(path)
            with sqlite3.connect(path) as connection:
                connection.execute("DROP TRIGGER mute")
            await made.cycle()
        states = [e.payload["newState"] for e in await made.events("CHAIN_STATE_CHANGED")]
        assert states == ["live", "down", "live"]


async def test_a_reader_that_ignores_being_given_up_is_not_asked_again_before_it_returns(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path) as made:
        reader = made.readers["base"]
        async with running(made):
            reader.hangs = reader.deaf = True
            await made.clock.advance(INTERVAL_S)
            await until(lambda: reader.reading == 1)
            await made.clock.advance(90)
            await until(lambda: made.worker.cycles()["base"] == 2)
            await made.clock.advance(INTERVAL_S)
            await until(lambda: made.worker.cycles()["base"] == 3)
            assert len(reader.reads) == 2
            assert "has still not returned" in made.cache.chain_state("base").reason
        assert reader.most_at_once == 1
        assert reader.reading == 0
