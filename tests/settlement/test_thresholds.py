"""Threshold rules: which one holds, what is refused or warned of, what changes at run time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.accounting import CreditLimits, Direction, Pair
from core.settlement import (
    Level,
    SettlementKey,
    Sides,
    Threshold,
    ThresholdRefused,
    ThresholdRules,
    Unmonitored,
)
from core.settlement.observer import observe
from core.settlement.states import Cause
from tests.settlement.conftest import HUNDRED, IDLE, PENDING, Node

NO_LIMITS = CreditLimits()


def at(rules: ThresholdRules, peer: str, token: str, limits: CreditLimits = NO_LIMITS) -> int:
    found = rules.resolve(SettlementKey(peer, token), limits)
    assert isinstance(found, Threshold)
    return found.at


def test_the_most_specific_threshold_wins() -> None:
    rules = ThresholdRules(100, {"P": 200}, {"P": {"USD": 300}, "Q": {"USD": 0}})
    assert [at(rules, *pair) for pair in (("P", "USD"), ("P", "EUR"), ("R", "USD"))] == [
        300,
        200,
        100,
    ]
    assert (at(rules, "Q", "USD"), at(rules, "Q", "EUR")) == (0, 100)


def test_a_pair_without_threshold_is_not_monitored_and_says_why() -> None:
    rules = ThresholdRules(peers={"P": 5})
    found = rules.resolve(SettlementKey("Q", "USD"), NO_LIMITS)
    assert found == Unmonitored("no threshold is configured for the token, the peer or by default")
    assert at(rules, "P", "USD") == 5
    other_side = rules.resolve(SettlementKey("P", "USD", Direction.PAYABLE), NO_LIMITS)
    assert isinstance(other_side, Unmonitored)


def test_only_more_than_the_threshold_exceeds_it() -> None:
    levels = Threshold(100, 100, 0, "")
    assert [observe(due, levels) for due in (99, 100, 101)] == [
        Cause.BACK,
        Cause.BACK,
        Cause.EXCEEDED,
    ]
    zero = Threshold(0, 0, 0, "")
    assert [observe(due, zero) for due in (-1, 0, 1)] == [Cause.BACK, Cause.BACK, Cause.EXCEEDED]
    rearmed = Threshold(100, 50, 0, "")
    assert [observe(due, rearmed) for due in (50, 51, 100, 101)] == [
        Cause.BACK,
        None,
        None,
        Cause.EXCEEDED,
    ]


def test_a_share_is_of_the_credit_limit_that_holds_for_the_pair() -> None:
    rules = ThresholdRules("80%", {"P": "12.5%"})
    limits = CreditLimits(1000, peers={"Q": 55}, tokens={"R": {"USD": 10}}, ceiling=500)
    assert at(rules, "any", "USD", limits) == 400
    assert at(rules, "P", "USD", limits) == 62  # 62.5, rounded down
    assert at(rules, "Q", "USD", limits) == 44
    assert (at(rules, "R", "USD", limits), at(rules, "R", "EUR", limits)) == (8, 400)
    assert isinstance(rules.resolve(SettlementKey("S", "USD"), NO_LIMITS), Unmonitored)


@given(st.integers(0, 10_000), st.integers(0, 2**99))
def test_a_share_is_exact_at_any_size(hundredths: int, limit: int) -> None:
    text = f"{hundredths // 100}.{hundredths % 100:02d}%"
    assert at(ThresholdRules(text), "P", "USD", CreditLimits(limit)) == limit * hundredths // 10_000


@pytest.mark.parametrize(
    "level", [-1, 2**100, 1.5, True, "", "80", "eighty%", "80 %%", "-5%", "1e3%"]
)
def test_what_is_no_level_is_refused_and_named(level: Level) -> None:
    if level == "80":
        assert at(ThresholdRules("80"), "P", "USD") == 80  # as variables of the environment are
        return
    for rules in ({"default": level}, {"peers": {"P": level}}, {"tokens": {"P": {"USD": level}}}):
        with pytest.raises(ThresholdRefused, match="threshold"):
            ThresholdRules(**rules)


@pytest.mark.parametrize(
    ("rules", "limits", "words"),
    [
        (
            ThresholdRules(101),
            CreditLimits(100),
            "default threshold is 101, above the credit limit",
        ),
        (ThresholdRules(50, {"P": 101}), CreditLimits(100), "threshold of peer P is 101"),
        (ThresholdRules(50), CreditLimits(100, peers={"Q": 40}), "limit 40 of peer Q"),
        (ThresholdRules(50), CreditLimits(tokens={"Q": {"USD": 9}}), "limit 9 of peer Q in USD"),
        (ThresholdRules(50), CreditLimits(ceiling=49), "above the credit limit 49"),
        (ThresholdRules("101%"), CreditLimits(100), "above the credit limit 100"),
        (ThresholdRules("80%"), CreditLimits(), "has no limit"),
        (ThresholdRules("80%", direction=Sides.BOTH), CreditLimits(100), "payables have no limit"),
        (ThresholdRules(100, rearm=101), CreditLimits(), "rearm is 101, above"),
        (ThresholdRules(100, settle_to=101), CreditLimits(), "settle_to is 101, above"),
        (
            ThresholdRules(100, rearm=50, settle_to=60),
            CreditLimits(),
            "settle_to is 60, above rearm",
        ),
    ],
)
def test_rules_that_cannot_work_are_refused_with_the_reason(
    rules: ThresholdRules, limits: CreditLimits, words: str
) -> None:
    with pytest.raises(ThresholdRefused, match=words):
        rules.check(limits)


@pytest.mark.parametrize(
    ("threshold", "warned"), [(949, False), (950, False), (951, True), (999, True), (1000, True)]
)
def test_closer_than_five_percent_to_the_limit_is_a_warning(threshold: int, warned: bool) -> None:
    warnings = ThresholdRules(threshold).check(CreditLimits(1000))
    assert bool(warnings) is warned
    if warned:
        assert "closer than 5 %" in warnings[0]


def test_payables_are_not_held_to_a_limit_that_is_not_theirs() -> None:
    assert ThresholdRules(500, direction=Sides.PAYABLE).check(CreditLimits(100)) == ()


async def test_rules_that_cannot_work_stop_the_start_and_leave_nothing_running(
    node: Node,
) -> None:
    with pytest.raises(ThresholdRefused):
        await node.start(ThresholdRules(101), CreditLimits(100))
    await node.start(HUNDRED, CreditLimits(100))
    assert "closer than 5 %" in node.monitor.warnings[0]


async def test_a_threshold_set_while_running_acts_at_once_stays_and_is_recorded(
    node: Node,
) -> None:
    monitor = await node.start()
    await node.owe(60)
    await node.owe(60, "Q")
    await monitor.set_threshold("P", "USD", 50, by="ada", reason="late payer")
    assert await node.required() == [(60, 50, 10)]
    assert await node.required("Q") == []
    await node.close()
    monitor = await node.start(pairs=(Pair("Q", "USD"),))
    assert monitor.rules.tokens == {"P": {"USD": 50}}
    await monitor.set_threshold("P", "USD", None, by="bob")
    assert monitor.get_settlement_state("P", "USD") is IDLE  # 60 of 100 again
    changes = [
        tuple(row.payload[n] for n in ("peerId", "oldLevel", "newLevel", "operator", "reason"))
        for row in await node.events("SETTLEMENT_THRESHOLD_CHANGED")
    ]
    assert changes == [("P", "", "50", "ada", "late payer"), ("P", "50", "", "bob", "")]
    await node.close()
    monitor = await node.start()
    assert monitor.rules == HUNDRED


async def test_a_threshold_that_cannot_work_is_refused_while_running_and_changes_nothing(
    node: Node,
) -> None:
    monitor = await node.start(ThresholdRules(50), CreditLimits(100))
    before = monitor.rules
    for level in (101, "101%", -1, "much"):
        with pytest.raises(ThresholdRefused):
            await monitor.set_threshold("P", "", level, by="ada")
    assert monitor.rules is before
    assert await node.store.thresholds() == []
    assert await monitor.set_threshold("P", "", "96%", by="ada") != ()
    assert monitor.view("P", "USD").threshold == 96


async def test_a_threshold_set_while_running_that_a_new_limit_forbids_is_left_out_and_told(
    node: Node,
) -> None:
    monitor = await node.start(ThresholdRules(50), CreditLimits(100))
    await monitor.set_threshold("P", "", 90, by="ada")
    await monitor.set_threshold("Q", "", 60, by="ada")
    await node.close()
    monitor = await node.start(ThresholdRules(50), CreditLimits(80))
    assert monitor.rules.peers == {"Q": 60}
    assert any("threshold of peer P is 90, above" in warning for warning in monitor.warnings)
    await monitor.set_threshold("P", "", 70, by="ada")
    assert monitor.rules.peers == {"Q": 60, "P": 70}


async def test_a_share_follows_a_limit_that_is_changed(node: Node) -> None:
    monitor = await node.start(ThresholdRules("50%"), CreditLimits(1000))
    await node.owe(120)
    await node.quiet()
    assert monitor.get_settlement_state("P", "USD") is IDLE
    await node.manager.set_limits(CreditLimits(200))
    await node.state_becomes(PENDING)
    assert await node.required() == [(120, 100, 20)]


async def test_a_threshold_that_is_taken_away_ends_what_was_only_asked_for(node: Node) -> None:
    monitor = await node.start(ThresholdRules())
    await monitor.set_threshold("P", "", 100, by="ada")
    await node.owe(120)
    await node.state_becomes(PENDING)
    await monitor.set_threshold("P", "", None, by="ada")
    assert monitor.get_settlement_state("P", "USD") is IDLE
    assert "not monitored" in monitor.explain("P", "USD")
