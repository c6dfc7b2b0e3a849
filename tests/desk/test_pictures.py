"""SVG pictures of every screen, held to the stored ones: `--snapshot-update` takes them anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]  # no stubs
from syrupy.assertion import SnapshotAssertion

from core.api import EngineApi
from tests.desk import scripted_ledger
from tests.desk.scripted import ManualClock, ScriptedEngine
from tui.app import BursarApp
from tui.options import DeskOptions
from tui.screenshots import SETTLE_S, Shot, settled, stable, take

SIZES = ((80, 24), (120, 40), (200, 60))
SCREENS: dict[str, tuple[str, ...]] = {
    "fleet": (),
    "wallet": ("enter",),
    "endpoints": ("5",),
    "events": ("6",),
    "ledger": ("3",),
    "transfers": ("3", "enter"),
}


@pytest.fixture
def picture(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


Script = Callable[[ScriptedEngine], None]


async def taken(
    shot: Shot,
    options: DeskOptions | None = None,
    *,
    environment: str = "",
    before: Script = lambda engine: None,
) -> str:
    clock = ManualClock()

    async def connect() -> EngineApi:
        engine = ScriptedEngine(clock, environment=environment)
        before(engine)
        return engine

    return await take(shot, connect, options or DeskOptions(), clock=clock)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("theme", ["bursar-dark", "bursar-light"])
async def test_screens_look_as_they_did(
    theme: str, screen: str, size: tuple[int, int], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot(screen, size, theme, SCREENS[screen])) == picture


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("screen", SCREENS)
async def test_without_colours_everything_is_still_said(
    screen: str,
    size: tuple[int, int],
    picture: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert await taken(Shot(screen, size, keys=SCREENS[screen])) == picture


@pytest.mark.parametrize("keys", [("question_mark",), ("colon",), ("a",), ("f",), ("c",), ("e",)])
async def test_dialogs_look_as_they_did(
    keys: tuple[str, ...], picture: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")  # the export dialog proposes a path in the working directory
    assert await taken(Shot("dialog", (100, 36), keys=keys)) == picture


@pytest.mark.parametrize("theme", ["bursar-deuteranopia", "bursar-tritanopia", "bursar-ansi"])
async def test_other_themes_look_as_they_did(theme: str, picture: SnapshotAssertion) -> None:
    assert await taken(Shot("fleet", (120, 40), theme)) == picture


def unbalanced(engine: ScriptedEngine) -> None:
    engine.push(trial=scripted_ledger.unbalanced())


LEDGERS: dict[str, Script] = {
    "away": lambda engine: engine.take_ledger_away(),
    "unbalanced": unbalanced,
    "without-peers": lambda engine: engine.no_peers(),
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", LEDGERS)
async def test_a_ledger_in_trouble_looks_it(
    state: str, size: tuple[int, int], picture: SnapshotAssertion
) -> None:
    shot = Shot(f"ledger-{state}", size, keys=("3",))
    assert await taken(shot, before=LEDGERS[state]) == picture


async def test_a_lost_engine_dims_the_ledger(picture: SnapshotAssertion) -> None:
    clock = ManualClock()
    engine = ScriptedEngine(clock)

    async def connect() -> EngineApi:
        return engine

    app = BursarApp(connect, DeskOptions(), clock=clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(app, pilot)
        await pilot.press("3")
        engine.lose()
        await pilot.pause(SETTLE_S)
        await clock.advance(1)
        await pilot.pause(SETTLE_S)
        app.clear_notifications()
        await pilot.pause()
        assert stable(app.export_screenshot(title="bursar")) == picture


@pytest.mark.parametrize("keys", [("3", "t"), ("3", "tab", "b"), ("3", "question_mark")])
async def test_the_ledgers_other_pages_look_as_they_did(
    keys: tuple[str, ...], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot("ledger", (100, 36), keys=keys)) == picture


async def test_production_has_a_red_frame(picture: SnapshotAssertion) -> None:
    options = DeskOptions(read_only=True)
    assert await taken(Shot("fleet", (80, 24)), options, environment="production") == picture


async def test_problems_and_a_filter_are_said_under_the_table(picture: SnapshotAssertion) -> None:
    options = DeskOptions(filter="chain:tron")
    assert await taken(Shot("fleet", (80, 24), keys=("exclamation_mark",)), options) == picture
