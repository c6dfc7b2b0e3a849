"""Desk and engine in one process on a pty, watched from inside: a heartbeat, keys, the memory.

Run by `bench_system`: `python -m tests.bench.system_child CONFIG COMMANDS ANSWERS`, the last two
being pipes. A line on COMMANDS begins a new watch; the answer is what was seen since the last.
"""

from __future__ import annotations

import tui  # noqa: F401  # before Textual, whose frame rate it sets, as in the product

# isort: split
import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TextIO

import msgspec
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Key
from textual.message import Message

from core.api import EngineApi
from core.config import load_settings
from core.engine import EngineMode, connect
from tui import text
from tui.app import BursarApp
from tui.options import DeskOptions

BEAT_S = 0.005
CURSOR = text.UNICODE.cursor


class Watch(msgspec.Struct):
    """What was seen since the last answer: how late each turn of the loop was (ms), how long each
    key took from its byte read to the cursor written (ms), CPU and wall seconds, resident memory
    now (MiB), rows known."""

    late_ms: list[float]
    keys_ms: list[float]
    cpu_s: float
    wall_s: float
    resident_mib: float
    rows: int = 0


def resident_mib() -> float:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class WatchedFile:
    """The terminal as the desk writes it; `painted` hears when the cursor has been written."""

    def __init__(self, file: TextIO, painted: Callable[[], None]) -> None:
        self._file = file
        self._painted = painted
        self._has_cursor = False

    def write(self, words: str) -> int:
        self._has_cursor = self._has_cursor or CURSOR in words
        return self._file.write(words)

    def flush(self) -> None:
        self._file.flush()
        if self._has_cursor:
            self._has_cursor = False
            self._painted()

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()


class WatchedDriver(LinuxDriver):
    """The desk's driver; `keys_ms` takes what each key took within this process."""

    keys_ms: ClassVar[list[float]] = []

    def __init__(
        self,
        app: App[object],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._pressed = 0.0
        assert self._file is not None
        self._file = WatchedFile(self._file, self._painted)  # type: ignore[assignment]

    def process_message(self, message: Message) -> None:
        """A key arrives: called by the thread that read it."""
        if isinstance(message, Key):
            self._pressed = time.perf_counter()
        super().process_message(message)

    def _painted(self) -> None:
        pressed, self._pressed = self._pressed, 0.0
        if pressed:
            self.keys_ms.append((time.perf_counter() - pressed) * 1000)


async def beat(late: list[float]) -> None:
    """Note how late every turn comes."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(BEAT_S)
        late.append((time.perf_counter() - began - BEAT_S) * 1000)


async def main(config: str, commands: int, answers: int) -> None:
    """The desk until it is left, and the watch."""
    settings = load_settings(config, {})

    async def engine() -> EngineApi:
        return await connect(settings, EngineMode.FULL)

    app = BursarApp(
        engine,
        DeskOptions(mouse=False, state_dir=settings.data_path),
        driver_class=WatchedDriver,
    )
    late: list[float] = []
    began = [time.process_time(), time.perf_counter()]

    def answer() -> None:
        os.read(commands, 4_096)
        seen = Watch(
            late[:],
            WatchedDriver.keys_ms[:],
            time.process_time() - began[0],
            time.perf_counter() - began[1],
            resident_mib(),
            len(app.session.model.rows),
        )
        late.clear()
        WatchedDriver.keys_ms.clear()
        began[:] = time.process_time(), time.perf_counter()
        os.write(answers, msgspec.json.encode(seen) + b"\n")

    asyncio.get_running_loop().add_reader(commands, answer)
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(beat(late))
        await app.run_async(mouse=False)
        beating.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
