"""Statements over settlements and their thresholds.

A row is changed only from the version that was read, and its events join the change: of two
monitors that saw the same crossing one writes, and one event reports it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from core.store.protocol import SettlementRow, StoredThreshold

_COLUMNS = (
    "peer, token, direction, version, epoch, attempt, armed, told, key, amount, begun_by,"
    " delivered, retry_at, changed_at, reason, settled_at, settled_amount"
)


def settlements(
    connection: sqlite3.Connection, only: Sequence[tuple[str, str, str]] | None = None
) -> list[SettlementRow]:
    """Every row, or those of some pairs and directions."""
    if only is None:
        return [_row(r) for r in connection.execute(f"SELECT {_COLUMNS} FROM settlements")]
    found = (
        connection.execute(
            f"SELECT {_COLUMNS} FROM settlements WHERE peer = ? AND token = ? AND direction = ?",
            tuple(key),
        ).fetchone()
        for key in only
    )
    return [_row(row) for row in found if row is not None]


def insert_settlements(connection: sqlite3.Connection, rows: Iterable[SettlementRow]) -> None:
    """Write rows as they are given into a table that has none of them."""
    connection.executemany(
        f"INSERT INTO settlements ({_COLUMNS})"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                row.peer, row.token, row.direction, row.version, row.epoch, row.attempt, row.armed,
                row.told, row.key, None if row.amount is None else str(row.amount), row.begun_by,
                row.delivered, row.retry_ms, row.changed_ms, row.reason, row.settled_ms,
                None if row.settled_amount is None else str(row.settled_amount),
            )
            for row in rows
        ),
    )  # fmt: skip


def change_settlement(connection: sqlite3.Connection, row: SettlementRow) -> bool:
    """Write the row that follows version `row.version` - 1; False if that is not what stands."""
    values = (
        row.epoch,
        row.attempt,
        row.armed,
        row.told,
        row.key,
        None if row.amount is None else str(row.amount),
        row.begun_by,
        row.delivered,
        row.retry_ms,
        row.changed_ms,
        row.reason,
        row.settled_ms,
        None if row.settled_amount is None else str(row.settled_amount),
    )
    if row.version == 1:
        done = connection.execute(
            f"INSERT INTO settlements ({_COLUMNS})"
            " VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (peer, token, direction) DO NOTHING",
            (row.peer, row.token, row.direction, *values),
        )
    else:
        done = connection.execute(
            "UPDATE settlements SET version = version + 1, epoch = ?, attempt = ?, armed = ?,"
            " told = ?, key = ?, amount = ?, begun_by = ?, delivered = ?, retry_at = ?,"
            " changed_at = ?, reason = ?, settled_at = ?, settled_amount = ?"
            " WHERE peer = ? AND token = ? AND direction = ? AND version = ?",
            (*values, row.peer, row.token, row.direction, row.version - 1),
        )
    return done.rowcount == 1


def thresholds(connection: sqlite3.Connection) -> list[StoredThreshold]:
    """What operators set at run time."""
    return [
        StoredThreshold(*row)
        for row in connection.execute(
            "SELECT peer, token, level FROM settlement_thresholds ORDER BY peer, token"
        )
    ]


def set_threshold(connection: sqlite3.Connection, threshold: StoredThreshold) -> None:
    """Set a threshold, or with an empty level go back to the configured one."""
    scope = (threshold.peer, threshold.token)
    if threshold.level:
        connection.execute(
            "INSERT INTO settlement_thresholds (peer, token, level) VALUES (?, ?, ?)"
            " ON CONFLICT (peer, token) DO UPDATE SET level = excluded.level",
            (*scope, threshold.level),
        )
    else:
        connection.execute("DELETE FROM settlement_thresholds WHERE peer = ? AND token = ?", scope)


def _row(row: tuple[Any, ...]) -> SettlementRow:
    """A row read in the order of `_COLUMNS`, which is that of the fields."""
    flags = {"armed": bool(row[6]), "delivered": bool(row[11])}
    amounts = {
        "amount": None if row[9] is None else int(row[9]),
        "settled_amount": None if row[16] is None else int(row[16]),
    }
    return msgspec.structs.replace(SettlementRow(*row), **flags, **amounts)
