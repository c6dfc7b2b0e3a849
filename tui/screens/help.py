"""Help: every key of the screen it was opened from, made from the bindings themselves.

So a remapped key shows as it is, and a key that a read-only desk does not have is not listed.
"""

from __future__ import annotations

from typing import ClassVar, Self

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui import text
from tui.screens.base import DeskScreen

Section = tuple[str, list[tuple[str, str]]]

FILTER_HELP = (
    ("chain:base asset:usdc", "words of a field; by comma: any of them, * for anything"),
    ("bal<10  change<0", "amounts in the asset's own unit"),
    ("runway<1h  age>2m", "spans of time"),
    ("-tag:test  !", "a minus turns a term round; ! is every problem"),
    ("any other text", "anywhere in agent, address, group, tags"),
)
LEDGER_HELP = (
    ("peer:acme* token:usd", "words of a field; by comma: any of them, * for anything"),
    ("net<0  payable>=1000", "base units; also receivable, flight, transit, headroom"),
    ("use>80", "percent of the limit that is used, packets in flight included"),
    ("-token:eur", "a minus turns a term round"),
    ("any other text", "anywhere in peer or token"),
)
SETTLEMENT_HELP = (
    ("peer:acme* token:usd", "words of a field; by comma: any of them, * for anything"),
    ("state:pending", "idle, pending, progress or stuck; also side:payable"),
    ("stuck  unmonitored", "under way for too long; without a threshold"),
    ("-token:eur", "a minus turns a term round"),
    ("any other text", "anywhere in peer or token"),
)
BACKUPS_HELP = (
    ("type:full at:s3", "words of a field; by comma: any of them, * for anything"),
    ("failed", "a copy could not be made, or its chain has a gap"),
    ("unverified  undrilled", "never proven to open; never proven to restore"),
    ("-type:full", "a minus turns a term round"),
    ("any other text", "anywhere in id, name or type"),
)
SIGNS_HELP = (
    ("~ behind a figure", "its last reading failed: the figure is the last one known"),
    ("~ before a total", "unknown balances are left out of it"),
    ("CHECKED live", "read within two intervals; else its age"),
    ("RUNWAY 3h50m?", "the rate is hardly known yet"),
)


class HelpScreen(ModalScreen[None]):
    """Keys by where they belong."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "dismiss", "Close", id="help.close"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="help.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="help.up"),
    ]

    def __init__(self, title: str, sections: list[Section]) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._sections = sections

    @classmethod
    def of(cls, screen: DeskScreen) -> Self:
        """Help for a screen as it stands."""
        sections: list[Section] = [
            ("Keys", _keys_of(screen, of_app=False)),
            ("Everywhere", _keys_of(screen, of_app=True)),
        ]
        if screen.PATH == ("Fleet",):
            sections += [("Filter", list(FILTER_HELP)), ("Signs", list(SIGNS_HELP))]
        if screen.PATH == ("Ledger",):
            sections.append(("Filter", list(LEDGER_HELP)))
        if screen.PATH == ("Settlement",):
            sections.append(("Filter", list(SETTLEMENT_HELP)))
        if screen.PATH == ("Backups",):
            sections.append(("Filter", list(BACKUPS_HELP)))
        if screen.desk.options.read_only:
            words = [("--read-only", "this desk has no key that gives the engine a command")]
            sections.append(("Read-only", words))
        return cls(" > ".join(screen.crumbs()), sections)

    def compose(self) -> ComposeResult:
        """One scrolling page."""
        with VerticalScroll(classes="dialog-box", id="help-box") as box:
            box.border_title = Content(f"{self._title}: keys")
            box.border_subtitle = Content("esc closes")
            words: list[tuple[str, str]] = []
            for heading, lines in self._sections:
                if words:
                    words.append(("\n", ""))
                words.append((f"{heading}\n", "bold"))
                room = max((text.cells(keys) for keys, _ in lines), default=0) + 2
                for keys, meaning in lines:
                    words.append((f"  {text.fit(keys, room)}", "$accent"))
                    words.append((f"{meaning}\n", ""))
            yield Static(Content.assemble(*words), id="help-text")

    def action_scroll(self, lines: int) -> None:
        """Read on, or back."""
        self.query_one("#help-box").scroll_relative(y=lines * 2, animate=False)


def _keys_of(screen: DeskScreen, *, of_app: bool) -> list[tuple[str, str]]:
    found: dict[str, tuple[list[str], str]] = {}
    own_first = sorted(screen.active_bindings.values(), key=lambda each: each.node is not screen)
    for active in own_first:
        binding = active.binding
        if binding.id is None or (active.node is screen.app) is not of_app:
            continue  # without an id it is Textual's own
        meaning = binding.tooltip or binding.description
        keys, _ = found.setdefault(binding.action, ([], meaning))
        shown = screen.app.get_key_display(binding)
        if shown not in keys:
            keys.append(shown)
    return [(" ".join(keys), words[:1].upper() + words[1:]) for keys, words in found.values()]
