"""The parts of the restore wizard, one per step; the style sheet shows the one of the step."""

from __future__ import annotations

from collections.abc import Iterator

from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Static

from tui import text
from tui.restore_words import CHANGE_COLS, ROW_COLS
from tui.screens.backup_rows import PICK_COLS
from tui.widgets.list_table import ListTable
from tui.widgets.secret_input import SecretInput


def parts(signs: text.Glyphs) -> Iterator[Widget]:
    """Pick, unlock, dry run with confirmation, reconciliation. Applying only says how far it is."""
    yield Vertical(
        Horizontal(
            Label("from"),
            Input(
                placeholder="a destination, or the path of a file or folder",
                id="restore-source",
                compact=True,
                select_on_focus=False,
            ),
            classes="dialog-field",
        ),
        Static(id="restore-places"),
        ListTable(PICK_COLS, id="restore-list", signs=signs),
        id="restore-pick",
        classes="restore-part",
    )
    yield Vertical(
        Static(id="restore-chosen"),
        Horizontal(
            Label("password"),
            SecretInput("or the recovery key", signs=signs),
            classes="dialog-field -apart",
        ),
        id="restore-unlock",
        classes="restore-part",
    )
    yield Vertical(
        Static(id="restore-found"),
        ListTable(CHANGE_COLS, id="restore-changes", signs=signs),
        Horizontal(
            Label("name", id="restore-label"),
            Input(id="restore-typed", compact=True, select_on_focus=False),
            Button("Leave", id="restore-no", compact=True),
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
