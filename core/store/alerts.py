"""Statements over alerts.

A row is changed only from the version that was read, and its events join the change. A unique
index holds that a rule has one open alert per subject, whoever writes.
"""

from __future__ import annotations

import sqlite3

import msgspec

from core.store.protocol import AlertRow, StandingAlerts

# In the order of the fields of AlertRow; the key comes first.
_KEY = ("id", "rule", "subject")
_CHANGING = (
    "version",
    "kind",
    "about",
    "severity",
    "message",
    "account",
    "opened_at",
    "acknowledged_by",
    "acknowledged_at",
    "acknowledged_reason",
    "silenced_until",
    "silenced_by",
    "silenced_reason",
    "closed_at",
    "closed_reason",
)
_COLUMNS = ", ".join((*_KEY, *_CHANGING))
_INSERT = (
    f"INSERT OR IGNORE INTO alerts ({_COLUMNS})"
    f" VALUES ({', '.join('?' * (len(_KEY) + len(_CHANGING)))})"
)
_UPDATE = (
    f"UPDATE alerts SET {', '.join(f'{column} = ?' for column in _CHANGING)}"
    " WHERE id = ? AND version = ?"
)


def alerts(connection: sqlite3.Connection, now_ms: int) -> StandingAlerts:
    """See `AlertStore.alerts`."""
    still_open = connection.execute(
        f"SELECT {_COLUMNS} FROM alerts WHERE closed_at = 0 ORDER BY id"
    ).fetchall()
    silenced = connection.execute(
        # Of several closed ones with the same rule and subject the newest says what holds.
        f"SELECT {_COLUMNS} FROM alerts AS this WHERE closed_at > 0 AND silenced_until > ?"
        " AND NOT EXISTS (SELECT 1 FROM alerts AS newer WHERE newer.rule = this.rule"
        " AND newer.subject = this.subject AND newer.id > this.id) ORDER BY id",
        (now_ms,),
    ).fetchall()
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'alerts'").fetchone()
    return StandingAlerts(
        tuple(AlertRow(*row) for row in still_open),
        tuple(AlertRow(*row) for row in silenced),
        int(last[0]) if last else 0,
    )


def change_alert(connection: sqlite3.Connection, row: AlertRow) -> bool:
    """Write the row that follows version `row.version` - 1; False if that is not what stands."""
    values = msgspec.structs.astuple(row)
    if row.version == 1:
        return connection.execute(_INSERT, values).rowcount == 1
    changed = connection.execute(_UPDATE, (*values[len(_KEY) :], row.id, row.version - 1))
    return changed.rowcount == 1


def prune_alerts(connection: sqlite3.Connection, before_ms: int) -> int:
    """Delete alerts that closed before that time, and whose silence had ended."""
    return connection.execute(
        "DELETE FROM alerts WHERE closed_at > 0 AND closed_at < ? AND silenced_until < ?",
        (before_ms, before_ms),
    ).rowcount
