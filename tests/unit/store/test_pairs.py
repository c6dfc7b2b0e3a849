"""The names of the ledger's pairs outlive the process."""

from __future__ import annotations

from pathlib import Path

from core.store.sqlite import SqliteStore


async def test_pairs_are_kept_once_and_in_order(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "bursar.db", "node")
    await store.open()
    assert await store.pairs() == []
    await store.add_pairs([("p2", "USD"), ("p1", "USD"), ("p1", "ILP")])
    await store.add_pairs([("p1", "USD"), ("p3", "it's; DROP TABLE pairs")])
    await store.close()
    again = SqliteStore(tmp_path / "bursar.db", "node")
    await again.open()
    assert await again.pairs() == [
        ("p1", "ILP"),
        ("p1", "USD"),
        ("p2", "USD"),
        ("p3", "it's; DROP TABLE pairs"),
    ]
    await again.close()
