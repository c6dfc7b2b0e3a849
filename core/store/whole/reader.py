"""A whole database streamed out in one read transaction, in the order of its names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from core.model import ChainKind, WalletState
from core.store import settlements as settling
from core.store.history import unpack_amount
from core.store.protocol import SettlementRow, StoredThreshold, StoreError
from core.store.schema import SCHEMA_VERSION, check_header, refuse_newer, schema_version
from core.store.whole.rows import (
    AddressRow,
    AgentRow,
    AssetRow,
    BalanceRow,
    ChainRow,
    LifecycleRow,
    LimitRow,
    VolumeRow,
)

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_CACHE_KIB = 8_000
# CROSS JOIN keeps SQLite walking the index of the first table, so that nothing is sorted but
# the few rows of one agent.
_ASSET = "c.name, s.symbol, coalesce(a.contract_address, '')"


class WholeReader:
    """One moment of the database at `path`. Open and use it in one thread. Raises StoreError."""

    def __init__(self, path: Path, *, busy_ms: int = 5_000) -> None:
        self.path = path
        self._busy_ms = busy_ms
        self._db: sqlite3.Connection

    def __enter__(self) -> Self:
        if not self.path.is_file():
            raise StoreError(f"{self.path}: there is no database yet; start the engine once")
        check_header(self.path)
        try:
            self._db = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=self._busy_ms / 1000,
                isolation_level=None,
            )
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._db.execute("BEGIN")
            version = schema_version(self._db)  # the first look takes the snapshot
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {error}") from error
        if version != SCHEMA_VERSION:
            self._db.close()
            refuse_newer(self.path, version)
            raise StoreError(
                f"{self.path}: was written by an older Bursar (schema {version}); start the engine"
                " once to bring it up to date"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._db.close()

    def address_count(self) -> int:
        """How many rows `addresses` gives."""
        [(count,)] = self._rows("SELECT count(*) FROM wallet_addresses")
        return int(count)

    def row_count(self) -> int:
        """How many rows all of it gives, but for the few that do not grow with the fleet."""
        [(balances,)] = self._rows("SELECT count(*) FROM wallet_balances")
        return 2 * self.agent_count() + self.address_count() + int(balances)

    def agent_count(self) -> int:
        """How many rows `agents` gives."""
        [(count,)] = self._rows("SELECT count(*) FROM wallets")
        return int(count)

    def last_seq(self) -> int:
        """The newest sequence number ever given to an event."""
        rows = list(self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'events'"))
        return int(rows[0][0]) if rows else 0

    def memory(self, key: str) -> str | None:
        """What was remembered under `key`."""
        rows = list(self._rows("SELECT value FROM memory WHERE key = ?", (key,)))
        return str(rows[0][0]) if rows else None

    def next_index(self, fingerprint: str) -> int:
        """The first derivation index of a seed that was never handed out."""
        rows = list(
            self._rows(
                "SELECT next_index FROM derivation_indices WHERE fingerprint = ?", (fingerprint,)
            )
        )
        return int(rows[0][0]) if rows else 0

    def chains(self) -> Iterator[ChainRow]:
        """By name."""
        for name, kind, is_active in self._rows(
            "SELECT name, kind, is_active FROM chains ORDER BY name"
        ):
            yield ChainRow(name, ChainKind(kind), bool(is_active))

    def assets(self) -> Iterator[AssetRow]:
        """By chain, symbol, contract."""
        for *fields, is_active in self._rows(
            f"SELECT {_ASSET}, s.name, a.decimals, a.is_active FROM asset_on_chain a"
            " JOIN chains c ON c.id = a.chain_id JOIN assets s ON s.id = a.asset_id"
            " ORDER BY 1, 2, 3"
        ):
            yield AssetRow._make((*fields, bool(is_active)))

    def agents(self) -> Iterator[AgentRow]:
        """By name."""
        for agent, group, tags, state, watch_only, created in self._rows(
            "SELECT wallet_id, agent_group, tags, state, watch_only, created_at"
            " FROM wallets ORDER BY wallet_id"
        ):
            yield AgentRow(
                agent, group, _decode_tags(tags), WalletState(state), bool(watch_only), created
            )

    def addresses(self) -> Iterator[AddressRow]:
        """By agent, chain."""
        for *fields, is_active in self._rows(
            "SELECT d.wallet_id, c.name, d.address, d.derivation_path, d.is_active"
            " FROM wallet_addresses d CROSS JOIN chains c ON c.id = d.chain_id"
            " ORDER BY d.wallet_id, c.name"
        ):
            yield AddressRow._make((*fields, bool(is_active)))

    def lifecycles(self) -> Iterator[LifecycleRow]:
        """Every agent's, by agent."""
        volumes = self._volumes()
        ahead = next(volumes, None)
        for agent, state, *fields in self._rows(
            "SELECT w.wallet_id, w.state, w.created_at, coalesce(l.activated_at, 0),"
            " coalesce(l.last_activity_at, 0), coalesce(l.suspended_at, 0),"
            " coalesce(l.archived_at, 0), coalesce(l.reason, ''), coalesce(l.transactions, 0)"
            " FROM wallets w LEFT JOIN lifecycle l ON l.wallet_id = w.wallet_id"
            " ORDER BY w.wallet_id"
        ):
            own = []
            while ahead is not None and ahead[0] == agent:
                own.append(ahead[1])
                ahead = next(volumes, None)
            yield LifecycleRow._make((agent, WalletState(state), *fields, tuple(own)))

    def _volumes(self) -> Iterator[tuple[str, VolumeRow]]:
        for agent, *fields, amount in self._rows(
            "SELECT wallet_id, chain, token, contract, transactions, amount"
            " FROM lifecycle_volumes ORDER BY wallet_id, chain, token, contract"
        ):
            yield agent, VolumeRow._make((*fields, unpack_amount(amount)))

    def balances(self, agent: str | None = None) -> Iterator[BalanceRow]:
        """By agent, chain, symbol, contract: of all, or of one agent."""
        where = "" if agent is None else " WHERE b.wallet_id = :agent"
        for *names, raw, mark, reserved, changed, seen, block, checked in self._rows(
            f"SELECT b.wallet_id, {_ASSET}, b.on_chain_balance_raw, b.mark, b.reserved,"
            " b.changed_at, b.first_seen_at, b.block_number, b.last_checked"
            " FROM wallet_balances b CROSS JOIN chains c ON c.id = b.chain_id"
            " CROSS JOIN asset_on_chain a ON a.id = b.asset_on_chain_id"
            f" CROSS JOIN assets s ON s.id = a.asset_id{where}"
            f" ORDER BY b.wallet_id, {_ASSET}",
            {} if agent is None else {"agent": agent},
        ):
            amount = None if raw is None else int(raw)
            rest = (mark, unpack_amount(reserved), changed, seen, block, checked)
            yield BalanceRow._make((*names, amount, *rest))

    def limits(self) -> Iterator[LimitRow]:
        """By scope, name, chain, symbol, contract."""
        for *names, floor, target in self._rows(
            f"SELECT l.scope, l.key, {_ASSET}, l.floor, l.target FROM limits l"
            " JOIN asset_on_chain a ON a.id = l.asset_on_chain_id"
            " JOIN chains c ON c.id = a.chain_id JOIN assets s ON s.id = a.asset_id"
            " ORDER BY 1, 2, 3, 4, 5"
        ):
            yield LimitRow._make((*names, _amount(floor), _amount(target)))

    def thresholds(self) -> Iterator[StoredThreshold]:
        """What operators set at run time, by peer, token."""
        for row in self._rows(
            "SELECT peer, token, level FROM settlement_thresholds ORDER BY peer, token"
        ):
            yield StoredThreshold(*row)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Names of the ledger's pairs, in order."""
        for row in self._rows("SELECT peer, token FROM pairs ORDER BY peer, token"):
            yield row[0], row[1]

    def settlements(self) -> list[SettlementRow]:
        """How far settling has come, by peer, token, direction."""
        try:
            rows = settling.settlements(self._db)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {error}") from error
        return sorted(rows, key=lambda row: (row.peer, row.token, row.direction))

    def _rows(self, statement: str, values: Any = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {error}") from error


def _amount(text: str | None) -> int | None:
    return None if text is None else int(text)
