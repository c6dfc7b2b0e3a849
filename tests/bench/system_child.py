"""Desk and engine in one process on a pty, watched from inside: a heartbeat and the memory.

Run by `bench_system`: `python -m tests.bench.system_child CONFIG COMMANDS ANSWERS`, the last two
being pipes. A line on COMMANDS begins a new watch; the answer is what was seen since the last.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec

from core.api import EngineApi
from core.config import load_settings
from core.engine import EngineMode, connect
from tui.app import BursarApp
from tui.options import DeskOptions

BEAT_S = 0.005


class Watch(msgspec.Struct):
    """What was seen since the last answer: how late each turn of the loop was (ms), CPU and wall
    seconds, resident memory now (MiB), rows known."""

    late_ms: list[float]
    cpu_s: float
    wall_s: float
    resident_mib: float
    rows: int = 0


def resident_mib() -> float:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


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

    app = BursarApp(engine, DeskOptions(mouse=False, state_dir=settings.data_path))
    late: list[float] = []
    began = [time.process_time(), time.perf_counter()]

    def answer() -> None:
        os.read(commands, 4_096)
        seen = Watch(
            late[:],
            time.process_time() - began[0],
            time.perf_counter() - began[1],
            resident_mib(),
            len(app.session.model.rows),
        )
        late.clear()
        began[:] = time.process_time(), time.perf_counter()
        os.write(answers, msgspec.json.encode(seen) + b"\n")

    asyncio.get_running_loop().add_reader(commands, answer)
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(beat(late))
        await app.run_async(mouse=False)
        beating.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
