"""How a database that was written anew goes on where another one ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.events import Event
from core.store import events as outbox
from core.store.protocol import StoreError


def continue_from(
    path: Path,
    before: Path | None,
    *,
    keeps_ledger: bool,
    memory: Mapping[str, str],
    events: Sequence[Event],
    node_id: str,
) -> None:
    """Let the closed database at `path`, in use by nobody yet, go on where the closed one at
    `before` ends: numbers of events, readers' places and derivation indices never go back. With
    `keeps_ledger` what is told of that ledger comes along. In one transaction with `events`.
    Raises StoreError."""
    try:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = DELETE").fetchone()
            db.execute("PRAGMA synchronous = FULL")
            if before is not None:
                db.execute("ATTACH ? AS before", (str(before),))
            db.execute("BEGIN IMMEDIATE")
            if before is not None:
                for statement in _CONTINUED + (_OF_THE_LEDGER if keeps_ledger else ()):
                    db.execute(statement)
                _raise_last_seq(db)
            for key, value in memory.items():
                outbox.remember(db, key, value)
            outbox.insert_events(db, node_id, events)
            db.execute("COMMIT")
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be finished: {error}") from error


# History was thinned in the other database only; everything else is of this machine.
_CONTINUED = (
    "INSERT OR REPLACE INTO main.cursors SELECT * FROM before.cursors",
    "INSERT OR IGNORE INTO main.memory SELECT * FROM before.memory"
    " WHERE key NOT LIKE 'history.%' AND key NOT LIKE 'restore%'",
    "INSERT INTO main.derivation_indices SELECT * FROM before.derivation_indices WHERE true"
    " ON CONFLICT (fingerprint) DO UPDATE"
    " SET next_index = max(next_index, excluded.next_index)",
)
_OF_THE_LEDGER = (
    "INSERT OR IGNORE INTO main.pairs SELECT * FROM before.pairs",
    "DELETE FROM main.settlements",
    "INSERT INTO main.settlements SELECT * FROM before.settlements",
)


def _raise_last_seq(db: sqlite3.Connection) -> None:
    row = db.execute("SELECT seq FROM before.sqlite_sequence WHERE name = 'events'").fetchone()
    before = int(row[0]) if row else 0
    if before > outbox.last_seq(db):
        db.execute("DELETE FROM main.sqlite_sequence WHERE name = 'events'")
        db.execute("INSERT INTO main.sqlite_sequence (name, seq) VALUES ('events', ?)", (before,))
