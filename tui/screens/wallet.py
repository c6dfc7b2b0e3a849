"""Wallet: one agent's addresses, balances, history, events, lifecycle and limits.

The chart shows the balance under the cursor over one hour to thirty days and can be moved back
in time; it is asked of the engine again when one of those changes or a new value came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

import msgspec
from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import CustodyView, EventQuery, SyncNow, WalletView
from core.events import AgentWalletStateChanged, EventRecord
from core.model import Agent, BursarError, Severity
from tui import export, ledger_words, text
from tui.fleet_row import FleetRow
from tui.screens import forms, lives
from tui.screens.base import Desk, DeskScreen
from tui.screens.events import item_of
from tui.session import EventTail
from tui.widgets import plot
from tui.widgets.history_chart import RANGES, HistoryChart
from tui.widgets.list_table import Cell, Col, Item, ListTable, Tone

SPANS = tuple(RANGES)
DRAWN_STEPS = 240
"""The chart's right end moves on after this part of its range, at least 15 s."""
EVENTS = 200

COLS = (
    Col("!", 1),
    Col("CHAIN", 7),
    Col("ASSET", 6),
    Col("BALANCE", 28, right=True),
    Col("Δ1h", 11, right=True, drop=1),
    Col("Δ24h", 11, right=True, drop=5),
    Col("RUNWAY", 7, right=True, drop=2),
    Col("LEDGER", 11, drop=3),
    Col("UNBOOKED", 14, right=True, drop=6),
    Col("FLOOR", 12, right=True, drop=7),
    Col("TARGET", 12, right=True, drop=8),
    Col("CHECKED", 8, drop=4),
    Col("ADDRESS", 14, drop=9, grow=True),
)
EVENT_COLS = (Col("", 1), Col("TIME", 8), Col("EVENT", 10), Col("WHAT", 20, grow=True))
_TONES = {Severity.OK: Tone.PLAIN, Severity.WARNING: Tone.WARNING, Severity.PROBLEM: Tone.PROBLEM}


