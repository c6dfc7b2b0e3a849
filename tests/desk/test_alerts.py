"""Open alerts on the running desk: list, status bar, toasts, bell, and every key for them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from textual.widgets import Button, Input, Static

from core.alerts import RuleKind
from core.api import AcknowledgeAlert, AlertView, SilenceAlert
from core.model import Severity
from tests.desk.driving import Desk, opened, with_options
from tests.desk.scripted import NOW_MS, ScriptedEngine
from tests.desk.scripted_alerts import (
    BACKUP,
    CUSTODY,
    DOWN,
    HOSTILE,
    LOW,
    RUNWAY,
    STUCK,
    TRIAL,
)
from tui.app import BursarApp
from tui.options import DeskOptions
from tui.screens.alert_places import PLACES
from tui.screens.backups import BackupsScreen
from tui.screens.dialogs import Form
from tui.screens.endpoints import EndpointsScreen
from tui.screens.events import EventsScreen
from tui.screens.help import HelpScreen
from tui.screens.settlement import SettlementScreen
from tui.screens.trial import TrialScreen
from tui.screens.wallet import WalletScreen
from tui.widgets.alert_list import AlertList
from tui.widgets.list_table import ListTable
from tui.widgets.settlement_board import SettlementBoard

SMALL, LARGE = (80, 24), (200, 60)
BOTH = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x60"])
ORDER = [TRIAL, CUSTODY, STUCK, BACKUP, HOSTILE, LOW, RUNWAY, DOWN]
"""Loud problems, loud warnings, quiet ones; newest first among each."""
HOUR_MS = 3_600_000


def alarmed(engine: ScriptedEngine) -> None:
    engine.settle()
    engine.alarm()


@asynccontextmanager
async def events(
    size: tuple[int, int] = SMALL, options: DeskOptions | None = None
) -> AsyncIterator[Desk]:
    """The desk on Events, with alerts in every state."""
    async with opened(size, options, before=alarmed) as desk:
        await desk.press("6")
        assert isinstance(desk.screen, EventsScreen)
        yield desk


def table(desk: Desk) -> ListTable:
    return desk.screen.query_one("#alert-table", ListTable)


def log(desk: Desk) -> ListTable:
    return desk.screen.query_one("#event-log", ListTable)


async def test_the_way_out_is_among_the_keys_shown_with_alerts_open_on_80_columns() -> None:
    async with events(SMALL) as desk:
        assert desk.text().splitlines()[-1].rstrip().endswith("? help  q quit")


def words(desk: Desk) -> str:
    """What is said in full of the alert under the cursor."""
    return str(desk.screen.query_one("#alert-words", Static).content)


async def go(desk: Desk, number: int) -> None:
    table(desk).move_to(str(number))
    await desk.pilot.pause(0.05)
    assert table(desk).cursor == str(number)


async def answer(desk: Desk, **values: str) -> None:
    """Fill a form and say yes to it."""
    form = desk.app.screen
    assert isinstance(form, Form)
    for name, value in values.items():
        form.query_one(f"#{name}", Input).value = value
    await desk.pilot.pause(0.05)
    await desk.pilot.click("#yes")
    await desk.pilot.pause(0.05)


def sentence(desk: Desk) -> str:
    return str(desk.app.screen.query_one("#sentence", Static).content)


def alert(number: int, **more: object) -> AlertView:
    view = AlertView(
        number,
        "balance-below",
        "balance-below",
        f"agent-{number:04d}",
        Severity.WARNING,
        "3 USDC on base, floor 50",
        NOW_MS,
    )
    return msgspec.structs.replace(view, **more)


def bells(app: BursarApp, patch: pytest.MonkeyPatch) -> list[str]:
    """Counts how often the terminal's bell is rung."""
    rung: list[str] = []
    patch.setattr(app, "bell", lambda: rung.append("ding"))
    return rung


# --- the list -------------------------------------------------------------------------------


