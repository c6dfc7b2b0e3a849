"""What every screen of the desk shares: status bar, path, keys, and what a lost engine does.

A screen gets the desk (session and options) when it is made and never asks the app for either.
Bindings that give commands stand apart in `WRITES`: a read-only desk does not bind them at all,
a desk without its engine shows them as off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingsMap
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from core.api import Command, Outcome
from core.model import BursarError
from tui import text
from tui.options import DeskOptions
from tui.session import Phase, Session
from tui.widgets.key_bar import KeyBar
from tui.widgets.status_bar import StatusBar, is_production

LEAST_WIDTH, LEAST_HEIGHT = 60, 16
WIDE = 120
"""Columns from which a detail pane stands beside a list."""
TALL = 36
"""Lines from which that pane has room for a chart."""


class Desk(msgspec.Struct, frozen=True):
    """What a screen is made with."""

    session: Session
    options: DeskOptions

    @property
    def signs(self) -> text.Glyphs:
        """The glyphs to draw with."""
        return text.glyphs(self.options.safe)


class DeskScreen(Screen[None]):
    """A screen under the status bar. Subclasses compose `body` and name their `PATH`."""

    PATH: ClassVar[tuple[str, ...]] = ()
    WRITES: ClassVar[tuple[Binding, ...]] = ()
    """Bindings that give commands to the engine."""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - Textual's type
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL, "-tall")]  # noqa: RUF012 - Textual's type

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.session = desk.session
        if self.WRITES and not desk.options.read_only:
            self._bindings = BindingsMap.merge([self._bindings, BindingsMap(self.WRITES)])
        self._writes = {binding.action.partition("(")[0] for binding in self.WRITES}
        self._noted: tuple[tuple[str, str], ...] = ()

    def compose(self) -> ComposeResult:
        """Status bar, the screen's own body, the line with the path, keys."""
        options = self.desk.options
        yield StatusBar(
            self.session,
            environment=options.environment,
            demo=options.demo,
            read_only=options.read_only,
            safe=options.safe,
        )
        yield from self.body()
        yield Static(id="path")
        yield KeyBar()
        yield Static(id="too-small")

    def body(self) -> Iterable[Widget]:
        """The widgets between status bar and path."""
        raise NotImplementedError

    def on_mount(self) -> None:
        """Follow the link: it decides about dimming, writing keys and the frame."""
        self.watch(self.session, "link", self._link_changed)
        self.watch(self.session, "paused", self.refresh_bindings, init=False)
        self.follow()

    def follow(self) -> None:
        """Start watching the session; called once, when mounted."""

    def _link_changed(self) -> None:
        link = self.session.link
        self.set_class(link.phase in (Phase.LOST, Phase.FAILED), "-lost")
        environment = self.desk.options.environment or link.environment
        self.set_class(is_production(environment), "-production")
        self.refresh_bindings()

    def on_resize(self) -> None:
        """Below the least size one line says so, and nothing else is drawn."""
        width, height = self.app.size
        small = width < LEAST_WIDTH or height < LEAST_HEIGHT
        self.set_class(small, "-small")
        if small:
            words = f"bursar needs {LEAST_WIDTH}x{LEAST_HEIGHT}; this is {width}x{height}"
            self.query_one("#too-small", Static).update(Content(words))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Writing keys are off (shown dim) while the engine is not there."""
        if action in self._writes and not self.session.writable:
            return None
        return True

    # --- words under the body --------------------------------------------------------------

    def note(self, *words: tuple[str, str]) -> None:
        """Show where one is and, behind it, what the screen says of itself."""
        crumbs = f" {'>' if self.desk.options.safe else '›'} ".join(self.crumbs())
        line = ((f"{crumbs}  ", "bold $accent"), *words)
        if line != self._noted:
            self._noted = line
            self.query_one("#path", Static).update(Content.assemble(*line), layout=False)

    @property
    def holds(self) -> str:
        """Why this screen cannot be left now; "" where it can."""
        return ""

    def crumbs(self) -> tuple[str, ...]:
        """The path to this screen, safe to print."""
        return self.PATH

    # --- what screens do -------------------------------------------------------------------

    def copy(self, words: str, what: str) -> None:
        """To the terminal's clipboard (OSC 52), and say how much went there."""
        self.app.copy_to_clipboard(words)
        shown = text.elide(text.safe(words), 44, self.desk.signs.cut)
        self.say(f"copied {what}, {len(words):,} chars: {shown}")

    def say(self, words: str, *, severity: str = "information") -> None:
        """A toast of plain words."""
        level: Callable[..., None] = self.app.notify
        level(words, severity=severity, markup=False, timeout=4 if severity == "information" else 8)

    async def give(self, command: Command) -> Outcome | None:
        """Give a command and say what came of it; None when it was refused."""
        return await self.answer(self.session.execute(command))

    async def answer(self, asked: Awaitable[Outcome], *, quiet: bool = False) -> Outcome | None:
        """Wait for an outcome and (unless `quiet`) say it; None, and why, when it was refused."""
        try:
            outcome = await asked
        except BursarError as error:
            self.say(text.safe(str(error)), severity="error")
            return None
        if not quiet:
            self.say(text.safe(outcome.message))
        return outcome
