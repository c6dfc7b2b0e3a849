"""Every key of Backups, pressed on the running desk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from textual.widgets import Button, Input, Static

from core.api import (
    BackupsView,
    CreateBackup,
    DrillBackup,
    JobView,
    PruneBackups,
    ReleaseSettlements,
    RunDueBackups,
    VerifyBackup,
)
from tests.desk import scripted_backups
from tests.desk.driving import Desk, opened, with_options
from tests.desk.scripted import ScriptedEngine
from tests.desk.scripted_backups import INSTALLATION, NAME, PASSWORD, Backups
from tui.options import DeskOptions
from tui.screens.backup_forms import AskSecret
from tui.screens.backups import BackupsScreen
from tui.screens.dialogs import Confirm, Form
from tui.screens.help import HelpScreen
from tui.screens.restore import RestoreScreen
from tui.session import Phase
from tui.widgets.list_table import ListTable
from tui.widgets.secret_input import SecretInput

NARROW, WIDE = (80, 24), (160, 44)
BOTH = pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
WRITING = ("b", "v", "d", "p", "R", "h", "u", "ctrl+r")


def world(desk: Desk) -> Backups:
    found = desk.engine.backup_world
    assert found is not None
    return found


@asynccontextmanager
async def backed(
    size: tuple[int, int] = NARROW,
    options: DeskOptions | None = None,
    *,
    view: Callable[[], BackupsView] = scripted_backups.view,
) -> AsyncIterator[Desk]:
    """The desk on Backups."""

    def before(engine: ScriptedEngine) -> None:
        engine.back_up(view())

    async with opened(size, options, before=before) as desk:
        await desk.press("4")
        assert isinstance(desk.screen, BackupsScreen)
        yield desk


def here(desk: Desk) -> str:
    return desk.screen.query_one("#backups-list", ListTable).cursor


def newest(desk: Desk) -> str:
    return world(desk).view.backups[0].id


def dialog(desk: Desk) -> str:
    """What the dialog on top says, however its lines are broken."""
    said = " ".join(str(words.content) for words in desk.app.screen.query(Static))
    return " ".join(said.split())


async def confirm(desk: Desk) -> None:
    """Say yes, once it is seen that Cancel has the focus."""
    assert isinstance(desk.app.screen, Confirm)
    focused = desk.app.screen.focused
    assert isinstance(focused, Button)
    assert focused.id == "no"
    await desk.press("right", "enter")
    await desk.pilot.pause(0.05)


async def answer(desk: Desk, **values: str) -> None:
    """Fill a form and go on."""
    form = desk.app.screen
    assert isinstance(form, Form)
    for name, value in values.items():
        form.query_one(f"#{name}", Input).value = value
    await desk.pilot.pause(0.05)
    await desk.pilot.click("#yes")
    await desk.pilot.pause(0.05)


# --- what is shown --------------------------------------------------------------------------


@BOTH
async def test_every_backup_says_its_type_age_size_copies_proofs_and_chain(
    size: tuple[int, int],
) -> None:
    async with backed(size) as desk:
        lines = [" ".join(line.split()) for line in desk.lines()]
        first = next(line for line in lines if line.startswith("01a1f644-9078"))
        assert "incremental 12h 212kB" in first
        assert "✓ 11h never 7" in first
        assert "pending" in first
        uploaded = next(line for line in lines if line.startswith("01a1f11e-3478"))
        assert "uploaded" in uploaded
        failed = next(line for line in lines if "01a1e1ab-2078" in line)
        assert failed.startswith("⚠")
        assert "failed" in failed
        gap = next(line for line in lines if "01a1c7eb-5478" in line)
        assert gap.startswith("✗")
        assert " gap" in gap


@BOTH
async def test_next_runs_key_slots_and_destinations_with_their_errors_are_told(
    size: tuple[int, int],
) -> None:
    async with backed(size) as desk:
        said = " ".join(desk.text().split())
        assert "next full in 1d12h · incremental in 12h00m · drill in 9d" in said
        assert "keys password, recovery key · one copy is enough" in said
        assert "✓ local /var/backups/bursar" in said
        assert "✗ s3 s3://treasury/bursar: AccessDenied on PutObject" in said
        assert "2 with trouble last 12h, verified 11h, drilled 6d" in said


async def test_the_pane_tells_everything_of_the_backup_under_the_cursor() -> None:
    async with backed(WIDE) as desk:
        await desk.press(*"jjjj")
        said = " ".join(str(desk.screen.query_one("#backups-detail", Static).content).split())
        assert here(desk) in said
        assert "a chain of 3 archives" in said
        assert "seed 5f3a-91cc-07de-4b12" in said
        assert "✗ s3 failed, 4 tries: AccessDenied: s3:PutObject" in said
        assert "again in 10m" in said
        await desk.press(*"jjj")
        said = " ".join(str(desk.screen.query_one("#backups-detail", Static).content).split())
        assert "is missing, so it cannot be restored" in said


@BOTH
async def test_a_job_shows_stage_share_pace_and_what_is_left(size: tuple[int, int]) -> None:
    async with backed(size) as desk:
        world(desk).job("backup", "sealing records", 1_000, 10_000, "records")
        await desk.tick()
        assert "backup  sealing records" in desk.text()
        assert "10%  1,000/10,000 records" in desk.text()
        assert "left" not in desk.text()  # seen once: no pace yet
        await desk.tick(2)
        world(desk).job("backup", "sealing records", 5_000, 10_000, "records")
        await desk.tick(2)
        assert "50%  5,000/10,000 records  1,000/s, 5s left" in desk.text()
        world(desk).job("backup", "sending to s3", 10, 40, "MB")
        await desk.tick(1)
        assert "25%  10/40 MB" in desk.text()  # another stage, another pace
        assert "left" not in desk.text()


async def test_a_job_that_failed_says_why_until_a_newer_one_did_not() -> None:
    async with backed() as desk:
        world(desk).job("backup", "sending", 1, 2)
        await desk.tick()
        world(desk).end_job("backup", desk.clock.now_ms(), error="No space left on device")
        await desk.tick()
        assert "✗ backup failed <10s ago: No space left on device" in desk.text()
        assert "backup ✗ failing 12h" in desk.lines()[0]
        world(desk).end_job("backup", desk.clock.now_ms(), message="sent to local and s3")
        await desk.tick()
        assert "✓ backup <10s ago: sent to local and s3" in desk.text()
        assert "backup ✓ 12h" in desk.lines()[0]


async def test_ages_move_with_the_clock_alone() -> None:
    async with backed() as desk:
        await desk.clock.leap(3599)
        await desk.tick()
        assert "incremental  13h" in desk.text()
        assert "backup ✓ 13h" in desk.lines()[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "backup ✓ 12h"),
        ({"off": "no password"}, "backup ⚠ off"),
        (
            {"trouble": "The full backup that was due 2026-11-15T00:00:00Z was not made."},
            "backup ⚠ overdue 12h",
        ),
        (
            {"trouble": "The last backup failed 2026-11-15T00:00:00Z: disk full"},
            "backup ✗ failing 12h",
        ),
        ({"trouble": "no key opens the vault"}, "backup ⚠ trouble 12h"),
        ({"last_ms": 0}, "backup ⚠ none yet"),
        (
            {"jobs": (JobView("b", "backup", "done", 1, ended_ms=2, error="disk full"),)},
            "backup ✗ failing 12h",
        ),
    ],
)
async def test_the_status_bar_says_how_backups_stand(changes: dict[str, object], said: str) -> None:
    def view() -> BackupsView:
        return msgspec.structs.replace(scripted_backups.view(), **changes)

    async with backed(WIDE, view=view) as desk:
        assert said in desk.lines()[0]


async def test_without_a_view_the_status_bar_is_silent_and_the_screen_says_so() -> None:
    async with opened() as desk:
        await desk.press("4")
        assert "backup" not in desk.lines()[0]
        assert "this engine tells nothing of backups yet" in desk.text()


async def test_at_narrow_widths_what_is_well_leaves_the_status_bar_before_what_is_not() -> None:
    async with backed((60, 20)) as desk:
        assert "backup" not in desk.lines()[0]
        world(desk).job("backup", "sending")
        world(desk).end_job("backup", desk.clock.now_ms(), error="disk full")
        await desk.tick()
        assert "backup ✗ failing" in desk.lines()[0]


@BOTH
async def test_an_empty_list_says_what_to_do_next(size: tuple[int, int]) -> None:
    async with backed(size, view=scripted_backups.fresh) as desk:
        said = " ".join(desk.text().split())
        assert "no backup yet: run `bursar backup setup`; or R restores one from a file" in said
        assert "no backup can be made: No password is set for backups" in said
        await desk.press("b")
        assert "bursar backup setup" in desk.toasts()[-1]
        await desk.press("v")
        assert "no backup under the cursor" in desk.toasts()[-1]


async def test_where_backups_can_be_made_an_empty_list_says_how() -> None:
    async with backed(view=lambda: BackupsView(installation=INSTALLATION)) as desk:
        assert "no backup yet: b makes the first one now" in desk.text()
        await desk.press("b")
        assert desk.app.screen.query_one("#type", Input).value == "full"


# --- the list's keys ------------------------------------------------------------------------


async def test_slash_filters_and_escape_brings_all_back() -> None:
    async with backed() as desk:
        await desk.press("slash")
        await desk.type("type:full undrilled")
        await desk.press("enter")
        assert "nothing matches: Esc clears the filter" in desk.text()
        await desk.press("slash", "ctrl+u")
        await desk.type("type:full")
        await desk.press("enter")
        assert "2/9 backups" in desk.text()
        await desk.press("escape")
        assert "9 backups" in desk.text()


async def test_a_wrong_filter_says_why_and_the_old_one_stands() -> None:
    async with backed() as desk:
        await desk.press("slash")
        await desk.type("size:5")
        assert "no field 'size': there are type, at, id" in desk.text()
        assert "01a1b351-e478" in desk.text() or "9 backups" in desk.text()


async def test_exclamation_mark_shows_only_what_has_trouble() -> None:
    async with backed() as desk:
        await desk.press("exclamation_mark")
        assert "2/9 backups   filter: failed" in desk.text()
        await desk.press("exclamation_mark")
        assert "9 backups" in desk.text()


async def test_y_copies_the_id_and_shift_y_the_backup() -> None:
    async with backed() as desk:
        await desk.press(*"jjjj", "y")
        assert desk.app.clipboard == here(desk)
        await desk.press("Y")
        found = json.loads(desk.app.clipboard)
        assert (found["type"], found["chain"]) == ("incremental", 3)
        assert found["createdAt"].startswith("2026-11-16T00:04:11")
        assert found["verifiedAt"] is None
        assert [each["state"] for each in found["destinations"]][1] == "pending"


async def test_e_writes_the_backups_that_are_shown(tmp_path: Path) -> None:
    async with backed() as desk:
        await desk.press("exclamation_mark", "e")
        target = tmp_path / "backups.json"
        await answer(desk, path=str(target))
        await desk.pilot.pause(0.2)
        assert len(json.loads(target.read_text())) == 2


async def test_the_cursor_stays_on_its_backup_when_a_newer_one_comes() -> None:
    async with backed() as desk:
        await desk.press("j")
        before = here(desk)
        fresh = scripted_backups.made(1_000, kind="full", chain=1)
        world(desk).change(backups=(fresh, *world(desk).view.backups))
        await desk.tick()
        assert here(desk) == before
        assert fresh.id[:13] in desk.text()


# --- commands -------------------------------------------------------------------------------


async def test_b_asks_full_or_incremental_and_says_what_will_happen() -> None:
    async with backed() as desk:
        await desk.press("b")
        assert desk.app.screen.query_one("#type", Input).value == "incremental"
        assert "backs up what changed since the last one and sends it to local, s3" in dialog(desk)
        await answer(desk, type="f")
        assert desk.engine.executed == [CreateBackup("full")]
        assert "Made a full backup" in desk.toasts()[-1]


async def test_b_takes_no_other_word_and_escape_makes_nothing() -> None:
    async with backed() as desk:
        await desk.press("b")
        desk.app.screen.query_one("#type", Input).value = "weekly"
        await desk.pilot.pause(0.05)
        assert "write full or incremental" in dialog(desk)
        assert desk.app.screen.query_one("#yes", Button).disabled
        await desk.press("escape")
        assert not desk.engine.executed


async def test_b_while_a_backup_is_made_says_so() -> None:
    async with backed() as desk:
        world(desk).job("backup", "sealing records")
        await desk.tick()
        await desk.press("b")
        assert "a backup is being made already: sealing records" in desk.toasts()[-1]


async def test_v_verifies_the_backup_under_the_cursor() -> None:
    async with backed() as desk:
        await desk.press("j", "v")
        assert "every byte of it decrypted and checked. Nothing is changed." in dialog(desk)
        await confirm(desk)
        assert desk.engine.executed == [VerifyBackup(here(desk))]
        assert "decrypts and checks" in desk.toasts()[-1]


async def test_a_verification_that_fails_says_why() -> None:
    async with backed() as desk:
        await desk.press("G", "k", "v")
        await confirm(desk)
        assert "its parent is missing" in desk.toasts()[-1]


async def test_d_drills_without_a_password_or_with_it() -> None:
    async with backed() as desk:
        await desk.press("d")
        assert isinstance(desk.app.screen, AskSecret)
        assert "every address is derived again and compared" in dialog(desk)
        await desk.press("enter")
        assert desk.engine.executed == [DrillBackup(newest(desk))]
        await desk.press("d")
        await desk.type(PASSWORD)
        await desk.pilot.click("#yes")
        await desk.pilot.pause(0.05)
        assert [secret.reveal() for secret in world(desk).secrets] == [PASSWORD]
        assert "the seed is proven" in desk.toasts()[-1]
        await desk.press("d")
        await desk.type("wrong")
        await desk.press("enter")
        assert "does not open this backup" in desk.toasts()[-1]


async def test_escape_and_cancel_leave_a_drill_alone() -> None:
    async with backed() as desk:
        await desk.press("d")
        await desk.type("abc")
        await desk.press("escape")
        await desk.press("d")
        assert desk.app.screen.query_one(SecretInput).is_empty
        await desk.type("abc")
        await desk.pilot.click("#no")
        await desk.pilot.pause(0.05)
        assert not desk.engine.executed
        assert not world(desk).secrets


async def test_p_says_first_what_no_rule_keeps_and_deletes_only_after_a_yes() -> None:
    async with backed() as desk:
        await desk.press("p")
        assert desk.engine.executed == [PruneBackups(dry_run=True)]
        said = dialog(desk)
        assert "1 backups would be deleted." in said
        assert said.count("delete wallet-backup-") == 1
        assert "keep " not in said
        assert "cannot be brought back" in said
        await desk.press("enter")  # Cancel has the focus
        assert desk.engine.executed == [PruneBackups(dry_run=True)]
        await desk.press("p")
        await confirm(desk)
        assert desk.engine.executed[-1] == PruneBackups(dry_run=False)
        await desk.tick()
        assert "8 backups" in desk.text()


async def test_p_with_nothing_to_delete_asks_nothing() -> None:
    async with backed() as desk:
        world(desk).change(backups=world(desk).view.backups[:3])
        await desk.tick()
        await desk.press("p")
        assert desk.app.screen is desk.screen
        assert "0 backups would be deleted" in desk.toasts()[-1]


async def test_ctrl_r_runs_what_is_due() -> None:
    async with backed() as desk:
        await desk.press("ctrl+r")
        await confirm(desk)
        assert desk.engine.executed == [RunDueBackups()]


async def test_held_settlements_are_told_loudly_and_h_releases_them_with_a_reason() -> None:
    async with backed() as desk:
        await desk.press("h")
        assert desk.app.screen is desk.screen  # nothing is held: the key is not there
        world(desk).change(held=True)
        await desk.tick()
        assert "settlements are HELD since a restore: h releases them" in desk.text()
        await desk.press("h")
        assert desk.app.screen.query_one("#yes", Button).disabled
        await answer(desk, reason="compared with the bank")
        assert "compare with whoever pays first" in dialog(desk)
        await confirm(desk)
        assert desk.engine.executed == [ReleaseSettlements("compared with the bank")]
        await desk.tick()
        assert "HELD" not in desk.text()


async def test_u_undoes_the_last_restore_only_with_the_installations_name() -> None:
    async with backed() as desk:
        await desk.press("u")
        assert desk.app.screen is desk.screen
        world(desk).change(undo="gen-0001")
        await desk.tick()
        assert "u goes back to gen-0001, before the last restore" in desk.text()
        await desk.press("u")
        await desk.type("desk")
        await desk.press("enter")
        assert isinstance(desk.app.screen, Form)  # not the name: nothing happens
        assert f"type {NAME} to undo the last restore" in dialog(desk)
        await desk.type("-01")
        assert "goes back to gen-0001" in dialog(desk)
        await desk.press("enter")
        assert world(desk).calls == [f"undo {NAME}"]
        await desk.tick(2)
        assert desk.app.session.link.phase is Phase.LIVE
        assert "The state before is back." in desk.toasts()
        assert not any("engine lost" in said for said in desk.toasts())


async def test_shift_r_opens_the_wizard_on_the_backup_under_the_cursor() -> None:
    async with backed() as desk:
        await desk.press(*"jj")
        wanted = here(desk)
        await desk.press("R")
        assert isinstance(desk.screen, RestoreScreen)
        assert desk.screen.query_one("#restore-list", ListTable).cursor == wanted


@BOTH
async def test_a_read_only_desk_has_none_of_the_writing_keys(size: tuple[int, int]) -> None:
    async with backed(size, with_options(read_only=True)) as desk:
        world(desk).change(held=True, undo="gen-0001")
        await desk.tick()
        bound = {active.binding.id for active in desk.screen.active_bindings.values()}
        assert not {binding.id for binding in BackupsScreen.WRITES} & bound
        for key in WRITING:
            await desk.press(key)
            assert desk.app.screen is desk.screen
        assert not desk.engine.executed
        assert not world(desk).calls


async def test_a_lost_engine_turns_the_writing_keys_off() -> None:
    async with backed() as desk:
        desk.engine.lose()
        await desk.tick()
        for key in WRITING:
            await desk.press(key)
            assert isinstance(desk.app.screen, BackupsScreen)


async def test_every_writing_key_has_an_id_of_its_own_and_can_be_remapped() -> None:
    ids = [binding.id for binding in BackupsScreen.WRITES]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    async with backed(options=with_options(keymap={"backups.create": "f5"})) as desk:
        await desk.press("b")
        assert desk.app.screen is desk.screen
        await desk.press("f5")
        assert isinstance(desk.app.screen, Form)


async def test_help_and_palette_know_backups() -> None:
    async with backed() as desk:
        await desk.press("question_mark")
        assert isinstance(desk.app.screen, HelpScreen)
        words = {meaning for _, lines in desk.app.screen._sections for _, meaning in lines}
        assert {"Back up", "Verify", "Drill", "Prune", "Restore", "Backups"} <= words
        filters = [keys for _, lines in desk.app.screen._sections for keys, _ in lines]
        assert any("unverified" in keys for keys in filters)
        await desk.press("escape", "colon")
        await desk.type("go to backups")
        await desk.pilot.pause(0.3)
        assert "key 4" in desk.text()
