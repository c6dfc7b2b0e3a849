"""Fleet: every balance of every agent in one table, with the row under the cursor beside it.

The table draws, the model arranges, the session feeds; this screen turns keys into calls of
those three, and fetches the trends of the rows that are on the screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

import msgspec
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import EngineLostError, SyncNow
from core.model import BursarError
from tui import export, kept, text
from tui.fleet_row import FleetRow
from tui.query import QueryError
from tui.screens import forms
from tui.screens.base import Desk, DeskScreen
from tui.session import Phase
from tui.widgets import area
from tui.widgets.filter_line import FilterLine
from tui.widgets.fleet_columns import COLUMNS, DEFAULT_COLUMNS
from tui.widgets.fleet_table import FleetTable
from tui.widgets.history_chart import HistoryChart
from tui.widgets.row_detail import RowDetail

CHART_MS = 24 * 3_600_000
CHART_STEP_MS = 6 * 60_000
CHART_SETTLE_S = 0.2
"""The cursor rests this long before the day's chart of its row is fetched."""
CHART_REST_S = 15.0
"""A row that changes all the time has its day drawn anew this often: a dot of it is minutes wide,
and a drawing is a third of what a second may send down the line."""
TREND_MS = 3_600_000
TREND_BUCKETS = 12
TRENDS_KEPT = 4_000


