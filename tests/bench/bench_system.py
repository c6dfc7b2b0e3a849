"""The whole system measured on a real EVM node: first paint, the loop while ten thousand agents are
read and shown, keys meanwhile, memory, a cycle beside its reads, and growth.

`python -m tests.bench.bench_system [paint|desk|cycle|growth ...]`. The desk runs on a pty of
200 x 60 in a process of its own, so that what it writes is rendered and its memory is its own.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import msgspec

from core.api import SyncNow
from core.engine import Engine, custody_watch
from tests.bench.bench_evm import reader_of
from tests.bench.figures import Figure, report
from tests.bench.system_child import Watch
from tests.chain.anvil import Anvil
from tests.chain.bench import Fleet, make_fleet
from tests.integration.real_nodes import (
    config_of,
    cycle,
    engine_on,
    follow,
    own_anvil,
    settings_of,
)
from tests.terminal.pty_terminal import PtyTerminal, on_a_pty
from tests.terminal.tmux import ROOT

AGENTS = 10_000
GROWTH = (1_000, 10_000, 100_000)
RUNS = 7
CYCLES = 7
WATCHED_S = 20.0
RESTING_S = 0.1
KEYS = 200
CURSOR = "▸".encode()


# --- first paint ------------------------------------------------------------------------------


def bursar(*arguments: str) -> list[str]:
    """The installed command."""
    return [str(Path(sys.executable).with_name("bursar")), *arguments]


def home_of(folder: Path) -> dict[str, str]:
    """The environment of a process with a home of its own."""
    return {"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.environ["PATH"]}


def to_header(command: list[str], folder: Path, *, row: bytes = b"") -> tuple[float, float]:
    """Seconds from exec to the table's header on a pty, and to the first row (0 if not asked)."""
    began = time.perf_counter()
    with on_a_pty(command, home_of(folder)) as line:
        header = line.until(b"AGENT") - began
        first = line.until(row) - began if row else 0.0
        line.type(b"q")
        line.ended()
    return header, first


def importing() -> float:
    """Seconds of an interpreter that does nothing but import Textual's app."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import textual.app"], check=True)
    return time.perf_counter() - began


def first_paint(config: Path) -> list[Figure]:
    """The demo, an empty store and the fleet's store, alternating with the import."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.toml"
        empty.write_text(f'data_dir = "{folder}/empty"\n')
        known = b"agent-0"
        runs: dict[str, Callable[[], tuple[float, float]]] = {
            "bursar demo": lambda: to_header(bursar("demo"), Path(folder), row=known),
            "bursar, empty store": lambda: to_header(bursar("--config", str(empty)), Path(folder)),
            f"bursar, {AGENTS * 3:,} rows": lambda: to_header(
                bursar("--config", str(config)), Path(folder), row=known
            ),
        }
        beside: list[float] = []
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for attempt in range(RUNS + 1):
            imported = importing()
            painted = {name: run() for name, run in runs.items()}
            if attempt:  # the first one warms the caches
                beside.append(imported)
                for name, times in painted.items():
                    seen[name].append(times)
    import_s = statistics.median(beside)
    figures = []
    for name, found in seen.items():
        header = statistics.median(header for header, _ in found)
        rows = statistics.median(first for _, first in found)
        later = f", first rows after {rows:.2f} s" if rows else ""
        figures.append(
            Figure(
                f"first paint, {name}",
                header,
                "s",
                f"import textual.app {import_s:.2f} s{later}",
                header / import_s,
                "<= 3 times",
                header <= 3 * import_s,
            )
        )
    return figures


# --- the desk over ten thousand ---------------------------------------------------------------


class Child(NamedTuple):
    """Desk and engine on their pty, and the pipes to the watch within."""

    line: PtyTerminal
    commands: int
    answers: int

    def watch(self) -> Watch:
        """What was seen since the last time."""
        os.write(self.commands, b"\n")
        told = b""
        while not told.endswith(b"\n"):
            told += os.read(self.answers, 1 << 20)
        return msgspec.json.decode(told, type=Watch)


