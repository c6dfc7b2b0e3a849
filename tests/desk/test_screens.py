"""Every key of Wallet, Endpoints and Events, pressed on the running desk."""

from __future__ import annotations

import json

import msgspec
from textual.widgets import Input, Static

from core.api import SyncNow
from core.model import Amount, EndpointState
from tests.desk.driving import Desk, opened
from tests.desk.scripted import HOSTILE_AGENT
from tui import event_words
from tui.screens.fleet import FleetScreen
from tui.screens.wallet import WalletScreen
from tui.widgets.history_chart import HistoryChart
from tui.widgets.list_table import ListTable


async def wallet(desk: Desk) -> WalletScreen:
    await desk.press("enter")
    await desk.pilot.pause(0.2)
    assert isinstance(desk.app.screen, WalletScreen)
    return desk.app.screen


# --- Wallet ---------------------------------------------------------------------------------


async def test_the_wallet_shows_all_balances_limits_state_chart_and_events() -> None:
    async with opened(size=(120, 40)) as desk:
        await wallet(desk)
        shown = desk.text()
        for words in ("agent-0006", "ACTIVE", "watch-only", "group trading", "ETH", "TRX", "USDT"):
            assert words in shown
        assert "0.056000000000000006" in shown  # exact, all eighteen places
        assert "low 0.000000" in shown
        assert "-9.30 USDC on base, now 0.00" in shown
        assert "Fleet › agent-0006" in shown


async def test_escape_goes_back_to_the_fleet() -> None:
    async with opened() as desk:
        await wallet(desk)
        await desk.press("escape")
        assert isinstance(desk.app.screen, FleetScreen)


async def test_the_wallets_cursor_begins_on_the_balance_it_was_opened_from() -> None:
    async with opened(size=(120, 40)) as desk:
        screen = await wallet(desk)
        assert screen.row is not None
        assert screen.row.asset.symbol == "USDC"
        await desk.press("j")
        assert screen.row.asset.symbol == "TRX"
        await desk.press("k")
        assert screen.row.asset.symbol == "USDC"


