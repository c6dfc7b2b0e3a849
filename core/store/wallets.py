"""Statements over wallets: indices taken from a seed, agents created, their lifecycle.

An index is reserved by one statement, so that two processes never share one; one that is reserved
and then not used stays unused. A record that has no row yet is one of zeros.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from core.model import Amount, ChainKind, WalletState
from core.store.history import pack_amount, unpack_amount
from core.store.protocol import NewWallet, StoreError
from core.store.registry import add_addresses
from core.store.wallet_protocol import (
    Activity,
    AgentPresentError,
    AgentWallet,
    LifecycleRecord,
    StateChange,
    StateMovedError,
    Volume,
    WalletAddress,
)

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_ALL = "1"
_ONE = "w.wallet_id = :agent"

# The column that remembers when a state was last entered; PENDING is `wallets.created_at`.
_ENTERED: Mapping[WalletState, str] = {
    WalletState.ACTIVE: "activated_at",
    WalletState.SUSPENDED: "suspended_at",
    WalletState.ARCHIVED: "archived_at",
}


def take_indices(connection: sqlite3.Connection, fingerprint: str, count: int) -> int:
    """Reserve `count` indices of a seed; the first of them."""
    (after,) = connection.execute(
        "INSERT INTO derivation_indices (fingerprint, next_index) VALUES (:seed, :count)"
        " ON CONFLICT (fingerprint) DO UPDATE SET next_index = next_index + :count"
        " RETURNING next_index",
        {"seed": fingerprint, "count": count},
    ).fetchone()
    return int(after) - count


def skip_indices(connection: sqlite3.Connection, fingerprint: str, below: int) -> None:
    """Never hand out an index below that one again."""
    connection.execute(
        "INSERT INTO derivation_indices (fingerprint, next_index) VALUES (?, ?)"
        " ON CONFLICT (fingerprint) DO UPDATE"
        " SET next_index = max(next_index, excluded.next_index)",
        (fingerprint, below),
    )


def next_index(connection: sqlite3.Connection, fingerprint: str) -> int:
    """The index that would be taken next."""
    row = connection.execute(
        "SELECT next_index FROM derivation_indices WHERE fingerprint = ?", (fingerprint,)
    ).fetchone()
    return int(row[0]) if row else 0


def create_wallets(connection: sqlite3.Connection, wallets: Sequence[AgentWallet]) -> None:
    """Register new agents with all their addresses. Raises AgentPresentError,
    DuplicateWalletError; StoreError for a chain that is not active."""
    present = connection.execute(
        "SELECT w.wallet_id, w.state FROM json_each(?) wanted"
        " JOIN wallets w ON w.wallet_id = wanted.value LIMIT 1",
        (msgspec.json.encode([wallet.agent for wallet in wallets]).decode(),),
    ).fetchone()
    if present is not None:
        agent, state = present
        raise AgentPresentError(
            f"agent {agent} exists and is {state}: nothing was created."
            + (" An archived agent is not made again; use another name." * (state == "ARCHIVED")),
            agent,
        )
    connection.executemany(
        "INSERT INTO wallets (wallet_id, agent_group, tags, state, watch_only, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                wallet.agent,
                wallet.group,
                msgspec.json.encode(wallet.tags).decode(),
                wallet.state.value,
                wallet.watch_only,
                wallet.created_ms,
            )
            for wallet in wallets
        ),
    )
    rows = [
        NewWallet(
            wallet.agent,
            address.chain,
            address.address,
            derivation_path=address.path,
            watch_only=wallet.watch_only,
        )
        for wallet in wallets
        for address in wallet.addresses
    ]
    add_addresses(connection, rows)


def wallets(connection: sqlite3.Connection) -> list[AgentWallet]:
    """Every agent with its addresses, by name."""
    return _wallets(connection, _ALL, {})


def wallet(connection: sqlite3.Connection, agent: str) -> AgentWallet | None:
    """One agent."""
    found = _wallets(connection, _ONE, {"agent": agent})
    return found[0] if found else None


def wallets_by_address(
    connection: sqlite3.Connection, address: str, folded: str
) -> list[AgentWallet]:
    """The agents with that address on any chain."""
    return _wallets(
        connection,
        "w.wallet_id IN (SELECT k.wallet_id FROM wallet_addresses k"
        " JOIN chains n ON n.id = k.chain_id"
        " WHERE k.address_key = CASE n.kind WHEN 'evm' THEN :folded ELSE :address END)",
        {"address": address, "folded": folded},
    )


def lifecycle_records(connection: sqlite3.Connection) -> list[LifecycleRecord]:
    """Every agent's record, by name."""
    return _records(connection, _ALL, {})


