"""The process on the pty: an XRP ledger, the engine reading it every second, and the desk.

`python -m tests.terminal.desk_child FOLDER AGENTS MOVING`: each second a ledger closes in which
MOVING of the agents have another balance (0: the world stands still and no ledger closes).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from core.api import EngineApi, ImportWallets, SyncNow, WalletRow
from core.config import parse_settings
from core.demo.rippled import RippledServer
from core.engine import Engine
from tests.integration.chains.ledgers import Faults, Ledger, xrpl_account
from tui.app import BursarApp
from tui.options import DeskOptions

CONFIG = """
data_dir = "{folder}/data"
[polling]
interval = "1s"
push = false
[problems]
lag_after = "1h"
[[chain]]
name = "xrpl"
kind = "xrpl"
endpoints = ["{url}"]
[[asset]]
chain = "xrpl"
symbol = "XRP"
decimals = 6
"""


async def move(ledger: Ledger, agents: int, moving: int) -> None:
    """Close a ledger every second; the balances that change go round the fleet."""
    drops = 40_000_000
    second = 0
    while moving:
        await asyncio.sleep(1.0)
        second += 1
        moved = [(second * moving + place) % agents for place in range(moving)]
        ledger.close({(xrpl_account(n), None): drops + second * 1_111 + n for n in moved})


async def main(folder: Path, agents: int, moving: int) -> None:
    """Server, engine and desk in one loop, until the desk is left."""
    ledger = Ledger()
    ledger.close({(xrpl_account(n), None): 40_000_000 + n for n in range(agents)})
    async with RippledServer(ledger, Faults()) as server:
        settings = parse_settings(CONFIG.format(folder=folder, url=server.url), "a test", {})

        async def connect() -> EngineApi:
            engine = Engine(settings)
            await engine.start()
            rows = [WalletRow(f"agent-{n:04}", "xrpl", xrpl_account(n)) for n in range(agents)]
            await engine.execute(ImportWallets(tuple(rows)))
            await engine.execute(SyncNow())
            return engine

        app = BursarApp(connect, DeskOptions(mouse=False, state_dir=folder))
        async with asyncio.TaskGroup() as tasks:
            moves = tasks.create_task(move(ledger, agents, moving))
            await app.run_async(mouse=False)
            moves.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
