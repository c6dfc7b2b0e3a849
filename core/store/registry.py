"""Statements over the registry: chains, assets, agents, addresses, limits, and their accounts.

The registry is rows, never code. What makes an asset or an address the same one again is its
key (case folded where case is no part of it), so a renamed symbol keeps its history. Accounts
(rows of wallet_balances) are made here and nowhere else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from core.model import Account, Agent, Asset, Chain, ChainKind, WalletState, human
from core.store.protocol import (
    DuplicateWalletError,
    Limit,
    NewAsset,
    NewWallet,
    Registry,
    StoreError,
)

Value = TypeVar("Value")

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode


def put_registry(
    connection: sqlite3.Connection,
    chains: Sequence[tuple[str, ChainKind]],
    assets: Sequence[NewAsset],
) -> None:
    """Make exactly these chains and assets active, and see that every address has an account
    for each asset of its chain. Raises StoreError for an asset of no chain, one given twice, or
    a chain whose kind changed."""
    known = _put_chains(connection, chains)
    active: set[int] = set()
    for asset in assets:
        if asset.chain not in known:
            raise StoreError(f"asset {asset.symbol}: chain {asset.chain} is not configured")
        asset_id = _put_asset(connection, *known[asset.chain], asset)
        if asset_id in active:
            raise StoreError(f"asset {asset.symbol} of chain {asset.chain} is given twice")
        active.add(asset_id)
    _set_active(connection, "chains", {chain_id for chain_id, _ in known.values()})
    _set_active(connection, "asset_on_chain", active)
    _add_accounts(connection, above_address=0)


def registry(connection: sqlite3.Connection) -> Registry:
    """The registry as it stands; accounts only where all they belong to is active."""
    chains = tuple(
        Chain(id, name, ChainKind(kind), bool(is_active))
        for id, name, kind, is_active in connection.execute(
            "SELECT id, name, kind, is_active FROM chains ORDER BY name"
        )
    )
    assets = tuple(
        Asset(id, chain, symbol, name, decimals, contract, bool(is_active))
        for id, chain, symbol, name, decimals, contract, is_active in connection.execute(
            "SELECT a.id, c.name, s.symbol, s.name, a.decimals, a.contract_address, a.is_active"
            " FROM asset_on_chain a JOIN chains c ON c.id = a.chain_id"
            " JOIN assets s ON s.id = a.asset_id ORDER BY c.name, a.is_native DESC, a.id"
        )
    )
    # The same words and times many times over are kept once: they stand in every row.
    known: dict[object, object] = {}

    def once(value: Value) -> Value:
        return known.setdefault(value, value)  # type: ignore[return-value]

    agents = tuple(
        Agent(
            once(id),
            once(group),
            once(_decode_tags(tags)),
            WalletState(state),
            bool(watch_only),
            once(created),
        )
        for id, group, tags, state, watch_only, created in connection.execute(
            "SELECT wallet_id, agent_group, tags, state, watch_only, created_at"
            " FROM wallets ORDER BY wallet_id"
        )
    )
    accounts = tuple(
        Account(id, once(agent), once(chain), asset, once(address))
        for id, agent, chain, asset, address in connection.execute(
            "SELECT b.id, b.wallet_id, c.name, b.asset_on_chain_id, d.address"
            " FROM wallet_balances b JOIN chains c ON c.id = b.chain_id"
            " JOIN asset_on_chain a ON a.id = b.asset_on_chain_id"
            " JOIN wallet_addresses d ON d.wallet_id = b.wallet_id AND d.chain_id = b.chain_id"
            " WHERE b.is_active = 1 ORDER BY c.name, d.address, a.is_native DESC, a.id"
        )
    )
    limits = tuple(
        Limit(scope, key, asset, _amount(floor), _amount(target))
        for scope, key, asset, floor, target in connection.execute(
            "SELECT scope, key, asset_on_chain_id, floor, target FROM limits"
            " ORDER BY scope, key, asset_on_chain_id"
        )
    )
    return Registry(chains, assets, agents, accounts, limits)


def add_wallets(connection: sqlite3.Connection, wallets: Sequence[NewWallet], now_ms: int) -> None:
    """Register addresses, their agents where new, and their accounts. A new agent takes its group
    from the first row that names one and the tags of all its rows; a known one keeps its own.
    Raises DuplicateWalletError, also for an agent that is archived; StoreError for a chain that
    is not active."""
    _refuse_archived(connection, wallets)
    _add_agents(connection, wallets, now_ms)
    add_addresses(connection, wallets)


def add_addresses(connection: sqlite3.Connection, wallets: Sequence[NewWallet]) -> None:
    """Register addresses of agents that are there already, and their accounts. Raises as
    `add_wallets`."""
    kinds: dict[str, tuple[int, ChainKind]] = {
        name: (id, ChainKind(kind))
        for name, id, kind in connection.execute(
            "SELECT name, id, kind FROM chains WHERE is_active = 1"
        )
    }
    (above,) = connection.execute("SELECT coalesce(max(id), 0) FROM wallet_addresses").fetchone()
    for index, wallet in enumerate(wallets):
        if wallet.chain not in kinds:
            raise StoreError(
                f"{wallet.agent}: chain {wallet.chain} is not configured; known are"
                f" {', '.join(sorted(kinds)) or 'none'}"
            )
        chain_id, kind = kinds[wallet.chain]
        key = case_folded(kind, wallet.address)
        _refuse_duplicate(connection, index, wallet, chain_id, key)
        connection.execute(
            "INSERT INTO wallet_addresses"
            " (wallet_id, chain_id, address, address_key, derivation_path) VALUES (?, ?, ?, ?, ?)",
            (wallet.agent, chain_id, wallet.address, key, wallet.derivation_path),
        )
    _add_accounts(connection, above_address=above)


def label_agents(connection: sqlite3.Connection, agents: Sequence[Agent]) -> None:
    """Write group and tags of existing agents. Raises StoreError for one that is not."""
    for agent in agents:
        changed = connection.execute(
            "UPDATE wallets SET agent_group = ?, tags = ? WHERE wallet_id = ?",
            (agent.group, _encode_tags(agent.tags), agent.id),
        ).rowcount
        if not changed:
            raise StoreError(f"agent {agent.id} is not registered; nothing was changed")


def set_limit(connection: sqlite3.Connection, limit: Limit) -> None:
    """Set or (both None) remove a limit."""
    key = (limit.scope, limit.key, limit.asset)
    if limit.floor is None and limit.target is None:
        connection.execute(
            "DELETE FROM limits WHERE scope = ? AND key = ? AND asset_on_chain_id = ?", key
        )
        return
    connection.execute(
        "INSERT INTO limits (scope, key, asset_on_chain_id, floor, target)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (scope, key, asset_on_chain_id)"
        " DO UPDATE SET floor = excluded.floor, target = excluded.target",
        (*key, _text(limit.floor), _text(limit.target)),
    )


def _put_chains(
    connection: sqlite3.Connection, chains: Sequence[tuple[str, ChainKind]]
) -> dict[str, tuple[int, ChainKind]]:
    known: dict[str, tuple[int, ChainKind]] = {}
    for name, kind in chains:
        row = connection.execute("SELECT id, kind FROM chains WHERE name = ?", (name,)).fetchone()
        if row is None:
            cursor = connection.execute(
                "INSERT INTO chains (name, kind) VALUES (?, ?) RETURNING id", (name, kind.value)
            )
            row = (cursor.fetchone()[0], kind.value)
            connection.execute("INSERT INTO chain_leases (chain_id) VALUES (?)", (row[0],))
        elif row[1] != kind.value:
            raise StoreError(
                f"chain {name} is registered as {row[1]} and configured as {kind.value}: its"
                " addresses and history would not fit; give the new chain another name"
            )
        known[name] = row[0], kind
    return known


def _put_asset(
    connection: sqlite3.Connection, chain_id: int, kind: ChainKind, asset: NewAsset
) -> int:
    connection.execute(
        "INSERT INTO assets (symbol, name) VALUES (?, ?) ON CONFLICT (symbol, name) DO NOTHING",
        (asset.symbol, asset.name),
    )
    (symbol_id,) = connection.execute(
        "SELECT id FROM assets WHERE symbol = ? AND name = ?", (asset.symbol, asset.name)
    ).fetchone()
    key = asset_key(kind, asset)
    row = connection.execute(
        "SELECT id, decimals FROM asset_on_chain WHERE chain_id = ? AND asset_key = ?",
        (chain_id, key),
    ).fetchone()
    if row is None:
        cursor = connection.execute(
            "INSERT INTO asset_on_chain"
            " (chain_id, asset_id, asset_key, contract_address, decimals, is_native)"
            " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
            (chain_id, symbol_id, key, asset.contract, asset.decimals, asset.contract is None),
        )
        return int(cursor.fetchone()[0])
    connection.execute(
        "UPDATE asset_on_chain SET asset_id = ?, contract_address = ?, decimals = ? WHERE id = ?",
        (symbol_id, asset.contract, asset.decimals, row[0]),
    )
    if row[1] != asset.decimals:
        _write_human_again(connection, row[0], asset.decimals)
    return int(row[0])


def _write_human_again(connection: sqlite3.Connection, asset_id: int, decimals: int) -> None:
    """Corrected decimals change what the same base units read like."""
    rows = connection.execute(
        "SELECT on_chain_balance_raw, id FROM wallet_balances"
        " WHERE asset_on_chain_id = ? AND on_chain_balance_raw IS NOT NULL",
        (asset_id,),
    ).fetchall()
    connection.executemany(
        "UPDATE wallet_balances SET on_chain_balance_human = ? WHERE id = ?",
        ((human(int(raw), decimals), account) for raw, account in rows),
    )


def _set_active(connection: sqlite3.Connection, table: str, active: set[int]) -> None:
    rows = connection.execute(f"SELECT id, is_active FROM {table}").fetchall()
    connection.executemany(
        f"UPDATE {table} SET is_active = ? WHERE id = ?",
        [(id in active, id) for id, is_active in rows if bool(is_active) != (id in active)],
    )


def _add_agents(connection: sqlite3.Connection, wallets: Sequence[NewWallet], now_ms: int) -> None:
    groups: dict[str, str] = {}
    tags: dict[str, dict[str, None]] = {}
    watch_only: dict[str, bool] = {}
    for wallet in wallets:
        groups[wallet.agent] = groups.get(wallet.agent) or wallet.group
        tags.setdefault(wallet.agent, {}).update(dict.fromkeys(wallet.tags))
        watch_only[wallet.agent] = watch_only.get(wallet.agent, True) and wallet.watch_only
    connection.executemany(
        "INSERT INTO wallets (wallet_id, agent_group, tags, state, watch_only, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (wallet_id) DO NOTHING",
        [
            (
                agent,
                group,
                _encode_tags(tuple(tags[agent])),
                WalletState.ACTIVE.value,
                watch_only[agent],
                now_ms,
            )
            for agent, group in groups.items()
        ],
    )


def _refuse_archived(connection: sqlite3.Connection, wallets: Sequence[NewWallet]) -> None:
    archived = {
        agent
        for (agent,) in connection.execute(
            "SELECT w.wallet_id FROM json_each(?) wanted"
            " JOIN wallets w ON w.wallet_id = wanted.value WHERE w.state = 'ARCHIVED'",
            (msgspec.json.encode([wallet.agent for wallet in wallets]).decode(),),
        )
    }
    for index, wallet in enumerate(wallets):
        if wallet.agent in archived:
            raise DuplicateWalletError(
                f"{wallet.agent} is archived and is not made again; use another name."
                " Nothing was registered",
                index,
            )


def _refuse_duplicate(
    connection: sqlite3.Connection, index: int, wallet: NewWallet, chain_id: int, key: str
) -> None:
    owner = connection.execute(
        "SELECT wallet_id FROM wallet_addresses WHERE chain_id = ? AND address_key = ?",
        (chain_id, key),
    ).fetchone()
    if owner is not None:
        raise DuplicateWalletError(
            f"{wallet.agent}: {wallet.address} on {wallet.chain} already belongs to {owner[0]};"
            " nothing was registered",
            index,
        )
    present = connection.execute(
        "SELECT address FROM wallet_addresses WHERE wallet_id = ? AND chain_id = ?",
        (wallet.agent, chain_id),
    ).fetchone()
    if present is not None:
        raise DuplicateWalletError(
            f"{wallet.agent} already has the address {present[0]} on {wallet.chain};"
            " nothing was registered",
            index,
        )


def _add_accounts(connection: sqlite3.Connection, *, above_address: int) -> None:
    """Make the accounts that are missing for addresses with an id above that one."""
    added = connection.execute(
        "INSERT INTO wallet_balances (chain_id, is_active, wallet_id, asset_on_chain_id)"
        " SELECT d.chain_id, d.is_active AND w.state <> 'ARCHIVED', d.wallet_id, a.id"
        " FROM wallet_addresses d JOIN wallets w ON w.wallet_id = d.wallet_id"
        " JOIN chains c ON c.id = d.chain_id AND c.is_active = 1"
        " JOIN asset_on_chain a ON a.chain_id = d.chain_id AND a.is_active = 1"
        " WHERE d.id > ? AND NOT EXISTS (SELECT 1 FROM wallet_balances b"
        "   WHERE b.wallet_id = d.wallet_id AND b.asset_on_chain_id = a.id)"
        " ORDER BY d.chain_id, d.address, a.is_native DESC, a.id",
        (above_address,),
    ).rowcount
    if added:  # a lease that runs does not cover them
        connection.execute("UPDATE chain_leases SET is_whole = 0")


def asset_key(kind: ChainKind, asset: NewAsset) -> str:
    if asset.contract is None:
        return ""
    if kind is ChainKind.XRPL:  # an issuer issues many currencies
        return f"{asset.symbol}.{asset.contract}"
    return case_folded(kind, asset.contract)


def case_folded(kind: ChainKind, address: str) -> str:
    """Case is a checksum on EVM (EIP-55) and part of the address elsewhere (base58)."""
    return address.lower() if kind is ChainKind.EVM else address


def _encode_tags(tags: tuple[str, ...]) -> str:
    return msgspec.json.encode(tags).decode()


def _amount(text: str | None) -> int | None:
    return None if text is None else int(text)


def _text(amount: int | None) -> str | None:
    return None if amount is None else str(int(amount))
