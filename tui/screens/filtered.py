"""A screen over a list that a line of words filters: what such screens do alike.

Subclasses bind `filter` and `clear`, hold what the words mean, and redraw. Words that cannot be
understood are said beside the line, and the last filter that could stays.
"""

from __future__ import annotations

from textual import on

from tui import text
from tui.query import QueryError
from tui.screens.base import Desk, DeskScreen
from tui.widgets.filter_line import FilterLine

Words = list[tuple[str, str]]


class FilteredScreen(DeskScreen):
    """`filter` is what is in force, "" for nothing."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.filter = ""
        self._wrong = ""

    # --- what a subclass says ----------------------------------------------------------------

    def take_filter(self, words: str) -> None:
        """Filter by these words from now on. Raises QueryError, and then nothing changed."""
        raise NotImplementedError

    def filtered(self) -> None:
        """The filter, or what is said of it, is another one: draw."""
        raise NotImplementedError

    def refocus(self) -> None:
        """Give the focus back to the list."""
        raise NotImplementedError

    # --- what it gets ------------------------------------------------------------------------

    def apply_filter(self, words: str) -> None:
        """Filter by these words, or say why that cannot be done."""
        try:
            self.take_filter(words)
            self.filter, self._wrong = " ".join(words.split()), ""
        except QueryError as error:
            self._wrong = text.safe(str(error))
        self.query_one(FilterLine).wrong(self._wrong)
        self.filtered()

    def filter_words(self, most: int, *, lead: str = "", trail: str = "") -> Words:
        """The filter for the line under the list, at most so many characters of it, and blanks
        around it where there is one."""
        signs = self.desk.signs
        if self._wrong:
            return [(f"{lead}{signs.problem} {self._wrong}{trail}", "$error")]
        if self.filter:
            asked = text.clip(text.safe(self.filter), most, signs.cut)
            return [(f"{lead}filter: ", "$desk-dim"), (asked, "$accent"), (trail, "")]
        return []

    def action_filter(self) -> None:
        """Open the filter's line."""
        self.query_one(FilterLine).open(self.filter)

    def action_clear(self) -> None:
        """Everything again."""
        self.apply_filter("")

    @on(FilterLine.Changed)
    def _filter_changed(self, event: FilterLine.Changed) -> None:
        self.apply_filter(event.value)

    @on(FilterLine.Closed)
    def _filter_closed(self) -> None:
        self._wrong = ""
        self.refocus()
        self.filtered()
