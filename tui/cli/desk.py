"""Starting the desk, the demo and the engine without a screen.

The desk paints first; the engine is made by the factory it is given, after that.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core.config import Settings
from tui.cli.context import Exit
from tui.cli.output import say
from tui.options import DeskOptions

if TYPE_CHECKING:
    from core.api import EngineApi
    from core.demo.process import RunningDemo


class Look(NamedTuple):
    """How the operator wants this desk, from the flags."""

    read_only: bool
    safe: bool
    slow: bool
    mouse: bool
    theme: str
    start_filter: str


def open_desk(settings: Settings, look: Look) -> int:
    """Show the desk until it is left; attaches, or hosts the engine in this process."""
    from tui.app import BursarApp

    async def connect() -> EngineApi:
        from core.engine import EngineMode
        from core.engine import connect as connect_engine

        return await connect_engine(settings, EngineMode.FULL)

    options = DeskOptions(
        read_only=look.read_only or settings.ui.read_only,
        safe=look.safe or settings.ui.safe,
        slow=look.slow,
        mouse=look.mouse and settings.ui.mouse,
        bell=settings.ui.bell,
        theme=look.theme or settings.ui.theme,
        environment=settings.ui.environment,
        keymap=settings.keys,
        explorers={chain.name: chain.explorer for chain in settings.chain if chain.explorer},
        refresh_s=int(settings.ui.refresh) / 1000,
        filter=look.start_filter,
        state_dir=settings.data_path,
        log_path=settings.data_path / "logs" / "crash.log",
    )
    app = BursarApp(connect, options)
    asyncio.run(app.run_async(mouse=options.mouse))
    return app.return_code or int(Exit.DONE)


def open_demo(agents: int, seed: int, minutes: float, look: Look) -> int:
    """Show the desk on a simulated fleet that lives in a temporary directory."""
    from core.demo.cast import PASSWORD
    from tui.app import BursarApp

    home = Path(tempfile.mkdtemp(prefix="bursar-demo-"))
    options = DeskOptions(
        read_only=look.read_only,
        safe=look.safe,
        slow=look.slow,
        mouse=look.mouse,
        theme=look.theme,
        environment="demo",
        demo=True,
        hint=f"in the demo: {PASSWORD}",
        state_dir=home,
        log_path=home / "crash.log",
    )
    running: list[RunningDemo] = []

    async def connect() -> EngineApi:
        from core.demo.setup import host_demo

        demo, api = await host_demo(home, agents=agents, seed=seed)
        running.append(demo)
        return api

    app = BursarApp(connect, options)

    async def show() -> None:
        try:
            async with asyncio.timeout(minutes * 60 or None):
                await app.run_async(mouse=options.mouse)
        except TimeoutError:
            say(f"The demo ended after {minutes:g} minutes.")
        finally:
            for demo in running:
                await demo.stop()

    try:
        asyncio.run(show())
    finally:
        # A crash log is the one thing worth keeping.
        if not (home / "crash.log").exists():
            shutil.rmtree(home, ignore_errors=True)
    return app.return_code or int(Exit.DONE)


def serve(settings: Settings) -> int:
    """Run the engine until SIGTERM, SIGINT or SIGHUP."""
    from core.engine import Engine, EngineMode

    async def main() -> None:
        engine = Engine(settings, mode=EngineMode.FULL)
        await engine.start()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        say(f"Engine runs on {settings.data_path} (socket {engine.directory.socket}).")
        say(f"Accounting backend: {engine.accounting_backend}")
        sys.stdout.flush()
        waiting = asyncio.create_task(stop.wait())
        failed = asyncio.create_task(engine.wait_failed())
        try:
            await asyncio.wait({waiting, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
        finally:
            for task in (waiting, failed):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            await engine.close()
        say("Engine stopped.")

    asyncio.run(main())
    return int(Exit.DONE)
