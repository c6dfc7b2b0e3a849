"""The in-row sparkline: levels, gaps, spikes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.widgets.sparkline import ASCII_BLOCKS, BLOCKS, sparkline

levels = st.lists(st.none() | st.integers(-(2**256), 2**256), max_size=40)


@given(levels, st.integers(1, 20), st.booleans())
def test_it_is_exactly_as_wide_as_asked_and_knows_only_its_glyphs(
    found: list[int | None], width: int, ascii_only: bool
) -> None:
    drawn = sparkline(found, width, ascii_only)
    assert len(drawn) == width
    assert set(drawn) <= set(ASCII_BLOCKS if ascii_only else BLOCKS) | {" "}


@pytest.mark.parametrize(
    ("found", "drawn"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([0, 0, 0, 0], "▁▁▁▁"),
        ([5, 5, 5, 5], "▄▄▄▄"),
        ([1, None, None, 2], "▁  █"),
        ([None, None], "  "),
        ([], "    "),
        ([2**256 - 1, 0], "█▁"),
    ],
)
def test_levels_are_glyphs_and_the_unknown_is_a_gap(found: list[int | None], drawn: str) -> None:
    assert sparkline(found, max(len(found), len(drawn))) == drawn


def test_fewer_levels_than_cells_stand_at_the_right() -> None:
    assert sparkline([1, 2], 5) == "   ▁█"


@given(st.integers(0, 39), st.integers(1, 1000))
def test_a_spike_survives_being_merged(at: int, height: int) -> None:
    course: list[int | None] = [100] * 40
    course[at] = 100 + height
    assert "█" in sparkline(course, 10)
    course[at] = 100 - height
    assert "▁" in sparkline(course, 10)


def test_it_is_plain_ascii_where_that_is_asked_for() -> None:
    assert sparkline([0, 3, 7], 3, ascii_only=True) == "_-#"
