"""A whole database written anew in one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from core.model import ChainKind, WalletState, human
from core.store import settlements as settling
from core.store.history import pack_amount
from core.store.protocol import NewAsset, SettlementRow, StoredThreshold, StoreError
from core.store.registry import asset_key, case_folded
from core.store.schema import migrate
from core.store.whole.rows import (
    AddressRow,
    AgentRow,
    AssetRow,
    BalanceRow,
    ChainRow,
    LifecycleRow,
    LimitRow,
)

T = TypeVar("T")
_CACHE_KIB = 64_000
_BATCH = 1_000


class WholeWriter:
    """A new database, whole once `finish` returned; without it there is nothing in it.

    Give rows in the order of the methods; what they refer to must be there. Use as a context
    manager, in one thread. Raises StoreError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chains: dict[str, tuple[int, ChainKind]] = {}
        self._assets: dict[tuple[str, str, str], tuple[int, int, bool]] = {}
        self._archived: set[str] = set()
        self._inactive: set[tuple[str, str]] = set()
        self._idle_chains: set[str] = set()

    def __enter__(self) -> Self:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(self.path, isolation_level=None)
            # Nobody uses the file before `finish` has synced it: what a crash leaves is dropped.
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            migrate(self._db, self.path)
            self._db.execute("BEGIN IMMEDIATE")
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._db.close()

    def put_chains(self, rows: Iterable[ChainRow]) -> None:
        """Write chains."""
        for row in rows:
            number = len(self._chains) + 1
            self._chains[row.name] = number, row.kind
            if not row.is_active:
                self._idle_chains.add(row.name)
            self._many(
                "INSERT INTO chains (id, name, kind, is_active) VALUES (?, ?, ?, ?)",
                [(number, row.name, row.kind.value, row.is_active)],
            )
            self._many("INSERT INTO chain_leases (chain_id) VALUES (?)", [(number,)])

    def put_assets(self, rows: Iterable[AssetRow]) -> None:
        """Write tokens of those chains."""
        names: dict[tuple[str, str], int] = {}
        for number, row in enumerate(rows, 1):
            chain, kind = self._chain(row.chain)
            asset = NewAsset(row.chain, row.symbol, row.name, row.decimals, row.contract or None)
            is_new = (row.symbol, row.name) not in names
            name = names.setdefault((row.symbol, row.name), len(names) + 1)
            if is_new:
                self._many(
                    "INSERT INTO assets (id, symbol, name) VALUES (?, ?, ?)",
                    [(name, row.symbol, row.name)],
                )
            self._many(
                "INSERT INTO asset_on_chain (id, chain_id, asset_id, asset_key, contract_address,"
                " decimals, is_native, is_active) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        number,
                        chain,
                        name,
                        asset_key(kind, asset),
                        asset.contract,
                        row.decimals,
                        asset.contract is None,
                        row.is_active,
                    )
                ],
            )
            is_followed = row.is_active and row.chain not in self._idle_chains
            self._assets[row.chain, row.symbol, row.contract] = number, row.decimals, is_followed

    def put_agents(self, rows: Iterable[AgentRow]) -> None:
        """Write agents."""

        def values() -> Iterator[tuple[object, ...]]:
            for row in rows:
                if row.state is WalletState.ARCHIVED:
                    self._archived.add(row.agent)
                tags = msgspec.json.encode(row.tags).decode()
                yield row.agent, row.group, tags, row.state.value, row.watch_only, row.created_ms

        self._many(
            "INSERT INTO wallets (wallet_id, agent_group, tags, state, watch_only, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            values(),
        )

    def put_addresses(self, rows: Iterable[AddressRow]) -> None:
        """Write addresses of those agents."""

        def values() -> Iterator[tuple[object, ...]]:
            for row in rows:
                chain, kind = self._chain(row.chain)
                if not row.is_active:
                    self._inactive.add((row.agent, row.chain))
                key = case_folded(kind, row.address)
                yield row.agent, chain, row.address, key, row.path, row.is_active

        self._many(
            "INSERT INTO wallet_addresses (wallet_id, chain_id, address, address_key,"
            " derivation_path, is_active) VALUES (?, ?, ?, ?, ?, ?)",
            values(),
        )

    def put_lifecycles(self, rows: Iterable[LifecycleRow]) -> None:
        """Write agents' records; their states stand with the agents."""
        for part in _batches(rows):
            self._many(
                "INSERT INTO lifecycle (wallet_id, activated_at, last_activity_at, suspended_at,"
                " archived_at, reason, transactions) VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((row.agent, *row[3:9]) for row in part),
            )
            self._many(
                "INSERT INTO lifecycle_volumes"
                " (wallet_id, chain, token, contract, transactions, amount)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                ((row.agent, *v[:4], pack_amount(v.amount)) for row in part for v in row.volumes),
            )

    def put_balances(self, rows: Iterable[BalanceRow]) -> None:
        """Write accounts with what was last known of them; history begins with that."""
        number = 0
        for part in _batches(rows):
            first = number + 1
            number += len(part)
            self._many(
                "INSERT INTO wallet_balances (id, chain_id, is_active, last_checked, block_number,"
                " first_seen_at, changed_at, wallet_id, asset_on_chain_id, on_chain_balance_raw,"
                " on_chain_balance_human, mark, reserved)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self._account(at, row) for at, row in enumerate(part, first)),
            )
            self._many(
                "INSERT INTO balance_history (account, time, block, balance) VALUES (?, ?, ?, ?)",
                (
                    (at, row.changed_ms, row.block, pack_amount(row.amount))
                    for at, row in enumerate(part, first)
                    if row.amount is not None
                ),
            )

    def _account(self, number: int, row: BalanceRow) -> tuple[object, ...]:
        asset, decimals, is_followed = self._asset(row.chain, row.symbol, row.contract)
        is_active = (
            is_followed
            and row.agent not in self._archived
            and (row.agent, row.chain) not in self._inactive
        )
        return (
            number,
            self._chain(row.chain)[0],
            is_active,
            row.checked_ms,
            row.block,
            row.first_seen_ms,
            row.changed_ms,
            row.agent,
            asset,
            None if row.amount is None else str(row.amount),
            None if row.amount is None else human(row.amount, decimals),
            row.mark,
            pack_amount(row.reserved),
        )

    def put_limits(self, rows: Iterable[LimitRow]) -> None:
        """Write floors and targets."""
        self._many(
            "INSERT INTO limits (scope, key, asset_on_chain_id, floor, target)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                (
                    row.scope,
                    row.name,
                    self._asset(row.chain, row.symbol, row.contract)[0],
                    None if row.floor is None else str(row.floor),
                    None if row.target is None else str(row.target),
                )
                for row in rows
            ),
        )

    def put_thresholds(self, rows: Iterable[StoredThreshold]) -> None:
        """Write thresholds set at run time."""
        self._many(
            "INSERT INTO settlement_thresholds (peer, token, level) VALUES (?, ?, ?)",
            ((row.peer, row.token, row.level) for row in rows),
        )

    def put_pairs(self, rows: Iterable[tuple[str, str]]) -> None:
        """Write the names of the ledger's pairs."""
        self._many("INSERT OR IGNORE INTO pairs (peer, token) VALUES (?, ?)", rows)

    def put_settlements(self, rows: Iterable[SettlementRow]) -> None:
        """Write how far settling has come."""
        try:
            settling.insert_settlements(self._db, rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def put_next_index(self, fingerprint: str, next_index: int) -> None:
        """Write the first index of a seed that may be handed out."""
        self._many(
            "INSERT INTO derivation_indices (fingerprint, next_index) VALUES (?, ?)",
            [(fingerprint, next_index)],
        )

    def put_memory(self, key: str, value: str) -> None:
        """Remember a small text."""
        self._many("INSERT OR REPLACE INTO memory (key, value) VALUES (?, ?)", [(key, value)])

    def finish(self) -> None:
        """Commit, let SQLite prove the whole file, and make it durable."""
        try:
            self._db.execute("COMMIT")
            broken = self._db.execute("PRAGMA foreign_key_check").fetchone()
            (found,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if broken or found != "ok":
            raise StoreError(f"{self.path}: what was built does not hold together: {found}")
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            os.close(descriptor)

    def _chain(self, name: str) -> tuple[int, ChainKind]:
        try:
            return self._chains[name]
        except KeyError:
            raise StoreError(f"{self.path}: there is no chain {name!r} for what names it") from None

    def _asset(self, chain: str, symbol: str, contract: str) -> tuple[int, int, bool]:
        try:
            return self._assets[chain, symbol, contract]
        except KeyError:
            raise StoreError(
                f"{self.path}: there is no {symbol} ({contract or 'native'}) on chain {chain} for"
                " what names it"
            ) from None

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        try:
            self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error | OSError) -> StoreError:
        return StoreError(
            f"{self.path}: cannot be built: {getattr(error, 'strerror', None) or error}"
        )


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    left = iter(rows)
    while part := list(islice(left, _BATCH)):
        yield part
