"""Settlement: what is pending, what is under way, what is stuck, and what comes next.

The board is arranged anew only when the engine said something new of settlements or accounts;
ages move with the pulse. Keys that give commands ask first, in `settlement_forms`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import SettlementPairView
from tui import settlement_words, settlements, text
from tui.screens import forms, settlement_forms
from tui.screens.base import WIDE, Desk
from tui.screens.filtered import FilteredScreen
from tui.session import PairKey
from tui.settlements import Row
from tui.widgets.filter_line import FilterLine
from tui.widgets.settlement_board import SettlementBoard

STUCK = "stuck"


class SettlementScreen(FilteredScreen):
    """The board, an alarm over it where one is due, and the row under the cursor in full."""

    PATH = ("Settlement",)
    AUTO_FOCUS = ""  # the board knows which lane needs an eye
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("E", "explain", "explain", id="settlement.explain"),
        Binding("slash", "filter", "filter", key_display="/", id="filter"),
        Binding("escape", "clear", "Clear filter", show=False, id="filter.clear"),
        Binding("exclamation_mark", "stuck", "stuck", key_display="!", id="settlement.stuck"),
        Binding("y", "copy_key", "copy key", show=False, id="copy.id"),
        Binding("Y", "copy_json", "Copy the row as JSON", show=False, id="copy.json"),
        Binding("e", "export", "Export what is shown", show=False, id="settlement.export"),
    ]
    WRITES = (
        Binding("s", "start", "start", id="settlement.start"),
        Binding("d", "done", "done", id="settlement.done"),
        Binding("x", "failed", "failed", id="settlement.failed"),
        Binding("t", "threshold", "threshold", id="settlement.threshold"),
    )

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._matches: settlements.Predicate = settlements.parse("")
        self._shown: list[Row] = []
        self._counts = settlements.Counts()
        self._stuck: tuple[Row, ...] = ()
        self._words: dict[str, settlement_words.Words] = {}

    def body(self) -> Iterable[Widget]:
        """Alarm, board, detail, filter."""
        yield Static(id="settlement-alarm")
        yield SettlementBoard(self.desk.signs)
        yield Static(id="settlement-detail")
        yield FilterLine("peer:connector-* token:usd state:pending stuck text")

    def follow(self) -> None:
        """Rows with what the engine says, ages with the pulse."""
        self.board.use_lanes(self.app.size.width >= WIDE, self.session.now_ms())
        self.watch(self.session, "settlements", self._redraw, init=False)
        self.watch(self.session, "peers", self._redraw, init=False)
        self.watch(self.session, "settlement", self._redraw)
        self.watch(self.session, "pulse", self._tick, init=False)
        self.call_after_refresh(self.board.take_focus)

    def on_screen_resume(self) -> None:
        """Come back to the newest picture."""
        self._redraw()

    def on_resize(self) -> None:
        """Lanes or list, by the width."""
        super().on_resize()
        self.board.use_lanes(self.app.size.width >= WIDE, self.session.now_ms())
        self._redraw_words()

    @property
    def board(self) -> SettlementBoard:
        """The board."""
        return self.query_one(SettlementBoard)

    @property
    def row(self) -> Row | None:
        """The row under the cursor, as it stands now."""
        return self.board.row

    def show_pair(self, key: settlements.SettlementKey) -> None:
        """Put the cursor on a settlement, and take away a filter that hides it."""
        if key not in {row.key for row in self._shown}:
            self.apply_filter("")
        self.call_after_refresh(self.board.move_to, key)

    # --- drawing ---------------------------------------------------------------------------

    def _redraw(self) -> None:
        found = settlements.rows(self.session.settlements.values(), self.session.peers)
        self._counts = settlements.counts(found)
        board = settlements.board(found)
        self._stuck = tuple(r for r in (*board.in_progress, *board.pending) if r.view.stuck)
        self._shown = found
        if self.filter:
            self._shown = [row for row in found if self._matches(row)]
            board = settlements.board(self._shown, most_idle=settlements.MOST_FOUND)
        self.board.show(board, self._counts, self.session.now_ms(), empty=self._empty())
        self._redraw_words()

    def _empty(self) -> str:
        if self.filter and self.session.settlements:
            return "nothing matches: Esc clears the filter"
        health = self.session.settlement
        if health is None or not health.running:
            return "nothing is watched: the line above says why"
        return "no pair yet: the first packet with a peer brings one"

    def _tick(self) -> None:
        self.board.tick(self.session.now_ms())
        self._redraw_words()

    def _redraw_words(self) -> None:
        now_ms, signs = self.session.now_ms(), self.desk.signs
        counts = self._counts
        alarm = settlement_words.alarm(
            self._stuck,
            self.session.settlement,
            now_ms,
            signs,
            empty=not counts.total,
            unset=counts.unmonitored == counts.total,
        )
        self._write("settlement-alarm", alarm)
        self.query_one("#settlement-alarm").set_class(bool(alarm), "-said")
        row = self.row
        self._write(
            "settlement-detail",
            settlement_words.detail(row, now_ms, signs, self.app.size.width - 4)
            if row is not None
            else [],
        )
        self._say_where()

    def _write(self, where: str, words: settlement_words.Words) -> None:
        if self._words.get(where) != words:
            self._words[where] = words
            self.query_one(f"#{where}", Static).update(Content.assemble(*words))

    def _say_where(self) -> None:
        signs = self.desk.signs
        words: settlement_words.Words = []
        if len(self._shown) != self._counts.total:
            words.append((f"{text.count(len(self._shown))}/{text.count(self._counts.total)}  ", ""))
        words += self.filter_words(30, trail="   ")
        words += settlement_words.summary(self._counts, signs)
        words.append((f"   {settlement_words.health_words(self.session.settlement)}", "$desk-dim"))
        self.note(*words)

    @on(SettlementBoard.Highlighted)
    def _cursor_moved(self) -> None:
        self._redraw_words()

    # --- filter ----------------------------------------------------------------------------

    def take_filter(self, words: str) -> None:
        """Show only what these words let through."""
        self._matches = settlements.parse(words)

    def filtered(self) -> None:
        """Another filter: other rows."""
        self._redraw()

    def refocus(self) -> None:
        """Back to the list."""
        self.board.take_focus()

    def action_stuck(self) -> None:
        """Only what is stuck, or everything again."""
        self.apply_filter("" if self.filter == STUCK else STUCK)

    # --- opening and copying ---------------------------------------------------------------

    @on(SettlementBoard.Selected)
    def _open(self) -> None:
        row = self.row
        if row is not None and row.peer is not None:
            from tui.screens.transfers import TransfersScreen

            key: PairKey = (row.view.peer, row.view.token)
            self.app.push_screen(TransfersScreen(self.desk, key))

    def action_copy_key(self) -> None:
        """The idempotency key, by which whoever pays knows the settlement."""
        row = self.row
        if row is None:
            return
        if row.view.idempotency_key:
            self.copy(row.view.idempotency_key, "key")
        else:
            name = settlement_words.name(row.view)
            self.say(f"{name} has no key: no settlement was asked for yet", severity="warning")

    def action_copy_json(self) -> None:
        """The row in its public form."""
        if self.row is not None:
            self.copy(msgspec.json.encode(settlements.as_json(self.row)).decode(), "settlement")

    @work(group="dialog", exclusive=True)
    async def action_export(self) -> None:
        """Write what the filter lets through to a file, folded rows too."""
        found = [settlements.as_json(row) for row in self._shown]
        await forms.export_fields(self, "settlements", "rows", found)

    # --- commands --------------------------------------------------------------------------

    def _view(self) -> SettlementPairView | None:
        row = self.row
        if row is None:
            self.say("go to a pair first", severity="warning")
            return None
        return row.view

    @work(group="dialog", exclusive=True)
    async def action_explain(self) -> None:
        """Why the pair is or is not settling, in the engine's words."""
        if (view := self._view()) is not None:
            await settlement_forms.explain(self, view)

    @work(group="dialog", exclusive=True)
    async def action_start(self) -> None:
        """A payment has begun."""
        if (view := self._view()) is not None:
            await settlement_forms.start(self, view)

    @work(group="dialog", exclusive=True)
    async def action_done(self) -> None:
        """The payment arrived, all of it or less."""
        if (view := self._view()) is not None:
            await settlement_forms.complete(self, view)

    @work(group="dialog", exclusive=True)
    async def action_failed(self) -> None:
        """The payment was not made."""
        if (view := self._view()) is not None:
            await settlement_forms.fail(self, view)

    @work(group="dialog", exclusive=True)
    async def action_threshold(self) -> None:
        """Another threshold for the pair, the peer or everybody."""
        await settlement_forms.set_threshold(self, self.row)
