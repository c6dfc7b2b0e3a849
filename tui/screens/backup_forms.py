"""Asking before a backup is made, verified, drilled, pruned, undone, or settlements go on.

Each says what will happen and keeps Cancel under the cursor. What takes long is given in the
background: its job is on the screen, and its outcome is said when it ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Label, Static

from core.api import (
    BackupsView,
    BackupView,
    CreateBackup,
    DrillBackup,
    Outcome,
    PruneBackups,
    ReleaseSettlements,
    RunDueBackups,
    VerifyBackup,
)
from core.model import BursarError, Secret
from tui import backup_words, backups, text
from tui.screens.base import DeskScreen
from tui.screens.forms import FormError
from tui.widgets.secret_input import SecretInput

MOST_LISTED = 12
"""Lines of a dry run shown in the question; the rest is counted."""


class AskSecret(ModalScreen[Secret | None]):
    """Words, one masked line, two buttons; None where it was cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="secret.cancel"),
        Binding("up", "app.focus_previous", "Above", show=False, id="secret.up"),
        Binding("down", "app.focus_next", "Below", show=False, id="secret.down"),
    ]

    def __init__(self, title: str, words: str, label: str, yes: str, signs: text.Glyphs) -> None:
        super().__init__(classes="dialog")
        self._title, self._words, self._label, self._yes = title, words, label, yes
        self._signs = signs

    def compose(self) -> ComposeResult:
        """The words, the line, the buttons."""
        with Vertical(classes="dialog-box") as box:
            box.border_title = Content(self._title)
            yield Static(Content(self._words), classes="dialog-words")
            with Horizontal(classes="dialog-field -apart"):
                yield Label(Content(self._label))
                yield SecretInput("optional", signs=self._signs)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Cancel", id="no", compact=True)
                yield Button(Content(self._yes), id="yes", variant="primary", compact=True)

    def on_mount(self) -> None:
        """Typing goes to the line."""
        self.query_one(SecretInput).focus()

    @on(SecretInput.Submitted)
    def _submitted(self) -> None:
        self.dismiss(self.query_one(SecretInput).take())

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        secret = self.query_one(SecretInput).take()
        self.dismiss(secret if event.button.id == "yes" else None)

    def action_leave(self) -> None:
        """Nothing is done."""
        self.query_one(SecretInput).clear()
        self.dismiss(None)


async def create(screen: DeskScreen) -> None:
    """Ask for the type, and make a backup."""
    from tui.screens.dialogs import Field, Form

    view = screen.session.backups
    if not _can_make(screen, view):
        return

    def build(values: Mapping[str, str]) -> tuple[CreateBackup, str]:
        kind = next((each for each in backups.TYPES if each.startswith(values["type"].lower())), "")
        if not values["type"] or not kind:
            raise FormError("which: write full or incremental")
        return CreateBackup(kind), backup_words.will_create(kind, view)

    has_full = view is not None and any(each.type == "full" for each in view.backups)
    first = "incremental" if has_full else "full"
    form = Form("Back up now", [Field("type", "type", first, "full or incremental")], build,
                "Back up")  # fmt: skip
    command = await screen.app.push_screen_wait(form)
    if command is not None:
        _background(screen, screen.give(command))


async def verify(screen: DeskScreen, backup: BackupView) -> None:
    """Say what it will do, and verify a backup."""
    from tui.screens.dialogs import Confirm

    said = backup_words.will_verify(backup)
    if await screen.app.push_screen_wait(Confirm("Verify?", said, "Verify", dangerous=False)):
        _background(screen, screen.give(VerifyBackup(backup.id)))


async def drill(screen: DeskScreen, backup: BackupView) -> None:
    """Ask for the password, which may be left out, and drill a backup."""
    dialog = AskSecret(
        "Drill", backup_words.will_drill(backup), "password", "Drill", screen.desk.signs
    )
    secret = await screen.app.push_screen_wait(dialog)
    if secret is None:
        return
    if not secret.reveal():
        _background(screen, screen.give(DrillBackup(backup.id)))
        return

    async def with_seed() -> Outcome:
        return await screen.session.api.drill(backup.id, secret)

    _background(screen, screen.answer(with_seed()))


