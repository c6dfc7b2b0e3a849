"""The masked line: what is typed comes out once, as a secret, and is seen nowhere else."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from textual import constants, events, on
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.pilot import Pilot

from core.model import Secret
from tests.desk.driving import Desk, opened
from tests.desk.scripted import ScriptedEngine
from tests.desk.scripted_backups import NAME, NOT_A_BACKUP, PASSWORD
from tui import themes
from tui.widgets.secret_input import MOST_CHARS, MOST_DOTS, SecretInput

WRONG = "canary-wrong-5150-horse"


class Holder(App[None]):
    """An app with one masked line and keys of its own."""

    BINDINGS = [Binding("a,q,1,space", "pressed", "")]  # noqa: RUF012 - Textual's type

    def __init__(self) -> None:
        super().__init__()
        self.pressed = 0
        self.taken: list[Secret] = []
        self.heard: list[Message] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.VARIABLES

    def compose(self) -> ComposeResult:
        yield SecretInput("password")

    def on_mount(self) -> None:
        self.query_one(SecretInput).focus()

    def action_pressed(self) -> None:
        self.pressed += 1

    @on(SecretInput.Submitted)
    def _take(self, event: SecretInput.Submitted) -> None:
        self.heard.append(event)
        self.taken.append(event.control.take())

    @on(SecretInput.Changed)
    def _hear(self, event: SecretInput.Changed) -> None:
        self.heard.append(event)


@asynccontextmanager
async def line() -> AsyncIterator[tuple[Holder, Pilot[None], SecretInput]]:
    app = Holder()
    async with app.run_test(size=(40, 4)) as pilot:
        await pilot.pause()
        yield app, pilot, app.query_one(SecretInput)


def drawn(field: SecretInput) -> str:
    return str(field.render())


async def test_it_is_handed_out_once_as_a_secret_and_forgotten() -> None:
    async with line() as (app, pilot, field):
        await pilot.press(*"aq1", "space", *"Z", "enter")
        assert [secret.reveal() for secret in app.taken] == ["aq1 Z"]
        assert "aq1" not in repr(app.taken)
        assert field.is_empty
        assert field.take().reveal() == ""
        assert app.pressed == 0  # none of it went to the keys of the app


async def test_keys_keep_their_order_however_fast_they_come() -> None:
    async with line() as (app, pilot, _):
        # All of it is in the queue before the first one is handled.
        for key in ("a", "b", "x", "backspace", "c", "enter", "d"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        assert [secret.reveal() for secret in app.taken] == ["abc"]


async def test_backspace_takes_one_sign_away_and_ctrl_u_all() -> None:
    async with line() as (app, pilot, field):
        await pilot.press(*"abcd", "backspace", "enter")
        assert app.taken[-1].reveal() == "abc"
        await pilot.press(*"abcd", "ctrl+u", *"z", "enter")
        assert app.taken[-1].reveal() == "z"
        assert field.is_empty


async def test_a_paste_is_taken_up_to_its_first_line_break() -> None:
    async with line() as (app, pilot, _):
        app.post_message(events.Paste(f"{PASSWORD}\nsecond line"))
        await pilot.pause()
        await pilot.press("enter")
        assert app.taken[-1].reveal() == PASSWORD


async def test_ctrl_v_pastes_what_the_desk_itself_holds() -> None:
    async with line() as (app, pilot, _):
        app.copy_to_clipboard("from the desk")
        await pilot.press("ctrl+v", "enter")
        assert app.taken[-1].reveal() == "from the desk"


async def test_what_is_too_long_is_not_taken_in_part() -> None:
    async with line() as (app, pilot, field):
        app.post_message(events.Paste("x" * (MOST_CHARS + 1)))
        await pilot.pause()
        assert field.is_empty
        app.post_message(events.Paste("x" * MOST_CHARS))
        await pilot.pause()
        assert not field.is_empty


async def test_the_dots_do_not_tell_how_long_it_is() -> None:
    async with line() as (_, pilot, field):
        await pilot.press(*"abc")
        assert drawn(field).strip() == "•••"
        await pilot.press(*"defgh")
        eight = drawn(field)
        assert eight.strip() == "•" * MOST_DOTS
        await pilot.press(*"ijklmnop")
        assert drawn(field) == eight


async def test_nothing_of_it_can_be_copied_cut_or_selected() -> None:
    async with line() as (app, pilot, field):
        await pilot.press(*PASSWORD)
        await pilot.press("ctrl+a", "shift+home", "ctrl+shift+a", "ctrl+c", "ctrl+x", "super+c")
        await pilot.double_click(SecretInput)
        await pilot.press("ctrl+c")
        assert app.clipboard == ""
        assert not field.allow_select
        await pilot.press("enter")
        assert app.taken[-1].reveal() == PASSWORD  # and none of those keys changed it


async def test_its_messages_and_its_picture_hold_nothing_of_it() -> None:
    async with line() as (app, pilot, field):
        await pilot.press(*PASSWORD)
        picture = app.export_screenshot()
        await pilot.press("enter")
        assert len(app.heard) > len(PASSWORD)
        told = " ".join(f"{message!r} {vars(message)!r}" for message in app.heard)
        for words in (told, repr(field), str(field), picture):
            assert PASSWORD not in words


# --- everywhere -----------------------------------------------------------------------------


class Traces:
    """All that leaves a desk: its log, Python's logs, the terminal, pictures."""

    def __init__(
        self, log: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._log, self._caplog, self._monkeypatch = log, caplog, monkeypatch
        self.written: list[str] = []
        self.pictures: list[str] = []

    def watch(self, desk: Desk) -> None:
        """Keep what is written to the terminal from now on."""
        driver = desk.app._driver
        assert driver is not None
        self._monkeypatch.setattr(driver, "write", self.written.append)

    def picture(self, desk: Desk) -> None:
        """Take the screen as it stands."""
        self.pictures.append(desk.app.export_screenshot())

    def all(self) -> dict[str, str]:
        """Everything, by where it is."""
        return {
            "log": self._log.read_text(),
            "logging": self._caplog.text,
            "terminal": "".join(self.written),
            "pictures": "\n".join(self.pictures),
        }


@contextmanager
def traced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Traces]:
    log = tmp_path / "textual.log"
    monkeypatch.setattr(constants, "LOG_FILE", str(log))
    caplog.set_level(logging.DEBUG)
    yield Traces(log, caplog, monkeypatch)


