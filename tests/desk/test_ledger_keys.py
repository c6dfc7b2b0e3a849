"""Every key of the Ledger mode and its screens, pressed on the running desk."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Button, Input

from core.api import BookUnexplained, PeerView, TransferView
from core.model import Amount
from tests.desk import scripted_ledger
from tests.desk.driving import Desk, opened, with_options
from tests.desk.scripted import NOW_MS
from tui.screens.dialogs import Confirm
from tui.screens.ledger import LedgerScreen
from tui.screens.transfers import TransfersScreen
from tui.screens.trial import TrialScreen
from tui.screens.wallet import WalletScreen
from tui.widgets.list_table import ListTable


def shown_pairs(desk: Desk) -> list[str]:
    """Peer and token of the lines, from the top, sums left aside."""
    table = desk.screen.query_one("#ledger-pairs", ListTable)
    rows = [item for item in table.items if not item.heading]
    return [f"{item.cells[1].text} {item.cells[2].text}" for item in rows]


def figures(desk: Desk, peer: str, token: str) -> list[str]:
    """A pair's cells as text."""
    table = desk.screen.query_one("#ledger-pairs", ListTable)
    item = next(i for i in table.items if i.key == f"pair {peer}\0{token}")
    return [cell.text for cell in item.cells]


async def on_custody(desk: Desk) -> LedgerScreen:
    """The ledger, with the cursor in the list of differences."""
    await desk.press("3", "tab")
    assert isinstance(desk.screen, LedgerScreen)
    return desk.screen


# --- pairs ----------------------------------------------------------------------------------


async def test_three_opens_the_ledger_with_pairs_sums_and_the_books() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3")
        said = desk.text()
        for words in (
            "connector-a",
            "412,000",
            "+313,500",
            "42%",
            "575,500",
            "108%",
            "no limit",
            "Σ 3 pairs",
            "-3,662,200",
            "embedded ledger",
            "journal 4.40MB",
            "last fsync <10s ago",
            "snapshot 10m ago",
            "trial balance 0 in 5 ledgers",
            "1 unexplained",
            "9 pairs",
        ):
            assert words in said
        assert figures(desk, "connector-a", "USD")[8] == "12,500"  # in flight


async def test_the_use_of_a_limit_is_a_bar_a_number_and_a_sign() -> None:
    async with opened() as desk:
        await desk.press("3")
        assert figures(desk, "market-west", "EUR")[0] == "✗"
        assert figures(desk, "market-west", "EUR")[6] == "███████  108%"
        assert figures(desk, "connector-b", "USD")[0] == "⚠"
        assert figures(desk, "connector-b", "USD")[6] == "██████░   86%"
        assert figures(desk, "connector-a", "USD")[0] == " "
        assert figures(desk, "relay-07", "USD")[6] == "no limit"


async def test_a_figure_too_large_for_its_column_is_never_cut_to_a_smaller_one() -> None:
    async with opened() as desk:
        await desk.press("3")
        table = desk.screen.query_one("#ledger-pairs", ListTable)
        table.move_to("pair relay-07\0USD")
        await desk.pilot.pause(0.05)
        said = desk.text()
        assert "2.500…e15" in said
        assert "owes us 2,500,000,000,000,000 · we owe 1" in said
    async with opened(size=(200, 60)) as desk:
        await desk.press("3")
        assert "2.500…e15" not in desk.text()


async def test_slash_filters_by_words_figures_and_use() -> None:
    for words, wanted in (
        ("use>80", ["market-west EUR", "[b]peer[/b] USD", "market-east USD", "connector-b USD"]),
        ("net<0", ["connector-b EUR", "取引先-大阪 EUR"]),
        ("peer:market-* token:usd", ["market-east USD"]),
        ("-token:usd connector", ["connector-b EUR"]),
    ):
        async with opened() as desk:
            await desk.press("3", "slash")
            desk.app.screen.query_one(Input).value = words
            await desk.pilot.pause(0.15)
            await desk.press("enter")
            assert shown_pairs(desk) == wanted
            assert f"{len(wanted)}/9 pairs" in desk.text()


async def test_escape_brings_every_pair_back() -> None:
    async with opened() as desk:
        await desk.press("3", "slash")
        desk.app.screen.query_one(Input).value = "nobody"
        await desk.pilot.pause(0.15)
        assert "no pair matches: Esc clears the filter" in desk.text()
        await desk.press("enter", "escape")
        assert len(shown_pairs(desk)) == 9


