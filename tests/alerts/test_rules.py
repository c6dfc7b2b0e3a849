"""Where each kind of fact stands against its rule, and what is decided from it."""

from __future__ import annotations

import itertools
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.alerts import (
    Action,
    Observation,
    Rule,
    RuleKind,
    backups_seen,
    chain_seen,
    custody_seen,
    decide,
    endpoints_seen,
    settlement_of,
    settlement_seen,
    trial_seen,
)
from core.alerts.kinds import KINDS
from core.alerts.rules import TABLE, judge
from core.alerts.types import BalanceFact, Level
from core.api import (
    BackupsView,
    BackupView,
    ChainState,
    CustodyView,
    SettlementPairView,
    TrialView,
)
from core.model import Amount, ChainKind, EndpointHealth, EndpointState
from core.store.protocol import AlertRow
from tests.alerts.scenes import BELOW, USDC, balance

OPEN = AlertRow(id=1, rule="low", subject="balance/7", opened_ms=1)


def stands(rule: Rule, seen: Observation) -> Level:
    return judge(rule, seen).level


def test_the_table_has_every_cell_and_only_a_crossing_opens() -> None:
    assert set(TABLE) == set(itertools.product(Level, (False, True)))
    assert [cell for cell, action in TABLE.items() if action is Action.OPEN] == [
        (Level.CROSSED, False)
    ]
    assert [cell for cell, action in TABLE.items() if action is Action.CLOSE] == [
        (Level.CLEAR, True)
    ]


def test_every_kind_has_a_line() -> None:
    assert set(KINDS) == set(RuleKind)


@pytest.mark.parametrize(
    ("amount", "level"),
    [(0, "crossed"), (99, "crossed"), (100, "between"), (119, "between"), (120, "clear")],
)
def test_a_balance_is_below_its_floor_strictly_and_clears_at_its_share(
    amount: int, level: str
) -> None:
    assert stands(BELOW, balance(amount)) == level


def test_a_reserve_cannot_be_spent_and_so_does_not_count() -> None:
    assert stands(BELOW, balance(150, reserved=60)) is Level.CROSSED


def test_an_amount_is_read_in_the_units_of_the_asset_and_can_clear_at_another() -> None:
    rule = Rule("low", RuleKind.BALANCE_BELOW, amount="2.5", clear_amount="3")
    levels = [stands(rule, balance(amount, floor=None)) for amount in (249, 250, 299, 300)]
    assert levels == ["crossed", "between", "between", "clear"]


def test_a_floor_of_zero_or_none_says_that_empty_is_fine() -> None:
    assert stands(BELOW, balance(0, floor=0)) is Level.CLEAR
    assert stands(BELOW, balance(0, floor=None)) is Level.CLEAR


@pytest.mark.parametrize("kind", [RuleKind.BALANCE_BELOW, RuleKind.BALANCE_DROP, RuleKind.RUNWAY])
@pytest.mark.parametrize("seen", [balance(None), balance(0, error="timed out", change_24h=-9)])
def test_what_could_not_be_read_neither_opens_nor_closes(kind: RuleKind, seen: Observation) -> None:
    rule = Rule("r", kind, level=1, clear=1)
    assert decide(rule, seen, None).action is Action.NOTHING
    assert decide(rule, seen, OPEN).action is Action.KEEP


@pytest.mark.parametrize(
    ("amount", "change", "level"),
    [
        (80, -20, "crossed"),  # 20 % of 100
        (81, -19, "between"),
        (90, -10, "clear"),
        (120, 20, "clear"),
        (0, None, "between"),  # the past is not known
        (5, 5, "clear"),  # nothing stood before
    ],
)
def test_a_drop_is_a_share_of_what_stood_before(
    amount: int, change: int | None, level: str
) -> None:
    rule = Rule("drop", RuleKind.BALANCE_DROP, level=20, clear=10)
    assert stands(rule, balance(amount, change_24h=change)) == level


