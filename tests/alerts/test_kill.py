"""kill -9 between any two steps: each crossing is told once, and no action goes unrecorded."""

from __future__ import annotations

import asyncio
from pathlib import Path

from core.store.sqlite import SqliteStore
from core.telemetry.audit import verify
from tests.alerts.life import life

STORY = ["ALERT_OPENED", "ALERT_ACKNOWLEDGED", "ALERT_CLOSED"] * 2


async def told(folder: Path) -> list[str]:
    store = SqliteStore(folder / "bursar.db", "node-a")
    await store.open()
    try:
        assert (await store.alerts(0)).open == ()
        return [record.type for record in await store.find_events()]
    finally:
        await store.close()


def check(folder: Path, kills: int) -> None:
    assert asyncio.run(told(folder)) == STORY
    audit = verify(folder / "audit.jsonl")
    assert audit.ok
    # An action that was recorded and then killed is done, and recorded, again.
    assert 2 <= audit.head.number <= 2 + kills


def test_without_a_kill_the_story_is_as_described(tmp_path: Path) -> None:
    assert life(tmp_path, None) == 16
    check(tmp_path, 0)
    assert life(tmp_path, None) == 0  # another life finds nothing left to do
    check(tmp_path, 0)


def test_a_kill_at_every_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    for die_at in range(16):
        folder = tmp_path / str(die_at)
        folder.mkdir()
        assert life(folder, die_at) is None
        assert life(folder, None) is not None
        check(folder, 1)


def test_lives_that_all_die_get_there_too(tmp_path: Path) -> None:
    kills = 0
    while life(tmp_path, 3) is None:
        kills += 1
        assert kills < 50
    assert kills >= 2
    check(tmp_path, kills)
