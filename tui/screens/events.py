"""Events: what the engine stored, newest below, with a filter and the whole record beside it.

The list follows live while the cursor is on the last line; moved away from it, it stays where
one reads and counts what came meanwhile. Filters are asked of the store, so that they also find
what is older than this desk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import EngineLostError, EventQuery
from core.events import EventRecord
from tui import event_words, text
from tui.screens.base import DeskScreen
from tui.session import EventTail
from tui.widgets.filter_line import FilterLine
from tui.widgets.list_table import Cell, Col, Item, ListTable, Tone

COLS = (
    Col("", 1),
    Col("TIME", 8),
    Col("EVENT", 10, drop=1),
    Col("ABOUT", 16),
    Col("WHAT", 20, grow=True),
)
FOUND = 500
"""Events a filter brings at most, newest first to be kept."""


def item_of(record: EventRecord, signs: text.Glyphs, *, with_subject: bool = True) -> Item:
    """A record as a line of the list."""
    words = event_words.describe(record)
    cells = [
        Cell(event_words.glyph(words.tone, signs), words.tone),
        Cell(text.moment(record.time_ms)[11:], Tone.DIM),
        Cell(words.title),
    ]
    if with_subject:
        cells.append(Cell(words.subject, Tone.STRONG))
    return Item(str(record.seq), (*cells, Cell(words.said, words.tone)))


def matches(record: EventRecord, needle: str) -> bool:
    """Whether a record has the text in type, subject or payload, as the store would say."""
    hay = f"{record.type} {event_words.title_of(record.type)} {record.subject} {record.payload}"
    return needle.lower() in hay.lower()


class EventsScreen(DeskScreen):
    """The log."""

    PATH = ("Events",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/", id="filter"),
        Binding("escape", "clear", "Clear filter", show=False, id="filter.clear"),
        Binding("f", "follow", "follow", id="events.follow"),
        Binding("y", "copy_subject", "Copy what it is about", show=False, id="copy.id"),
        Binding("Y", "copy_json", "copy json", id="copy.json"),
    ]

    def body(self) -> Iterable[Widget]:
        """The list, the record beside it, the filter's line."""
        with Horizontal(id="events-body"):
            yield ListTable(
                COLS, empty="nothing has happened yet", opens=True, signs=self.desk.signs
            )
            with VerticalScroll(id="event-json", can_focus=False):
                yield Static(id="event-json-text")
        yield FilterLine("text in type, subject or payload")

    def follow(self) -> None:
        """Take every event as it is drained."""
        self._needle = ""
        self._found: tuple[EventRecord, ...] = ()
        self._following = True
        self._missed = 0
        self._json_open = False
        self._by_seq: dict[str, EventRecord] = {}
        self.watch(self.session, "events", self._events_came)

    def _events_came(self, tail: EventTail) -> None:
        if not self._needle:
            self._found = tail.records
        else:
            fresh = tuple(r for r in tail.news if matches(r, self._needle))
            self._found = (*self._found, *fresh)[-2 * FOUND :]
        if not self._following:
            self._missed += tail.fresh
        self._redraw()

    def _redraw(self) -> None:
        table = self.query_one(ListTable)
        signs = self.desk.signs
        self._by_seq = {str(record.seq): record for record in self._found}
        empty = "no event has that text: Esc clears" if self._needle else "nothing has happened yet"
        table.show([item_of(record, signs) for record in self._found], empty=empty)
        if self._following and self._found:
            table.move_to(str(self._found[-1].seq))
        self._say_where()

    def _say_where(self) -> None:
        words = [(f"{text.count(len(self._found))} events", "$desk-dim")]
        if self._needle:
            words.append((f"   filter: {text.safe(self._needle)}", ""))
        if self._following:
            words.append(("   following", "$success"))
        else:
            missed = f", {text.count(self._missed)} new" if self._missed else ""
            words.append((f"   held{missed}", "$warning"))
        self.note(*words)

    def _record(self) -> EventRecord | None:
        return self._by_seq.get(self.query_one(ListTable).cursor)

    @on(ListTable.Highlighted)
    def _cursor_moved(self, event: ListTable.Highlighted) -> None:
        last = str(self._found[-1].seq) if self._found else ""
        if event.key != self.query_one(ListTable).cursor:
            return  # an older message: the cursor has gone on
        self._following = event.key == last
        self._missed = 0 if self._following else self._missed
        record = self._record()
        said = event_words.as_json(record) if record else ""
        self.query_one("#event-json-text", Static).update(Content(said))
        self._say_where()

    # --- the filter ------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Open the filter's line."""
        self.query_one(FilterLine).open(self._needle)

    def action_clear(self) -> None:
        """Close the JSON pane, or take the filter away."""
        if self._json_open and not self.has_class("-wide"):
            self.action_detail()
        elif self._needle:
            self._search("")

    @on(FilterLine.Changed)
    def _filter_changed(self, event: FilterLine.Changed) -> None:
        self._search(event.value.strip())

    @on(FilterLine.Closed)
    def _filter_closed(self) -> None:
        self.query_one(ListTable).focus()

    def _search(self, needle: str) -> None:
        self._needle, self._following = needle, True
        if needle:
            self._ask(needle)
        else:
            self._found = self.session.events.records
            self._redraw()

    @work(exclusive=True, group="search", exit_on_error=False)
    async def _ask(self, needle: str) -> None:
        try:
            query = EventQuery(text=needle, newest=True, limit=FOUND)
            found = tuple(await self.session.api.events(query))
        except EngineLostError:  # what is here can still be searched
            found = tuple(r for r in self.session.events.records if matches(r, needle))
        if needle == self._needle:
            self._found = found
            self._redraw()

    # --- keys ------------------------------------------------------------------------------

    def action_detail(self) -> None:
        """Show or hide the record's JSON (always there on a wide screen)."""
        self._json_open = not self._json_open
        self.set_class(self._json_open, "-json")

    def on_list_table_selected(self) -> None:
        """Enter on a line."""
        self.action_detail()

    def action_follow(self) -> None:
        """Go to the newest event and stay there."""
        self._following, self._missed = True, 0
        self._redraw()

    def action_copy_subject(self) -> None:
        """Copy the agent, chain or pair the event is about."""
        record = self._record()
        if record is not None and record.subject:
            self.copy(record.subject, "subject")

    def action_copy_json(self) -> None:
        """Copy the whole record."""
        record = self._record()
        if record is not None:
            self.copy(event_words.as_json(record), "event")
