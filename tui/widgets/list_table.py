"""A calm table for a few hundred to a few thousand lines: endpoints, wallets, events.

Lines are keyed and made of finished text with a tone; the table knows no domain. Column widths
are declared, columns drop by priority when the terminal is narrow, and an update repaints only
the lines whose text changed. The fleet's tens of thousands of rows have a widget of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import text


class Tone(StrEnum):
    """What a cell's colour means; the words beside it always say it too."""

    PLAIN = "plain"
    DIM = "dim"
    STRONG = "strong"
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Cell(NamedTuple):
    """Printable text (already made safe) and its tone. `short` is what is said where the column
    is too narrow for `text`: a figure that is cut off would be another figure."""

    text: str
    tone: Tone = Tone.PLAIN
    short: str = ""


class Col(NamedTuple):
    """A declared column. `drop` 0 always stays; of the others the highest goes first.
    Room that is left goes to columns up to their `wide`, and the rest to the `grow` column."""

    title: str
    width: int
    right: bool = False
    drop: int = 0
    grow: bool = False
    wide: int = 0


class Item(NamedTuple):
    """One line. A heading has its cells laid out like a row but is never under the cursor."""

    key: str
    cells: tuple[Cell, ...]
    heading: bool = False


class ListTable(ScrollView, can_focus=True):
    """Keyed lines under a fixed header, with a cursor that stays on its key."""

    DEFAULT_CSS = """
    ListTable {
        height: 1fr;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        & > .list--header { color: $desk-dim; text-style: bold; }
        & > .list--plain { color: $foreground; }
        & > .list--dim { color: $desk-dim; }
        & > .list--strong { color: $foreground; text-style: bold; }
        & > .list--ok { color: $success; }
        & > .list--warning { color: $warning; }
        & > .list--problem { color: $error; text-style: bold; }
        & > .list--cursor { background: $panel; }
        &:focus > .list--cursor { background: $desk-cursor; }
        & > .list--empty { color: $desk-dim; }
        &:nocolor > .list--cursor { text-style: reverse; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "list--header",
        "list--cursor",
        "list--empty",
        *(f"list--{tone.value}" for tone in Tone),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Down", show=False, id="list.down"),
        Binding("k,up", "move(-1)", "Up", show=False, id="list.up"),
        Binding("g,home", "edge(False)", "First", show=False, id="list.first"),
        Binding("G,end", "edge(True)", "Last", show=False, id="list.last"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="list.page_down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="list.page_up"),
        Binding("enter", "select", "Open", id="list.open"),
    ]

    class Highlighted(Message):
        """The cursor came to another line (or to none: empty key)."""

        def __init__(self, table: ListTable, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> ListTable:
            """The table it happened in."""
            return self.table

    class Selected(Highlighted):
        """A line was opened (Enter, or a click on the cursor's line)."""

    def __init__(
        self,
        cols: Sequence[Col],
        *,
        empty: str = "",
        opens: bool = False,
        signs: text.Glyphs = text.UNICODE,
        name: str | None = None,
        id: str | None = None,
    ) -> None:
        """`empty` is said where there are no lines; `opens` lets Enter and a click select."""
        super().__init__(name=name, id=id)
        self._opens = opens
        self._cut = signs.cut
        self._cols = tuple(cols)
        self._items: tuple[Item, ...] = ()
        self._places: dict[str, int] = {}
        self._cursor = ""
        self._empty = empty
        self._layout: tuple[tuple[int, int], ...] = ()
        self._styles: dict[str, Style] = {}

    # --- what others see -------------------------------------------------------------------

    @property
    def cursor(self) -> str:
        """The key under the cursor, or ""."""
        return self._cursor

    @property
    def items(self) -> tuple[Item, ...]:
        """The lines as shown."""
        return self._items

    def show(self, items: Sequence[Item], *, empty: str | None = None) -> None:
        """Replace the lines; the cursor keeps its key, or its place when that is gone."""
        before, place = self._items, self._places.get(self._cursor, 0)
        self._items = tuple(items)
        self._places = {item.key: i for i, item in enumerate(self._items)}
        if empty is not None and empty != self._empty:
            self._empty = empty
            self.refresh()
        if self._cursor not in self._places or self._items[self._places[self._cursor]].heading:
            self._put_cursor(self._near(place))
        if len(before) != len(self._items):
            self.virtual_size = Size(0, len(self._items) + 1)
            self.refresh()
            return
        top = self.scroll_offset.y
        for y in range(top, min(len(self._items), top + self.size.height)):
            if before[y] != self._items[y]:
                self._refresh_item(y)

    def move_to(self, key: str) -> None:
        """Put the cursor on a key, if it is there, and bring it into view."""
        if key in self._places:
            self._put_cursor(key)

    # --- the cursor ------------------------------------------------------------------------

    def _near(self, place: int) -> str:
        after = [item.key for item in self._items[place:] if not item.heading]
        before = [item.key for item in self._items[:place] if not item.heading]
        return after[0] if after else before[-1] if before else ""

    def _put_cursor(self, key: str) -> None:
        old, self._cursor = self._cursor, key
        for changed in (old, key):
            if changed in self._places:
                self._refresh_item(self._places[changed])
        if key in self._places:
            self._reveal(self._places[key])
        if key != old:
            self.post_message(self.Highlighted(self, key))

    def _reveal(self, y: int) -> None:
        room = max(1, self.size.height - 1)
        # With the first line the headings before it come back into view.
        is_first = all(item.heading for item in self._items[:y])
        if y < self.scroll_offset.y or (is_first and self.scroll_offset.y):
            self.scroll_to(y=0 if is_first or y <= 1 else y, animate=False)
        elif y >= self.scroll_offset.y + room:
            self.scroll_to(y=y - room + 1, animate=False)

    def _step(self, by: int) -> None:
        rows = [i for i, item in enumerate(self._items) if not item.heading]
        if rows:
            here = self._places.get(self._cursor, 0)
            at = min(range(len(rows)), key=lambda i: abs(rows[i] - here))
            self._put_cursor(self._items[rows[max(0, min(len(rows) - 1, at + by))]].key)

    def action_move(self, by: int) -> None:
        """One line down (1) or up (-1)."""
        self._step(by)

    def action_page(self, by: int) -> None:
        """One page down (1) or up (-1)."""
        self._step(by * max(1, self.size.height - 2))

    def action_edge(self, last: bool) -> None:
        """The first or the last line."""
        self._step(len(self._items) if last else -len(self._items))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enter is only bound where there is something to open."""
        return self._opens or action != "select"

    def action_select(self) -> None:
        """Open the line under the cursor."""
        if self._cursor and self._opens:
            self.post_message(self.Selected(self, self._cursor))

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; a click on its line opens it."""
        y = event.y - 1 + self.scroll_offset.y
        if event.y > 0 and 0 <= y < len(self._items) and not self._items[y].heading:
            if self._items[y].key == self._cursor:
                self.action_select()
            self._put_cursor(self._items[y].key)

    # --- drawing ---------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        """Colours changed: forget the resolved ones."""
        super().notify_style_update()
        self._styles.clear()

    def on_focus(self) -> None:
        """The cursor's line shows where the keys go."""
        self.call_after_refresh(self._restyle_cursor)

    def on_blur(self) -> None:
        """The cursor's line shows that the keys go elsewhere."""
        self.call_after_refresh(self._restyle_cursor)

    def _restyle_cursor(self) -> None:
        self._styles.pop("cursor", None)
        if self._cursor in self._places:
            self._refresh_item(self._places[self._cursor])

    def on_resize(self) -> None:
        """Choose the columns that fit, and keep the cursor in view."""
        width = self.size.width
        kept = list(range(len(self._cols)))
        while True:
            used = sum(self._cols[i].width + 1 for i in kept)
            spare = [i for i in kept if self._cols[i].drop]
            if used <= width or not spare:
                break
            kept.remove(max(spare, key=lambda i: self._cols[i].drop))
        room = max(0, width - used)
        widths = {i: self._cols[i].width for i in kept}
        for i in kept:
            more = min(room, max(0, self._cols[i].wide - widths[i]))
            widths[i] += more
            room -= more
        growing = next((i for i in kept if self._cols[i].grow), -1)
        if growing >= 0:
            widths[growing] += room
        self._layout = tuple(widths.items())
        self.virtual_size = Size(0, len(self._items) + 1)
        if self._cursor in self._places:
            self._reveal(self._places[self._cursor])
        self.refresh()

    def _refresh_item(self, y: int) -> None:
        line = y - self.scroll_offset.y + 1
        if 1 <= line < self.size.height:
            self.refresh(Region(0, line, self.size.width, 1))

    def _style(self, name: str) -> Style:
        style = self._styles.get(name)
        if style is None:
            style = self.get_component_rich_style(f"list--{name}", partial=True)
            self._styles[name] = style
        return style

    def render_line(self, y: int) -> Strip:
        """The header, a line, or blank."""
        width = self.size.width
        base = self.rich_style
        if y == 0:
            titles = tuple(Cell(col.title) for col in self._cols)
            return self._strip(titles, base + self._style("header"), toned=False)
        place = y - 1 + self.scroll_offset.y
        if not self._items and y == 2:
            line = text.clip(f"  {self._empty}", width, self._cut)
            return Strip([Segment(line, base + self._style("empty"))]).adjust_cell_length(
                width, base
            )
        if not 0 <= place < len(self._items):
            return Strip.blank(width, base)
        item = self._items[place]
        if item.key == self._cursor and not item.heading:
            base += self._style("cursor")
        return self._strip(item.cells, base, toned=True)

    def _strip(self, cells: Sequence[Cell], base: Style, *, toned: bool) -> Strip:
        parts: list[Segment] = []
        for i, width in self._layout:
            cell = cells[i]
            style = base + self._style(cell.tone.value) if toned else base
            said = cell.short if cell.short and text.cells(cell.text) > width else cell.text
            parts.append(
                Segment(text.fit(said, width, right=self._cols[i].right, cut=self._cut), style)
            )
            parts.append(Segment(" ", base))
        return Strip(parts).adjust_cell_length(self.size.width, base).simplify()
