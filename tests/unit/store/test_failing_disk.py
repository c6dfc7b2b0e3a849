"""Disks that are full, locked or read-only: a StoreError that says which file and what to do,
nothing half written, and reads go on. Each failure is the operating system's own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.store.connection import Database
from core.store.protocol import StoreError
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import INTERVAL, NOW, changed, claim, cycle, leased, register, sweep

ROOT = Path(__file__).parents[3]


def _run(script: str, *arguments: str, user: int | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=user,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL = """
import asyncio, resource, signal, sys
from core.store.protocol import StoreError
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import *

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = SqliteStore(sys.argv[1], "n")
    await store.open()
    await register(store, 200)
    ids = range(1, 401)
    await cycle(store, dict.fromkeys(ids, 1))
    lease = await leased(store, now_ms=NOW + INTERVAL)
    wal = store.path.with_name(store.path.name + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 8192, -1))
    try:
        await store.record(sweep(lease, dict.fromkeys(ids, 2), time_ms=NOW + INTERVAL),
                           [changed("agent-0", 1, 2)])
    except StoreError as error:
        print(error)
    rows = await store.balances()
    assert {row.amount for row in rows} == {1}, "reads go on, and nothing was half written"
    assert await store.last_seq() == 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    await store.record(sweep(lease, dict.fromkeys(ids, 2), time_ms=NOW + INTERVAL), [])
    assert {row.amount for row in await store.balances()} == {2}, "and it goes on after"
    await store.close()

asyncio.run(main())
"""


def test_a_disk_that_takes_no_more_fails_whole_reads_on_and_recovers(path: Path) -> None:
    said = _run(FULL, str(path))
    assert str(path) in said
    assert "cannot record a reading of chain base" in said
    assert "the disk" in said


async def test_a_full_database_is_told_as_such(store: SqliteStore, path: Path) -> None:
    await register(store, 1)
    database = Database(path, busy_ms=100)
    await database.open()

    def fill(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        connection.execute("INSERT INTO memory (key, value) VALUES ('k', ?)", ("x" * 100_000,))

    try:
        with pytest.raises(StoreError, match=r"bursar\.db: cannot fill it: .*free space on it"):
            await database.write("fill it", fill)
        assert await store.recall("k") is None
    finally:
        await database.close()


async def test_a_database_locked_by_another_process_is_told_and_still_read(path: Path) -> None:
    store = SqliteStore(path, "n", busy_ms=50)
    await store.open()
    await register(store, 1)
    await cycle(store, {1: 5, 2: 5})
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match=r"bursar\.db: cannot lease chain base: .*another pro"):
            await claim(store, now_ms=NOW + INTERVAL)
        assert [row.amount for row in await store.balances()] == [5, 5]
        other.execute("ROLLBACK")
        lease = await leased(store, now_ms=NOW + INTERVAL)
        await store.record(sweep(lease, {1: 6}), [changed("agent-0", 5, 6)])
    finally:
        other.close()
        await store.close()


async def test_a_damaged_database_is_told_as_such(path: Path) -> None:
    store = SqliteStore(path, "n")
    await store.open()
    await register(store, 500)
    await store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match=r"the file is damaged; .* restore the newest backup"):
        await SqliteStore(path, "n").open()


async def test_a_directory_where_a_file_stands_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"bursar\.db: cannot be read \(Not a directory\)"):
        await SqliteStore(tmp_path / "file" / "bursar.db", "n").open()


READ_ONLY = """
import asyncio, os, sys
from core.store.protocol import StoreError
from core.store.sqlite import SqliteStore

async def main():
    for path in sys.argv[1:]:
        try:
            await SqliteStore(path, "n").open()
            print("opened")
        except StoreError as error:
            print(error)
    reader = SqliteStore(sys.argv[1], "n")
    await reader.open_read_only()
    print(len((await reader.registry()).accounts))
    await reader.close()

if os.getuid() == 0:
    os.setuid(65534)  # permissions do not bind root
asyncio.run(main())
"""


async def test_a_directory_that_may_not_be_written_is_told_and_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    store = SqliteStore(folder / "bursar.db", "n")
    await store.open()
    await register(store, 2)
    await store.close()
    (folder / "bursar.db").chmod(0o444)
    folder.chmod(0o555)
    opened_up = [parent for parent in folder.parents if os.stat(parent).st_uid == os.getuid()]
    modes = {parent: parent.stat().st_mode for parent in opened_up if parent != Path("/")}
    for parent in modes:
        parent.chmod(0o755 if parent.stat().st_mode & 0o777 == 0o700 else parent.stat().st_mode)
    try:
        said = _run(READ_ONLY, str(folder / "bursar.db"), str(folder / "new.db")).splitlines()
    finally:
        folder.chmod(0o755)
        for parent, mode in modes.items():
            parent.chmod(mode)
    assert said[2] == "4"
    assert "cannot open: Permission denied" in said[0]
    assert "new.db: cannot open: Permission denied" in said[1]