def test_a_drop_within_an_hour_looks_at_the_hour() -> None:
    rule = Rule("drop", RuleKind.BALANCE_DROP, level=20, clear=10, within_ms=3_600_000)
    assert stands(rule, balance(50, change_24h=-50, change_1h=0)) is Level.CLEAR
    assert stands(rule, balance(50, change_24h=0, change_1h=-50)) is Level.CROSSED


@pytest.mark.parametrize(
    ("runway_s", "sure", "level"),
    [
        (99, "good", "crossed"),
        (99, "fair", "crossed"),
        (99, "low", "between"),  # a rate from a few points wakes nobody
        (100, "good", "between"),
        (150, "good", "clear"),
        (None, "", "clear"),
    ],
)
def test_a_runway_counts_where_it_is_sure(runway_s: int | None, sure: str, level: str) -> None:
    rule = Rule("runway", RuleKind.RUNWAY, level=100, clear=150)
    assert stands(rule, balance(1, runway_s=runway_s, sure=sure)) == level


@pytest.mark.parametrize(
    ("state", "rate", "level"),
    [
        (EndpointState.UNTRIED, 0.0, "between"),
        (EndpointState.READY, 0.0, "clear"),
        (EndpointState.READY, 0.1, "clear"),
        (EndpointState.READY, 0.11, "between"),  # back in use, and not well yet
        (EndpointState.BACKING_OFF, 0.49, "between"),  # one failure is no alert
        (EndpointState.BACKING_OFF, 0.5, "crossed"),
        (EndpointState.REFUSED, 0.0, "crossed"),
    ],
)
def test_an_endpoint_is_down_by_state_and_share_of_errors(
    state: EndpointState, rate: float, level: str
) -> None:
    rule = Rule("down", RuleKind.ENDPOINT_DOWN, level=50, clear=10)
    (seen,) = endpoints_seen([EndpointHealth("base", "https://a", state=state, error_rate=rate)])
    assert stands(rule, seen) == level


def test_endpoints_that_look_alike_are_told_apart() -> None:
    twins = [EndpointHealth(chain, "https://a/***") for chain in ("base", "base", "other")]
    assert len({seen.subject for seen in endpoints_seen(twins)}) == 3


@pytest.mark.parametrize(
    ("state", "stale", "down"),
    [
        ("starting", "between", "between"),  # after a restart an alert waits for what is read
        ("live", "clear", "clear"),
        ("stale", "crossed", "between"),
        ("lagging", "crossed", "clear"),
        ("down", "between", "crossed"),
    ],
)
def test_a_chain_is_stale_or_down_and_told_of_once(state: str, stale: str, down: str) -> None:
    seen = chain_seen(ChainState("base", ChainKind.EVM, state=state))
    assert stands(Rule("s", RuleKind.CHAIN_STALE), seen) == stale
    assert stands(Rule("d", RuleKind.CHAIN_DOWN), seen) == down


@pytest.mark.parametrize(
    ("state", "amount", "stuck", "level"),
    [
        ("SETTLEMENT_IN_PROGRESS", 5, True, "crossed"),
        ("SETTLEMENT_IN_PROGRESS", 5, False, "between"),
        ("SETTLEMENT_PENDING", 5, False, "clear"),  # meant, not under way
        ("IDLE", None, False, "clear"),
    ],
)
def test_a_settlement_is_stuck_until_no_payment_is_under_way(
    state: str, amount: int | None, stuck: bool, level: str
) -> None:
    row = SettlementPairView(
        "P",
        "USD",
        "receivable",
        state,
        amount=None if amount is None else Amount(amount),
        stuck=stuck,
    )
    assert (
        stands(Rule("s", RuleKind.SETTLEMENT_STUCK), settlement_seen(settlement_of(row))) == level
    )


def test_what_is_stuck_says_its_amount_and_trouble_but_not_why_it_was_begun() -> None:
    row = SettlementPairView(
        "P", "USD", "payable", "SETTLEMENT_IN_PROGRESS",
        amount=Amount(1_250_000), stuck=True, reason="begun by ada: 1250000",
    )  # fmt: skip
    rule = Rule("s", RuleKind.SETTLEMENT_STUCK)
    words = judge(rule, settlement_seen(settlement_of(row))).words
    assert words == "a payment of 1,250,000 USD to P is stuck"
    away = msgspec.structs.replace(row, trouble="the bank answers nothing")
    words = judge(rule, settlement_seen(settlement_of(away))).words
    assert words.endswith(" is stuck: the bank answers nothing")


