"""SVG pictures of open alerts, held to the stored ones: `--snapshot-update` renews."""

from __future__ import annotations

import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]  # no stubs
from syrupy.assertion import SnapshotAssertion

from core.api import EngineApi
from tests.desk.scripted import ManualClock, ScriptedEngine
from tui.options import DeskOptions
from tui.screenshots import Shot, take

SIZES = ((80, 24), (120, 40), (200, 60))
AT_EACH_SIZE = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


@pytest.fixture
def picture(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


async def taken(shot: Shot, options: DeskOptions | None = None) -> str:
    clock = ManualClock()

    async def connect() -> EngineApi:
        engine = ScriptedEngine(clock)
        engine.settle()
        engine.alarm()
        return engine

    return await take(shot, connect, options or DeskOptions(), clock=clock)


@AT_EACH_SIZE
@pytest.mark.parametrize("theme", ["bursar-dark", "bursar-light"])
async def test_open_alerts_look_as_they_did(
    theme: str, size: tuple[int, int], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot("alerts", size, theme, ("6",))) == picture


@AT_EACH_SIZE
async def test_without_colours_alerts_are_still_said(
    size: tuple[int, int], picture: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert await taken(Shot("alerts", size, keys=("6", "j"))) == picture


@AT_EACH_SIZE
async def test_the_fleet_says_in_its_bar_that_alerts_are_loud(
    size: tuple[int, int], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot("fleet", size)) == picture


@pytest.mark.parametrize("keys", [("6", "a"), ("6", "s"), ("6", "question_mark")], ids="-".join)
async def test_the_dialogs_of_alerts_look_as_they_did(
    keys: tuple[str, ...], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot("alerts", (100, 36), keys=keys)) == picture


async def test_the_smallest_screen_has_room_for_alerts_and_log(picture: SnapshotAssertion) -> None:
    assert await taken(Shot("alerts", (60, 16), keys=("6",))) == picture


async def test_a_safe_read_only_list_is_ascii_and_has_no_writing_keys(
    picture: SnapshotAssertion,
) -> None:
    options = DeskOptions(safe=True, read_only=True)
    assert await taken(Shot("alerts", (120, 40), keys=("6",)), options) == picture