async def test_a_filter_that_makes_no_sense_says_why_and_keeps_the_list() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3", "slash")
        desk.app.screen.query_one(Input).value = "limit<1.5x"
        await desk.pilot.pause(0.15)
        assert "no field 'limit'" in desk.text()
        assert len(shown_pairs(desk)) == 9


async def test_the_order_follows_the_keys() -> None:
    async with opened() as desk:
        await desk.press("3")
        assert "sort: use ↓" in desk.text()
        assert shown_pairs(desk)[0] == "market-west EUR"
        assert shown_pairs(desk)[-1] == "relay-07 USD"  # no limit stands last
        await desk.press("r")
        assert "sort: use ↑" in desk.text()
        assert shown_pairs(desk)[-1] == "relay-07 USD"
        await desk.press("greater_than_sign")
        assert "sort: headroom ↑" in desk.text()
        await desk.press("less_than_sign", "less_than_sign", "less_than_sign")
        assert "sort: net ↓" in desk.text()
        assert shown_pairs(desk)[0] == "relay-07 USD"
        assert shown_pairs(desk)[-1] == "connector-b EUR"


async def test_pairs_move_with_the_engine_and_the_cursor_stays_on_its_pair() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3", "j")
        table = desk.screen.query_one("#ledger-pairs", ListTable)
        at = table.cursor
        view = PeerView("newcomer", "USD", Amount(99), limit=Amount(100), headroom=Amount(1))
        desk.engine.push(peers=(view,))
        await desk.tick(1)
        assert "newcomer USD" in shown_pairs(desk)
        assert table.cursor == at
        assert "Σ 7 pairs" in desk.text()


async def test_a_ledger_without_peers_says_what_to_do() -> None:
    async with opened(before=lambda engine: engine.no_peers()) as desk:
        await desk.press("3")
        assert "set [ledger] tokens, then POST /v1/packets books the first" in desk.text()
        assert "custody: chain and ledger agree" in desk.text()


async def test_y_copies_the_peer_and_shift_y_the_pair() -> None:
    async with opened() as desk:
        await desk.press("3", "y")
        assert desk.app.clipboard == "market-west"
        await desk.press("Y")
        found = json.loads(desk.app.clipboard)
        assert found["receivable"] == "540000"
        assert found["usePercent"] == 108


async def test_e_writes_the_pairs_that_are_shown(tmp_path: Path) -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3", "e")
        path = tmp_path / "pairs.json"
        desk.app.screen.query_one("#path", Input).value = str(path)
        await desk.pilot.pause(0.05)
        await desk.press("enter")
        await desk.pilot.pause(0.2)
        found = json.loads(path.read_text())
        assert len(found) == 9
        assert found[0]["peerId"] == "market-west"
        assert {row["limit"] for row in found if row["peerId"] == "relay-07"} == {None}


# --- the books ------------------------------------------------------------------------------


async def test_books_out_of_balance_are_said_aloud_everywhere() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3")
        desk.engine.push(trial=scripted_ledger.unbalanced())
        await desk.tick(1)
        said = desk.text()
        assert "ledger◐ not balanced" in said
        assert "TRIAL BALANCE NOT ZERO: USD posted +10" in said
        assert any("trial balance not zero" in toast for toast in desk.toasts())


async def test_a_ledger_that_is_away_says_why_and_the_rest_goes_on() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3")
        desk.engine.take_ledger_away()
        await desk.tick(1)
        said = desk.text()
        assert "ledger○ away" in said
        assert "the ledger is away: fsync: No space left" in said
        assert "412,000" in said  # the last figures stay
        assert desk.screen.has_class("-away")
        assert any("the ledger is away" in toast for toast in desk.toasts())
        row = desk.engine.row_of("agent-0006", 2)
        desk.engine.push(balances=(msgspec.structs.replace(row, amount=Amount(777_000_000)),))
        await desk.tick(1)
        assert desk.model.rows[row.account].amount == 777_000_000
        desk.engine.push(ledger=scripted_ledger.ledger())
        await desk.tick(1)
        assert "ledger●" in desk.text()
        assert not desk.screen.has_class("-away")


