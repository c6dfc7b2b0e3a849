"""A line for a password, a recovery key or seed words: what is typed is seen nowhere.

Keys and pastes are taken before they become messages that handlers, logs or a console could see;
nothing gives the text back but `take`, once, as a `Secret`. There is no cursor to move and
nothing to select, so there is nothing to copy or cut. The dots stop at eight: they tell that keys
arrive, not how long a secret is.
"""

from __future__ import annotations

from collections import deque

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from core.model import Secret
from tui import text

MOST_DOTS = 8
MOST_CHARS = 4_096


class SecretInput(Widget, can_focus=True):
    """One masked line. Its messages only say which input they are of."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    SecretInput { height: 1; width: 1fr; background: $panel; padding: 0 1;
        &:focus { background: $desk-cursor; }
        &:disabled { text-opacity: 45%; }
    }
    """

    class Arrived(Message, bubble=False):
        """Signs came in; they wait in the input, so that keys keep their order."""

    class Changed(Message):
        """Something was typed, or taken away; what, nobody is told."""

        def __init__(self, field: SecretInput) -> None:
            super().__init__()
            self.field = field

        @property
        def control(self) -> SecretInput:
            """The input it happened in."""
            return self.field

    class Submitted(Changed):
        """Enter: it is time to `take` what was typed until then."""

    def __init__(
        self, placeholder: str = "", *, signs: text.Glyphs = text.UNICODE, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._placeholder = placeholder
        self._dot = "*" if signs is text.ASCII else "•"
        self._incoming: deque[str] = deque()
        self._held: list[str] = []
        self._submitted: list[str] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was typed."""
        return not self._held

    def take(self) -> Secret:
        """What was typed. It is handed out once: the line is empty afterwards."""
        secret = Secret("".join(self._submitted or self._held))
        self.clear()
        return secret

    def clear(self) -> None:
        """Forget what was typed."""
        self._incoming.clear()
        self._submitted.clear()
        self._held.clear()
        self._changed()

    # --- what comes in ---------------------------------------------------------------------

    def post_message(self, message: Message) -> bool:
        """Signs and pastes wait here and are never dispatched; every other message is."""
        signs = None
        if isinstance(message, events.Paste):
            signs = message.text
        elif isinstance(message, events.Key) and message.is_printable:
            signs = message.character
        if signs is None:
            return super().post_message(message)
        self._incoming.append(signs)
        return super().post_message(self.Arrived())

    def on_secret_input_arrived(self) -> None:
        """Take in what came, in its turn."""
        if self._incoming:
            self._add(self._incoming.popleft())

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Signs go here and not to the keys of the desk."""
        return character is not None and character.isprintable()

    def _add(self, signs: str) -> None:
        """The first line of it, without what nobody can type."""
        line = next(iter(signs.splitlines()), "")
        kept = [sign for sign in line if sign.isprintable()]
        if len(self._held) + len(kept) > MOST_CHARS:
            self.app.bell()  # half a secret would be a wrong one
        elif kept:
            self._held += kept
            self._changed()

    def _changed(self) -> None:
        self.refresh()
        self.post_message(self.Changed(self))

    # --- keys ------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        """Handled here and not by bindings, which come after what was typed behind them."""
        match event.key:
            case "enter":
                self._submitted, self._held = self._held, []
                self.post_message(self.Submitted(self))
            case "backspace":
                self._held = self._held[:-1]
                self._changed()
            case "ctrl+u" | "ctrl+w":
                self.clear()
            case "ctrl+v":  # what this desk's own clipboard holds; the terminal pastes by itself
                self._add(self.app.clipboard)
            case _:
                return
        event.stop()
        event.prevent_default()

    def render(self) -> Content:
        """Dots, at most eight, and where typing goes on."""
        dots = self._dot * min(len(self._held), MOST_DOTS)
        cursor = (" ", "reverse") if self.has_focus else (" ", "")
        if not dots:
            return Content.assemble(cursor, (self._placeholder, "$desk-dim"))
        return Content.assemble(dots, cursor)
