"""Every event is logged once, at its level, with the agent and chain it is about."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from core.events import (
    AgentBalanceChanged,
    Bus,
    ChainStateChanged,
    Event,
    EventRecord,
    SettlementRequired,
)
from core.model import Amount
from core.store.sqlite import SqliteStore
from core.telemetry.event_log import EventLog, level_of
from core.telemetry.logs import LogFile
from tests.clock import TestClock, until


def changed(agent: str) -> AgentBalanceChanged:
    return AgentBalanceChanged(
        timestamp=1,
        agent_id=agent,
        chain="base",
        token="USDC",
        contract=None,
        old_balance=Amount(10**30),
        new_balance=Amount(10**30 + 5),
        change=Amount(5),
        block=7,
        decimals=6,
    )


def required(peer: str) -> SettlementRequired:
    return SettlementRequired(
        timestamp=1,
        peer_id=peer,
        token_id="USD",
        current_balance=Amount(120),
        threshold=Amount(100),
        exceeds_by=Amount(20),
    )


def chain_is(state: str) -> ChainStateChanged:
    return ChainStateChanged(
        timestamp=1, chain="tron", old_state="live", new_state=state, reason="no answer"
    )


async def logged(folder: Path, level: str, *events: Event) -> list[dict[str, object]]:
    """What the log file holds after these events came while it was followed."""
    store = SqliteStore(folder / "bursar.db", "node-a")
    await store.open()
    try:
        before = (await store.append([changed("agent-before")]))[-1].seq
        bus = Bus()
        bus.publish(before)
        with LogFile(folder / "bursar.log", level=level):
            log = EventLog(store, bus, TestClock(), before)
            following = asyncio.create_task(log.run())
            last = (await store.append(list(events)))[-1].seq
            bus.publish(last)
            await until(lambda: log.seq == last)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    finally:
        await store.close()
    return [json.loads(line) for line in (folder / "bursar.log").read_text().splitlines()]


async def test_events_are_logged_with_their_level_agent_and_chain(tmp_path: Path) -> None:
    lines = await logged(tmp_path, "info", changed("agent-1"), required("p"), chain_is("down"))
    assert [line["level"] for line in lines] == ["INFO", "WARNING", "ERROR"]
    assert [line.get("agent") for line in lines] == ["agent-1", None, None]
    assert [line.get("chain") for line in lines] == ["base", None, "tron"]
    assert str(lines[0]["message"]).startswith("AGENT_BALANCE_CHANGED agent-1: token=USDC")
    assert f"newBalance={10**30 + 5} change=5" in str(lines[0]["message"])
    assert "reason='no answer'" in str(lines[2]["message"])


async def test_a_quiet_level_leaves_the_changes_out(tmp_path: Path) -> None:
    lines = await logged(tmp_path, "warning", changed("agent-1"), required("p"))
    assert [str(line["message"]).split()[0] for line in lines] == ["SETTLEMENT_REQUIRED"]


@pytest.mark.parametrize(
    ("state", "level"),
    [("down", logging.ERROR), ("stale", logging.WARNING), ("live", logging.INFO)],
)
def test_a_chain_that_comes_back_is_no_warning(state: str, level: int) -> None:
    record = EventRecord(1, "CHAIN_STATE_CHANGED", "n", 1, "tron", {"newState": state})
    assert level_of(record) == level
