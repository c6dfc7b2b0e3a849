"""The worlds that the conformance suite is run in."""

from __future__ import annotations

import pytest

from core.ledger.memory import Book
from tests.unit.ledger.worlds import AsyncBook, ManualClock, World


@pytest.fixture(params=["book"])
async def world(request: pytest.FixtureRequest) -> World:
    clock = ManualClock()
    return World(AsyncBook(Book(clock)), clock)
