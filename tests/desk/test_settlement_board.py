"""Every key of Settlement, pressed on the running desk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Button, Input, Static

from core.api import (
    CompleteSettlement,
    FailSettlement,
    SetThreshold,
    SettlementPairView,
    StartSettlement,
)
from core.model import Amount
from tests.desk import scripted_ledger, scripted_settlement
from tests.desk.driving import Desk, opened, with_options
from tests.desk.scripted_settlement import KEY
from tui.options import DeskOptions
from tui.screens.dialogs import Confirm, Form, Tell
from tui.screens.help import HelpScreen
from tui.screens.settlement import SettlementScreen
from tui.screens.transfers import TransfersScreen
from tui.session import Phase
from tui.settlements import SettlementKey
from tui.widgets.settlement_board import SettlementBoard

LIST, LANES = (80, 24), (120, 40)
BOTH = pytest.mark.parametrize("size", [LIST, LANES], ids=["list", "lanes"])
STUCK = ("market-west", "EUR", "receivable")
ASKED = ("market-east", "USD", "receivable")
NEAR = ("connector-a", "USD", "receivable")


@asynccontextmanager
async def board(
    size: tuple[int, int] = LIST, options: DeskOptions | None = None
) -> AsyncIterator[Desk]:
    """The desk on the board, with settlements in every state."""
    async with opened(size, options) as desk:
        desk.engine.settle()
        await desk.tick()
        await desk.press("2")
        assert isinstance(desk.screen, SettlementScreen)
        yield desk


def here(desk: Desk) -> SettlementKey | None:
    """The settlement under the cursor."""
    row = desk.screen.query_one(SettlementBoard).row
    return row.key if row is not None else None


def detail(desk: Desk) -> str:
    """What is said of the row under the cursor."""
    return str(desk.screen.query_one("#settlement-detail", Static).content)


async def go(desk: Desk, key: SettlementKey) -> None:
    desk.screen.query_one(SettlementBoard).move_to(key)
    await desk.pilot.pause(0.05)
    assert here(desk) == key


def dialog(desk: Desk) -> str:
    """What the dialog on top says, however its lines are broken."""
    return " ".join(str(words.content) for words in desk.app.screen.query(Static))


async def answer(desk: Desk, **values: str) -> None:
    """Fill a form and go on."""
    form = desk.app.screen
    assert isinstance(form, Form)
    for name, value in values.items():
        form.query_one(f"#{name}", Input).value = value
    await desk.pilot.pause(0.05)
    await desk.pilot.click("#yes")
    await desk.pilot.pause(0.05)


async def confirm(desk: Desk) -> None:
    """Say yes, once it is seen that Cancel has the focus."""
    assert isinstance(desk.app.screen, Confirm)
    focused = desk.app.screen.focused
    assert isinstance(focused, Button)
    assert focused.id == "no"
    await desk.press("right", "enter")


@BOTH
async def test_the_cursor_begins_where_an_eye_is_needed_most(size: tuple[int, int]) -> None:
    async with board(size) as desk:
        assert here(desk) == STUCK


@BOTH
async def test_what_is_stuck_is_said_in_words_without_its_row(size: tuple[int, int]) -> None:
    async with board(size) as desk:
        said = desk.text()
        assert "STUCK: market-west EUR, 40 minutes under way." in said
        assert "STUCK 40 minutes" in said
        assert "1 STUCK" in said


async def test_lanes_stand_side_by_side_and_the_list_is_grouped() -> None:
    async with board(LANES) as desk:
        heading = next(line for line in desk.lines() if "PENDING 2" in line)
        assert heading.index("IDLE 5") < heading.index("PENDING 2") < heading.index("IN PROGRESS 3")
    async with board(LIST) as desk:
        said = desk.text()
        assert said.index("IN PROGRESS 3") < said.index("PENDING 2") < said.index("IDLE 5")


@BOTH
async def test_rows_show_bar_number_headroom_rate_and_time(size: tuple[int, int]) -> None:
    async with board(size) as desk:
        await go(desk, NEAR)
        said = " ".join(desk.text().split())
        for words in (
            "58%", "412,000 of 700,000", "headroom 575,500", "+12,000/min", "in 20m",
            "last settled 700,500, 26 hours ago", "net +313,500",
        ):  # fmt: skip
            assert words in said, words
        assert "█" in said
        assert "░" in said


async def test_j_k_g_move_in_the_list_and_over_the_headings() -> None:
    async with board(LIST) as desk:
        await desk.press("j", "j", "down")
        assert here(desk) == ASKED
        await desk.press("k", "up")
        assert here(desk) == ("settler", "USD", "payable")
        await desk.press("G")
        assert here(desk) == ("relay-07", "USD", "receivable")
        await desk.press("g")
        assert here(desk) == STUCK
        await desk.press("pagedown")
        assert here(desk) != STUCK
        await desk.press("pageup")
        assert here(desk) == STUCK


async def test_h_and_l_change_the_lane_and_j_k_the_card() -> None:
    async with board(LANES) as desk:
        await desk.press("h")
        assert here(desk) == ASKED
        await desk.press("j")
        assert here(desk) == ("connector-b", "USD", "receivable")
        await desk.press("left", "G")
        assert here(desk) == ("relay-07", "USD", "receivable")
        await desk.press("g", "pagedown")
        assert here(desk) != (scripted_ledger.HOSTILE_PEER, "USD", "receivable")
        await desk.press("pageup")
        assert here(desk) == (scripted_ledger.HOSTILE_PEER, "USD", "receivable")
        await desk.press("right", "right", "l")
        assert here(desk) == STUCK


async def test_the_cursor_and_the_focus_survive_another_width() -> None:
    async with board(LANES) as desk:
        await desk.press("h", "j")
        was = here(desk)
        await desk.pilot.resize_terminal(*LIST)
        await desk.pilot.pause(0.1)
        assert here(desk) == was
        await desk.press("k")
        assert here(desk) == ASKED
        await desk.pilot.resize_terminal(*LANES)
        await desk.pilot.pause(0.1)
        assert here(desk) == ASKED


@BOTH
async def test_the_cursor_follows_its_settlement_into_another_state(
    size: tuple[int, int],
) -> None:
    async with board(size) as desk:
        await go(desk, NEAR)
        view = desk.engine.settlement_of("connector-a", "USD")
        moved = msgspec.structs.replace(
            view, state="SETTLEMENT_PENDING", due=Amount(700_001), since_ms=desk.clock.now_ms()
        )
        desk.engine.push(settlements=(moved,))
        await desk.tick()
        assert here(desk) == NEAR
        assert "PENDING 3" in desk.text()


@BOTH
async def test_s_starts_what_is_pending_after_two_questions(size: tuple[int, int]) -> None:
    async with board(size) as desk:
        await go(desk, ASKED)
        await desk.press("s")
        assert "begins a payment of 450,000" in desk.text()  # 500,000 less settle_to 50,000
        await answer(desk, amount="400,000")
        assert "Bursar pays nothing itself" in dialog(desk)
        await confirm(desk)
        assert desk.engine.executed[-1:] == [
            StartSettlement("market-east", "USD", "receivable", Amount(400_000))
        ]
        await desk.tick()
        assert here(desk) == ASKED
        assert "pays 400,000 by operator" in detail(desk)


async def test_an_amount_that_cannot_be_started_is_refused_while_it_is_typed() -> None:
    async with board() as desk:
        await go(desk, ASKED)
        await desk.press("s")
        for wrong, why in (("450,001", "more than what is due"), ("0", "above zero"),
                           ("much", "not an amount")):  # fmt: skip
            desk.app.screen.query_one("#amount", Input).value = wrong
            await desk.pilot.pause(0.05)
            assert why in desk.text()
            assert desk.app.screen.query_one("#yes", Button).disabled
        await desk.press("escape")
        assert not desk.engine.executed


@BOTH
async def test_d_books_all_of_it_under_the_key_that_was_seen(size: tuple[int, int]) -> None:
    async with board(size) as desk:
        await desk.press("d")
        await answer(desk)
        assert "A booking is never taken back" in dialog(desk)
        await confirm(desk)
        assert desk.engine.executed[-1:] == [
            CompleteSettlement("market-west", "EUR", "receivable", None, KEY.format(3))
        ]
        await desk.tick()
        assert "STUCK" not in desk.text()


async def test_d_books_a_smaller_amount_and_says_what_becomes_of_the_rest() -> None:
    async with board() as desk:
        await desk.press("d")
        await answer(desk, amount="500,000")
        assert "The other 40,000" in dialog(desk)
        await confirm(desk)
        [command] = desk.engine.executed
        assert isinstance(command, CompleteSettlement)
        assert command.amount == 500_000


async def test_x_wants_a_reason_and_warns_of_paying_twice() -> None:
    async with board() as desk:
        await desk.press("x")
        assert "write why" in desk.text()
        await desk.type("bank closed")
        await desk.press("enter")
        assert "it would be paid twice" in dialog(desk)
        await confirm(desk)
        assert desk.engine.executed == [
            FailSettlement("market-west", "EUR", "bank closed", "receivable", KEY.format(3))
        ]
        await desk.tick()
        assert "PENDING 3" in desk.text()


@pytest.mark.parametrize(
    ("scope", "level", "given", "said"),
    [
        ("pair", "600,000", ("connector-a", "USD", "600000"), "settle above 600,000"),
        ("pair", "80%", ("connector-a", "USD", "80%"), "now 800,000"),
        ("pair", "400000", ("connector-a", "USD", "400000"), "asked for at once"),
        ("pair", "configured", ("connector-a", "USD", ""), "back to what the configuration says"),
        ("peer", "0", ("connector-a", "", "0"), "in every token without one of its own"),
        ("default", "1_000", ("", "", "1000"), "every peer and token"),
    ],
)
async def test_t_sets_the_threshold_of_a_pair_a_peer_or_everybody(
    scope: str, level: str, given: tuple[str, str, str], said: str
) -> None:
    async with board() as desk:
        await go(desk, NEAR)
        await desk.press("t")
        desk.app.screen.query_one("#scope", Input).value = scope
        desk.app.screen.query_one("#level", Input).value = level
        await desk.pilot.pause(0.05)
        assert said in dialog(desk)
        await answer(desk)
        if level == "80%":  # refused by the engine, in its own words
            await confirm(desk)
            assert "above the credit limit" in desk.toasts()[-1]
            return
        await confirm(desk)
        assert desk.engine.executed == [SetThreshold(*given)]


async def test_a_warning_about_a_threshold_is_shown() -> None:
    async with board() as desk:
        await desk.press("t")
        await answer(desk, scope="default", level="990")
        await confirm(desk)
        assert "closer than 5 %" in desk.toasts()[-1]


@pytest.mark.parametrize("wrong", ["", "-1", "120 apples", "1.5"])
async def test_a_level_that_is_none_is_refused_while_it_is_typed(wrong: str) -> None:
    async with board() as desk:
        await desk.press("t")
        desk.app.screen.query_one("#level", Input).value = wrong
        await desk.pilot.pause(0.05)
        assert desk.app.screen.query_one("#yes", Button).disabled


@pytest.mark.parametrize(
    ("key", "at", "words"),
    [
        ("s", STUCK, "only what is pending can be started; d completes it"),
        ("s", NEAR, "only what is pending can be started; it is asked for"),
        ("d", ASKED, "only what is in progress can be completed; s starts it"),
        ("x", ASKED, "only what is in progress can be failed; s starts it"),
        ("d", NEAR, "only what is in progress can be completed"),
        ("x", NEAR, "only what is in progress can be failed"),
    ],
)
async def test_an_illegal_command_is_said_and_nothing_is_asked(
    key: str, at: SettlementKey, words: str
) -> None:
    async with board() as desk:
        await go(desk, at)
        await desk.press(key)
        assert desk.app.screen is desk.screen
        assert words in desk.toasts()[-1]
        assert not desk.engine.executed


async def test_what_changed_under_the_dialog_is_refused_by_the_engine_and_shown() -> None:
    async with board() as desk:
        await desk.press("d")
        await answer(desk)
        view = desk.engine.settlement_of("market-west", "EUR")
        desk.engine.push(settlements=(msgspec.structs.replace(view, state="IDLE"),))
        await confirm(desk)
        assert "it is IDLE, not SETTLEMENT_IN_PROGRESS" in desk.toasts()[-1]


@pytest.mark.parametrize("key", ["s", "d", "x", "t"])
async def test_cancel_is_under_the_cursor_and_escape_does_nothing(key: str) -> None:
    async with board() as desk:
        if key == "s":
            await go(desk, ASKED)
        await desk.press(key)
        values = {"x": {"reason": "no"}, "t": {"level": "9"}}.get(key, {})
        await answer(desk, **values)
        await desk.press("enter")  # Cancel has the focus
        assert desk.app.screen is desk.screen
        await desk.press(key)
        await answer(desk, **values)
        await desk.press("escape")
        assert desk.app.screen is desk.screen
        assert not desk.engine.executed


@BOTH
async def test_shift_e_shows_why_in_the_engines_words(size: tuple[int, int]) -> None:
    async with board(size) as desk:
        await desk.press("E")
        assert isinstance(desk.app.screen, Tell)
        assert "then complete or fail it." in dialog(desk)
        await desk.press("enter")
        await desk.pilot.pause(0.05)
        assert len(desk.app.screen_stack) == 1
        desk.engine.take_ledger_away()
        await desk.press("E")
        assert "The ledger is away" in desk.toasts()[-1]


@BOTH
async def test_slash_filters_and_escape_brings_all_back(size: tuple[int, int]) -> None:
    async with board(size) as desk:
        await desk.press("slash")
        await desk.type("peer:settler")
        await desk.press("enter")
        said = desk.text()
        assert "2/10  filter: peer:settler" in said
        assert "market-east" not in said
        await desk.press("j")
        assert here(desk) == ("settler", "USD", "receivable")
        await desk.press("escape")
        assert "market-east" in desk.text()


@BOTH
async def test_a_filter_that_empties_the_lane_takes_the_cursor_to_what_it_left(
    size: tuple[int, int],
) -> None:
    async with board(size) as desk:
        await go(desk, STUCK)
        await desk.press("slash")
        await desk.type("peer:connector-a token:usd")
        await desk.press("enter")
        assert here(desk) == NEAR
        await desk.press("t")
        assert isinstance(desk.app.screen, Form)  # and the keys concern it


async def test_a_wrong_filter_says_why_and_the_old_one_stands() -> None:
    async with board() as desk:
        await desk.press("slash")
        desk.app.screen.query_one(Input).value = "state:done"
        await desk.pilot.pause(0.12)
        assert "no state 'done'" in desk.text()
        assert "market-east" in desk.text()


async def test_exclamation_mark_shows_only_what_is_stuck() -> None:
    async with board() as desk:
        await desk.press("exclamation_mark")
        assert "filter: stuck" in desk.text()
        assert "settler" not in desk.text()
        await desk.press("exclamation_mark")
        assert "settler" in desk.text()


async def test_y_copies_the_key_and_shift_y_the_row() -> None:
    async with board() as desk:
        await desk.press("y")
        assert desk.app.clipboard == KEY.format(3)
        await desk.press("Y")
        row = json.loads(desk.app.clipboard)
        assert (row["peerId"], row["stuck"], row["amount"], row["sharePercent"]) == (
            "market-west", True, "540000", 0,
        )  # fmt: skip
        await go(desk, NEAR)
        await desk.press("y")
        assert "has no key" in desk.toasts()[-1]


async def test_e_writes_what_the_filter_lets_through(tmp_path: Path) -> None:
    async with board() as desk:
        await desk.press("exclamation_mark", "e")
        target = tmp_path / "stuck.json"
        await answer(desk, path=str(target))
        await desk.pilot.pause(0.2)
        [row] = json.loads(target.read_text())
        assert row["peerId"] == "market-west"


@BOTH
async def test_enter_opens_the_pairs_transfers(size: tuple[int, int]) -> None:
    async with board(size) as desk:
        await desk.press("enter")
        assert isinstance(desk.screen, TransfersScreen)
        await desk.press("escape")
        assert here(desk) == STUCK


@BOTH
async def test_a_read_only_desk_has_none_of_the_writing_keys(size: tuple[int, int]) -> None:
    async with board(size, with_options(read_only=True)) as desk:
        bound = {active.binding.id for active in desk.screen.active_bindings.values()}
        assert not {b.id for b in SettlementScreen.WRITES} & bound
        for key in ("s", "d", "x", "t"):
            await desk.press(key)
            assert desk.app.screen is desk.screen
        await desk.press("E")
        assert isinstance(desk.app.screen, Tell)
        assert not desk.engine.executed


async def test_a_lost_engine_turns_the_writing_keys_off() -> None:
    async with board() as desk:
        desk.engine.lose()
        await desk.tick()
        assert desk.app.session.link.phase is Phase.LOST
        for key in ("s", "d", "x", "t"):
            await desk.press(key)
            assert desk.app.screen is desk.screen


@BOTH
async def test_without_a_monitor_the_board_says_why(size: tuple[int, int]) -> None:
    async with opened(size) as desk:
        await desk.press("2")
        assert "no settlement monitor" in desk.text()
        desk.engine.settle()
        desk.engine.push(
            settlement=msgspec.structs.replace(
                scripted_settlement.health(), running=False, error="the store is locked"
            )
        )
        await desk.tick()
        assert "settlements are NOT WATCHED: the store is locked" in desk.text()


@BOTH
async def test_without_any_threshold_the_board_says_how_to_set_one(size: tuple[int, int]) -> None:
    async with opened(size) as desk:
        await desk.press("2")
        view = SettlementPairView("p", "USD", "receivable", "IDLE", due=Amount(5),
                                  unmonitored=scripted_settlement.UNMONITORED)  # fmt: skip
        desk.engine.push(settlements=(view,), settlement=scripted_settlement.health())
        await desk.tick()
        said = " ".join(desk.text().split())
        assert "no threshold is configured, so nothing is ever asked for: press t" in said
        assert "bursar settlements threshold" in said


async def test_an_empty_board_says_what_brings_a_pair_and_t_sets_the_default() -> None:
    async with opened() as desk:
        desk.engine.push(settlement=scripted_settlement.health())
        await desk.tick()
        await desk.press("2")
        assert "the first packet with a peer brings one" in desk.text()
        await desk.press("s")
        assert "go to a pair first" in desk.toasts()[-1]
        await desk.press("t")
        await answer(desk, level="700")
        await confirm(desk)
        assert desk.engine.executed == [SetThreshold("", "", "700")]


async def test_ten_thousand_idle_pairs_are_folded_to_the_nearest() -> None:
    async with opened(LANES) as desk:
        views = [
            SettlementPairView(f"p{n:05d}", "USD", "receivable", "IDLE", due=Amount(n),
                               threshold=Amount(20_000))
            for n in range(10_000)
        ]  # fmt: skip
        desk.engine.push(settlements=tuple(views), settlement=scripted_settlement.health())
        await desk.tick()
        await desk.press("2")
        assert "IDLE 10,000" in desk.text()
        assert "the nearest 50 shown" in desk.text()
        assert here(desk) == ("p09999", "USD", "receivable")
        await desk.press("slash")
        await desk.type("p00001")
        await desk.press("enter")
        assert here(desk) == ("p00001", "USD", "receivable")


async def test_help_and_palette_know_the_board() -> None:
    async with board() as desk:
        await desk.press("question_mark")
        assert isinstance(desk.app.screen, HelpScreen)
        sections = desk.app.screen._sections
        words = {meaning for _, lines in sections for _, meaning in lines}
        assert {"Start", "Done", "Failed", "Threshold", "Explain"} <= words
        assert any("state:pending" in keys for _, lines in sections for keys, _ in lines)
