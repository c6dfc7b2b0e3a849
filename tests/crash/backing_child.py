"""A process that makes backups of an installation at rest through its engine, then says so.

`chain`: an incremental and a full. `first`: sets backups up and makes the first full. Threads of
work are one, so that the n-th system call of a kind is the same one each time.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.api import CreateBackup
from core.model import Secret
from tests.backup.generations import PASSWORD
from tests.backup.machines import Machine


async def main(home: Path, what: str) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
    async with Machine(home).engine() as engine:
        print("making", flush=True)
        if what == "first":
            await engine.set_up_backups(PASSWORD, Secret(""), create=True)
        else:
            await engine.execute(CreateBackup("incremental"))
            await engine.execute(CreateBackup("full"))
        print("made", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