async def prune(screen: DeskScreen) -> None:
    """Dry run first; what it names is deleted after a question."""
    from tui.screens.dialogs import Confirm

    found = await screen.answer(screen.session.execute(PruneBackups(dry_run=True)), quiet=True)
    if found is None:
        return
    if not found.changed:
        screen.say(text.safe(found.message))
        return
    # A dry run tells of every archive; what is kept is not asked about.
    lines = [text.safe(line) for line in found.details if not line.startswith("keep ")]
    more = len(lines) - MOST_LISTED
    listed = lines[:MOST_LISTED] + ([f"and {text.count(more)} more"] if more > 0 else [])
    said = (
        f"{text.safe(found.message)}\n\n" + "\n".join(listed) + "\n\nThey are deleted at every "
        "destination and cannot be brought back. Chain parents and the newest verified full are "
        "never among them."
    )
    if await screen.app.push_screen_wait(Confirm("Delete these backups?", said, "Delete them")):
        _background(screen, screen.give(PruneBackups(dry_run=False)))


async def run_due(screen: DeskScreen) -> None:
    """Say what it will do, and run what is due."""
    from tui.screens.dialogs import Confirm

    if not _can_make(screen, screen.session.backups):
        return
    said = "What the schedule asks for now is made, and copies that could not be sent are sent."
    if await screen.app.push_screen_wait(Confirm("Run what is due?", said, "Run", dangerous=False)):
        _background(screen, screen.give(RunDueBackups()))


async def release(screen: DeskScreen) -> None:
    """Ask for the reason, then once more, and let settlements go on."""
    from tui.screens.dialogs import Confirm, Field, Form

    def build(values: Mapping[str, str]) -> tuple[ReleaseSettlements, str]:
        if not values["reason"]:
            raise FormError("write who compared what is under way; it is kept in the events")
        return ReleaseSettlements(values["reason"]), "lets held settlements go on"

    form = Form("Release settlements", [Field("reason", "reason")], build, "Go on")
    command = await screen.app.push_screen_wait(form)
    if command is None:
        return
    said = f"{backup_words.will_release()}\n\nReason: {text.safe(command.reason)}"
    if await screen.app.push_screen_wait(Confirm("Release settlements?", said, "Release")):
        await screen.give(command)


async def undo(screen: DeskScreen) -> None:
    """Ask for the installation's name, and go back before the last restore."""
    from tui.screens.dialogs import Field, Form

    view = screen.session.backups
    if view is None or not view.undo:
        screen.say("there is no restore to undo", severity="warning")
        return
    name = screen.session.link.node_id

    def build(values: Mapping[str, str]) -> tuple[str, str]:
        if values["name"] != name:
            raise FormError(f"type {text.safe(name)} to undo the last restore")
        return values["name"], backup_words.will_undo(view)

    form = Form("Undo the last restore", [Field("name", "name", placeholder=text.safe(name))],
                build, "Undo it")  # fmt: skip
    typed = await screen.app.push_screen_wait(form)
    if typed is None:
        return
    screen.session.restarting = "the engine starts again on the state before the restore"
    try:
        result = await screen.session.api.undo_restore(typed)
    except BursarError as error:
        screen.session.restarting = ""
        screen.say(text.safe(str(error)), severity="error")
        return
    screen.say(text.safe(result.message))


def _can_make(screen: DeskScreen, view: BackupsView | None) -> bool:
    """Whether a backup can be made; else says why not and what to do."""
    if view is not None and view.off:
        said = f"no backup can be made: {text.safe(view.off)}"
        if "backup setup" not in said:
            said = f"{said.rstrip('.')}. {backup_words.SETUP} sets them up"
        screen.say(said, severity="warning")
        return False
    job = backups.running(view, "backup")
    if job is not None:
        screen.say(f"a backup is being made already: {text.safe(job.stage)}", severity="warning")
        return False
    return True


def _background(screen: DeskScreen, command: Awaitable[Outcome | None]) -> None:
    screen.run_worker(command, group="command")
