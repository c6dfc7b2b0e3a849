"""Rows of the fleet as lines and strips: what is drawn, and how little of it must be redrawn.

A line is a row's cells as text. Two lines that are equal look equal, so comparing them tells
which region of the screen changed. Text is kept by row and version, strips by line and width;
where lines stand and when they are painted is the table's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.strip import Strip

from core.model import Severity
from tui import text
from tui.fleet import FleetModel
from tui.fleet_row import FleetRow
from tui.widgets.fleet_columns import VOLATILE, Drawing, Placed, cell, lay_out, title

Levels = Sequence[int | None]
"""A row's sparkline: balances in base units, oldest first, None where not known."""

# A few screens of each: with all that Textual keeps beside it, a strip is 10 KB and more.
_STRIPS_KEPT = 128
_ROWS_KEPT = 512


class Line(NamedTuple):
    """What a row looks like: its cells, and the tone they are drawn in (`stale` or `row`, after
    its severity if that is not OK)."""

    account: int
    cells: tuple[str, ...]
    tone: str
    is_cursor: bool


class FleetLines:
    """Draws rows in the columns it was given. `style` answers a component's style by name."""

    def __init__(
        self,
        model: FleetModel,
        style: Callable[[str], Style],
        levels: Callable[[int], Levels | None] | None,
        ascii_only: bool,
    ) -> None:
        self.layout: tuple[Placed, ...] = ()
        self.is_ascii = ascii_only
        self._model = model
        self._style_of = style
        self._levels = levels
        self._placed_for: tuple[int, tuple[str, ...]] | None = None
        self._serial = 0
        self._texts: LRUCache[tuple[int, int, int], tuple[str, ...]] = LRUCache(_ROWS_KEPT)
        self._strips: LRUCache[tuple[Line, int, int, bool], Strip] = LRUCache(_STRIPS_KEPT)
        self._styles: dict[str, Style] = {}

    @property
    def signs(self) -> text.Glyphs:
        """The signs in use."""
        return text.glyphs(self.is_ascii)

    @property
    def width(self) -> int:
        """Cells from the first column to the end of the last."""
        return self.layout[-1].x + self.layout[-1].width if self.layout else 0

    def place(self, chosen: tuple[str, ...], width: int) -> bool:
        """Lay the chosen columns out in so many cells; True if anything moved."""
        if self._placed_for == (width, chosen):
            return False
        self._placed_for = (width, chosen)
        self.layout = lay_out(chosen, width)
        self._serial += 1
        return True

    def forget(self) -> None:
        """The theme or the signs changed: nothing kept looks right any more."""
        self._texts.clear()
        self._strips.clear()
        self._styles.clear()

    def line(self, account: int, is_cursor: bool) -> Line:
        """A row as it looks now."""
        row = self._model.rows[account]
        drawing = Drawing(self.signs, self._model.now_ms, self.is_ascii)
        cells = list(self._lasting(row, drawing))
        for index, placed in enumerate(self.layout):
            key = placed.column.key
            if key in VOLATILE:
                if key == "trend" and self._levels is not None:
                    drawing = drawing._replace(levels=self._levels(account))
                cells[index] = cell(placed, row, drawing)
            elif is_cursor and key == "severity":
                cells[index] = self.signs.cursor + cells[index][1:]
        tone = "stale" if row.is_stale(drawing.now_ms) else "row"
        if row.view.severity is not Severity.OK:
            tone = f"{row.view.severity.value} {tone}"
        return Line(account, tuple(cells), tone, is_cursor)

    def _lasting(self, row: FleetRow, drawing: Drawing) -> tuple[str, ...]:
        """The cells that only a new version of the row can change; others are empty."""
        key = (row.account, row.version, self._serial)
        cells = self._texts.get(key)
        if cells is None:
            cells = self._texts[key] = tuple(
                "" if placed.column.key in VOLATILE else cell(placed, row, drawing)
                for placed in self.layout
            )
        return cells

    def difference(self, old: Line, new: Line) -> tuple[int, int] | None:
        """The cells [x, end) of a line that look different; None if none do."""
        if (
            len(old.cells) != len(new.cells)
            or old.tone != new.tone
            or old.is_cursor != new.is_cursor
        ):
            return (0, self.width)
        changed = [
            placed
            for placed, was, now in zip(self.layout, old.cells, new.cells, strict=True)
            if was != now
        ]
        if not changed:
            return None
        return (changed[0].x, changed[-1].x + changed[-1].width)

    # --- strips ----------------------------------------------------------------------------

    def strip(self, line: Line, base: Style, scroll_x: int, width: int, in_focus: bool) -> Strip:
        """A line as a strip of exactly `width` cells, scrolled sideways, few segments."""
        key = (line, scroll_x, width, in_focus)
        strip = self._strips.get(key)
        if strip is None:
            whole, last = self._whole(line, base, in_focus)
            strip = whole.crop_extend(scroll_x, scroll_x + width, last)
            strip = self._strips[key] = strip.simplify()
        return strip

    def _whole(self, line: Line, base: Style, in_focus: bool) -> tuple[Strip, Style]:
        loud, _, tone = line.tone.rpartition(" ")
        plain = base + self._style(tone)
        name = base + self._style(loud) if loud else plain
        trend = plain if tone == "stale" else base + self._style("trend")
        if line.is_cursor:
            under = self._style("cursor" if in_focus else "cursor-blurred")
            plain, name, trend = plain + under, name + under, trend + under
        styles = {"severity": name, "agent": name, "trend": trend}
        segments = [
            Segment(f"{content} ", styles.get(placed.column.key, plain))
            for placed, content in zip(self.layout, line.cells, strict=True)
        ]
        return Strip(segments), plain

    def header(self, base: Style, scroll_x: int, width: int, said: str = "") -> Strip:
        """The headings, the arrow on the one that sorts; `said` stands at the right end."""
        model = self._model
        style = base + self._style("header")
        heading = " ".join(
            title(placed, model.sort, model.is_descending, self.signs) for placed in self.layout
        )
        strip = Strip([Segment(heading, style)]).crop_extend(scroll_x, scroll_x + width, style)
        if not said:
            return strip
        words = text.clip(f" {said} ", width, self.signs.cut)
        return Strip.join(
            [strip.crop(0, width - text.cells(words)), Strip([Segment(words, style)])]
        )

    def notice(self, words: str, base: Style, width: int) -> Strip:
        """A line that stands where there are no rows."""
        style = base + self._style("notice") if words else base
        return Strip([Segment(text.fit(f" {words}", width, cut=self.signs.cut), style)], width)

    def _style(self, name: str) -> Style:
        style = self._styles.get(name)
        if style is None:
            style = self._styles[name] = self._style_of(name)
        return style
