"""Statements over balance history and polls: what a balance was, and when it was looked at.

A row is the balance from its time on, so every answer about a range starts with the row that
stood at its beginning, and deleting old rows must leave that one. Amounts are exact.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from core.store.events import recall, remember
from core.store.protocol import HistoryRow, StoreError

_HOUR_MS = 3_600_000
_THINNED = "history.thinned_until_ms"  # rows older than this are one an hour already
_SMALL = 1 << 63


def pack_amount(amount: int) -> int | bytes:
    """An exact integer as SQLite keeps it: its own 64-bit integer, else two's complement bytes
    (big-endian)."""
    if -_SMALL <= amount < _SMALL:
        return amount
    return amount.to_bytes(amount.bit_length() // 8 + 1, "big", signed=True)


def unpack_amount(stored: int | bytes) -> int:
    """The inverse of `pack_amount`."""
    return int.from_bytes(stored, "big", signed=True) if isinstance(stored, bytes) else stored


def insert_changes(connection: sqlite3.Connection, rows: Iterable[HistoryRow]) -> None:
    """Add changes; of two in the same millisecond the later written stands."""
    connection.executemany(
        "INSERT INTO balance_history (account, time, block, balance) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account, time) DO UPDATE"
        " SET block = excluded.block, balance = excluded.balance",
        ((row.account, row.time_ms, row.block, pack_amount(row.amount)) for row in rows),
    )


def standing(connection: sqlite3.Connection, account: int) -> HistoryRow | None:
    """The newest row of an account."""
    rows = connection.execute(
        "SELECT account, time, block, balance FROM balance_history WHERE account = ?"
        " ORDER BY time DESC LIMIT 1",
        (account,),
    )
    return next(iter(_rows(rows)), None)


def cut_above(
    connection: sqlite3.Connection, accounts: Sequence[int], block: int
) -> list[tuple[int, HistoryRow | None]]:
    """Take back the history of these accounts from blocks above that number; answers the
    accounts that lost rows, with the row that now stands."""
    cut: list[tuple[int, HistoryRow | None]] = []
    for account in accounts:
        newest = standing(connection, account)  # blocks rise with time: one look tells most
        if newest is None or newest.block <= block:
            continue
        connection.execute(
            "DELETE FROM balance_history WHERE account = ? AND block > ?", (account, block)
        )
        cut.append((account, standing(connection, account)))
    return cut


def history(
    connection: sqlite3.Connection, account: int, start_ms: int, end_ms: int
) -> list[HistoryRow]:
    """Ascending changes in [start, end], preceded by the row standing at `start`, if any."""
    return _rows(
        connection.execute(
            "SELECT account, time, block, balance FROM balance_history"
            " WHERE account = :account AND time <= :end AND time >= coalesce("
            "   (SELECT max(time) FROM balance_history"
            "    WHERE account = :account AND time <= :start), :start)"
            " ORDER BY time",
            {"account": account, "start": start_ms, "end": end_ms},
        )
    )


def recent_history(connection: sqlite3.Connection, since_ms: int) -> list[HistoryRow]:
    """For every account changed since then: those changes, preceded by the row standing then."""
    return _rows(
        connection.execute(
            # CROSS JOIN fixes the order of the loops: a seek per account, not a walk over all.
            "SELECT h.account, h.time, h.block, h.balance"
            " FROM wallet_balances w CROSS JOIN balance_history h"
            " ON h.account = w.id AND h.time >= coalesce("
            "   (SELECT max(s.time) FROM balance_history s"
            "    WHERE s.account = w.id AND s.time <= :since), :since)"
            " WHERE (SELECT max(n.time) FROM balance_history n WHERE n.account = w.id) >= :since"
            " ORDER BY w.id, h.time",
            {"since": since_ms},
        )
    )


def put_history(connection: sqlite3.Connection, rows: Sequence[HistoryRow]) -> None:
    """Insert history from elsewhere; existing rows win. The span of a
    chain's rows counts as read. Raises StoreError for an account that is not registered."""
    if not rows:
        return
    chain_of: dict[int, int] = dict(connection.execute("SELECT id, chain_id FROM wallet_balances"))
    spans: dict[int, tuple[int, int]] = {}
    for row in rows:
        chain = chain_of.get(row.account)
        if chain is None:
            raise StoreError(f"history for account {row.account}, which is not in the registry")
        low, high = spans.get(chain, (row.time_ms, row.time_ms))
        spans[chain] = min(low, row.time_ms), max(high, row.time_ms)
    connection.executemany(
        "INSERT INTO balance_history (account, time, block, balance) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account, time) DO NOTHING",
        ((row.account, row.time_ms, row.block, pack_amount(row.amount)) for row in rows),
    )
    for chain, span in spans.items():
        _cover(connection, chain, *span)
    if min(low for low, _ in spans.values()) < int(recall(connection, _THINNED) or 0):
        remember(connection, _THINNED, "0")


