"""The open alerts over the log: a short list with a cursor, and the one under it in full.

It takes a quarter of the screen at most, scrolls beyond that, and is not there at all while
nothing is open. It draws and points; what may be done about an alert is the screen's.
"""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from core.api import AlertView
from tui import alert_words, text
from tui.alerts import OpenAlerts
from tui.widgets.list_table import ListTable

MOST = 200
"""Alerts that are listed; the quiet and the mild ones are left out first."""
LEAST_ROWS = 2


class AlertList(Container):
    """The list, and under it the words."""

    DEFAULT_CSS = """
    AlertList {
        display: none;
        height: auto;
        layout: vertical;
        border-bottom: solid $desk-rule;
        &.-open { display: block; }
        & > ListTable { height: 3; }
        & > Static { height: 3; padding: 0 1; }
    }
    """

    class Selected(Message):
        """The alert under the cursor was opened."""

    class Emptied(Message):
        """The last alert closed while the list had the focus."""

    def __init__(self, signs: text.Glyphs) -> None:
        super().__init__()
        self._signs = signs
        self._alerts = OpenAlerts()
        self._now_ms = 0
        self._words: alert_words.Words = []

    def compose(self) -> ComposeResult:
        """The list and the words."""
        yield ListTable(alert_words.COLS, opens=True, signs=self._signs, id="alert-table")
        yield Static(id="alert-words")

    @property
    def table(self) -> ListTable:
        """The list, which takes the focus."""
        return self.query_one(ListTable)

    @property
    def alert(self) -> AlertView | None:
        """The alert under the cursor, as it stands now."""
        key = self.table.cursor
        return next((each for each in self._alerts.listed if str(each.id) == key), None)

    def show(self, alerts: OpenAlerts, now_ms: int) -> None:
        """Draw these; the cursor stays on its alert, and in view when that has another place."""
        is_moved = [a.id for a in alerts.listed] != [a.id for a in self._alerts.listed]
        self._alerts, self._now_ms = alerts, now_ms
        table = self.table
        table.show([alert_words.item(a, now_ms, self._signs) for a in alerts.listed[:MOST]])
        self.fit()
        if is_moved:
            table.move_to(table.cursor)
        self._say_words()
        is_open = bool(alerts.listed)
        if not is_open and table.has_focus:
            self.post_message(self.Emptied())
        self.set_class(is_open, "-open")

    def go_on(self, alert: AlertView) -> None:
        """To the alert after this one, which was just answered and goes to the quiet ones."""
        ids = [each.id for each in self._alerts.listed[:MOST]]
        place = ids.index(alert.id) + 1 if alert.id in ids else len(ids)
        if place < len(ids) and self.table.cursor == str(alert.id):
            self.table.move_to(str(ids[place]))

    def fit(self) -> None:
        """As many lines as there are alerts, a quarter of the screen at most."""
        room = max(LEAST_ROWS, (self.app.size.height - 8) // 4)
        rows = min(len(self._alerts.listed[:MOST]), room)
        if self.table.styles.height is None or self.table.styles.height.value != rows + 1:
            self.table.styles.height = rows + 1

    def _say_words(self) -> None:
        alert = self.alert
        words = alert_words.detail(alert, self._now_ms, self._signs) if alert else []
        if words != self._words:
            self._words = words
            self.query_one("#alert-words", Static).update(Content.assemble(*words))

    @on(ListTable.Highlighted)
    def _moved(self, event: ListTable.Highlighted) -> None:
        event.stop()
        self._say_words()

    @on(ListTable.Selected)
    def _opened(self, event: ListTable.Selected) -> None:
        event.stop()
        self.post_message(self.Selected())