def lifecycle_record(connection: sqlite3.Connection, agent: str) -> LifecycleRecord | None:
    """One agent's record."""
    found = _records(connection, _ONE, {"agent": agent})
    return found[0] if found else None


def put_lifecycle_record(connection: sqlite3.Connection, record: LifecycleRecord) -> None:
    """Write a record as it is given. Raises StoreError for an agent that is not registered."""
    changed = connection.execute(
        "UPDATE wallets SET state = ?, created_at = ? WHERE wallet_id = ?",
        (record.state.value, record.created_ms, record.agent),
    ).rowcount
    if not changed:
        raise StoreError(f"agent {record.agent} is not registered; its record was not written")
    connection.execute(
        "INSERT OR REPLACE INTO lifecycle (wallet_id, activated_at, last_activity_at,"
        " suspended_at, archived_at, reason, transactions) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            record.agent,
            record.activated_ms,
            record.last_activity_ms,
            record.suspended_ms,
            record.archived_ms,
            record.reason,
            record.transactions,
        ),
    )
    connection.execute("DELETE FROM lifecycle_volumes WHERE wallet_id = ?", (record.agent,))
    _put_volumes(
        connection,
        {
            (record.agent, v.chain, v.token, v.contract or ""): (v.transactions, int(v.amount))
            for v in record.volumes
        },
    )


def change_states(connection: sqlite3.Connection, changes: Sequence[StateChange]) -> None:
    """Change all or none. Raises StateMovedError."""
    for change in changes:
        moved = connection.execute(
            "UPDATE wallets SET state = ? WHERE wallet_id = ? AND state = ?",
            (change.new.value, change.agent, change.old.value),
        ).rowcount
        if not moved:
            raise StateMovedError(
                f"agent {change.agent} is not {change.old.value} any more; nothing was changed"
            )
        entered = _ENTERED[change.new]
        connection.execute(
            f"INSERT INTO lifecycle (wallet_id, {entered}, reason) VALUES (?, ?, ?)"
            f" ON CONFLICT (wallet_id) DO UPDATE SET {entered} = excluded.{entered},"
            " reason = excluded.reason",
            (change.agent, change.time_ms, change.reason),
        )


def record_activity(
    connection: sqlite3.Connection,
    activities: Sequence[Activity],
    reader: str,
    after_seq: int,
    seq: int,
) -> bool:
    """Add to the records and move the cursor, if it still stands at `after_seq`."""
    connection.execute(
        "INSERT INTO cursors (reader, seq) VALUES (?, 0) ON CONFLICT (reader) DO NOTHING", (reader,)
    )
    moved = connection.execute(
        "UPDATE cursors SET seq = ? WHERE reader = ? AND seq = ?", (seq, reader, after_seq)
    ).rowcount
    if not moved:
        return False
    connection.executemany(
        "INSERT INTO lifecycle (wallet_id, last_activity_at, transactions)"
        " SELECT wallet_id, ?, ? FROM wallets WHERE wallet_id = ?"
        " ON CONFLICT (wallet_id) DO UPDATE SET"
        " last_activity_at = max(last_activity_at, excluded.last_activity_at),"
        " transactions = transactions + excluded.transactions",
        ((a.time_ms, a.transactions, a.agent) for a in activities),
    )
    sums: dict[tuple[str, str, str, str], tuple[int, int]] = {}
    for a in activities:
        key = (a.agent, a.chain, a.token, a.contract or "")
        count, amount = sums.get(key) or _volume(connection, key)
        sums[key] = count + a.transactions, amount + a.amount
    _put_volumes(connection, sums)
    return True


