"""Trial balance: debits and credits of every ledger, which must be equal, posted and pending.

One ledger per token of packets and one per asset held on a chain; those that do not balance
stand first and say by how much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.api import TrialView
from core.model import BursarError
from tui import ledger_words, text
from tui.screens import ledger_rows
from tui.screens.base import Desk, DeskScreen
from tui.widgets.list_table import ListTable


class TrialScreen(DeskScreen):
    """Every ledger's sums."""

    PATH = ("Ledger", "Trial balance")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", id="back"),
        Binding("ctrl+r", "take", "take now", id="ledger.trial_now"),
        Binding("y", "copy_name", "copy", id="copy.id"),
        Binding("Y", "copy_json", "copy json", id="copy.json"),
    ]

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._trial: tuple[TrialView, ...] = desk.session.trial
        self._reason = ""

    def body(self) -> Iterable[Widget]:
        """The list, and in words whether it balances."""
        yield ListTable(ledger_rows.TRIAL_COLS, empty="no trial balance yet", signs=self.desk.signs)
        yield Static(id="trial-words", classes="words-pane")

    def follow(self) -> None:
        """Redraw when sums were taken."""
        self.watch(self.session, "trial", self._newer)

    def on_mount(self) -> None:
        """Sums of this moment, not those of half a minute ago."""
        super().on_mount()
        self.action_take()

    @work(exclusive=True, group="trial", exit_on_error=False)
    async def action_take(self) -> None:
        """Take every ledger's sums now."""
        try:
            self._trial = tuple(await self.session.api.trial_balance())
            self._reason = ""
        except BursarError as error:
            self._reason = text.safe(str(error))
        self._redraw()

    def _newer(self) -> None:
        self._trial = self.session.trial
        self._redraw()

    def _redraw(self) -> None:
        trial, signs = self._trial, self.desk.signs
        found = sorted(trial, key=lambda view: (view.balanced, view.ledger))
        self.query_one(ListTable).show([ledger_rows.trial_item(view, signs) for view in found])
        words = ledger_words.trial_words(trial, signs)
        self.query_one("#trial-words", Static).update(Content.assemble(*words))
        if self._reason:
            self.note((f"{signs.problem} {self._reason}", "$error"))
        else:
            self.note(("base units, taken again every half minute", "$desk-dim"))

    @property
    def _view(self) -> TrialView | None:
        cursor = self.query_one(ListTable).cursor
        return next((v for v in self._trial if str(v.ledger) == cursor), None)

    # --- keys ------------------------------------------------------------------------------

    def action_back(self) -> None:
        """Where one came from."""
        self.dismiss()

    def action_copy_name(self) -> None:
        """The token, or chain and asset with its contract."""
        view = self._view
        if view is not None:
            self.copy(view.name, "ledger")

    def action_copy_json(self) -> None:
        """The sums; amounts are decimal strings in base units."""
        view = self._view
        if view is not None:
            fields = {
                "ledger": view.ledger,
                "name": view.name,
                "accounts": view.accounts,
                "debits": str(int(view.debits)),
                "credits": str(int(view.credits)),
                "debitsPending": str(int(view.debits_pending)),
                "creditsPending": str(int(view.credits_pending)),
                "balanced": view.balanced,
                "confirmed": view.confirmed,
            }
            self.copy(msgspec.json.encode(fields).decode(), "sums")