@BOTH
async def test_loud_problems_come_first_and_quiet_alerts_last(size: tuple[int, int]) -> None:
    async with events(size) as desk:
        assert [int(item.key) for item in table(desk).items] == ORDER
        assert "✗ 6 of 8 alerts loud" in desk.text()


async def test_a_line_says_severity_rule_subject_age_and_what_was_seen() -> None:
    async with events(LARGE) as desk:
        line = next(each for each in desk.lines() if "agent-0031" in each)
        assert line.split()[:5] == ["⚠", "warning", "balance-below", "agent-0031", "1h"]
        assert "12.44 USDT on tron, floor 25" in line


@BOTH
async def test_quiet_alerts_say_why_by_whom_and_until_when(size: tuple[int, int]) -> None:
    async with events(size) as desk:
        await go(desk, RUNWAY)
        assert "acknowledged by operator" in desk.text()
        assert "acknowledged by operator 30m ago: refill ordered" in words(desk)
        await go(desk, DOWN)
        assert "silenced 55m" in desk.text()
        assert "silenced by operator until 12:59 UTC: the provider works on it" in words(desk)


async def test_a_silence_that_is_over_is_said_no_more() -> None:
    async with events(LARGE) as desk:
        await go(desk, BACKUP)
        assert "silenced" not in words(desk)
        assert words(desk).startswith("⚠ warning  backup-overdue: backups")


async def test_an_alert_becomes_loud_when_its_silence_ends_without_a_word_of_the_engine() -> None:
    async with events() as desk:
        soon = tuple(
            msgspec.structs.replace(each, silenced_until_ms=NOW_MS + 4_000)
            if each.id == DOWN
            else each
            for each in desk.engine.alerts
        )
        desk.engine.push(alerts=soon)
        await desk.tick()
        assert "✗ 6 alerts" in desk.lines()[0]
        await desk.tick(4)
        assert "✗ 7 alerts" in desk.lines()[0]
        assert "silenced" not in desk.text()
        assert desk.toasts() == []  # it is no new crossing


async def test_words_from_outside_are_neither_markup_nor_escapes() -> None:
    async with events(LARGE) as desk:
        await go(desk, HOSTILE)
        assert "[b]night[/b]: [red]gone[/red]" in words(desk)
        assert "[blink]look[/blink] here" in desk.text()
        for char in ("\x1b", "\x07", "\u202e"):
            assert char not in desk.text()


async def test_the_list_takes_a_quarter_of_a_small_screen_and_scrolls() -> None:
    async with events(SMALL) as desk:
        assert table(desk).size.height == 5  # the header and four alerts
        assert log(desk).size.height >= 10
        await desk.press("G")
        assert table(desk).cursor == str(DOWN)
        assert "silenced 55m" in desk.text()
    async with events(LARGE) as desk:
        assert table(desk).size.height == len(ORDER) + 1


async def test_without_alerts_the_log_has_the_screen_and_its_footer() -> None:
    async with opened(SMALL) as desk:
        await desk.press("6")
        assert not desk.screen.query_one(AlertList).display
        assert "✓ no open alert" in desk.text()
        assert "acknowledge" not in desk.lines()[-1]
        assert log(desk).has_focus
        await desk.press("a", "s", "tab")  # nothing to do it to
        assert isinstance(desk.app.screen, EventsScreen)
        assert log(desk).has_focus


async def test_the_alerts_go_and_the_log_gets_the_keys_when_the_last_one_closes() -> None:
    async with events() as desk:
        assert table(desk).has_focus
        desk.engine.push(alerts=())
        await desk.tick()
        assert not desk.screen.query_one(AlertList).display
        assert log(desk).has_focus
        assert "alerts" not in desk.lines()[0]


