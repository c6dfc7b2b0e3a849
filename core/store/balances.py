"""Statements over current balances: the lease of a chain, a reading recorded, a lease given back.

The hot path runs every cycle over every account, so it is few statements over whole chains:
one to lease, one to stamp all that did not change (no index holds a column it writes), and
single rows only for what did change. Whoever lost the lease writes no fact.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from core.model import human
from core.store.history import cut_above, insert_changes, pack_amount, unpack_amount
from core.store.protocol import (
    EVERYTHING_DUE_MS,
    Change,
    Failure,
    HistoryRow,
    Lease,
    LeaseLostError,
    StoredBalance,
    StoreError,
    Sweep,
)

# An account waits for its turn from its last attempt on, so that one that always fails neither
# keeps the others waiting nor is tried in a tight loop.
_TRIED = "max(last_checked, last_error_at)"


class WholeChain(NamedTuple):
    """The accounts of a lease that took all of a chain, ascending, so that the next one need not
    fetch them again.

    They stand while `chain_leases.is_whole` does (our own changes of the registry end it) and
    while `version`, SQLite's data_version, says that no other connection wrote."""

    version: int
    accounts: array[int]


WholeChains = dict[int, WholeChain]
"""By chain id, for one connection: a data_version means nothing to another."""


class _Known(msgspec.Struct, frozen=True, gc=False):
    raw: str | None
    decimals: int


def balances(connection: sqlite3.Connection) -> list[StoredBalance]:
    """All active accounts' last known state."""
    # Blocks, times and reasons are the same in many rows, and are kept once.
    known: dict[object, object] = {}
    once = known.setdefault
    return [
        StoredBalance(
            account,
            None if raw is None else int(raw),
            mark,
            unpack_amount(reserved),
            *(once(value, value) for value in same),  # type: ignore[arg-type]
        )
        for account, raw, mark, reserved, *same in connection.execute(
            "SELECT id, on_chain_balance_raw, mark, reserved, block_number, first_seen_at,"
            " changed_at, last_checked, error_count, coalesce(last_error, ''), last_error_at"
            " FROM wallet_balances WHERE is_active = 1 ORDER BY id"
        )
    ]


def claim(
    connection: sqlite3.Connection,
    whole_chains: WholeChains,
    chain: str,
    worker: str,
    *,
    now_ms: int,
    due_before_ms: int,
    lease_ms: int,
    limit: int | None,
) -> Lease | None:
    """Lease the chain if something is due and no other worker's lease runs. A worker may take its
    own again: it does one thing at a time, so it gave up what it held."""
    leased = connection.execute(
        "UPDATE chain_leases SET locked_by = :worker, locked_until = :until"
        " WHERE chain_id = (SELECT id FROM chains WHERE name = :chain AND is_active = 1)"
        " AND (locked_by IS NULL OR locked_by = :worker OR locked_until <= :now)"
        " AND EXISTS (SELECT 1 FROM wallet_balances b WHERE b.chain_id = chain_leases.chain_id"
        f"   AND b.is_active = 1 AND {_TRIED} < :due)"
        " RETURNING chain_id, is_whole",
        {
            "worker": worker,
            "until": now_ms + lease_ms,
            "chain": chain,
            "now": now_ms,
            "due": due_before_ms,
        },
    ).fetchall()
    if not leased:
        return None
    chain_id, was_whole = leased[0]
    until_ms = now_ms + lease_ms
    takes_all = limit is None and due_before_ms >= EVERYTHING_DUE_MS
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    known = whole_chains.get(chain_id)
    if takes_all and was_whole and known is not None and known.version == version:
        return Lease(chain, worker, until_ms, known.accounts, whole=True)
    # Who takes everything needs no order, and no sort of the fleet.
    order = "id" if limit is None else f"{_TRIED}, id"
    accounts = array(
        "q",
        (
            account
            for (account,) in connection.execute(
                "SELECT id FROM wallet_balances WHERE chain_id = ? AND is_active = 1"
                f" AND {_TRIED} < ? ORDER BY {order} LIMIT ?",
                (chain_id, due_before_ms, -1 if limit is None else limit),
            )
        ),
    )
    (active,) = connection.execute(
        "SELECT count(*) FROM wallet_balances WHERE chain_id = ? AND is_active = 1", (chain_id,)
    ).fetchone()
    is_whole = len(accounts) == active
    connection.execute(
        "UPDATE chain_leases SET is_whole = ? WHERE chain_id = ?", (is_whole, chain_id)
    )
    if takes_all:
        whole_chains[chain_id] = WholeChain(version, accounts)
    return Lease(chain, worker, until_ms, accounts, is_whole)


