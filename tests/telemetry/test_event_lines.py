"""Events reach the file in order and once, whatever happens to disk, process or store."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.events import Bus, ChainStateChanged
from core.store.sqlite import SqliteStore
from core.telemetry.event_lines import EventLines
from tests.clock import TestClock, until


def happened(number: int) -> ChainStateChanged:
    return ChainStateChanged(
        timestamp=1_780_000_000_000 + number,
        chain=f"chain-{number}",
        old_state="live",
        new_state="down",
        reason="503",
    )


class Outbox:
    def __init__(self, store: SqliteStore, path: Path) -> None:
        self.store = store
        self.bus = Bus()
        self.clock = TestClock()
        self.path = path

    async def tell(self, *numbers: int) -> None:
        records = await self.store.append([happened(number) for number in numbers])
        self.bus.publish(records[-1].seq)

    @asynccontextmanager
    async def writing(self, **options: int) -> AsyncIterator[EventLines]:
        lines = EventLines(self.store, self.bus, self.clock, self.path, **options)
        task = asyncio.create_task(lines.run())
        try:
            yield lines
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def written(self) -> list[int]:
        if not self.path.exists():
            return []
        whole = self.path.read_text().rpartition("\n")[0]
        return [json.loads(line)["sequence"] for line in whole.splitlines()]


@asynccontextmanager
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    store = SqliteStore(tmp_path / "bursar.db", "node-a")
    await store.open()
    try:
        yield Outbox(store, tmp_path / "events.jsonl")
    finally:
        await store.close()


async def test_each_event_is_one_line_in_the_public_form(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        await box.tell(1)
        async with box.writing():
            await box.tell(2)
            await until(lambda: len(box.written()) == 2)
        first = json.loads(box.path.read_text().splitlines()[0])
        assert first == {
            "type": "CHAIN_STATE_CHANGED",
            "nodeId": "node-a",
            "sequence": 1,
            "timestamp": "2026-05-28T20:26:40.001Z",
            "chain": "chain-1",
            "oldState": "live",
            "newState": "down",
            "reason": "503",
        }
        assert stat.S_IMODE(box.path.stat().st_mode) == 0o600


async def test_a_second_start_goes_on_after_the_last_line(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        async with box.writing():
            await box.tell(1, 2)
            await until(lambda: len(box.written()) == 2)
        await box.tell(3)
        async with box.writing():
            await box.tell(4)
            await until(lambda: len(box.written()) == 4)
        assert box.written() == [1, 2, 3, 4]


async def test_a_crash_between_line_and_cursor_or_in_mid_line_repeats_and_loses_nothing(
    tmp_path: Path,
) -> None:
    async with outbox(tmp_path) as box:
        await box.tell(1, 2, 3)
        async with box.writing():
            await until(lambda: len(box.written()) == 3)
        whole = box.path.read_bytes()
        for cursor in (1, 3):  # the cursor was behind the file, or survived what the file lost
            await box.store.set_cursor("event-lines", cursor)
            box.path.write_bytes(whole[:-9])  # the third line was torn
            async with box.writing():
                await until(lambda: len(box.written()) == 3)
            assert box.path.read_bytes() == whole


async def test_files_are_rotated_by_size_and_the_oldest_goes(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        async with box.writing(rotate_bytes=400, keep_files=3):
            for number in range(1, 13):
                await box.tell(number)
                await until(lambda n=number: n in box.written())  # type: ignore[misc]
        files = sorted(path.name for path in tmp_path.glob("events.jsonl*"))
        assert files == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
        kept = [
            json.loads(line)["sequence"]
            for name in reversed(files)
            for line in (tmp_path / name).read_text().splitlines()
        ]
        assert kept == list(range(kept[0], 13))
        assert all(stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600 for name in files)
        assert all((tmp_path / name).stat().st_size <= 400 for name in files)


async def test_a_disk_that_fails_is_reported_and_caught_up_with(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        box.path = tmp_path / "logs" / "events.jsonl"  # the folder is not there
        async with box.writing() as lines:
            await box.tell(1, 2)
            await until(lambda: "No such file" in lines.error)
            box.path.parent.mkdir()
            await box.clock.advance(5)
            await until(lambda: len(box.written()) == 2)
            await until(lambda: lines.error == "")
        assert box.written() == [1, 2]


async def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    async with outbox(tmp_path) as box:
        target = tmp_path / "elsewhere"
        target.touch()
        os.symlink(target, box.path)
        async with box.writing() as lines:
            await box.tell(1)
            await until(lambda: lines.error != "")
        assert target.read_bytes() == b""