async def test_an_alert_that_opens_meanwhile_does_not_take_the_keys_from_the_log() -> None:
    async with opened(SMALL) as desk:
        await desk.press("6", "k")
        was = log(desk).cursor
        desk.engine.push(alerts=(alert(1),))
        await desk.tick()
        assert desk.screen.query_one(AlertList).display
        assert log(desk).has_focus
        assert log(desk).cursor == was
        assert "acknowledge" in desk.lines()[-1]


async def test_the_cursor_stays_on_its_alert_whatever_opens_over_it() -> None:
    async with events() as desk:
        await go(desk, LOW)
        more = tuple(alert(n, severity=Severity.PROBLEM) for n in range(20, 26))
        desk.engine.push(alerts=(*desk.engine.alerts, *more))
        await desk.tick()
        assert table(desk).cursor == str(LOW)
        assert "balance-below: agent-0031" in words(desk)
        shown = [line for line in desk.lines()[3:7] if "agent-0031" in line]
        assert len(shown) == 1  # and in view


async def test_of_very_many_alerts_the_worst_are_listed_and_all_are_counted() -> None:
    async with opened(SMALL) as desk:
        many = [alert(n) for n in range(1, 1_200)]
        desk.engine.push(alerts=(*many, alert(1_200, severity=Severity.PROBLEM)))
        await desk.tick()
        await desk.press("6")
        assert table(desk).items[0].key == "1200"
        assert len(table(desk).items) == 200
        assert "✗ 1,200 of 1,200 alerts loud, 200 listed" in desk.text()


async def test_the_newest_event_stays_in_view_when_alerts_take_lines_from_the_log() -> None:
    async with opened(SMALL) as desk:
        await desk.press("6")
        for _ in range(10):
            desk.engine.emit("ENGINE_STOPPED", "", reason="again")
        desk.engine.alarm()
        await desk.tick()
        assert log(desk).cursor == "21"
        assert log(desk).scroll_offset.y + log(desk).size.height - 1 == 21


# --- keys -----------------------------------------------------------------------------------


async def test_j_k_g_move_among_the_alerts_and_tab_goes_to_the_log_and_back() -> None:
    async with events() as desk:
        await desk.press("j", "down", "j")
        assert table(desk).cursor == str(BACKUP)
        await desk.press("k")
        assert table(desk).cursor == str(STUCK)
        await desk.press("G")
        assert table(desk).cursor == str(DOWN)
        await desk.press("g")
        assert table(desk).cursor == str(TRIAL)
        await desk.press("tab")
        assert log(desk).has_focus
        await desk.press("g", "j")
        assert log(desk).cursor == "2"
        assert table(desk).cursor == str(TRIAL)
        await desk.press("tab")
        assert table(desk).has_focus


async def test_enter_on_a_balance_opens_its_wallet_and_escape_comes_back() -> None:
    async with events() as desk:
        await go(desk, LOW)
        await desk.press("enter")
        screen = desk.app.screen
        assert isinstance(screen, WalletScreen)
        assert screen.row is not None
        assert (screen.agent, screen.row.symbol) == ("agent-0031", "USDT")
        await desk.press("escape")
        assert isinstance(desk.app.screen, EventsScreen)
        assert table(desk).has_focus


@BOTH
async def test_enter_on_a_stuck_settlement_goes_to_its_pair(size: tuple[int, int]) -> None:
    async with events(size) as desk:
        await go(desk, STUCK)
        await desk.press("enter")
        assert isinstance(desk.app.screen, SettlementScreen)
        row = desk.screen.query_one(SettlementBoard).row
        assert row is not None
        assert row.key == ("market-west", "EUR", "receivable")


async def test_a_filter_of_the_board_that_hides_the_pair_is_taken_away() -> None:
    async with events(LARGE) as desk:
        await desk.press("2", "slash")
        await desk.type("relay")
        await desk.press("enter", "6")
        await go(desk, STUCK)
        await desk.press("enter")
        row = desk.screen.query_one(SettlementBoard).row
        assert row is not None
        assert row.view.peer == "market-west"


