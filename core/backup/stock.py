"""What an installation keeps of its backups outside any generation: catalogue, spool, failures.

`data_dir/backup-state` holds the catalogue, archives that are still to be sent, the state that the
next incremental is compared with, and what went wrong last. A restore leaves all of it alone. Only
the owner of the data directory's lock writes here. A catalogue that was lost is listed again from
the destinations, each of them as soon as it answers.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from core.backup.catalogue import Catalogue, CatalogueFolder, Entry
from core.backup.destinations import Destination
from core.backup.errors import BackupError, CatalogueError
from core.backup.files import replace_file
from core.backup.making import state_path
from core.backup.rebuild import rebuild

FOLDER_NAME = "backup-state"


class Memory(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What went wrong since it last went well, for backups and for drills, and which
    destinations were not listed yet since the catalogue was lost. Times in ms, 0: never."""

    failures: int = 0
    failed_ms: int = 0
    error: str = ""
    drill_failures: int = 0
    drill_failed_ms: int = 0
    drill_error: str = ""
    unlisted: tuple[str, ...] = ()


class Stock:
    """`open` once; `catalogue` and `memory` are what is on disk."""

    def __init__(self, data_path: Path) -> None:
        self.path = data_path / FOLDER_NAME
        self.spool = self.path / "spool"
        self.catalogue = Catalogue()
        self.memory = Memory()
        self.problems: list[str] = []
        self._folder = CatalogueFolder(self.path / "catalogue")
        self._memory_file = self.path / "memory.json"

    async def open(self, destinations: Iterable[str], *, writes: bool) -> None:
        """Read what is there; with `writes` create what is missing. Raises CatalogueError."""
        await asyncio.to_thread(self._open, tuple(destinations), writes)

    def _open(self, destinations: tuple[str, ...], writes: bool) -> None:
        if not writes and not self.path.exists():
            return
        try:
            if writes:
                self.path.mkdir(mode=0o700, exist_ok=True)
                self.spool.mkdir(mode=0o700, exist_ok=True)
            self.memory = self._read_memory()
        except OSError as error:
            raise CatalogueError(f"{self.path} cannot be used: {error.strerror}.") from error
        self.catalogue, self.problems = self._folder.load()
        if not writes:
            return
        if not len(self.catalogue) or self.problems:
            self._remember(msgspec.structs.replace(self.memory, unlisted=destinations))
        for entry in self.catalogue:
            kept = {
                name: copy
                for name, copy in entry.copies.items()
                if copy.is_there or name in destinations
            }
            if kept != entry.copies:  # what was to go to a place that is configured no more
                self.save_now(msgspec.structs.replace(entry, copies=kept))
        self._tidy()
        self._folder.remove_leftovers()
        for left in self.path.glob("*-*"):  # scratch folders of a run that died
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)

    def scratch(self, purpose: str) -> tempfile.TemporaryDirectory[str]:
        """A folder for a while; what a kill leaves of it goes with the next `open`."""
        return tempfile.TemporaryDirectory(dir=self.path, prefix=f"{purpose}-")

    def spooled(self, entry: Entry) -> Path:
        """Where the archive lies while it is to be sent."""
        return self.spool / entry.name

    async def save(self, entry: Entry) -> None:
        """Put an entry into the catalogue, durable. Raises CatalogueError."""
        await asyncio.to_thread(self.save_now, entry)

    def save_now(self, entry: Entry) -> None:
        """The same, blocking."""
        self._folder.save(entry)
        self.catalogue = self.catalogue.with_entry(entry)

    async def forget(self, entry: Entry) -> None:
        """Take an entry out, with what is kept for it."""

        def remove() -> None:
            self._folder.remove(entry.id)
            self.spooled(entry).unlink(missing_ok=True)
            state_path(self.spool, entry.id).unlink(missing_ok=True)

        await asyncio.to_thread(remove)
        self.catalogue = self.catalogue.without(entry.id)

    async def remember(self, memory: Memory) -> None:
        """Keep this over a restart. Raises CatalogueError."""
        await asyncio.to_thread(self._remember, memory)

    def _remember(self, memory: Memory) -> None:
        if memory == self.memory and self._memory_file.exists():
            return
        try:
            replace_file(self._memory_file, msgspec.json.encode(memory) + b"\n")
        except OSError as error:
            raise CatalogueError(
                f"{self._memory_file} cannot be written: {error.strerror or error}."
            ) from error
        self.memory = memory

    def _read_memory(self) -> Memory:
        try:
            return msgspec.json.decode(self._memory_file.read_bytes(), type=Memory)
        except (FileNotFoundError, msgspec.DecodeError):
            return Memory()  # worth nothing but a pause between attempts

    async def list_again(
        self, destinations: Mapping[str, Destination], install_id: str, now_ms: int
    ) -> list[str]:
        """After a loss: take up what the destinations hold of this installation, as far as they
        answer. Says what could not be used. Raises CatalogueError."""
        told: list[str] = []
        waiting = [name for name in self.memory.unlisted if name in destinations]
        for name in list(waiting):
            try:
                found, problems = await rebuild(
                    destinations[name], self.catalogue, now_ms, self.path
                )
            except BackupError as error:
                told.append(str(error))
                continue
            for entry in found:
                if entry.install_id == install_id and entry != self.catalogue.get(entry.id):
                    await self.save(entry)
            told += problems
            waiting.remove(name)
        if tuple(waiting) != self.memory.unlisted:
            await self.remember(msgspec.structs.replace(self.memory, unlisted=tuple(waiting)))
        return told

    async def tidy(self) -> None:
        """Drop what the spool no longer needs."""
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        """Archives are kept until every destination has them; states for the newest durable
        archive of an installation, and for those that may yet become it. As long as a lost
        catalogue is not listed again, nobody knows which that is."""
        needed: set[str] = set()
        installs: set[str] = set()
        for entry in self.catalogue:
            if any(not copy.is_there for copy in entry.copies.values()):
                needed.add(entry.name)
            if entry.install_id not in installs:
                needed.add(state_path(self.spool, entry.id).name)
                if entry.durable_ms:
                    installs.add(entry.install_id)
        try:
            for path in self.spool.iterdir():
                is_kept = path.name in needed or (
                    path.suffix == ".state" and bool(self.memory.unlisted)
                )
                if path.is_file() and not is_kept:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise CatalogueError(f"{self.spool} cannot be tidied: {error.strerror}.") from error
