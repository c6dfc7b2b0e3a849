"""The worlds that the conformance suite is run in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.ledger import Book, EmbeddedLedger
from tests.unit.ledger.worlds import AsyncBook, ManualClock, World


@pytest.fixture(params=["book", "embedded"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    if request.param == "book":
        yield World(AsyncBook(Book(clock)), clock)
        return
    ledger = EmbeddedLedger(tmp_path / "ledger", clock)
    await ledger.open()
    yield World(ledger, clock)
    await ledger.close()
