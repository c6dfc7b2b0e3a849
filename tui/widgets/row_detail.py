"""The pane beside the fleet: everything about the row under the cursor, live.

Who and where, the exact figure, why it is loud, limits, trend, and the agent's last events.
It draws what it is given, and of that only the lines that changed; the screen fetches the trend.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from core.events import EventRecord
from core.model import Severity
from tui import event_words, text
from tui.fleet_row import FleetRow
from tui.widgets.list_table import Tone
from tui.widgets.sparkline import sparkline

DIM = "$desk-dim"
TONES = {
    Severity.OK: "$success",
    Severity.WARNING: "$warning",
    Severity.PROBLEM: "bold $error",
}
EVENT_TONES = {Tone.PROBLEM: "$error", Tone.WARNING: "$warning", Tone.OK: "$success"}
Words = list[tuple[str, str]]
_PIECES = re.compile(r"\S+\s*|\s+")


def laid_out(words: Words, width: int, cut: str) -> list[Words]:
    """The lines that the words fill in so many cells, broken between words."""
    lines: list[Words] = []
    for line in _lines(words):
        lines += _wrapped(line, width, cut)
    return lines


def changed_lines(before: list[Words], after: list[Words]) -> list[int]:
    """Numbers of the lines that differ."""
    nothing: Words = []
    pairs = zip_longest(before, after, fillvalue=nothing)
    return [number for number, (one, other) in enumerate(pairs) if one != other]


def _lines(words: Words) -> list[Words]:
    lines: list[Words] = [[]]
    for each, style in words:
        first, *further = each.split("\n")
        lines[-1].append((first, style))
        lines += [[(line, style)] for line in further]
    return lines


def _wrapped(line: Words, width: int, cut: str) -> list[Words]:
    if sum(text.cells(words) for words, _ in line) <= width:
        return [line]
    lines: list[Words] = [[]]
    room = width
    for words, style in line:
        for piece in _PIECES.findall(words):
            if text.cells(piece.rstrip()) > room and lines[-1]:
                lines.append([])
                room = width
            shown = text.clip(piece.rstrip() if text.cells(piece) > room else piece, room, cut)
            lines[-1].append((shown, style))
            room -= text.cells(shown)
    return lines


class RowDetail(Widget):
    """A pane of text about one row."""

    DEFAULT_CSS = """
    RowDetail { padding: 0 1; height: 1fr; }
    """

    def __init__(self, signs: text.Glyphs, *, ascii_only: bool) -> None:
        super().__init__()
        self._signs = signs
        self._ascii_only = ascii_only
        self._shown: Words = []
        self._laid_out: list[Words] = []

    def show(
        self,
        row: FleetRow | None,
        now_ms: int,
        *,
        levels: Sequence[int | None] = (),
        events: Sequence[EventRecord] = (),
    ) -> None:
        """Draw a row; None says that there is none."""
        width = max(20, self.size.width - 2)
        words: Words = [("no row", DIM)]
        if row is not None:
            words = [
                *self._head(row, now_ms, width),
                *self._figures(row, now_ms),
                *self._trend(levels, width),
                *self._events(events, width),
            ]
        if words != self._shown:
            self._shown = words
            self._lay_out()

    def _lay_out(self) -> None:
        """Lay the words out, and repaint the lines that differ from those shown."""
        before = self._laid_out
        self._laid_out = laid_out(self._shown, max(1, self.size.width), self._signs.cut)
        changed = changed_lines(before, self._laid_out)
        if changed:
            across = self.outer_size.width
            self.refresh(*(Region(0, line, across, 1) for line in changed))

    def on_resize(self) -> None:
        """Another width, other lines."""
        self._lay_out()

    def render(self) -> Content:
        """The whole pane."""
        newline: Words = [("\n", "")]
        lines = [[*newline, *line] if at else line for at, line in enumerate(self._laid_out)]
        return Content.assemble(*(words for line in lines for words in line))

    def _head(self, row: FleetRow, now_ms: int, width: int) -> Words:
        view, cut = row.view, self._signs.cut
        severity = text.severity_words(view.severity, self._signs)
        room = width - text.cells(severity) - 1
        name = text.clip(text.safe(view.agent), room, cut)
        words: Words = [
            (text.fit(name, room + 1), "bold"),
            (severity, TONES[view.severity]),
            ("\n", ""),
            (f"{text.elide(text.safe(view.address), width, cut)}\n\n", DIM),
        ]
        amount = text.with_symbol(view.amount, row.asset)
        stale = f" {self._signs.stale}" if row.is_stale(now_ms) else ""
        tone = DIM if stale else "bold"
        words.append((f"{amount}{stale}\n", tone))
        reason = row.reason(now_ms)
        if reason:
            words.append((f"{reason}\n", TONES[view.severity] if view.problem else "$warning"))
        words.append(("\n", ""))
        return words

    def _figures(self, row: FleetRow, now_ms: int) -> Words:
        view, places = row.view, row.asset.decimals
        interval = row.line.state.interval_ms
        runway = text.runway(view)
        sure = f" ({view.runway_sure})" if view.runway_sure else ""
        checked = text.checked(row.checked_ms, now_ms, interval)
        pairs = [
            ("chain", text.safe(view.chain)),
            ("change 1h", _change(view.change_1h, places)),
            ("change 24h", _change(view.change_24h, places)),
            ("runway", f"{runway}{sure}"),
            ("floor", self._limit(view.floor, places)),
            ("target", self._limit(view.target, places)),
            ("block", text.count(view.block) if view.block else "-"),
            ("checked", checked if checked in ("live", "never") else f"{checked} ago"),
            ("state", text.wallet_state(row.state)),
            ("group", text.safe(row.group) or "-"),
            ("tags", text.safe(", ".join(row.tags)) or "-"),
        ]
        if view.reserved:
            pairs.insert(6, ("reserved", text.exact(view.reserved, places)))
        words: Words = []
        for name, value in pairs:
            words += [(f"{name:<11}", DIM), (f"{value}\n", "")]
        return words

    def _limit(self, amount: int | None, places: int) -> str:
        return "-" if amount is None else text.exact(amount, places)

    def _trend(self, levels: Sequence[int | None], width: int) -> Words:
        if not any(level is not None for level in levels):
            return []
        drawn = sparkline(levels, min(width - 11, len(levels)), self._ascii_only)
        return [(f"{'trend 1h':<11}", DIM), (f"{drawn.strip()}\n", "$accent")]

    def _events(self, records: Sequence[EventRecord], width: int) -> Words:
        words: Words = [("\nevents\n", f"bold {DIM}")]
        if not records:
            return [*words, ("none since this desk looks\n", DIM)]
        for record in records:
            said = event_words.describe(record)
            line = text.clip(said.said or said.title, width - 6, self._signs.cut)
            tone = EVENT_TONES.get(said.tone, "")
            words += [(f"{text.clock(record.time_ms)} ", DIM), (f"{line}\n", tone)]
        return words


def _change(amount: int | None, places: int) -> str:
    return "-" if amount is None else event_words.figure(amount, places, sign=True)
