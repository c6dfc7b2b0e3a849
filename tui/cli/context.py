"""What every command shares: settings, the engine to talk to, exit codes.

A command speaks to the engine that owns the data directory, if one runs; else it hosts one for
its own duration (to write) or opens the database read-only (to read).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from core.config import Settings, load_settings
from core.model import BursarError

if TYPE_CHECKING:
    from core.api import EngineApi
    from core.engine import EngineMode

T = TypeVar("T")


class Exit(IntEnum):
    """What a command's exit code says; `bursar --help` lists them."""

    DONE = 0
    FAILED = 1  # it could not be done, or doctor found a problem
    USAGE = 2  # wrong arguments, settings or input file; nothing was changed
    PARTIAL = 3  # done for some chains or balances, not for all


class Context:
    """The global options, kept until a command needs the settings."""

    config: str | None = None

    def settings(self) -> Settings:
        """The effective settings; read once."""
        return load_settings(self.config)


context = Context()


@asynccontextmanager
async def engine(settings: Settings, mode: EngineMode) -> AsyncIterator[EngineApi]:
    """The running engine of the data directory, or one of our own in that mode."""
    from core.engine import connect

    api = await connect(settings, mode)
    try:
        yield api
    finally:
        await api.close()


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command's coroutine; what Bursar raises on purpose becomes a line and a code."""

    async def main() -> T:
        asyncio.get_running_loop().set_exception_handler(_report)
        return await work()

    return asyncio.run(main())


def _report(loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
    """As asyncio does, but for one thing: where a stream over the socket is given up in the very
    moment in which bytes arrive, anyio tells a reader of them that is not there any more."""
    is_late = "Future.set_result" in str(what.get("message", ""))
    if not (is_late and isinstance(what.get("exception"), asyncio.InvalidStateError)):
        loop.default_exception_handler(what)


def fail(error: BursarError | str, code: Exit = Exit.FAILED) -> typer.Exit:
    """Say what failed on standard error; raise what is returned."""
    from tui.cli.output import warn

    warn(f"bursar: {error}")
    return typer.Exit(int(code))
