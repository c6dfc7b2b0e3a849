"""One lane of the settlement board: cards of four lines under a heading, oldest first.

Cards are made only while they are in view, so a lane of ten thousand costs what a screen of them
does, and an update repaints the cards whose words changed and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import settlement_words, text
from tui.settlement_words import share, share_bar, standing
from tui.settlements import Lane, Row, SettlementKey
from tui.widgets.list_table import Tone

CARD = 5
"""Lines of a card with the blank one under it."""
BAR = 10
INDENT = "   "

Span = tuple[str, str]
"""Words and the component class that they are drawn in."""
Card = tuple[tuple[Span, ...], ...]


def card_of(row: Row, width: int, now_ms: int, signs: text.Glyphs) -> Card:
    """Four lines of at most `width` cells: who and since when, the share, what comes, what was."""
    view, room = row.view, max(10, width - len(INDENT))
    tone = settlement_words.tone(row).value
    said = standing(row, now_ms)
    who = text.fit(settlement_words.name(view), max(4, room - len(said) - 1), cut=signs.cut)
    loud = "stuck" if view.stuck else tone
    bar = "" if view.threshold is None else share_bar(view, BAR, signs) + " "
    percent = f"{share(view):>5} " if view.threshold is not None else ""
    due = settlement_words.of_threshold(view, room - len(bar) - len(percent) - 1, signs.cut)
    dot = f" {signs.dot} "
    figures = [f"headroom {settlement_words.headroom(row, 18, signs.cut)}"]
    if view.threshold is not None:
        figures.append(settlement_words.rate(view))
    while len(figures) > 1 and text.cells(dot.join(figures)) > room:
        figures.pop(1)
    last = [settlement_words.under_way(row) or settlement_words.last_settled(view, now_ms)]
    last_tone = "dim"
    if view.trouble and row.lane is not Lane.IN_PROGRESS:
        last, last_tone = [text.safe(view.trouble)], "warning"
    elif view.threshold is None:
        last = [text.safe(view.unmonitored)]
    elif text.cells(last[0]) + 24 < room and settlement_words.under_way(row):
        last.append(settlement_words.last_settled(view, now_ms))
    return (
        (
            (f" {settlement_words.glyph(row, signs)} ", tone),
            (who, "strong"),
            (" ", "plain"),
            (text.clip(said, room - 5, signs.cut), loud),
        ),
        ((INDENT, "plain"), (bar, tone), (percent, "strong"), (due, "plain")),
        ((INDENT, "plain"), (text.clip(dot.join(figures), room, signs.cut), "dim")),
        ((INDENT, "plain"), (text.clip(dot.join(last), room, signs.cut), last_tone)),
    )


class SettlementLane(ScrollView, can_focus=True):
    """The cards of one state, with a cursor that stays on its settlement."""

    DEFAULT_CSS = """
    SettlementLane {
        width: 1fr; height: 1fr;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        & > .lane--title { color: $desk-dim; text-style: bold; }
        & > .lane--note, & > .lane--dim { color: $desk-dim; }
        & > .lane--plain { color: $foreground; }
        & > .lane--strong { color: $foreground; text-style: bold; }
        & > .lane--ok { color: $success; }
        & > .lane--warning { color: $warning; }
        & > .lane--problem { color: $error; text-style: bold; }
        & > .lane--stuck { color: $error; text-style: bold reverse; }
        &:focus > .lane--title { color: $accent; text-style: bold underline; }
        &:focus > .lane--cursor { background: $desk-cursor; }
        &:ansi:focus > .lane--cursor { background: ansi_default; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "lane--title",
        "lane--note",
        "lane--cursor",
        "lane--stuck",
        *(f"lane--{tone.value}" for tone in Tone),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Down", show=False, id="list.down"),
        Binding("k,up", "move(-1)", "Up", show=False, id="list.up"),
        Binding("g,home", "edge(False)", "First", show=False, id="list.first"),
        Binding("G,end", "edge(True)", "Last", show=False, id="list.last"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="list.page_down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="list.page_up"),
        Binding("enter", "select", "open", id="list.open"),
    ]

    class Highlighted(Message):
        """The cursor came to another card, or the lane got the focus."""

    class Selected(Message):
        """The card under the cursor was opened."""

    def __init__(self, lane: Lane, signs: text.Glyphs, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lane = lane
        self._signs = signs
        self._rows: tuple[Row, ...] = ()
        self._places: dict[SettlementKey, int] = {}
        self._cards: dict[SettlementKey, Card] = {}
        self._cursor: SettlementKey | None = None
        self._title = self._note = self._empty = ""
        self._now_ms = 0
        self._styles: dict[str, Style] = {}

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return None if self._cursor is None else self._rows[self._places[self._cursor]]

    def show(self, rows: Sequence[Row], now_ms: int, *, title: str, note: str, empty: str) -> None:
        """Replace the cards; the cursor keeps its settlement, or its place when that is gone."""
        place = self._places.get(self._cursor, 0) if self._cursor else 0
        before = [row.key for row in self._rows]
        self._rows, self._now_ms = tuple(rows), now_ms
        self._places = {row.key: i for i, row in enumerate(self._rows)}
        if self._cursor not in self._places:
            nearest = self._rows[min(place, len(self._rows) - 1)] if self._rows else None
            self._cursor = nearest.key if nearest else None
        if (title, note, empty) != (self._title, self._note, self._empty):
            self._title, self._note, self._empty = title, note, empty
            self.refresh()
        if before != [row.key for row in self._rows]:
            self.virtual_size = Size(0, len(self._rows) * CARD + 1)
            self._cards.clear()
            self.refresh()
            return
        self.tick(now_ms)

    def tick(self, now_ms: int) -> None:
        """Let the ages of the cards in view move."""
        self._now_ms = now_ms
        top = self.scroll_offset.y // CARD
        for place in range(top, min(len(self._rows), top + self.size.height // CARD + 2)):
            row = self._rows[place]
            if self._cards.get(row.key) != self._make(row):
                self._cards.pop(row.key, None)
                self._refresh_card(place)

    def move_to(self, key: SettlementKey) -> bool:
        """Put the cursor on a settlement; False where it is not in this lane."""
        if key not in self._places:
            return False
        self._put(self._places[key])
        return True

    # --- the cursor ------------------------------------------------------------------------

    def _put(self, place: int) -> None:
        if not self._rows:
            return
        place = max(0, min(len(self._rows) - 1, place))
        old, self._cursor = self._cursor, self._rows[place].key
        for key in (old, self._cursor):
            if key is not None and key in self._places:
                self._refresh_card(self._places[key])
        room = max(CARD, self.size.height - 1)
        if place * CARD < self.scroll_offset.y:
            self.scroll_to(y=place * CARD, animate=False)
        elif (place + 1) * CARD > self.scroll_offset.y + room:
            self.scroll_to(y=(place + 1) * CARD - room, animate=False)
        if old != self._cursor:
            self.post_message(self.Highlighted())

    def _here(self) -> int:
        return self._places.get(self._cursor, 0) if self._cursor else 0

    def action_move(self, by: int) -> None:
        """One card down (1) or up (-1)."""
        self._put(self._here() + by)

    def action_page(self, by: int) -> None:
        """A screen of cards down (1) or up (-1)."""
        self._put(self._here() + by * max(1, self.size.height // CARD))

    def action_edge(self, last: bool) -> None:
        """The first or the last card."""
        self._put(len(self._rows) if last else 0)

    def action_select(self) -> None:
        """Open the card under the cursor."""
        if self._cursor is not None:
            self.post_message(self.Selected())

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor there."""
        place = (event.y - 1 + self.scroll_offset.y) // CARD
        if event.y > 0 and place < len(self._rows):
            self._put(place)

    def on_focus(self) -> None:
        """The keys go to this lane now."""
        self._styles.clear()
        self.refresh()
        self.post_message(self.Highlighted())

    def on_blur(self) -> None:
        """And now elsewhere."""
        self._styles.clear()
        self.refresh()

    # --- drawing ---------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        """Colours changed: forget the resolved ones."""
        super().notify_style_update()
        self._styles.clear()

    def on_resize(self) -> None:
        """Another width, other words."""
        self._cards.clear()
        self.virtual_size = Size(0, len(self._rows) * CARD + 1)
        self.refresh()

    def _make(self, row: Row) -> Card:
        return card_of(row, self.size.width - 1, self._now_ms, self._signs)

    def _refresh_card(self, place: int) -> None:
        y = place * CARD - self.scroll_offset.y + 1
        top, bottom = max(1, y), min(self.size.height, y + CARD)
        if top < bottom:
            self.refresh(Region(0, top, self.size.width, bottom - top))

    def _style(self, name: str) -> Style:
        style = self._styles.get(name)
        if style is None:
            style = self.get_component_rich_style(f"lane--{name}", partial=True)
            self._styles[name] = style
        return style

    def render_line(self, y: int) -> Strip:
        """The heading, a line of a card, or blank."""
        width, base = self.size.width, self.rich_style
        if y == 0:
            title = text.clip(f" {self._title}", width, self._signs.cut)
            room = max(0, width - text.cells(title) - 1)
            note = text.fit(f"  {self._note}", room, cut=self._signs.cut)
            return Strip(
                [Segment(title, base + self._style("title")),
                 Segment(note, base + self._style("note"))]
            ).adjust_cell_length(width, base)  # fmt: skip
        if not self._rows:
            said = text.clip(f"   {self._empty}", width, self._signs.cut) if y == 2 else ""
            return Strip([Segment(said, base + self._style("dim"))]).adjust_cell_length(width, base)
        place, line = divmod(y - 1 + self.scroll_offset.y, CARD)
        if place >= len(self._rows) or line == CARD - 1:
            return Strip.blank(width, base)
        row = self._rows[place]
        card = self._cards.get(row.key)
        if card is None:
            card = self._cards[row.key] = self._make(row)
        spans: Sequence[Span] = card[line]
        if row.key == self._cursor:
            base += self._style("cursor")
            if self.has_focus and line == 0:
                mark, tone = spans[0]
                spans = ((self._signs.cursor + mark[1:], tone), *spans[1:])
        strip = Strip([Segment(words, base + self._style(tone)) for words, tone in spans])
        return strip.adjust_cell_length(width, base).simplify()
