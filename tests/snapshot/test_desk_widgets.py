"""Pictures of the fleet table and the history chart, with fixed rows and a clock that stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.desk.fleets import (
    ASSETS,
    NOW_MS,
    HostApp,
    fleet_model,
    history_over,
    levels_of,
)
from tui.widgets.fleet_table import FleetTable
from tui.widgets.history_chart import RANGES, HistoryChart

SIZES = [(80, 24), (120, 40), (200, 60)]
Compare = Callable[..., bool]


def table_app(theme: str, ascii_only: bool = False) -> HostApp:
    table = FleetTable(fleet_model(1_000), levels=levels_of, ascii_only=ascii_only)
    return HostApp(table, theme)


async def two_down(pilot: Pilot[Any]) -> None:
    await pilot.pause(0.1)
    pilot.app.query_one(FleetTable).sync()
    await pilot.press("j", "j")
    await pilot.pause(0.1)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("theme", ["bursar-dark", "bursar-light"])
def test_the_fleet_table(snap_compare: Compare, theme: str, size: tuple[int, int]) -> None:
    assert snap_compare(table_app(theme), terminal_size=size, run_before=two_down)


def test_the_fleet_table_without_colour(
    snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(table_app("bursar-dark"), terminal_size=(80, 24), run_before=two_down)


def test_the_fleet_table_in_ascii(snap_compare: Compare) -> None:
    assert snap_compare(
        table_app("bursar-dark", ascii_only=True), terminal_size=(120, 40), run_before=two_down
    )


def charted(span: str, *keys: str) -> Callable[[Pilot[Any]], Any]:
    async def show(pilot: Pilot[Any]) -> None:
        await pilot.pause(0.1)
        chart = pilot.app.query_one(HistoryChart)
        chart.show(history_over(RANGES[span]), ASSETS[1], NOW_MS - RANGES[span], NOW_MS)
        await pilot.press(*keys)
        await pilot.pause(0.1)

    return show


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("span", ["24h", "30d"])
def test_the_history_chart(snap_compare: Compare, span: str, size: tuple[int, int]) -> None:
    assert snap_compare(HostApp(HistoryChart()), terminal_size=size, run_before=charted(span))


def test_the_history_chart_with_its_cursor(snap_compare: Compare) -> None:
    keys = ["left_square_bracket"] * 12
    assert snap_compare(
        HostApp(HistoryChart(), "bursar-light"),
        terminal_size=(80, 24),
        run_before=charted("7d", *keys),
    )


def test_the_history_chart_in_ascii(snap_compare: Compare) -> None:
    assert snap_compare(
        HostApp(HistoryChart(ascii_only=True)), terminal_size=(80, 24), run_before=charted("1h")
    )