def gaps(
    connection: sqlite3.Connection, chain: str, start_ms: int, end_ms: int, longest_ms: int
) -> list[tuple[int, int]]:
    """[from, to) parts of the range in a stretch without a reading longer than `longest_ms`."""
    row = connection.execute("SELECT id FROM chains WHERE name = ?", (chain,)).fetchone()
    if row is None:
        raise StoreError(f"chain {chain} is not in the registry")
    near = {"chain": row[0], "start": start_ms, "end": end_ms}
    # One poll beyond either end: a stretch may begin before the range and end after it.
    seen: list[tuple[int, int]] = connection.execute(
        "SELECT time, time FROM polls WHERE chain_id = :chain AND read > 0 AND time >= coalesce("
        "   (SELECT max(time) FROM polls"
        "    WHERE chain_id = :chain AND read > 0 AND time <= :start), :start)"
        " AND time <= coalesce("
        "   (SELECT min(time) FROM polls"
        "    WHERE chain_id = :chain AND read > 0 AND time >= :end), :end)"
        " UNION ALL SELECT from_time, to_time FROM history_imports"
        " WHERE chain_id = :chain AND from_time <= :end AND to_time >= :start"
        " ORDER BY 1",
        near,
    ).fetchall()
    before = seen[0] if seen and seen[0][0] <= start_ms else (start_ms, start_ms)
    after = seen[-1] if seen and seen[-1][1] >= end_ms else (end_ms, end_ms)
    found: list[tuple[int, int]] = []
    known_until = before[1]
    for low, high in (*seen, after):
        if low - known_until > longest_ms:
            found.append((max(known_until, start_ms), min(low, end_ms)))
        known_until = max(known_until, high)
    return [(low, high) for low, high in found if low < high]


def prune_history(connection: sqlite3.Connection, before_ms: int, thin_before_ms: int) -> int:
    """Delete rows older than `before_ms` and thin those up to `thin_before_ms` to the last one of
    each hour. The row standing at either boundary stays. Answers the number of rows deleted."""
    deleted = connection.execute(
        "DELETE FROM balance_history WHERE (account, time) IN ("
        " SELECT h.account, h.time FROM wallet_balances w CROSS JOIN balance_history h"
        " ON h.account = w.id AND h.time < (SELECT max(s.time) FROM balance_history s"
        "   WHERE s.account = w.id AND s.time <= ?))",
        (before_ms,),
    ).rowcount
    # Whole hours already thinned are not walked again; the last one may be half done.
    thinned = int(recall(connection, _THINNED) or 0) // _HOUR_MS * _HOUR_MS
    if thin_before_ms <= thinned:
        return deleted
    deleted += connection.execute(
        "DELETE FROM balance_history WHERE (account, time) IN ("
        " SELECT account, time FROM ("
        "  SELECT h.account AS account, h.time AS time, lead(h.time) OVER ("
        "   PARTITION BY h.account ORDER BY h.time) AS next"
        "  FROM wallet_balances w CROSS JOIN balance_history h"
        "  ON h.account = w.id AND h.time >= :thinned AND h.time < :until)"
        " WHERE next / :hour = time / :hour AND (time > :before OR next <= :before))",
        {
            "thinned": thinned,
            "until": thin_before_ms,
            "before": before_ms,
            "hour": _HOUR_MS,
        },
    ).rowcount
    remember(connection, _THINNED, str(thin_before_ms))
    return deleted


def prune_polls(connection: sqlite3.Connection, before_ms: int) -> int:
    """Delete polls from before that time, but for each chain the one standing at it."""
    return connection.execute(
        "DELETE FROM polls WHERE time < (SELECT max(s.time) FROM polls s"
        " WHERE s.chain_id = polls.chain_id AND s.time <= ?)",
        (before_ms,),
    ).rowcount


def _cover(connection: sqlite3.Connection, chain: int, low: int, high: int) -> None:
    """Remember an imported span, as one with those it touches."""
    touching = "chain_id = ? AND from_time <= ? AND to_time >= ?"
    touched = connection.execute(
        f"SELECT min(from_time), max(to_time) FROM history_imports WHERE {touching}",
        (chain, high, low),
    ).fetchone()
    if touched[0] is not None:
        connection.execute(f"DELETE FROM history_imports WHERE {touching}", (chain, high, low))
        low, high = min(low, touched[0]), max(high, touched[1])
    connection.execute(
        "INSERT INTO history_imports (chain_id, from_time, to_time) VALUES (?, ?, ?)",
        (chain, low, high),
    )


def _rows(rows: Iterable[tuple[int, int, int, int | bytes]]) -> list[HistoryRow]:
    return [
        HistoryRow(account, time, block, unpack_amount(balance))
        for account, time, block, balance in rows
    ]
