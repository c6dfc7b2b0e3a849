"""The fleet as a table of any length: a Line-API widget over a FleetModel.

Only what is on the screen costs anything: a line is drawn from the model when it is asked for,
kept as a strip, and repainted only as far as its text changed. The cursor is a row id, not a
place. Order, filter and counts are the model's; what happens to a selected row is the screen's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import text
from tui.fleet import FleetModel
from tui.fleet_order import SortKey
from tui.widgets.fleet_columns import DEFAULT_COLUMNS, sort_key
from tui.widgets.fleet_lines import FleetLines, Levels, Line

HEADER_LINES = 1


class FleetTable(ScrollView, can_focus=True):
    """Rows of the fleet. Call `sync` after the model changed, and once per tick."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "fleet-table--header",
        "fleet-table--row",
        "fleet-table--warning",
        "fleet-table--problem",
        "fleet-table--stale",
        "fleet-table--trend",
        "fleet-table--cursor",
        "fleet-table--cursor-blurred",
        "fleet-table--notice",
    }

    DEFAULT_CSS = """
    FleetTable {
        height: 1fr;
        color: $foreground;
        background: $background;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 1;
        & > .fleet-table--header { color: $text-muted; text-style: bold; background: $surface; }
        & > .fleet-table--row { color: $foreground; }
        & > .fleet-table--warning { color: $text-warning; text-style: bold; }
        & > .fleet-table--problem { color: $text-error; text-style: bold; }
        & > .fleet-table--stale { color: $text-muted; }
        &:ansi > .fleet-table--stale { text-style: dim; }
        & > .fleet-table--trend { color: $secondary; }
        & > .fleet-table--cursor {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
        & > .fleet-table--cursor-blurred { background: $block-cursor-blurred-background; }
        & > .fleet-table--notice { color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "cursor(1)", "Down", show=False, id="table.down"),
        Binding("k,up", "cursor(-1)", "Up", show=False, id="table.up"),
        Binding("g,home", "top", "First row", show=False, id="table.top"),
        Binding("G,end", "bottom", "Last row", show=False, id="table.bottom"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="table.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="table.page_down"),
        Binding("n", "problem(1)", "Next problem", show=False, id="table.next_problem"),
        Binding("N", "problem(-1)", "Previous problem", show=False, id="table.previous_problem"),
        Binding("enter", "select", "Open", id="table.select"),
    ]

    cursor_account: var[int | None] = var[int | None](None, init=False)
    """The row under the cursor, by id; None while there are no rows."""

    progress: var[tuple[int, int] | None] = var[tuple[int, int] | None](None, init=False)
    """Rows loaded so far and rows there will be; None once all are there."""

    class RowHighlighted(Message):
        """The cursor stands on another row (None: there is none)."""

        def __init__(self, table: FleetTable, account: int | None) -> None:
            super().__init__()
            self.table = table
            self.account = account

        @property
        def control(self) -> FleetTable:
            return self.table

    class RowSelected(Message):
        """A row was chosen with Enter or a second click."""

        def __init__(self, table: FleetTable, account: int) -> None:
            super().__init__()
            self.table = table
            self.account = account

        @property
        def control(self) -> FleetTable:
            return self.table

    class OrderChanged(Message):
        """The operator chose another sort on the table itself (a click on a heading)."""

        def __init__(self, table: FleetTable) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> FleetTable:
            return self.table

    class ViewportChanged(Message):
        """Other rows are on the screen: `accounts`, top to bottom. For fetching sparklines."""

        def __init__(self, table: FleetTable, accounts: tuple[int, ...]) -> None:
            super().__init__()
            self.table = table
            self.accounts = accounts

        @property
        def control(self) -> FleetTable:
            return self.table

    def __init__(
        self,
        model: FleetModel,
        *,
        levels: Callable[[int], Levels | None] | None = None,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        ascii_only: bool = False,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
        disabled: bool = False,
    ) -> None:
        """`levels` answers an account's sparkline from what was already fetched, at once; it is
        asked for visible rows only. `ascii_only` draws without a single non-ASCII sign."""
        super().__init__(name=name, id=id, classes=classes, disabled=disabled)
        self.model = model
        self._lines = FleetLines(model, self._component, levels, ascii_only)
        self._chosen = tuple(columns)
        self._order_seen = -1
        self._cursor_at = 0
        self._viewport: tuple[int, ...] = ()
        self._painted: dict[int, Line | str] = {}

    # --- what the screen calls -------------------------------------------------------------

    def sync(self) -> None:
        """Show the model as it is now: repaints what looks different, and nothing else."""
        if not self.is_attached or not self.size:
            return
        self._place_columns()
        if self.model.order_version != self._order_seen:
            self._follow_order()
        self._repaint_changes()
        self._tell_viewport()

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys of the chosen columns, in order; some may not be visible for lack of room."""
        return self._chosen

    @property
    def visible_columns(self) -> tuple[str, ...]:
        """Keys of the columns that the present width shows."""
        return tuple(placed.column.key for placed in self._lines.layout)

    def set_columns(self, columns: Sequence[str]) -> None:
        """Choose columns and their order; keys as in `fleet_columns.COLUMNS`."""
        self._chosen = tuple(columns)
        self.sync()

    def set_ascii(self, ascii_only: bool) -> None:
        """Draw with ASCII signs only, or with all of them."""
        self._lines.is_ascii = ascii_only
        self._forget_drawn()

    def move_cursor(self, account: int) -> bool:
        """Put the cursor on a row and bring it into view; False if it is not shown."""
        at = self.model.position(account)
        if at is None:
            return False
        self._put_cursor(at)
        return True

    def sort_by(self, sort: SortKey) -> None:
        """Sort by that column, or turn the direction round if it is that one already."""
        same = sort is self.model.sort
        self.model.set_sort(sort, not self.model.is_reversed if same else False)
        self._refresh_header()
        self.sync()
        self.post_message(self.OrderChanged(self))

    def step_sort(self, step: int) -> None:
        """Sort by the next (-1: previous) visible column that can be sorted by."""
        keys = [key for each in self.visible_columns if (key := sort_key(each)) is not None]
        if not keys:
            return
        now = keys.index(self.model.sort) if self.model.sort in keys else -step
        self.model.set_sort(keys[(now + step) % len(keys)])
        self._refresh_header()
        self.sync()
        self.post_message(self.OrderChanged(self))

    @property
    def visible_accounts(self) -> tuple[int, ...]:
        """Ids of the rows on the screen, top to bottom."""
        top = self.scroll_offset.y
        return tuple(self.model.order[top : top + self._body_height])

    # --- cursor ----------------------------------------------------------------------------

    def action_cursor(self, step: int) -> None:
        """Move the cursor by rows."""
        self._put_cursor(self._cursor_at + step)

    def action_page(self, step: int) -> None:
        """Move the cursor by screenfuls."""
        self._put_cursor(self._cursor_at + step * max(1, self._body_height - 1))

    def action_top(self) -> None:
        """Go to the first row."""
        self._put_cursor(0)

    def action_bottom(self) -> None:
        """Go to the last row."""
        self._put_cursor(len(self.model.order) - 1)

    def action_problem(self, step: int) -> None:
        """Go to the next or previous row that is not OK."""
        account = self.model.next_problem(self.cursor_account, step)
        if account is not None:
            self.move_cursor(account)

    def action_select(self) -> None:
        """Choose the row under the cursor."""
        if self.cursor_account is not None:
            self.post_message(self.RowSelected(self, self.cursor_account))

    def _put_cursor(self, at: int) -> None:
        order = self.model.order
        if not order:
            return
        at = min(max(0, at), len(order) - 1)
        self.model.cursor_moved()
        before, self._cursor_at = self._cursor_at, at
        self.cursor_account = order[at]
        self._scroll_into_view(at)  # which repaints all lines if it scrolls
        top = self.scroll_offset.y
        self._repaint_changes(frozenset((before - top, at - top)))
        self._tell_viewport()

    def watch_cursor_account(self, account: int | None) -> None:
        """Tell the screen where the cursor is."""
        self.post_message(self.RowHighlighted(self, account))

    def _scroll_into_view(self, at: int) -> None:
        top, height = self.scroll_offset.y, self._body_height
        if at < top:
            self.scroll_to(y=at, animate=False)
        elif at >= top + height:
            self.scroll_to(y=at - height + 1, animate=False)

    def _follow_order(self) -> None:
        """The order changed: the cursor stays on its row, and the row on its line if the
        table was scrolled. A row that is gone leaves the cursor at its place."""
        order = self.model.order
        self._order_seen = self.model.order_version
        self.virtual_size = Size(self._lines.width, len(order) + HEADER_LINES)
        if not order:
            self._cursor_at = 0
            self.cursor_account = None
            return
        line = self._cursor_at - self.scroll_offset.y
        was_scrolled = self.scroll_offset.y > 0
        account = self.cursor_account
        at = self.model.position(account) if account is not None else 0
        if at is None:
            at = min(self._cursor_at, len(order) - 1)
        self._cursor_at = at
        self.cursor_account = order[at]
        if not 0 <= line < self._body_height:
            return  # scrolled away from the cursor by hand: stay there
        if was_scrolled:
            self.scroll_to(y=max(0, at - line), animate=False)
        else:
            self._scroll_into_view(at)

    # --- mouse -----------------------------------------------------------------------------

    async def _on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y < HEADER_LINES:
            x = offset.x + self.scroll_offset.x
            for placed in self._lines.layout:
                if placed.x <= x <= placed.x + placed.width:
                    sort = sort_key(placed.column.key)
                    if sort is not None:
                        self.sort_by(sort)
            return
        at = offset.y - HEADER_LINES + self.scroll_offset.y
        if at < len(self.model.order):
            was_there = at == self._cursor_at
            self._put_cursor(at)
            if was_there:
                self.action_select()

    # --- drawing ---------------------------------------------------------------------------

    @property
    def _body_height(self) -> int:
        return max(0, self.scrollable_content_region.height - HEADER_LINES)

    def _place_columns(self) -> None:
        if self._lines.place(self._chosen, self.scrollable_content_region.width):
            self.virtual_size = Size(self._lines.width, len(self.model.order) + HEADER_LINES)
            self.refresh()

    def _component(self, name: str) -> Style:
        return self.get_component_rich_style(f"fleet-table--{name}")

    def _forget_drawn(self) -> None:
        self._lines.forget()
        self.refresh()

    def notify_style_update(self) -> None:
        """The theme or the stylesheet changed: everything drawn is out of date."""
        super().notify_style_update()
        self._forget_drawn()

    def _look(self, y: int) -> Line | str:
        """What a line of the body is to show now: a row, or words where there is none."""
        at = self.scroll_offset.y + y - HEADER_LINES
        if at < len(self.model.order):
            return self._lines.line(self.model.order[at], at == self._cursor_at)
        return self._notice(y)

    def _repaint_changes(self, lines: frozenset[int] | None = None) -> None:
        """Ask for the regions whose text differs from what was last painted there, on these
        lines of the body or on all of them."""
        whole = self.size.width
        body = range(self._body_height)
        for line in body if lines is None else sorted(lines.intersection(body)):
            y = line + HEADER_LINES
            new, old = self._look(y), self._painted.get(y)
            if new == old:
                continue
            if isinstance(new, str) or old is None or isinstance(old, str):
                self.refresh(Region(0, y, whole, 1))
                continue
            span = self._lines.difference(old, new)
            if span == (0, self._lines.width):
                self.refresh(Region(0, y, whole, 1))
            elif span is not None:
                region = Region(span[0] - self.scroll_offset.x, y, span[1] - span[0], 1)
                self.refresh(region.intersection(self.size.region))

    def _refresh_header(self) -> None:
        self.refresh(Region(0, 0, self.size.width, HEADER_LINES))

    def _notice(self, y: int) -> str:
        """What an empty line of the body says; the second one tells why there are no rows."""
        if y != HEADER_LINES + 1 or self.model.order:
            return ""
        if self.progress is not None:
            return self._progress_words()
        if not self.model.rows:
            return "no agents yet: bursar wallets import FILE.csv, or 4 then R restores a backup"
        if self.model.problems_only and not self.model.query:
            return "no problems: ! shows every row"
        return "no row matches filter: Esc clears"

    def watch_progress(self) -> None:
        """Loading went on."""
        if self.is_attached:
            self._repaint_changes()
            self._refresh_header()

    def on_resize(self) -> None:
        """Another width shows other columns; another height still shows the cursor."""
        self.sync()
        self._scroll_into_view(self._cursor_at)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows come into view."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.call_after_refresh(self._tell_viewport)

    def _tell_viewport(self) -> None:
        accounts = self.visible_accounts
        if accounts != self._viewport:
            self._viewport = accounts
            self.post_message(self.ViewportChanged(self, accounts))

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the header, a row, or what stands in place of rows."""
        scroll_x, width, base = self.scroll_offset.x, self.size.width, self.rich_style
        if y < HEADER_LINES:
            said = self._progress_words() if self.model.order else ""
            return self._lines.header(base, scroll_x, width, said)
        look = self._painted[y] = self._look(y)
        if isinstance(look, str):
            return self._lines.notice(look, base, width)
        return self._lines.strip(look, base, scroll_x, width, self.has_focus)

    def _progress_words(self) -> str:
        if self.progress is None:
            return ""
        done, whole = self.progress
        return f"loading {text.count(done)}/{text.count(whole)}"

    def on_focus(self) -> None:
        """The cursor's line shows where the keys go."""
        self._repaint_cursor()

    def on_blur(self) -> None:
        """The cursor's line shows that the keys go elsewhere."""
        self._repaint_cursor()

    def _repaint_cursor(self) -> None:
        y = self._cursor_at - self.scroll_offset.y + HEADER_LINES
        self.refresh(Region(0, y, self.size.width, 1))