async def test_enter_on_an_endpoint_goes_to_it_and_on_a_chain_to_the_chain() -> None:
    async with events(LARGE) as desk:
        await go(desk, DOWN)
        await desk.press("enter")
        assert isinstance(desk.app.screen, EndpointsScreen)
        assert "https://tron-b.example  backing off" in desk.text()
        await desk.press("6")
        down = alert(30, kind="chain-down", about="xrpl", message="xrpl is down: no endpoint")
        desk.engine.push(alerts=(down,))
        await desk.tick()
        await go(desk, 30)
        await desk.press("enter")
        assert desk.screen.query_one(ListTable).cursor == "chain xrpl"


async def test_enter_on_a_trial_balance_opens_the_sums() -> None:
    async with events() as desk:
        await go(desk, TRIAL)
        await desk.press("enter")
        assert isinstance(desk.app.screen, TrialScreen)


async def test_enter_on_an_overdue_backup_goes_to_the_backups() -> None:
    async with events() as desk:
        await go(desk, BACKUP)
        await desk.press("enter")
        assert isinstance(desk.app.screen, BackupsScreen)


@pytest.mark.parametrize("number", [HOSTILE, STUCK, DOWN])
async def test_enter_on_what_is_followed_no_more_says_so_and_stays(number: int) -> None:
    async with opened(SMALL, before=lambda engine: engine.alarm()) as desk:
        gone = next(each for each in desk.engine.alerts if each.id == number)
        gone = msgspec.structs.replace(gone, about="nobody/XXX")
        desk.engine.push(alerts=(gone,))
        await desk.tick()
        await desk.press("6")
        table(desk).focus()
        await go(desk, number)
        await desk.press("enter")
        assert isinstance(desk.app.screen, EventsScreen)
        assert any("there is no page of nobody/XXX" in toast for toast in desk.toasts())


def test_every_kind_of_alert_leads_somewhere() -> None:
    assert set(PLACES) == {kind.value for kind in RuleKind}


async def test_enter_in_the_log_still_opens_the_record() -> None:
    async with events() as desk:
        await desk.press("tab", "enter")
        assert '"sequence": 11' in desk.text()
        await desk.press("escape")
        assert '"sequence"' not in desk.text()


async def test_y_copies_the_subject_and_shift_y_the_alert_where_the_keys_go_to_it() -> None:
    async with events() as desk:
        await go(desk, DOWN)
        await desk.press("y")
        assert desk.app.clipboard == "tron"
        await desk.press("Y")
        copied = json.loads(desk.app.clipboard)
        assert (copied["id"], copied["severity"]) == (DOWN, "warning")
        assert copied["silencedUntil"] == "2026-11-20T12:59:11.000Z"
        await desk.press("tab", "g", "j", "y")
        assert desk.app.clipboard == "agent-0006"


# --- acknowledging --------------------------------------------------------------------------


async def test_a_acknowledges_with_a_reason_and_the_alert_is_loud_no_more() -> None:
    async with events() as desk:
        await go(desk, STUCK)
        await desk.press("a")
        assert isinstance(desk.app.screen, Form)
        focused = desk.app.screen.focused
        assert isinstance(focused, Input)
        assert "Acknowledge settlement-stuck: market-west/EUR" in desk.text()
        assert "stays open until all is well" in sentence(desk)
        assert desk.app.screen.query_one("#yes", Button).disabled  # without a reason
        await desk.press("enter")
        assert desk.engine.executed == []
        await desk.type("called the bank")
        assert "audit log" in sentence(desk)
        await desk.press("enter")
        assert desk.engine.executed == [AcknowledgeAlert(STUCK, "called the bank")]
        await desk.tick()
        assert table(desk).cursor == str(BACKUP)  # on to the next one
        assert "✗ 5 of 8 alerts loud" in desk.text()
        assert "✗ 5 alerts" in desk.lines()[0]
        await go(desk, STUCK)
        assert "acknowledged by operator <10s ago: called the bank" in words(desk)