def funded_pending(connection: sqlite3.Connection) -> list[str]:
    """PENDING agents with a balance above 0 on any chain."""
    return [
        agent
        for (agent,) in connection.execute(
            "SELECT wallet_id FROM wallets w WHERE state = 'PENDING' AND EXISTS ("
            " SELECT 1 FROM wallet_balances b WHERE b.wallet_id = w.wallet_id"
            " AND b.on_chain_balance_raw IS NOT NULL AND b.on_chain_balance_raw <> '0')"
            " ORDER BY wallet_id"
        )
    ]


def _wallets(
    connection: sqlite3.Connection, terms: str, values: Mapping[str, str]
) -> list[AgentWallet]:
    addresses: dict[str, list[WalletAddress]] = {}
    for agent, chain, kind, address, path in connection.execute(
        "SELECT d.wallet_id, c.name, c.kind, d.address, d.derivation_path"
        " FROM wallets w JOIN wallet_addresses d ON d.wallet_id = w.wallet_id"
        f" JOIN chains c ON c.id = d.chain_id WHERE {terms} ORDER BY c.name",
        values,
    ):
        row = WalletAddress(chain, ChainKind(kind), address, path)
        addresses.setdefault(agent, []).append(row)
    return [
        AgentWallet(
            agent,
            tuple(addresses.get(agent, ())),
            group,
            _decode_tags(tags),
            WalletState(state),
            bool(watch_only),
            created,
        )
        for agent, group, tags, state, watch_only, created in connection.execute(
            "SELECT w.wallet_id, w.agent_group, w.tags, w.state, w.watch_only, w.created_at"
            f" FROM wallets w WHERE {terms} ORDER BY w.wallet_id",
            values,
        )
    ]


def _records(
    connection: sqlite3.Connection, terms: str, values: Mapping[str, str]
) -> list[LifecycleRecord]:
    volumes: dict[str, list[Volume]] = {}
    for agent, chain, token, contract, count, amount in connection.execute(
        "SELECT w.wallet_id, v.chain, v.token, v.contract, v.transactions, v.amount"
        " FROM wallets w JOIN lifecycle_volumes v ON v.wallet_id = w.wallet_id"
        f" WHERE {terms} ORDER BY v.wallet_id, v.chain, v.token, v.contract",
        values,
    ):
        total = Amount(unpack_amount(amount))
        volumes.setdefault(agent, []).append(Volume(chain, token, contract or None, count, total))
    return [
        LifecycleRecord(
            agent=agent,
            state=WalletState(state),
            created_ms=created,
            activated_ms=activated,
            last_activity_ms=last_activity,
            suspended_ms=suspended,
            archived_ms=archived,
            reason=reason,
            transactions=count,
            volumes=tuple(volumes.get(agent, ())),
        )
        for (
            agent,
            state,
            created,
            activated,
            last_activity,
            suspended,
            archived,
            reason,
            count,
        ) in connection.execute(
            "SELECT w.wallet_id, w.state, w.created_at, coalesce(l.activated_at, 0),"
            " coalesce(l.last_activity_at, 0), coalesce(l.suspended_at, 0),"
            " coalesce(l.archived_at, 0), coalesce(l.reason, ''), coalesce(l.transactions, 0)"
            " FROM wallets w LEFT JOIN lifecycle l ON l.wallet_id = w.wallet_id"
            f" WHERE {terms} ORDER BY w.wallet_id",
            values,
        )
    ]


def _volume(connection: sqlite3.Connection, key: tuple[str, str, str, str]) -> tuple[int, int]:
    row = connection.execute(
        "SELECT transactions, amount FROM lifecycle_volumes"
        " WHERE wallet_id = ? AND chain = ? AND token = ? AND contract = ?",
        key,
    ).fetchone()
    return (row[0], unpack_amount(row[1])) if row else (0, 0)


def _put_volumes(
    connection: sqlite3.Connection, sums: Mapping[tuple[str, str, str, str], tuple[int, int]]
) -> None:
    """Sums are made in Python: they may be larger than SQLite's integers."""
    connection.executemany(
        "INSERT OR REPLACE INTO lifecycle_volumes"
        " (wallet_id, chain, token, contract, transactions, amount)"
        " SELECT wallet_id, ?, ?, ?, ?, ? FROM wallets WHERE wallet_id = ?",
        (
            (chain, token, contract, count, pack_amount(amount), agent)
            for (agent, chain, token, contract), (count, amount) in sums.items()
        ),
    )
