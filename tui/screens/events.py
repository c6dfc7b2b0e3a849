"""Events: what is wrong now, and under it what the engine stored, newest below, with a filter.

Open alerts stand on top while there are any; the keys for them are there with them. The log
follows live while the cursor is on the last line; moved away from it, it stays where one reads
and counts what came meanwhile. Filters are asked of the store, so that they also find what is
older than this desk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import AlertView, EngineLostError, EventQuery
from core.events import EventRecord
from tui import alert_words, alerts, event_words, text
from tui.screens.base import DeskScreen
from tui.session import EventTail
from tui.widgets.alert_list import MOST, AlertList
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
    """Open alerts over the log."""

    PATH = ("Events",)
    AUTO_FOCUS = ""  # the alerts, if one asks for attention; else the log
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/", id="filter"),
        Binding("escape", "clear", "Clear filter", show=False, id="filter.clear"),
        Binding("f", "follow", "Follow the newest event", show=False, id="events.follow"),
        Binding("tab", "other", "Alerts, or the log", show=False, id="events.other"),
        Binding("y", "copy_subject", "Copy what it is about", show=False, id="copy.id"),
        Binding("Y", "copy_json", "Copy the line as JSON", show=False, id="copy.json"),
    ]
    WRITES = (
        Binding("a", "acknowledge", "acknowledge", tooltip="Acknowledge the alert",
                id="alerts.acknowledge"),
        Binding("s", "silence", "silence", tooltip="Silence the alert, or end its silence",
                id="alerts.silence"),
    )  # fmt: skip

    def body(self) -> Iterable[Widget]:
        """Alerts, the log, the record beside it, the filter's line."""
        yield AlertList(self.desk.signs)
        with Horizontal(id="events-body"):
            yield ListTable(
                COLS,
                empty="nothing has happened yet",
                opens=True,
                signs=self.desk.signs,
                id="event-log",
            )
            with VerticalScroll(id="event-json", can_focus=False):
                yield Static(id="event-json-text")
        yield FilterLine("text in type, subject or payload")

    def follow(self) -> None:
        """Take every event as it is drained; alerts also grow old with the pulse."""
        self._needle = ""
        self._found: tuple[EventRecord, ...] = ()
        self._following = True
        self._missed = 0
        self._json_open = False
        self._by_seq: dict[str, EventRecord] = {}
        self.watch(self.session, "events", self._events_came)
        self.watch(self.session, "alerts", self._alerts_changed)
        self.watch(self.session, "pulse", self._age_alerts, init=False)
        first = self.alerts.table if self.session.alerts.loud else self.events
        self.call_after_refresh(first.focus)

    def on_screen_resume(self) -> None:
        """Come back to alerts as old as they are."""
        self._age_alerts()

    def on_resize(self) -> None:
        """Another height, other lines for the alerts."""
        super().on_resize()
        self.alerts.fit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of alerts are there while there are any."""
        if action in ("acknowledge", "silence", "other") and not self.session.alerts.listed:
            return False
        return super().check_action(action, parameters)

    @property
    def alerts(self) -> AlertList:
        """The open alerts."""
        return self.query_one(AlertList)

    @property
    def events(self) -> ListTable:
        """The log."""
        return self.query_one("#event-log", ListTable)

    # --- alerts ----------------------------------------------------------------------------

    def _alerts_changed(self) -> None:
        self.alerts.show(self.session.alerts, self.session.now_ms())
        self.refresh_bindings()
        self._say_where()

    def _age_alerts(self) -> None:
        if self.is_current and self.session.alerts.listed:
            self.alerts.show(self.session.alerts, self.session.now_ms())

    @on(AlertList.Emptied)
    def _all_well(self) -> None:
        self.events.focus()

    def action_other(self) -> None:
        """From the alerts to the log, or back."""
        (self.events if self.alerts.table.has_focus else self.alerts.table).focus()

    @on(AlertList.Selected)
    async def _open_alert(self) -> None:
        alert = self.alerts.alert
        if alert is not None:
            from tui.screens.alert_places import open_place

            await open_place(self, alert)

    @work(group="dialog", exclusive=True)
    async def action_acknowledge(self) -> None:
        """Somebody is on it: ask why, and let it be loud no more."""
        if (alert := self.alerts.alert) is not None:
            from tui.screens import alert_forms

            if await alert_forms.acknowledge(self, alert):
                self.alerts.go_on(alert)

    @work(group="dialog", exclusive=True)
    async def action_silence(self) -> None:
        """Nobody need look for a time: ask for how long and why."""
        if (alert := self.alerts.alert) is not None:
            from tui.screens import alert_forms

            if await alert_forms.silence(self, alert):
                self.alerts.go_on(alert)

    def _pointed(self) -> AlertView | None:
        """The alert under the cursor, if the keys go to the alerts."""
        return self.alerts.alert if self.alerts.table.has_focus else None

    # --- the log ---------------------------------------------------------------------------

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
        table, signs = self.events, self.desk.signs
        self._by_seq = {str(record.seq): record for record in self._found}
        empty = "no event has that text: Esc clears" if self._needle else "nothing has happened yet"
        table.show([item_of(record, signs) for record in self._found], empty=empty)
        if self._following and self._found:
            table.move_to(str(self._found[-1].seq))
        self._say_where()

    def _say_where(self) -> None:
        words = [*self._alert_words(), (f"{text.count(len(self._found))} events", "$desk-dim")]
        if self._needle:
            words.append((f"   filter: {text.safe(self._needle)}", ""))
        if self._following:
            words.append(("   following", "$success"))
        else:
            missed = f", {text.count(self._missed)} new" if self._missed else ""
            words.append((f"   held{missed}: f follows", "$warning"))
        self.note(*words)

    def _alert_words(self) -> alert_words.Words:
        found, signs = self.session.alerts, self.desk.signs
        listed = len(found.listed)
        if not listed:
            return [(f"{signs.ok} no open alert   ", "$success")]
        severity = alert_words.worst(found)
        glyph = text.severity_glyph(severity, signs)
        said = f"{glyph} {text.count(found.loud)} of {text.count(listed)} alerts loud"
        if not found.loud:
            said = f"{signs.ok} {text.count(listed)} alert{'s' if listed != 1 else ''}, none loud"
        if listed > MOST:
            said += f", {MOST} listed"
        return [(f"{said}   ", alert_words.STYLES[severity])]

    def _record(self) -> EventRecord | None:
        return self._by_seq.get(self.events.cursor)

    @on(ListTable.Highlighted)
    def _cursor_moved(self, event: ListTable.Highlighted) -> None:
        if event.table is not self.events:
            return
        last = str(self._found[-1].seq) if self._found else ""
        if event.key != self.events.cursor:
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
        self.events.focus()

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
        """Show or hide the event's JSON (always there on a wide screen)."""
        self._json_open = not self._json_open
        self.set_class(self._json_open, "-json")

    @on(ListTable.Selected, "#event-log")
    def _open_event(self) -> None:
        self.action_detail()

    def action_follow(self) -> None:
        """Go to the newest event and stay there."""
        self._following, self._missed = True, 0
        self._redraw()

    def action_copy_subject(self) -> None:
        """Copy the agent, chain or pair that the alert or event is about."""
        alert, record = self._pointed(), self._record()
        if alert is not None:
            self.copy(alert.about, "subject")
        elif record is not None and record.subject:
            self.copy(record.subject, "subject")

    def action_copy_json(self) -> None:
        """Copy the alert, or the whole record."""
        alert, record = self._pointed(), self._record()
        if alert is not None:
            found = alerts.as_json(alert, self.session.now_ms())
            self.copy(msgspec.json.encode(found).decode(), "alert")
        elif record is not None:
            self.copy(event_words.as_json(record), "event")