def test_a_balance_at_its_floor_is_not_said_to_reach_it_in_no_time() -> None:
    rule = Rule("r", RuleKind.RUNWAY, level=100, clear=150)
    assert judge(rule, balance(1, runway_s=0, sure="good")).words == (
        "USDC on base is at its floor or below, and falls"
    )


def test_a_trial_balance_must_be_confirmed_to_be_wrong() -> None:
    rule = Rule("t", RuleKind.TRIAL_BALANCE)

    def trial(debits: int, pending: int, confirmed: bool = True) -> Observation:
        sums = (Amount(debits), Amount(5), Amount(pending), Amount(6))
        return trial_seen(TrialView(1, "USD", 2, *sums, confirmed=confirmed))

    assert stands(rule, trial(5, 6)) is Level.CLEAR
    assert stands(rule, trial(4, 6)) is Level.CROSSED
    assert stands(rule, trial(5, 7)) is Level.CROSSED
    assert stands(rule, trial(4, 6, confirmed=False)) is Level.BETWEEN


@pytest.mark.parametrize(
    ("state", "booked", "level"),
    [
        ("unexplained", False, "crossed"),
        ("unexplained", True, "clear"),  # observed and booked
        ("pending", False, "between"),
        ("unread", False, "between"),
        ("too large", False, "between"),
        ("equal", False, "clear"),
        ("opened", False, "clear"),
    ],
)
def test_custody_is_told_of_while_it_is_unexplained(state: str, booked: bool, level: str) -> None:
    fact = balance(5).fact
    assert isinstance(fact, BalanceFact)
    view = CustodyView(7, state, 1, unexplained=Amount(-150), booked=booked)
    judgement = judge(
        Rule("c", RuleKind.CUSTODY_UNEXPLAINED), custody_seen(view, fact.view, USDC, "")
    )
    assert judgement.level == level
    if level == "crossed":
        assert judgement.words == "base says 1.5 USDC less than is booked"


DAY_MS = 86_400_000
NOW_MS = 1_000 * DAY_MS
BACKUP = Rule("b", RuleKind.BACKUP_OVERDUE, level=8 * 86_400, clear=4 * 86_400)
DRILL = Rule("d", RuleKind.DRILL_OVERDUE, level=40 * 86_400, clear=20 * 86_400)


def backups(**known: object) -> Observation:
    (seen,) = backups_seen(msgspec.structs.replace(BackupsView(), **known), NOW_MS)
    return seen


@pytest.mark.parametrize(
    ("age_ms", "level"),
    [
        (0, "clear"),
        (4 * DAY_MS, "clear"),
        (4 * DAY_MS + 1_000, "between"),
        (8 * DAY_MS, "between"),
        (8 * DAY_MS + 1_000, "crossed"),
        (-DAY_MS, "clear"),  # the clock was set back
    ],
)
def test_a_backup_is_overdue_by_the_age_of_the_newest(age_ms: int, level: str) -> None:
    assert stands(BACKUP, backups(last_ms=NOW_MS - age_ms)) == level
    assert stands(DRILL, backups(last_drilled_ms=NOW_MS - 5 * age_ms)) == level


@pytest.mark.parametrize(
    ("known", "level"),
    [
        ({"next_full_ms": NOW_MS + DAY_MS}, "between"),  # the first run is under way or planned
        ({"next_incremental_ms": NOW_MS + DAY_MS}, "between"),
        ({"next_full_ms": NOW_MS + DAY_MS, "trouble": "s3: no answer"}, "crossed"),
        ({}, "crossed"),  # nobody will make one
    ],
)
def test_before_the_first_backup_only_trouble_counts(known: dict[str, object], level: str) -> None:
    judgement = judge(BACKUP, backups(**known))
    assert judgement.level == level
    if level == "crossed":
        assert judgement.words.startswith("no backup was ever made")
        assert str(known.get("trouble", "")) in judgement.words


