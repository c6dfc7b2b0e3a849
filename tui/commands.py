"""What the palette (`:` or ctrl+p) offers: where to go, what this screen can do, agents, themes.

Everything is made from the bindings and the fleet as they stand, so that nothing is offered
that a key could not do: a read-only desk has no commands here either. Names are plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.types import IgnoreReturnCallbackType

from tui import text, themes
from tui.screens.base import DeskScreen

MOST_AGENTS = 20
AGENT_SCORE = 100.0
"""An agent whose name holds what was typed comes before any fuzzy match."""
_LEFT_OUT = frozenset(
    {"command_palette", "move", "edge", "page", "cursor", "top", "bottom", "select"}
)
"""Actions that make no sense by name: moving, and the palette itself."""


class Offer(NamedTuple):
    """One line of the palette."""

    name: str
    help: str
    run: IgnoreReturnCallbackType


class DeskCommands(Provider):
    """The desk's own commands, on any of its screens."""

    async def discover(self) -> Hits:
        """Before anything is typed: all but agents and themes."""
        for offer in self._offers():
            yield DiscoveryHit(Content(offer.name), offer.run, text=offer.name, help=offer.help)

    async def search(self, query: str) -> Hits:
        """By name; agents by any part of theirs."""
        matcher = self.matcher(query)
        for offer in (*self._offers(), *self._themes()):
            score = matcher.match(offer.name)
            if score > 0:
                yield Hit(score, Content(offer.name), offer.run, text=offer.name, help=offer.help)
        for offer in self._agents(query):
            yield Hit(AGENT_SCORE, Content(offer.name), offer.run, text=offer.name, help=offer.help)

    def _offers(self) -> Iterator[Offer]:
        screen = self.screen
        if not isinstance(screen, DeskScreen):
            return
        seen: set[str] = set()
        rank = {screen: 0, screen.app: 1}
        bound = screen.active_bindings.values()
        for active in sorted(bound, key=lambda each: rank.get(each.node, 2)):
            binding = active.binding
            name = binding.action.partition("(")[0].rpartition(".")[2]
            if not active.enabled or binding.id is None:  # without an id it is Textual's own
                continue
            if name in _LEFT_OUT or binding.action in seen:
                continue
            seen.add(binding.action)
            key = screen.app.get_key_display(binding)
            where = "go to " if name == "mode" else ""
            said = binding.tooltip or binding.description
            yield Offer(
                f"{where}{said[:1].lower()}{said[1:]}" if not where else f"{where}{said}",
                f"key {key}",
                partial(screen.app.run_action, binding.action, active.node),
            )

    def _themes(self) -> Iterator[Offer]:
        for name in themes.NAMES:
            yield Offer(f"theme {name}", "colours of this desk", partial(self._set_theme, name))

    def _set_theme(self, name: str) -> None:
        self.app.theme = name

    def _agents(self, query: str) -> Iterator[Offer]:
        screen = self.screen
        wanted = query.strip().lower().removeprefix("wallet ").strip()
        if not isinstance(screen, DeskScreen) or not wanted:
            return
        found = 0
        for agent in screen.session.model.agents:
            if wanted in agent.lower():
                yield Offer(f"wallet {text.safe(agent)}", "open", self._opener(screen, agent))
                found += 1
                if found == MOST_AGENTS:
                    return

    def _opener(self, screen: DeskScreen, agent: str) -> Callable[[], None]:
        def open_wallet() -> None:
            from tui.screens.wallet import WalletScreen

            self.app.push_screen(WalletScreen(screen.desk, agent))

        return open_wallet
