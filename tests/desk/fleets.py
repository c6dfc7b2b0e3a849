"""Fleets of any size, and a host app that shows nothing but the widget under test.

Rows are a pure function of their number, so two fleets of one size are equal; the clock stands
still until a test moves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from textual.app import App, ComposeResult
from textual.widget import Widget

from core.api import (
    AssetTotal,
    BalanceView,
    ChainState,
    EngineState,
    History,
    HistoryPoint,
    StatePatch,
    StoreHealth,
)
from core.model import Agent, Amount, Asset, ChainKind, Severity, WalletState
from tui.fleet import FleetModel
from tui.themes import DEFAULT, THEMES
from tui.widgets.fleet_table import FleetTable

NOW_MS = 1_795_176_251_000  # 2026-11-20T12:04:11Z
MINUTE_MS = 60_000

ASSETS = (
    Asset(1, "base", "ETH", "Ether", 18),
    Asset(2, "base", "USDC", "USD Coin", 6, contract="0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
    Asset(3, "xrpl", "XRP", "XRP", 6),
    Asset(4, "tron", "USDT", "Tether USD", 6, contract="TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"),
    Asset(5, "bsc", "USDC", "USD Coin", 18, contract="0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d"),
)


class StillClock:
    """A clock that a test moves by hand."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self._now_ms = now_ms
        self._seconds = 1_000.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_ms += round(seconds * 1000)
        self._seconds += seconds


def chain_states() -> tuple[ChainState, ...]:
    """Three live chains and one that fell behind."""
    live = NOW_MS - 4_000
    return (
        ChainState("base", ChainKind.EVM, "live", swept_ms=live),
        ChainState("xrpl", ChainKind.XRPL, "live", swept_ms=live),
        ChainState("tron", ChainKind.TRON, "stale", "429 from every endpoint", NOW_MS - 150_000),
        ChainState("bsc", ChainKind.EVM, "live", swept_ms=live),
    )


def view_of(number: int) -> BalanceView:
    """Row number `number` (from 1): its account id, too."""
    asset = ASSETS[number % len(ASSETS)]
    unit = 10**asset.decimals
    drift = (number * 37 % 23 - 11) * unit // 7 if number % 3 else 0
    view = BalanceView(
        number,
        f"agent-{(number + 1) // 2:04d}",
        asset.chain,
        asset.id,
        f"0x{number * 2654435761 % 2**160:040x}",
        Amount(number * 7919 % 5003 * unit + number * 123_457 % unit),
        block=38_000_000 + number,
        checked_ms=NOW_MS - (150_000 if asset.chain == "tron" else 4_000),
        change_1h=Amount(drift),
        change_24h=Amount(drift * 5),
        runway_s=number * 611 % 400_000 if drift < 0 else None,
        runway_sure="low" if number % 4 == 0 else "good",
    )
    return _troubled(view, number)


def _troubled(view: BalanceView, number: int) -> BalanceView:
    edit = msgspec.structs.replace
    if number % 97 == 7:
        return edit(
            view,
            amount=Amount(0),
            change_1h=Amount(-12_400_000),
            runway_s=0,
            severity=Severity.PROBLEM,
            problem="empty",
        )
    if number % 89 == 5:
        return edit(view, severity=Severity.WARNING, problem="below floor", runway_s=13_900)
    if number % 83 == 11:
        return edit(
            view,
            error="429 too many requests",
            error_ms=NOW_MS - 20_000,
            checked_ms=NOW_MS - 150_000,
            severity=Severity.WARNING,
            problem="not read for 2m",
        )
    if number % 211 == 13:
        return edit(
            view,
            amount=None,
            change_1h=None,
            change_24h=None,
            runway_s=None,
            checked_ms=0,
            error="no contract",
            severity=Severity.PROBLEM,
            problem="never read",
        )
    return view