def test_before_the_first_drill_the_age_of_the_oldest_backup_counts() -> None:
    def made(*ages: int) -> Observation:
        views = [BackupView(str(a), "n", "full", NOW_MS - a * DAY_MS, 1, 1) for a in ages]
        return backups(last_ms=NOW_MS, backups=tuple(views))

    assert stands(DRILL, made()) is Level.BETWEEN  # there is nothing to drill
    assert stands(DRILL, made(1, 20)) is Level.CLEAR
    assert stands(DRILL, made(1, 40)) is Level.BETWEEN
    judgement = judge(DRILL, made(1, 41))
    assert judgement.level is Level.CROSSED
    assert judgement.words == "no backup was ever drilled; the oldest was made 41d0h ago"


def test_backups_that_are_off_are_not_observed() -> None:
    assert backups_seen(BackupsView(off="no destination is configured"), NOW_MS) == []


@pytest.mark.parametrize(
    "rule",
    [
        Rule("r", RuleKind.BALANCE_BELOW, groups=frozenset({"cold"})),
        Rule("r", RuleKind.BALANCE_BELOW, chains=frozenset({"xrpl"})),
        Rule("r", RuleKind.BALANCE_BELOW, assets=frozenset({"eth"})),
    ],
)
def test_what_a_rule_does_not_cover_opens_nothing_and_closes_what_it_covered(rule: Rule) -> None:
    assert decide(rule, balance(0), None).action is Action.NOTHING
    assert decide(rule, balance(0), OPEN).action is Action.CLOSE


def test_filters_match_symbols_whatever_their_case() -> None:
    rule = Rule(
        "r",
        RuleKind.BALANCE_BELOW,
        groups=frozenset({"hot"}),
        chains=frozenset({"base"}),
        assets=frozenset({"usdc"}),
    )
    assert decide(rule, balance(0), None).action is Action.OPEN


def test_a_rule_is_never_given_another_kind_of_fact() -> None:
    with pytest.raises(TypeError, match="chain-down does not look at BalanceFact"):
        judge(Rule("d", RuleKind.CHAIN_DOWN), balance(1))


def openings(rule: Rule, amounts: list[int]) -> list[Action]:
    alert: AlertRow | None = None
    actions = []
    for amount in amounts:
        action = decide(rule, balance(amount), alert).action
        alert = {Action.OPEN: OPEN, Action.CLOSE: None}.get(action, alert)
        actions.append(action)
    return actions


def test_oscillation_opens_once_with_hysteresis_and_each_time_without() -> None:
    around = [99, 101] * 10
    assert openings(BELOW, around).count(Action.OPEN) == 1
    without = Rule("low", RuleKind.BALANCE_BELOW, clear=100)
    assert openings(without, around).count(Action.OPEN) == 10
    assert openings(without, around).count(Action.CLOSE) == 10


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(100, 250))
def test_alerts_are_counted_as_crossings_of_two_levels(amounts: list[int], clear: int) -> None:
    rule = Rule("low", RuleKind.BALANCE_BELOW, clear=clear)
    actions = openings(rule, amounts)
    low, expected = False, 0
    for amount in amounts:  # the definition of a Schmitt trigger, independent of the table
        if not low and amount < 100:
            low, expected = True, expected + 1
        elif low and amount >= clear:
            low = False
    assert actions.count(Action.OPEN) == expected
    assert actions.count(Action.OPEN) - actions.count(Action.CLOSE) == low


@given(st.integers(0, 10**30), st.integers(-(10**30), 10**30), st.integers(1, 100))
def test_a_drop_is_exact_at_any_size(amount: int, change: int, percent: int) -> None:
    rule = Rule("drop", RuleKind.BALANCE_DROP, level=percent, clear=percent // 2)
    level = stands(rule, balance(amount, change_24h=change))
    before = amount - change
    if before <= 0 or change >= 0:
        assert level is Level.CLEAR
        return
    share = Fraction(-change * 100, before)
    assert (level is Level.CROSSED) == (share >= percent)
    assert (level is Level.CLEAR) == (share <= percent // 2 and share < percent)
