"""Statements over the events table (the outbox), its readers' cursors, pairs and small memory.

An event's row joins the transaction of the fact it reports: `insert_events` is called by the
functions that write facts, in their transaction. Sequence numbers are never used twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from core.events import (
    AgentBalanceChanged,
    AgentBalanceReverted,
    Event,
    EventRecord,
    Json,
    payload_of,
)

_COLUMNS = "seq, type, node_id, time, subject, payload"
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder()  # untyped: msgspec does not resolve the recursive alias Json


def insert_events(
    connection: sqlite3.Connection, node_id: str, events: Sequence[Event]
) -> list[EventRecord]:
    """Store events in order; a reverting event marks the one it takes back."""
    if not events:
        return []
    seq = last_seq(connection)
    records: list[EventRecord] = []
    rows: list[tuple[object, ...]] = []
    reverted: list[tuple[int, int]] = []
    for event in events:
        seq += 1
        payload = _encode(payload_of(event))
        # Decoded again, so that who appends sees exactly what a reader will.
        record = EventRecord(
            seq, event.TYPE, node_id, event.timestamp, event.subject(), _decode(payload)
        )
        records.append(record)
        chain, block = record.payload.get("chain"), record.payload.get("block")
        rows.append(
            (seq, record.type, node_id, record.time_ms, record.subject, chain, block, payload)
        )
        if isinstance(event, AgentBalanceReverted):
            reverted.append((seq, event.reverted_sequence))
    connection.executemany(
        "INSERT INTO events (seq, type, node_id, time, subject, chain, block, payload)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT))",
        rows,
    )
    connection.executemany("UPDATE events SET reverted_by = ? WHERE seq = ?", reverted)
    return records


def last_seq(connection: sqlite3.Connection) -> int:
    """The newest sequence number ever given, 0 in an empty store."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(row[0]) if row else 0


def find_events(
    connection: sqlite3.Connection,
    *,
    after_seq: int,
    limit: int,
    newest: bool,
    types: Sequence[str],
    subject: str,
    text: str,
    since_ms: int,
    until_ms: int,
) -> list[EventRecord]:
    """Events that match all filters given, ascending; `newest` takes the last `limit`."""
    terms = ["seq > ?"]
    values: list[object] = [after_seq]
    if types:
        terms.append(f"type IN ({', '.join('?' * len(types))})")
        values += types
    if subject:
        terms.append("subject = ? AND subject <> ''")  # the second half names the partial index
        values.append(subject)
    if text:
        escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        in_payload = f"%{escaped}%"
        terms.append(
            "(payload LIKE ? ESCAPE '\\' OR subject LIKE ? ESCAPE '\\' OR type LIKE ? ESCAPE '\\')"
        )
        values += [in_payload] * 3
    if since_ms:
        terms.append("time >= ?")
        values.append(since_ms)
    if until_ms:
        terms.append("time <= ?")
        values.append(until_ms)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM events WHERE {' AND '.join(terms)}"
        f" ORDER BY seq {'DESC' if newest else 'ASC'} LIMIT ?",
        (*values, limit),
    ).fetchall()
    return _records(reversed(rows) if newest else rows)


def balance_events_above(
    connection: sqlite3.Connection, chain: str, block: int
) -> list[EventRecord]:
    """The chain's balance changes from blocks above that number that nothing has taken back."""
    return _records(
        connection.execute(
            f"SELECT {_COLUMNS} FROM events INDEXED BY events_revertible"
            f" WHERE type = '{AgentBalanceChanged.TYPE}' AND reverted_by IS NULL"
            " AND chain = ? AND block > ? ORDER BY seq",
            (chain, block),
        )
    )


def prune_events(connection: sqlite3.Connection, before_ms: int) -> int:
    """Delete events from before that time; their numbers are not used again."""
    return connection.execute("DELETE FROM events WHERE time < ?", (before_ms,)).rowcount


def cursor(connection: sqlite3.Connection, reader: str) -> int:
    """How far an outbox reader has come; 0 at first."""
    row = connection.execute("SELECT seq FROM cursors WHERE reader = ?", (reader,)).fetchone()
    return int(row[0]) if row else 0


def set_cursor(connection: sqlite3.Connection, reader: str, seq: int) -> None:
    """Remember how far it has come."""
    connection.execute(
        "INSERT INTO cursors (reader, seq) VALUES (?, ?)"
        " ON CONFLICT (reader) DO UPDATE SET seq = excluded.seq",
        (reader, seq),
    )


def recall(connection: sqlite3.Connection, key: str) -> str | None:
    """A text kept under `key`."""
    row = connection.execute("SELECT value FROM memory WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None


def remember(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Keep a text under `key`."""
    connection.execute(
        "INSERT INTO memory (key, value) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def _records(rows: Iterable[tuple[int, str, str, int, str, str]]) -> list[EventRecord]:
    return [EventRecord(*row[:5], _decode(row[5])) for row in rows]


def _decode(payload: str | bytes) -> dict[str, Json]:
    fields: dict[str, Json] = _decoder.decode(payload)
    return fields


def pairs(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Peer and token of every pair that has accounts in the ledger."""
    return connection.execute("SELECT peer, token FROM pairs ORDER BY peer, token").fetchall()


def add_pairs(connection: sqlite3.Connection, pairs: Sequence[tuple[str, str]]) -> None:
    """Remember pairs; known ones are left as they are."""
    connection.executemany("INSERT OR IGNORE INTO pairs (peer, token) VALUES (?, ?)", pairs)
