"""The window in which a difference has to stand before it is believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.accounting.differences import Differences

WINDOW = 10


def test_a_difference_stands_after_exactly_the_window() -> None:
    seen = Differences()
    seen.see(100, 5)
    assert [seen.standing(block, WINDOW) for block in (100, 109, 110)] == [0, 0, 5]
    assert seen.since == 100


def test_without_a_window_a_difference_stands_at_once() -> None:
    seen = Differences()
    seen.see(100, -5)
    assert seen.standing(100, 0) == -5


def test_one_reading_that_agrees_clears_what_was_seen() -> None:
    seen = Differences()
    seen.see(100, 5)
    seen.see(105, 0)
    assert seen.since == 0
    seen.see(106, 5)
    assert seen.standing(111, WINDOW) == 0


def test_what_was_seen_on_replaced_blocks_is_forgotten() -> None:
    seen = Differences()
    seen.see(100, 5)
    seen.see(108, 9)
    seen.see(104, 7)
    assert seen.standing(110, WINDOW) == 5
    assert seen.standing(114, WINDOW) == 7


def test_booking_the_standing_part_leaves_the_rest_with_its_own_window() -> None:
    seen = Differences()
    seen.see(100, 50)
    seen.see(106, 80)
    assert seen.standing(110, WINDOW) == 50
    seen.settle(50)
    assert (seen.since, seen.standing(110, WINDOW), seen.standing(116, WINDOW)) == (106, 0, 30)


BLOCKS = st.lists(st.tuples(st.integers(1, 4), st.integers(-3, 3)), min_size=1, max_size=30)


@given(BLOCKS)
def test_what_stands_is_what_every_reading_of_the_window_had(steps: list[tuple[int, int]]) -> None:
    """Against the definition, over every reading kept."""
    seen = Differences()
    readings: list[tuple[int, int]] = []
    block = 100
    for step, difference in steps:
        block += step
        readings.append((block, difference))
        seen.see(block, difference)
        held = [d for b, d in readings if b > block - WINDOW]
        held += [d for b, d in readings if b <= block - WINDOW][-1:]
        whole = readings[0][0] <= block - WINDOW
        expected = 0
        if whole and all(d > 0 for d in held):
            expected = min(held)
        elif whole and all(d < 0 for d in held):
            expected = max(held)
        assert seen.standing(block, WINDOW) == expected
