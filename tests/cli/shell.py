"""The command line as a user runs it: a process of its own, a home of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from core.demo.evm_node import EvmNode
from core.demo.protocol import ActiveFault
from core.demo.world import World
from tests.demo.worlds import SetClock

LIMIT_S = 120.0


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class Home:
    """A directory with a configuration; `bursar` runs in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "bursar.toml"
        self.data = path / "data"

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of the test's own environment but what a process needs."""
        kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "PYTHONPATH"}}
        return kept | {"HOME": str(self.path), "TERM": "dumb", "COLUMNS": "200"} | more

    async def start(
        self, *args: str, piped: bool = False, **more: str
    ) -> asyncio.subprocess.Process:
        """Start a command and leave it running; `piped` gives it standard input."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tui.cli",
            *args,
            cwd=self.path,
            env=self.environment(PYTHONPATH=str(Path(__file__).parents[2]), **more),
            stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *args: str, **more: str) -> Done:
        """Run a command to its end."""
        process = await self.start(*args, piped=False, **more)
        out, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
        assert process.returncode is not None
        assert "Traceback" not in err.decode(), err.decode()
        return Done(process.returncode, out.decode(), err.decode())

    def write_config(self, text: str) -> None:
        """The configuration, with the data directory filled in."""
        self.config.write_text(f'data_dir = "{self.data}"\n{text}')


class NoFaults:
    """An endpoint that is well."""

    def current(self) -> ActiveFault | None:
        return None


def base_config(url: str, *, more: str = "", usdc: str | None = None) -> str:
    """One EVM chain of the simulated world, native and USDC."""
    from tests.demo.worlds import asset

    usdc = usdc or asset("USDC").contract
    return f"""
[[chain]]
name = "base"
kind = "evm"
endpoints = ["{url}"]
[[asset]]
chain = "base"
symbol = "ETH"
decimals = 18
floor = "0.01"
[[asset]]
chain = "base"
symbol = "USDC"
contract = "{usdc}"
decimals = 6
floor = "50"
target = "100000"
{more}
"""


@asynccontextmanager
async def base_node(world: World) -> AsyncIterator[EvmNode]:
    """A healthy simulated EVM node of the world."""
    async with EvmNode(world.chain("base"), NoFaults()) as node:
        yield node


def small_world(agents: int = 5) -> tuple[World, SetClock]:
    """A world that moves only when the clock is set; time is now, as blocks carry it."""
    import time

    clock = SetClock(time.time_ns() // 1_000_000)
    return World(7, agents, clock.ms, clock), clock


def csv_of(world: World, count: int | None = None) -> str:
    """The fleet's addresses on the EVM chain as an operator's CSV."""
    lines = ["agent,chain,address,group,tags"]
    lines += [
        f"{agent.id},base,{agent.addresses['base']},{agent.group},{';'.join(agent.tags)}"
        for agent in world.agents[:count]
    ]
    return "\n".join(lines) + "\n"
