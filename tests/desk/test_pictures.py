"""SVG pictures of every screen, held to the stored ones: `--snapshot-update` takes them anew."""

from __future__ import annotations

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]  # no stubs
from syrupy.assertion import SnapshotAssertion

from core.api import EngineApi
from tests.desk.scripted import ManualClock, ScriptedEngine
from tui.options import DeskOptions
from tui.screenshots import Shot, take

SIZES = ((80, 24), (120, 40), (200, 60))
SCREENS: dict[str, tuple[str, ...]] = {
    "fleet": (),
    "wallet": ("enter",),
    "endpoints": ("5",),
    "events": ("6",),
}


@pytest.fixture
def picture(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


async def taken(shot: Shot, options: DeskOptions | None = None, *, environment: str = "") -> str:
    clock = ManualClock()

    async def connect() -> EngineApi:
        return ScriptedEngine(clock, environment=environment)

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
async def test_dialogs_look_as_they_did(keys: tuple[str, ...], picture: SnapshotAssertion) -> None:
    assert await taken(Shot("dialog", (100, 36), keys=keys)) == picture


@pytest.mark.parametrize("theme", ["bursar-deuteranopia", "bursar-tritanopia", "bursar-ansi"])
async def test_other_themes_look_as_they_did(theme: str, picture: SnapshotAssertion) -> None:
    assert await taken(Shot("fleet", (120, 40), theme)) == picture


async def test_production_has_a_red_frame(picture: SnapshotAssertion) -> None:
    options = DeskOptions(read_only=True)
    assert await taken(Shot("fleet", (80, 24)), options, environment="production") == picture


async def test_problems_and_a_filter_are_said_under_the_table(picture: SnapshotAssertion) -> None:
    options = DeskOptions(filter="chain:tron")
    assert await taken(Shot("fleet", (80, 24), keys=("exclamation_mark",)), options) == picture