@contextmanager
def desk_on(config: Path, folder: Path) -> Iterator[Child]:
    """The child, showing its first rows."""
    asked, commands = os.pipe()
    answers, answering = os.pipe()
    command = [sys.executable, "-m", "tests.bench.system_child", str(config)]
    environment = home_of(folder) | {"PYTHONPATH": str(ROOT)}
    with on_a_pty(
        [*command, str(asked), str(answering)], environment, pass_fds=(asked, answering)
    ) as line:
        os.close(asked)
        os.close(answering)
        line.until(b"agent-0")
        yield Child(line, commands, answers)
    os.close(commands)
    os.close(answers)


@contextmanager
def changing(anvil: Anvil, fleet: Fleet, period_s: float) -> Iterator[None]:
    """One wallet in a hundred gets another balance in every block, a block each period. In a
    process of its own: here it would hold up the clock of the keys."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    node = (anvil.url, anvil.executable)
    changer = context.Process(target=change, args=(*node, fleet.wallets, period_s, stop))
    changer.start()
    try:
        yield
    finally:
        stop.set()
        changer.join()


def change(
    url: str, executable: Path, wallets: Sequence[bytes], period_s: float, stop: Event
) -> None:
    """The changer's process."""
    anvil, turn = Anvil(url, executable), 0
    while not stop.wait(period_s):
        turn += 1
        anvil.set_native(dict.fromkeys(wallets[turn % 100 :: 100], 10**18 + turn))
        anvil.mine()


@contextmanager
def bare_loop(folder: Path) -> Iterator[PtyTerminal]:
    """A loop on a pty of its own that does nothing but answer a key with the cursor's sign: what
    this machine and its terminals take at this time, whatever runs beside."""
    command = [sys.executable, "-m", "tests.bench.bare_loop"]
    with on_a_pty(command, home_of(folder) | {"PYTHONPATH": str(ROOT)}) as line:
        line.until(CURSOR)
        yield line


def press(line: PtyTerminal, key: bytes) -> float:
    """Milliseconds from a key to the cursor on the terminal."""
    before = len(line.written)
    began = time.perf_counter()
    line.type(key)
    while CURSOR not in line.written[before:]:
        line.pump(0.001)
        if time.perf_counter() - began > 5:
            raise TimeoutError("a key moved no cursor within 5 s")
    return (time.perf_counter() - began) * 1000


def key_to_paint(line: PtyTerminal, bare: PtyTerminal) -> tuple[list[float], list[float]]:
    """What keys took on the desk, over and over, at odd moments of the cycles that go on
    meanwhile; and on the bare loop, by turns with them."""
    chance = random.Random(4)
    times, beside = [], []
    for turn in range(KEYS):
        line.pump(0.03 + chance.random() * 0.15)
        times.append(press(line, b"j" if turn % 20 < 10 else b"k"))
        line.pump(0.03 + chance.random() * 0.15)
        beside.append(press(bare, b"j"))
    return sorted(times), sorted(beside)


