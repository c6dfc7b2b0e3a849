"""Ledger: what stands between us and each peer, whether the books balance, what custody finds.

The list of pairs is rebuilt only when the engine said something new of them; the words under it
move with the clock. Enter on a pair opens its transfers, on a custody difference its wallet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import CustodyView, PeerView
from tui import ledger_words, pairs, text
from tui.fleet_row import FleetRow
from tui.pairs import SortBy
from tui.screens import forms, ledger_rows
from tui.screens.base import WIDE, Desk
from tui.screens.filtered import FilteredScreen
from tui.session import PairKey
from tui.widgets.filter_line import FilterLine
from tui.widgets.list_table import ListTable

MOST_DIFFERENCES = 500
"""Custody lines drawn, the most urgent first; the summary counts them all."""
EMPTY = "no peer yet: set [ledger] tokens, then POST /v1/packets books the first"
SORTS = tuple(SortBy)


class LedgerScreen(FilteredScreen):
    """Accounts per peer and token, the books' health under them."""

    PATH = ("Ledger",)
    AUTO_FOCUS = "#ledger-pairs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/", id="filter"),
        Binding("escape", "clear", "Clear filter", show=False, id="filter.clear"),
        Binding("less_than_sign", "sort(-1)", "Sort by the column before", show=False,
                id="sort.previous"),
        Binding("greater_than_sign", "sort(1)", "Sort by the column after", show=False,
                id="sort.next"),
        Binding("r", "reverse", "Reverse the sort", show=False, id="sort.reverse"),
        Binding("t", "trial", "trial balance", id="ledger.trial"),
        Binding("tab", "app.focus_next", "other list", id="ledger.other"),
        Binding("y", "copy_name", "Copy the peer or the agent", show=False, id="copy.id"),
        Binding("Y", "copy_json", "Copy the line as JSON", show=False, id="copy.json"),
        Binding("e", "export", "Export the pairs that are shown", show=False, id="ledger.export"),
    ]  # fmt: skip
    WRITES = (Binding("b", "book", "book", id="ledger.book"),)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._matches: pairs.Predicate = pairs.parse("")
        self._sort, self._falling = SortBy.USE, True
        self._pairs: dict[str, PeerView] = {}
        self._custody_shown = False

    def body(self) -> Iterable[Widget]:
        """Pairs above; the line under the cursor, the books and custody below."""
        signs = self.desk.signs
        yield ListTable(
            ledger_rows.PAIR_COLS, id="ledger-pairs", empty=EMPTY, opens=True, signs=signs
        )
        yield Static(id="ledger-detail")
        with Container(id="ledger-below"):
            yield Static(id="ledger-books")
            yield ListTable(ledger_rows.CUSTODY_COLS, id="ledger-custody", opens=True, signs=signs)
        yield FilterLine("peer:connector-* token:usd net<0 use>80 text")

    def follow(self) -> None:
        """Pairs and custody with their changes, the words with the pulse."""
        self.watch(self.session, "peers", self._redraw_pairs)
        self.watch(self.session, "custody", self._redraw_custody)
        self.watch(self.session, "pulse", self._redraw_words)

    def on_screen_resume(self) -> None:
        """Come back to the newest picture."""
        self._redraw_pairs()
        self._redraw_custody()

    def on_resize(self) -> None:
        """Another width, other words."""
        super().on_resize()
        self._redraw_words()

    @property
    def table(self) -> ListTable:
        """The list of pairs."""
        return self.query_one("#ledger-pairs", ListTable)

    @property
    def pair(self) -> PeerView | None:
        """The pair under the cursor."""
        return self._pairs.get(self.table.cursor)

    @property
    def finding(self) -> CustodyView | None:
        """The custody difference under its list's cursor, while that list has the focus."""
        table = self.query_one("#ledger-custody", ListTable)
        if not table.has_focus or not table.cursor:
            return None
        return self.session.custody.get(int(table.cursor))

    def row_of(self, finding: CustodyView) -> FleetRow | None:
        """The fleet's row of a finding."""
        return self.session.model.rows.get(finding.account)

    # --- drawing ---------------------------------------------------------------------------

    def _redraw_pairs(self) -> None:
        if not self.is_active:
            return  # nobody looks: drawn anew when the screen is come back to
        shown = [view for view in self.session.peers.values() if self._matches(view)]
        ordered = pairs.ordered(shown, self._sort, falling=self._falling)
        self._pairs = {ledger_rows.key_of(view): view for view in ordered}
        signs = self.desk.signs
        items = [ledger_rows.total_item(total, signs) for total in pairs.totals(shown)]
        items += [ledger_rows.pair_item(view, signs) for view in ordered]
        empty = "no pair matches: Esc clears the filter" if self.filter else EMPTY
        self.table.show(items, empty=empty)
        self._redraw_words()

    def _redraw_custody(self) -> None:
        if not self.is_active:
            return
        table = self.query_one("#ledger-custody", ListTable)
        views = ledger_words.custody_order(self.session.custody.values(), MOST_DIFFERENCES)
        rows, cut = self.session.model.rows, self.desk.signs
        table.show([
            ledger_rows.custody_item(view, rows.get(view.account), cut)
            for view in views
        ])  # fmt: skip
        if bool(views) != self._custody_shown:
            self._custody_shown = bool(views)
            self.set_class(self._custody_shown, "-differs")
            if not views and table.has_focus:
                self.table.focus()
        self._redraw_words()

    def _redraw_words(self) -> None:
        if not self.is_active:
            return
        session, signs = self.session, self.desk.signs
        ledger, now_ms = session.ledger, session.now_ms()
        away, roomy = ledger is not None and not ledger.ok, self.app.size.width >= WIDE
        self.set_class(away, "-away")
        words: ledger_words.Words = []
        if ledger is None:
            words.append(("waiting for the ledger", "$desk-dim"))
        else:
            words += ledger_words.durability(ledger, now_ms, signs, roomy=roomy)
            if away:
                said = "the figures are the last ones known; everything else goes on"
                words.append((f"\n{said}", "$desk-dim"))
        words.append(("\n", ""))
        words += ledger_words.trial_words(session.trial, signs)
        if not away:
            words.append(("\n", ""))
            words += ledger_words.custody_summary(session.custody.values(), signs)
        if roomy:
            words += ledger_rows.trial_lines(session.trial, signs)
        self.query_one("#ledger-books", Static).update(Content.assemble(*words))
        self._redraw_detail()
        self._say_where()

    def _redraw_detail(self) -> None:
        words: ledger_words.Words = []
        finding, pair = self.finding, self.pair
        if finding is not None:
            row = self.row_of(finding)
            asset = row.asset if row is not None else None
            name = text.safe(row.agent) if row is not None else f"account {finding.account}"
            words = [(f"{name}  ", "bold"), (ledger_words.custody_sentence(finding, asset), "")]
        elif pair is not None:
            words = ledger_rows.pair_words(pair, self.desk.signs)
        self.query_one("#ledger-detail", Static).update(Content.assemble(*words))

    def _say_where(self) -> None:
        shown, known, signs = len(self._pairs), len(self.session.peers), self.desk.signs
        words = [(f"{text.count(shown)}", "")]
        if shown != known:
            words.append((f"/{text.count(known)}", "$desk-dim"))
        words.append((" pairs" if known != 1 else " pair", "$desk-dim"))
        words += self.filter_words(40, lead="   ")
        arrow = signs.descending if self._falling else signs.ascending
        words += [("   sort: ", "$desk-dim"), (f"{self._sort.value} {arrow}", "")]
        self.note(*words)

    def on_list_table_highlighted(self) -> None:
        """Say more about the line under the cursor."""
        self._redraw_detail()

    def on_descendant_focus(self) -> None:
        """The other list: its line is the one that is told of."""
        self._redraw_detail()

    # --- filter and order ------------------------------------------------------------------

    def take_filter(self, words: str) -> None:
        """Show only what these words let through."""
        self._matches = pairs.parse(words)

    def filtered(self) -> None:
        """Another filter: other rows."""
        self._redraw_pairs()

    def refocus(self) -> None:
        """Back to the list."""
        self.table.focus()

    def action_sort(self, step: int) -> None:
        """Sort by the next or previous column."""
        self._sort = SORTS[(SORTS.index(self._sort) + step) % len(SORTS)]
        self._falling = self._sort in pairs.FALLING_FIRST
        self._redraw_pairs()

    def action_reverse(self) -> None:
        """Turn the direction round."""
        self._falling = not self._falling
        self._redraw_pairs()

    # --- opening ---------------------------------------------------------------------------

    @on(ListTable.Selected, "#ledger-pairs")
    def _open_pair(self) -> None:
        view = self.pair
        if view is not None:
            from tui.screens.transfers import TransfersScreen

            key: PairKey = (view.peer, view.token)
            self.app.push_screen(TransfersScreen(self.desk, key))

    @on(ListTable.Selected, "#ledger-custody")
    def _open_wallet(self) -> None:
        finding = self.finding
        row = self.row_of(finding) if finding is not None else None
        if row is not None:
            from tui.screens.wallet import WalletScreen

            self.app.push_screen(WalletScreen(self.desk, row.agent, row.account))

    def action_trial(self) -> None:
        """Every ledger's sums."""
        from tui.screens.trial import TrialScreen

        self.app.push_screen(TrialScreen(self.desk))

    # --- keys ------------------------------------------------------------------------------

    def action_copy_name(self) -> None:
        """The peer's id, or the agent's of a custody difference."""
        finding, pair = self.finding, self.pair
        row = self.row_of(finding) if finding is not None else None
        if row is not None:
            self.copy(row.agent, "agent")
        elif pair is not None:
            self.copy(pair.peer, "peer")

    def action_copy_json(self) -> None:
        """The line in its public form."""
        finding, pair = self.finding, self.pair
        if finding is not None:
            row = self.row_of(finding)
            asset, agent = (row.asset, row.agent) if row is not None else (None, "")
            self.copy(ledger_words.custody_json(finding, agent, asset), "finding")
        elif pair is not None:
            self.copy(msgspec.json.encode(pairs.as_json(pair)).decode(), "pair")

    @work(group="dialog", exclusive=True)
    async def action_export(self) -> None:
        """Write the pairs that are shown, in their order, to a file."""
        found = [pairs.as_json(view) for view in self._pairs.values()]
        await forms.export_fields(self, "ledger", "pairs", found)

    @work(group="dialog", exclusive=True)
    async def action_book(self) -> None:
        """Book the unexplained difference under the cursor, with a reason."""
        finding = self.finding
        if finding is None:
            self.say("go to a custody difference first (tab)", severity="warning")
            return
        row = self.row_of(finding)
        if row is None or not ledger_words.can_book(finding):
            state = ledger_words.custody_state(finding)
            self.say(f"nothing to book: this difference is {state}", severity="warning")
            return
        await forms.book_unexplained(self, row, finding)