async def test_escape_leaves_the_form_and_nothing_is_done() -> None:
    async with events() as desk:
        for key in ("a", "s"):
            await desk.press(key)
            assert isinstance(desk.app.screen, Form)
            await desk.type("x")
            await desk.press("escape")
            assert isinstance(desk.app.screen, EventsScreen)
        assert desk.engine.executed == []


async def test_an_alert_is_acknowledged_once() -> None:
    async with events() as desk:
        await go(desk, RUNWAY)
        await desk.press("a")
        assert isinstance(desk.app.screen, EventsScreen)
        assert any("was acknowledged by operator already" in toast for toast in desk.toasts())


async def test_the_form_is_for_the_alert_it_was_opened_on_whatever_comes_meanwhile() -> None:
    async with events() as desk:
        await desk.press("a")  # on the trial balance
        left = tuple(each for each in desk.engine.alerts if each.id != TRIAL)
        desk.engine.push(alerts=left)
        await desk.tick()
        await answer(desk, reason="looking")
        assert desk.engine.executed == [AcknowledgeAlert(TRIAL, "looking")]
        assert any("There is no open alert 8." in toast for toast in desk.toasts())


# --- silencing ------------------------------------------------------------------------------


async def test_s_silences_for_an_hour_unless_told_otherwise() -> None:
    async with events() as desk:
        await go(desk, LOW)
        await desk.press("s")
        assert "Silence balance-below: agent-0031" in desk.text()
        await desk.type("payday")
        assert "asks for no attention until 13:04 UTC" in sentence(desk)
        assert "nor do new alerts of the same rule and subject" in sentence(desk)
        await desk.press("enter")
        assert desk.engine.executed == [SilenceAlert(LOW, NOW_MS + HOUR_MS, "payday")]
        await desk.tick()
        assert table(desk).cursor == str(RUNWAY)
        await go(desk, LOW)
        assert "silenced by operator until 13:04 UTC: payday" in words(desk)
        assert "✗ 5 alerts" in desk.lines()[0]


async def test_another_span_is_read_and_named_with_its_date() -> None:
    async with events() as desk:
        await go(desk, LOW)
        await desk.press("s")
        await answer(desk, span="2d", reason="holidays")
        assert desk.engine.executed == [SilenceAlert(LOW, NOW_MS + 48 * HOUR_MS, "holidays")]
        await desk.tick()
        await go(desk, LOW)
        assert "until 2026-11-22 12:04 UTC" in words(desk)


@pytest.mark.parametrize("span", ["", "soon", "1", "-1h"])
async def test_a_span_that_is_none_is_said_under_the_fields(span: str) -> None:
    async with events() as desk:
        await desk.press("s")
        form = desk.app.screen
        form.query_one("#reason", Input).value = "why"
        form.query_one("#span", Input).value = span
        await desk.pilot.pause(0.05)
        assert sentence(desk) == "for how long: write 30m, 1h or 2d; 0 ends a silence"
        assert form.query_one("#yes", Button).disabled


async def test_a_zero_ends_a_silence_and_is_refused_where_none_runs() -> None:
    async with events() as desk:
        await go(desk, DOWN)
        await desk.press("s")
        await answer(desk, span="0", reason="repaired")
        assert desk.engine.executed == [SilenceAlert(DOWN, 0, "repaired")]
        await desk.tick()
        assert "✗ 7 of 8 alerts loud" in desk.text()
        assert table(desk).cursor == str(DOWN)  # it is loud again, and still looked at
        await go(desk, LOW)
        await desk.press("s")
        desk.app.screen.query_one("#span", Input).value = "0"
        await desk.pilot.pause(0.05)
        assert "is not silenced" in sentence(desk)


async def test_a_refusal_of_the_engine_is_shown_as_it_is() -> None:
    async with events() as desk:
        desk.engine.refuse = "The audit log cannot be written: disk full."
        await desk.press("s")
        await answer(desk, reason="night")
        assert "The audit log cannot be written: disk full." in desk.toasts()


