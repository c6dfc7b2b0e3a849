"""A store on a fresh file, closed after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import INTERVAL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gen-1" / "bursar.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(path, "node-1", interval_ms=INTERVAL)
    await opened.open()
    yield opened
    await opened.close()
