"""Where archives go: a local directory, or an object store by URL; the same bytes in both.

A `put` is create-only and answers after what lies there was read back and compared by SHA-256.
Everything here was encrypted before it came; a destination never holds a key.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

import msgspec

from core.backup.catalogue import CopyState
from core.backup.errors import AlreadyStoredError, CorruptCopyError, DestinationError
from core.backup.files import copy_durably, create_exclusive, replace_file, sha256_of, sync_folder


class StoredObject(msgspec.Struct, frozen=True):
    """Something at a destination: its name there and its bytes."""

    name: str
    size: int


class Destination(Protocol):
    """A place for archives. Every method raises DestinationError, naming place and object."""

    @property
    def name(self) -> str:
        """What the operator calls it."""
        ...

    async def prepare(self) -> None:
        """Make the place itself, where it is of a kind that can be made."""
        ...

    async def put(
        self, source: Path, name: str, sha256: str, *, replace: bool = False
    ) -> CopyState:
        """Store a file under a name not in use, unless `replace`. Storing the same bytes again is
        no error. Raises AlreadyStoredError, CorruptCopyError."""
        ...

    async def put_note(self, name: str, content: bytes) -> None:
        """Store a few bytes in the clear, replacing what was there."""
        ...

    async def fetch(self, name: str, target: Path) -> None:
        """Copy an object into a new file, 0600."""
        ...

    async def read_start(self, name: str, length: int) -> bytes:
        """The first bytes of an object, fewer where it is shorter."""
        ...

    async def list(self) -> list[StoredObject]:
        """What is there, by name."""
        ...

    async def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...


class LocalDirectory:
    """A directory on a disk of this machine; files 0600, durable when `put` answers."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path

    @property
    def name(self) -> str:
        return self._name

    async def prepare(self) -> None:
        try:
            await asyncio.to_thread(self._path.mkdir, mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._failed("make", str(self._path), error) from error

    async def put(
        self, source: Path, name: str, sha256: str, *, replace: bool = False
    ) -> CopyState:
        return await asyncio.to_thread(self._put, source, name, sha256, replace)

    def _put(self, source: Path, name: str, sha256: str, replace: bool) -> CopyState:
        target = self._path / name
        try:
            # Its parent must exist: a disk that is not mounted is not to be made up.
            self._path.mkdir(mode=0o700, exist_ok=True)
            if not target.exists() or replace:
                copy_durably(source, target, replace=replace)
            elif sha256_of(target) != sha256:
                raise AlreadyStoredError(
                    f"{self._name}: {target} exists and is another file; it was left alone."
                )
            if sha256_of(target) != sha256:
                raise CorruptCopyError(
                    f"{self._name}: {target} read back differs from what was written. "
                    "Check the disk."
                )
        except OSError as error:
            raise self._failed("write", name, error) from error
        return CopyState.STORED

    async def put_note(self, name: str, content: bytes) -> None:
        try:
            await asyncio.to_thread(replace_file, self._path / name, content)
        except OSError as error:
            raise self._failed("write", name, error) from error

    async def fetch(self, name: str, target: Path) -> None:
        try:
            await asyncio.to_thread(copy_durably, self._path / name, target)
        except OSError as error:
            raise self._failed("read", name, error) from error

    async def read_start(self, name: str, length: int) -> bytes:
        def read() -> bytes:
            with (self._path / name).open("rb") as file:
                return file.read(length)

        try:
            return await asyncio.to_thread(read)
        except OSError as error:
            raise self._failed("read", name, error) from error

    async def list(self) -> list[StoredObject]:
        def scan() -> list[StoredObject]:
            if not self._path.exists() and self._path.parent.exists():
                return []  # the first `put` will make it
            return sorted(
                (
                    StoredObject(path.name, path.stat().st_size)
                    for path in self._path.iterdir()
                    if path.is_file() and not path.name.startswith(".")
                ),
                key=lambda found: found.name,
            )

        try:
            return await asyncio.to_thread(scan)
        except OSError as error:
            raise self._failed("list", str(self._path), error) from error

    async def delete(self, name: str) -> None:
        def remove() -> None:
            (self._path / name).unlink(missing_ok=True)
            sync_folder(self._path)

        try:
            await asyncio.to_thread(remove)
        except OSError as error:
            raise self._failed("delete", name, error) from error

    def _failed(self, verb: str, name: str, error: OSError) -> DestinationError:
        return DestinationError(
            f"{self._name}: cannot {verb} {name} in {self._path}: {error.strerror or error}."
        )


def new_file(path: Path, name: str) -> None:
    """Create an empty target for a download. Raises DestinationError when there is one."""
    try:
        create_exclusive(path).close()
    except OSError as error:
        raise DestinationError(
            f"{name} cannot be put into {path}: {error.strerror or error}."
        ) from error