async def test_t_shows_every_ledgers_sums_and_escape_goes_back() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3", "t")
        assert isinstance(desk.screen, TrialScreen)
        said = desk.text()
        for words in ("USD", "EUR", "ETH on base", "XRP on xrpl", "9,120,400", "Ledger › Trial"):
            assert words in said
        await desk.press("y")
        assert desk.app.clipboard == "USD"
        await desk.press("Y")
        assert json.loads(desk.app.clipboard)["debits"] == "9120400"
        await desk.press("escape")
        assert isinstance(desk.screen, LedgerScreen)


async def test_ctrl_r_takes_the_sums_now() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3", "t")
        desk.engine.push(trial=scripted_ledger.unbalanced())  # not drained yet
        await desk.press("ctrl+r")
        assert "USD posted +10" in desk.text()
        desk.engine.take_ledger_away()
        await desk.press("ctrl+r")
        assert "The ledger is away: fsync" in desk.text()


# --- transfers ------------------------------------------------------------------------------


async def test_enter_opens_the_pairs_transfers_and_escape_goes_back() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3", "enter")
        assert isinstance(desk.screen, TransfersScreen)
        said = desk.text()
        for words in ("Ledger › market-west EUR", "packet in", "settlement", "-25,000",
                      "lapses after 30 s", "taken back", "200 transfers"):  # fmt: skip
            assert words in said
        await desk.press("escape")
        assert isinstance(desk.screen, LedgerScreen)


async def test_the_end_of_the_list_brings_older_transfers_until_there_are_none() -> None:
    async with opened() as desk:
        await desk.press("3", "enter", "G", "G", "G")
        await desk.pilot.pause(0.1)
        assert "450 transfers, all there are" in desk.text()
        table = desk.screen.query_one(ListTable)
        assert len({item.key for item in table.items}) == 450
        times = [item.cells[0].text for item in table.items]
        assert times == sorted(times, reverse=True)


async def test_what_is_booked_meanwhile_is_laid_on_top() -> None:
    async with opened() as desk:
        await desk.press("3", "enter")
        fresh = TransferView(
            NOW_MS, "f" * 32, "market-west", "EUR", "receivable", "settlement", Amount(-77)
        )
        desk.engine.booked["market-west", "EUR"] = [fresh]
        desk.engine.push(peers=(PeerView("market-west", "EUR", Amount(1)),))
        await desk.tick(1)
        table = desk.screen.query_one(ListTable)
        assert table.items[0].cells[3].text == "-77"
        assert "201 transfers" in desk.text()


async def test_transfers_are_copied_and_exported(tmp_path: Path) -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3", "enter", "y")
        first = scripted_ledger.transfers("market-west", "EUR")[0]
        assert desk.app.clipboard == first.id
        await desk.press("Y")
        assert json.loads(desk.app.clipboard)["pending"] is True
        await desk.press("e")
        path = tmp_path / "transfers.csv"
        desk.app.screen.query_one("#path", Input).value = str(path)
        await desk.pilot.pause(0.05)
        await desk.press("enter")
        await desk.pilot.pause(0.2)
        assert len(path.read_text().splitlines()) == 201


async def test_transfers_of_a_ledger_that_is_away_say_so_and_come_when_it_is_back() -> None:
    async with opened(size=(120, 40)) as desk:
        desk.engine.take_ledger_away()
        await desk.tick(1)
        await desk.press("3", "enter")
        assert "The ledger is away: fsync" in desk.text()
        desk.engine.push(ledger=scripted_ledger.ledger())
        await desk.tick(1)
        assert "200 transfers" in desk.text()


# --- custody --------------------------------------------------------------------------------


async def test_custody_differences_say_both_sides_since_when_and_under_which_policy() -> None:
    async with opened(size=(160, 44)) as desk:
        await on_custody(desk)
        said = desk.text()
        assert "unexplained: chain says 0.000000, ledger says 12.400000" in said
        assert "difference -12.400000 USDC since block 38,411,900" in said
        assert "kept until it is booked (strict)" in said
        assert "-0.000000000000000001" in said  # one wei is shown as one wei
        await desk.press("G")
        assert "pending: chain says 12.440000, ledger says 15.640000" in desk.text()


async def test_enter_on_a_difference_opens_the_agents_wallet() -> None:
    async with opened(size=(120, 40)) as desk:
        await on_custody(desk)
        await desk.press("enter")
        assert isinstance(desk.screen, WalletScreen)
        assert desk.screen.agent == "agent-0006"


