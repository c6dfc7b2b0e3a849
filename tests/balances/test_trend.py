"""What a bounded record of change points can and cannot say about a balance."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from core.balances.trend import DAY_MS, HOUR_MS, MAX_POINTS, Trend

MINUTE_MS = 60_000
NOW = 1_780_000_000_000

AMOUNTS = st.one_of(st.integers(0, 20), st.integers(-(2**70), 2**256 - 1))
STEPS = st.lists(st.tuples(st.integers(0, 3 * HOUR_MS), AMOUNTS), min_size=1, max_size=120)


def history(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    changes, at = [], NOW
    for gap_ms, amount in steps:
        at += gap_ms
        changes.append((at, amount))
    return changes


def standing(changes: list[tuple[int, int]], time_ms: int) -> int | None:
    return next((amount for at, amount in reversed(changes) if at <= time_ms), None)


@given(STEPS, st.integers(0, 2 * DAY_MS))
def test_a_value_of_the_last_day_is_exact_or_not_known(
    steps: list[tuple[int, int]], back_ms: int
) -> None:
    changes = history(steps)
    trend = Trend()
    for at, amount in changes:
        trend.add(at, amount)
    asked = changes[-1][0] - back_ms
    assert trend.value_at(asked) in (None, standing(changes, asked))
    assert trend.value_at(changes[-1][0]) == changes[-1][1]


@given(STEPS)
def test_with_few_changes_every_value_of_the_last_day_is_known(
    steps: list[tuple[int, int]],
) -> None:
    changes = history(steps[:MAX_POINTS])
    trend = Trend(changes)
    last = changes[-1][0]
    for asked in (last, last - HOUR_MS, last - DAY_MS + 1):
        assert trend.value_at(asked) == standing(changes, asked)


@given(STEPS)
def test_the_record_is_bounded_and_small(steps: list[tuple[int, int]]) -> None:
    trend = Trend(history(steps))
    assert len(trend) <= MAX_POINTS
    eighteen = [(gap, amount % 10**20) for gap, amount in steps]
    assert sys.getsizeof(Trend(history(eighteen))._record) <= 1024


@given(STEPS)
def test_from_the_start_or_one_by_one_the_newest_points_are_the_same(
    steps: list[tuple[int, int]],
) -> None:
    changes = history(steps)
    trend = Trend()
    for at, amount in changes:
        trend.add(at, amount)
    whole = Trend(changes)
    assert [p.amount for p in trend.points[-5:]] == [p.amount for p in whole.points[-5:]]
    assert trend.points[-1].time_ms == whole.points[-1].time_ms


@given(STEPS, st.integers(0, 200))
def test_what_was_taken_back_is_forgotten_and_the_rest_stands(
    steps: list[tuple[int, int]], cut: int
) -> None:
    changes = history(steps)
    trend = Trend(changes)
    from_ms = changes[min(cut, len(changes) - 1)][0]
    before = [point for point in trend.points if point.time_ms < from_ms]
    trend.take_back(from_ms)
    assert trend.points == before


def drain(
    step: int, every_ms: int, count: int, refills: dict[int, int] | None = None
) -> list[tuple[int, int]]:
    """A balance that falls by `step`; refilled by so much before the numbered steps."""
    amount, changes = step * count * 2, []
    for number in range(count):
        if refills and number in refills:
            amount += refills[number]
            changes.append((NOW + number * every_ms + every_ms // 2, amount))
        amount -= step
        changes.append((NOW + (number + 1) * every_ms, amount))
    return changes


def test_a_steady_drain_gives_its_runway_and_is_sure() -> None:
    changes = drain(step=1_000, every_ms=10 * MINUTE_MS, count=24)
    rate = Trend(changes).burn(changes[-1][0])
    assert rate is not None
    assert rate.sure == "good"
    assert rate.runway_s(6_000) == 3600


@given(
    st.integers(10, 10**30),
    st.integers(1, 20),
    st.dictionaries(st.integers(5, 20), st.integers(4, 1000), max_size=3),
)
def test_a_refill_does_not_spoil_the_burn_rate(
    step: int, minutes: int, refills: dict[int, int]
) -> None:
    every_ms = minutes * MINUTE_MS
    plain = drain(step, every_ms, 22)
    refilled = drain(step, every_ms, 22, {at: times * step for at, times in refills.items()})
    now = plain[-1][0]
    one, other = Trend(plain).burn(now), Trend(refilled).burn(now)
    assert one is not None
    assert other is not None
    assert (one.spent, one.span_ms) == (other.spent, other.span_ms)


def test_after_many_changes_a_refill_is_still_told_from_income() -> None:
    changes = drain(step=1, every_ms=MINUTE_MS, count=300, refills={150: 50, 250: 50})
    rate = Trend(changes).burn(changes[-1][0])
    assert rate is not None
    assert 0.9 <= rate.spent * MINUTE_MS / rate.span_ms <= 1.1


def test_one_that_earns_what_it_spends_has_no_runway_to_rely_on() -> None:
    changes = [(NOW + n * MINUTE_MS, 1_000 - 10 * (n % 2)) for n in range(31)]
    assert Trend(changes).burn(changes[-1][0]) is None
    just_paid = Trend(changes[:-1]).burn(changes[-2][0])
    assert just_paid is not None
    assert just_paid.sure == "low"


def test_one_payment_is_no_rate_and_silence_ends_one() -> None:
    assert Trend([(NOW, 100), (NOW + MINUTE_MS, 90)]).burn(NOW + HOUR_MS) is None
    changes = drain(step=10, every_ms=MINUTE_MS, count=10)
    assert Trend(changes).burn(changes[-1][0] + DAY_MS + HOUR_MS) is None


def test_few_or_uneven_payments_are_not_sure() -> None:
    two = [(NOW, 100), (NOW + 20 * MINUTE_MS, 90), (NOW + 40 * MINUTE_MS, 80)]
    rate = Trend(two).burn(NOW + 40 * MINUTE_MS)
    assert rate is not None
    assert rate.sure == "low"
    burst = [(NOW, 1000)] + [(NOW + (120 + n) * MINUTE_MS, 990 - n) for n in range(10)]
    rate = Trend(burst).burn(NOW + 130 * MINUTE_MS)
    assert rate is not None
    assert rate.sure == "low"


def test_no_headroom_is_a_runway_of_zero() -> None:
    changes = drain(step=10, every_ms=MINUTE_MS, count=10)
    rate = Trend(changes).burn(changes[-1][0])
    assert rate is not None
    assert rate.runway_s(0) == rate.runway_s(-5) == 0
