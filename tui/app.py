"""The desk as an app: modes, global keys, themes, and how it begins and ends.

The first paint waits for nothing: the engine is made after it, inside the session's task. What
is on screen belongs to the screens; what the engine says, to the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from core.api import EngineApi, StoreHealth
from core.clock import SystemClock
from core.model import Clock, Severity
from tui import text, themes
from tui.alerts import OpenAlerts
from tui.collector import Collector
from tui.notices import Notice, Notices
from tui.options import DeskOptions
from tui.screens.base import Desk, DeskScreen
from tui.screens.fleet import FleetScreen
from tui.session import EventTail, Link, Phase, Session
from tui.widgets.status_bar import rate

if TYPE_CHECKING:
    from textual.command import Provider
    from textual.dom import DOMNode
    from textual.driver import Driver

SWITCH_S = 0.001
"""How long one thread keeps the interpreter while another waits for it. A key goes from the
terminal's thread to the loop and back, and at Python's own 5 ms waits as long at every turn."""

STYLES = Path(__file__).parent.parent / "styles"


def _commands() -> type[Provider]:
    from tui.commands import DeskCommands

    return DeskCommands


def _endpoints(desk: Desk) -> Screen[None]:
    from tui.screens.endpoints import EndpointsScreen

    return EndpointsScreen(desk)


def _settlement(desk: Desk) -> Screen[None]:
    from tui.screens.settlement import SettlementScreen

    return SettlementScreen(desk)


def _ledger(desk: Desk) -> Screen[None]:
    from tui.screens.ledger import LedgerScreen

    return LedgerScreen(desk)


def _backups(desk: Desk) -> Screen[None]:
    from tui.screens.backups import BackupsScreen

    return BackupsScreen(desk)


def _events(desk: Desk) -> Screen[None]:
    from tui.screens.events import EventsScreen

    return EventsScreen(desk)


class BursarApp(App[None]):
    """The desk over one engine, in this process or behind a socket.

    `connect` makes or reaches the engine; it is awaited after the first paint, and the engine
    it gives is closed when the desk ends.
    """

    TITLE = "bursar"
    CSS_PATH = STYLES / "app.tcss"
    DEFAULT_MODE: ClassVar[str] = "fleet"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_commands}
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "mode('fleet')", "Fleet", show=False, id="mode.fleet"),
        Binding("2", "mode('settlement')", "Settlement", show=False, id="mode.settlement"),
        Binding("3", "mode('ledger')", "Ledger", show=False, id="mode.ledger"),
        Binding("4", "mode('backups')", "Backups", show=False, id="mode.backups"),
        Binding("5", "mode('endpoints')", "Endpoints", show=False, id="mode.endpoints"),
        Binding("6", "mode('events')", "Events", show=False, id="mode.events"),
        Binding("space", "pause", "pause", id="display.pause"),
        Binding("plus", "rate(1)", "Faster display", show=False, id="display.faster"),
        Binding("minus", "rate(-1)", "Slower display", show=False, id="display.slower"),
        Binding("colon", "command_palette", "go", key_display=":", id="palette.go"),
        Binding("ctrl+p", "command_palette", "Palette", show=False, id="palette.open"),
        Binding("question_mark", "help", "help", key_display="?", id="help"),
        Binding("q", "quit", "quit", id="quit"),
    ]

    def __init__(
        self,
        connect: Callable[[], Awaitable[EngineApi]],
        options: DeskOptions | None = None,
        *,
        clock: Clock | None = None,
        driver_class: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class=driver_class)
        self.options = options or DeskOptions()
        self.session = Session(
            connect,
            clock or SystemClock(),
            period_s=self.options.period_s,
            read_only=self.options.read_only,
        )
        self.desk = Desk(self.session, self.options)
        self._notices = Notices()
        self._collector = Collector(self.session.clock)
        for theme in themes.THEMES:
            self.register_theme(theme)
        wanted = self.options.start_theme
        self.theme = wanted if wanted in themes.NAMES else themes.DEFAULT
        self.animation_level = "none"
        self.add_mode("fleet", partial(FleetScreen, self.desk))
        self.add_mode("settlement", partial(_settlement, self.desk))
        self.add_mode("ledger", partial(_ledger, self.desk))
        self.add_mode("backups", partial(_backups, self.desk))
        self.add_mode("endpoints", partial(_endpoints, self.desk))
        self.add_mode("events", partial(_events, self.desk))
        if self.options.keymap:
            self.set_keymap(dict(self.options.keymap))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own variables, for themes that do not set them."""
        return themes.VARIABLES

    # --- life ------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Begin the session once the first picture is out."""
        sys.setswitchinterval(SWITCH_S)
        self._collector.begin()
        self.watch(self.session, "pulse", self._collector.tick, init=False)
        self.watch(self.session, "events", self._events_came, init=False)
        self.watch(self.session, "alerts", self._alerts_changed, init=False)
        self.watch(self.session, "link", self._link_changed, init=False)
        self.watch(self.session, "store", self._store_changed, init=False)
        self.watch(self.session, "ledger", self._ledger_changed, init=False)
        self.watch(self.session, "trial", self._ledger_changed, init=False)
        for name in ("SIGTERM", "SIGHUP"):
            # Not on Windows, and not where the app does not run in the main thread.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
                asyncio.get_running_loop().add_signal_handler(getattr(signal, name), self.exit)
        self.call_after_refresh(self._live)

    @work(name="session", group="session", exclusive=True)
    async def _live(self) -> None:
        await self.session.run()

    async def on_unmount(self) -> None:
        """Let go of the engine."""
        self._collector.end()
        await self.session.close()

    async def on_event(self, event: events.Event) -> None:
        """Every event of the app; what comes from a person puts collections off."""
        if isinstance(event, events.InputEvent):
            self._collector.touched()
        await super().on_event(event)

    @work(group="quit", exclusive=True)
    async def action_quit(self) -> None:  # type: ignore[override]  # a worker may wait for a modal
        """Leave; first ask when other desks hang on the engine that ends with this one."""
        if self._held():
            return
        clients = self.session.link.clients
        live = self.session.link.phase is Phase.LIVE
        if clients and live and self.session.hosts_engine:
            from tui.screens.dialogs import Confirm

            who = "another desk is" if clients == 1 else f"{clients} other desks are"
            said = f"{who} attached to the engine in this one. Leaving stops the engine for all."
            if not await self.push_screen_wait(Confirm("Stop the engine?", said, "Stop it")):
                return
        self.exit()

    def action_help_quit(self) -> None:
        """Ctrl+C ends nothing by accident, and says what does."""
        self.notify("press q to leave", markup=False)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """No cursor blinks: a quiet desk sends nothing over the line."""
        if hasattr(event.widget, "cursor_blink"):
            event.widget.cursor_blink = False

    # --- what happened ---------------------------------------------------------------------

    def _tell(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self.notify(notice.words, title=notice.title, severity=notice.severity, markup=False)

    def _events_came(self, tail: EventTail) -> None:
        self._tell(self._notices.of_events(tail.news, self.session.now_ms()))

    def _alerts_changed(self, alerts: OpenAlerts) -> None:
        self._tell(self._notices.of_alerts(alerts.opened, self.session.now_ms()))
        critical = any(alert.severity is Severity.PROBLEM for alert in alerts.opened)
        if critical and self.options.bell:
            self.bell()

    def _link_changed(self, before: Link, link: Link) -> None:
        self._tell(self._notices.of_link(before, link, self.session.restarting))
        if before.phase is Phase.LOST and link.phase is Phase.LIVE:
            self.session.restarting = ""

    def _store_changed(self, store: StoreHealth | None) -> None:
        self._tell(self._notices.of_store(store))

    def _ledger_changed(self) -> None:
        self._tell(self._notices.of_ledger(self.session.ledger, self.session.trial))

    # --- keys ------------------------------------------------------------------------------

    async def action_mode(self, mode: str) -> None:
        """Go to a mode."""
        if not isinstance(self.screen, DeskScreen) or self._held():
            return  # a dialog is open: it is answered first
        await self.switch_mode(mode)

    def _held(self) -> bool:
        """Whether the screen that is open cannot be left now; says why."""
        desk_screens = [each for each in self.screen_stack if isinstance(each, DeskScreen)]
        why = next((each.holds for each in desk_screens if each.holds), "")
        if why:
            self.notify(why, severity="warning", markup=False)
        return bool(why)

    def action_pause(self) -> None:
        """Hold this display, or let it go on; the engine never stops for it."""
        self.session.paused = not self.session.paused
        if not self.session.paused:
            self.session.drain()

    def action_rate(self, steps: int) -> None:
        """Show pictures more or less often."""
        self.notify(f"a picture every {rate(self.session.change_rate(steps))}", markup=False)

    def action_help(self) -> None:
        """Every key of this screen."""
        if isinstance(self.screen, DeskScreen):
            from tui.screens.help import HelpScreen

            self.push_screen(HelpScreen.of(self.screen))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """None of Textual's own: `tui.commands` offers what is of use here."""
        return ()

    def get_key_display(self, binding: Binding) -> str:
        """Arrows and Enter as signs, unless the terminal wants ASCII."""
        if binding.key == "enter" and not self.options.safe:
            return "↵"
        shown = super().get_key_display(binding)
        return binding.key if self.options.safe and not shown.isascii() else shown

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: DOMNode) -> None:
        """Two of the operator's keys are one: say it once, by name."""
        ids = sorted(binding.id or binding.action for binding in clashed_bindings)
        self._notices.once(
            "keys " + " ".join(ids),
            lambda: self.notify(
                f"[keys] gives the key of {', '.join(ids)} twice",
                severity="warning",
                markup=False,
            ),
        )

    # --- the bad end -----------------------------------------------------------------------

    def _fatal_error(self) -> None:
        """A crash: the terminal is given back, the cause in a line, the rest in the log.

        Never the local variables: a seed or a password may be among them.
        """
        error: BaseException | None = sys.exc_info()[1]
        lines = traceback.format_exc()
        where = _write_crash(self.options.log_path, lines)
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        said = [f"bursar crashed: {type(error).__name__}: {error}"]
        said += [f"The whole story is in {where}"] if where else lines.splitlines()
        self._exit_renderables.append(Text("\n".join(text.safe(line) for line in said)))
        self._close_messages_no_wait()


def _write_crash(path: Path | None, lines: str) -> Path | None:
    """Append the traceback to the log; None where that cannot be done."""
    if path is None:
        return None
    try:
        with path.open("a", encoding="utf-8") as log:
            log.write(lines)
    except OSError:
        return None
    return path
