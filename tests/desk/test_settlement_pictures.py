"""SVG pictures of the settlement board, held to the stored ones: `--snapshot-update` renews."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from pytest_textual_snapshot import SVGImageExtension  # type: ignore[import-untyped]  # no stubs
from syrupy.assertion import SnapshotAssertion

from core.api import EngineApi, SettlementPairView
from core.model import Amount
from tests.desk import scripted_settlement
from tests.desk.scripted import ManualClock, ScriptedEngine
from tui.options import DeskOptions
from tui.screenshots import Shot, take

SIZES = ((80, 24), (120, 40), (200, 60))
AT_EACH_SIZE = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
Script = Callable[[ScriptedEngine], None]


@pytest.fixture
def picture(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SVGImageExtension)


def settled(engine: ScriptedEngine) -> None:
    engine.settle()


async def taken(shot: Shot, before: Script = settled, options: DeskOptions | None = None) -> str:
    clock = ManualClock()

    async def connect() -> EngineApi:
        engine = ScriptedEngine(clock)
        before(engine)
        return engine

    return await take(shot, connect, options or DeskOptions(), clock=clock)


@AT_EACH_SIZE
@pytest.mark.parametrize("theme", ["bursar-dark", "bursar-light"])
async def test_the_settlement_board_looks_as_it_did(
    theme: str, size: tuple[int, int], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot("settlement", size, theme, ("2",))) == picture


@AT_EACH_SIZE
async def test_without_colours_what_is_stuck_is_still_said(
    size: tuple[int, int], picture: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = await taken(Shot("settlement", size, keys=("2",)))
    assert "STUCK" in drawn
    assert drawn == picture


@pytest.mark.parametrize(
    "keys", [("2", "d"), ("2", "d", "enter"), ("2", "x"), ("2", "t"), ("2", "E")], ids="-".join
)
async def test_the_boards_dialogs_look_as_they_did(
    keys: tuple[str, ...], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot("settlement", (100, 36), keys=keys)) == picture


def away(engine: ScriptedEngine) -> None:
    engine.settle()
    health = scripted_settlement.health()
    engine.push(settlement=msgspec.structs.replace(health, running=False, error="store is locked"))


def unset(engine: ScriptedEngine) -> None:
    view = SettlementPairView("connector-a", "USD", "receivable", "IDLE", due=Amount(412_000),
                              unmonitored=scripted_settlement.UNMONITORED)  # fmt: skip
    engine.push(settlements=(view,), settlement=scripted_settlement.health())


def empty(engine: ScriptedEngine) -> None:
    engine.push(settlement=scripted_settlement.health())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("script", [away, unset, empty])
async def test_a_board_with_nothing_to_watch_says_why(
    script: Script, size: tuple[int, int], picture: SnapshotAssertion
) -> None:
    assert await taken(Shot("settlement", size, keys=("2",)), script) == picture


async def test_a_safe_read_only_board_is_ascii_and_has_no_writing_keys(
    picture: SnapshotAssertion,
) -> None:
    options = DeskOptions(safe=True, read_only=True)
    assert await taken(Shot("settlement", (120, 40), keys=("2",)), settled, options) == picture
