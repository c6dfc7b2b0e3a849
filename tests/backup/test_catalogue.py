"""The catalogue on disk and the local directory: whole or not there, rebuilt when lost."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from core.backup.catalogue import Catalogue, CatalogueFolder, Copy, CopyState, Entry, entry_of
from core.backup.delivery import Outcome, Require, deliver, outcome
from core.backup.destinations import Destination, LocalDirectory
from core.backup.errors import (
    AlreadyStoredError,
    CatalogueError,
    CorruptCopyError,
    DestinationError,
)
from core.backup.files import sha256_of
from core.backup.header import BackupType
from core.backup.rebuild import rebuild
from core.backup.verify import RestoredChain
from tests.backup.installation import KEY, Workshop, installation
from tests.clock import TestClock


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    (tmp_path / "spool").mkdir()
    return Workshop(tmp_path / "spool")


async def keep(entry: Entry) -> None:
    """For tests that look at what `deliver` answers."""


def test_entries_survive_a_restart_with_their_outbox(workshop: Workshop, tmp_path: Path) -> None:
    folder = CatalogueFolder(tmp_path / "catalogue")
    assert len(folder.load()[0]) == 0
    sent = Copy(state=CopyState.UPLOADED, attempts=2, stored_ms=5)
    waiting = Copy(attempts=3, next_try_ms=70, error="cloud: cannot store it")
    for agents in (("alpha",), ("beta",)):
        made = workshop.make(installation(agents))
        entry = entry_of(made.sealed).with_copy("disk", sent).with_copy("cloud", waiting)
        folder.save(entry)
    catalogue, problems = folder.load()
    assert problems == []
    assert catalogue.get(entry.id) == entry
    assert catalogue.outbox(69) == []
    assert [(e.sequence, name) for e, name in catalogue.outbox(70)] == [(1, "cloud"), (2, "cloud")]
    folder.remove(entry.id)
    assert [e.sequence for e in folder.load()[0]] == [1]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "catalogue").iterdir())


def test_an_entry_that_cannot_be_read_is_named_and_hides_no_other(
    workshop: Workshop, tmp_path: Path
) -> None:
    folder = CatalogueFolder(tmp_path / "catalogue")
    folder.load()
    made = workshop.make(installation())
    folder.save(entry_of(made.sealed))
    (tmp_path / "catalogue" / "spoilt.json").write_text("{")
    catalogue, problems = folder.load()
    assert [entry.id for entry in catalogue] == [made.sealed.header.id]
    assert len(problems) == 1
    assert "spoilt.json" in problems[0]


def test_a_catalogue_that_cannot_be_kept_says_so(workshop: Workshop, tmp_path: Path) -> None:
    made = workshop.make(installation())
    with pytest.raises(CatalogueError, match="nowhere"):
        CatalogueFolder(tmp_path / "nowhere" / "catalogue").load()
    with pytest.raises(CatalogueError, match="cannot be written"):
        CatalogueFolder(tmp_path / "nowhere").save(entry_of(made.sealed))


def test_a_sidecar_says_nothing_that_the_header_does_not_say_in_the_clear(
    workshop: Workshop,
) -> None:
    made = workshop.make(installation(("canary-agent",)))
    entry = entry_of(made.sealed, ["disk"])
    text = entry.sidecar().decode()
    assert "canary-agent" not in text
    assert "disk" not in text
    assert entry.sha256 in text


async def test_a_local_copy_is_created_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    disk = LocalDirectory("disk", tmp_path / "disk")
    source = tmp_path / "source"
    source.write_bytes(b"archive")
    assert await disk.put(source, "a", sha256_of(source)) is CopyState.STORED
    assert await disk.put(source, "a", sha256_of(source)) is CopyState.STORED
    assert (tmp_path / "disk" / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "disk").stat().st_mode & 0o777 == 0o700
    source.write_bytes(b"another")
    with pytest.raises(AlreadyStoredError, match="left alone"):
        await disk.put(source, "a", sha256_of(source))
    assert (tmp_path / "disk" / "a").read_bytes() == b"archive"
    assert await disk.put(source, "a", sha256_of(source), replace=True) is CopyState.STORED
    assert await disk.read_start("a", 3) == b"ano"
    await disk.fetch("a", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"another"
    with pytest.raises(DestinationError, match="cannot read a"):
        await disk.fetch("a", tmp_path / "back")
    await disk.delete("a")
    await disk.delete("a")
    assert await disk.list() == []


async def test_a_copy_appears_only_after_its_bytes_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = LocalDirectory("disk", tmp_path / "disk")
    source = tmp_path / "source"
    source.write_bytes(b"archive")
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append(f"fsync {target.name}")
        fsync(descriptor)

    def watched_rename(path: Path, target: Path) -> Path:
        steps.append(f"rename {path.name} {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    await disk.put(source, "a", sha256_of(source))
    assert steps == ["fsync .a.partial", "rename .a.partial a", "fsync disk"]


async def test_what_a_run_that_died_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    disk = LocalDirectory("disk", tmp_path / "disk")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / ".a.partial").write_bytes(b"half")
    source = tmp_path / "source"
    source.write_bytes(b"archive")
    assert await disk.list() == []
    await disk.put(source, "a", sha256_of(source))
    assert [found.name for found in await disk.list()] == ["a"]
    assert len(list((tmp_path / "disk").iterdir())) == 1


async def test_a_disk_that_lies_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = LocalDirectory("disk", tmp_path / "disk")
    source = tmp_path / "source"
    source.write_bytes(b"archive")
    sha256 = sha256_of(source)
    rename = Path.rename

    def losing_a_bit(path: Path, target: Path) -> Path:
        raw = path.read_bytes()
        path.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", losing_a_bit)
    with pytest.raises(CorruptCopyError, match="Check the disk"):
        await disk.put(source, "a", sha256)


async def test_a_disk_that_is_not_mounted_is_not_made_up(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"archive")
    disk = LocalDirectory("usb", tmp_path / "mnt" / "usb")
    with pytest.raises(DestinationError, match="usb: cannot write a"):
        await disk.put(source, "a", sha256_of(source))
    assert not (tmp_path / "mnt").exists()
    for failing in (disk.list(), disk.read_start("a", 1), disk.put_note("a", b"")):
        with pytest.raises(DestinationError, match="usb"):
            await failing


async def test_a_destination_that_left_the_configuration_is_named(
    workshop: Workshop, tmp_path: Path
) -> None:
    made = workshop.make(installation(), durable=False)
    places: dict[str, Destination] = {"disk": LocalDirectory("disk", tmp_path / "disk")}
    entry = entry_of(made.sealed, ["disk", "old"])
    after = await deliver(entry, made.path, places, Require.ALL, TestClock(), keep)
    assert outcome(after, Require.ALL) is Outcome.FAILED
    assert outcome(after, Require.ANY) is Outcome.PARTIAL
    assert "no longer among" in after.copies["old"].error
    assert after.durable_ms == 0


async def test_each_failure_waits_longer_up_to_an_hour(workshop: Workshop) -> None:
    made = workshop.make(installation(), durable=False)
    clock = TestClock()
    entry = entry_of(made.sealed, ["gone"])
    waits = []
    for _ in range(9):
        entry = await deliver(entry, made.path, {}, Require.ANY, clock, keep)
        waits.append((entry.copies["gone"].next_try_ms - clock.now_ms()) // 60_000)
        before = entry
        assert await deliver(entry, made.path, {}, Require.ANY, clock, keep) == before
        await clock.advance(waits[-1] * 60)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_a_deleted_catalogue_comes_back_from_a_directory(
    workshop: Workshop, tmp_path: Path
) -> None:
    places: dict[str, Destination] = {"disk": LocalDirectory("disk", tmp_path / "disk")}
    for agents in (("alpha",), ("alpha", "beta"), ("beta",)):
        made = workshop.make(installation(agents))
        entry = entry_of(made.sealed, places)
        await deliver(entry, made.path, places, Require.ANY, TestClock(), keep)
    sidecars = sorted((tmp_path / "disk").glob("*.json"))
    sidecars[0].unlink()
    sidecars[1].write_text("{")
    found, problems = await rebuild(places["disk"], Catalogue(), 7, tmp_path)
    assert problems == []
    assert [entry.sidecar() for entry in found] == [e.sidecar() for e in workshop.catalogue]
    assert {entry.durable_ms for entry in found} == {7}
    newest = found.newest_durable(workshop.ring.install_id)
    assert newest is not None
    paths = [tmp_path / "disk" / entry.name for entry in found.chain_of(newest.id)]
    with RestoredChain(paths, KEY) as chain:
        assert list(chain.records()) == installation(("beta",))
    # The state of the newest is still in the spool: the next one builds upon it.
    workshop.catalogue = found
    assert workshop.make(installation(("beta",))).sealed.header.type is BackupType.INCREMENTAL


async def test_a_rebuild_keeps_what_is_known_and_reports_what_contradicts_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    disk = LocalDirectory("disk", tmp_path / "disk")
    made = workshop.make(installation())
    entry = msgspec.structs.replace(entry_of(made.sealed), verified_ms=5)
    await disk.put(made.path, made.path.name, entry.sha256)
    found, problems = await rebuild(disk, Catalogue([entry]), 7, tmp_path)
    assert problems == []
    (kept,) = found
    assert (kept.verified_ms, kept.copies["disk"].state) == (5, CopyState.STORED)
    other = msgspec.structs.replace(entry, content_sha256="00" * 32)
    found, problems = await rebuild(disk, Catalogue([other]), 7, tmp_path)
    assert list(found) == [other]
    assert "not the archive the catalogue knows" in problems[0]
