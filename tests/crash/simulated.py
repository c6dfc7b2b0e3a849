"""A folder in memory whose power can be cut and whose disk can fill up or fail.

Each file has what programs see and what is on the disk; `sync` copies one to the other. At a
power cut any subset of the 512-byte sectors that were not synced survives, and any prefix of
the names that were changed since the folder was synced.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from core.ledger.files import File

SECTOR = 512


class PowerCut(BaseException):
    """The machine is off: nothing that runs may catch this."""


class SimFile:
    """One file: what is seen, and what is on the disk."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.on_disk = bytearray()


class SimHandle:
    """An open SimFile; every operation may be the one that fails."""

    def __init__(self, folder: SimFolder, file: SimFile) -> None:
        self._folder = folder
        self._file = file

    def append(self, data: bytes | bytearray) -> None:
        self._folder.step("write", lambda part: self._extend(data, part))
        self._file.seen += data

    def write_at(self, offset: int, data: bytes) -> None:
        self._folder.step("write")
        self._file.seen[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        self._folder.step("write")
        del self._file.seen[size:]

    def sync(self) -> None:
        self._folder.step("sync")
        if self._folder.syncs:
            self._file.on_disk = bytearray(self._file.seen)

    def close(self) -> None:
        pass

    def _extend(self, data: bytes | bytearray, part: float) -> None:
        self._file.seen += data[: int(len(data) * part)]


class SimFolder:
    """A folder in memory. `before_step` is asked before every change and may raise OSError or
    PowerCut; of a write, a random part is then done. With `syncs` False, sync is a lie."""

    def __init__(self, files: dict[str, bytes] | None = None, *, syncs: bool = True) -> None:
        self.syncs = syncs
        self.before_step: Callable[[str], None] = lambda kind: None
        self.rng = random.Random(0)
        self._names: dict[str, SimFile] = {}
        for name, content in (files or {}).items():
            file = self._names[name] = SimFile()
            file.seen, file.on_disk = bytearray(content), bytearray(content)
        self._names_on_disk = dict(self._names)
        self._changes: list[Callable[[dict[str, SimFile]], object]] = []

    def step(self, kind: str, partly: Callable[[float], None] | None = None) -> None:
        try:
            self.before_step(kind)
        except BaseException:
            if partly is not None:
                partly(self.rng.choice([0.0, 0.3, 0.7, 1.0]))
            raise

    def names(self) -> list[str]:
        return sorted(self._names)

    def read(self, name: str) -> bytes:
        return bytes(self._names[name].seen)

    def size(self, name: str) -> int:
        return len(self._names[name].seen)

    def create(self, name: str) -> File:
        self.step("create")
        file = SimFile()
        self._change(lambda names: names.__setitem__(name, file))
        return SimHandle(self, file)

    def open(self, name: str) -> File:
        return SimHandle(self, self._names[name])

    def rename(self, old: str, new: str) -> None:
        self.step("rename")
        self._change(lambda names: names.__setitem__(new, names.pop(old)))

    def remove(self, name: str) -> None:
        self.step("remove")
        self._change(lambda names: names.pop(name))

    def sync(self) -> None:
        self.step("sync")
        if self.syncs:
            self._names_on_disk = dict(self._names)
            self._changes.clear()

    def lock(self) -> None:
        pass

    def unlock(self) -> None:
        pass

    def where(self, name: str) -> str:
        return f"/simulated/{name}"

    def contents(self) -> dict[str, bytes]:
        """Every file as programs see it."""
        return {name: self.read(name) for name in self.names()}

    def after_power_cut(self, rng: random.Random) -> SimFolder:
        """The folder as the next start finds it."""
        names = dict(self._names_on_disk)
        for change in self._changes[: rng.randint(0, len(self._changes))]:
            change(names)
        files = {name: bytes(_survivors(file, rng)) for name, file in names.items()}
        return SimFolder(files, syncs=self.syncs)

    def _change(self, change: Callable[[dict[str, SimFile]], object]) -> None:
        change(self._names)
        self._changes.append(change)


def _survivors(file: SimFile, rng: random.Random) -> bytearray:
    seen, disk = file.seen, file.on_disk
    if seen == disk:
        return disk
    size = rng.choice([len(disk), len(seen), rng.randint(min(len(disk), len(seen)), len(seen))])
    found = bytearray(size)
    for at in range(0, size, SECTOR):
        end = min(at + SECTOR, size)
        same = seen[at:end] == disk[at:end]
        part = (seen if same or rng.random() < 0.5 else disk)[at:end]
        found[at : at + len(part)] = part
    return found
