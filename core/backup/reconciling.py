"""What a restore says the balances are, kept beside the new database until the chains were asked.

A small database of its own in the generation, so that the answer survives a stop and the readings
that go on meanwhile cannot change what was expected. Rows that match are only counted. Asking is
the engine's. All of it blocks: call it in a thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec

from core.store.protocol import StoreError

FILE_NAME = "reconciliation.db"


class Verdict(StrEnum):
    """How a restored balance compares with its chain; `PENDING`: nobody looked yet."""

    PENDING = "pending"
    MATCH = "match"
    DRIFT = "drift"
    UNKNOWN = "unknown"


class Expected(msgspec.Struct, frozen=True, gc=False):
    """A restored balance, base units, and its account in the restored database."""

    account: int
    amount: int


class Compared(msgspec.Struct, frozen=True, gc=False):
    """What became of one: `actual` at `block`, or why it is unknown."""

    account: int
    verdict: Verdict
    actual: int | None = None
    block: int = 0
    reason: str = ""


class Standing(msgspec.Struct, frozen=True):
    """How far it is. `ended_ms` 0: there are balances that were not read."""

    backup: str
    started_ms: int
    ended_ms: int
    counts: dict[Verdict, int]
    differing: tuple[tuple[Expected, Compared], ...]


def begin(generation: Path, database: Path, backup: str, now_ms: int) -> None:
    """Expect what the database of a new generation holds of accounts that are followed."""
    path = generation / FILE_NAME
    path.unlink(missing_ok=True)
    with _opened(path) as db:
        db.execute("ATTACH ? AS restored", (str(database),))
        db.execute("BEGIN")
        db.execute("CREATE TABLE run (backup TEXT, started_at INTEGER, ended_at INTEGER)")
        db.execute("INSERT INTO run VALUES (?, ?, 0)", (backup, now_ms))
        db.execute(
            "CREATE TABLE expected (account INTEGER PRIMARY KEY, chain TEXT NOT NULL,"
            " amount TEXT NOT NULL, verdict TEXT NOT NULL, actual TEXT, block INTEGER NOT NULL,"
            " reason TEXT NOT NULL)"
        )
        db.execute(
            "INSERT INTO expected SELECT b.id, c.name, b.on_chain_balance_raw, 'pending', NULL, 0,"
            " '' FROM restored.wallet_balances b JOIN restored.chains c ON c.id = b.chain_id"
            " WHERE b.is_active = 1 AND b.on_chain_balance_raw IS NOT NULL"
        )
        db.execute("CREATE INDEX expected_open ON expected (chain, verdict)")
        db.execute("COMMIT")
    path.chmod(0o600)


def is_begun(generation: Path) -> bool:
    """Whether the generation came from a restore."""
    return (generation / FILE_NAME).is_file()


def open_chains(generation: Path) -> dict[str, int]:
    """The chains with balances that are still to be asked for, and how many."""
    with _opened(generation / FILE_NAME) as db:
        return dict(
            db.execute(
                "SELECT chain, count(*) FROM expected WHERE verdict IN ('pending', 'unknown')"
                " GROUP BY chain ORDER BY chain"
            )
        )


def still_open(generation: Path, chain: str) -> list[Expected]:
    """What is to be asked for on a chain."""
    with _opened(generation / FILE_NAME) as db:
        return [
            Expected(account, int(amount))
            for account, amount in db.execute(
                "SELECT account, amount FROM expected WHERE chain = ?"
                " AND verdict IN ('pending', 'unknown') ORDER BY account",
                (chain,),
            )
        ]


def compare(
    expected: Sequence[Expected], actual: Iterable[int | str], block: int
) -> list[Compared]:
    """What a reading at `block` says of them, in their order; a text says why there is none."""
    compared = []
    for row, found in zip(expected, actual, strict=True):
        if isinstance(found, str):
            compared.append(Compared(row.account, Verdict.UNKNOWN, None, block, found))
        else:
            verdict = Verdict.MATCH if found == row.amount else Verdict.DRIFT
            compared.append(Compared(row.account, verdict, found, block))
    return compared


def record(generation: Path, compared: Sequence[Compared], now_ms: int) -> None:
    """Keep what was found, and that it ended if nothing is left to be looked at."""
    with _opened(generation / FILE_NAME) as db:
        db.execute("BEGIN")
        db.executemany(
            "UPDATE expected SET verdict = ?, actual = ?, block = ?, reason = ? WHERE account = ?",
            (
                (
                    c.verdict,
                    None if c.actual is None else str(c.actual),
                    c.block,
                    c.reason,
                    c.account,
                )
                for c in compared
            ),
        )
        db.execute(
            "UPDATE run SET ended_at = ? WHERE NOT EXISTS"
            " (SELECT 1 FROM expected WHERE verdict = 'pending')",
            (now_ms,),
        )
        db.execute("COMMIT")


def standing(generation: Path, limit: int = 1_000) -> Standing:
    """How far it is, with up to `limit` of the balances that do not match."""
    with _opened(generation / FILE_NAME) as db:
        backup, started, ended = db.execute("SELECT * FROM run").fetchone()
        counts = {
            Verdict(name): int(count)
            for name, count in db.execute("SELECT verdict, count(*) FROM expected GROUP BY verdict")
        }
        rows = tuple(
            (
                Expected(account, int(amount)),
                Compared(
                    account,
                    Verdict(verdict),
                    None if actual is None else int(actual),
                    block,
                    reason,
                ),
            )
            for account, amount, verdict, actual, block, reason in db.execute(
                "SELECT account, amount, verdict, actual, block, reason FROM expected"
                " WHERE verdict IN ('drift', 'unknown') ORDER BY verdict, account LIMIT ?",
                (limit,),
            )
        )
    return Standing(backup, started, ended, counts, rows)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        yield db
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        db.close()
