"""Questions: a confirmation that never focuses the dangerous button, and small forms.

A form says under its fields what is wrong, in words, and gives back one finished command; it
never speaks to the engine itself. Escape always leaves without doing anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from core.model import BursarError
from tui import text
from tui.widgets.list_table import Cell, Col, Item, ListTable, Tone


class Confirm(ModalScreen[bool]):
    """A question with consequences. Cancel has the focus; only the named button says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "no", "Cancel", id="confirm.cancel"),
        Binding("left,right", "app.focus_next", "Other button", show=False, id="confirm.other"),
    ]

    def __init__(self, title: str, words: str, yes: str, *, dangerous: bool = True) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._words = words
        self._yes = yes
        self._dangerous = dangerous

    def compose(self) -> ComposeResult:
        """The question and two buttons."""
        with Vertical(classes="dialog-box") as box:
            box.border_title = Content(self._title)
            yield Static(Content(self._words), classes="dialog-words")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Cancel", id="no", compact=True)
                yield Button(
                    Content(self._yes),
                    id="yes",
                    variant="error" if self._dangerous else "primary",
                    compact=True,
                )

    def on_mount(self) -> None:
        """The safe answer has the focus."""
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def _answered(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_no(self) -> None:
        """Nothing is done."""
        self.dismiss(False)


class Tell(ModalScreen[None]):
    """Words to read; any of the usual keys closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Close", id="tell.close"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="tell.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="tell.up"),
    ]

    def __init__(self, title: str, words: str) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._words = words

    def compose(self) -> ComposeResult:
        """The words and a button."""
        with Vertical(classes="dialog-box") as box:
            box.border_title = Content(self._title)
            with VerticalScroll(id="tell-words", can_focus=False):
                yield Static(Content(self._words))
            with Horizontal(classes="dialog-buttons"):
                yield Button("Close", id="no", compact=True)

    def on_mount(self) -> None:
        """Enter closes too."""
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def _pressed(self) -> None:
        self.dismiss(None)

    def action_leave(self) -> None:
        """Back to the screen."""
        self.dismiss(None)

    def action_scroll(self, lines: int) -> None:
        """Read on, or back."""
        self.query_one("#tell-words").scroll_relative(y=lines * 2, animate=False)


class Field(NamedTuple):
    """One line of a form: its name, what stands in it, what to write there, and a hint."""

    name: str
    label: str
    value: str = ""
    placeholder: str = ""


Answer = TypeVar("Answer")


class Form(ModalScreen[Answer | None], Generic[Answer]):
    """Labelled inputs over one sentence that says what will happen, or what is wrong.

    `build` turns the fields' texts into the answer and that sentence, or raises BursarError.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="form.cancel"),
        Binding("up", "app.focus_previous", "Field above", show=False, id="form.up"),
        Binding("down", "app.focus_next", "Field below", show=False, id="form.down"),
    ]

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        build: Callable[[Mapping[str, str]], tuple[Answer, str]],
        yes: str,
    ) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._fields = tuple(fields)
        self._build = build
        self._yes = yes
        self._answer: Answer | None = None

    def compose(self) -> ComposeResult:
        """Fields, the sentence, two buttons."""
        with Vertical(classes="dialog-box") as box:
            box.border_title = Content(self._title)
            for field in self._fields:
                with Horizontal(classes="dialog-field"):
                    yield Label(Content(field.label))
                    yield Input(
                        field.value,
                        field.placeholder,
                        id=field.name,
                        compact=True,
                        select_on_focus=False,
                    )
            yield Static(id="sentence", classes="dialog-words")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Cancel", id="no", compact=True)
                yield Button(Content(self._yes), id="yes", variant="primary", compact=True)

    def on_mount(self) -> None:
        """The first field that is still empty has the focus."""
        empty = [field.name for field in self._fields if not field.value]
        self.query_one(f"#{(empty or [self._fields[0].name])[0]}", Input).focus()
        self._weigh()

    @on(Input.Changed)
    def _weigh(self) -> None:
        values = {each.id or "": each.value.strip() for each in self.query(Input)}
        try:
            self._answer, words = self._build(values)
        except BursarError as error:
            self._answer, words = None, str(error)
        wrong = self._answer is None
        sentence = self.query_one("#sentence", Static)
        sentence.update(Content(text.safe(words)))
        sentence.set_class(wrong, "-wrong")
        self.query_one("#yes", Button).disabled = wrong

    @on(Input.Submitted)
    def _next(self, event: Input.Submitted) -> None:
        names = [field.name for field in self._fields]
        if event.input.id == names[-1]:
            self._finish()
        else:
            self.focus_next()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self._finish()
        else:
            self.dismiss(None)

    def _finish(self) -> None:
        if self._answer is not None:
            self.dismiss(self._answer)

    def action_leave(self) -> None:
        """Nothing is done."""
        self.dismiss(None)


class Choose(ModalScreen[tuple[str, ...] | None]):
    """Tick what is to be shown; the answer keeps the order of the list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="choose.cancel"),
        Binding("space", "tick", "Tick", id="choose.tick"),
        Binding("enter", "done", "Done", id="choose.done"),
    ]

    def __init__(
        self, title: str, choices: Sequence[tuple[str, str, str]], chosen: Sequence[str]
    ) -> None:
        """`choices` are key, name and what it means."""
        super().__init__(classes="dialog")
        self._title = title
        self._choices = tuple(choices)
        self._chosen = set(chosen)

    def compose(self) -> ComposeResult:
        """The list; Space ticks, Enter is done."""
        with Vertical(classes="dialog-box") as box:
            box.border_title = Content(self._title)
            yield ListTable((Col("", 3), Col("COLUMN", 10), Col("WHAT IT SAYS", 20, grow=True)))
            yield Static("space ticks, enter keeps, esc leaves", classes="dialog-words")

    def on_mount(self) -> None:
        """As many lines as there are choices, where the terminal has them."""
        table = self.query_one(ListTable)
        table.styles.height = len(self._choices) + 1
        table.focus()
        self._show()

    def _show(self) -> None:
        items = []
        for key, name, words in self._choices:
            ticked = key in self._chosen
            tone = Tone.PLAIN if ticked else Tone.DIM
            mark = Cell("[x]" if ticked else "[ ]", Tone.OK if ticked else Tone.DIM)
            items.append(Item(key, (mark, Cell(name, tone), Cell(words, Tone.DIM))))
        self.query_one(ListTable).show(items)

    def action_tick(self) -> None:
        """Tick the line under the cursor, or take the tick away."""
        self._chosen ^= {self.query_one(ListTable).cursor}
        self._show()

    def action_done(self) -> None:
        """Keep what is ticked."""
        self.dismiss(tuple(key for key, _, _ in self._choices if key in self._chosen))

    def action_leave(self) -> None:
        """Leave everything as it was."""
        self.dismiss(None)
