"""A history as steps, gaps and columns."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api import History, HistoryPoint
from core.model import Amount
from tui.widgets import course, plot

START, END = 1_000, 11_000

steps = st.lists(
    st.tuples(st.integers(START, END - 1), st.integers(0, 10**9)),
    min_size=1,
    max_size=60,
    unique_by=lambda each: each[0],
).map(sorted)
gaps = st.lists(
    st.tuples(st.integers(START - 500, END + 500), st.integers(1, 3_000)), max_size=4
).map(lambda found: [(a, a + long) for a, long in found])


def history_of(
    points: list[tuple[int, int]], unread: list[tuple[int, int]] | None = None
) -> History:
    return History(tuple(HistoryPoint(t, Amount(v), 1) for t, v in points), tuple(unread or []))


def test_a_balance_stands_until_it_changes() -> None:
    (stretch,) = course.stretches(history_of([(1_000, 5), (4_000, 9)]), START, END)
    assert (stretch.times, stretch.amounts) == ([1_000, 4_000], [5, 9])
    assert course.decimate(stretch, START, END, 10) == ((0, 5), (3, 5), (3, 9), (9, 9))


def test_nothing_is_drawn_before_the_first_reading() -> None:
    (stretch,) = course.stretches(history_of([(4_000, 9)]), START, END)
    assert stretch.start_ms == 4_000
    assert course.stretches(History(()), START, END) == ()


def test_a_gap_parts_the_course_and_the_balance_goes_on_after_it() -> None:
    history = history_of([(1_000, 5), (2_000, 7)], [(3_000, 6_000)])
    before, after = course.stretches(history, START, END)
    assert (before.start_ms, before.end_ms) == (1_000, 3_000)
    assert (after.start_ms, after.end_ms, after.amounts) == (6_000, END, [7])


@given(steps, gaps)
def test_no_stretch_reaches_into_a_gap_and_none_overlap(
    points: list[tuple[int, int]], unread: list[tuple[int, int]]
) -> None:
    found = course.stretches(history_of(points, unread), START, END)
    reached = points[0][0]
    for stretch in found:
        assert reached <= stretch.start_ms < stretch.end_ms <= END
        reached = stretch.end_ms
        assert all(b <= stretch.start_ms or a >= stretch.end_ms for a, b in unread)
        assert list(stretch.times) == sorted(stretch.times)


@given(steps, gaps)
def test_every_instant_has_the_balance_of_its_last_change(
    points: list[tuple[int, int]], unread: list[tuple[int, int]]
) -> None:
    for stretch in course.stretches(history_of(points, unread), START, END):
        for time, amount in zip(stretch.times, stretch.amounts, strict=True):
            assert amount == [v for t, v in points if t <= time][-1]


@given(steps, st.integers(1, 50))
def test_every_extreme_survives_any_width(points: list[tuple[int, int]], columns: int) -> None:
    (stretch,) = course.stretches(history_of(points), START, END)
    corners = course.decimate(stretch, START, END, columns)
    amounts = [amount for _, amount in corners]
    assert min(amounts) == min(stretch.amounts)
    assert max(amounts) == max(stretch.amounts)
    assert len(corners) <= 4 * columns + 2
    assert [column for column, _ in corners] == sorted(column for column, _ in corners)
    assert amounts[-1] == points[-1][1]


@given(st.integers(1, 10**40), st.integers(1, 12))
def test_round_steps_are_round_and_not_too_many(span: int, wanted: int) -> None:
    step = course.round_step(span, wanted)
    assert str(step).rstrip("0") in ("1", "2", "5")
    assert span // step <= wanted


@given(steps, st.integers(1, 12), st.integers(2, 200))
def test_a_scale_holds_every_balance(points: list[tuple[int, int]], wanted: int, dots: int) -> None:
    found = course.stretches(history_of(points), START, END)
    scale = course.scale_of(found, wanted)
    for stretch in found:
        assert all(0 <= scale.dot(amount, dots) < dots for amount in stretch.amounts)
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)
    assert scale.ticks


def test_a_flat_course_lies_in_the_middle_with_its_own_label() -> None:
    scale = course.scale_of(course.stretches(history_of([(START, 500)]), START, END), 4)
    assert scale.ticks == (500,)
    assert scale.dot(500, 41) == 20


def test_a_balance_that_was_always_zero_is_not_drawn_below_zero() -> None:
    scale = course.scale_of(course.stretches(history_of([(START, 0)]), START, END), 4)
    assert scale.low == 0


@pytest.mark.parametrize(("time", "index"), [(999, None), (1_000, 0), (3_999, 0), (9_999, 1)])
def test_the_point_that_stands_at_a_time(time: int, index: int | None) -> None:
    points = history_of([(1_000, 5), (4_000, 9)]).points
    assert course.standing_at(points, time) == index


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_raster_is_exactly_as_large_as_asked(ascii_only: bool) -> None:
    columns, rows = plot.dots(30, 6, ascii_only)
    drawn = plot.raster([[(0, 0), (columns - 1, rows - 1)]], 30, 6, ascii_only)
    assert [len(line) for line in drawn] == [30] * 6
    assert drawn[0][-1].strip()
    assert drawn[-1][0].strip()
    assert all(line.isascii() for line in drawn) is ascii_only


def test_two_lines_are_not_connected() -> None:
    drawn = plot.raster([[(0, 2), (9, 2)], [(40, 2), (59, 2)]], 30, 1)
    blank = {" ", "⠀"}
    assert set(drawn[0][6:19]) <= blank
    assert not set(drawn[0][:4]) & blank


def test_the_chart_is_loaded_without_plotext() -> None:
    """First paint does not wait for what the first chart needs."""
    code = "import sys, tui.widgets.history_chart; sys.exit('plotext' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_to_draw_is_blank() -> None:
    assert plot.raster([], 5, 2) == ("     ", "     ")
    assert plot.raster([[(0, 0)]], 0, 2) == ("", "")
