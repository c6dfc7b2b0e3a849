"""The SQLite schema: its versions as data, and the walk from one to the next.

A version is a list of statements that runs in one transaction with the number it leads to, so
a killed migration leaves the version it started from. Versions that were ever released are
never edited; a change is a new version. What the tables mean is in the comments beside them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from core.store.protocol import SchemaTooNewError, StoreError

APPLICATION_ID = 0x42525352  # "BRSR", in the file header: tells our databases from others
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\x00"


class Migration(msgspec.Struct, frozen=True):
    """The statements that lead from version - 1 to `version`."""

    version: int
    summary: str
    statements: tuple[str, ...]


# Whether a balance is followed: its chain, asset and address are active and its agent is not
# archived. Kept as a column by the triggers below, whoever writes the registry, because the
# claim and the stamp run over every row each cycle and must not join.
_IS_FOLLOWED = """(
    SELECT c.is_active AND a.is_active AND d.is_active AND w.state <> 'ARCHIVED'
    FROM chains c, asset_on_chain a, wallet_addresses d, wallets w
    WHERE c.id = wallet_balances.chain_id
      AND a.id = wallet_balances.asset_on_chain_id
      AND d.wallet_id = wallet_balances.wallet_id AND d.chain_id = wallet_balances.chain_id
      AND w.wallet_id = wallet_balances.wallet_id)"""


def _follow_trigger(table: str, column: str, rows: str) -> str:
    """Keep `wallet_balances.is_active`, and no lease that runs covers the whole chain any more."""
    return f"""
    CREATE TRIGGER {table}_followed AFTER UPDATE OF {column} ON {table}
    WHEN old.{column} IS NOT new.{column} BEGIN
        UPDATE wallet_balances SET is_active = {_IS_FOLLOWED} WHERE {rows};
        UPDATE chain_leases SET is_whole = 0;
    END"""


_VERSION_1 = Migration(
    1,
    "registry, balances, history, polls, events",
    (
        """
        CREATE TABLE chains (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            is_active INTEGER NOT NULL DEFAULT 1
        )""",
        """
        CREATE TABLE assets (
            id INTEGER PRIMARY KEY,
            symbol TEXT NOT NULL,
            name TEXT NOT NULL,
            UNIQUE (symbol, name)
        )""",
        # asset_key is what makes an asset the same one again: "" for the native coin, the
        # contract (case folded on EVM), currency and issuer on XRPL.
        """
        CREATE TABLE asset_on_chain (
            id INTEGER PRIMARY KEY,
            chain_id INTEGER NOT NULL REFERENCES chains (id),
            asset_id INTEGER NOT NULL REFERENCES assets (id),
            asset_key TEXT NOT NULL,
            contract_address TEXT,
            decimals INTEGER NOT NULL,
            is_native INTEGER NOT NULL,
            is_active INTEGER NOT NULL DEFAULT 1,
            UNIQUE (chain_id, asset_key)
        )""",
        """
        CREATE TABLE wallets (
            wallet_id TEXT PRIMARY KEY,
            agent_group TEXT NOT NULL DEFAULT '',
            tags TEXT NOT NULL DEFAULT '[]',
            state TEXT NOT NULL DEFAULT 'ACTIVE',
            watch_only INTEGER NOT NULL DEFAULT 1,
            created_at INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # address_key: the address case folded on EVM, where case is only a checksum.
        """
        CREATE TABLE wallet_addresses (
            id INTEGER PRIMARY KEY,
            wallet_id TEXT NOT NULL REFERENCES wallets (wallet_id),
            chain_id INTEGER NOT NULL REFERENCES chains (id),
            address TEXT NOT NULL,
            address_key TEXT NOT NULL,
            derivation_path TEXT NOT NULL DEFAULT '',
            is_active INTEGER NOT NULL DEFAULT 1,
            UNIQUE (wallet_id, chain_id),
            UNIQUE (chain_id, address_key)
        )""",
        # One row per account. Times are ms since the epoch, 0 is never. Other workers may add
        # columns of their own, so every statement names its columns. processing_status,
        # locked_until and locked_by are the row leases of stores that several workers share; on
        # SQLite the lease is the row of chain_leases and these stay idle. `reserved` is an
        # amount as in balance_history. chain_id and is_active are copies (see _IS_FOLLOWED).
        """
        CREATE TABLE wallet_balances (
            id INTEGER PRIMARY KEY,
            chain_id INTEGER NOT NULL REFERENCES chains (id),
            is_active INTEGER NOT NULL,
            last_checked INTEGER NOT NULL DEFAULT 0,
            last_error_at INTEGER NOT NULL DEFAULT 0,
            sync_count INTEGER NOT NULL DEFAULT 0,
            error_count INTEGER NOT NULL DEFAULT 0,
            block_number INTEGER NOT NULL DEFAULT 0,
            updated_at INTEGER NOT NULL DEFAULT 0,
            first_seen_at INTEGER NOT NULL DEFAULT 0,
            changed_at INTEGER NOT NULL DEFAULT 0,
            wallet_id TEXT NOT NULL REFERENCES wallets (wallet_id),
            asset_on_chain_id INTEGER NOT NULL REFERENCES asset_on_chain (id),
            on_chain_balance_raw TEXT,
            on_chain_balance_human TEXT,
            mark TEXT NOT NULL DEFAULT '',
            reserved NOT NULL DEFAULT 0,
            block_hash TEXT NOT NULL DEFAULT '',
            last_error TEXT,
            processing_status TEXT NOT NULL DEFAULT 'idle'
                CHECK (processing_status IN ('idle', 'processing')),
            locked_until INTEGER NOT NULL DEFAULT 0,
            locked_by TEXT,
            UNIQUE (wallet_id, asset_on_chain_id)
        )""",
        "CREATE INDEX wallet_balances_followed ON wallet_balances (chain_id) WHERE is_active = 1",
        _follow_trigger("chains", "is_active", "chain_id = new.id"),
        _follow_trigger("asset_on_chain", "is_active", "asset_on_chain_id = new.id"),
        _follow_trigger(
            "wallet_addresses",
            "is_active",
            "wallet_id = new.wallet_id AND chain_id = new.chain_id",
        ),
        _follow_trigger("wallets", "state", "wallet_id = new.wallet_id"),
        # is_whole falls to 0 when the registry changes while the lease runs: its holder has then
        # not read every account of the chain, and its stamp goes by account.
        """
        CREATE TABLE chain_leases (
            chain_id INTEGER PRIMARY KEY REFERENCES chains (id),
            locked_by TEXT,
            locked_until INTEGER NOT NULL DEFAULT 0,
            is_whole INTEGER NOT NULL DEFAULT 0
        )""",
        # `balance` has no type on purpose: an integer where SQLite has one (64 bits), else the
        # big-endian two's complement bytes. Exact at any size and 28 bytes a row.
        """
        CREATE TABLE balance_history (
            account INTEGER NOT NULL REFERENCES wallet_balances (id),
            time INTEGER NOT NULL,
            block INTEGER NOT NULL,
            balance NOT NULL,
            PRIMARY KEY (account, time)
        ) WITHOUT ROWID""",
        # One row per chain and reading: what makes "unchanged" provable.
        """
        CREATE TABLE polls (
            chain_id INTEGER NOT NULL REFERENCES chains (id),
            time INTEGER NOT NULL,
            block INTEGER NOT NULL,
            hash TEXT NOT NULL,
            first_block INTEGER NOT NULL,
            consistency TEXT NOT NULL,
            read INTEGER NOT NULL,
            changed INTEGER NOT NULL,
            unknown INTEGER NOT NULL,
            seconds REAL NOT NULL,
            endpoint TEXT NOT NULL,
            PRIMARY KEY (chain_id, time)
        ) WITHOUT ROWID""",
        # Spans of history that came from elsewhere: known, although no poll of ours covers them.
        """
        CREATE TABLE history_imports (
            chain_id INTEGER NOT NULL REFERENCES chains (id),
            from_time INTEGER NOT NULL,
            to_time INTEGER NOT NULL,
            PRIMARY KEY (chain_id, from_time)
        ) WITHOUT ROWID""",
        # The outbox. AUTOINCREMENT: a sequence number is never used twice, not after a prune.
        """
        CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            type TEXT NOT NULL,
            node_id TEXT NOT NULL,
            time INTEGER NOT NULL,
            subject TEXT NOT NULL,
            chain TEXT,
            block INTEGER,
            reverted_by INTEGER,
            payload TEXT NOT NULL
        )""",
        "CREATE INDEX events_time ON events (time)",
        "CREATE INDEX events_subject ON events (subject) WHERE subject <> ''",
        """
        CREATE INDEX events_revertible ON events (chain, block)
        WHERE type = 'AGENT_BALANCE_CHANGED' AND reverted_by IS NULL""",
        """
        CREATE TABLE limits (
            scope TEXT NOT NULL CHECK (scope IN ('group', 'agent')),
            key TEXT NOT NULL,
            asset_on_chain_id INTEGER NOT NULL REFERENCES asset_on_chain (id),
            floor TEXT,
            target TEXT,
            PRIMARY KEY (scope, key, asset_on_chain_id)
        ) WITHOUT ROWID""",
        "CREATE TABLE cursors (reader TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE memory (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)

# The ledger keeps hashes; the names of the pairs it has accounts for are kept here.
_VERSION_2 = Migration(
    2,
    "names of the ledger's pairs",
    (
        """
        CREATE TABLE pairs (
            peer TEXT NOT NULL,
            token TEXT NOT NULL,
            PRIMARY KEY (peer, token)
        ) WITHOUT ROWID""",
    ),
)

# One row per pair and direction that ever crossed its threshold; `version` is compared and
# swapped. `told` is the state last published: what is under way is the ledger's to say. Amounts
# are decimal text, times ms. In thresholds an empty peer or token means every other one.
_VERSION_3 = Migration(
    3,
    "settlements and their thresholds",
    (
        """
        CREATE TABLE settlements (
            peer TEXT NOT NULL,
            token TEXT NOT NULL,
            direction TEXT NOT NULL CHECK (direction IN ('receivable', 'payable')),
            version INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            armed INTEGER NOT NULL,
            told TEXT NOT NULL,
            key TEXT NOT NULL,
            amount TEXT,
            begun_by TEXT NOT NULL,
            delivered INTEGER NOT NULL,
            retry_at INTEGER NOT NULL,
            changed_at INTEGER NOT NULL,
            reason TEXT NOT NULL,
            settled_at INTEGER NOT NULL,
            settled_amount TEXT,
            PRIMARY KEY (peer, token, direction)
        ) WITHOUT ROWID""",
        """
        CREATE TABLE settlement_thresholds (
            peer TEXT NOT NULL,
            token TEXT NOT NULL,
            level TEXT NOT NULL,
            PRIMARY KEY (peer, token)
        ) WITHOUT ROWID""",
    ),
)

# One row per crossing, kept as long as events are. AUTOINCREMENT: an id that an operator has in
# mind never names another alert. Times are ms, 0 for never.
_VERSION_4 = Migration(
    4,
    "alerts",
    (
        """
        CREATE TABLE alerts (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            rule TEXT NOT NULL,
            subject TEXT NOT NULL,
            version INTEGER NOT NULL,
            kind TEXT NOT NULL,
            about TEXT NOT NULL,
            severity TEXT NOT NULL,
            message TEXT NOT NULL,
            account INTEGER NOT NULL,
            opened_at INTEGER NOT NULL,
            acknowledged_by TEXT NOT NULL,
            acknowledged_at INTEGER NOT NULL,
            acknowledged_reason TEXT NOT NULL,
            silenced_until INTEGER NOT NULL,
            silenced_by TEXT NOT NULL,
            silenced_reason TEXT NOT NULL,
            closed_at INTEGER NOT NULL,
            closed_reason TEXT NOT NULL
        )""",
        "CREATE UNIQUE INDEX alerts_open ON alerts (rule, subject) WHERE closed_at = 0",
        "CREATE INDEX alerts_subject ON alerts (rule, subject)",
        "CREATE INDEX alerts_silenced ON alerts (silenced_until) WHERE silenced_until > 0",
        "CREATE INDEX alerts_closed ON alerts (closed_at) WHERE closed_at > 0",
    ),
)

# next_index is the first index of a seed (Seed.fingerprint) that was never handed out. Volumes go
# by what the events name an asset by, so that they outlive its row; sums as in balance_history.
_VERSION_5 = Migration(
    5,
    "derivation indices, lifecycle",
    (
        """
        CREATE TABLE derivation_indices (
            fingerprint TEXT PRIMARY KEY,
            next_index INTEGER NOT NULL CHECK (next_index BETWEEN 0 AND 2147483648)
        ) WITHOUT ROWID""",
        """
        CREATE TABLE lifecycle (
            wallet_id TEXT PRIMARY KEY REFERENCES wallets (wallet_id),
            activated_at INTEGER NOT NULL DEFAULT 0,
            last_activity_at INTEGER NOT NULL DEFAULT 0,
            suspended_at INTEGER NOT NULL DEFAULT 0,
            archived_at INTEGER NOT NULL DEFAULT 0,
            reason TEXT NOT NULL DEFAULT '',
            transactions INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID""",
        """
        CREATE TABLE lifecycle_volumes (
            wallet_id TEXT NOT NULL REFERENCES wallets (wallet_id),
            chain TEXT NOT NULL,
            token TEXT NOT NULL,
            contract TEXT NOT NULL,
            transactions INTEGER NOT NULL,
            amount NOT NULL,
            PRIMARY KEY (wallet_id, chain, token, contract)
        ) WITHOUT ROWID""",
        # PENDING agents are few and looked for every cycle.
        "CREATE INDEX wallets_pending ON wallets (wallet_id) WHERE state = 'PENDING'",
    ),
)

MIGRATIONS: tuple[Migration, ...] = (
    _VERSION_1,
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
    _VERSION_5,
)
SCHEMA_VERSION = MIGRATIONS[-1].version


def check_header(path: Path) -> None:
    """Look at a closed database file without letting SQLite near it.

    Raises SchemaTooNewError, or StoreError for a file that is not a database of Bursar's. An
    absent or empty file is a new database. Offsets: SQLite file format, section 1.3.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror}); check who owns it and its permissions"
        ) from error
    if not header:
        return
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise StoreError(f"{path}: is not a SQLite database; move it away or name another file")
    version = int.from_bytes(header[60:64], "big")
    if version and int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreError(f"{path}: is another program's database; name another file")
    refuse_newer(path, version)


def schema_version(connection: sqlite3.Connection) -> int:
    """The version the database stands at; 0 for a new one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> int:
    """Bring an open database (in autocommit mode) to the last of `migrations`; answers how many
    ran. Raises SchemaTooNewError, or StoreError for another program's database, before anything
    is written."""
    version, tables = connection.execute(
        "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
    ).fetchone()  # in one statement: another process may be creating the database right now
    refuse_newer(path, version, migrations[-1].version)
    if version == 0 and tables:
        raise StoreError(f"{path}: is another program's database; name another file")
    due = [step for step in migrations if step.version > version]
    for step in due:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if schema_version(connection) >= step.version:  # another process was faster
                connection.execute("ROLLBACK")
                continue
            for statement in step.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {step.version}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return len(due)


def refuse_newer(path: Path, version: int, newest: int = SCHEMA_VERSION) -> None:
    """Raises SchemaTooNewError where `version` is above the newest this Bursar knows."""
    if version > newest:
        raise SchemaTooNewError(
            f"{path}: was written by a newer Bursar (schema {version}, this one knows {newest}); "
            "it was not touched. Start the newer version, or restore a backup made before it"
        )
