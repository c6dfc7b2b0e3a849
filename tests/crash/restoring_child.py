"""A process that restores the oldest backup at a source over what is there, then says so.

Threads of work are one, so that the n-th system call of a kind is the same one each time.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.api import RestoreRequest
from tests.backup.generations import PASSWORD
from tests.backup.machines import Machine


async def main(home: Path, source: str, typed: str) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
    async with Machine(home).engine() as engine:
        if source == "undo":
            await engine.undo_restore(typed)
        else:
            backup = (await engine.backups_at(source))[-1].id
            plan = await engine.plan_restore(RestoreRequest(source, backup), PASSWORD)
            print("planned", flush=True)
            await engine.apply_restore(plan.id, typed)
        print("applied", flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
