"""The line that opens on `/`: what is typed filters at once, what is wrong is said beside it.

Enter keeps the filter, Escape brings back the one before. The input is made when it is first
asked for, so that the first paint does not pay for it.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

SETTLE_S = 0.06
"""Typing rests this long before the filter is applied."""


class FilterLine(Horizontal):
    """A hidden line; `open` shows it."""

    DEFAULT_CSS = """
    FilterLine {
        height: 1; display: none; background: $desk-bar; padding: 0 1;
        &.-open { display: block; }
        & > .filter-slash { width: 2; color: $accent; text-style: bold; }
        & > Input { width: 1fr; height: 1; border: none; background: $desk-bar; padding: 0; }
        & > .filter-wrong { width: auto; max-width: 60%; color: $error; text-wrap: nowrap; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Leave the filter as it was", show=False, id="filter.back"),
    ]

    class Changed(Message):
        """The text rests; `value` is what to filter by."""

        def __init__(self, value: str) -> None:
            super().__init__()
            self.value = value

    class Closed(Message):
        """The line is hidden again."""

    def __init__(self, placeholder: str) -> None:
        super().__init__()
        self._placeholder = placeholder
        self._before = ""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """The input follows on the first `open`."""
        yield Static("/", classes="filter-slash")
        yield Static(classes="filter-wrong")

    def open(self, value: str) -> None:
        """Show the line with `value` in it."""
        from textual.widgets import Input

        self._before = value
        self.add_class("-open")
        if not self.query(Input):
            field = Input(value, self._placeholder, compact=True, select_on_focus=False)
            self.mount(field, after=0)
        else:
            field = self.query_one(Input)
            with field.prevent(Input.Changed):
                field.value = value
        field.focus()

    def wrong(self, words: str) -> None:
        """Say beside the text what is wrong with it; "" when nothing is."""
        self.query_one(".filter-wrong", Static).update(Content(words))

    def on_input_changed(self, event: Message) -> None:
        """Wait for the typing to rest."""
        event.stop()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(SETTLE_S, self._settled)

    def _settled(self) -> None:
        from textual.widgets import Input

        self.post_message(self.Changed(self.query_one(Input).value))

    def on_input_submitted(self, event: Message) -> None:
        """Keep it."""
        event.stop()
        if self._timer is not None:
            self._timer.stop()
        self._settled()
        self._close()

    def action_back(self) -> None:
        """The filter as it was before."""
        if self._timer is not None:
            self._timer.stop()
        self.post_message(self.Changed(self._before))
        self._close()

    def _close(self) -> None:
        self.wrong("")
        self.remove_class("-open")
        self.post_message(self.Closed())