def record(connection: sqlite3.Connection, sweep: Sweep) -> None:
    """Write a reading and free its lease. Raises LeaseLostError, and StoreError for a change of
    an account that is not of this chain."""
    freed = _free(connection, sweep.lease)
    if freed is None:
        raise LeaseLostError(
            f"{sweep.lease.worker}: the lease of chain {sweep.lease.chain} ran out and was taken"
            " over; the reading was not stored. Read again, with a longer lease or fewer accounts"
        )
    chain_id, is_whole = freed
    known = _known(connection, chain_id, [change.account for change in sweep.changes])
    for change in sweep.changes:
        if change.account not in known:
            raise StoreError(f"account {change.account} is not one of chain {sweep.lease.chain}")
    moved = [c for c in sweep.changes if known[c.account].raw != str(c.amount)]
    _write_changes(connection, sweep, moved, known)
    if sweep.forked_below is None:
        insert_changes(connection, _history_rows(sweep, moved))
    else:
        _take_back(connection, sweep, sweep.forked_below, moved)
    connection.executemany(
        "UPDATE wallet_balances SET mark = ?, reserved = ? WHERE id = ?",
        ((mark.mark, pack_amount(mark.reserved), mark.account) for mark in sweep.marks),
    )
    _stamp(connection, sweep, chain_id, is_whole)
    _write_failures(connection, sweep.failures, sweep.time_ms)
    _write_poll(connection, sweep, chain_id, len(moved))


def release(
    connection: sqlite3.Connection, lease: Lease, failures: Sequence[Failure], now_ms: int
) -> None:
    """Free a lease and note failures. Where it was lost the accounts are another worker's to
    speak of, and nothing is noted."""
    if _free(connection, lease) is not None:
        _write_failures(connection, failures, now_ms)


def _free(connection: sqlite3.Connection, lease: Lease) -> tuple[int, bool] | None:
    """End the lease if it is still the one that stands: its chain, and whether it covers every
    account of it. Worker and end together name a lease."""
    rows = connection.execute(
        "UPDATE chain_leases SET locked_by = NULL, locked_until = 0"
        " WHERE chain_id = (SELECT id FROM chains WHERE name = ?)"
        " AND locked_by = ? AND locked_until = ? RETURNING chain_id, is_whole",
        (lease.chain, lease.worker, lease.until_ms),
    ).fetchall()
    return (rows[0][0], bool(rows[0][1]) and lease.whole) if rows else None


def _known(
    connection: sqlite3.Connection, chain_id: int, accounts: Sequence[int]
) -> dict[int, _Known]:
    return {
        account: _Known(raw, decimals)
        for account, raw, decimals in connection.execute(
            "SELECT b.id, b.on_chain_balance_raw, a.decimals"
            " FROM json_each(?) wanted CROSS JOIN wallet_balances b ON b.id = wanted.value"
            " JOIN asset_on_chain a ON a.id = b.asset_on_chain_id WHERE b.chain_id = ?",
            (_json(accounts), chain_id),
        )
    }


def _write_changes(
    connection: sqlite3.Connection,
    sweep: Sweep,
    moved: Sequence[Change],
    known: Mapping[int, _Known],
) -> None:
    """The new figures; when they were read is the stamp's to write."""
    connection.executemany(
        "UPDATE wallet_balances SET on_chain_balance_raw = ?, on_chain_balance_human = ?,"
        " changed_at = ?, first_seen_at = iif(first_seen_at, first_seen_at, ?) WHERE id = ?",
        (
            (
                str(change.amount),
                human(change.amount, known[change.account].decimals),
                sweep.time_ms,
                sweep.time_ms,
                change.account,
            )
            for change in moved
        ),
    )


