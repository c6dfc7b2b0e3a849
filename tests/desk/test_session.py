"""The session alone: one picture, drained per tick, exact events, and coming back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from core.api import AlertView, CommandRefusedError, EngineApi, SyncNow
from core.model import Amount, BursarError, Severity
from core.service.client import EngineClient
from tests.desk import scripted_ledger
from tests.desk.scripted import ManualClock, ScriptedEngine
from tui import session as session_module
from tui.session import PERIODS_S, Phase, Session


@asynccontextmanager
async def following(
    engine: ScriptedEngine, clock: ManualClock, *, read_only: bool = False
) -> AsyncIterator[Session]:
    async def connect() -> EngineApi:
        return engine

    session = Session(connect, clock, read_only=read_only)
    task = asyncio.create_task(session.run())
    await clock.advance(0)
    yield session
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def world() -> tuple[ManualClock, ScriptedEngine]:
    clock = ManualClock()
    return clock, ScriptedEngine(clock)


async def test_the_first_state_is_shown_at_once_without_waiting_for_a_tick() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        assert session.link.phase is Phase.LIVE
        assert len(session.model.rows) == len(engine.rows)
        assert [c.name for c in session.chains] == ["base", "xrpl", "tron"]
        assert len(session.events.records) == 11
        assert session.events.news == ()  # what was stored before is not news


async def test_changes_are_shown_by_the_tick_and_only_then() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        row = engine.row_of("agent-0001", 3)
        before = session.fleet.serial
        for amount in (1, 2, 3):
            engine.push(balances=(msgspec.structs.replace(row, amount=Amount(amount)),))
        await clock.advance(0.5)
        assert session.model.rows[row.account].amount == row.amount
        await clock.advance(0.6)
        assert session.model.rows[row.account].amount == 3
        assert session.fleet.serial == before + 1
        assert session.fleet.dirty == {row.account}


async def test_a_change_of_the_whole_fleet_lets_the_loop_turn_between_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "SLICE", 10)
    clock, engine = world()
    async with following(engine, clock) as session:
        changed = tuple(
            msgspec.structs.replace(row, amount=Amount(1)) for row in engine.rows.values()
        )
        serial, pulse, seen = session.fleet.serial, session.pulse, set[int]()
        engine.push(balances=changed)
        ticking = asyncio.create_task(clock.advance(1))
        while session.pulse == pulse:
            seen.add(sum(row.amount == 1 for row in session.model.rows.values()))
            await asyncio.sleep(0)
        await ticking
        assert len(seen) > len(changed) // 10
        assert all(row.amount == 1 for row in session.model.rows.values())
        assert session.fleet.serial == serial + 1
        assert session.fleet.dirty == {row.account for row in changed}


async def test_a_whole_state_between_two_slices_is_not_overwritten_by_older_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "SLICE", 10)
    clock, engine = world()
    async with following(engine, clock) as session:
        old = tuple(msgspec.structs.replace(row, amount=Amount(1)) for row in engine.rows.values())
        engine.push(balances=old)
        await clock.advance(0.5)
        draining = session._draining(force=False)
        next(draining)
        for row in engine.rows.values():
            engine.rows[row.account] = msgspec.structs.replace(row, amount=Amount(2))
        await session._begin(engine)
        list(draining)
        assert all(row.amount == 2 for row in session.model.rows.values())


async def test_a_paused_session_keeps_its_picture_and_takes_all_up_when_it_goes_on() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        row = engine.row_of("agent-0001", 3)
        session.paused = True
        engine.push(balances=(msgspec.structs.replace(row, amount=Amount(7)),))
        engine.emit("ENGINE_STOPPED", "", reason="test")
        await clock.advance(5)
        assert session.model.rows[row.account].amount == row.amount
        assert len(session.events.records) == 11
        session.paused = False
        await clock.advance(1)
        assert session.model.rows[row.account].amount == 7
        assert [r.seq for r in session.events.news] == [12]


async def test_removed_and_new_rows_follow_the_last_word() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        row = engine.row_of("agent-0001", 3)
        engine.push(removed=(row.account,))
        engine.push(balances=(row,))
        gone = engine.row_of("agent-0002", 3)
        engine.push(balances=(msgspec.structs.replace(gone, amount=Amount(1)),))
        engine.push(removed=(gone.account,))
        await clock.advance(1)
        assert row.account in session.model.rows
        assert gone.account not in session.model.rows


async def test_a_lost_engine_leaves_the_picture_and_no_event_twice_or_missing() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        engine.emit("ENGINE_STOPPED", "", reason="before the loss")
        await clock.advance(1)
        engine.lose("socket closed")
        await clock.advance(0.1)
        assert session.link == msgspec.structs.replace(
            session.link, phase=Phase.LOST, reason="socket closed"
        )
        assert len(session.model.rows) == len(engine.rows)
        assert not session.writable
        engine.emit("ENGINE_STOPPED", "", reason="while away")
        engine.restore()
        await clock.advance(10)
        assert session.link.phase is Phase.LIVE
        engine.emit("ENGINE_STARTED", "", version="2", agents=1)
        await clock.advance(1)
        assert [r.seq for r in session.events.records] == list(range(1, 15))


async def test_tries_to_come_back_grow_apart_and_are_counted() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        engine.lose()
        await clock.advance(0)
        seen = []
        for _ in range(40):
            await clock.advance(0.5)
            seen.append(session.link.attempt)
        assert seen[0] == 1
        assert seen[-1] == 6  # 0.5 + 1 + 2 + 4 + 5 + 5 seconds of waiting in 20


async def test_an_engine_that_cannot_start_says_why_and_is_not_tried_again() -> None:
    tries = []

    async def connect() -> EngineApi:
        tries.append(1)
        raise BursarError("bursar.toml: [polling] intervall: unknown key")

    clock = ManualClock()
    session = Session(connect, clock)
    task = asyncio.create_task(session.run())
    await clock.advance(30)
    assert session.link.phase is Phase.FAILED
    assert "unknown key" in session.link.reason
    assert len(tries) == 1
    task.cancel()


async def test_a_store_that_begins_anew_is_read_from_its_beginning() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        engine.lose()
        await clock.advance(0.1)
        engine._events = engine._events[:3]
        engine.restore()
        await clock.advance(10)
        assert [r.seq for r in session.events.records] == [1, 2, 3]
        engine.emit("ENGINE_STOPPED", "", reason="x")
        await clock.advance(1)
        assert [r.seq for r in session.events.records] == [1, 2, 3, 4]


async def test_a_read_only_session_gives_no_command() -> None:
    clock, engine = world()
    async with following(engine, clock, read_only=True) as session:
        with pytest.raises(CommandRefusedError, match="read-only"):
            await session.execute(SyncNow())
        assert engine.executed == []


async def test_the_rate_stays_between_four_a_second_and_one_in_five_seconds() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        assert [session.change_rate(1) for _ in range(4)] == [0.5, 0.25, 0.25, 0.25]
        assert [session.change_rate(-1) for _ in range(5)] == [0.5, 1.0, 2.0, 5.0, 5.0]
        assert PERIODS_S[0] == 0.25
        assert PERIODS_S[-1] == 5.0


async def test_only_an_engine_in_this_process_ends_with_the_desk() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        assert session.hosts_engine
        session._api = EngineClient(Path("/nowhere/engine.sock"))
        assert not session.hosts_engine
        session._api = engine


async def test_the_books_are_there_at_once_and_move_with_the_tick() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        assert session.ledger == scripted_ledger.ledger()
        assert session.peers["connector-a", "USD"].receivable == 412_000
        assert len(session.peers) == 9
        assert session.trial == scripted_ledger.trial()
        moved = msgspec.structs.replace(
            session.peers["connector-a", "USD"], receivable=Amount(413_000)
        )
        engine.push(peers=(msgspec.structs.replace(moved, receivable=Amount(1)),))
        engine.push(peers=(moved,), trial=scripted_ledger.unbalanced())
        await clock.advance(0.5)
        assert session.peers["connector-a", "USD"].receivable == 412_000
        await clock.advance(0.6)
        assert session.peers["connector-a", "USD"].receivable == 413_000
        assert len(session.peers) == 9
        assert not session.trial[0].balanced


async def test_custody_that_agrees_again_is_taken_back() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        account, view = next(iter(session.custody.items()))
        count = len(session.custody)
        engine.push(custody=(msgspec.structs.replace(view, state="equal"),))
        await clock.advance(1.1)
        assert account not in session.custody
        assert len(session.custody) == count - 1
        engine.push(custody=(view,))
        await clock.advance(1)
        assert session.custody[account] == view


async def test_a_paused_session_keeps_the_books_it_shows() -> None:
    clock, engine = world()
    async with following(engine, clock) as session:
        session.paused = True
        engine.take_ledger_away()
        await clock.advance(3)
        assert session.ledger is not None
        assert session.ledger.ok
        session.paused = False
        session.drain()
        assert not session.ledger.ok


def low(number: int, **more: object) -> AlertView:
    view = AlertView(number, "low", "balance-below", "agent-0001", Severity.WARNING, "3 left", 1)
    return msgspec.structs.replace(view, **more)


def news(session: Session) -> list[int]:
    return [alert.id for alert in session.alerts.opened]


async def test_alerts_come_whole_and_a_patch_without_them_leaves_them_as_they_are() -> None:
    clock, engine = world()
    engine.push(alerts=(low(1), low(2)))
    async with following(engine, clock) as session:
        assert [alert.id for alert in session.alerts.listed] == [2, 1]
        assert news(session) == []  # they stood before this desk looked
        engine.push(balances=(engine.row_of("agent-0001", 3),))
        await clock.advance(1)
        assert session.alerts.loud == 2
        engine.push(alerts=(low(2), low(3, severity=Severity.PROBLEM)))
        engine.push(alerts=(low(2), low(3, severity=Severity.PROBLEM), low(4)))
        await clock.advance(1)
        assert news(session) == [3, 4]
        assert (session.alerts.loud, session.alerts.problems) == (3, 1)
        engine.push(alerts=())
        await clock.advance(1)
        assert session.alerts.listed == ()


async def test_alerts_are_counted_anew_when_a_silence_ends_and_that_is_no_news() -> None:
    clock, engine = world()
    ends_ms = clock.now_ms() + 5_000
    async with following(engine, clock) as session:
        engine.push(alerts=(low(1, silenced_until_ms=ends_ms), low(2, silenced_until_ms=1)))
        await clock.advance(1)
        assert (session.alerts.loud, session.alerts.until_ms) == (1, ends_ms)
        await clock.advance(5)
        assert (session.alerts.loud, session.alerts.until_ms) == (2, 0)
        assert news(session) == []


async def test_the_alerts_of_another_store_are_no_news() -> None:
    clock, engine = world()
    engine.push(alerts=(low(1),))
    async with following(engine, clock) as session:
        engine.lose()
        await clock.advance(0.1)
        engine.restore()
        del engine._events[2:]
        engine.push(alerts=(low(7),))
        await clock.advance(1)
        assert [alert.id for alert in session.alerts.listed] == [7]
        assert news(session) == []
