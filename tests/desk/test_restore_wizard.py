"""The restore wizard on the running desk: every way through it, and every way out of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.widgets import Button, Input, Static

from core.api import (
    BackupsView,
    ReconciliationView,
    ReleaseSettlements,
    RestoreChange,
    RestoreRequest,
)
from tests.desk import scripted_backups
from tests.desk.driving import Desk, opened
from tests.desk.scripted import ScriptedEngine
from tests.desk.scripted_backups import FOLDER, NAME, NOT_A_BACKUP, PASSWORD, PLAN, Backups
from tui.restoring import Step
from tui.screens.backups import BackupsScreen
from tui.screens.fleet import FleetScreen
from tui.screens.restore import RestoreScreen
from tui.session import Phase
from tui.widgets.list_table import ListTable
from tui.widgets.secret_input import SecretInput

NARROW, WIDE = (80, 24), (200, 60)
BOTH = pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "200x60"])
WRONG = "not-the-password"


def world(desk: Desk) -> Backups:
    found = desk.engine.backup_world
    assert found is not None
    return found


def wizard(desk: Desk) -> RestoreScreen:
    assert isinstance(desk.screen, RestoreScreen)
    return desk.screen


def step(desk: Desk) -> Step:
    return wizard(desk).walk.step


def said(desk: Desk) -> str:
    """The screen, however its lines are broken."""
    return " ".join(desk.text().split())


def under(desk: Desk) -> str:
    """What is said under the step."""
    return " ".join(str(desk.screen.query_one("#restore-said", Static).content).split())


@asynccontextmanager
async def walking(
    size: tuple[int, int] = NARROW, *, view: Callable[[], BackupsView] = scripted_backups.view
) -> AsyncIterator[Desk]:
    """The desk with the wizard open."""

    def before(engine: ScriptedEngine) -> None:
        shown = view()
        if not shown.backups:
            engine.empty()
        engine.back_up(shown)

    async with opened(size, before=before) as desk:
        await desk.press("4", "R")
        assert step(desk) is Step.PICK
        yield desk


async def unlock(desk: Desk, password: str = PASSWORD) -> None:
    """Take the backup under the cursor and type the password."""
    await desk.press("enter")
    assert step(desk) is Step.UNLOCK
    assert isinstance(desk.app.focused, SecretInput)
    await desk.type(password)
    await desk.press("enter")


async def to_confirm(desk: Desk) -> None:
    await unlock(desk)
    assert step(desk) is Step.DRY_RUN
    await desk.press("enter")
    assert step(desk) is Step.CONFIRM


async def apply(desk: Desk) -> None:
    await to_confirm(desk)
    await desk.type(NAME)
    await desk.press("enter")


def nothing_was_applied(desk: Desk) -> bool:
    return not any(call.startswith("apply") for call in world(desk).calls)


# --- success --------------------------------------------------------------------------------


@BOTH
async def test_six_steps_lead_from_a_backup_to_the_comparison_with_the_chains(
    size: tuple[int, int],
) -> None:
    async with walking(size) as desk:
        assert "[1 pick] 2 unlock 3 dry run 4 confirm 5 apply 6 reconcile" in said(desk)
        await unlock(desk)
        assert step(desk) is Step.DRY_RUN
        shown = said(desk)
        assert "132 addresses derived again, all equal" in shown
        assert "+2 added ~38 changed -1 removed" in shown
        assert "newer backups are known" in shown
        assert "36 hours older than the state in use" in shown
        assert "Nothing was changed yet." in shown
        await desk.press("enter")
        assert "A safety backup of it is made first" in said(desk)
        await desk.type(NAME)
        await desk.press("enter")
        assert world(desk).calls == ["look local", "plan", f"apply {NAME}"]
        assert step(desk) is Step.RECONCILE
        await desk.tick(2)
        assert desk.app.session.link.phase is Phase.LIVE
        world(desk).compare(40)
        await desk.tick()
        shown = said(desk)
        assert "44/96 ✓ 40 match ✗ 2 drift ⚠ 2 unknown" in shown
        assert "agent-0006" in shown
        assert "48 wallets are restored." in shown
        assert "gen-0001" in shown


async def test_the_backup_that_was_picked_is_the_one_that_is_restored() -> None:
    async with walking() as desk:
        await desk.press("j", "j", "l")
        wanted = world(desk).view.backups[2].id
        assert "the backup's checkpoint takes the place of the running one" in under(desk)
        await unlock(desk)
        assert world(desk).requests == [RestoreRequest("local", wanted, "checkpoint")]


async def test_progress_is_shown_while_the_backup_is_opened() -> None:
    async with walking() as desk:
        gate = world(desk).gate = asyncio.Event()
        await unlock(desk)
        assert step(desk) is Step.UNLOCK
        assert under(desk) == "opening the backup"
        world(desk).job("restore", "deriving addresses again", 61, 132, "addresses")
        await desk.tick()
        assert "restore deriving addresses again ███░░░░░ 46% 61/132 addresses" in under(desk)
        gate.set()
        await desk.pilot.pause(0.05)
        assert step(desk) is Step.DRY_RUN


async def test_the_restart_after_it_is_not_told_as_a_loss() -> None:
    async with walking() as desk:
        await apply(desk)
        assert desk.app.session.link.phase is Phase.LOST
        await desk.tick(0)
        assert "engine lost" not in desk.text()
        assert "the engine starts again on the restored state" in desk.toasts()
        await desk.tick(2)
        assert "the engine is back" in desk.toasts()
        assert not any("engine lost" in toast for toast in desk.toasts())
        desk.engine.lose()  # a loss that nobody asked for is one
        await desk.tick()
        assert any("engine lost" in toast for toast in desk.toasts())


async def test_a_plan_that_was_applied_is_not_dropped_afterwards() -> None:
    async with walking() as desk:
        await apply(desk)
        await desk.tick(2)
        await desk.press("escape")
        assert isinstance(desk.screen, BackupsScreen)
        assert f"discard {PLAN}" not in world(desk).calls


# --- where from -----------------------------------------------------------------------------


async def test_angle_brackets_go_through_the_destinations_and_an_error_stays_with_its_place() -> (
    None
):
    async with walking() as desk:
        await desk.press("greater_than_sign")
        assert desk.screen.query_one("#restore-source", Input).value == "s3"
        assert "✗ s3: AccessDenied on ListBucket; check the credentials." in under(desk)
        assert "Write another place and press Enter" in under(desk)
        assert step(desk) is Step.PICK
        await desk.press("less_than_sign")
        assert "01a1f644-9078" in desk.text()
        assert "✗" not in under(desk)


async def test_a_folder_or_file_is_typed_and_is_remembered_for_the_next_time() -> None:
    async with walking() as desk:
        await desk.press("shift+tab", "ctrl+u")
        await desk.type(FOLDER)
        await desk.press("enter")
        assert len(desk.screen.query_one("#restore-list", ListTable).items) == 3
        await unlock(desk)
        assert world(desk).requests[0].source == FOLDER
        await desk.press("escape", "escape")
        assert isinstance(desk.screen, BackupsScreen)
        await desk.press("R")
        assert desk.screen.query_one("#restore-source", Input).value == FOLDER


async def test_a_wrong_file_is_refused_with_the_reason_and_the_step_stays() -> None:
    async with walking() as desk:
        await desk.press("shift+tab", "ctrl+u")
        await desk.type(NOT_A_BACKUP)
        await desk.press("enter")
        assert f"✗ {NOT_A_BACKUP} is not a Bursar backup" in under(desk)
        await desk.press("enter")  # there is nothing to take
        assert step(desk) is Step.PICK
        assert nothing_was_applied(desk)


async def test_the_newest_look_counts_when_places_are_changed_quickly() -> None:
    async with walking() as desk:
        for key in ("greater_than_sign", "greater_than_sign", "greater_than_sign"):
            await desk.pilot.press(key)
        await desk.pilot.pause(0.1)
        assert desk.screen.query_one("#restore-source", Input).value == "s3"
        assert "AccessDenied" in under(desk)


async def test_a_gap_in_a_chain_is_said_before_and_refused_with_the_parents_name() -> None:
    async with walking() as desk:
        await desk.press("G", "k")
        assert "its chain has a gap: a restore of it will be refused." in under(desk)
        await unlock(desk)
        assert step(desk) is Step.UNLOCK
        assert "needs its parent" in under(desk)
        assert "which is at no destination" in under(desk)
        assert "Nothing was changed." in under(desk)


# --- unlocking ------------------------------------------------------------------------------


@BOTH
async def test_a_wrong_password_stays_in_its_step_and_the_right_one_goes_on(
    size: tuple[int, int],
) -> None:
    async with walking(size) as desk:
        await unlock(desk, WRONG)
        assert step(desk) is Step.UNLOCK
        assert "✗ Neither the password nor the recovery key opens this backup." in under(desk)
        assert "Type it again" in under(desk)
        assert desk.screen.query_one(SecretInput).is_empty
        assert isinstance(desk.app.focused, SecretInput)
        await desk.type(PASSWORD)
        await desk.press("enter")
        assert step(desk) is Step.DRY_RUN
        assert "✗" not in under(desk)


async def test_without_a_password_nothing_is_asked_of_the_engine() -> None:
    async with walking() as desk:
        await desk.press("enter", "enter")
        assert step(desk) is Step.UNLOCK
        assert "type the password or the recovery key first" in desk.toasts()[-1]
        assert "plan" not in world(desk).calls


async def test_a_click_beside_the_line_does_not_send_a_password_to_the_desks_keys() -> None:
    async with walking() as desk:
        await desk.press("enter")
        await desk.pilot.click(offset=(40, 17))
        await desk.pilot.pause(0.1)
        await desk.type("q1:5")
        assert step(desk) is Step.UNLOCK
        assert desk.screen.query_one(SecretInput).take().reveal() == "q1:5"


async def test_an_engine_that_is_away_is_told_in_the_step() -> None:
    async with walking() as desk:
        desk.engine.lose()
        await unlock(desk)
        assert step(desk) is Step.UNLOCK
        assert "the engine's socket was closed" in under(desk)


# --- confirming -----------------------------------------------------------------------------


async def test_a_wrong_name_applies_nothing() -> None:
    async with walking() as desk:
        await to_confirm(desk)
        assert f"type {NAME} to apply it" in under(desk)
        await desk.type("desk")
        await desk.press("enter")
        assert f"that is not {NAME}: nothing is applied" in under(desk)
        assert step(desk) is Step.CONFIRM
        assert desk.screen.query_one("#restore-yes", Button).disabled
        await desk.type("-02")
        await desk.press("enter")
        assert nothing_was_applied(desk)
        await desk.press("ctrl+u")
        await desk.type(NAME)
        assert not desk.screen.query_one("#restore-yes", Button).disabled
        await desk.pilot.click("#restore-yes")
        await desk.pilot.pause(0.05)
        assert f"apply {NAME}" in world(desk).calls


async def test_the_button_that_applies_never_has_the_focus_by_itself() -> None:
    async with walking(view=scripted_backups.fresh) as desk:
        await desk.type(FOLDER)
        await desk.press("enter")
        for _ in range(3):  # pick, and then every step with Enter
            assert desk.app.focused is None or desk.app.focused.id != "restore-yes"
            await (unlock(desk) if step(desk) is Step.PICK else desk.press("enter"))
        assert nothing_was_applied(desk)


# --- applying -------------------------------------------------------------------------------


async def test_while_it_is_applied_nobody_leaves() -> None:
    async with walking() as desk:
        await to_confirm(desk)
        gate = world(desk).gate = asyncio.Event()
        await desk.type(NAME)
        await desk.press("enter")
        assert step(desk) is Step.APPLY
        world(desk).job("restore", "safety backup", 20, 48, "wallets")
        await desk.tick()
        assert "restore safety backup" in under(desk)
        assert "the old state or the new one is whole" in under(desk)
        for key in ("escape", "1", "6", "q", "ctrl+q", "enter"):
            await desk.press(key)
            assert step(desk) is Step.APPLY
            assert desk.app.is_running
        assert any("cannot be left until it has ended" in toast for toast in desk.toasts())
        gate.set()
        await desk.pilot.pause(0.05)
        assert step(desk) is Step.RECONCILE
        await desk.tick(2)
        await desk.press("1")
        assert isinstance(desk.app.screen, FleetScreen)


async def test_a_state_that_changed_is_looked_at_and_confirmed_again_without_the_password() -> None:
    async with walking() as desk:
        world(desk).refuse_apply = "The state changed since the dry run: 3 more agents."
        world(desk).changes_now = (RestoreChange("agents", 2, 0, 4, ("-agent-0051",)),)
        await apply(desk)
        assert step(desk) is Step.APPLY
        assert "✗ The state changed since the dry run: 3 more agents." in under(desk)
        assert "Enter shows what it would change now." in under(desk)
        world(desk).refuse_apply = ""
        await desk.press("enter")
        assert step(desk) is Step.DRY_RUN
        assert "-agent-0051" in said(desk)
        await desk.press("enter")
        await desk.type(NAME)
        await desk.press("enter")
        assert step(desk) is Step.RECONCILE
        assert len(world(desk).secrets) == 1


async def test_a_plan_that_was_refused_and_left_is_dropped() -> None:
    async with walking() as desk:
        world(desk).refuse_apply = "The state changed since the dry run: 3 more agents."
        world(desk).changes_now = (RestoreChange("agents", 2, 0, 4),)
        await apply(desk)
        await desk.press("escape")
        assert step(desk) is Step.PICK
        assert world(desk).calls[-1] == f"discard {PLAN}"
        assert not world(desk).staged


async def test_a_refusal_whose_plan_is_gone_leads_to_another_dry_run() -> None:
    async with walking() as desk:
        world(desk).refuse_apply = "The disk is full."
        await apply(desk)
        assert step(desk) is Step.APPLY
        assert "✗ The disk is full." in under(desk)
        assert "The state before is whole and in use. Enter makes a new dry run." in under(desk)
        assert world(desk).calls[-1] == f"discard {PLAN}"
        world(desk).refuse_apply = ""
        await desk.press("enter")
        assert step(desk) is Step.UNLOCK
        await desk.type(PASSWORD)
        await desk.press("enter", "enter")
        await desk.type(NAME)
        await desk.press("enter")
        assert step(desk) is Step.RECONCILE


async def test_an_engine_lost_while_it_applied_is_asked_what_came_of_it_restored() -> None:
    async with walking() as desk:
        world(desk).lose_apply = True
        await apply(desk)
        assert step(desk) is Step.APPLY
        assert "waiting for the engine to come back" in under(desk)
        await desk.tick(3)
        assert step(desk) is Step.RECONCILE
        assert "the engine came back on the restored state" in said(desk)
        assert "HELD" in said(desk)


async def test_an_engine_lost_while_it_applied_is_asked_what_came_of_it_not_restored() -> None:
    async with walking() as desk:
        world(desk).lose_apply = False
        await apply(desk)
        await desk.tick(3)
        assert step(desk) is Step.APPLY
        assert "The engine is back on the state before: nothing was restored" in under(desk)
        await desk.press("enter")
        assert step(desk) is Step.UNLOCK


async def test_an_engine_that_never_comes_back_does_not_hold_anybody() -> None:
    async with walking() as desk:
        world(desk).lose_apply = True
        world(desk)._restart = desk.engine.lose
        await apply(desk)
        await desk.tick(3)
        assert step(desk) is Step.APPLY
        await desk.press("escape")
        assert isinstance(desk.screen, BackupsScreen)


# --- leaving --------------------------------------------------------------------------------


async def test_left_at_the_choice_nothing_was_asked_for() -> None:
    async with walking() as desk:
        await desk.press("escape")
        assert isinstance(desk.screen, BackupsScreen)
        assert world(desk).calls == ["look local"]


async def test_left_at_the_password_what_was_typed_is_forgotten() -> None:
    async with walking() as desk:
        await desk.press("enter")
        await desk.type("half a passw")
        await desk.press("escape")
        assert step(desk) is Step.PICK
        assert desk.screen.query_one(SecretInput).is_empty
        await desk.press("escape")
        assert isinstance(desk.screen, BackupsScreen)
        assert world(desk).calls == ["look local"]


async def test_left_while_the_backup_is_opened_the_plan_is_dropped_when_it_comes() -> None:
    async with walking() as desk:
        gate = world(desk).gate = asyncio.Event()
        await unlock(desk)
        await desk.press("escape", "escape")
        assert isinstance(desk.screen, BackupsScreen)
        gate.set()
        await desk.pilot.pause(0.05)
        assert world(desk).calls[-1] == f"discard {PLAN}"
        assert not world(desk).staged
        assert nothing_was_applied(desk)


async def test_an_answer_to_a_walk_that_was_given_up_does_not_disturb_the_next() -> None:
    async with walking() as desk:
        gate = world(desk).gate = asyncio.Event()
        await unlock(desk, WRONG)
        await desk.press("escape", "enter")
        gate.set()
        await desk.pilot.pause(0.05)
        assert step(desk) is Step.UNLOCK
        assert "✗" not in under(desk)


@pytest.mark.parametrize("at", [Step.DRY_RUN, Step.CONFIRM])
async def test_left_after_the_dry_run_the_plan_is_dropped(at: Step) -> None:
    async with walking() as desk:
        await (unlock(desk) if at is Step.DRY_RUN else to_confirm(desk))
        assert step(desk) is at
        await desk.press("escape")
        assert world(desk).calls[-1] == f"discard {PLAN}"
        assert "the dry run is dropped: nothing was changed" in desk.toasts()
        assert step(desk) is Step.PICK
        await desk.press("escape")
        assert isinstance(desk.screen, BackupsScreen)
        assert nothing_was_applied(desk)
        assert world(desk).calls.count(f"discard {PLAN}") == 1


async def test_a_desk_that_ends_with_a_plan_drops_it() -> None:
    async with walking() as desk:
        await unlock(desk)
        await desk.press("q")
        await desk.pilot.pause(0.05)
        world_after = world(desk)
    assert world_after.calls[-1] == f"discard {PLAN}"
    assert desk.engine.closed


async def test_other_modes_can_be_looked_at_before_anything_is_applied() -> None:
    async with walking() as desk:
        await unlock(desk)
        await desk.press("1")
        assert isinstance(desk.app.screen, FleetScreen)
        await desk.press("4")
        assert step(desk) is Step.DRY_RUN


# --- a fresh machine ------------------------------------------------------------------------


@BOTH
async def test_a_fresh_machine_is_restored_from_a_folder_and_a_password_alone(
    size: tuple[int, int],
) -> None:
    async with walking(size, view=scripted_backups.fresh) as desk:
        assert isinstance(desk.app.focused, Input)
        assert "write the path of a backup file, or of a folder with backups" in said(desk)
        await desk.type(FOLDER)
        await desk.press("enter")
        await unlock(desk)
        assert "+204 added ~0 changed -0 removed" in said(desk)
        await desk.press("enter")
        assert "There is no state here yet: nothing is overwritten." in under(desk)
        assert isinstance(desk.app.focused, Button)
        assert desk.app.focused.id == "restore-no"
        await desk.press("tab", "enter")
        assert world(desk).calls[-1] == "apply "
        assert step(desk) is Step.RECONCILE
        await desk.tick(2)
        world(desk).compare(96, ended_ms=desk.clock.now_ms(), found=0)
        await desk.tick()
        assert "every balance matches its chain" in said(desk)


async def test_cancel_at_an_empty_target_drops_the_plan() -> None:
    async with walking(view=scripted_backups.fresh) as desk:
        await desk.type(FOLDER)
        await desk.press("enter")
        await to_confirm(desk)
        await desk.press("enter")
        assert world(desk).calls[-1] == f"discard {PLAN}"
        assert nothing_was_applied(desk)


async def test_the_fleets_empty_state_tells_of_the_restore() -> None:
    def before(engine: ScriptedEngine) -> None:
        engine.empty()
        engine.back_up(scripted_backups.fresh())

    async with opened(NARROW, before=before) as desk:
        assert "or 4 then R restores a backup" in desk.text()


# --- afterwards -----------------------------------------------------------------------------


async def restored(desk: Desk) -> None:
    await apply(desk)
    await desk.tick(2)
    world(desk).compare(60)
    await desk.tick()


async def test_the_comparison_is_asked_for_each_tick_until_it_ended() -> None:
    async with walking() as desk:
        await restored(desk)
        assert "64/96" in said(desk)
        world(desk).compare(80)
        await desk.tick()
        assert "84/96" in said(desk)
        world(desk).compare(92, ended_ms=desk.clock.now_ms())
        await desk.tick()
        assert "compared ██████████ 96/96" in said(desk)
        world(desk).report = None  # nobody asks any more
        await desk.tick(3)
        assert "compared ██████████ 96/96" in said(desk)


async def test_a_comparison_of_an_earlier_restore_is_not_taken_for_this_one() -> None:
    async with walking() as desk:
        world(desk).report = ReconciliationView("older", 5, matched=7, ended_ms=9)
        await to_confirm(desk)
        await desk.type(NAME)
        await desk.press("enter")
        new, world(desk).report = world(desk).report, ReconciliationView(
            "older", 5, matched=7, ended_ms=9
        )  # fmt: skip
        await desk.tick(2)
        assert "7 match" not in said(desk)
        world(desk).report = new
        world(desk).compare(12)
        await desk.tick()
        assert "12 match" in said(desk)


async def test_exclamation_mark_shows_drift_then_unknown_then_both() -> None:
    async with walking() as desk:
        await restored(desk)
        table = desk.screen.query_one("#restore-rows", ListTable)
        counts = []
        for _ in range(3):
            await desk.press("exclamation_mark")
            counts.append({item.cells[4].text for item in table.items})
        assert counts == [{"drift"}, {"unknown"}, {"drift", "unknown"}]


async def test_the_line_under_the_table_says_a_row_in_full() -> None:
    async with walking() as desk:
        await restored(desk)
        assert under(desk) == (
            "agent-0006 on base the backup says 12.400000 USDC; the chain 0.000000 at block "
            "38,412,200, -12.40"
        )
        await desk.press("G")
        assert "the chain could not be read: tron: no endpoint answers" in under(desk)


async def test_held_settlements_are_released_at_the_end() -> None:
    async with walking() as desk:
        await restored(desk)
        assert "settlements are HELD: h releases them" in said(desk)
        await desk.press("h")
        desk.app.screen.query_one("#reason", Input).value = "compared"
        await desk.pilot.pause(0.05)
        await desk.pilot.click("#yes")
        await desk.pilot.pause(0.05)
        focused = desk.app.screen.focused
        assert isinstance(focused, Button)
        assert focused.id == "no"
        await desk.press("right", "enter")
        assert desk.engine.executed == [ReleaseSettlements("compared")]
        await desk.tick()
        assert "HELD" not in said(desk)
        await desk.press("h")  # and then the key is gone
        assert isinstance(desk.app.screen, RestoreScreen)


async def test_e_writes_what_does_not_match(tmp_path: Path) -> None:
    async with walking() as desk:
        await restored(desk)
        await desk.press("e")
        target = tmp_path / "drift.json"
        desk.app.screen.query_one("#path", Input).value = str(target)
        await desk.pilot.pause(0.05)
        await desk.pilot.click("#yes")
        await desk.pilot.pause(0.2)
        rows = json.loads(target.read_text())
        assert [row["state"] for row in rows] == ["drift", "drift", "unknown", "unknown"]
        assert (rows[0]["expectedBalance"], rows[0]["actualBalance"]) == ("12400000", "0")
        assert rows[2]["actualBalance"] is None


async def test_a_lost_chain_is_told_as_unknown_and_never_as_zero() -> None:
    async with walking() as desk:
        await restored(desk)
        lines = [line for line in desk.lines() if "agent-0031" in line]
        assert len(lines) == 1
        assert lines[0].split()[-1] == "unknown"
        assert " 0" not in lines[0]


# --- its keys -------------------------------------------------------------------------------


async def test_each_step_offers_its_own_keys() -> None:
    async with walking() as desk:

        def bound() -> set[str | None]:
            return {
                active.binding.id
                for active in desk.screen.active_bindings.values()
                if active.node is desk.screen
            }

        assert {"restore.go_on", "restore.back", "restore.ledger", "restore.next_place"} <= bound()
        await desk.press("enter")
        assert "restore.back" in bound()
        assert not {"restore.go_on", "restore.ledger", "restore.only"} & bound()
        await desk.type(PASSWORD)
        await desk.press("enter")
        assert {"restore.go_on", "restore.back"} <= bound()
        await desk.press("enter")
        await desk.type(NAME)
        await desk.press("enter")
        await desk.tick(2)
        assert {"restore.only", "restore.release", "restore.export"} <= bound()
        assert "restore.go_on" not in bound()
