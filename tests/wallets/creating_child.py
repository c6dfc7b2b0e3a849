"""A process that creates agents in a shared database: python -m ... <database> <prefix> <count>.

Waits for a line on standard input, so that several begin at once.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.wallets.fleets import opened

STEP = 25


async def main(database: Path, prefix: str, count: int) -> None:
    async with opened(database) as fleet:
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(count // STEP):
            for wallet in await fleet.wallets.create(STEP, prefix=prefix):
                evm = next(a.address for a in wallet.addresses if a.chain == "base")
                print(wallet.agent, wallet.index, evm, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
