"""Every key of Fleet, pressed on the running desk."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Button, Input

from core.api import ImportWallets, SetLimits, SyncNow, TagAgents
from core.model import Amount, Severity
from tests.desk.driving import opened, with_options
from tui import kept
from tui.screens.dialogs import Choose, Form
from tui.screens.fleet import FleetScreen
from tui.screens.wallet import WalletScreen
from tui.widgets.filter_line import FilterLine


async def test_j_k_and_the_arrows_move_the_cursor_by_a_row() -> None:
    async with opened() as desk:
        order = desk.model.order
        await desk.press("j", "down")
        assert desk.table.cursor_account == order[2]
        await desk.press("k", "up")
        assert desk.table.cursor_account == order[0]


async def test_g_and_shift_g_go_to_the_ends_and_pages_between() -> None:
    async with opened() as desk:
        order = desk.model.order
        await desk.press("G")
        assert desk.table.cursor_account == order[-1]
        await desk.press("g")
        assert desk.table.cursor_account == order[0]
        await desk.press("pagedown")
        paged = desk.table.cursor_account
        assert paged is not None
        assert list(order).index(paged) > 10
        await desk.press("pageup")
        assert desk.table.cursor_account == order[0]


async def test_n_and_shift_n_go_from_problem_to_problem() -> None:
    async with opened() as desk:
        loud = [a for a in desk.model.order if desk.model.rows[a].severity != "ok"]
        await desk.press("G", "n")
        assert desk.table.cursor_account == loud[0]
        await desk.press("n")
        assert desk.table.cursor_account == loud[1]
        await desk.press("N", "N")
        assert desk.table.cursor_account == loud[-1]


async def test_exclamation_mark_shows_problems_only_and_all_again() -> None:
    async with opened() as desk:
        whole = len(desk.model.order)
        await desk.press("exclamation_mark")
        assert len(desk.model.order) == 5
        assert "5/128" in desk.text()
        assert "!problems" in desk.text()
        await desk.press("exclamation_mark")
        assert len(desk.model.order) == whole


async def test_slash_filters_while_typing_and_enter_keeps_it() -> None:
    async with opened() as desk:
        await desk.press("slash")
        await desk.type("chain:xrpl")
        assert {desk.model.rows[a].chain for a in desk.model.order} == {"xrpl"}
        await desk.press("enter")
        assert desk.table.has_focus
        assert "filter: chain:xrpl" in desk.text()


async def test_a_wrong_filter_says_why_while_it_is_typed_and_the_old_one_stands() -> None:
    async with opened(options=with_options(filter="chain:base")) as desk:
        shown = len(desk.model.order)
        await desk.press("slash")
        desk.app.screen.query_one(Input).value = "chain:base colour:red"
        await desk.pilot.pause(0.12)
        assert "no field 'colour'" in desk.text()
        assert len(desk.model.order) == shown
        await desk.press("escape")
        assert desk.model.query.text == "chain:base"
        assert "no field" not in desk.text()


async def test_escape_takes_filter_and_problems_away() -> None:
    async with opened(options=with_options(filter="chain:base")) as desk:
        await desk.press("exclamation_mark", "escape")
        assert len(desk.model.order) == 128


async def test_angle_brackets_choose_the_sort_and_r_turns_it() -> None:
    async with opened(size=(120, 30)) as desk:
        await desk.press("greater_than_sign")
        assert desk.model.sort.value == "agent"
        await desk.press("r")
        assert desk.model.is_reversed
        assert "sort: agent ↓" in desk.text()
        await desk.press("less_than_sign")
        assert desk.model.sort.value == "severity"


async def test_shift_s_freezes_the_order_and_the_cursor_keeps_its_row() -> None:
    async with opened() as desk:
        await desk.press("S")
        assert "frozen" in desk.text()
        order = list(desk.model.order)
        row = desk.engine.row_of("agent-0001", 3)
        desk.engine.push(balances=(msgspec.structs.replace(row, severity=Severity.PROBLEM),))
        await desk.tick(3)
        assert list(desk.model.order) == order
        await desk.press("S")
        assert list(desk.model.order) != order


async def test_c_chooses_columns_and_they_are_kept_for_the_next_desk(tmp_path: Path) -> None:
    async with opened(size=(120, 30), options=with_options(state_dir=tmp_path)) as desk:
        await desk.press("c")
        assert isinstance(desk.app.screen, Choose)
        await desk.press("j", "j", "space")
        assert "[ ] CHAIN" in desk.text()
        await desk.press("enter")
        await desk.pilot.pause(0.1)
        assert "chain" not in desk.table.columns
        assert "CHAIN" not in desk.text()
    assert "chain" not in kept.load(tmp_path).columns
    async with opened(size=(120, 30), options=with_options(state_dir=tmp_path)) as again:
        assert "CHAIN" not in again.text()


async def test_escape_leaves_the_columns_as_they_were() -> None:
    async with opened() as desk:
        before = desk.table.columns
        await desk.press("c", "j", "k", "space", "escape")
        assert desk.table.columns == before


async def test_y_copies_the_address_and_says_how_much() -> None:
    async with opened() as desk:
        await desk.press("y")
        row = desk.engine.row_of("agent-0006", 2)
        assert desk.app.clipboard == row.address
        assert any(f"copied address, {len(row.address)} chars" in t for t in desk.toasts())


async def test_shift_y_copies_the_row_with_exact_strings() -> None:
    async with opened() as desk:
        await desk.press("j", "Y")
        copied = json.loads(desk.app.clipboard)
        assert copied["agentId"] == "agent-0018"
        assert copied["balance"] is None
        assert copied["error"] == "execution reverted without a reason"


async def test_o_copies_the_explorers_page_or_says_that_there_is_none() -> None:
    explorers = {"base": "https://scan.example/address/{address}"}
    async with opened(options=with_options(explorers=explorers)) as desk:
        row = desk.engine.row_of("agent-0006", 2)
        await desk.press("o")
        assert desk.app.clipboard == f"https://scan.example/address/{row.address}"
        await desk.press("j", "j", "o")
        assert any("no explorer for xrpl" in toast for toast in desk.toasts())


@pytest.mark.parametrize("suffix", [".csv", ".json"])
async def test_e_writes_what_is_shown_in_its_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"fleet{suffix}"
    async with opened() as desk:
        await desk.press("exclamation_mark", "e")
        form = desk.app.screen
        assert isinstance(form, Form)
        form.query_one(Input).value = str(path)
        await desk.press("enter")
        await desk.pilot.pause(0.2)
        assert any("wrote 5 rows" in toast for toast in desk.toasts())
        shown = [desk.model.rows[a].agent for a in desk.model.order]
    content = path.read_text()
    rows = json.loads(content) if suffix == ".json" else list(csv.DictReader(io.StringIO(content)))
    assert [row["agentId"] for row in rows] == shown
    assert path.stat().st_mode & 0o777 == 0o600


async def test_an_export_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "there.csv"
    path.write_text("mine")
    async with opened() as desk:
        await desk.press("e")
        desk.app.screen.query_one(Input).value = str(path)
        await desk.press("enter")
        # Where the sentence is broken into lines, the path's length says; no word is.
        assert "already" in desk.text()
        assert desk.app.screen.query_one("#yes", Button).disabled
        await desk.press("escape")
        assert isinstance(desk.app.screen, FleetScreen)
    assert path.read_text() == "mine"


async def test_a_watches_an_address_after_saying_what_will_happen() -> None:
    async with opened() as desk:
        await desk.press("a")
        form = desk.app.screen
        await desk.type("agent-9000")
        assert "write the chain" in desk.text()
        for name, value in (("chain", "base"), ("address", "0xabc"), ("tags", "new, test")):
            form.query_one(f"#{name}", Input).value = value
        await desk.pilot.pause()
        assert "follows 0xabc on base as agent-9000" in desk.text()
        form.query_one("#tags", Input).focus()
        await desk.press("enter")
        await desk.pilot.pause(0.1)
        (command,) = desk.engine.executed
        assert isinstance(command, ImportWallets)
        assert command.rows[0].tags == ("new", "test")
        assert any("1 address registered" in toast for toast in desk.toasts())


async def test_a_refused_command_is_said_and_nothing_else_changes() -> None:
    async with opened() as desk:
        desk.engine.refuse = "0xabc is no address: its checksum is wrong"
        await desk.press("a")
        form = desk.app.screen
        for name, value in (("agent", "a"), ("chain", "base"), ("address", "0xabc")):
            form.query_one(f"#{name}", Input).value = value
        await desk.pilot.pause()
        await desk.pilot.click("#yes")
        await desk.pilot.pause(0.1)
        assert any("checksum is wrong" in toast for toast in desk.toasts())
        assert desk.engine.executed == []


async def test_t_sets_group_and_tags_of_the_agent() -> None:
    async with opened() as desk:
        await desk.press("t")
        form = desk.app.screen
        assert "nothing is changed yet" in desk.text()
        form.query_one("#group", Input).value = "ops"
        form.query_one("#tags", Input).value = "hot, new"
        form.query_one("#tags", Input).focus()
        await desk.press("enter")
        await desk.tick(1)
        assert desk.engine.executed == [TagAgents(("agent-0006",), "ops", ("hot", "new"), ())]
        assert desk.model.agents["agent-0006"].group == "ops"


async def test_f_sets_floor_and_target_exactly() -> None:
    async with opened() as desk:
        await desk.press("f")
        form = desk.app.screen
        form.query_one("#floor", Input).value = "12.5"
        form.query_one("#target", Input).value = "1"
        await desk.pilot.pause()
        assert "the target is below the floor" in desk.text()
        form.query_one("#target", Input).value = "100"
        form.query_one("#target", Input).focus()
        await desk.press("enter")
        await desk.pilot.pause(0.1)
        (command,) = desk.engine.executed
        assert isinstance(command, SetLimits)
        assert (command.scope, command.key) == ("agent", "agent-0006")
        assert (command.floor, command.target) == (Amount(12_500_000), Amount(100_000_000))


async def test_ctrl_r_reads_every_chain_now() -> None:
    async with opened() as desk:
        await desk.press("ctrl+r")
        assert desk.engine.executed == [SyncNow()]
        assert any("read 3 chains" in toast for toast in desk.toasts())


async def test_enter_opens_the_wallet_under_the_cursor() -> None:
    async with opened() as desk:
        await desk.press("enter")
        assert isinstance(desk.app.screen, WalletScreen)
        assert desk.app.screen.agent == "agent-0006"


async def test_the_filters_line_is_not_there_before_it_is_asked_for() -> None:
    async with opened() as desk:
        assert not desk.screen.query_one(FilterLine).query(Input)
        await desk.press("slash")
        assert desk.screen.query_one(FilterLine).query(Input)
