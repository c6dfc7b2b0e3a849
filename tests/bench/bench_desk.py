"""The fleet table beside Textual's DataTable, each in a process of its own on a real pty.

Bytes are what arrives at the terminal (200 x 60, true colour); CPU is the process's own, per
tick, with everything a tick does: taking the changes, ordering, formatting, painting, writing.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import NamedTuple

from tests.bench.figures import Figure
from tests.desk.fleets import ASSETS, NOW_MS, history_over
from tui.widgets.history_chart import RANGES, Shown, draw

COLUMNS, LINES = 200, 60
RUNS = 3
DRAWINGS = 20


class Phase(NamedTuple):
    """What one phase cost per tick."""

    bytes: float
    cpu_s: float


def run_desk(kind: str, rows: int, timeout_s: float = 120.0) -> dict[str, Phase]:
    """Run `desk_child` on a pty and measure its phases; `kind` is "ours" or "datatable"."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    reader, writer = os.pipe()
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment.pop("NO_COLOR", None)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.desk_child", kind, str(rows), str(writer)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        pass_fds=(writer,),
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    os.close(writer)
    try:
        return _measure(master, reader, timeout_s)
    finally:
        child.terminate()
        child.wait(10)
        os.close(master)
        os.close(reader)


def _measure(master: int, reader: int, timeout_s: float) -> dict[str, Phase]:
    written = began = 0
    phases: dict[str, Phase] = {}
    said = b""
    while "many" not in phases:
        ready, _, _ = select.select([master, reader], [], [], timeout_s)
        if not ready:
            raise TimeoutError(f"the desk said nothing for {timeout_s} s after {list(phases)}")
        # terminal first: bytes written before a word on the pipe belong before it
        if master in ready:
            written += len(os.read(master, 65_536))
            continue
        chunk = os.read(reader, 4_096)
        if not chunk:
            raise RuntimeError(f"the desk ended early, after {list(phases)}")
        said += chunk
        while b"\n" in said:
            line, _, said = said.partition(b"\n")
            match line.decode().split():
                case ["begin", _]:
                    began = written
                case ["end", name, cpu, ticks]:
                    phases[name] = Phase((written - began) / int(ticks), float(cpu))
    return phases


def by_turns() -> tuple[dict[int, dict[str, Phase]], dict[str, Phase]]:
    """Ours at each size and the DataTable, by turns; of each the run that cost the median."""
    seen: dict[tuple[str, int], list[dict[str, Phase]]] = {}
    for _ in range(RUNS):
        for which in (("ours", 1_000), ("ours", 10_000), ("ours", 100_000), ("datatable", 10_000)):
            seen.setdefault(which, []).append(run_desk(*which))
    median = {
        which: sorted(runs, key=lambda phases: phases["many"].cpu_s)[RUNS // 2]
        for which, runs in seen.items()
    }
    theirs = median.pop(("datatable", 10_000))
    return {rows: phases for (_, rows), phases in median.items()}, theirs


def run() -> list[Figure]:
    """Every figure of the desk's table, each with what ran beside it."""
    ours, theirs = by_turns()
    mine = ours[10_000]
    cpu = mine["many"].cpu_s / theirs["many"].cpu_s
    sent = mine["visible"].bytes / theirs["visible"].bytes
    growth = ours[100_000]["many"].cpu_s / ours[10_000]["many"].cpu_s
    per_second = mine["visible"].bytes
    return [
        Figure(
            "fleet table: 1,000 changes among 10,000 rows",
            mine["many"].cpu_s * 1000,
            "ms CPU",
            f"DataTable {theirs['many'].cpu_s * 1000:.1f} ms",
            cpu,
            "<= 1/10",
            cpu <= 1 / 10,
        ),
        Figure(
            "fleet table: 1,000 changes among 1,000 rows",
            ours[1_000]["many"].cpu_s * 1000,
            "ms CPU",
            "10,000 rows",
            ours[1_000]["many"].cpu_s / mine["many"].cpu_s,
        ),
        Figure(
            "fleet table: 1,000 changes among 100,000 rows",
            ours[100_000]["many"].cpu_s * 1000,
            "ms CPU",
            "10,000 rows",
            growth,
            "<= 2",
            growth <= 2,
        ),
        Figure(
            "fleet table: bytes to the terminal, 50 visible cells/s at 200x60",
            per_second,
            "B/s",
            f"DataTable {theirs['visible'].bytes:.0f} B/s",
            sent,
            "<= 1/6 and <= 6,000 B/s",
            sent <= 1 / 6 and per_second <= 6_000,
        ),
        Figure(
            "fleet table: bytes to the terminal when nothing changes",
            mine["idle"].bytes,
            "B/s",
            f"DataTable {theirs['idle'].bytes:.0f} B/s",
            0.0,
            "0",
            mine["idle"].bytes == 0,
        ),
        *(chart_figure(changes) for changes in (300, 10_000)),
    ]


def chart_figure(changes: int) -> Figure:
    """One drawing of a history over thirty days, 120 x 20 cells."""
    span = RANGES["30d"]
    shown = Shown(history_over(span, changes), ASSETS[1], NOW_MS - span, NOW_MS)
    draw(shown, 120, 20)
    started = time.process_time()
    for _ in range(DRAWINGS):
        draw(shown, 120, 20)
    cost_ms = (time.process_time() - started) / DRAWINGS * 1000
    points = len(shown.history.points)
    return Figure(
        f"history chart: one drawing of {changes:,} readings",
        cost_ms,
        "ms CPU",
        f"{points:,} changes",
        goal="about 5 ms",
    )