def percentile(ascending: Sequence[float], share: int) -> float:
    """The figure below which so many of a hundred lie."""
    return ascending[len(ascending) * share // 100]


def desk_figures(anvil: Anvil, fleet: Fleet, config: Path) -> list[Figure]:
    """Stalls, keys and memory while the fleet is read every second and shown."""
    with (
        tempfile.TemporaryDirectory() as folder,
        desk_on(config, Path(folder)) as child,
        bare_loop(Path(folder)) as bare,
        changing(anvil, fleet, 1.0),
    ):
        child.line.pump(8.0)
        opening = child.watch()
        child.line.pump(WATCHED_S)
        steady = child.watch()
        keys, beside = key_to_paint(child.line, bare)
        after = child.watch()
    return [
        stall_figure(opening, steady),
        *key_figures(keys, beside, sorted(after.keys_ms), f"{steady.rows:,}"),
        memory_figure(opening, after),
    ]


def stall_figure(opening: Watch, steady: Watch) -> Figure:
    """How late the loop came round."""
    late = sorted(steady.late_ms)
    p99 = percentile(late, 99)
    return Figure(
        f"event-loop stall p99, {steady.rows:,} balances read each second and shown",
        p99,
        "ms",
        f"p50 {percentile(late, 50):.1f} ms, max {late[-1]:.0f} ms, {len(late)} beats, "
        f"{sum(each > 20 for each in late)} of them over 20 ms; "
        f"while opening max {max(opening.late_ms):.0f} ms; "
        f"CPU {steady.cpu_s / steady.wall_s:.0%}",
        goal="<= 20 ms",
        met=p99 <= 20,
    )


def key_figures(
    keys: Sequence[float], beside: Sequence[float], within: Sequence[float], rows: str
) -> list[Figure]:
    """Keys as the terminal sees them, and the desk's own share of that."""
    return [
        Figure(
            f"{name}, {rows} balances read each second and shown",
            percentile(found, 99),
            "ms",
            f"p50 {percentile(found, 50):.0f} ms, max {found[-1]:.0f} ms, {len(found)} keys{other}",
            goal="<= 50 ms",
            met=percentile(found, 99) <= 50,
        )
        for name, found, other in (
            (
                "key to paint p99",
                keys,
                f"; a bare loop on a pty by turns with it: p50 {percentile(beside, 50):.0f}, "
                f"p99 {percentile(beside, 99):.0f}, max {beside[-1]:.0f} ms; "
                f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            ),
            ("key to paint p99 within the desk, byte read to cursor written", within, ""),
        )
    ]


def memory_figure(opening: Watch, after: Watch) -> Figure:
    """What desk and engine hold."""
    return Figure(
        f"resident memory, desk and engine, {after.rows:,} balances",
        after.resident_mib,
        "MiB",
        f"{opening.resident_mib:.0f} MiB after 8 s",
        goal="<= 150 MB",
        met=after.resident_mib * 2**20 <= 150e6,
    )


# --- a cycle ----------------------------------------------------------------------------------


class CycleCost(NamedTuple):
    """Seconds: of CPU until a new fleet is read, kept and opened in the ledger; then the medians
    of a cycle of the engine and of the reading alone."""

    first_cpu: float
    engine_cpu: float
    engine_wall: float
    reads_cpu: float
    reads_wall: float


async def cycle_cost(anvil: Anvil, fleet: Fleet, engine: Engine) -> CycleCost:
    """Cycles with 1 % changed, alternating with readings by a reader of our own of 1 % changed,
    once what a fleet's first cycle leaves to do is done."""
    reader, requests = reader_of(anvil.url), fleet.requests()
    began = time.process_time()
    await cycle(engine)
    await at_rest()
    first_cpu = time.process_time() - began
    await reader.read(requests)
    costs: list[tuple[float, float, float, float]] = []
    for turn in range(CYCLES):
        found: list[float] = []
        for work in (lambda: engine.execute(SyncNow()), lambda: reader.read(requests)):
            moved = fleet.wallets[len(found) + turn :: 100]
            anvil.set_native({wallet: 10**18 + turn * 7 + len(found) for wallet in moved})
            anvil.mine()
            cpu, wall = time.process_time(), time.perf_counter()
            await work()
            found += [time.process_time() - cpu, time.perf_counter() - wall]
        costs.append((found[0], found[1], found[2], found[3]))
    await reader.close()
    return CycleCost(first_cpu, *(statistics.median(column) for column in zip(*costs, strict=True)))


async def at_rest() -> None:
    """Until nothing was done for longer than what compares with the ledger pauses."""
    while True:
        began = time.process_time()
        await asyncio.sleep(custody_watch.EVERY_S + 1)
        if time.process_time() - began < RESTING_S:
            return


async def cycle_figures(anvil: Anvil, fleet: Fleet) -> tuple[CycleCost, list[Figure]]:
    """A fleet's cycle through the engine beside its reads."""
    with tempfile.TemporaryDirectory() as folder:
        async with engine_on(settings_of(Path(folder), (anvil.url,), fleet.assets)) as engine:
            await follow(engine, fleet, xrpl=False)
            cost = await cycle_cost(anvil, fleet, engine)
    ratio = cost.engine_cpu / cost.reads_cpu
    wall = cost.engine_wall / cost.reads_wall
    rows = len(fleet.wallets) * 3
    return cost, [
        Figure(
            f"cycle with store and events, {rows:,} balances, 1 % changed",
            cost.engine_cpu * 1000,
            "ms CPU",
            f"the reads alone {cost.reads_cpu * 1000:.0f} ms; "
            f"in time {cost.engine_wall * 1000:.0f} beside {cost.reads_wall * 1000:.0f} ms, "
            f"{wall:.1f} times",
            ratio,
            "<= 3 times",
            ratio <= 3,
        )
    ]


def growth() -> list[Figure]:
    """The engine's cost per agent as the fleet grows: of a cycle, and of a new fleet's first one
    with every balance opened in the ledger."""
    cycles: dict[int, float] = {}
    firsts: dict[int, float] = {}
    for agents in GROWTH:
        with own_anvil() as anvil:
            fleet = make_fleet(anvil, agents)
            cost, _ = asyncio.run(cycle_figures(anvil, fleet))
            cycles[agents] = cost.engine_cpu / agents * 1e6
            firsts[agents] = cost.first_cpu / agents * 1e6
    return [
        growth_figure("cycle per agent with store and events", cycles),
        growth_figure("first cycle per agent, opened in the ledger", firsts),
    ]


def growth_figure(name: str, per_agent: dict[int, float]) -> Figure:
    """Microseconds per agent of the largest fleet beside the middle one's."""
    least, middle, most = GROWTH
    ratio = per_agent[most] / per_agent[middle]
    return Figure(
        f"{name}, {most:,} agents",
        per_agent[most],
        "us CPU",
        f"{per_agent[least]:.1f} at {least:,}, {per_agent[middle]:.1f} at {middle:,}",
        ratio,
        "may not rise (<= 1.2)",
        ratio <= 1.2,
    )


# --- all --------------------------------------------------------------------------------------


@contextmanager
def ten_thousand() -> Iterator[tuple[Anvil, Fleet, Path]]:
    """A node, the fleet on it, and a configuration whose store knows the fleet."""
    with own_anvil() as anvil, tempfile.TemporaryDirectory() as folder:
        fleet = make_fleet(anvil, AGENTS)
        config = Path(folder) / "bursar.toml"
        config.write_text(config_of(Path(folder), (anvil.url,), fleet.assets, interval="1s"))

        async def fill() -> None:
            async with engine_on(settings_of(Path(folder), (anvil.url,), fleet.assets)) as engine:
                await follow(engine, fleet, xrpl=False)
                await cycle(engine)

        asyncio.run(fill())
        yield anvil, fleet, config


def run(parts: tuple[str, ...] = ("paint", "desk", "cycle", "growth")) -> list[Figure]:
    """Every figure of the whole system, or of some parts."""
    figures: list[Figure] = []
    with ten_thousand() as (anvil, fleet, config):
        if "paint" in parts:
            figures += first_paint(config)
        if "desk" in parts:
            figures += desk_figures(anvil, fleet, config)
        if "cycle" in parts:
            figures += asyncio.run(cycle_figures(anvil, fleet))[1]
    if "growth" in parts:
        figures += growth()
    return figures


if __name__ == "__main__":
    chosen = tuple(sys.argv[1:])
    report(run(chosen) if chosen else run())
