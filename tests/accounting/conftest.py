"""The ledgers that accounting is held to: embedded, and TigerBeetle where there is one.

`BURSAR_TEST_TIGERBEETLE=host:port` adds a real cluster. Node ids are random, so that a cluster
may have been used before.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from core.accounting import AccountManager, CreditLimits, Custody, Packet
from core.accounting.custody_types import ChainRules
from core.ledger import (
    CreateResult,
    EmbeddedLedger,
    Ledger,
    TigerBeetleLedger,
    Transfer,
    TransferStatus,
)
from tests.unit.ledger.worlds import ManualClock

SERVER = os.environ.get("BURSAR_TEST_TIGERBEETLE", "")


class Books:
    """A ledger, a node of our own in it, and time."""

    def __init__(self, ledger: Ledger, clock: ManualClock | None) -> None:
        self.ledger = ledger
        self.clock = clock
        self.node = f"node-{secrets.token_hex(6)}"
        self._packets = 0

    def manager(self, limits: CreditLimits | None = None, *tokens: str) -> AccountManager:
        """Another process, as it were: a manager that remembers nothing."""
        return AccountManager(self.ledger, self.node, tokens or ("USD",), limits)

    def custody(self, **rules: ChainRules) -> Custody:
        """The same for custody."""
        return Custody(self.ledger, self.node, rules)

    def packet(self, source: str, destination: str, amount: int, out: int | None = None) -> Packet:
        """A packet nobody has sent before."""
        self._packets += 1
        id_ = f"{self.node}-{self._packets}"
        return Packet(id_, source, destination, "USD", amount, amount if out is None else out)

    def hold_until(self, callers: int, patch: pytest.MonkeyPatch) -> None:
        """Let the next transfers through only when that many callers have sent some, so that all
        of them decided on the same state."""
        barrier, create, arrived = asyncio.Barrier(callers), self.ledger.create_transfers, 0

        async def held(batch: Sequence[Transfer]) -> list[CreateResult[TransferStatus]]:
            nonlocal arrived
            arrived += 1
            if arrived <= callers:
                await barrier.wait()
            return await create(batch)

        patch.setattr(self.ledger, "create_transfers", held)

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        if self.clock is None:
            await asyncio.sleep(seconds)
        else:
            self.clock.advance(seconds)


# A cluster cannot be installed like a package: its runs are there when one is named, not skipped.
@pytest.fixture(params=["embedded", *(["tigerbeetle"] if SERVER else [])])
async def books(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Books]:
    if request.param == "embedded":
        clock = ManualClock()
        embedded = EmbeddedLedger(tmp_path / "ledger", clock)
        await embedded.open()
        yield Books(embedded, clock)
        await embedded.close()
        return
    cluster = int(os.environ.get("BURSAR_TEST_TIGERBEETLE_CLUSTER", "0"))
    server = TigerBeetleLedger(cluster, SERVER)
    await server.open()
    yield Books(server, None)
    await server.close()
