"""Where a restore takes its archives from: a destination by name, a folder, or one file.

Parents are found by themselves: beside the file or in the folder, else at the destinations. What
arrives is compared with its SHA-256, and with the catalogue where that knows the archive: a good
copy that was overwritten by another good file is noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from core.backup.archive import measure
from core.backup.catalogue import Catalogue, Copy, CopyState, Entry, entry_of
from core.backup.destinations import Destination, LocalDirectory
from core.backup.errors import BackupError, ChainError, DamagedArchiveError, MissingParentError
from core.backup.files import copy_durably, sha256_of
from core.backup.rebuild import rebuild

Note = Callable[[str, int, int, str], None]
"""Told of progress: the stage in words, how many units are done, of how many (0: not known), and
what they are. May be called from a thread."""


class Found(msgspec.Struct, frozen=True):
    """What is at a source. `default` is the backup that is meant where none is named, "" where
    that cannot be told; `problems` say what could not be used."""

    catalogue: Catalogue
    default: str
    problems: tuple[str, ...]


class Source:
    """A source by what the operator called it. `known` is the installation's catalogue;
    `install_id` its own, "" for none. Raises BackupError for a source that is none."""

    def __init__(
        self,
        text: str,
        destinations: Mapping[str, Destination],
        known: Catalogue,
        install_id: str = "",
    ) -> None:
        self.text = text
        self._others = dict(destinations)
        self._known = known
        self._install_id = install_id
        self._file: Path | None = None
        self._places: dict[str, Destination] = {}
        path = Path(text).expanduser()
        if text in destinations:
            self._place: Destination = self._others.pop(text)
        elif path.is_dir():
            self._place = LocalDirectory(str(path), path)
        elif path.is_file():
            self._file = path
            self._place = LocalDirectory(str(path.parent), path.parent)
        else:
            names = ", ".join(sorted(destinations)) or "none is configured"
            raise BackupError(
                f"{text!r} is neither a destination ({names}) nor a backup file or a folder here."
            )

    async def look(self, now_ms: int, scratch: Path) -> Found:
        """What is there. Raises BackupError where nothing can be listed or read."""
        catalogue, problems = await self._listed(self._place, Catalogue(), now_ms, scratch)
        if self._file is None:
            return Found(catalogue, self._newest(catalogue), tuple(problems))
        entry = await asyncio.to_thread(self._measured, self._file)
        copy = Copy(state=CopyState.STORED, stored_ms=now_ms)
        catalogue = catalogue.with_entry(entry.with_copy("", copy))
        return Found(catalogue, entry.id, ())

    async def fetch(
        self, found: Found, backup: str, folder: Path, now_ms: int, note: Note
    ) -> tuple[list[Entry], list[Path]]:
        """The chain of a backup (an id, the beginning of one, "" for the one that is meant), its
        full first, as files in `folder`, each as its checksum says.

        Raises ChainError, MissingParentError, DamagedArchiveError, DestinationError.
        """
        catalogue = found.catalogue
        wanted = self._named(found, backup)
        problems = list(found.problems)
        while True:
            try:
                chain = catalogue.chain_of(wanted)
                break
            except MissingParentError as error:
                if not self._others:
                    raise MissingParentError(" ".join([str(error), *problems])) from error
                _, place = self._others.popitem()
                catalogue, more = await self._try(place, catalogue, now_ms, folder)
                problems += more
        files = []
        for number, entry in enumerate(chain):
            note("fetching", number, len(chain), "archives")
            files.append(await self._fetch(entry, folder))
        note("fetching", len(chain), len(chain), "archives")
        return chain, files

    async def _fetch(self, entry: Entry, folder: Path) -> Path:
        before = self._known.get(entry.id)
        if before is not None and before.content_sha256 != entry.content_sha256:
            raise DamagedArchiveError(
                entry.name,
                "whole file",
                "it is not the backup that was made here under this id. Look for another copy",
            )
        target = folder / entry.name
        if "" in entry.copies and self._file is not None:
            await asyncio.to_thread(copy_durably, self._file, target)
        else:
            place = next(name for name in entry.copies if name in self._places)
            await self._places[place].fetch(entry.name, target)
        arrived = await asyncio.to_thread(sha256_of, target)
        if arrived != entry.sha256:
            raise DamagedArchiveError(
                entry.name, "whole file", f"its SHA-256 is {arrived}, expected was {entry.sha256}"
            )
        return target

    def _named(self, found: Found, backup: str) -> str:
        if not backup:
            if not found.default:
                what = "backups of several installations" if len(found.catalogue) else "no backup"
                more = " ".join(["Name one by its id.", *found.problems])
                raise ChainError(f"{self.text} holds {what}. {more}")
            return found.default
        matching = [entry.id for entry in found.catalogue if entry.id.startswith(backup)]
        if len(matching) != 1:
            what = f"{len(matching)} backups" if matching else "no backup"
            raise ChainError(f"{self.text} holds {what} whose id begins with {backup!r}.")
        return matching[0]

    def _newest(self, catalogue: Catalogue) -> str:
        """Of this installation, else of the only one there."""
        installs = {entry.install_id for entry in catalogue}
        own = self._install_id if self._install_id in installs else ""
        if not own and len(installs) != 1:
            return ""
        return next(e.id for e in catalogue if e.install_id == (own or e.install_id))

    async def _listed(
        self, place: Destination, catalogue: Catalogue, now_ms: int, scratch: Path
    ) -> tuple[Catalogue, list[str]]:
        self._places[place.name] = place
        return await rebuild(place, catalogue, now_ms, scratch)

    async def _try(
        self, place: Destination, catalogue: Catalogue, now_ms: int, scratch: Path
    ) -> tuple[Catalogue, list[str]]:
        try:
            return await self._listed(place, catalogue, now_ms, scratch)
        except BackupError as error:
            return catalogue, [str(error)]

    @staticmethod
    def _measured(path: Path) -> Entry:
        try:
            with path.open("rb") as file:
                return entry_of(measure(file, path.name))
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror or error}.") from error
