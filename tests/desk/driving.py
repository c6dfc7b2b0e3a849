"""Opening a desk over the scripted engine, and reading its screen as a person would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec
from textual.pilot import Pilot

from core.api import EngineApi
from tests.desk.scripted import ManualClock, ScriptedEngine
from tui.app import BursarApp
from tui.fleet import FleetModel
from tui.options import DeskOptions
from tui.screens.base import DeskScreen
from tui.session import Phase
from tui.widgets.fleet_table import FleetTable


class Desk(NamedTuple):
    """A running desk, its driver, and the world behind it."""

    app: BursarApp
    pilot: Pilot[None]
    engine: ScriptedEngine
    clock: ManualClock

    @property
    def screen(self) -> DeskScreen:
        """The desk screen on top (a dialog over it left aside)."""
        return next(s for s in reversed(self.app.screen_stack) if isinstance(s, DeskScreen))

    @property
    def table(self) -> FleetTable:
        """The fleet's table."""
        return self.screen.query_one(FleetTable)

    @property
    def model(self) -> FleetModel:
        """The fleet as shown."""
        return self.app.session.model

    async def press(self, *keys: str) -> None:
        """Press keys and let the desk settle."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()
        await self.pilot.pause(0.05)

    async def type(self, words: str) -> None:
        """Type into the focused field, and rest as long as a filter waits."""
        for char in words:
            await self.pilot.press("space" if char == " " else char)
        await self.pilot.pause(0.12)

    async def tick(self, seconds: float = 1.0) -> None:
        """Let time pass on the desk's clock."""
        await self.clock.advance(seconds)
        await self.pilot.pause()
        await self.pilot.pause(0.02)

    def lines(self) -> list[str]:
        """The screen as text, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines())

    def toasts(self) -> list[str]:
        """What was said in toasts."""
        notes = list(self.app._notifications)
        return [f"{note.title}: {note.message}" if note.title else note.message for note in notes]

    def agents_shown(self) -> list[str]:
        """Agents of the rows, in order, once each."""
        return list(dict.fromkeys(self.model.rows[a].agent for a in self.model.order))


@asynccontextmanager
async def opened(
    size: tuple[int, int] = (80, 24),
    options: DeskOptions | None = None,
    *,
    environment: str = "",
    demo: bool = False,
    before: Callable[[ScriptedEngine], None] = lambda engine: None,
) -> AsyncIterator[Desk]:
    """A desk that shows the scripted engine's first state, as `before` left it."""
    clock = ManualClock()
    engine = ScriptedEngine(clock, environment=environment, demo=demo)
    before(engine)

    async def connect() -> EngineApi:
        return engine

    app = BursarApp(connect, options or DeskOptions(), clock=clock)
    async with app.run_test(size=size) as pilot:
        async with asyncio.timeout(60):
            while app.session.link.phase is not Phase.LIVE or not app.session.fleet.serial:
                await pilot.pause(0.01)
        await pilot.pause(0.05)
        yield Desk(app, pilot, engine, clock)


def with_options(**changes: object) -> DeskOptions:
    """The default options with changes."""
    return msgspec.structs.replace(DeskOptions(), **changes)