async def test_y_copies_the_agent_of_a_difference() -> None:
    async with opened() as desk:
        await on_custody(desk)
        await desk.press("y")
        assert desk.app.clipboard == "agent-0006"
        await desk.press("Y")
        assert json.loads(desk.app.clipboard)["difference"] == "-12400000"


async def test_b_books_only_with_a_reason_and_a_second_yes() -> None:
    async with opened(size=(120, 40)) as desk:
        await on_custody(desk)
        await desk.press("b")
        assert desk.app.screen.query_one("#yes", Button).disabled  # no reason yet
        await desk.type("refund paid by hand")
        await desk.press("enter")
        assert isinstance(desk.app.screen, Confirm)
        assert desk.app.screen.query_one("#no", Button).has_focus
        assert desk.engine.executed == []
        await desk.press("tab", "enter")
        assert [
            (c.agent, c.chain, c.reason)
            for c in desk.engine.executed
            if isinstance(c, BookUnexplained)
        ] == [("agent-0006", "base", "refund paid by hand")]
        await desk.tick(1)
        assert "0 unexplained" not in desk.text()
        assert "2 booked" in desk.text()


async def test_escape_at_either_question_books_nothing() -> None:
    async with opened(size=(120, 40)) as desk:
        await on_custody(desk)
        await desk.press("b", "escape", "b")
        await desk.type("x")
        await desk.press("enter", "escape")
        assert isinstance(desk.app.screen, LedgerScreen)
        assert desk.engine.executed == []


async def test_b_says_when_there_is_nothing_to_book() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("3", "b")
        assert any("go to a custody difference first" in toast for toast in desk.toasts())
        await desk.press("tab", "G", "b")
        assert any("this difference is pending" in toast for toast in desk.toasts())
        assert isinstance(desk.app.screen, LedgerScreen)


async def test_a_read_only_desk_has_no_key_that_books() -> None:
    async with opened(size=(120, 40), options=with_options(read_only=True)) as desk:
        await on_custody(desk)
        assert "b" not in desk.screen.active_bindings
        await desk.press("b")
        assert isinstance(desk.app.screen, LedgerScreen)


async def test_a_lost_engine_turns_booking_off_and_keeps_the_picture() -> None:
    async with opened(size=(120, 40)) as desk:
        await on_custody(desk)
        desk.engine.lose()
        await desk.tick(1)
        said = desk.text()
        assert "engine lost" in said
        assert "412,000" in said
        await desk.press("b")
        assert isinstance(desk.app.screen, LedgerScreen)


async def test_a_difference_that_is_explained_leaves_the_list() -> None:
    async with opened(size=(120, 40)) as desk:
        await on_custody(desk)
        table = desk.screen.query_one("#ledger-custody", ListTable)
        before = len(table.items)
        view = desk.app.session.custody[int(table.cursor)]
        desk.engine.push(custody=(msgspec.structs.replace(view, state="equal"),))
        await desk.tick(1)
        assert len(table.items) == before - 1
        assert "unexplained" not in desk.text()


async def test_the_wallet_says_how_each_balance_stands_in_the_ledger() -> None:
    async with opened(size=(160, 40)) as desk:
        await desk.press("enter")
        await desk.pilot.pause(0.2)
        said = desk.text()
        assert "unexplained -12.400000 USDC since block 38,411,900: ledger says 12.400000" in said
        assert "equal" in said
        account = desk.engine.row_of("agent-0006", 2).account
        view = desk.app.session.custody[account]
        desk.engine.push(custody=(msgspec.structs.replace(
            view, state="equal", difference=Amount(0), unexplained=Amount(0)),))  # fmt: skip
        await desk.tick(1)
        await desk.pilot.pause(0.1)
        assert "unexplained" not in desk.text()
        desk.engine.take_ledger_away()
        await desk.tick(1)
        await desk.pilot.pause(0.1)
        assert "The ledger is away: fsync" in desk.text()


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_hostile_names_are_plain_words_at_every_size(size: tuple[int, int]) -> None:
    async with opened(size=size) as desk:
        await desk.press("3")
        table = desk.screen.query_one("#ledger-pairs", ListTable)
        table.move_to(f"pair {scripted_ledger.HOSTILE_PEER}\0USD")
        await desk.pilot.pause(0.05)
        said = desk.text()
        assert "[b]peer[/b]" in said
        assert "\x1b" not in said
        assert "\u202e" not in said