def _take_back(
    connection: sqlite3.Connection, sweep: Sweep, common_block: int, moved: Sequence[Change]
) -> None:
    """Cut the history of what was read again at the fork, and let it end in what was read now.

    Accounts that this reading does not cover keep theirs: their current row is from the same
    blocks, and their next reading is compared with it."""
    failed = {failure.account for failure in sweep.failures}
    read = [account for account in sweep.lease.accounts if account not in failed]
    cut = cut_above(connection, read, common_block)
    lost = {account for account, _ in cut}
    insert_changes(connection, _history_rows(sweep, [c for c in moved if c.account not in lost]))
    now = _raw(connection, [account for account, _ in cut])
    stands = [
        standing
        if standing is not None and standing.amount == now[account]
        else HistoryRow(account, sweep.time_ms, sweep.block.number, now[account])
        for account, standing in cut
    ]
    insert_changes(connection, stands)
    connection.executemany(
        "UPDATE wallet_balances SET changed_at = ? WHERE id = ?",
        ((row.time_ms, row.account) for row in stands),
    )


def _raw(connection: sqlite3.Connection, accounts: Sequence[int]) -> dict[int, int]:
    return {
        account: int(raw)
        for account, raw in connection.execute(
            "SELECT b.id, b.on_chain_balance_raw FROM json_each(?) wanted"
            " CROSS JOIN wallet_balances b ON b.id = wanted.value",
            (_json(accounts),),
        )
    }


def _stamp(connection: sqlite3.Connection, sweep: Sweep, chain_id: int, is_whole: bool) -> None:
    """Say of every account that was read, changed or not, when and at which block it was."""
    which: dict[str, object] = {}
    if is_whole:
        terms = "chain_id = :chain AND is_active = 1"
        which["chain"] = chain_id
    else:
        terms = "id IN (SELECT value FROM json_each(:accounts))"
        which["accounts"] = _json(sweep.lease.accounts)
    if sweep.failures:
        terms += " AND id NOT IN (SELECT value FROM json_each(:failed))"
        which["failed"] = _json([failure.account for failure in sweep.failures])
    # OR ROLLBACK: a row that refused its stamp would end the whole reading anyway, and without it
    # SQLite first copies every page aside, to be able to undo this one statement.
    connection.execute(
        "UPDATE OR ROLLBACK wallet_balances SET last_checked = :time, updated_at = :time,"
        " sync_count = sync_count + 1, block_number = :block, block_hash = :hash,"
        f" last_error = NULL WHERE {terms} AND on_chain_balance_raw IS NOT NULL",
        which | {"time": sweep.time_ms, "block": sweep.block.number, "hash": sweep.block.hash},
    )


def _write_failures(
    connection: sqlite3.Connection, failures: Sequence[Failure], now_ms: int
) -> None:
    connection.executemany(
        "UPDATE wallet_balances SET error_count = error_count + 1, last_error = ?,"
        " last_error_at = ?, updated_at = ? WHERE id = ?",
        ((failure.reason, now_ms, now_ms, failure.account) for failure in failures),
    )


def _write_poll(connection: sqlite3.Connection, sweep: Sweep, chain_id: int, changed: int) -> None:
    connection.execute(
        "INSERT INTO polls (chain_id, time, block, hash, first_block, consistency, read, changed,"
        " unknown, seconds, endpoint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (chain_id, time) DO UPDATE SET block = excluded.block, hash = excluded.hash,"
        " first_block = excluded.first_block, consistency = excluded.consistency,"
        " read = read + excluded.read, changed = changed + excluded.changed,"
        " unknown = unknown + excluded.unknown, seconds = seconds + excluded.seconds,"
        " endpoint = excluded.endpoint",
        (
            chain_id,
            sweep.time_ms,
            sweep.block.number,
            sweep.block.hash,
            sweep.first_block,
            sweep.consistency.value,
            len(sweep.lease.accounts) - len(sweep.failures),
            changed,
            len(sweep.failures),
            sweep.seconds,
            sweep.endpoint,
        ),
    )


def _history_rows(sweep: Sweep, changes: Iterable[Change]) -> list[HistoryRow]:
    return [HistoryRow(c.account, sweep.time_ms, sweep.block.number, c.amount) for c in changes]


def _json(accounts: Sequence[int]) -> str:
    """Any number of ids as one parameter, for json_each."""
    return msgspec.json.encode(list(accounts)).decode()
