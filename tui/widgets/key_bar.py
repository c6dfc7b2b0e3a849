"""The line of keys at the bottom: the most useful bindings of this moment, never more than fit.

It is made of the screen's active bindings, so that a remapped key shows its new name and a key
that is not bound (a read-only desk) or not possible now (a lost engine) does not mislead.
"""

from __future__ import annotations

from textual.content import Content
from textual.screen import Screen
from textual.style import Style
from textual.widgets import Static

from tui import text

MOST = 8
"""Keys shown at most; `?` shows them all."""
KEY, WORD, OFF = "bold $accent", "$desk-dim", "$desk-rule"


class KeyBar(Static):
    """One line; a click on a key presses it."""

    DEFAULT_CSS = """
    KeyBar { height: 1; padding: 0 1; background: $desk-bar; text-wrap: nowrap; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.auto_links = False  # a key is not drawn as a link
        self._shown: list[tuple[str, str, bool, str]] = []

    def on_mount(self) -> None:
        """Follow the screen's bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)
        self.call_after_refresh(self._redraw)

    def on_resize(self) -> None:
        """Another width, other keys."""
        self._shown = []
        self._redraw()

    def _bindings_changed(self, screen: Screen[object]) -> None:
        if screen is self.screen:
            self._redraw()

    def _redraw(self) -> None:
        if not self.screen.is_active:
            return
        keys: list[tuple[str, str, bool, str]] = []
        room, actions = self.size.width, set()  # of the content: the padding is not in it
        near = {self.screen: 0, self.app: 2}  # the screen's own, the focused list's, the app's
        bound = self.screen.active_bindings.values()
        for active in sorted(bound, key=lambda each: near.get(each.node, 1)):
            binding = active.binding
            if not binding.show or binding.action in actions:
                continue
            actions.add(binding.action)
            key = self.app.get_key_display(binding)
            said = binding.description.lower()
            need = text.cells(key) + text.cells(said) + (3 if keys else 1)
            if need > room or len(keys) == MOST:
                break
            room -= need
            keys.append((key, said, active.enabled, binding.key))
        if keys != self._shown:
            self._shown = keys
            self.update(_line(keys))


def _line(keys: list[tuple[str, str, bool, str]]) -> Content:
    pieces: list[Content] = []
    for key, description, enabled, pressed in keys:
        click = Style.from_meta({"@click": f"app.simulate_key({pressed!r})"})
        shown = Content.assemble(
            ("  " if pieces else "", ""),
            (key, KEY if enabled else OFF),
            (f" {description}", WORD if enabled else OFF),
        )
        pieces.append(shown.stylize(click))
    return Content("").join(pieces)
