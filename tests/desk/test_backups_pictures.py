"""SVG pictures of Backups and the wizard, held to the stored ones: `--snapshot-update` renews."""

from __future__ import annotations

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]  # no stubs
from syrupy.assertion import SnapshotAssertion

from core.api import EngineApi
from tests.desk import scripted_backups
from tests.desk.scripted import ManualClock, ScriptedEngine
from tests.desk.scripted_backups import FOLDER, PASSWORD
from tui.options import DeskOptions
from tui.screenshots import Shot, take

SIZES = ((80, 24), (120, 40), (200, 60))
AT_EACH_SIZE = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


@pytest.fixture
def picture(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


async def taken(shot: Shot, *, fresh: bool = False) -> str:
    clock = ManualClock()

    async def connect() -> EngineApi:
        engine = ScriptedEngine(clock)
        if fresh:
            engine.empty()
        engine.back_up(scripted_backups.fresh() if fresh else None)
        return engine

    return await take(shot, connect, DeskOptions(), clock=clock)


def typed(words: str) -> tuple[str, ...]:
    """Keys that type these words."""
    names = {"-": "minus", "/": "slash"}
    return tuple(names.get(char, char) for char in words)


KEYS = {
    "backups": ("4",),
    "pick": ("4", "R"),
    "dry-run": ("4", "R", "enter", *typed(PASSWORD), "enter"),
}


@AT_EACH_SIZE
@pytest.mark.parametrize("theme", ["bursar-dark", "bursar-light"])
@pytest.mark.parametrize("screen", KEYS)
async def test_backups_and_the_wizard_look_as_they_did(
    screen: str, theme: str, size: tuple[int, int], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot(screen, size, theme, KEYS[screen])) == picture


@AT_EACH_SIZE
async def test_without_colours_what_has_trouble_is_still_said(
    size: tuple[int, int], picture: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = await taken(Shot("backups", size, keys=("4",)))
    assert "with&#160;trouble" in drawn
    assert drawn == picture


async def test_a_fresh_machine_looks_as_it_did(picture: SnapshotAssertion) -> None:
    keys = ("4", "R", *typed(FOLDER), "enter")
    assert await taken(Shot("fresh", (80, 24), keys=keys), fresh=True) == picture
