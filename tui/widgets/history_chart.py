"""The chart of one account's history, with a cursor that reads it exactly.

`show` takes what the engine answered; the course is decimated and drawn once for a size and
then kept. Every figure beside the picture is exact and comes from `tui.text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import var
from textual.strip import Strip
from textual.widget import Widget

from core.api import History, HistoryPoint
from core.model import Asset
from tui import text
from tui.widgets import course, plot

RANGES: Mapping[str, int] = {
    "1h": 3_600_000,
    "24h": 86_400_000,
    "7d": 7 * 86_400_000,
    "30d": 30 * 86_400_000,
}
"""The ranges a history is shown over, ms."""

_HEAD = 1
_FOOT = 2


class Brush(Protocol):
    """What turns lines of dots into glyphs: the module `plot`, or `area`."""

    def dots(self, width: int, height: int, ascii_only: bool = False) -> tuple[int, int]:
        """How many dots lie in so many cells, across and up."""
        ...

    def raster(
        self, lines: Sequence[plot.Polyline], width: int, height: int, ascii_only: bool = False
    ) -> tuple[str, ...]:
        """The lines as `height` strings of `width` glyphs, top line first."""
        ...


class Shown(NamedTuple):
    """What the chart is of: a history over [start, end) ms in an asset's own unit."""

    history: History
    asset: Asset
    start_ms: int
    end_ms: int


class Drawn(NamedTuple):
    """A finished picture: lines of the plot, labels beside and below it, place of the plot."""

    lines: tuple[str, ...]
    labels: Mapping[int, str]
    label_width: int
    width: int
    rule: str
    times: str


