"""The history chart in a real Textual app: exact labels, gaps, and a cursor that reads points."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual import on
from textual.pilot import Pilot

from core.api import History, HistoryPoint
from core.model import Amount, Asset
from tests.desk.fleets import ASSETS, NOW_MS, HostApp, history_over
from tui import text
from tui.widgets import history_chart
from tui.widgets.history_chart import RANGES, HistoryChart, Shown

USDC = ASSETS[1]
HOUR = RANGES["1h"]


class ChartApp(HostApp):
    """Keeps what the chart posts."""

    @on(HistoryChart.CursorMoved)
    def keep(self, message: HistoryChart.CursorMoved) -> None:
        self.posted.append(message)


class Charted:
    """A chart on a screen."""

    def __init__(self, app: ChartApp, pilot: Pilot[None], chart: HistoryChart) -> None:
        self.app = app
        self.pilot = pilot
        self.chart = chart

    @property
    def lines(self) -> list[str]:
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    async def show(self, history: History, asset: Asset = USDC, span: int = HOUR) -> None:
        self.chart.show(history, asset, NOW_MS - span, NOW_MS)
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()


@asynccontextmanager
async def chart_of(size: tuple[int, int] = (80, 20), **options: Any) -> AsyncIterator[Charted]:
    chart = HistoryChart(**options)
    app = ChartApp(chart)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Charted(app, pilot, chart)


def points_of(*points: tuple[int, int]) -> History:
    """Points as (ms before now, base units)."""
    return History(tuple(HistoryPoint(NOW_MS - ago, Amount(v), 7) for ago, v in points))


async def test_before_anything_is_known_it_says_that_it_loads() -> None:
    async with chart_of() as shown:
        assert "loading history" in shown.lines[2]
        await shown.show(History(()))
        assert "no reading in this range" in shown.lines[2]
        shown.chart.show_notice("engine\x1b[31m lost")
        await shown.pilot.pause()
        assert "engine lost" in shown.lines[2]


async def test_the_readout_tells_the_range_exactly() -> None:
    async with chart_of() as shown:
        await shown.show(points_of((3_000_000, 12_440_001), (2_000_000, 5), (1_000, 7_000_000)))
        assert shown.lines[0].rstrip() == (
            "7.000000 USDC · low 0.000005 · high 12.440001 · 3 changes"
        )


async def test_the_cursor_reads_value_time_and_block_of_points() -> None:
    async with chart_of() as shown:
        await shown.show(points_of((3_000_000, 12_440_001), (2_000_000, 5), (60_000, 7_000_000)))
        await shown.press("left_square_bracket")
        assert shown.lines[0].startswith("7.000000 USDC · 2026-11-20 12:03:11 UTC · block 7")
        await shown.press("left_square_bracket", "left_square_bracket", "left_square_bracket")
        assert shown.lines[0].startswith("12.440001 USDC · ")
        await shown.press("right_square_bracket")
        assert shown.lines[0].startswith("0.000005 USDC · ")
        moved = [m.point for m in shown.app.posted if isinstance(m, HistoryChart.CursorMoved)]
        assert [int(point.amount) for point in moved if point] == [7_000_000, 5, 12_440_001, 5]


async def test_changes_in_one_column_are_one_step_and_are_counted() -> None:
    async with chart_of() as shown:
        await shown.show(points_of((3_000_000, 1), (60_003, 2), (60_002, 3), (60_001, 4)))
        await shown.press("left_square_bracket")
        assert shown.lines[0].rstrip().endswith("2 more here")
        assert shown.lines[0].startswith("0.000004 USDC")
        await shown.press("left_square_bracket")
        assert shown.lines[0].startswith("0.000001 USDC")


async def test_going_back_and_on_again_returns_to_the_same_points() -> None:
    async with chart_of() as shown:
        await shown.show(history_over(HOUR))
        there, back = [], []
        for _ in range(8):
            await shown.press("left_square_bracket")
            there.append(shown.chart.cursor)
        for _ in range(8):
            back.append(shown.chart.cursor)
            await shown.press("right_square_bracket")
        assert back == there[::-1]
        assert shown.chart.cursor == there[0]


async def test_the_cursor_stays_on_its_time_when_the_history_grows() -> None:
    async with chart_of() as shown:
        await shown.show(points_of((3_000_000, 1), (60_000, 2)))
        await shown.press("left_square_bracket", "left_square_bracket")
        await shown.show(points_of((3_500_000, 9), (3_000_000, 1), (60_000, 2), (30_000, 3)))
        assert shown.chart.cursor_point == HistoryPoint(NOW_MS - 3_000_000, Amount(1), 7)


async def test_what_stood_before_the_range_is_told_as_such() -> None:
    async with chart_of() as shown:
        carried = HistoryPoint(NOW_MS - HOUR, Amount(5), 3, carried=True)
        await shown.show(History((carried,)))
        assert "0 changes" in shown.lines[0]
        await shown.press("left_square_bracket")
        assert "since before 2026-11-20 11:04:11 UTC" in shown.lines[0]


async def test_every_label_of_the_axis_is_exact() -> None:
    async with chart_of() as shown:
        await shown.show(history_over(HOUR))
        labels = [line.split("┤")[0].strip() for line in shown.lines if "┤" in line]
        assert len(labels) >= 3
        units = [text.parse_amount(label, 6) for label in labels]
        assert len({above - below for above, below in itertools.pairwise(units)}) == 1
        assert any("12:00" in line for line in shown.lines[-1:])


async def test_a_gap_is_a_gap_and_a_spike_survives() -> None:
    async with chart_of((200, 40)) as shown:
        await shown.show(history_over(RANGES["30d"], 5_000), span=RANGES["30d"])
        plot = [line.partition("│")[2] or line.partition("┤")[2] for line in shown.lines[1:-2]]
        width = len(plot[0])
        gap = range(round(width * 2 / 3) + 2, round(width * 3 / 4) - 2)
        empty = {" ", "⠀"}
        assert all(set(line[gap.start : gap.stop]) <= empty for line in plot)
        assert any(set(line[: gap.start]) - empty for line in plot)
        assert set(plot[0]) - empty, "the spike reaches the top line"


async def test_ascii_mode_draws_nothing_else() -> None:
    async with chart_of(ascii_only=True) as shown:
        await shown.show(history_over(HOUR))
        await shown.press("left_square_bracket")
        assert "\n".join(shown.lines).isascii()
        assert any("*" in line for line in shown.lines)


@pytest.mark.parametrize("size", [(4, 2), (11, 5), (12, 4), (20, 3), (60, 6)])
async def test_a_chart_without_room_breaks_nothing(size: tuple[int, int]) -> None:
    async with chart_of(size) as shown:
        await shown.show(history_over(HOUR))
        await shown.press("left_square_bracket", "right_square_bracket")
        assert all(len(line) == size[0] for line in shown.lines)


async def test_amounts_as_large_as_uint256_are_drawn() -> None:
    async with chart_of() as shown:
        await shown.show(points_of((3_000_000, 0), (60_000, 2**256 - 1)), ASSETS[0])
        assert shown.lines[0].startswith("115,792,089,")


def test_a_long_history_is_drawn_from_no_more_than_its_columns() -> None:
    """Thirty times the points cost far less than thirty times the drawing."""
    span = RANGES["30d"]

    def cost(changes: int) -> float:
        shown = Shown(history_over(span, changes), USDC, NOW_MS - span, NOW_MS)
        history_chart.draw(shown, 120, 20)
        started = time.process_time()
        for _ in range(3):
            history_chart.draw(shown, 120, 20)
        return time.process_time() - started

    assert cost(15_000) < 10 * cost(500)
