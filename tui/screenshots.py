"""Pictures of the running desk as SVG: `python -m tui.screenshots [FOLDER]`.

The app is the real one on a headless terminal, driven by keys, over any engine; the command
takes the demo's world with its fixed seed. Tests take the same shots over their own engine.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec
from textual.pilot import Pilot

from core.api import EngineApi
from core.demo.cast import PASSWORD
from core.model import Clock
from tui.app import BursarApp
from tui.options import DeskOptions
from tui.session import Phase

FOLDER = Path("screenshots")
SEED = 7
AGENTS = 200
SETTLE_S = 0.4
"""The desk has this long after the keys before the picture is taken."""
DRAWING = frozenset({"trends", "history", "events", "newest", "older", "custody", "life"})
"""Groups of workers that bring what a picture shows: they are waited for, however long it takes."""


def _typed(words: str) -> tuple[str, ...]:
    """The keys that type these words."""
    return tuple("space" if letter == " " else letter for letter in words)


class Shot(NamedTuple):
    """One picture: its name, the terminal's size, a theme, keys to press before, and how long
    their work is given."""

    name: str
    size: tuple[int, int] = (120, 36)
    theme: str = ""
    keys: tuple[str, ...] = ()
    rest_s: float = SETTLE_S


SHOTS = (
    Shot("fleet", (160, 44), keys=("j",) * 7),
    Shot("fleet-80x24", (80, 24)),
    Shot("fleet-light", theme="bursar-light"),
    Shot("fleet-problems", keys=("exclamation_mark",)),
    Shot("fleet-deuteranopia", theme="bursar-deuteranopia"),
    Shot("wallet", keys=(*("j",) * 7, "enter")),
    Shot("settlement", (160, 44), keys=("2",)),
    Shot("ledger", (160, 44), keys=("3",)),
    Shot("ledger-transfers", keys=("3", "enter")),
    Shot("backups", (160, 44), keys=("4",)),
    Shot("restore", keys=("4", "R", "enter", *_typed(PASSWORD), "enter"), rest_s=6.0),
    Shot("endpoints", keys=("5",)),
    Shot("events", keys=("6",)),
    Shot("palette", keys=("colon",)),
    Shot("help", keys=("question_mark",)),
)

Connect = Callable[[], Awaitable[EngineApi]]


async def take(
    shot: Shot, connect: Connect, options: DeskOptions, *, clock: Clock | None = None
) -> str:
    """The picture as SVG text, once the first state is on screen and the keys were pressed."""
    options = msgspec.structs.replace(options, theme=shot.theme or options.theme)
    app = BursarApp(connect, options, clock=clock)
    async with app.run_test(size=shot.size) as pilot:
        await settled(app, pilot)
        for key in shot.keys:
            await pilot.press(key)
            await pilot.pause()
        if shot.keys:
            await rested(app, pilot, shot.rest_s)
        app.clear_notifications()
        await pilot.pause()
        return stable(app.export_screenshot(title="bursar"))


async def settled(app: BursarApp, pilot: Pilot[None]) -> None:
    """Wait until the engine's state is shown, or it is clear that none comes."""
    session = app.session
    while app.is_running and (
        session.link.phase is Phase.CONNECTING
        or (session.link.phase is Phase.LIVE and not session.fleet.serial)
    ):
        await pilot.pause(0.02)
    await rested(app, pilot, SETTLE_S)


async def rested(app: BursarApp, pilot: Pilot[None], seconds: float) -> None:
    """Give the desk so many seconds, and then as long as something is still being fetched."""
    await pilot.pause(seconds)
    while any(worker.group in DRAWING and not worker.is_finished for worker in app.workers):
        await pilot.pause(0.02)
    await pilot.pause()


def stable(svg: str) -> str:
    """The same picture has the same text: Textual names its classes by a new number each time."""
    return re.sub(r"terminal-\d+-", "bursar-", svg)


async def write(
    shots: Sequence[Shot],
    folder: Path,
    connect: Connect,
    options: DeskOptions,
    *,
    clock: Clock | None = None,
) -> None:
    """Take the pictures, one desk after the other, and write `folder`/NAME.svg."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    for shot in shots:
        svg = await take(shot, connect, options, clock=clock)
        await asyncio.to_thread((folder / f"{shot.name}.svg").write_text, svg, "utf-8")
        sys.stdout.write(f"{folder / shot.name}.svg\n")


class _Kept:
    """An engine that several desks use in turn: their leaving does not close it."""

    def __init__(self, api: EngineApi) -> None:
        self.state, self.updates, self.events = api.state, api.updates, api.events
        self.history, self.sparklines, self.execute = api.history, api.sparklines, api.execute
        self.packets, self.transfers, self.reconcile = api.packets, api.transfers, api.reconcile
        self.trial_balance, self.ledger_totals = api.trial_balance, api.ledger_totals
        self.peer_balances, self.explain = api.peer_balances, api.explain
        self.backups_at, self.drill, self.verify_seed = api.backups_at, api.drill, api.verify_seed
        self.wallets, self.unlock_seed = api.wallets, api.unlock_seed
        self.set_up_backups, self.change_password = api.set_up_backups, api.change_password
        self.plan_restore, self.apply_restore = api.plan_restore, api.apply_restore
        self.discard_restore, self.undo_restore = api.discard_restore, api.undo_restore
        self.planned_restore, self.reconciliation = api.planned_restore, api.reconciliation

    async def close(self) -> None:
        """Nothing: the one who made the engine closes it."""


LIVED_S = 60.0
"""How long the simulated fleet lives before its pictures are taken: a settlement is stuck then."""


async def _demo(folder: Path) -> None:
    from core.demo.setup import host_demo

    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bursar-shots-")))
        running, api = await host_demo(home, agents=AGENTS, seed=SEED)
        stack.push_async_callback(running.stop)
        stack.push_async_callback(api.close)
        async for _ in api.updates(0, 0):  # one sweep of every chain, so that rows are known
            if all(chain.swept_ms for chain in (await api.state()).chains):
                break
        await asyncio.sleep(LIVED_S)

        async def connect() -> EngineApi:
            return _Kept(api)

        await write(SHOTS, folder, connect, DeskOptions(demo=True))


if __name__ == "__main__":
    asyncio.run(_demo(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
