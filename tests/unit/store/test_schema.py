from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from core.store.protocol import SchemaTooNewError, StoreError
from core.store.schema import MIGRATIONS, SCHEMA_VERSION, Migration, migrate, schema_version
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import NOW, changed, cycle, register


async def _create(path: Path) -> None:
    store = SqliteStore(path, "n")
    await store.open()
    await register(store, 1)
    await store.close()


async def _refusal(path: Path) -> StoreError:
    store = SqliteStore(path, "n")
    with pytest.raises(StoreError) as caught:
        await store.open()
    with pytest.raises(StoreError):
        await SqliteStore(path, "n").open_read_only()
    return caught.value


def _files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in folder.iterdir()}


async def test_a_newer_schema_is_refused_and_not_a_byte_changes(path: Path) -> None:
    await _create(path)
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        other.execute("PRAGMA journal_mode = DELETE")
    before = _files(path.parent)
    error = await _refusal(path)
    assert isinstance(error, SchemaTooNewError)
    assert str(path) in str(error)
    assert "newer Bursar" in str(error)
    assert _files(path.parent) == before


async def test_a_newer_schema_that_is_still_in_the_log_is_refused(path: Path) -> None:
    await _create(path)
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    try:
        assert path.read_bytes()[60:64] == SCHEMA_VERSION.to_bytes(4, "big")  # the file lags
        assert isinstance(await _refusal(path), SchemaTooNewError)
    finally:
        other.close()


@pytest.mark.parametrize("version", [0, 1])
async def test_another_programs_database_is_refused_untouched(path: Path, version: int) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE bookmarks (url)")
        other.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    assert "another program's database" in str(await _refusal(path))
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_untouched(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my shopping list\n" * 100)
    before = path.read_bytes()
    assert "is not a SQLite database" in str(await _refusal(path))
    assert path.read_bytes() == before


async def test_opening_again_changes_no_schema_and_keeps_everything(path: Path) -> None:
    await _create(path)
    store = SqliteStore(path, "n")
    await store.open()
    try:
        assert len((await store.registry()).accounts) == 2
    finally:
        await store.close()


def test_migrations_are_numbered_without_a_hole() -> None:
    assert [step.version for step in MIGRATIONS] == list(range(1, SCHEMA_VERSION + 1))


def test_a_migration_that_fails_leaves_the_version_it_started_from(tmp_path: Path) -> None:
    path = tmp_path / "bursar.db"
    connection = sqlite3.connect(path, isolation_level=None)
    assert migrate(connection, path) == len(MIGRATIONS)
    broken = Migration(
        SCHEMA_VERSION + 1, "fails half-way", ("CREATE TABLE extra (a)", "CREATE TABLE chains (a)")
    )
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, path, (*MIGRATIONS, broken))
    assert schema_version(connection) == SCHEMA_VERSION
    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchall()
    mended = Migration(SCHEMA_VERSION + 1, "works", ("CREATE TABLE extra (a)",))
    assert migrate(connection, path, (*MIGRATIONS, mended)) == 1
    assert migrate(connection, path, (*MIGRATIONS, mended)) == 0
    connection.close()


async def test_files_are_for_their_owner_alone(store: SqliteStore, path: Path) -> None:
    await register(store, 1)
    modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in path.parent.iterdir()}
    assert modes == {"bursar.db": 0o600, "bursar.db-wal": 0o600, "bursar.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    await _create(path)
    path.chmod(0o644)
    await _create_again(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def _create_again(path: Path) -> None:
    store = SqliteStore(path, "n")
    await store.open()
    await store.close()


class TestReadOnly:
    async def test_it_reads_beside_a_running_engine_and_sees_what_is_committed(
        self, store: SqliteStore, path: Path
    ) -> None:
        await register(store, 1)
        reader = SqliteStore(path, "n")
        await reader.open_read_only()
        try:
            await cycle(store, {1: 5, 2: 6})
            assert [row.amount for row in await reader.balances()] == [5, 6]
            assert [row.amount for row in await reader.history(1, 0, NOW)] == [5]
        finally:
            await reader.close()

    async def test_it_writes_nothing(self, path: Path) -> None:
        await _create(path)
        before = path.read_bytes()
        reader = SqliteStore(path, "n")
        await reader.open_read_only()
        try:
            with pytest.raises(StoreError, match="opened read-only"):
                await reader.append([changed("a", 0, 1)])
            with pytest.raises(StoreError, match="opened read-only"):
                await reader.remember("key", "value")
            assert await reader.last_seq() == 0
        finally:
            await reader.close()
        assert path.read_bytes() == before

    async def test_it_creates_no_database(self, path: Path) -> None:
        with pytest.raises(StoreError, match="there is no database yet"):
            await SqliteStore(path, "n").open_read_only()
        assert not path.parent.exists()

    async def test_it_does_not_migrate(self, path: Path) -> None:
        await _create(path)
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 0")
        with pytest.raises(StoreError, match="older Bursar"):
            await SqliteStore(path, "n").open_read_only()


async def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteStore(path, "n")
    with pytest.raises(StoreError, match="the store is closed"):
        await store.last_seq()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="the store is closed"):
        await store.append([changed("a", 0, 1)])


async def test_the_size_counts_the_log_too(store: SqliteStore, path: Path) -> None:
    await register(store, 100)
    log = path.with_name("bursar.db-wal")
    assert log.stat().st_size > 0
    assert await store.size_bytes() >= path.stat().st_size + log.stat().st_size
