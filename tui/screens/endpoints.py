"""Endpoints: where every chain is read, how well, and in words why not.

A chain's line says its state and how far the values of its last reading belong together; under
it stand its endpoints in order of preference, with what is wrong with each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import ChainState, SyncNow
from core.model import Consistency, EndpointHealth, EndpointState
from tui import text
from tui.screens.base import DeskScreen
from tui.widgets.list_table import Cell, Col, Item, ListTable, Tone

COLS = (
    Col("CHAIN / ENDPOINT", 30, grow=True),
    Col("STATE", 12),
    Col("RUNG", 18, drop=4),
    Col("CHUNK", 6, right=True, drop=6),
    Col("P50", 7, right=True, drop=2),
    Col("P95", 7, right=True, drop=3),
    Col("ERRORS", 7, right=True),
    Col("BLOCK", 12, right=True, drop=1),
    Col("LAG", 6, right=True, drop=5),
)
_STATE_TONES = {
    "live": Tone.OK,
    "starting": Tone.DIM,
    "stale": Tone.WARNING,
    "lagging": Tone.WARNING,
    "down": Tone.PROBLEM,
}
_ENDPOINT_TONES = {
    EndpointState.READY: Tone.OK,
    EndpointState.UNTRIED: Tone.DIM,
    EndpointState.BACKING_OFF: Tone.WARNING,
    EndpointState.REFUSED: Tone.PROBLEM,
}
_TOGETHER = {
    Consistency.PINNED: "every value at one block hash",
    Consistency.SAME_CALL: "every value from one call at one block",
    Consistency.SPREAD: "values from several blocks",
}


class EndpointsScreen(DeskScreen):
    """Health per chain and endpoint."""

    PATH = ("Endpoints",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_url", "copy url", id="endpoints.copy"),
    ]
    WRITES = (Binding("ctrl+r", "sync", "read now", id="sync.now"),)

    def body(self) -> Iterable[Widget]:
        """The table, and the words for the line under the cursor."""
        yield ListTable(
            COLS, empty="no chain is configured: add [[chain]] to the config", signs=self.desk.signs
        )
        yield Static(id="endpoint-words", classes="words-pane")

    def follow(self) -> None:
        """Redraw with chains, endpoints and, for ages, the pulse."""
        self.watch(self.session, "pulse", self._redraw)

    def on_screen_resume(self) -> None:
        """Come back to the newest picture."""
        self._redraw()

    def on_list_table_highlighted(self) -> None:
        """Say more about the line under the cursor."""
        self._redraw_words()

    def show_chain(self, chain: str, url: str = "") -> None:
        """Put the cursor on a chain, or on the endpoint of it with that URL."""
        table = self.query_one(ListTable)
        table.move_to(f"chain {chain}")
        for place, health in enumerate(self.session.endpoints):
            if (health.chain, health.url) == (chain, url):
                table.move_to(f"endpoint {place}")

    def _redraw(self) -> None:
        items: list[Item] = []
        for chain in self.session.chains:
            items.append(self._chain_item(chain))
            items += [
                self._endpoint_item(place, health)
                for place, health in enumerate(self.session.endpoints)
                if health.chain == chain.name
            ]
        self.query_one(ListTable).show(items)
        ready = sum(e.state is EndpointState.READY for e in self.session.endpoints)
        self.note((f"{ready}/{len(self.session.endpoints)} endpoints ready", "$desk-dim"))
        self._redraw_words()

    def _chain_item(self, chain: ChainState) -> Item:
        now_ms, signs = self.session.now_ms(), self.desk.signs
        tone = _STATE_TONES.get(chain.state, Tone.WARNING)
        kind = "" if chain.kind.value == chain.name else f"  {chain.kind.value}"
        unread = f", {text.count(chain.unknown)} unread" if chain.unknown else ""
        return Item(
            f"chain {chain.name}",
            (
                Cell(
                    f"{text.chain_glyph(chain.state, signs)} {text.safe(chain.name)}{kind}",
                    Tone.STRONG,
                ),
                Cell(text.chain_words(chain, now_ms), tone),
                Cell(f"{chain.consistency.value}{unread}", Tone.WARNING if unread else Tone.DIM),
                Cell(""),
                Cell(""),
                Cell(""),
                Cell(""),
                Cell(text.count(chain.block)),
                Cell(""),
            ),
        )

    def _endpoint_item(self, place: int, health: EndpointHealth) -> Item:
        signs = self.desk.signs
        used = signs.cursor if health.in_use else " "
        figures = Tone.PLAIN if health.state is EndpointState.READY else Tone.DIM
        tried = health.requests > 0
        loud = Tone.WARNING if health.error_rate >= 0.05 else figures
        return Item(
            f"endpoint {place}",
            (
                Cell(f"  {used} {text.safe(health.url)}", figures),
                Cell(health.state.value, _ENDPOINT_TONES[health.state]),
                Cell(text.safe(health.rung) or "-", figures),
                Cell(text.count(health.chunk) if health.chunk else "-", figures),
                Cell(f"{health.p50_ms:,}ms" if health.p50_ms else "-", figures),
                Cell(f"{health.p95_ms:,}ms" if health.p95_ms else "-", figures),
                Cell(f"{health.error_rate * 100:.1f}%" if tried else "-", loud),
                Cell(text.count(health.block) if health.block else "-", figures),
                Cell(text.count(health.lag), Tone.WARNING if health.lag > 3 else figures),
            ),
        )

    def _redraw_words(self) -> None:
        kind, _, name = self.query_one(ListTable).cursor.partition(" ")
        words: list[tuple[str, str]] = []
        if kind == "chain":
            chain = next((c for c in self.session.chains if c.name == name), None)
            words = self._chain_words(chain) if chain else []
        elif kind == "endpoint" and int(name) < len(self.session.endpoints):
            words = self._endpoint_words(self.session.endpoints[int(name)])
        self.query_one("#endpoint-words", Static).update(Content.assemble(*words))

    def _chain_words(self, chain: ChainState) -> list[tuple[str, str]]:
        now_ms = self.session.now_ms()
        words = [(f"{text.safe(chain.name)}  ", "bold")]
        reason = text.safe(chain.reason)
        words.append((f"{text.chain_words(chain, now_ms)}{': ' + reason if reason else ''}\n", ""))
        blocks = f"block {text.count(chain.block)}"
        if chain.consistency is Consistency.SPREAD and chain.first_block:
            blocks = f"blocks {text.count(chain.first_block)} to {text.count(chain.block)}"
        words.append((f"last reading: {_TOGETHER[chain.consistency]}, {blocks}\n", "$desk-dim"))
        took = f"{text.count(chain.accounts)} balances in {chain.seconds:.2f} s, "
        took += f"{text.count(chain.requests)} requests, {text.count(chain.changed)} changed, "
        words.append((f"{took}{text.count(chain.unknown)} unread", "$desk-dim"))
        return words

    def _endpoint_words(self, health: EndpointHealth) -> list[tuple[str, str]]:
        now_ms = self.session.now_ms()
        words = [(f"{text.safe(health.url)}  ", "bold")]
        said = f"{health.state.value}{', in use' if health.in_use else ''}"
        if health.state is EndpointState.BACKING_OFF and health.retry_at_ms:
            wait = max(0, health.retry_at_ms - now_ms)
            said += f", tried again in {text.age(wait)}" if wait else ", tried again now"
        if health.state is EndpointState.REFUSED:
            said += ", not tried again before a restart"
        words.append((f"{said}\n", ""))
        if health.last_error:
            ago = (
                f" ({text.age(now_ms - health.last_error_ms)} ago)" if health.last_error_ms else ""
            )
            words.append((f"last error: {text.safe(health.last_error)}{ago}\n", "$warning"))
        asked = f"{text.count(health.requests)} requests, {text.count(health.errors)} failed"
        note = text.safe(health.note)
        words.append((f"{asked}{'; ' + note if note else ''}", "$desk-dim"))
        return words

    # --- keys ------------------------------------------------------------------------------

    def action_copy_url(self) -> None:
        """Copy the endpoint's URL (it never carries credentials)."""
        kind, _, name = self.query_one(ListTable).cursor.partition(" ")
        if kind == "endpoint" and int(name) < len(self.session.endpoints):
            self.copy(self.session.endpoints[int(name)].url, "url")

    async def action_sync(self) -> None:
        """Read the chain under the cursor now."""
        kind, _, name = self.query_one(ListTable).cursor.partition(" ")
        if kind == "endpoint" and int(name) < len(self.session.endpoints):
            name = self.session.endpoints[int(name)].chain
        self.run_worker(self.give(SyncNow((name,) if name else ())), group="command")
