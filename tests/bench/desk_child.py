"""The process on the pty: one table, ours or Textual's DataTable, driven by a script of ticks.

Run by `bench_desk`; not a test. It says on a pipe when a phase begins and ends, with the CPU it
took, so that the parent can tell which bytes of the terminal belong to which phase.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable

import msgspec
from rich.text import Text
from textual.widget import Widget
from textual.widgets import DataTable

from core.api import BalanceView
from core.model import Amount
from tests.desk.fleets import HostApp, StillClock, fleet_model, levels_of, patch_of
from tui import text
from tui.fleet import FleetModel
from tui.widgets.fleet_columns import COLUMNS, DEFAULT_COLUMNS, Drawing, Placed, cell
from tui.widgets.fleet_table import FleetTable

TICKS = 12
PAUSE_S = 0.08


def changed(view: BalanceView, rng: random.Random) -> BalanceView:
    """The view with another balance, and nothing else changed."""
    return msgspec.structs.replace(view, amount=Amount(rng.randrange(1, 10**9)))


class OurDesk:
    """The fleet table over its model: what a tick of the desk does."""

    def __init__(self, rows: int) -> None:
        self.clock = StillClock()
        self.model: FleetModel = fleet_model(rows, self.clock)
        self.table = FleetTable(self.model, levels=levels_of)
        self.widget: Widget = self.table

    def start(self) -> None:
        """First paint."""
        self.table.sync()

    def visible(self) -> list[int]:
        """Ids of the rows on the screen."""
        return list(self.table.visible_accounts)

    def tick(self, accounts: list[int], rng: random.Random) -> None:
        """Changes of these accounts arrive and are shown."""
        self.clock.advance(1)
        self.model.tick()
        views = [changed(self.model.rows[account].view, rng) for account in accounts]
        self.model.apply(patch_of(views))
        self.model.arrange()
        self.table.sync()


class DataTableDesk:
    """The same rows in Textual's DataTable, updated cell by cell."""

    def __init__(self, rows: int) -> None:
        self.model = fleet_model(rows)
        self.table: DataTable[Text] = DataTable(cursor_type="row")
        self.widget: Widget = self.table

    def start(self) -> None:
        """Fill the table; it needs a running app for that."""
        for key in DEFAULT_COLUMNS:
            self.table.add_column(COLUMNS[key].title, width=COLUMNS[key].width, key=key)
        for account in self.model.order:
            cells = [self.cell(account, key) for key in DEFAULT_COLUMNS]
            self.table.add_row(*cells, key=str(account))

    def cell(self, account: int, key: str) -> Text:
        """The same text as our cell; Text, so that it is not parsed as markup."""
        row = self.model.rows[account]
        drawing = Drawing(text.UNICODE, self.model.clock.now_ms(), levels=levels_of(account))
        return Text(cell(Placed(COLUMNS[key], 0, COLUMNS[key].width), row, drawing))

    def visible(self) -> list[int]:
        """Ids of the rows on the screen."""
        top = self.table.scroll_offset.y
        return list(self.model.order[top : top + self.table.size.height - 1])

    def tick(self, accounts: list[int], rng: random.Random) -> None:
        """The balance cells of these accounts change."""
        for account in accounts:
            row = self.model.rows[account]
            row.view = changed(row.view, rng)
            self.table.update_cell(str(account), "balance", self.cell(account, "balance"))


def say(*words: object) -> None:
    """Tell the parent."""
    os.write(int(sys.argv[3]), (" ".join(map(str, words)) + "\n").encode())


async def script(app: HostApp, desk: OurDesk | DataTableDesk) -> None:
    """Every phase in turn; the parent reads the terminal meanwhile."""
    rng = random.Random(7)
    desk.start()
    await asyncio.sleep(1.0)
    everyone = list(desk.model.rows)

    async def phase(name: str, tick: Callable[[], None]) -> None:
        await asyncio.sleep(0.4)
        say("begin", name)
        started = time.process_time()
        for _ in range(TICKS):
            tick()
            await asyncio.sleep(PAUSE_S)
        say("end", name, (time.process_time() - started) / TICKS, TICKS)

    await phase("idle", lambda: desk.tick([], rng))
    await phase("visible", lambda: desk.tick(rng.sample(desk.visible(), 50), rng))
    await phase("many", lambda: desk.tick(rng.sample(everyone, min(1_000, len(everyone))), rng))
    await asyncio.sleep(0.4)
    app.exit()


def main() -> None:
    """`desk_child ours|datatable ROWS FD`."""
    desk = OurDesk(int(sys.argv[2])) if sys.argv[1] == "ours" else DataTableDesk(int(sys.argv[2]))

    class Scripted(HostApp):
        def on_ready(self) -> None:
            self.run_worker(script(self, desk))

    Scripted(desk.widget).run(mouse=False)


if __name__ == "__main__":
    main()
