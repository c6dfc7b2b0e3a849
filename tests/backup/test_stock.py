"""What is kept beside the generations: after a kill, a loss, a change of the settings."""

from __future__ import annotations

from pathlib import Path

import msgspec

from core.backup.catalogue import Copy, CopyState, Entry, entry_of
from core.backup.destinations import LocalDirectory
from core.backup.header import BackupType
from core.backup.stock import Memory, Stock
from tests.backup.installation import INSTALL_ID, Workshop, installation
from tests.clock import START_MS


async def opened(folder: Path, *names: str) -> Stock:
    stock = Stock(folder)
    await stock.open(names, writes=True)
    return stock


def made(folder: Path) -> tuple[Workshop, Entry]:
    """A full and its entry, durable, still to be sent to `usb`."""
    folder.mkdir()
    workshop = Workshop(folder)
    full = workshop.make(installation(), BackupType.FULL)
    entry = entry_of(full.sealed, ["local", "usb"])
    entry = msgspec.structs.replace(entry, durable_ms=START_MS)
    return workshop, entry.with_copy("local", Copy(state=CopyState.STORED, stored_ms=START_MS))


async def test_what_a_killed_run_left_behind_is_swept_at_the_next_start(
    tmp_path: Path,
) -> None:
    stock = await opened(tmp_path, "local", "usb")
    workshop, entry = made(tmp_path / "shop")
    stock.spooled(entry).write_bytes((workshop.folder / entry.name).read_bytes())
    (stock.spool / f"{entry.id}.state").write_bytes(b"of the newest")
    await stock.save(entry)
    await stock.remember(Memory())  # every destination was listed
    (stock.spool / "wallet-backup-1-half.bursar").write_bytes(b"half")
    (stock.path / "verify-killed").mkdir()
    (stock.path / "verify-killed" / entry.name).write_bytes(b"half")
    (stock.spool / "other.state.tmp").write_bytes(b"half")
    half = stock.path / "catalogue" / f".{entry.id}.json.tmp"
    half.write_bytes(b"half")
    again = await opened(tmp_path, "local", "usb")
    assert not half.exists()
    assert sorted(path.name for path in stock.spool.iterdir()) == [f"{entry.id}.state", entry.name]
    assert [found.id for found in again.catalogue] == [entry.id]
    assert not (stock.path / "verify-killed").exists()


async def test_a_destination_that_is_configured_no_more_is_waited_for_no_more(
    tmp_path: Path,
) -> None:
    _, entry = made(tmp_path / "shop")
    await (await opened(tmp_path, "local", "usb")).save(entry)
    [kept] = (await opened(tmp_path, "local")).catalogue
    assert list(kept.copies) == ["local"]


async def test_a_damaged_catalogue_entry_is_told_and_listed_again(tmp_path: Path) -> None:
    workshop, entry = made(tmp_path / "shop")
    await (await opened(tmp_path, "local")).save(entry)
    (tmp_path / "backup-state" / "catalogue" / f"{entry.id}.json").write_bytes(b"{")
    stock = await opened(tmp_path, "local")
    assert len(stock.problems) == 1
    assert stock.memory.unlisted == ("local",)
    place = LocalDirectory("local", workshop.folder)
    assert await stock.list_again({"local": place}, INSTALL_ID, START_MS) == []
    assert stock.catalogue.get(entry.id) is not None
    assert not stock.memory.unlisted
    assert (await opened(tmp_path, "local")).problems == []


async def test_archives_of_other_installations_are_not_taken_up(tmp_path: Path) -> None:
    workshop, entry = made(tmp_path / "shop")
    stock = await opened(tmp_path, "local")
    place = LocalDirectory("local", workshop.folder)
    await stock.list_again({"local": place}, "another installation", START_MS)
    assert stock.catalogue.get(entry.id) is None


async def test_a_destination_that_does_not_answer_stays_to_be_listed(tmp_path: Path) -> None:
    stock = await opened(tmp_path, "usb")
    away = LocalDirectory("usb", tmp_path / "not mounted" / "backups")
    [problem] = await stock.list_again({"usb": away}, INSTALL_ID, START_MS)
    assert "usb: cannot list" in problem
    assert (await opened(tmp_path, "usb")).memory.unlisted == ("usb",)


async def test_memory_that_cannot_be_read_costs_only_the_pause(tmp_path: Path) -> None:
    stock = await opened(tmp_path, "local")
    await stock.remember(Memory(failures=3, failed_ms=START_MS, error="why"))
    assert (await opened(tmp_path, "local")).memory.failures == 3
    (tmp_path / "backup-state" / "memory.json").write_bytes(b"\xff")
    assert (await opened(tmp_path, "local")).memory.failures == 0


async def test_looking_creates_nothing(tmp_path: Path) -> None:
    stock = Stock(tmp_path)
    await stock.open(("local",), writes=False)
    assert list(tmp_path.iterdir()) == []