# --- read-only, lost, help, palette ---------------------------------------------------------


async def test_a_read_only_desk_has_no_key_for_alerts_but_enter() -> None:
    async with events(options=with_options(read_only=True)) as desk:
        assert "acknowledge" not in desk.lines()[-1]
        await desk.press("a", "s")
        assert isinstance(desk.app.screen, EventsScreen)
        await go(desk, LOW)
        await desk.press("enter")
        assert isinstance(desk.app.screen, WalletScreen)


async def test_the_keys_are_off_while_the_engine_is_lost_and_the_alerts_stay() -> None:
    async with events() as desk:
        desk.engine.lose()
        await desk.tick()
        await desk.press("a", "s")
        assert isinstance(desk.app.screen, EventsScreen)
        assert "✗ 6 alerts" in desk.lines()[0]
        assert len(table(desk).items) == len(ORDER)


async def test_help_and_palette_know_the_keys_and_the_footer_holds_eight_at_most() -> None:
    async with events(LARGE) as desk:
        footer = desk.lines()[-1]
        assert "a acknowledge" in footer
        assert "s silence" in footer
        await desk.press("question_mark")
        assert isinstance(desk.app.screen, HelpScreen)
        said = str(desk.app.screen.query_one("#help-text", Static).content)
        for line in (
            "Acknowledge the alert",
            "Silence the alert",
            "Alerts, or the log",
            "Follow the newest event",
        ):
            assert line in said
        await desk.press("escape", "colon")
        await desk.type("alert")
        assert "acknowledge the alert" in desk.text()
        assert "silence the alert" in desk.text()


async def test_the_keys_can_be_remapped_by_their_ids() -> None:
    keymap = {"alerts.acknowledge": "K", "alerts.silence": "ctrl+s", "events.other": "o"}
    async with events(options=with_options(keymap=keymap)) as desk:
        await desk.press("o")
        assert log(desk).has_focus
        await desk.press("K")
        assert "Acknowledge trial-balance: USD" in desk.text()
        await desk.press("escape", "ctrl+s")
        assert "Silence trial-balance: USD" in desk.text()


# --- the status bar -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
async def test_every_width_and_screen_says_how_many_alerts_are_loud(width: int) -> None:
    async with opened((width, 24), with_options(read_only=True), before=alarmed) as desk:
        for mode in "123456":
            await desk.press(mode)
            assert "✗ 6 alerts" in desk.lines()[0]
            assert "12:04 UTC" in desk.lines()[0]
        assert ("✗ 6 alerts, 3 problems" in desk.lines()[0]) is (width >= 120)


async def test_the_bar_has_the_glyph_of_the_worst_and_is_ascii_when_asked() -> None:
    async with opened() as desk:
        desk.engine.push(alerts=(alert(1),))
        await desk.tick()
        assert "⚠ 1 alert │" in desk.lines()[0]
        desk.engine.push(alerts=(alert(1), alert(2, severity=Severity.PROBLEM)))
        await desk.tick()
        assert "✗ 2 alerts │" in desk.lines()[0]
    async with opened(LARGE, with_options(safe=True), before=alarmed) as desk:
        await desk.press("6")
        assert "x 6 alerts, 3 problems |" in desk.lines()[0]
        alert_lines = desk.lines()[2:15]
        assert all(line.replace("─", "-").isascii() for line in alert_lines)


async def test_quiet_alerts_are_not_counted_in_the_bar() -> None:
    async with opened() as desk:
        hushed = alert(1, acknowledged_ms=NOW_MS, acknowledged_by="operator")
        desk.engine.push(alerts=(hushed, alert(2, silenced_until_ms=NOW_MS + HOUR_MS)))
        await desk.tick()
        assert "alert" not in desk.lines()[0]
        await desk.press("6")
        assert "✓ 2 alerts, none loud" in desk.text()
        assert log(desk).has_focus  # nothing asks for attention


