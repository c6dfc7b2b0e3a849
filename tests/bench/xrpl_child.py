"""The rippled-shaped server of the XRPL benchmark, alone in a process: prints its URL, serves
until its standard input closes."""

from __future__ import annotations

import asyncio
import sys

from core.demo.rippled import RippledServer
from tests.integration.chains.ledgers import Faults, Ledger, xrpl_account


async def serve(accounts: int) -> None:
    """Serve `accounts` accounts, 1 % of which change with each of a ledger every two seconds."""
    ledger = Ledger()
    ledger.close({(xrpl_account(n), None): 20_000_000 + n for n in range(accounts)})
    async with RippledServer(ledger, Faults()) as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
