"""A whole database at once: streamed out in one read transaction, written anew in one.

For backups: rows go by natural names, in the order of those names by code point, and never by row
number. `WholeReader` may read beside the engine that writes. Events, history and polls are not in
it; a new database begins its history with the balances it was given. All of it blocks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from core.events import Event
from core.model import ChainKind, WalletState, human
from core.store import events as outbox
from core.store import settlements as settling
from core.store.history import pack_amount, unpack_amount
from core.store.protocol import NewAsset, SettlementRow, StoredThreshold, StoreError
from core.store.registry import asset_key, case_folded
from core.store.schema import SCHEMA_VERSION, check_header, migrate, refuse_newer, schema_version

T = TypeVar("T")
_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_READER_CACHE_KIB = 8_000
_WRITER_CACHE_KIB = 64_000
_BATCH = 1_000
# CROSS JOIN keeps SQLite walking the index of the first table, so that nothing is sorted but
# the few rows of one agent.
_ASSET = "c.name, s.symbol, coalesce(a.contract_address, '')"


class ChainRow(NamedTuple):
    """A chain of the registry."""

    name: str
    kind: ChainKind
    is_active: bool


class AssetRow(NamedTuple):
    """A token on a chain; `contract` is "" for the native coin."""

    chain: str
    symbol: str
    contract: str
    name: str
    decimals: int
    is_active: bool


class AgentRow(NamedTuple):
    """An agent."""

    agent: str
    group: str
    tags: tuple[str, ...]
    state: WalletState
    watch_only: bool
    created_ms: int


class AddressRow(NamedTuple):
    """An agent's address on a chain."""

    agent: str
    chain: str
    address: str
    path: str
    is_active: bool


class VolumeRow(NamedTuple):
    """What moved of one asset; `contract` "" for the native coin."""

    chain: str
    token: str
    contract: str
    transactions: int
    amount: int


class LifecycleRow(NamedTuple):
    """An agent's record; times in ms, 0: never."""

    agent: str
    state: WalletState
    created_ms: int
    activated_ms: int
    last_activity_ms: int
    suspended_ms: int
    archived_ms: int
    reason: str
    transactions: int
    volumes: tuple[VolumeRow, ...]


class BalanceRow(NamedTuple):
    """The last known balance of an account, base units; None: never read."""

    agent: str
    chain: str
    symbol: str
    contract: str
    amount: int | None
    mark: str
    reserved: int
    changed_ms: int
    first_seen_ms: int
    block: int
    checked_ms: int


class LimitRow(NamedTuple):
    """Floor and target that an operator set, base units."""

    scope: str
    name: str
    chain: str
    symbol: str
    contract: str
    floor: int | None
    target: int | None


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
            self._db.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
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
            self._db.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
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


def _amount(text: str | None) -> int | None:
    return None if text is None else int(text)


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
