"""Settlement rows in the store: changed by compare and swap, with their events, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from core.events import SettlementStateChanged
from core.store.protocol import SettlementRow, StoredThreshold, StoreError
from core.store.schema import MIGRATIONS, migrate
from core.store.sqlite import SqliteStore

ROW = SettlementRow(
    "P",
    "USD",
    "receivable",
    version=1,
    epoch=1,
    attempt=2,
    armed=False,
    told="SETTLEMENT_PENDING",
    key="k" * 32,
    amount=2**127,
    begun_by="webhook",
    delivered=True,
    retry_ms=5,
    changed_ms=6,
    reason="why",
    settled_ms=7,
    settled_amount=2**100,
)


def step(new: str = "SETTLEMENT_PENDING") -> SettlementStateChanged:
    return SettlementStateChanged(
        timestamp=1,
        peer_id="P",
        token_id="USD",
        direction="receivable",
        old_state="IDLE",
        new_state=new,
        reason="",
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "bursar.db", "node-a")
    await opened.open()
    yield opened
    await opened.close()


async def test_every_field_comes_back_as_it_was_written(store: SqliteStore) -> None:
    await store.change_settlements([(ROW, [])])
    assert await store.settlements() == [ROW]
    changed = SettlementRow("P", "USD", "receivable", version=2)
    await store.change_settlements([(changed, [])])
    assert await store.settlements() == [changed]
    assert await store.settlements([("P", "USD", "receivable")]) == [changed]
    assert await store.settlements([("P", "USD", "payable")]) == []


async def test_of_many_writers_of_one_version_one_wins_and_tells(store: SqliteStore) -> None:
    for version in (1, 2):  # an insert, then an update
        row = msgspec.structs.replace(ROW, version=version)
        answers = await asyncio.gather(
            *(store.change_settlements([(row, [step()])]) for _ in range(8))
        )
        assert sum(answer != [None] for answer in answers) == 1
        assert await store.last_seq() == version
    stale = msgspec.structs.replace(ROW, version=2)
    assert await store.change_settlements([(stale, [step()])]) == [None]
    skipped = msgspec.structs.replace(ROW, version=4)
    assert await store.change_settlements([(skipped, [step()])]) == [None]
    assert await store.last_seq() == 2


async def test_a_change_that_fails_writes_neither_rows_nor_events(store: SqliteStore) -> None:
    bad = msgspec.structs.replace(ROW, direction="sideways")
    with pytest.raises(StoreError):
        await store.change_settlements([(ROW, [step()]), (bad, [step()])])
    assert (await store.settlements(), await store.last_seq()) == ([], 0)


async def test_thresholds_are_set_and_taken_back_with_their_event(store: SqliteStore) -> None:
    await store.set_threshold(StoredThreshold("P", "", "80%"), [step()])
    await store.set_threshold(StoredThreshold("P", "USD", "100"), [])
    await store.set_threshold(StoredThreshold("P", "", "90%"), [])
    assert await store.thresholds() == [
        StoredThreshold("P", "", "90%"),
        StoredThreshold("P", "USD", "100"),
    ]
    await store.set_threshold(StoredThreshold("P", "", ""), [step()])
    assert await store.thresholds() == [StoredThreshold("P", "USD", "100")]
    assert await store.last_seq() == 2


def test_an_older_database_gets_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "bursar.db"
    connection = sqlite3.connect(path, isolation_level=None)
    older = [step for step in MIGRATIONS if "settlement" not in step.summary]
    assert migrate(connection, path, older[:2]) == 2
    assert migrate(connection, path) == len(MIGRATIONS) - 2
    assert connection.execute("SELECT count(*) FROM settlements").fetchone() == (0,)
    connection.close()