def backed(engine: ScriptedEngine) -> None:
    engine.back_up()


async def test_a_password_leaves_no_trace_on_its_way_through_the_wizard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced(tmp_path, caplog, monkeypatch) as traces:
        async with opened((80, 24), before=backed) as desk:
            traces.watch(desk)
            await desk.press("4", "R", "enter")
            await desk.type(WRONG)
            traces.picture(desk)
            await desk.press("ctrl+c", "ctrl+x", "enter")
            traces.picture(desk)
            await desk.type(WRONG)
            await desk.press("escape")  # left with a password in the line
            await desk.press("enter")
            desk.app.post_message(events.Paste(PASSWORD))
            await desk.pilot.pause(0.05)
            traces.picture(desk)
            await desk.press("enter")
            traces.picture(desk)
            world = desk.engine.backup_world
            assert world is not None
            assert [secret.reveal() for secret in world.secrets] == [WRONG, PASSWORD]
            await desk.press("enter")
            await desk.type(NAME)
            traces.picture(desk)
            await desk.press("enter")
            await desk.tick(3)
            traces.picture(desk)
            assert desk.app.clipboard == ""
            walk = vars(desk.screen)["walk"]
            held = f"{vars(walk)!r} {vars(desk.app.session)!r} {desk.engine._events!r}"
        found = traces.all() | {"objects": held}
    assert "SecretInput" in found["log"]  # it is the log of all that was dispatched
    for place, words in found.items():
        for secret in (PASSWORD, WRONG):
            assert secret not in words, place
            assert base64.b64encode(secret.encode()).decode() not in words, place
    assert "\x1b]52" not in found["terminal"]


async def test_no_key_of_a_password_is_dispatched_where_a_log_would_see_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced(tmp_path, caplog, monkeypatch) as traces:
        async with opened((80, 24), before=backed) as desk:
            await desk.press("4", "R", "enter")
            before = len(traces.all()["log"])
            await desk.type("ZzZ")
            log = traces.all()["log"][before:]
            assert "Arrived" in log
            assert "Key(" not in log
            await desk.press("backspace")
            assert "Key(key='backspace'" in traces.all()["log"]


async def test_a_password_leaves_no_trace_on_its_way_to_a_drill(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced(tmp_path, caplog, monkeypatch) as traces:
        async with opened((80, 24), before=backed) as desk:
            traces.watch(desk)
            await desk.press("4", "d")
            await desk.type(PASSWORD)
            traces.picture(desk)
            await desk.press("enter")
            traces.picture(desk)
            assert "the seed is proven" in desk.toasts()[-1]
        found = traces.all()
    for place, words in found.items():
        assert PASSWORD not in words, place


async def test_no_screen_with_a_secret_offers_a_screenshot() -> None:
    async with opened((80, 24), before=backed) as desk:
        await desk.press("4", "R", "enter")
        await desk.press("ctrl+p")
        await desk.pilot.pause(0.3)
        assert "key esc" in desk.text()  # it offers what can be done here
        await desk.type("screenshot")
        await desk.pilot.pause(0.3)
        assert desk.text().lower().count("screenshot") == 1  # what was typed, and no offer
        assert list(desk.app.get_system_commands(desk.app.screen)) == []


async def test_a_password_that_was_begun_is_forgotten_when_another_screen_comes_over_it() -> None:
    async with opened((80, 24), before=backed) as desk:
        await desk.press("4", "R", "enter")
        await desk.type("abc")
        field = desk.screen.query_one(SecretInput)
        assert not field.is_empty
        await desk.press("ctrl+p")
        assert field.is_empty
        await desk.press("escape")
        assert desk.app.focused is field


async def test_a_path_that_is_typed_is_no_secret_and_stays() -> None:
    async with opened((80, 24), before=backed) as desk:
        await desk.press("4", "R", "shift+tab")
        await desk.press("ctrl+u")
        await desk.type(NOT_A_BACKUP)
        assert NOT_A_BACKUP in desk.text()