class WalletScreen(DeskScreen):
    """One agent. `account` is the balance the cursor begins on."""

    PATH = ("Fleet", "Wallet")
    AUTO_FOCUS = "#wallet-balances"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", id="back"),
        Binding("h", "span(1)", "range", id="chart.range"),
        Binding("H", "span(-1)", "Shorter range", show=False, id="chart.range_back"),
        Binding("left_square_bracket", "scrub(-1)", "earlier", key_display="[", id="chart.back"),
        Binding("right_square_bracket", "scrub(1)", "later", key_display="]", id="chart.forward"),
        Binding("tab", "app.focus_next", "Other list", show=False, id="wallet.other"),
        Binding("y", "copy_address", "copy", id="copy.id"),
        Binding("Y", "copy_row", "Copy the row as JSON", show=False, id="copy.json"),
        Binding("o", "copy_explorer", "Copy the explorer's URL", show=False, id="copy.explorer"),
    ]
    WRITES = (
        Binding("ctrl+r", "sync", "Read now", show=False, id="sync.now"),
        Binding("t", "tag", "Group and tags", show=False, id="fleet.tag"),
        Binding("f", "limits", "Floor and target", show=False, id="fleet.limits"),
        Binding("s", "life('suspend')", "Suspend", show=False, id="wallet.suspend"),
        Binding("r", "life('reactivate')", "Reactivate", show=False, id="wallet.reactivate"),
        Binding("X", "life('archive')", "Archive for good", show=False, id="wallet.archive"),
    )

    def __init__(self, desk: Desk, agent: str, account: int | None = None) -> None:
        super().__init__(desk)
        self.agent = agent
        self._start_account = account
        self._span = "24h"
        self._records: tuple[EventRecord, ...] = ()
        self._charted: tuple[object, ...] = ()
        self._custody: dict[int, CustodyView] = {}
        self._custody_away = ""
        self._life: WalletView | None = None

    def crumbs(self) -> tuple[str, ...]:
        """Fleet, then the agent."""
        return ("Fleet", text.clip(text.safe(self.agent), 32, self.desk.signs.cut))

    def body(self) -> Iterable[Widget]:
        """Head, balances, chart, events."""
        yield Static(id="wallet-head")
        yield ListTable(
            COLS,
            id="wallet-balances",
            empty="no balance of this agent is read",
            signs=self.desk.signs,
        )
        yield HistoryChart(id="wallet-chart", ascii_only=self.desk.options.safe)
        yield ListTable(
            EVENT_COLS,
            id="wallet-events",
            empty="nothing has happened to this agent",
            signs=self.desk.signs,
        )

    def follow(self) -> None:
        """Follow the picture and the agent's events."""
        self.watch(self.session, "pulse", self._redraw)
        if self._start_account is not None:
            self.query_one("#wallet-balances", ListTable).move_to(str(self._start_account))
        self.watch(self.session, "events", self._events_came, init=False)
        self.watch(self.session, "custody", self._custody_changed)
        self.watch(self.session, "ledger", self._ledger_changed, init=False)
        self._load_events()
        self._load_life()

    # --- what is shown ---------------------------------------------------------------------

    @property
    def _agent(self) -> Agent:
        return self.session.model.agents.get(self.agent, Agent(self.agent))

    @property
    def row(self) -> FleetRow | None:
        """The balance under the cursor."""
        key = self.query_one("#wallet-balances", ListTable).cursor
        return self.session.model.rows.get(int(key)) if key else None

    def _rows(self) -> list[FleetRow]:
        rows = [r for r in self.session.model.rows.values() if r.agent == self.agent]
        return sorted(rows, key=lambda r: (r.chain, not r.asset.is_native, r.symbol))

    def _redraw(self) -> None:
        self._redraw_head()
        table = self.query_one("#wallet-balances", ListTable)
        rows = self._rows()
        table.set_class(not rows, "-none")  # room for the words that say so
        table.show([self._item(row) for row in rows])
        self._chart()

    def _redraw_head(self) -> None:
        agent, dim = self._agent, "$desk-dim"
        since = text.moment(agent.created_ms)[:10] if agent.created_ms else "-"
        kind = "watch-only" if agent.watch_only else "own keys"
        words = [
            (text.safe(agent.id), "bold"),
            ("   ", ""),
            (text.wallet_state(agent.state), "$success" if agent.state == "ACTIVE" else "$warning"),
            (f"   {kind}   since {since}", dim),
            ("   group ", dim),
            (text.safe(agent.group) or "-", ""),
            ("   tags ", dim),
            (text.safe(", ".join(agent.tags)) or "-", ""),
        ]
        row = self.row
        reason = row.reason(self.session.now_ms()) if row is not None else ""
        words.append((f"\n{reason}" if reason else "\n", "$warning"))
        if self._life is not None:
            chain = row.chain if row is not None else ""
            told = text.life(self._life, agent.state, chain)
            words.append((f"   {told}" if reason and told else told, dim))
        words += self._position_words(row)
        self.query_one("#wallet-head", Static).update(Content.assemble(*words))

    def _item(self, row: FleetRow) -> Item:
        view, places, signs = row.view, row.asset.decimals, self.desk.signs
        now_ms = self.session.now_ms()
        tone = _TONES[view.severity]
        stale = row.is_stale(now_ms)
        figure = (
            "unknown"
            if view.amount is None
            else text.aligned(
                view.amount, places, 28, 18, signs.stale if view.error else "", signs.cut
            )
        )
        when = text.checked(row.checked_ms, now_ms, row.line.state.interval_ms)
        return Item(
            str(row.account),
            (
                Cell(text.severity_glyph(view.severity, signs), tone),
                Cell(text.safe(row.chain)),
                Cell(text.symbol(row.symbol), Tone.STRONG),
                Cell(figure, Tone.DIM if stale else Tone.PLAIN),
                Cell(text.delta(view.change_1h, places, 11, signs.cut)),
                Cell(text.delta(view.change_24h, places, 11, signs.cut)),
                Cell(text.runway(view), tone),
                *self._position_cells(row),
                Cell(_limit(view.floor, places), Tone.DIM),
                Cell(_limit(view.target, places), Tone.DIM),
                Cell(f"{when} {signs.stale}" if view.error else when, Tone.DIM),
                Cell(text.elide(text.safe(row.address), 44, signs.cut), Tone.DIM),
            ),
        )

    # --- the ledger's position -------------------------------------------------------------

    def _custody_changed(self) -> None:
        self._compare()

    def _ledger_changed(self) -> None:
        ledger = self.session.ledger
        if ledger is not None and ledger.ok is bool(self._custody_away):
            self._compare()

    @work(exclusive=True, group="custody", exit_on_error=False)
    async def _compare(self) -> None:
        """Ask how chain and ledger compare; again whenever something differs anew or agrees."""
        try:
            found = await self.session.api.reconcile(self.agent)
        except BursarError as error:
            self._custody_away = text.safe(str(error))
        else:
            self._custody = {view.account: view for view in found}
            self._custody_away = ""
        self._redraw()

    def _position_cells(self, row: FleetRow) -> tuple[Cell, Cell]:
        """The state, and the amount by which chain and ledger differ."""
        view = self._custody.get(row.account)
        if self._custody_away:
            return Cell("away", Tone.PROBLEM), Cell("-", Tone.DIM)
        if view is None:
            return Cell("-", Tone.DIM), Cell("-", Tone.DIM)
        tone = ledger_words.custody_tone(view)
        if not view.difference:
            return Cell(ledger_words.custody_state(view), tone), Cell("-", Tone.DIM)
        figure = ledger_words.custody_figure(view, row.asset, 14, self.desk.signs.cut)
        return Cell(ledger_words.custody_state(view), tone), Cell(figure, tone)

    def _position_words(self, row: FleetRow | None) -> list[tuple[str, str]]:
        """The same of the balance under the cursor, in a sentence."""
        view = self._custody.get(row.account) if row is not None else None
        if self._custody_away:
            return [("\nledger  ", "$desk-dim"), (self._custody_away, "$error")]
        if row is None:
            return [("\n", "")]
        if view is None:
            return [("\nledger  not compared yet", "$desk-dim")]
        tone = ledger_words.custody_tone(view)
        style = {Tone.PROBLEM: "$error", Tone.WARNING: "$warning"}.get(tone, "$desk-dim")
        said = ledger_words.custody_brief(view, row.asset)
        return [("\nledger  ", "$desk-dim"), (said, style)]

    # --- the agent's life ------------------------------------------------------------------

    @work(exclusive=True, group="life", exit_on_error=False)
    async def _load_life(self) -> None:
        """Paths and the last change of state; asked for again when there is a newer one."""
        try:
            [self._life] = await self.session.api.wallets(self.agent)
        except BursarError:
            return  # the screen says the rest, and the link says what is wrong
        self._redraw_head()

    @work(group="dialog", exclusive=True)
    async def action_life(self, change: str) -> None:
        """Suspend, reactivate or archive."""
        await lives.change_life(self, self._agent, change, self._rows())

    # --- the chart -------------------------------------------------------------------------

    def _chart(self) -> None:
        """Ask for history if what is to be shown differs from what was asked for."""
        row = self.row
        span_ms = RANGES[self._span]
        step = max(span_ms // DRAWN_STEPS, 15_000)
        end = (self.session.now_ms() // step + 1) * step
        self._say_where()
        if row is None:
            return
        wanted = (row.account, row.version, span_ms, end)
        if wanted != self._charted:
            self._charted = wanted
            self._fetch_history(row, end - span_ms, end)

    @work(exclusive=True, group="history", exit_on_error=False)
    async def _fetch_history(self, row: FleetRow, start_ms: int, end_ms: int) -> None:
        chart = self.query_one(HistoryChart)
        try:
            await asyncio.to_thread(plot.load)
            history = await self.session.api.history(
                row.agent, row.chain, row.asset.contract or row.symbol, start_ms, end_ms
            )
        except BursarError as error:
            self._charted = ()
            chart.show_notice(f"no history: {error}")
            return
        chart.show(history, row.asset, start_ms, end_ms)

    def _say_where(self) -> None:
        row = self.row
        words: list[tuple[str, str]] = []
        if row is not None:
            words.append((f"{text.symbol(row.symbol)} on {text.safe(row.chain)}   ", ""))
        for name in SPANS:
            words.append((f"{name} ", "bold $accent" if name == self._span else "$desk-dim"))
        self.note(*words)

    @on(ListTable.Highlighted, "#wallet-balances")
    def _other_balance(self) -> None:
        self._redraw_head()
        self._chart()

    def action_span(self, step: int) -> None:
        """The next range: 1h, 24h, 7d, 30d."""
        self._span = SPANS[(SPANS.index(self._span) + step) % len(SPANS)]
        self._chart()

    def action_scrub(self, step: int) -> None:
        """Read the chart's points one by one."""
        self.query_one(HistoryChart).action_scrub(step)

    # --- events ----------------------------------------------------------------------------

    @work(exclusive=True, group="events", exit_on_error=False)
    async def _load_events(self) -> None:
        try:
            query = EventQuery(subject=self.agent, newest=True, limit=EVENTS)
            self._records = tuple(await self.session.api.events(query))
        except BursarError:
            mine = (r for r in self.session.events.records if r.subject == self.agent)
            self._records = tuple(mine)
        self._show_events()

    def _events_came(self, tail: EventTail) -> None:
        known = self._records[-1].seq if self._records else 0
        fresh = tuple(r for r in tail.news if r.subject == self.agent and r.seq > known)
        if any(record.type == AgentWalletStateChanged.TYPE for record in fresh):
            self._load_life()
        if fresh:
            self._records = (*self._records, *fresh)[-EVENTS:]
            self._show_events()

    def _show_events(self) -> None:
        items = [item_of(r, self.desk.signs, with_subject=False) for r in reversed(self._records)]
        self.query_one("#wallet-events", ListTable).show(items)

    # --- keys ------------------------------------------------------------------------------

    def action_back(self) -> None:
        """Where one came from."""
        self.dismiss()

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

    def action_sync(self) -> None:
        """Read the chains of this agent now."""
        chains = tuple(dict.fromkeys(row.chain for row in self._rows()))
        self.run_worker(self.give(SyncNow(chains)), group="command", exit_on_error=False)

    @work(group="dialog", exclusive=True)
    async def action_tag(self) -> None:
        """Group and tags."""
        await forms.tag_agent(self, self._agent)

    @work(group="dialog", exclusive=True)
    async def action_limits(self) -> None:
        """Floor and target of the balance under the cursor."""
        row = self.row
        if row is not None:
            await forms.set_limits(self, row)


def _limit(amount: int | None, places: int) -> str:
    return "-" if amount is None else text.plain(amount, places)