async def test_h_and_shift_h_change_the_charts_range() -> None:
    async with opened(size=(120, 40)) as desk:
        screen = await wallet(desk)
        spans = []
        for key in ("h", "h", "h", "H"):
            await desk.press(key)
            await desk.pilot.pause(0.1)
            shown = screen.query_one(HistoryChart)._shown
            assert shown is not None
            spans.append((shown.end_ms - shown.start_ms) // 3_600_000)
        assert spans == [168, 720, 1, 720]


async def test_brackets_read_the_chart_point_by_point() -> None:
    async with opened(size=(120, 40)) as desk:
        screen = await wallet(desk)
        chart = screen.query_one(HistoryChart)
        await desk.press("left_square_bracket")
        newest = chart.cursor
        await desk.press("left_square_bracket", "left_square_bracket")
        earlier = chart.cursor
        assert earlier is not None
        assert newest is not None
        assert earlier < newest
        assert "block" in desk.text()
        await desk.press("right_square_bracket")
        assert chart.cursor is not None
        assert earlier < chart.cursor <= newest


async def test_the_wallet_copies_address_and_row() -> None:
    async with opened(size=(120, 40)) as desk:
        screen = await wallet(desk)
        assert screen.row is not None
        await desk.press("y")
        assert desk.app.clipboard == screen.row.address
        await desk.press("Y")
        assert json.loads(desk.app.clipboard)["token"] == "USDC"
        await desk.press("o")
        assert any("no explorer for base" in toast for toast in desk.toasts())


async def test_the_wallet_reads_its_own_chains_now() -> None:
    async with opened(size=(120, 40)) as desk:
        await wallet(desk)
        await desk.press("ctrl+r")
        assert desk.engine.executed == [SyncNow(("base", "tron"))]


async def test_the_wallet_sets_tags_and_limits() -> None:
    async with opened(size=(120, 40)) as desk:
        await wallet(desk)
        await desk.press("t")
        assert "Group and tags of agent-0006" in desk.text()
        await desk.press("escape", "f")
        assert "Floor and target of USDC" in desk.text()
        await desk.press("escape")
        assert isinstance(desk.app.screen, WalletScreen)
        assert desk.engine.executed == []


async def test_tab_goes_to_the_other_lists_of_the_wallet() -> None:
    async with opened(size=(120, 40)) as desk:
        screen = await wallet(desk)
        await desk.press("tab")
        assert screen.query_one(HistoryChart).has_focus
        await desk.press("tab")
        assert screen.query_one("#wallet-events", ListTable).has_focus


async def test_the_wallet_moves_with_the_engine() -> None:
    async with opened(size=(120, 40)) as desk:
        await wallet(desk)
        row = desk.engine.row_of("agent-0006", 2)
        desk.engine.push(balances=(msgspec.structs.replace(row, amount=Amount(777_000_000)),))
        desk.engine.emit(
            "AGENT_BALANCE_CHANGED",
            "agent-0006",
            chain="base",
            token="USDC",
            decimals=6,
            change="777000000",
            newBalance="777000000",
        )
        await desk.tick(1)
        assert "777.000000" in desk.text()
        assert "+777.00 USDC on base, now 777.00" in desk.text()


# --- Endpoints ------------------------------------------------------------------------------


async def test_endpoints_say_state_rung_latency_errors_and_why_not() -> None:
    async with opened(size=(140, 40)) as desk:
        await desk.press("5")
        shown = desk.text()
        for words in (
            "override scanner",
            "8,192",
            "84ms",
            "210ms",
            "67.3%",
            "backing off",
            "refused",
            "untried",
            "stale 2m",
            "pinned",
            "spread",
        ):
            assert words in shown
        assert "every value at one block hash, block 38,412,118" in shown
        await desk.press("G", "k")
        assert "last error: 429 too many requests (Retry-After 8 s)" in desk.text()
        assert "tried again in" in desk.text()


async def test_a_spread_reading_names_its_blocks() -> None:
    async with opened(size=(140, 40)) as desk:
        await desk.press("5", "G", "k", "k", "k")
        assert "values from several blocks, blocks 61,204,102 to 61,204,118" in desk.text()


async def test_endpoints_copy_the_url_and_read_the_chain_under_the_cursor() -> None:
    async with opened(size=(140, 40)) as desk:
        await desk.press("5", "j", "y")
        assert desk.app.clipboard == "https://mainnet.base.example"
        await desk.press("ctrl+r")
        assert desk.engine.executed == [SyncNow(("base",))]


async def test_endpoints_move_with_the_engine_and_keep_the_cursor() -> None:
    async with opened(size=(140, 40)) as desk:
        await desk.press("5", "G")
        table = desk.screen.query_one(ListTable)
        at = table.cursor
        healths = list(desk.engine._endpoints)
        healths[-1] = msgspec.structs.replace(
            healths[-1], state=EndpointState.REFUSED, last_error="wrong chain"
        )
        desk.engine.push(endpoints=tuple(healths))
        await desk.tick(1)
        assert table.cursor == at
        assert "last error: wrong chain" in desk.text()


# --- Events ---------------------------------------------------------------------------------


async def test_events_follow_live_until_the_cursor_leaves_the_last_line() -> None:
    async with opened(size=(120, 30)) as desk:
        await desk.press("6")
        assert "following" in desk.text()
        desk.engine.emit("ENGINE_STOPPED", "", reason="first")
        await desk.tick(1)
        table = desk.screen.query_one("#event-log", ListTable)
        assert table.cursor == "12"
        await desk.press("k")
        desk.engine.emit("ENGINE_STOPPED", "", reason="second")
        await desk.tick(1)
        assert table.cursor == "11"
        assert "held, 1 new" in desk.text()
        await desk.press("f")
        assert table.cursor == "13"
        assert "following" in desk.text()


async def test_the_record_stands_beside_the_list_or_opens_with_enter() -> None:
    async with opened(size=(120, 30)) as desk:
        await desk.press("6")
        assert '"type": "AGENT_BALANCE_CHANGED"' in desk.text()
    async with opened(size=(80, 24)) as desk:
        await desk.press("6")
        assert '"sequence"' not in desk.text()
        await desk.press("enter")
        assert '"sequence": 11' in desk.text()
        await desk.press("escape")
        assert '"sequence"' not in desk.text()


async def test_events_are_filtered_by_the_store_and_new_ones_too() -> None:
    async with opened(size=(120, 30)) as desk:
        await desk.press("6", "slash")
        await desk.type("tron")
        await desk.press("enter")
        assert "2 events" in desk.text()
        desk.engine.emit("CHAIN_STATE_CHANGED", "tron", chain="tron", newState="live")
        desk.engine.emit("CHAIN_STATE_CHANGED", "base", chain="base", newState="live")
        await desk.tick(1)
        assert "3 events" in desk.text()
        await desk.press("escape")
        assert "13 events" in desk.text()


async def test_a_filter_that_finds_nothing_says_how_to_leave_it() -> None:
    async with opened() as desk:
        await desk.press("6", "slash")
        desk.app.screen.query_one(Input).value = "no such thing"
        await desk.pilot.pause(0.15)
        assert "no event has that text: Esc clears" in desk.text()
        await desk.press("escape")
        assert "11 events" in desk.text()


async def test_events_copy_subject_and_record() -> None:
    async with opened() as desk:
        await desk.press("6", "g", "j", "y")
        assert desk.app.clipboard == "agent-0006"
        await desk.press("Y")
        assert json.loads(desk.app.clipboard)["sequence"] == 2


async def test_a_type_this_desk_does_not_know_is_listed_all_the_same() -> None:
    unknown = "WORMHOLE_OPENED"  # no engine has such a thing to report
    assert event_words.title_of(unknown) == "wormhole opened"  # its own name: there is no word
    async with opened(size=(120, 30)) as desk:
        await desk.press("6")
        desk.engine.emit(unknown, "peer-1", amount="5")
        await desk.tick(1)
        assert "wormhole" in desk.text()
        assert "peer-1" in desk.text()
        assert '"amount": "5"' in desk.text()


async def test_lines_of_a_hostile_agent_are_plain_words() -> None:
    async with opened(size=(120, 30)) as desk:
        await desk.press("6")
        assert "[red]evil[/red]gnp"[:14] in desk.text()
        assert "\x1b" not in desk.text()
        screen = WalletScreen(desk.app.desk, HOSTILE_AGENT)
        await desk.app.push_screen(screen)
        await desk.pilot.pause(0.1)
        assert "[red]evil[/red]gnp" in desk.text()
        assert "\x1b" not in desk.text()
        assert "\u202e" not in desk.text()
        assert "[red]" in str(screen.query_one("#wallet-head", Static).render())