class HistoryChart(Widget, can_focus=True):
    """One account's balance over time."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "history-chart--line",
        "history-chart--axis",
        "history-chart--readout",
        "history-chart--cursor",
        "history-chart--notice",
    }

    DEFAULT_CSS = """
    HistoryChart {
        height: 1fr;
        min-height: 6;
        color: $foreground;
        background: $background;
        & > .history-chart--line { color: $primary; }
        & > .history-chart--axis { color: $text-muted; }
        & > .history-chart--readout { color: $foreground; text-style: bold; }
        & > .history-chart--cursor { color: $text-warning; text-style: bold; }
        & > .history-chart--notice { color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "scrub(-1)", "Back", key_display="[", id="chart.back"),
        Binding("right_square_bracket", "scrub(1)", "On", key_display="]", id="chart.forward"),
    ]

    cursor: var[int | None] = var[int | None](None, init=False)
    """Index of the point under the cursor in the history's points; None: no cursor."""

    class CursorMoved(Message):
        """The cursor stands on another point (None: it was put away)."""

        def __init__(self, chart: HistoryChart, point: HistoryPoint | None) -> None:
            super().__init__()
            self.chart = chart
            self.point = point

        @property
        def control(self) -> HistoryChart:
            return self.chart

    def __init__(
        self,
        *,
        brush: Brush = plot,
        ascii_only: bool = False,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
        disabled: bool = False,
    ) -> None:
        """`ascii_only` draws without a single non-ASCII sign."""
        super().__init__(name=name, id=id, classes=classes, disabled=disabled)
        self.brush = brush
        self._ascii_only = ascii_only
        self._signs = text.glyphs(ascii_only)
        self._shown: Shown | None = None
        self._notice = "loading history"
        self._drawn: Drawn | None = None
        self._drawn_for: tuple[int, int, Shown | None] | None = None

    # --- what the screen calls -------------------------------------------------------------

    def show(self, history: History, asset: Asset, start_ms: int, end_ms: int) -> None:
        """Draw a history over [start, end). The cursor stays on its time if that is still in it."""
        at = self.cursor_point
        self._shown = Shown(history, asset, start_ms, end_ms)
        self._notice = "" if history.points else "no reading in this range"
        index = None if at is None else course.standing_at(history.points, at.time_ms)
        self.cursor = index
        self.refresh()

    def show_notice(self, words: str) -> None:
        """Say in place of a chart why there is none."""
        self._shown = None
        self._notice = text.safe(words)
        self.cursor = None
        self.refresh()

    def set_ascii(self, ascii_only: bool) -> None:
        """Draw with ASCII signs only, or with all of them."""
        self._ascii_only = ascii_only
        self._signs = text.glyphs(ascii_only)
        self._drawn_for = None
        self.refresh()

    @property
    def cursor_point(self) -> HistoryPoint | None:
        """The point under the cursor."""
        if self._shown is None or self.cursor is None:
            return None
        points = self._shown.history.points
        return points[self.cursor] if self.cursor < len(points) else None

    # --- cursor ----------------------------------------------------------------------------

    def action_scrub(self, step: int) -> None:
        """Go to the last change of the next (-1: previous) column that has any; the first press
        puts the cursor on the newest."""
        if self._shown is None or not self._shown.history.points:
            return
        points = self._shown.history.points
        if self.cursor is None:
            self.cursor = len(points) - 1
            return
        here = self._column(points[self.cursor])
        index = self.cursor + step
        while 0 <= index < len(points) and self._column(points[index]) == here:
            index += step
        if not 0 <= index < len(points):
            return
        there = self._column(points[index])
        while index + 1 < len(points) and self._column(points[index + 1]) == there:
            index += 1
        self.cursor = index

    def watch_cursor(self) -> None:
        """Read out the point the cursor is on."""
        self.refresh()
        self.post_message(self.CursorMoved(self, self.cursor_point))

    def _column(self, point: HistoryPoint) -> int:
        assert self._shown is not None  # asked only for a shown history's points
        width = self._drawn.width if self._drawn is not None else max(1, self.size.width)
        return course.column_of(
            point.time_ms, self._shown.start_ms, self._shown.end_ms, max(1, width)
        )

    def _beside(self, points: Sequence[HistoryPoint]) -> int:
        """How many other points lie in the cursor's column."""
        if self.cursor is None:
            return 0
        here = self._column(points[self.cursor])
        count = 0
        for step in (-1, 1):
            index = self.cursor + step
            while 0 <= index < len(points) and self._column(points[index]) == here:
                count += 1
                index += step
        return count

    # --- drawing ---------------------------------------------------------------------------

    def _draw(self) -> Drawn | None:
        wanted = (self.size.width, self.size.height, self._shown)
        if self._drawn_for != wanted:
            self._drawn_for = wanted
            self._drawn = None
            if self._shown is not None and self._shown.history.points:
                self._drawn = draw(self._shown, *self.size, self._ascii_only, self.brush)
        return self._drawn

    def render_line(self, y: int) -> Strip:
        """One line: the readout, the plot with its labels, the axis below."""
        width = self.size.width
        drawn = self._draw()
        if y < _HEAD:
            return self._strip([(self._readout(), "readout")], width)
        if drawn is None:
            words = f" {self._notice}" if y == _HEAD + 1 else ""
            return self._strip([(words, "notice")], width)
        row = y - _HEAD
        if row == len(drawn.lines):
            return self._strip([(drawn.rule, "axis")], width)
        if row > len(drawn.lines):
            return self._strip([(drawn.times, "axis")], width)
        label = drawn.labels.get(row, "").rjust(drawn.label_width)
        edge = "|" if self._ascii_only else ("┤" if row in drawn.labels else "│")
        line = drawn.lines[row]
        point = self.cursor_point
        if point is None:
            return self._strip([(f"{label}{edge}", "axis"), (line, "line")], width)
        at = self._column(point)
        under = line[at] if line[at].strip() and line[at] != "⠀" else self._signs.bar
        return self._strip(
            [
                (f"{label}{edge}", "axis"),
                (line[:at], "line"),
                (under, "cursor"),
                (line[at + 1 :], "line"),
            ],
            width,
        )

    def _strip(self, parts: list[tuple[str, str]], width: int) -> Strip:
        segments = [
            Segment(content, self._style(component)) for content, component in parts if content
        ]
        return Strip(segments).adjust_cell_length(width, self.rich_style).simplify()

    def _style(self, component: str) -> Style:
        return self.rich_style + self.get_component_rich_style(f"history-chart--{component}")

    def _readout(self) -> str:
        """Exact figures: of the point under the cursor, or of the whole range."""
        if self._shown is None or not self._shown.history.points:
            return ""
        history, asset = self._shown.history, self._shown.asset
        dot = f" {self._signs.dot} "
        point = self.cursor_point
        if point is not None:
            beside = self._beside(history.points)
            words = [
                text.with_symbol(point.amount, asset),
                f"{text.moment(point.time_ms)} UTC",
                f"block {text.count(point.block)}",
            ]
            if point.carried:
                words[1] = f"since before {words[1]}"
            if beside:
                words.append(f"{text.count(beside)} more here")
            return text.clip(dot.join(words), self.size.width, self._signs.cut)
        amounts = [int(each.amount) for each in history.points]
        changes = sum(not each.carried for each in history.points)
        words = [
            text.with_symbol(amounts[-1], asset),
            f"low {text.exact(min(amounts), asset.decimals)}",
            f"high {text.exact(max(amounts), asset.decimals)}",
            f"{text.count(changes)} change{'' if changes == 1 else 's'}",
        ]
        return text.clip(dot.join(words), self.size.width, self._signs.cut)


