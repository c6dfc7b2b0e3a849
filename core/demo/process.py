"""The demo's servers in a process of their own, so that the desk's loop is not theirs.

The child prints one JSON line with its URLs when all servers listen, then nothing. It ends
when its standard input closes (so also when its parent dies, however that happens) and on
SIGTERM. `start_demo` is the parent's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from core.demo.incidents import ScheduledFaults
from core.demo.world import World
from core.model import BursarError, Clock

START_S: Final = 20.0
_ROOT: Final = str(Path(__file__).resolve().parents[2])  # where the package `core` stands
STOP_S: Final = 3.0


class DemoError(BursarError):
    """The simulated servers did not start; the message says why."""


class Listening(msgspec.Struct, frozen=True):
    """The child's one line: endpoint URLs by chain, in the order of the schedule's numbers."""

    urls: dict[str, tuple[str, ...]]


class Wall:
    """The system's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


# --- the child --------------------------------------------------------------------------------


async def open_servers(world: World, owner: contextlib.AsyncExitStack) -> Listening:
    """Start every endpoint of every chain on loopback; `owner` stops them."""
    from core.demo.evm_node import EvmNode
    from core.demo.rippled import RippledServer
    from core.demo.tron_node import TronNode

    def faults(chain: str, endpoint: int) -> ScheduledFaults:
        block_at = world.chain(chain).block_at
        return ScheduledFaults(chain, endpoint, world.start_ms, world.clock, block_at)

    base, xrpl, tron = (world.chain(name) for name in ("base", "xrpl", "tron"))
    servers: dict[str, tuple[EvmNode | RippledServer | TronNode, ...]] = {
        "base": (
            EvmNode(base, faults("base", 0), latency_s=0.012),
            EvmNode(base, faults("base", 1), overrides=False, latency_s=0.035),
            EvmNode(base, faults("base", 2)),
        ),
        "xrpl": tuple(RippledServer(xrpl, faults("xrpl", i)) for i in range(2)),
        "tron": tuple(TronNode(tron, faults("tron", i)) for i in range(2)),
    }
    urls: dict[str, tuple[str, ...]] = {}
    for chain, group in servers.items():
        for server in group:
            await owner.enter_async_context(server)
        urls[chain] = tuple(server.url for server in group)
    return Listening(urls)


async def serve(seed: int, agents: int, start_ms: int, seconds: float | None) -> None:
    """Serve until standard input closes, SIGTERM or SIGINT comes, or `seconds` have passed."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    world = World(seed, agents, start_ms, Wall())
    async with contextlib.AsyncExitStack() as owner:
        listening = await open_servers(world, owner)
        sys.stdout.buffer.write(msgspec.json.encode(listening) + b"\n")
        sys.stdout.buffer.flush()
        # A thread, for the loop cannot watch a standard input that is a file or /dev/null.
        threading.Thread(
            target=_watch_input, args=(loop, stop), name="standard input", daemon=True
        ).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)


def _watch_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended for another reason
        loop.call_soon_threadsafe(stop.set)


# --- the parent -------------------------------------------------------------------------------


class RunningDemo:
    """A child process that serves. `urls` are its endpoints by chain."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        seed: int,
        agents: int,
        start_ms: int,
        urls: dict[str, tuple[str, ...]],
    ) -> None:
        self.seed = seed
        self.agents = agents
        self.start_ms = start_ms
        self.urls = urls
        self._process = process

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def world(self, clock: Clock) -> World:
        """The same world in this process, to know its agents and its past."""
        return World(self.seed, self.agents, self.start_ms, clock)

    async def stop(self) -> None:
        """End the child and wait for it."""
        await _end(self._process)


async def start_demo(seed: int, agents: int, *, start_ms: int) -> RunningDemo:
    """Start the servers in a child process and wait until they listen.

    `start_ms` is when the incidents begin, by the wall clock. Raises DemoError with what the
    child said.
    """
    inherited = os.environ.get("PYTHONPATH")
    paths = _ROOT if not inherited else _ROOT + os.pathsep + inherited
    # A file and not a pipe: nobody reads it once the child listens, and a full pipe would stop it.
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder named `core` in the working directory is somebody else's
            "-m",
            "core.demo",
            f"--seed={seed}",
            f"--agents={agents}",
            f"--start-ms={start_ms}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
            env=os.environ | {"PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C in the terminal is for the desk, which ends the child
        )
        try:
            urls = await asyncio.wait_for(_listening(process), START_S)
        except BaseException as error:
            await _end(process)
            if isinstance(error, TimeoutError):
                raise DemoError(
                    f"The demo's servers did not listen within {START_S:g} s."
                ) from error
            if isinstance(error, msgspec.DecodeError):
                said.seek(0)
                lines = said.read().decode(errors="replace").split("\n")
                reason = next((line for line in reversed(lines) if line.strip()), "no reason given")
                raise DemoError(f"The demo's servers did not start: {reason}") from error
            raise
    return RunningDemo(process, seed, agents, start_ms, urls)


async def _listening(process: asyncio.subprocess.Process) -> dict[str, tuple[str, ...]]:
    """The URLs of the child's one line. Raises msgspec.DecodeError if it said anything else."""
    assert process.stdout is not None
    return msgspec.json.decode(await process.stdout.readline(), type=Listening).urls


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, then ask, then force."""
    assert process.stdin is not None
    process.stdin.close()
    for insist in (process.terminate, process.kill):
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
            return
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                insist()
    await process.wait()
