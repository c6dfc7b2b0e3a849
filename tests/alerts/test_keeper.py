"""Alerts are rows with their events: once per crossing, taken on and silenced by operators."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.alerts import AlertRefusedError, Rule, RuleKind, balance_gone, chain_seen, endpoints_seen
from core.api import ChainState
from core.model import ChainKind, EndpointHealth, EndpointState
from core.store.protocol import AlertRow, StoreError
from core.store.sqlite import SqliteStore
from core.telemetry.audit import AuditError, verify
from tests.alerts.scenes import BELOW, balance, watch
from tests.clock import START_MS

OPENED, CLOSED = "ALERT_OPENED", "ALERT_CLOSED"
HOUR_MS = 3_600_000


async def test_a_crossing_is_told_once_and_its_end_once(tmp_path: Path) -> None:
    async with watch(tmp_path) as w:
        for amount in (500, 99, 50, 110, 99, 120, 500):
            await w.keeper.observe([balance(amount)])
        assert await w.told() == [OPENED, CLOSED]
        assert w.keeper.open_alerts() == ()
        opened, closed = await w.store.find_events()
        assert opened.as_json() == {
            "type": OPENED,
            "nodeId": "node-a",
            "sequence": 1,
            "timestamp": "2026-05-28T20:26:40.000Z",
            "alertId": 1,
            "rule": "low",
            "kind": "balance-below",
            "about": "agent-7",
            "severity": "warning",
            "message": "0.99 USDC on base, floor 1",
        }
        assert opened.subject == "agent-7"
        assert closed.payload["opened"] == "2026-05-28T20:26:40.000Z"
        assert closed.payload["reason"] == "1.2 USDC on base, floor 1"
        assert w.bus.last == 2  # readers were woken


async def test_without_hysteresis_every_crossing_is_told(tmp_path: Path) -> None:
    async with watch(tmp_path, Rule("low", RuleKind.BALANCE_BELOW, clear=100)) as w:
        for _ in range(4):
            await w.keeper.observe([balance(99)])
            await w.keeper.observe([balance(101)])
        assert await w.told() == [OPENED, CLOSED] * 4


async def test_a_restart_tells_no_crossing_again_and_closes_what_was_open(tmp_path: Path) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        (before,) = w.keeper.open_alerts()
    async with watch(tmp_path) as w:
        assert w.keeper.open_alerts() == (before,)
        for amount in (10, 110):
            await w.keeper.observe([balance(amount)])
        assert await w.told() == [OPENED]
        await w.keeper.observe([balance(120)])
        assert await w.told() == [OPENED, CLOSED]
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        assert [view.id for view in w.keeper.open_alerts()] == [2]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(60, 160), st.booleans()), max_size=25))
def test_any_history_with_restarts_tells_what_two_levels_say(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    low: set[int] = set()
    expected: list[tuple[str, str]] = []

    async def live(part: list[tuple[int, int, bool]]) -> list[tuple[str, str]]:
        async with watch(folder) as w:
            for account, amount, _ in part:
                await w.keeper.observe([balance(amount, account=account)])
                if account not in low and amount < 100:
                    low.add(account)
                    expected.append((OPENED, f"agent-{account}"))
                elif account in low and amount >= 120:
                    low.discard(account)
                    expected.append((CLOSED, f"agent-{account}"))
            assert {view.account for view in w.keeper.open_alerts()} == low
            return [(e.type, e.subject) for e in await w.store.find_events()]

    lives: list[list[tuple[int, int, bool]]] = [[]]
    for step in steps:
        lives[-1].append(step)
        if step[2]:
            lives.append([])
    for part in lives:
        told = asyncio.run(live(part))
    assert told == expected


async def test_thirty_thousand_rows_cost_what_changed(tmp_path: Path) -> None:
    runway = Rule("runway", RuleKind.RUNWAY, level=100, clear=150)
    async with watch(tmp_path, BELOW, runway, Rule("chain", RuleKind.CHAIN_DOWN)) as w:
        fleet = [balance(500 if n % 100 else 10, account=n) for n in range(1, 30_001)]
        await w.keeper.observe(fleet)
        assert len(w.keeper.open_alerts()) == 300
        assert w.keeper.decided == 60_000  # the rule about chains is not asked
        decided, rows, transactions = w.keeper.decided, w.store.rows, w.store.transactions
        assert rows == 300
        await w.keeper.observe([balance(9, account=100), balance(10, account=1)])
        assert w.keeper.decided - decided == 4
        assert (w.store.rows - rows, w.store.transactions - transactions) == (1, 1)
        await w.keeper.observe([balance(10, account=n) for n in range(1, 4)])
        assert (w.store.rows - rows, w.store.transactions - transactions) == (3, 2)
        transactions = w.store.transactions
        await w.keeper.observe(fleet[3:])  # nothing crossed: nothing is written
        assert w.store.transactions == transactions


async def test_the_loop_is_left_to_others_while_a_fleet_is_decided(tmp_path: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with watch(tmp_path) as w:
        task = asyncio.create_task(count())
        await w.keeper.observe([balance(500, account=n) for n in range(30_000)])
        task.cancel()
        assert turns >= 30


async def test_of_several_observations_of_a_subject_the_last_counts(tmp_path: Path) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10), balance(500)])
        assert await w.told() == []


async def test_an_acknowledged_alert_stays_open_and_a_new_crossing_is_loud_again(
    tmp_path: Path,
) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        (view,) = w.keeper.open_alerts()
        assert view.loud(START_MS)
        view = await w.keeper.acknowledge(1, "ada", "topping up")
        assert w.keeper.open_alerts() == (view,)
        assert (view.acknowledged_by, view.acknowledged_reason) == ("ada", "topping up")
        assert not view.loud(START_MS)
        with pytest.raises(AlertRefusedError, match="acknowledged by ada already"):
            await w.keeper.acknowledge(1, "bob", "me too")
    async with watch(tmp_path) as w:
        assert w.keeper.open_alerts() == (view,)
        await w.keeper.observe([balance(500)])
        with pytest.raises(AlertRefusedError, match="no open alert 1"):
            await w.keeper.acknowledge(1, "ada", "late")
        await w.keeper.observe([balance(10)])
        assert [view.loud(START_MS) for view in w.keeper.open_alerts()] == [True]
        assert await w.told() == [OPENED, "ALERT_ACKNOWLEDGED", CLOSED, OPENED]


async def test_a_silence_outlives_its_alert_and_a_restart_and_then_ends(tmp_path: Path) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10), balance(10, account=8)])
        until_ms = START_MS + HOUR_MS
        view = await w.keeper.silence(1, until_ms, "being moved", who="ada")
        assert not view.loud(until_ms - 1)
        assert view.loud(until_ms)
        await w.keeper.observe([balance(500)])
        await w.keeper.observe([balance(10)])
        again = w.keeper.open_alerts()[-1]
        assert (again.id, again.silenced_until_ms, again.silenced_by) == (3, until_ms, "ada")
        opened = (await w.store.find_events(types=(OPENED,)))[-1]
        assert opened.payload["silencedUntil"] == "2026-05-28T21:26:40.000Z"
        await w.keeper.observe([balance(500)])
    async with watch(tmp_path) as w:
        await w.clock.advance(HOUR_MS / 1000 - 1)
        await w.keeper.observe([balance(10)])
        assert w.keeper.open_alerts()[-1].silenced_until_ms == until_ms
        await w.keeper.observe([balance(500)])
        await w.clock.advance(2)
        await w.keeper.observe([balance(10)])
        assert w.keeper.open_alerts()[-1].silenced_until_ms == 0


async def test_a_silence_can_be_ended_and_does_not_come_back(tmp_path: Path) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        await w.keeper.silence(1, START_MS + HOUR_MS, "noise")
        await w.keeper.observe([balance(500)])
        await w.keeper.observe([balance(10)])
        assert (await w.keeper.silence(2, 0, "no noise")).loud(START_MS)
        await w.keeper.observe([balance(500)])
        await w.keeper.observe([balance(10)])
        assert [view.loud(START_MS) for view in w.keeper.open_alerts()] == [True]
        await w.keeper.observe([balance(500)])
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        assert [view.loud(START_MS) for view in w.keeper.open_alerts()] == [True]
        with pytest.raises(AlertRefusedError, match="is not silenced"):
            await w.keeper.silence(4, 0, "again")
        with pytest.raises(AlertRefusedError, match="future"):
            await w.keeper.silence(4, START_MS, "now")
        year_ms = 366 * 24 * HOUR_MS
        with pytest.raises(AlertRefusedError, match="for a year at most"):
            await w.keeper.silence(4, START_MS + year_ms + 1, "for ever")
        assert not (await w.keeper.silence(4, START_MS + year_ms, "long")).loud(START_MS)


@pytest.mark.parametrize(("reason", "word"), [("", "reason"), ("  ", "reason"), ("x" * 501, "500")])
async def test_a_reason_is_asked_for(tmp_path: Path, reason: str, word: str) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        with pytest.raises(AlertRefusedError, match=word):
            await w.keeper.acknowledge(1, "ada", reason)
        with pytest.raises(AlertRefusedError, match=word):
            await w.keeper.silence(1, START_MS + 1, reason)
        assert not w.audit.path.exists()


async def test_operator_actions_are_audited_and_one_that_fails_is_audited_as_such(
    tmp_path: Path,
) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        await w.keeper.silence(1, START_MS + 1, "noise", who="bob")
        w.store.failing = StoreError("disk full")
        with pytest.raises(StoreError, match="disk full"):
            await w.keeper.acknowledge(1, "ada", "mine")
        w.store.failing = None
        assert w.keeper.open_alerts()[0].acknowledged_ms == 0
        assert await w.told() == [OPENED, "ALERT_SILENCED"]
        actions = [line.split('"action":"')[1] for line in w.audit.path.read_text().splitlines()]
        assert [action.split('"')[0] for action in actions] == [
            "alert.silence",
            "alert.acknowledge",
            "alert.acknowledge.failed",
        ]
        assert verify(w.audit.path).ok


async def test_what_cannot_be_audited_is_not_done(tmp_path: Path) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        w.audit.path.mkdir()
        with pytest.raises(AuditError, match="was not done"):
            await w.keeper.acknowledge(1, "ada", "mine")
        assert w.keeper.open_alerts()[0].acknowledged_ms == 0
        assert await w.told() == [OPENED]


async def test_what_a_failing_store_did_not_take_is_decided_with_the_next_batch(
    tmp_path: Path,
) -> None:
    async with watch(tmp_path) as w:
        w.store.failing = StoreError("disk full")
        with pytest.raises(StoreError):
            await w.keeper.observe([balance(10), balance(10, account=8)])
        assert w.keeper.open_alerts() == ()
        w.store.failing = None
        await w.keeper.observe([balance(500, account=8)])  # well again meanwhile
        assert [view.account for view in w.keeper.open_alerts()] == [7]
        await w.keeper.observe([])
        assert await w.told() == [OPENED]


async def test_an_alert_that_another_process_opened_is_not_opened_again(tmp_path: Path) -> None:
    async with watch(tmp_path) as w:
        other = SqliteStore(tmp_path / "bursar.db", "node-b")
        await other.open()
        row = AlertRow(9, "low", "balance/7", 1, "balance-below", "agent-7", "warning", "theirs")
        assert await other.change_alerts([(row, ())]) == [[]]
        await other.close()
        await w.keeper.observe([balance(10), balance(10, account=8)])
        assert [(v.id, v.account) for v in w.keeper.open_alerts()] == [(2, 8), (9, 0)]
        assert await w.told() == [OPENED]


async def test_what_another_process_has_just_changed_is_not_changed_over_it(
    tmp_path: Path,
) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10)])
        (row,) = (await w.store.alerts(0)).open
        theirs = msgspec.structs.replace(row, version=2, acknowledged_by="bob", acknowledged_ms=1)
        await w.store.change_alerts([(theirs, ())])
        with pytest.raises(AlertRefusedError, match="has just changed"):
            await w.keeper.acknowledge(1, "ada", "mine")
        assert [view.acknowledged_by for view in w.keeper.open_alerts()] == ["bob"]
        assert await w.told() == [OPENED]


async def test_the_end_of_a_rule_or_a_subject_closes_its_alerts(tmp_path: Path) -> None:
    async with watch(tmp_path, BELOW, Rule("other", RuleKind.BALANCE_BELOW, clear=100)) as w:
        await w.keeper.observe([balance(10), balance(10, account=8)])
        assert len(w.keeper.open_alerts()) == 4
        await w.keeper.observe(balance_gone(8))
        assert [view.account for view in w.keeper.open_alerts()] == [7, 7]
    async with watch(tmp_path) as w:
        assert [view.rule for view in w.keeper.open_alerts()] == ["low"]
        reasons = [e.payload["reason"] for e in await w.store.find_events(types=(CLOSED,))]
        assert reasons == ["it is followed no more"] * 2 + ["the rule is configured no more"]
    async with watch(tmp_path, Rule("low", RuleKind.RUNWAY, level=1, clear=1)) as w:
        assert w.keeper.open_alerts() == ()  # the name stands for another rule now


async def test_a_complete_batch_closes_what_it_lacks_and_nothing_of_other_families(
    tmp_path: Path,
) -> None:
    def endpoint(url: str) -> EndpointHealth:
        return EndpointHealth("base", url, state=EndpointState.REFUSED)

    rules = (BELOW, Rule("e", RuleKind.ENDPOINT_DOWN), Rule("c", RuleKind.CHAIN_DOWN))
    async with watch(tmp_path, *rules) as w:
        chain = chain_seen(ChainState("base", ChainKind.EVM, state="down"))
        both = endpoints_seen([endpoint("https://a"), endpoint("https://b")])
        await w.keeper.observe([balance(10), chain, *both])
        await w.keeper.observe(endpoints_seen([endpoint("https://b")]), complete=("endpoint",))
        messages = [view.message for view in w.keeper.open_alerts()]
        assert messages == [
            "0.1 USDC on base, floor 1",
            "base is down",
            "https://b is refused",
        ]


async def test_old_closed_alerts_are_pruned_and_their_ids_are_not_used_again(
    tmp_path: Path,
) -> None:
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10), balance(10, account=8), balance(10, account=9)])
        await w.keeper.silence(3, START_MS + 2 * HOUR_MS, "noise")
        await w.keeper.observe([balance(500, account=8), balance(500, account=9)])
        later = START_MS + HOUR_MS
        deleted = await w.store.prune(
            history_before_ms=0, thin_before_ms=0, events_before_ms=later, polls_before_ms=0
        )
        assert deleted == 6 + 1  # all events; of the alerts the one that is closed and not silenced
    async with watch(tmp_path) as w:
        await w.keeper.observe([balance(10, account=8), balance(10, account=9)])
        assert [view.id for view in w.keeper.open_alerts()] == [1, 4, 5]
        assert w.keeper.open_alerts()[-1].silenced_until_ms == START_MS + 2 * HOUR_MS