def fleet_state(rows: int) -> EngineState:
    """A whole state of so many rows, two to an agent."""
    views = tuple(view_of(number) for number in range(1, rows + 1))
    names = dict.fromkeys(view.agent for view in views)
    agents = tuple(
        Agent(
            name,
            group=("trading", "support", "research")[index % 3],
            tags=("canary", "eu") if index % 10 == 0 else (),
            state=WalletState.SUSPENDED if index % 17 == 9 else WalletState.ACTIVE,
        )
        for index, name in enumerate(names)
    )
    return EngineState(
        instance="one",
        version=1,
        seq=0,
        now_ms=NOW_MS,
        started_ms=NOW_MS - 3_600_000,
        node_id="desk-01",
        environment="",
        demo=False,
        interval_ms=30_000,
        chains=chain_states(),
        endpoints=(),
        assets=ASSETS,
        agents=agents,
        balances=views,
        totals=tuple(
            AssetTotal(
                asset.id,
                Amount(sum(view.amount or 0 for view in views if view.asset == asset.id)),
                sum(view.amount is not None for view in views if view.asset == asset.id),
                sum(view.amount is None for view in views if view.asset == asset.id),
            )
            for asset in ASSETS
        ),
        store=StoreHealth("sqlite", "bursar.db"),
    )


def patch_of(views: Sequence[BalanceView], version: int = 2) -> StatePatch:
    """A patch that brings these views."""
    return StatePatch(version, NOW_MS, balances=tuple(views))


def moved(view: BalanceView, by: int) -> BalanceView:
    """The view with another balance; severity as before."""
    amount = Amount((view.amount or 0) + by)
    return msgspec.structs.replace(view, amount=amount, change_1h=Amount(by))


def levels_of(account: int) -> tuple[int | None, ...]:
    """A sparkline's levels, with a gap in every seventh row."""
    return tuple(
        None if account % 7 == 3 and step in (4, 5) else (account * 31 + step * step * 17) % 1000
        for step in range(12)
    )


def fleet_model(rows: int, clock: StillClock | None = None) -> FleetModel:
    """A model that holds so many rows."""
    model = FleetModel(clock or StillClock())
    model.load(fleet_state(rows))
    return model


def history_over(span_ms: int, changes: int = 300) -> History:
    """A balance that is spent, topped up, spikes once, and was not read for a while."""
    start, step, amount = NOW_MS - span_ms, span_ms // changes, 40_000_000
    gap = (NOW_MS - span_ms // 3, NOW_MS - span_ms // 4)
    points = [HistoryPoint(start, Amount(amount), 38_000_000, carried=True)]
    for number in range(1, changes):
        if number * 7 % 11 < 4:
            continue
        amount -= number * 7919 % 900_001
        if amount < 5_000_000:
            amount = 45_000_000 + number * 101
        spike = 60_000_000 if number == changes // 2 else 0
        time_ms = start + number * step
        if not gap[0] <= time_ms < gap[1]:
            points.append(HistoryPoint(time_ms, Amount(amount + spike), 38_000_000 + number))
    return History(tuple(points), (gap,))


class HostApp(App[None]):
    """One widget, the desk's themes, no animation, and every message the widget posted."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, widget: Widget, theme: str = DEFAULT) -> None:
        super().__init__()
        self.animation_level = "none"
        self.hosted = widget
        self.wanted_theme = theme
        self.posted: list[object] = []

    def compose(self) -> ComposeResult:
        yield self.hosted

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.wanted_theme
        self.hosted.focus()

    def on_fleet_table_row_highlighted(self, message: FleetTable.RowHighlighted) -> None:
        self.posted.append(message)

    def on_fleet_table_row_selected(self, message: FleetTable.RowSelected) -> None:
        self.posted.append(message)

    def on_fleet_table_viewport_changed(self, message: FleetTable.ViewportChanged) -> None:
        self.posted.append(message)

    def on_fleet_table_order_changed(self, message: FleetTable.OrderChanged) -> None:
        self.posted.append(message)
