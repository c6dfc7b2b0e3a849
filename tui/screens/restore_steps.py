"""The parts of the restore wizard, one per step, and what is drawn in them.

The style sheet shows the part of the present step. Each `draw_` fills one and answers what is to
be said under it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Static

from tui import restore_words, text
from tui.backup_words import Words
from tui.restore_words import CHANGE_COLS, ROW_COLS
from tui.restoring import Restoring, Step
from tui.screens import backup_rows
from tui.screens.backup_rows import PICK_COLS
from tui.screens.base import DeskScreen
from tui.widgets.list_table import ListTable
from tui.widgets.secret_input import SecretInput

Write = Callable[[str, Words], None]
"""Puts words into the `Static` of that id."""


def parts(signs: text.Glyphs) -> Iterator[Widget]:
    """Pick, unlock, dry run with confirmation, reconciliation. Applying only says how far it is."""
    yield Vertical(
        Horizontal(
            Label("from"),
            Input(
                placeholder="a destination, or the path of a file or folder",
                id="restore-source",
                compact=True,
            ),
            classes="dialog-field",
        ),
        Static(id="restore-places"),
        ListTable(PICK_COLS, id="restore-list", signs=signs),
        id="restore-pick",
        classes="restore-part",
    )
    yield Vertical(
        Horizontal(
            Label("password"),
            SecretInput("or the recovery key", signs=signs),
            classes="dialog-field",
        ),
        Static(id="restore-chosen"),  # below the line: what is long never hides it
        id="restore-unlock",
        classes="restore-part",
    )
    yield Vertical(
        Static(id="restore-found"),
        ListTable(CHANGE_COLS, id="restore-changes", signs=signs),
        Horizontal(
            Label("name", id="restore-label"),
            Input(id="restore-typed", compact=True, select_on_focus=False),
            Button("Cancel", id="restore-no", compact=True),
            Button("Apply", id="restore-yes", variant="error", compact=True, disabled=True),
            id="restore-confirm",
            classes="dialog-field dialog-buttons",
        ),
        id="restore-plan",
        classes="restore-part",
    )
    yield Vertical(
        Static(id="restore-outcome"),
        ListTable(ROW_COLS, id="restore-rows", signs=signs),
        id="restore-after",
        classes="restore-part",
    )


def draw_pick(screen: DeskScreen, walk: Restoring, write: Write, now_ms: int) -> Words:
    """Places, and the backups at the one that was looked at."""
    signs = screen.desk.signs
    write("restore-places", restore_words.places(screen.session.backups, walk.source, signs))
    table = screen.query_one("#restore-list", ListTable)
    empty = "no backup is there" if walk.source and not walk.busy else ""
    table.show([backup_rows.pick_item(each, now_ms, signs) for each in walk.found], empty=empty)
    picked = next((each for each in walk.found if each.id == table.cursor), None)
    return restore_words.pick_hint(picked, walk.ledger)


def draw_plan(screen: DeskScreen, walk: Restoring, write: Write, now_ms: int) -> Words:
    """What the dry run found, and at the next step what is to be typed."""
    plan = walk.plan
    if plan is None:
        return []
    write("restore-found", restore_words.found(plan, now_ms, screen.desk.signs))
    items = [restore_words.change_item(change) for change in plan.changes]
    screen.query_one("#restore-changes", ListTable).show(items, empty="nothing would change")
    if walk.step is Step.DRY_RUN:
        return [("Nothing was changed yet. Enter goes on to confirm it, Esc drops it.", "")]
    missing = restore_words.to_type(plan, screen.query_one("#restore-typed", Input).value)
    screen.query_one("#restore-yes", Button).disabled = bool(missing)
    words: Words = [(restore_words.consequence(plan), "$warning")]
    return [*words, (f"\n{missing}", "bold")] if missing else words


def draw_rows(screen: DeskScreen, walk: Restoring, write: Write, only: str) -> Words:
    """What came of it, and the balances that do not match."""
    report, signs = walk.report, screen.desk.signs
    words = restore_words.outcome(walk.result, screen.session.backups, signs)
    write("restore-outcome", [*words, *restore_words.compared(report, only, signs)])
    rows = report.rows if report is not None else ()
    shown = [row for row in rows if not only or row.state == only]
    table = screen.query_one("#restore-rows", ListTable)
    empty = "none of that kind (!)" if rows else restore_words.all_match(report)
    table.show([restore_words.row_item(row, signs) for row in shown], empty=empty)
    here = next((row for row in shown if restore_words.row_key(row) == table.cursor), None)
    return restore_words.row_words(here) if here is not None else []
