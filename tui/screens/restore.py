"""The restore wizard: pick, unlock, dry run, confirm, apply, reconcile; Esc goes back.

The walk itself is `tui.restoring`; this screen draws it and turns keys into its calls. They run
in the app's own tasks, so that a plan which is still being made when the screen is left is
dropped when it comes.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Static
from textual.widgets.input import Selection

from tui import backup_words, backups, restore_words, text
from tui.restoring import Restoring, Step
from tui.screens import backup_forms, forms, restore_steps
from tui.screens.backups import BackupsScreen
from tui.screens.base import Desk, DeskScreen
from tui.widgets.list_table import ListTable
from tui.widgets.secret_input import SecretInput

_AT: dict[str, frozenset[Step]] = {
    "go_on": frozenset({Step.PICK, Step.DRY_RUN, Step.APPLY}),
    "place": frozenset({Step.PICK}),
    "path": frozenset({Step.PICK}),
    "ledger": frozenset({Step.PICK}),
    "only": frozenset({Step.RECONCILE}),
    "release": frozenset({Step.RECONCILE}),
    "export": frozenset({Step.RECONCILE}),
}
"""The steps at which a key does something."""


class RestoreScreen(DeskScreen):
    """Six steps over one walk. `backup` is the one the cursor begins on."""

    PATH = ("Backups", "Restore")
    AUTO_FOCUS = ""  # every step knows what needs the keys
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "go_on", "go on", id="restore.go_on"),
        Binding("escape", "back", "back", id="restore.back"),
        Binding("tab", "app.focus_next", "list, place", show=False, id="restore.focus"),
        Binding("greater_than_sign", "place(1)", "other destination", key_display="< >",
                id="restore.next_place"),
        Binding("less_than_sign", "place(-1)", "Destination before", show=False,
                id="restore.place_before"),
        Binding("slash,tilde", "path", "path", key_display="/", id="restore.path"),
        Binding("l", "ledger", "ledger", id="restore.ledger"),
        Binding("exclamation_mark", "only", "drift, unknown", key_display="!", id="restore.only"),
        Binding("h", "release", "release settlements", id="restore.release"),
        Binding("e", "export", "export", id="restore.export"),
    ]  # fmt: skip

    def __init__(self, desk: Desk, over: BackupsScreen, backup: str = "") -> None:
        super().__init__(desk)
        self._over = over
        self._begin_on = backup
        self._paces = backups.Paces()
        self._only = ""
        self._words: dict[str, backup_words.Words] = {}
        self._step_shown: Step | None = None
        self.walk = Restoring(self.session, self._told)

    def body(self) -> Iterable[Widget]:
        """The steps' line, a part per step, and what is said under it."""
        yield Static(id="restore-steps")
        yield from restore_steps.parts(self.desk.signs)
        yield Static(id="restore-said")

    def follow(self) -> None:
        """Jobs and destinations with what the engine says; the report with every tick."""
        self.watch(self.session, "backups", self._redraw, init=False)
        self.watch(self.session, "pulse", self._tick, init=False)
        view = self.session.backups
        known = view.destinations if view is not None and view.backups else ()
        first = self._over.restored_from or next((each.name for each in known), "")
        self.query_one("#restore-source", Input).value = self.walk.source = first
        self._told()
        if first:
            self._run(self._look_at(first))

    @property
    def holds(self) -> str:
        """Nobody leaves while a restore is put in force."""
        return restore_words.HELD if self.walk.is_held else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Each step has its own keys."""
        walk, view = self.walk, self.session.backups
        if action in _AT and walk.step not in _AT[action]:
            return False
        if action == "go_on" and walk.step is Step.APPLY and not walk.error:
            return False
        if action == "back" and walk.is_held:
            return False
        if action == "place" and not (view is not None and view.destinations):
            return False
        if action == "release":
            return view is not None and view.held and self.session.writable
        return super().check_action(action, parameters)

    def _run(self, doing: Coroutine[None, None, None]) -> None:
        self.app.run_worker(doing, group="restore")

    # --- drawing ---------------------------------------------------------------------------

    def _told(self) -> None:
        """The walk went on."""
        if not self.is_attached:
            return
        if self.walk.step is not self._step_shown:
            self._step_shown = self.walk.step
            for step in Step:
                self.set_class(step is self.walk.step, f"-step-{step.value}")
            self._arrive()
        self._redraw()
        self.refresh_bindings()

    def _arrive(self) -> None:
        """Give the keys to what the step needs; never to the button that applies."""
        match self.walk.step:
            case Step.PICK:
                wanted = "#restore-list" if self.walk.source else "#restore-source"
            case Step.UNLOCK:
                wanted = "SecretInput"
            case Step.DRY_RUN:
                wanted = "#restore-changes"
            case Step.CONFIRM:
                typed = self.walk.plan is not None and self.walk.plan.confirm
                self.set_class(bool(typed), "-typed")
                wanted = "#restore-typed" if typed else "#restore-no"
            case Step.APPLY:
                self.set_focus(None)
                return
            case Step.RECONCILE:
                wanted = "#restore-rows"
        # At once: a key that comes next must not go to the step before.
        self.set_focus(self.query_one(wanted))

    def on_descendant_blur(self) -> None:
        """A click beside the password's line must not send what is typed to the desk's keys."""
        self.call_after_refresh(self._keep_unlock_focused)

    def _keep_unlock_focused(self) -> None:
        if self.walk.step is Step.UNLOCK and self.is_active and self.focused is None:
            self.set_focus(self.query_one(SecretInput))

    def _redraw(self) -> None:
        if not self.is_attached or not self.is_active:
            return
        walk, view, signs = self.walk, self.session.backups, self.desk.signs
        now_ms = self.session.now_ms()
        self._write("restore-steps", restore_words.steps(walk.step, signs))
        said: backup_words.Words = []
        match walk.step:
            case Step.PICK:
                said = restore_steps.draw_pick(self, walk, self._write, now_ms)
            case Step.UNLOCK if walk.backup is not None:
                words = restore_words.chosen(
                    walk.backup, walk.source, walk.ledger, now_ms, self.desk.options.hint
                )
                self._write("restore-chosen", words)
            case Step.DRY_RUN | Step.CONFIRM:
                said = restore_steps.draw_plan(self, walk, self._write, now_ms)
            case Step.RECONCILE:
                said = restore_steps.draw_rows(self, walk, self._write, self._only)
        job = backups.running(view, "restore")
        if job is not None and walk.busy:
            self._paces.saw((job,), now_ms)
            said = backup_words.job_line(job, self._paces.of(job, now_ms), now_ms, signs)
        elif walk.busy:
            said = [(f"{text.safe(walk.busy)}", "")]
        elif walk.error:
            said = restore_words.trouble(walk.step, walk.error, walk.plan is not None, signs)
        if walk.is_held:
            said = [*said, ("\ndo not stop the engine; whatever happens, the old state or the new "
                            "one is whole", "$desk-dim")]  # fmt: skip
        self._write("restore-said", said)
        self.note((restore_words.NAMES[walk.step], "$desk-dim"))

    def _write(self, where: str, words: backup_words.Words) -> None:
        if self._words.get(where) != words:
            self._words[where] = words
            self.query_one(f"#{where}", Static).update(Content.assemble(*words))

    def on_list_table_highlighted(self) -> None:
        """Another line: other words."""
        self._redraw()

    def _tick(self) -> None:
        walk = self.walk
        if walk.step is Step.RECONCILE and not (walk.report and walk.report.ended_ms):
            self._run(walk.reconcile())
        self._redraw()

    def on_screen_suspend(self) -> None:
        """Nobody looks: what was typed of a password is forgotten."""
        self.query_one(SecretInput).clear()

    def on_screen_resume(self) -> None:
        """Come back to the newest picture."""
        self._redraw()

    # --- the steps -------------------------------------------------------------------------

    @on(Input.Submitted, "#restore-source")
    def _look(self, event: Input.Submitted) -> None:
        source = event.value.strip()
        if source:
            self._over.restored_from = source
            self._run(self._look_at(source))
            self.set_focus(self.query_one("#restore-list"))

    async def _look_at(self, source: str) -> None:
        """List a place: the cursor begins on the backup that the wizard was opened from; where
        there is none, the keys go to the line that says the place."""
        await self.walk.look(source)
        if not self.is_attached or self.walk.step is not Step.PICK or self.walk.busy:
            return
        if not self.walk.found:
            field = self.query_one("#restore-source", Input)
            self.set_focus(field)
            field.selection = Selection(0, len(field.value))  # another place takes its room
        elif self._begin_on:
            backup, self._begin_on = self._begin_on, ""
            self.query_one("#restore-list", ListTable).move_to(backup)

    def action_place(self, step: int) -> None:
        """The destination after (1) or before (-1) the present place."""
        view = self.session.backups
        names = [each.name for each in view.destinations] if view is not None else []
        if not names:
            self.say("no destination is known: write a path", severity="warning")
            return
        here = names.index(self.walk.source) if self.walk.source in names else -step
        name = names[(here + step) % len(names)]
        self.query_one("#restore-source", Input).value = name
        self._over.restored_from = name
        self._run(self.walk.look(name))

    def action_path(self) -> None:
        """Write where a file or a folder is."""
        field = self.query_one("#restore-source", Input)
        self.set_focus(field)
        field.value = "/"
        field.cursor_position = 1

    def action_ledger(self) -> None:
        """Keep the running ledger, or take the backup's checkpoint."""
        self.walk.change_ledger()

    def action_go_on(self) -> None:
        """The next step."""
        match self.walk.step:
            case Step.PICK:
                cursor = self.query_one("#restore-list", ListTable).cursor
                picked = next((each for each in self.walk.found if each.id == cursor), None)
                if picked is not None:
                    self.walk.choose(picked)
            case Step.DRY_RUN:
                self.walk.confirm()
            case Step.APPLY:
                self.walk.begin_again()

    @on(SecretInput.Submitted)
    def _unlock(self) -> None:
        field = self.query_one("#restore-unlock SecretInput", SecretInput)
        secret = field.take()
        if self.walk.busy:
            return
        if not secret.reveal():
            self.say("type the password or the recovery key first", severity="warning")
            return
        self._run(self.walk.make_plan(secret))

    @on(Input.Changed, "#restore-typed")
    def _weigh(self) -> None:
        self._redraw()

    @on(Input.Submitted, "#restore-typed")
    @on(Button.Pressed, "#restore-yes")
    def _apply(self) -> None:
        typed, plan = self.query_one("#restore-typed", Input), self.walk.plan
        if plan is not None and not restore_words.to_type(plan, typed.value):
            self._run(self.walk.apply(typed.value))
            typed.value = ""

    @on(Button.Pressed, "#restore-no")
    async def _cancelled(self) -> None:
        await self.action_back()

    async def action_back(self) -> None:
        """To the choice of a backup, and from there to the list; what was planned is dropped."""
        if self.walk.is_held:
            self.say(restore_words.HELD, severity="warning")
            return
        was_planned = self.walk.plan is not None or bool(self.walk.busy)
        self.query_one(SecretInput).clear()
        if await self.walk.back():
            self.dismiss(None)
        elif was_planned:
            self.say(restore_words.DROPPED)

    # --- at the end ------------------------------------------------------------------------

    def action_only(self) -> None:
        """Drift only, unknown only, or both."""
        place = restore_words.FILTERS.index(self._only) + 1
        self._only = restore_words.FILTERS[place % len(restore_words.FILTERS)]
        self._redraw()

    @work(group="dialog", exclusive=True)
    async def action_release(self) -> None:
        """Let settlements go on that the restore holds."""
        await backup_forms.release(self)

    @work(group="dialog", exclusive=True)
    async def action_export(self) -> None:
        """Write what did not match to a file."""
        report = self.walk.report
        found = [backups.reconciled_json(row) for row in (report.rows if report else ())]
        await forms.export_fields(self, "reconciliation", "balances", found)
