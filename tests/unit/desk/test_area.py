"""The filled chart: columns filled to the balance, spikes both ways kept, gaps left blank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.widgets import area, plot


def test_columns_are_filled_to_their_dot_in_eighths() -> None:
    staircase = [(0, 0), (1, 0), (1, 3), (2, 3), (2, 7), (3, 7), (3, 8), (4, 8), (4, 15), (5, 15)]
    assert area.raster([staircase], 6, 2) == ("   ▁██", "▁▄████")


def test_ascii_has_as_many_steps() -> None:
    assert area.raster([[(0, 0), (1, 0), (1, 4), (2, 4), (2, 7)]], 3, 1, ascii_only=True) == (
        "_=#",
    )


@pytest.mark.parametrize("spike", [15, 0])
def test_a_spike_within_a_column_is_shown_either_way(spike: int) -> None:
    line = [(0, 8), (2, 8), (2, spike), (2, 8), (4, 8)]
    top = area.raster([line], 5, 2)[0]
    assert top == ("▁▁█▁▁" if spike else "▁▁ ▁▁")


def test_what_was_not_read_is_blank_and_a_zero_is_not() -> None:
    assert area.raster([[(0, 0), (1, 0)], [(4, 0), (5, 0)]], 6, 1) == ("▁▁  ▁▁",)


def test_no_line_is_a_blank_picture() -> None:
    assert area.raster([], 4, 2) == ("    ", "    ")
    assert area.raster([[]], 4, 1) == ("    ",)


@given(
    st.integers(1, 40),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 47)), max_size=60),
)
def test_the_picture_has_its_size_and_is_filled_from_below(
    width: int, height: int, corners: list[tuple[int, int]]
) -> None:
    across, up = area.dots(width, height)
    assert (across, up) == (width, 8 * height)
    line: plot.Polyline = sorted((column % width, dot % up) for column, dot in corners)
    rows = area.raster([line], width, height)
    assert [len(row) for row in rows] == [width] * height
    for column in zip(*rows, strict=True):
        filled = [glyph == "█" for glyph in column]
        assert filled == sorted(filled)
        assert sum(glyph not in " █" for glyph in column) <= 1
