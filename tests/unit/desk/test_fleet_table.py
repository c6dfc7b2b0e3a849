"""The fleet table in a real Textual app: keys, cursor, columns, and what it repaints."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len
from textual.geometry import Region
from textual.pilot import Pilot

from core.api import StatePatch
from core.model import Agent, Amount, Severity
from tests.desk.fleets import (
    NOW_MS,
    HostApp,
    StillClock,
    fleet_model,
    fleet_state,
    levels_of,
    moved,
    patch_of,
    view_of,
)
from tui.fleet import FleetModel
from tui.fleet_order import SortKey
from tui.widgets.fleet_columns import COLUMNS, DEFAULT_COLUMNS, lay_out
from tui.widgets.fleet_table import FleetTable

edit = msgspec.structs.replace


class Desk:
    """A shown table with what a test needs of it."""

    def __init__(self, app: HostApp, pilot: Pilot[None], table: FleetTable, clock: StillClock):
        self.app = app
        self.pilot = pilot
        self.table = table
        self.clock = clock

    @property
    def model(self) -> FleetModel:
        return self.table.model

    @property
    def lines(self) -> list[str]:
        """The screen as text."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    async def settle(self) -> None:
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def take(self, patch: StatePatch, seconds: float = 1.1) -> None:
        """A tick that brings a patch."""
        self.model.apply(patch)
        self.clock.advance(seconds)
        self.model.tick()
        self.model.arrange()
        self.table.sync()
        await self.settle()

    def watch_writes(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Everything that would go to the terminal from here on."""
        written: list[str] = []

        def display(screen: object, renderable: Any) -> None:
            if renderable is not None:
                written.append(renderable.render_segments(self.app.console))

        monkeypatch.setattr(self.app, "_display", display)
        return written


@asynccontextmanager
async def desk_of(
    rows: int = 1_000, size: tuple[int, int] = (80, 24), **options: Any
) -> AsyncIterator[Desk]:
    clock = StillClock()
    table = FleetTable(fleet_model(rows, clock), levels=levels_of, **options)
    app = HostApp(table)
    async with app.run_test(size=size) as pilot:
        table.sync()
        for _ in range(3):  # the theme reaches the scrollbar some refreshes after the first
            await pilot.pause(0.05)
        yield Desk(app, pilot, table, clock)


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        (["j"], 1),
        (["down", "j", "k"], 1),
        (["k"], 0),
        (["pagedown"], 22),
        (["pagedown", "pagedown", "pageup"], 22),
        (["G"], 999),
        (["end", "g"], 0),
        (["G", "j"], 999),
        (["end", "k", "home"], 0),
    ],
)
async def test_the_cursor_goes_where_the_keys_say(keys: list[str], place: int) -> None:
    async with desk_of() as desk:
        await desk.press(*keys)
        account = desk.model.order[place]
        assert desk.table.cursor_account == account
        assert account in desk.table.visible_accounts
        assert any(
            line.startswith("▸") and desk.model.rows[account].agent in line for line in desk.lines
        )


async def test_n_goes_to_the_next_problem_and_shift_n_back() -> None:
    async with desk_of() as desk:
        desk.model.set_sort(SortKey.AGENT)
        desk.table.sync()
        await desk.press("g", "n", "n")
        problems = [a for a in desk.model.order if desk.model.rows[a].severity is not Severity.OK]
        start = 1 if desk.model.order[0] != problems[0] else 2
        assert desk.table.cursor_account == problems[start]
        await desk.press("N")
        assert desk.table.cursor_account == problems[start - 1]


async def test_enter_selects_the_row_and_moving_highlights_it() -> None:
    async with desk_of() as desk:
        desk.app.posted.clear()
        await desk.press("j", "enter")
        highlighted = [m for m in desk.app.posted if isinstance(m, FleetTable.RowHighlighted)]
        selected = [m for m in desk.app.posted if isinstance(m, FleetTable.RowSelected)]
        assert [m.account for m in highlighted] == [desk.model.order[1]]
        assert [m.account for m in selected] == [desk.model.order[1]]
        assert selected[0].control is desk.table


async def test_a_click_highlights_a_second_one_selects_and_a_heading_sorts() -> None:
    async with desk_of() as desk:
        await desk.pilot.click(FleetTable, offset=(10, 5))
        assert desk.table.cursor_account == desk.model.order[4]
        await desk.pilot.click(FleetTable, offset=(12, 5))
        assert [m.account for m in desk.app.posted if isinstance(m, FleetTable.RowSelected)] == [
            desk.model.order[4]
        ]
        await desk.pilot.click(FleetTable, offset=(5, 0))
        assert desk.model.sort is SortKey.AGENT
        assert "AGENT↑" in desk.lines[0]
        await desk.pilot.click(FleetTable, offset=(5, 0))
        assert desk.model.is_reversed
        assert "AGENT↓" in desk.lines[0]


async def test_the_cursor_stays_on_its_row_whatever_the_order_does() -> None:
    async with desk_of() as desk:
        desk.model.set_sort(SortKey.BALANCE)
        desk.table.sync()
        await desk.press("g", "j", "j", "j")
        account = desk.table.cursor_account
        assert account is not None
        await desk.take(patch_of([edit(desk.model.rows[account].view, amount=Amount(1))]))
        assert desk.table.cursor_account == account
        assert desk.model.position(account) != 3
        assert account in desk.table.visible_accounts


async def test_a_scrolled_table_keeps_the_cursor_on_its_line() -> None:
    async with desk_of() as desk:
        await desk.press("pagedown", "pagedown", "k", "k")
        account = desk.table.cursor_account
        line = desk.table.visible_accounts.index(account or 0)
        worse = [edit(view_of(n), severity=Severity.PROBLEM) for n in (900, 902, 904)]
        await desk.take(patch_of(worse))
        assert desk.table.cursor_account == account
        assert desk.table.visible_accounts.index(account or 0) == line


async def test_a_row_that_leaves_hands_the_cursor_to_its_place() -> None:
    async with desk_of() as desk:
        await desk.press("j", "j")
        after = desk.model.order[3]
        gone = desk.model.order[2]
        await desk.take(StatePatch(2, NOW_MS, removed=(gone,)))
        assert desk.table.cursor_account == after


async def test_a_view_scrolled_away_from_the_cursor_stays_where_it_is() -> None:
    async with desk_of() as desk:
        desk.table.scroll_to(y=200, animate=False)
        await desk.settle()
        await desk.take(patch_of([edit(view_of(900), severity=Severity.PROBLEM)]))
        assert desk.table.scroll_offset.y == 200


async def test_the_cursor_is_still_in_view_after_the_window_shrank() -> None:
    async with desk_of() as desk:
        await desk.press("G")
        await desk.pilot.resize_terminal(60, 16)
        await desk.settle()
        assert desk.table.cursor_account in desk.table.visible_accounts


async def test_a_paint_between_a_patch_and_its_order_finds_every_row() -> None:
    async with desk_of(30) as desk:
        desk.model.apply(StatePatch(2, NOW_MS, removed=tuple(desk.model.order[:5])))
        desk.table.refresh()
        await desk.settle()
        await desk.press("j")
        assert desk.table.cursor_account in desk.model.rows


async def test_nothing_is_written_when_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk_of(size=(120, 40)) as desk:
        written = desk.watch_writes(monkeypatch)
        for _ in range(5):
            await desk.take(StatePatch(2, NOW_MS), seconds=1)
        await desk.take(patch_of([desk.model.rows[a].view for a in desk.table.visible_accounts]))
        assert written == []


async def test_an_age_appears_after_two_intervals_and_is_written_then_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with desk_of(size=(120, 40)) as desk:
        desk.model.set_filter("-chain:tron -age>1m")
        desk.table.sync()
        await desk.settle()
        desk.model.set_frozen(True)
        written = desk.watch_writes(monkeypatch)
        await desk.take(StatePatch(2, NOW_MS), seconds=55)
        assert written == []
        assert desk.lines[1][:-1].rstrip().endswith("live")
        await desk.take(StatePatch(2, NOW_MS), seconds=5)
        assert written
        assert desk.lines[1][:-1].rstrip().endswith("1m")


async def test_a_key_late_in_a_tick_repaints_the_two_lines_it_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with desk_of(size=(120, 40)) as desk:
        desk.model.set_filter("-chain:tron -age>1m")
        desk.table.sync()
        await desk.settle()
        desk.model.set_frozen(True)
        asked: list[Region] = []
        refresh = desk.table.refresh

        def watching(*regions: Region, **options: Any) -> FleetTable:
            asked.extend(regions or [desk.table.size.region])
            return refresh(*regions, **options)

        monkeypatch.setattr(desk.table, "refresh", watching)
        desk.clock.advance(120)  # every row on screen is old by now; the next tick will say so
        await desk.press("j")
        assert {region.y for region in asked} == {1, 2}
        assert desk.lines[1][:-1].rstrip().endswith("live")
        asked.clear()
        await desk.take(StatePatch(2, NOW_MS))
        assert len({region.y for region in asked}) > 20
        assert desk.lines[1][:-1].rstrip().endswith("2m")


async def test_a_thousand_changes_repaint_only_changed_visible_regions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with desk_of(10_000, size=(200, 60)) as desk:
        table, visible = desk.table, set(desk.table.visible_accounts)
        asked: list[Region] = []
        refresh = table.refresh
        drawn: list[int] = []
        render_line = table.render_line

        def watching_refresh(*regions: Region, **options: Any) -> FleetTable:
            assert regions, "the whole table was refreshed"
            asked.extend(regions)
            return refresh(*regions, **options)

        def watching_render(y: int) -> Any:
            drawn.append(y)
            return render_line(y)

        numbers = random.Random(3).sample(range(1, 10_001), 1_000)
        changed = [n for n in numbers if desk.model.rows[n].amount is not None]
        with monkeypatch.context() as patched:
            patched.setattr(table, "refresh", watching_refresh)
            patched.setattr(table, "render_line", watching_render)
            await desk.take(patch_of([moved(desk.model.rows[n].view, 10**19) for n in changed]))
        touched = visible & set(changed)
        assert 0 < len(touched) < 20
        assert len(asked) == len(touched) == len(set(drawn))
        placed = {each.column.key: each for each in table._lines.layout}
        for region in asked:
            assert region.height == 1
            assert region.x == placed["balance"].x
            assert region.right <= placed["runway"].x + placed["runway"].width


async def test_a_row_outside_the_screen_costs_no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk_of() as desk:
        written = desk.watch_writes(monkeypatch)
        hidden = desk.model.order[500]
        await desk.take(patch_of([moved(desk.model.rows[hidden].view, 5)]))
        assert written == []


async def test_sparklines_are_asked_for_visible_rows_only() -> None:
    asked: set[int] = set()

    def levels(account: int) -> tuple[int | None, ...]:
        asked.add(account)
        return (1, 2, 3)

    clock = StillClock()
    table = FleetTable(fleet_model(1_000, clock), levels=levels)
    app = HostApp(table)
    async with app.run_test(size=(120, 24)) as pilot:
        table.sync()
        await pilot.pause()
        assert asked == set(table.visible_accounts)
        told = [m.accounts for m in app.posted if isinstance(m, FleetTable.ViewportChanged)]
        assert told[-1] == table.visible_accounts
        await pilot.press("G")
        await pilot.pause()
        told = [m.accounts for m in app.posted if isinstance(m, FleetTable.ViewportChanged)]
        assert told[-1] == table.visible_accounts == tuple(table.model.order[-23:])


async def test_a_value_that_could_not_be_read_keeps_its_figure_with_a_mark_and_an_age() -> None:
    async with desk_of(size=(120, 40)) as desk:
        account = next(
            a for a, row in desk.model.rows.items() if row.view.error and row.amount is not None
        )
        desk.table.move_cursor(account)
        await desk.settle()
        (line,) = [each for each in desk.lines if each.startswith("▸")]
        assert "~" in line
        assert line.rstrip().endswith("2m ~")
        assert "0.000000" not in line or desk.model.rows[account].amount == 0


async def test_a_balance_never_read_is_unknown_and_never_zero() -> None:
    async with desk_of(size=(120, 40)) as desk:
        account = next(a for a, row in desk.model.rows.items() if row.amount is None)
        desk.table.move_cursor(account)
        await desk.settle()
        (line,) = [each for each in desk.lines if each.startswith("▸")]
        assert "unknown~" in line
        assert "0.0" not in line


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (40, ("severity", "agent", "asset", "balance")),
        (60, ("severity", "agent", "chain", "asset", "balance")),
        (80, ("severity", "agent", "chain", "asset", "balance", "change", "runway", "state")),
        (120, DEFAULT_COLUMNS),
    ],
)
async def test_columns_leave_by_priority_as_the_table_narrows(
    width: int, shown: tuple[str, ...]
) -> None:
    async with desk_of(size=(width, 16)) as desk:
        assert desk.table.visible_columns == shown
        assert all(len(line) == width for line in desk.lines)


async def test_a_table_narrower_than_its_last_columns_scrolls_sideways() -> None:
    async with desk_of(size=(36, 16)) as desk:
        assert "BALANCE" not in desk.lines[0]
        desk.table.scroll_to(x=30, animate=False)
        await desk.settle()
        assert "BALANCE" in desk.lines[0]
        assert "agent-" not in desk.lines[1]


async def test_chosen_columns_are_shown_in_the_chosen_order() -> None:
    async with desk_of(size=(120, 16)) as desk:
        desk.table.set_columns(("severity", "balance", "agent", "group", "tags", "problem"))
        await desk.settle()
        heading = desk.lines[0]
        places = [heading.index(word) for word in ("BALANCE", "AGENT", "GROUP", "TAGS", "PROBLEM")]
        assert places == sorted(places)
        assert "CHAIN" not in heading
        assert "empty" in desk.lines[1]


@pytest.mark.parametrize("width", [20, 51, 60, 79, 80, 100, 120, 160, 200])
@pytest.mark.parametrize("chosen", [DEFAULT_COLUMNS, tuple(COLUMNS)])
def test_a_layout_overlaps_nothing_and_fits_unless_it_cannot(
    width: int, chosen: tuple[str, ...]
) -> None:
    placed = lay_out(chosen, width)
    for left, right in itertools.pairwise(placed):
        assert left.x + left.width < right.x
    if any(each.column.drop for each in placed):
        assert placed[-1].x + placed[-1].width <= width


async def test_stepping_the_sort_walks_the_visible_columns_and_wraps() -> None:
    async with desk_of(size=(120, 16)) as desk:
        seen = []
        for _ in range(9):
            desk.table.step_sort(1)
            seen.append(desk.model.sort.value)
        assert seen == [
            "agent",
            "chain",
            "asset",
            "balance",
            "change",
            "runway",
            "state",
            "checked",
            "severity",
        ]
        desk.table.step_sort(-1)
        assert desk.model.sort is SortKey.CHECKED


async def test_an_empty_fleet_says_what_to_do_next() -> None:
    async with desk_of(0) as desk:
        assert "no agents yet: bursar wallets import" in desk.lines[2]
        assert desk.lines[0].strip().startswith("↓")


async def test_a_filter_without_a_match_says_how_to_leave_it() -> None:
    async with desk_of(50) as desk:
        desk.model.set_filter("nothing-like-this")
        desk.table.sync()
        await desk.settle()
        assert "no row matches filter: Esc clears" in desk.lines[2]
        assert desk.table.cursor_account is None
        await desk.press("j", "enter", "n")
        desk.model.set_filter("")
        desk.table.sync()
        await desk.settle()
        assert desk.table.cursor_account == desk.model.order[0]


async def test_problems_only_without_problems_says_so() -> None:
    async with desk_of(2) as desk:
        desk.model.set_problems_only(True)
        desk.table.sync()
        await desk.settle()
        assert "no problems: ! shows every row" in desk.lines[2]


async def test_loading_shows_how_far_it_is_and_rows_as_they_come() -> None:
    async with desk_of(0) as desk:
        desk.table.progress = (3_100, 10_214)
        await desk.settle()
        assert "loading 3,100/10,214" in desk.lines[2]
        desk.model.load(fleet_state(20))
        desk.table.sync()
        await desk.settle()
        assert desk.lines[0].rstrip().endswith("loading 3,100/10,214")
        assert "agent-" in desk.lines[1]
        desk.table.progress = None
        await desk.settle()
        assert "loading" not in desk.lines[0]


async def test_hostile_names_stay_text_and_keep_the_columns_in_place() -> None:
    async with desk_of(30) as desk:
        evil = "[red]x[/]\x1b]52;c;ZQ==\x07\u202eagent"
        views = [edit(view_of(3), agent=evil), edit(view_of(4), agent="代理-東京-0123456789")]
        agents = tuple(Agent(view.agent) for view in views)
        await desk.take(StatePatch(2, NOW_MS, agents=agents, balances=tuple(views)))
        text = "\n".join(desk.lines)
        assert "[red]x[/]" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        (wide,) = [line for line in desk.lines if "代理" in line]
        plain = next(line for line in desk.lines if "agent-0005" in line and "." in line)
        assert cell_len(wide[: wide.index(".")]) == cell_len(plain[: plain.index(".")])


async def test_safe_mode_draws_nothing_but_ascii() -> None:
    async with desk_of(size=(120, 30), ascii_only=True) as desk:
        await desk.press("j")
        body = "\n".join(line[:-1] for line in desk.lines)  # the last cell is the scrollbar's
        assert body.isascii()
        assert ">x agent" in body


async def test_another_theme_repaints_in_its_colours() -> None:
    async with desk_of() as desk:

        def colour() -> object:
            style = next(iter(desk.table.render_line(1))).style
            return style.color if style else None

        before = colour()
        desk.app.theme = "bursar-light"
        await desk.settle()
        assert colour() != before


@pytest.mark.parametrize("theme", ["bursar-dark", "bursar-light", "bursar-ansi"])
async def test_a_stale_row_is_drawn_fainter_in_every_theme(theme: str) -> None:
    async with desk_of(size=(80, 24)) as desk:
        desk.app.theme = theme
        await desk.settle()
        rows = [desk.model.rows[account] for account in desk.table.visible_accounts]
        fresh = next(i for i, row in enumerate(rows) if i and not row.is_stale(NOW_MS))
        stale = next(i for i, row in enumerate(rows) if i and row.is_stale(NOW_MS))
        styles = [list(desk.table.render_line(1 + i))[-1].style for i in (fresh, stale)]
        assert styles[0] != styles[1]
