"""Two connections to one SQLite file: one that writes, one that reads, a thread each.

A transaction is one function that runs in the connection's thread from BEGIN to COMMIT. That
costs one hop instead of one per statement, and a cancelled caller cannot leave a transaction
half done: the function finishes or rolls back. Every failure becomes a StoreError that names
the file and what to do.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiosqlite

from core.store.protocol import StoreError
from core.store.schema import (
    SCHEMA_VERSION,
    check_header,
    migrate,
    refuse_newer,
    schema_version,
)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_OLDEST_SQLITE = (3, 35, 0)  # UPDATE ... RETURNING
_WAL_PAGES = 4_000  # checkpoint at 16 MB: a sweep of 30,000 rows rewrites half of that
_WRITER_CACHE_KIB = 2_000  # a sweep of 30,000 rows changes 1.2 MB of pages
_READER_CACHE_KIB = 1_000

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; free space on it, nothing stored before is lost",
    sqlite3.SQLITE_READONLY: "the file or its directory is not writable; check owner, permissions"
    " and whether the file system is mounted read-only",
    sqlite3.SQLITE_BUSY: "another process holds the database; stop the other program that uses"
    " this data directory",
    sqlite3.SQLITE_LOCKED: "another process holds the database; stop the other program that uses"
    " this data directory",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check that its directory exists and is"
    " writable for this user",
    sqlite3.SQLITE_PERM: "the file may not be opened; check who owns it and its permissions",
    sqlite3.SQLITE_IOERR: "the disk refused a read or a write; check its space and its health",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop Bursar and restore the newest backup",
    sqlite3.SQLITE_NOTADB: "the file is not a database; move it away or restore a backup",
}


class _Connection(aiosqlite.Connection):
    """aiosqlite's thread and queue, with one addition: a whole function as one job."""

    stopped: asyncio.Future[object] | None = None

    async def run(self, work: Work[T]) -> T:
        """Run `work` in the connection's thread. `_execute` and `_conn` are what aiosqlite's own
        methods are made of; no public method takes a function, and statement by statement a
        sweep would cost a thread hop (50 us) per row."""
        result: T = await self._execute(lambda: work(self._conn))  # type: ignore[no-untyped-call]
        return result

    def stop(self) -> asyncio.Future[object] | None:
        """As aiosqlite has it, but keeps the future: where opening fails aiosqlite stops the
        thread and does not wait for it, and it would outlive the loop it reports to."""
        self.stopped = super().stop()
        return self.stopped


class Database:
    """One SQLite file, opened for writing (WAL, synchronous=FULL) or only for reading."""

    def __init__(self, path: Path, *, busy_ms: int) -> None:
        self.path = path
        self._busy_ms = busy_ms
        self._writer: _Connection | None = None
        self._reader: _Connection | None = None

    async def open(self) -> None:
        """Open or create the file (0600) and migrate it. Raises StoreError, SchemaTooNewError."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed")
        self._writer = await self._connect(self._open_writer)
        try:
            self._reader = await self._connect(self._open_reader)
        except BaseException:
            await self.close()
            raise

    async def open_read_only(self) -> None:
        """Open an existing database, write nothing. Raises StoreError, SchemaTooNewError."""
        self._reader = await self._connect(self._open_existing)

    async def close(self) -> None:
        """Finish what is queued and close; the last one out folds the log into the file."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        try:
            if reader is not None:
                await reader.close()
        except sqlite3.Error as error:
            raise self._store_error("close", error) from error
        finally:
            if writer is not None:
                await self._close_writer(writer)

    async def _close_writer(self, writer: _Connection) -> None:
        try:
            await writer.close()
        except sqlite3.Error as error:
            raise self._store_error("close", error) from error

    async def write(self, what: str, work: Work[T]) -> T:
        """Run `work` as one transaction; `what` completes "cannot ..." if it fails."""
        if self._writer is None:
            state = "is closed" if self._reader is None else "was opened read-only"
            raise StoreError(f"{self.path}: cannot {what}: the store {state}")
        return await self._run(self._writer, what, lambda connection: _transact(connection, work))

    async def read(self, what: str, work: Work[T]) -> T:
        """Run `work` on a snapshot of what is committed."""
        if self._reader is None:
            raise StoreError(f"{self.path}: cannot {what}: the store is closed")
        return await self._run(self._reader, what, lambda connection: _snapshot(connection, work))

    async def read_all(self, what: str, work: Work[T]) -> T:
        """`read` for a walk over everything, whose pages are not needed again soon."""

        def walk(connection: sqlite3.Connection) -> T:
            try:
                return work(connection)
            finally:
                connection.execute("PRAGMA shrink_memory")

        return await self.read(what, walk)

    async def _run(self, connection: _Connection, what: str, work: Work[T]) -> T:
        try:
            return await connection.run(work)
        except sqlite3.Error as error:
            raise self._store_error(what, error) from error

    async def _connect(self, connector: Callable[[], sqlite3.Connection]) -> _Connection:
        connection = _Connection(connector, iter_chunk_size=64)
        try:
            try:
                await connection
            except BaseException:
                if connection.stopped is not None:
                    await connection.stopped
                raise
        except sqlite3.Error as error:
            raise self._store_error("open", error) from error
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot open: {error.strerror}; check that its directory exists and"
                " is writable for this user"
            ) from error
        return connection

    def _store_error(self, what: str, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", None)  # absent where SQLite was not reached
        advice = _ADVICE.get(code & 0xFF) if isinstance(code, int) else None
        text = f"{self.path}: cannot {what}: {error}"
        return StoreError(f"{text}: {advice}" if advice else text)

    # --- run in the connection's thread -----------------------------------------------------

    def _open_writer(self) -> sqlite3.Connection:
        check_header(self.path)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the mode of the database file.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        if self.path.stat().st_mode & 0o077:
            self.path.chmod(0o600)
        connection = self._plain("mode=rw")
        try:
            migrate(connection, self.path)  # first: it refuses before anything is written
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_PAGES * 4096}")
            connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_reader(self) -> sqlite3.Connection:
        connection = self._plain("mode=rw")  # beside our writer; query_only keeps it honest
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        return connection

    def _open_existing(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise StoreError(f"{self.path}: there is no database yet; start the engine once")
        check_header(self.path)
        try:
            connection = self._read_only("mode=ro")
        except sqlite3.OperationalError:
            # Reading beside a log needs the -shm file, which a directory we may not write cannot
            # get. With no log there is no writer either, and the file can be read as it lies.
            if os.access(self.path.parent, os.W_OK) or _log_of(self.path).exists():
                raise
            connection = self._read_only("mode=ro&immutable=1")
        version = schema_version(connection)
        if version != SCHEMA_VERSION:
            connection.close()
            refuse_newer(self.path, version)  # newer in the log than in the file's header
            raise StoreError(
                f"{self.path}: was written by an older Bursar (schema {version}, this one reads"
                f" {SCHEMA_VERSION}); start the engine once to bring it up to date"
            )
        return connection

    def _read_only(self, mode: str) -> sqlite3.Connection:
        connection = self._plain(mode)
        try:
            connection.execute("PRAGMA query_only = ON")
            schema_version(connection)  # the first look at the file is what fails
        except BaseException:
            connection.close()
            raise
        return connection

    def _plain(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=self._busy_ms / 1000,
            isolation_level=None,
        )


def _transact(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has already rolled back on some disk errors
            connection.execute("ROLLBACK")
        raise
    return result


def _snapshot(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def files_of(path: Path) -> tuple[Path, Path, Path]:
    """The database, its write-ahead log and the log's index."""
    return path, _log_of(path), path.with_name(path.name + "-shm")