class FleetScreen(DeskScreen):
    """The fleet. It is the first thing on screen, so it imports nothing it may not need."""

    PATH = ("Fleet",)
    AUTO_FOCUS = "FleetTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/", id="filter"),
        Binding("exclamation_mark", "problems", "problems", key_display="!", id="fleet.problems"),
        Binding("escape", "clear", "Clear filter", show=False, id="filter.clear"),
        Binding("less_than_sign", "sort(-1)", "Sort by the column before", show=False,
                id="sort.previous"),
        Binding("greater_than_sign", "sort(1)", "Sort by the column after", show=False,
                id="sort.next"),
        Binding("r", "reverse", "Reverse the sort", show=False, id="sort.reverse"),
        Binding("S", "freeze", "Freeze the order", show=False, id="sort.freeze"),
        Binding("c", "columns", "Columns", show=False, id="fleet.columns"),
        Binding("y", "copy_address", "Copy the address", show=False, id="copy.id"),
        Binding("Y", "copy_row", "Copy the row as JSON", show=False, id="copy.json"),
        Binding("o", "copy_explorer", "Copy the explorer's URL", show=False, id="copy.explorer"),
        Binding("e", "export", "Export what is shown", show=False, id="fleet.export"),
    ]  # fmt: skip
    WRITES = (
        Binding("ctrl+r", "sync", "Read now", show=False, id="sync.now"),
        Binding("a", "watch_address", "Watch an address", show=False, id="fleet.watch"),
        Binding("t", "tag", "Group and tags", show=False, id="fleet.tag"),
        Binding("f", "limits", "Floor and target", show=False, id="fleet.limits"),
    )

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.model = desk.session.model
        self._trends: dict[int, tuple[int | None, ...]] = {}
        self._trend_end = 0
        self._charted: tuple[int, ...] = ()
        self._charted_at = 0.0
        self._filter_wrong = ""
        chosen = kept.load(desk.options.state_dir).columns
        self._columns = tuple(key for key in chosen if key in COLUMNS) or DEFAULT_COLUMNS

    def body(self) -> Iterable[Widget]:
        """Table and detail side by side, the filter's line under them."""
        with Horizontal(id="fleet-body"):
            yield FleetTable(
                self.model,
                levels=self._trends.get,
                columns=self._columns,
                ascii_only=self.desk.options.safe,
            )
            with Vertical(id="fleet-side"):
                yield RowDetail(self.desk.signs, ascii_only=self.desk.options.safe)
                yield HistoryChart(brush=area, ascii_only=self.desk.options.safe)
        yield Static(id="fleet-message")
        yield FilterLine("chain:base asset:usdc bal<10 runway<1h -tag:test text")

    def follow(self) -> None:
        """Follow every tick: figures, ages and the order move with it."""
        if self.desk.options.filter:
            self._apply_filter(self.desk.options.filter)
        self.watch(self.session, "pulse", self._tick, init=False)
        self.watch(self.session, "link", self._link_words)
        self._say_where()

    def on_screen_resume(self) -> None:
        """Come back to the newest picture."""
        self._tick()

    @property
    def table(self) -> FleetTable:
        """The table."""
        return self.query_one(FleetTable)

    @property
    def row(self) -> FleetRow | None:
        """The row under the cursor."""
        account = self.table.cursor_account
        return None if account is None else self.model.rows.get(account)

    # --- drawing ---------------------------------------------------------------------------

    def _tick(self) -> None:
        self.table.sync()
        self._show_detail()
        self._say_where()
        if self.session.now_ms() > self._trend_end:
            self._fetch_trends()

    def _link_words(self) -> None:
        """Before there is a fleet, say what is being waited for."""
        link, message = self.session.link, self.query_one("#fleet-message", Static)
        words: tuple[tuple[str, str], ...] = ()
        if link.phase is Phase.CONNECTING:
            words = (("opening the engine", "$desk-dim"),)
        elif link.phase is Phase.FAILED:
            words = (
                ("the engine did not start\n\n", "bold $error"),
                (f"{text.safe(link.reason)}\n\n", ""),
                ("q leaves; `bursar doctor` says more", "$desk-dim"),
            )
        elif link.phase is Phase.LOST:
            words = ((f"engine lost: {text.safe(link.reason)}; trying again", "$error"),)
        message.update(Content.assemble(*words))
        message.display = bool(words)

    def _show_detail(self) -> None:
        if not self.has_class("-wide"):
            return
        row = self.row
        events = []
        if row is not None:
            records = self.session.events.records
            about = (record for record in reversed(records) if record.subject == row.agent)
            events = [record for record, _ in zip(about, range(8), strict=False)]
        self.query_one(RowDetail).show(
            row,
            self.model.now_ms,
            levels=self._trends.get(row.account, ()) if row is not None else (),
            events=events,
        )
        if row is not None and self.has_class("-tall"):
            wanted = (row.account, row.version)
            now = self.session.clock.monotonic()
            rested = now - self._charted_at >= CHART_REST_S or wanted[:1] != self._charted[:1]
            if wanted != self._charted and rested:
                self._charted, self._charted_at = wanted, now
                self._fetch_history(row)

    @work(exclusive=True, group="history", exit_on_error=False)
    async def _fetch_history(self, row: FleetRow) -> None:
        await asyncio.sleep(CHART_SETTLE_S)  # the cursor may be on its way to another row
        end = (self.session.now_ms() // CHART_STEP_MS + 1) * CHART_STEP_MS
        chart, start = self.query_one(HistoryChart), end - CHART_MS
        try:
            history = await self.session.api.history(
                row.agent, row.chain, row.asset.contract or row.symbol, start, end
            )
        except BursarError as error:
            self._charted = ()
            chart.show_notice(f"no history: {error}")
            return
        chart.show(history, row.asset, start, end)

    def _say_where(self) -> None:
        model, signs = self.model, self.desk.signs
        shown, known = len(model.order), len(model.rows)
        words = [(text.count(shown), "")]
        if shown != known:
            words.append((f"/{text.count(known)}", "$desk-dim"))
        asked = " ".join(
            part for part in ("!problems" if model.problems_only else "", model.query.text) if part
        )
        if self._filter_wrong:
            words.append((f"   {signs.problem} {self._filter_wrong}", "$error"))
        elif asked:
            words += [("   filter: ", "$desk-dim"), (text.clip(text.safe(asked), 40), "$accent")]
        arrow = signs.descending if model.is_descending else signs.ascending
        words += [("   sort: ", "$desk-dim"), (f"{model.sort.value} {arrow}", "")]
        if model.is_frozen:
            words.append((" frozen", "$warning"))
        self.note(*words)

    def on_fleet_table_row_highlighted(self) -> None:
        """Another row: another detail."""
        self._show_detail()

    def on_fleet_table_order_changed(self) -> None:
        """A click on a heading sorts."""
        self._say_where()

    # --- trends ----------------------------------------------------------------------------

    def on_fleet_table_viewport_changed(self) -> None:
        """Other rows on screen: fetch what is missing, once scrolling rests."""
        self._fetch_trends()

    @work(exclusive=True, group="trends", exit_on_error=False)
    async def _fetch_trends(self) -> None:
        step = TREND_MS // TREND_BUCKETS
        end = (self.session.now_ms() // step + 1) * step  # so that the glyphs only move per slice
        if end != self._trend_end:
            self._trend_end = end
            self._trends.clear()
        wanted = [each for each in self.table.visible_accounts if each not in self._trends]
        if not wanted:
            return
        try:
            found = await self.session.api.sparklines(wanted, end - TREND_MS, end, TREND_BUCKETS)
        except EngineLostError:
            self._trend_end = 0  # the link says so already; a later tick asks again
            return
        if len(self._trends) > TRENDS_KEPT:
            self._trends.clear()
        self._trends.update({each: found.get(each, ()) for each in wanted})
        self.table.sync()
        self._show_detail()

    # --- filter and order ------------------------------------------------------------------

    def action_filter(self) -> None:
        """Open the filter's line."""
        self.query_one(FilterLine).open(self.model.query.text)

    @on(FilterLine.Changed)
    def _filter_changed(self, event: FilterLine.Changed) -> None:
        self._apply_filter(event.value)

    @on(FilterLine.Closed)
    def _filter_closed(self) -> None:
        self._filter_wrong = ""
        self.table.focus()
        self._say_where()

    def _apply_filter(self, words: str) -> None:
        try:
            self.model.set_filter(words)
            self._filter_wrong = ""
        except QueryError as error:
            self._filter_wrong = text.safe(str(error))
        line = self.query_one(FilterLine)
        line.wrong(self._filter_wrong)
        self.table.sync()
        self._say_where()

    def action_clear(self) -> None:
        """Every row again."""
        self.model.set_problems_only(False)
        self._apply_filter("")

    def action_problems(self) -> None:
        """Only rows that are not all right, or all again."""
        self.model.set_problems_only(not self.model.problems_only)
        self.table.sync()
        self._say_where()

    def action_sort(self, step: int) -> None:
        """Sort by the next or previous column on screen."""
        self.table.step_sort(step)
        self._say_where()

    def action_reverse(self) -> None:
        """Turn the direction round."""
        self.table.sort_by(self.model.sort)
        self._say_where()

    def action_freeze(self) -> None:
        """Hold every row's place, or let the order move again."""
        self.model.set_frozen(not self.model.is_frozen)
        self.table.sync()
        self._say_where()

    @work(group="dialog", exclusive=True)
    async def action_columns(self) -> None:
        """Choose columns; the choice is kept."""
        from tui.screens.dialogs import Choose

        choices = [(key, column.title, column.words) for key, column in COLUMNS.items()]
        chosen = await self.app.push_screen_wait(Choose("Columns", choices, self.table.columns))
        if not chosen:
            return
        self.table.set_columns(chosen)
        folder = self.desk.options.state_dir
        if folder is not None:
            try:
                await asyncio.to_thread(kept.save, folder, kept.Kept(columns=chosen))
            except OSError as error:
                self.say(f"the columns could not be kept: {error.strerror}", severity="warning")

    # --- the row ---------------------------------------------------------------------------

    def on_fleet_table_row_selected(self) -> None:
        """Enter on a row."""
        self._open()

    def _open(self) -> None:
        """The agent's wallet."""
        row = self.row
        if row is not None:
            from tui.screens.wallet import WalletScreen

            self.app.push_screen(WalletScreen(self.desk, row.agent, row.account))

    def action_copy_address(self) -> None:
        """The address, as the chain writes it."""
        row = self.row
        if row is not None:
            self.copy(row.address, "address")

    def action_copy_row(self) -> None:
        """The row in its public form."""
        row = self.row
        if row is not None:
            self.copy(msgspec.json.encode(export.row_json(row)).decode(), "row")

    def action_copy_explorer(self) -> None:
        """The address's page at the chain's explorer."""
        row = self.row
        if row is not None:
            forms.copy_explorer(self, row)

    @work(group="dialog", exclusive=True)
    async def action_export(self) -> None:
        """Write the rows that are shown, in their order, to a file."""
        rows = [self.model.rows[account] for account in self.model.order]
        await forms.export_rows(self, rows)

    # --- commands --------------------------------------------------------------------------

    def action_sync(self) -> None:
        """Read every chain now."""
        self.say("reading every chain")
        self.run_worker(self.give(SyncNow()), group="command", exit_on_error=False)

    @work(group="dialog", exclusive=True)
    async def action_watch_address(self) -> None:
        """Follow one more address."""
        await forms.watch_address(self)

    @work(group="dialog", exclusive=True)
    async def action_tag(self) -> None:
        """Group and tags of the agent under the cursor."""
        row = self.row
        if row is not None:
            await forms.tag_agent(self, row.agent_view)

    @work(group="dialog", exclusive=True)
    async def action_limits(self) -> None:
        """Floor and target of the asset under the cursor, for the agent or its group."""
        row = self.row
        if row is not None:
            await forms.set_limits(self, row)