def draw(
    shown: Shown, width: int, height: int, ascii_only: bool = False, brush: Brush = plot
) -> Drawn | None:
    """The picture of a history in so many cells; None where there is no room for one."""
    rows = height - _HEAD - _FOOT
    found = course.stretches(shown.history, shown.start_ms, shown.end_ms)
    if rows < 1 or width < 12 or not found:
        return None
    scale = course.scale_of(found, max(1, rows // 3))
    words = {tick: text.axis_label(tick, shown.asset.decimals, scale.step) for tick in scale.ticks}
    label_width = min(max(map(len, words.values())), width // 3)
    across = width - label_width - 1
    columns, dots = brush.dots(across, rows, ascii_only)
    lines = [
        [
            (column, scale.dot(amount, dots))
            for column, amount in course.decimate(stretch, shown.start_ms, shown.end_ms, columns)
        ]
        for stretch in found
    ]
    labels: dict[int, str] = {}
    for tick, word in words.items():
        row = rows - 1 - scale.dot(tick, dots) * rows // dots
        labels.setdefault(row, text.clip(word, label_width))
    times, marks = _times(shown, across)
    rule = "".join(
        ("+" if ascii_only else "┴") if column in marks else ("-" if ascii_only else "─")
        for column in range(across)
    )
    return Drawn(
        brush.raster(lines, across, rows, ascii_only),
        labels,
        label_width,
        across,
        " " * label_width + ("+" if ascii_only else "└") + rule,
        " " * (label_width + 1) + times,
    )


def _times(shown: Shown, width: int) -> tuple[str, frozenset[int]]:
    """The line of times below the plot (UTC), and the columns they belong to."""
    span = shown.end_ms - shown.start_ms
    line = [" "] * width
    marks: set[int] = set()
    wanted = max(2, width // 16)
    step = next((each for each in _TIME_STEPS if span // each <= wanted), _TIME_STEPS[-1])
    free = 0
    for time_ms in range(-(-shown.start_ms // step) * step, shown.end_ms, step):
        column = course.column_of(time_ms, shown.start_ms, shown.end_ms, width)
        word = text.tick_label(time_ms, span)
        start = min(max(0, column - len(word) // 2), width - len(word))
        if start >= free and start >= 0:
            line[start : start + len(word)] = word
            marks.add(column)
            free = start + len(word) + 2
    return "".join(line), frozenset(marks)


_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_TIME_STEPS = (
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 5, 7, 14)),
)
