"""The worlds that the conformance suite is run in.

`BURSAR_TEST_TIGERBEETLE=host:port` adds a real cluster (id from `BURSAR_TEST_TIGERBEETLE_CLUSTER`,
0 unless set). Where the official client is installed, its types carry the suite over a wire of
ours; where it is not, those runs are skipped.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.ledger import Book, EmbeddedLedger, TigerBeetleLedger
from tests.unit.ledger.worlds import AsyncBook, ManualClock, World

SERVER = os.environ.get("BURSAR_TEST_TIGERBEETLE", "")


# A cluster cannot be installed like a package: its runs are there when one is named, not skipped.
BACKENDS = ["book", "embedded", "tigerbeetle-wire", *(["tigerbeetle-server"] if SERVER else [])]


@pytest.fixture(params=BACKENDS)
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    clock = ManualClock()
    if request.param == "book":
        yield World(AsyncBook(Book(clock)), clock)
    elif request.param == "embedded":
        embedded = EmbeddedLedger(tmp_path / "ledger", clock)
        await embedded.open()
        yield World(embedded, clock)
        await embedded.close()
    elif request.param == "tigerbeetle-wire":
        client = pytest.importorskip("tigerbeetle", reason="the official client is not installed")
        from tests.unit.ledger.wire import wired_client

        monkeypatch.setattr(client, "ClientAsync", wired_client(Book(clock)))
        wired = TigerBeetleLedger(0, "127.0.0.1:3000")
        await wired.open()
        yield World(wired, clock, has_reserved_field=False)
        await wired.close()
    else:
        cluster = int(os.environ.get("BURSAR_TEST_TIGERBEETLE_CLUSTER", "0"))
        server = TigerBeetleLedger(cluster, SERVER)
        await server.open()
        yield World(server, None, has_reserved_field=False)
        await server.close()
