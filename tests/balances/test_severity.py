"""The table of problems, both sides of each boundary."""

from __future__ import annotations

import pytest

from core.balances.chain_state import ChainFacts, judge_chain
from core.balances.severity import Limits, Standing, duration, judge
from core.model import Agent, Amount, Asset, Severity
from core.store.protocol import Limit

FINE = Standing(
    amount=100,
    reserved=0,
    floor=None,
    is_native=True,
    unread_intervals=0,
    unread_limit=5,
    runway_s=None,
    runway_sure="",
    runway_warning_s=4 * 3600,
)
PROBLEM, WARNING, OK = Severity.PROBLEM, Severity.WARNING, Severity.OK


@pytest.mark.parametrize(
    ("facts", "severity", "words"),
    [
        ({}, OK, ""),
        ({"amount": None}, OK, ""),
        ({"unread_intervals": 4}, OK, ""),
        ({"unread_intervals": 5}, PROBLEM, "unread for 5 intervals"),
        ({"unread_intervals": 5, "amount": 0}, PROBLEM, "unread for 5 intervals"),
        ({"amount": 0}, PROBLEM, "empty"),
        ({"amount": 0, "is_native": False}, OK, ""),
        ({"amount": 0, "is_native": False, "floor": 1}, PROBLEM, "empty"),
        ({"amount": 0, "floor": 0}, OK, ""),
        ({"amount": 10, "reserved": 10}, PROBLEM, "nothing above the reserve"),
        ({"amount": 11, "reserved": 10}, OK, ""),
        ({"amount": 49, "floor": 50}, WARNING, "below floor"),
        ({"amount": 50, "floor": 50}, OK, ""),
        ({"amount": 59, "reserved": 10, "floor": 50}, WARNING, "below floor"),
        ({"amount": 60, "reserved": 10, "floor": 50}, OK, ""),
        ({"runway_s": 13_800, "runway_sure": "good"}, WARNING, "runway 3h50m"),
        ({"runway_s": 13_800, "runway_sure": "fair"}, WARNING, "runway 3h50m"),
        ({"runway_s": 13_800, "runway_sure": "low"}, OK, ""),
        ({"runway_s": 4 * 3600, "runway_sure": "good"}, OK, ""),
        ({"runway_s": 60, "runway_sure": "good", "amount": 9, "floor": 10}, WARNING, "below floor"),
    ],
)
def test_severity_and_words(facts: dict[str, object], severity: Severity, words: str) -> None:
    assert judge(FINE._replace(**facts)) == (severity, words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (3599, "59m"), (3600, "1h00m"), (86_399, "23h59m"), (187_200, "2d4h")],
)
def test_a_duration_has_two_units(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_limits_go_agent_before_group_before_asset_and_each_on_its_own() -> None:
    asset = Asset(7, "base", "USDC", "USD Coin", 6, "0x1", floor=Amount(1), target=Amount(2))
    limits = Limits(
        [
            Limit("group", "alpha", 7, floor=10, target=None),
            Limit("agent", "a", 7, floor=None, target=200),
            Limit("agent", "a", 8, floor=999, target=999),
        ]
    )
    assert limits.of(Agent("a", group="alpha"), asset) == (10, 200)
    assert limits.of(Agent("b", group="alpha"), asset) == (10, 2)
    assert limits.of(Agent("c"), asset) == (1, 2)


T = 1_780_000_000_000
LIVE = ChainFacts(
    accounts=3,
    started_ms=T,
    swept_ms=T + 1_000_000,
    interval_ms=30_000,
    failure="",
    head=50,
    head_ms=T + 999_000,
    head_since_ms=T + 999_000,
    behind=0,
    lag_after_ms=120_000,
)


@pytest.mark.parametrize(
    ("facts", "later_ms", "state", "reason"),
    [
        ({}, 0, "live", ""),
        ({}, 60_000, "live", ""),
        ({}, 60_001, "stale", "no reading for 2 intervals"),
        ({"failure": "503"}, 0, "down", "503"),
        ({"head_since_ms": T + 880_000}, 0, "live", ""),
        ({"head_since_ms": T + 879_999}, 0, "lagging", "head 50 has not moved"),
        ({"head_ms": T + 100_000}, 0, "lagging", "head is 15m old"),
        ({"behind": 1}, 0, "lagging", "head 50 stands behind the highest head read"),
        ({"accounts": 0}, 99_999, "starting", "no address to read on this chain yet"),
        ({"swept_ms": 0, "started_ms": T + 990_000}, 0, "starting", ""),
    ],
)
def test_the_state_of_a_chain(
    facts: dict[str, object], later_ms: int, state: str, reason: str
) -> None:
    now_ms = T + 1_000_000 + later_ms
    assert judge_chain(LIVE._replace(**facts), now_ms) == (state, reason)  # type: ignore[arg-type]