# --- toasts and the bell --------------------------------------------------------------------


async def test_an_alert_is_told_once_in_a_toast_and_a_problem_rings_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as desk:
        rung = bells(desk.app, monkeypatch)
        desk.engine.push(alerts=(alert(1),))
        await desk.tick()
        assert desk.toasts() == ["warning: balance-below: agent-0001: 3 USDC on base, floor 50"]
        assert rung == []
        problem = alert(2, severity=Severity.PROBLEM, kind="settlement-stuck", message="stuck")
        desk.engine.push(alerts=(alert(1), problem))
        await desk.tick()
        assert len(desk.toasts()) == 2
        assert rung == ["ding"]
        noted = msgspec.structs.replace(problem, acknowledged_ms=NOW_MS)
        desk.engine.push(alerts=(alert(1), noted))
        await desk.tick(30)
        assert len(desk.toasts()) == 2
        assert rung == ["ding"]
        again = msgspec.structs.replace(problem, id=3)  # a new crossing
        desk.engine.push(alerts=(alert(1), again))
        await desk.tick()
        assert rung == ["ding", "ding"]


async def test_what_was_open_before_the_desk_looked_is_no_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(before=alarmed) as desk:
        rung = bells(desk.app, monkeypatch)
        desk.engine.lose()
        await desk.tick()
        desk.engine.restore()
        await desk.tick(2)
        assert "✗ 6 alerts" in desk.lines()[0]
        assert not any("problem" in toast or "warning" in toast for toast in desk.toasts())
        assert rung == []


async def test_what_opened_while_the_engine_was_lost_is_told_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(before=alarmed) as desk:
        rung = bells(desk.app, monkeypatch)
        desk.engine.lose()
        await desk.tick()
        problem = alert(50, severity=Severity.PROBLEM)
        desk.engine.push(alerts=(*desk.engine.alerts, problem))
        desk.engine.restore()
        await desk.tick(2)
        assert any("problem: balance-below: agent-0050" in toast for toast in desk.toasts())
        assert rung == ["ding"]


async def test_a_silenced_alert_opens_without_a_toast_and_without_the_bell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as desk:
        rung = bells(desk.app, monkeypatch)
        hushed = alert(1, severity=Severity.PROBLEM, silenced_until_ms=NOW_MS + HOUR_MS)
        desk.engine.push(alerts=(hushed,))
        await desk.tick()
        assert desk.toasts() == []
        assert rung == []


async def test_the_bell_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(options=with_options(bell=False)) as desk:
        rung = bells(desk.app, monkeypatch)
        desk.engine.push(alerts=(alert(1, severity=Severity.PROBLEM),))
        await desk.tick()
        assert len(desk.toasts()) == 1
        assert rung == []


async def test_a_paused_display_holds_its_figures_and_tells_of_alerts_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as desk:
        rung = bells(desk.app, monkeypatch)
        await desk.press("space")
        row = desk.engine.row_of("agent-0001", 3)
        changed = msgspec.structs.replace(row, severity=Severity.PROBLEM)
        desk.engine.push(balances=(changed,), alerts=(alert(1, severity=Severity.PROBLEM),))
        await desk.tick()
        assert "✗ 1 alert" in desk.lines()[0]
        assert len(desk.toasts()) == 1
        assert rung == ["ding"]
        assert desk.model.rows[row.account].severity is row.severity
        await desk.press("space")
        await desk.tick()
        assert len(desk.toasts()) == 1
        assert rung == ["ding"]


async def test_a_stale_chain_is_told_in_one_toast_by_event_and_alert() -> None:
    async with opened() as desk:
        stale = alert(1, kind="chain-stale", rule="chain-stale", about="base")
        desk.engine.emit("CHAIN_STATE_CHANGED", "base", chain="base", newState="stale")
        desk.engine.push(alerts=(stale,))
        await desk.tick()
        assert len(desk.toasts()) == 1
