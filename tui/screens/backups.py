"""Backups: what there is, where, how well it is proven, what is under way and what comes next.

The list is rebuilt only when the engine said something new; ages and paces move with the pulse.
Keys that give commands ask first, in `backup_forms`; long commands go on while the desk is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import BackupView
from tui import backup_words, backups, text
from tui.screens import backup_forms, backup_rows, forms
from tui.screens.base import WIDE, Desk
from tui.screens.filtered import FilteredScreen
from tui.widgets.filter_line import FilterLine
from tui.widgets.list_table import ListTable

FAILED = "failed"
MOST_JOBS, MOST_JOBS_ROOMY = 2, 5


class BackupsScreen(FilteredScreen):
    """The list, the backup under the cursor in full, and what stands around it."""

    PATH = ("Backups",)
    AUTO_FOCUS = "#backups-list"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", key_display="/", id="filter"),
        Binding("escape", "clear", "Clear filter", show=False, id="filter.clear"),
        Binding("exclamation_mark", "failed", "Only what has trouble", show=False,
                key_display="!", id="backups.failed"),
        Binding("y", "copy_id", "Copy the id", show=False, id="copy.id"),
        Binding("Y", "copy_json", "Copy the backup as JSON", show=False, id="copy.json"),
        Binding("e", "export", "Export what is shown", show=False, id="backups.export"),
    ]  # fmt: skip
    WRITES = (
        Binding("b", "create", "back up", id="backups.create"),
        Binding("v", "verify", "verify", id="backups.verify"),
        Binding("d", "drill", "drill", id="backups.drill"),
        Binding("p", "prune", "prune", id="backups.prune"),
        Binding("R", "restore", "restore", id="backups.restore"),
        Binding("h", "release", "release settlements", id="backups.release"),
        Binding("u", "undo", "Undo the last restore", show=False, id="backups.undo"),
        Binding("ctrl+r", "due", "Run what is due, send again what failed", show=False,
                id="backups.due"),
    )  # fmt: skip

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._matches: backups.Predicate = backups.parse("")
        self._shown: dict[str, BackupView] = {}
        self._paces = backups.Paces()
        self._words: dict[str, backup_words.Words] = {}
        self.restored_from = ""
        """Where the last restore of this desk looked; the next one begins there."""

    def body(self) -> Iterable[Widget]:
        """Alarm, list and detail, what stands around them, filter."""
        yield Static(id="backups-alarm")
        with Container(id="backups-body"):
            yield ListTable(backup_rows.COLS, id="backups-list", signs=self.desk.signs)
            with VerticalScroll(id="backups-side", can_focus=False):
                yield Static(id="backups-detail")
        yield Static(id="backups-below")
        yield FilterLine("type:full at:s3 failed unverified undrilled text")

    def follow(self) -> None:
        """The list with what the engine says, ages with the pulse."""
        self.watch(self.session, "backups", self._changed)
        self.watch(self.session, "pulse", self._tick, init=False)

    def on_screen_resume(self) -> None:
        """Come back to the newest picture."""
        self._changed()

    def on_resize(self) -> None:
        """Another width, other words."""
        super().on_resize()
        self._redraw_words()

    @property
    def table(self) -> ListTable:
        """The list."""
        return self.query_one("#backups-list", ListTable)

    @property
    def backup(self) -> BackupView | None:
        """The backup under the cursor."""
        return self._shown.get(self.table.cursor)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Releasing and undoing are offered where there is something to release or undo."""
        view = self.session.backups
        if action == "release" and not (view is not None and view.held):
            return False
        if action == "undo" and not (view is not None and view.undo):
            return False
        return super().check_action(action, parameters)

    # --- drawing ---------------------------------------------------------------------------

    def _changed(self) -> None:
        view = self.session.backups
        self._paces.saw(view.jobs if view is not None else (), self.session.now_ms())
        self.refresh_bindings()
        self._redraw()

    def _tick(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        if not self.is_active:
            return  # nobody looks: drawn anew when the screen is come back to
        view, now_ms, signs = self.session.backups, self.session.now_ms(), self.desk.signs
        found = backups.ordered(view.backups if view is not None else ())
        self._shown = {backup.id: backup for backup in found if self._matches(backup)}
        items = [backup_rows.item(backup, now_ms, signs) for backup in self._shown.values()]
        is_cut = bool(self.filter and found)
        empty = "nothing matches: Esc clears the filter" if is_cut else backup_words.empty(view)
        self.table.show(items, empty=empty)
        self.set_class(not found, "-none")
        self._redraw_words()

    def _redraw_words(self) -> None:
        if not self.is_active:
            return
        view, now_ms, signs = self.session.backups, self.session.now_ms(), self.desk.signs
        roomy = self.app.size.width >= WIDE
        alarm = backup_words.alarm(view, signs)
        self._write("backups-alarm", alarm)
        self.query_one("#backups-alarm").set_class(bool(alarm), "-said")
        backup = self.backup
        self._write(
            "backups-detail",
            backup_words.detail(backup, now_ms, signs, roomy=roomy) if backup is not None else [],
        )
        below: backup_words.Words = []
        if view is not None:
            most = MOST_JOBS_ROOMY if roomy else MOST_JOBS
            below += backup_words.jobs(view, self._paces, now_ms, signs, most)
            below += backup_words.schedule(view, now_ms, signs)
            if view.destinations:
                below += [("\n", "")]
                below += backup_words.destinations(view.destinations, signs)
        self._write("backups-below", below)
        self._say_where()

    def _write(self, where: str, words: backup_words.Words) -> None:
        if self._words.get(where) != words:
            self._words[where] = words
            self.query_one(f"#{where}", Static).update(Content.assemble(*words))

    def _say_where(self) -> None:
        view = self.session.backups
        known = view.backups if view is not None else ()
        words: backup_words.Words = [(text.count(len(self._shown)), "")]
        if len(self._shown) != len(known):
            words.append((f"/{text.count(len(known))}", "$desk-dim"))
        words.append((" backup   " if len(known) == 1 else " backups   ", "$desk-dim"))
        words += self.filter_words(30, trail="   ")
        words += backup_words.summary(known, view, self.session.now_ms())
        self.note(*words)

    def on_list_table_highlighted(self) -> None:
        """Say more about the line under the cursor."""
        self._redraw_words()

    # --- filter ----------------------------------------------------------------------------

    def take_filter(self, words: str) -> None:
        """Show only what these words let through."""
        self._matches = backups.parse(words)

    def filtered(self) -> None:
        """Another filter: other rows."""
        self._redraw()

    def refocus(self) -> None:
        """Back to the list."""
        self.table.focus()

    def action_failed(self) -> None:
        """Only what has trouble, or everything again."""
        self.apply_filter("" if self.filter == FAILED else FAILED)

    # --- copying ---------------------------------------------------------------------------

    def action_copy_id(self) -> None:
        """The id in full."""
        if (backup := self.backup) is not None:
            self.copy(backup.id, "id")

    def action_copy_json(self) -> None:
        """The backup in its public form."""
        if (backup := self.backup) is not None:
            self.copy(msgspec.json.encode(backups.as_json(backup)).decode(), "backup")

    @work(group="dialog", exclusive=True)
    async def action_export(self) -> None:
        """Write the backups that are shown to a file."""
        found = [backups.as_json(backup) for backup in self._shown.values()]
        await forms.export_fields(self, "backups", "backups", found)

    # --- commands --------------------------------------------------------------------------

    def _here(self) -> BackupView | None:
        if self.backup is None:
            self.say("there is no backup under the cursor", severity="warning")
        return self.backup

    @work(group="dialog", exclusive=True)
    async def action_create(self) -> None:
        """A backup now, full or incremental."""
        await backup_forms.create(self)

    @work(group="dialog", exclusive=True)
    async def action_verify(self) -> None:
        """Prove that the backup under the cursor opens."""
        if (backup := self._here()) is not None:
            await backup_forms.verify(self, backup)

    @work(group="dialog", exclusive=True)
    async def action_drill(self) -> None:
        """Prove that the backup under the cursor restores."""
        if (backup := self._here()) is not None:
            await backup_forms.drill(self, backup)

    @work(group="dialog", exclusive=True)
    async def action_prune(self) -> None:
        """Say what no rule keeps, then ask, then delete it."""
        await backup_forms.prune(self)

    @work(group="dialog", exclusive=True)
    async def action_release(self) -> None:
        """Let settlements go on that a restore holds."""
        await backup_forms.release(self)

    @work(group="dialog", exclusive=True)
    async def action_undo(self) -> None:
        """Back to the state before the last restore."""
        await backup_forms.undo(self)

    @work(group="dialog", exclusive=True)
    async def action_due(self) -> None:
        """What the schedule asks for now, and what could not be sent."""
        await backup_forms.run_due(self)

    def action_restore(self) -> None:
        """The wizard, from the backup under the cursor."""
        from tui.screens.restore import RestoreScreen

        backup = self.backup
        self.app.push_screen(RestoreScreen(self.desk, self, backup.id if backup else ""))
