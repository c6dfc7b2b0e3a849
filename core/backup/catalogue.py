"""Which archives there are, where each lies, and what is still to be sent: one JSON file each.

`Catalogue` is a plain model without I/O; `CatalogueFolder` keeps it. The pending copies in it are
the outbox, so a restart forgets no upload. All of it can be lost: a listing of a destination
rebuilds it (see `rebuild`), and a sidecar beside each stored archive makes that cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from core.backup.archive import Sealed
from core.backup.chain import Link, resolve
from core.backup.errors import CatalogueError
from core.backup.files import replace_file, sync_folder
from core.backup.header import BackupType, archive_name


class CopyState(StrEnum):
    """How far an archive has come at one destination."""

    PENDING = "pending"
    STORED = "stored and read back"
    UPLOADED = "uploaded, not read back"


class Copy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An archive at one destination. `error` is why the last of `attempts` failed. `replaces`:
    what lies there has older key slots and is to be written over."""

    state: CopyState = CopyState.PENDING
    attempts: int = 0
    next_try_ms: int = 0
    stored_ms: int = 0
    error: str = ""
    replaces: bool = False

    @property
    def is_there(self) -> bool:
        """Whether the destination has it."""
        return self.state is not CopyState.PENDING


class Sidecar(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What lies in the clear beside a stored archive: its header's facts and its checksums."""

    id: str
    install_id: str
    type: BackupType
    sequence: int
    created_ms: int
    parent_id: str | None
    parent_sha256: str | None = msgspec.field(name="parentSha256")
    wallet_count: int
    seed_fingerprint: str | None
    sha256: str
    content_sha256: str = msgspec.field(name="contentSha256")
    size: int

    @property
    def name(self) -> str:
        """File name and object key."""
        return archive_name(self.created_ms, self.id)

    def link(self) -> Link:
        """Its place in a chain."""
        return Link(
            self.id, self.install_id, self.type, self.sequence, self.parent_id,
            self.parent_sha256, self.content_sha256,
        )  # fmt: skip


class Entry(Sidecar, frozen=True, rename="camel", kw_only=True):
    """An archive as the catalogue knows it. Times in ms, 0: never. `durable_ms`: when enough
    destinations had it; before, nothing is built upon it."""

    copies: dict[str, Copy] = {}
    durable_ms: int = 0
    verified_ms: int = 0
    drilled_ms: int = 0

    def with_copy(self, destination: str, copy: Copy) -> Entry:
        """The same with one destination's state changed."""
        return msgspec.structs.replace(self, copies={**self.copies, destination: copy})

    def sidecar(self) -> bytes:
        """The public part as JSON."""
        fields = {name: getattr(self, name) for name in Sidecar.__struct_fields__}
        return msgspec.json.format(msgspec.json.encode(Sidecar(**fields)), indent=2) + b"\n"


def entry_of(sealed: Sealed, destinations: Iterable[str] = ()) -> Entry:
    """A catalogue entry of a sealed archive, to be sent to `destinations`."""
    header = sealed.header
    return Entry(
        id=header.id,
        install_id=header.install_id,
        type=header.type,
        sequence=header.sequence,
        created_ms=header.created_ms,
        parent_id=header.parent_id,
        parent_sha256=header.parent_sha256,
        wallet_count=header.wallet_count,
        seed_fingerprint=header.seed_fingerprint,
        sha256=sealed.sha256,
        content_sha256=sealed.content_sha256,
        size=sealed.size,
        copies={name: Copy() for name in destinations},
    )


class Catalogue:
    """All known archives. Immutable; newest means the highest sequence, whatever a clock said."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {entry.id: entry for entry in entries}

    def __iter__(self) -> Iterator[Entry]:
        """Newest first."""
        return iter(sorted(self._entries.values(), key=lambda e: (e.sequence, e.id), reverse=True))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, archive_id: str) -> Entry | None:
        """One archive, None where it is not known."""
        return self._entries.get(archive_id)

    def with_entry(self, entry: Entry) -> Catalogue:
        """The same with this entry added or replaced."""
        return Catalogue([*(e for e in self._entries.values() if e.id != entry.id), entry])

    def without(self, archive_id: str) -> Catalogue:
        """The same without one entry."""
        return Catalogue(e for e in self._entries.values() if e.id != archive_id)

    def with_proofs_of(self, other: Catalogue) -> Catalogue:
        """The same, where `other` knows the same archives with the times when they were last
        verified and drilled there."""
        return Catalogue(
            msgspec.structs.replace(
                entry,
                verified_ms=max(entry.verified_ms, known.verified_ms),
                drilled_ms=max(entry.drilled_ms, known.drilled_ms),
            )
            if (known := other.get(entry.id)) and known.content_sha256 == entry.content_sha256
            else entry
            for entry in self
        )

    def next_sequence(self) -> int:
        """The number of the next archive."""
        return max((entry.sequence for entry in self._entries.values()), default=0) + 1

    def newest_durable(self, install_id: str) -> Entry | None:
        """What the next incremental is built upon."""
        return next((e for e in self if e.durable_ms and e.install_id == install_id), None)

    def chain_of(self, archive_id: str) -> list[Entry]:
        """The chain of an archive, its full first. Raises ChainError, MissingParentError."""
        links = {entry.id: entry.link() for entry in self._entries.values()}
        return [self._entries[link.id] for link in resolve(links, archive_id)]

    def outbox(self, now_ms: int) -> list[tuple[Entry, str]]:
        """Uploads that are due: the archive and the destination, oldest first."""
        return [
            (entry, name)
            for entry in reversed(list(self))
            for name, copy in entry.copies.items()
            if not copy.is_there and copy.next_try_ms <= now_ms
        ]


class CatalogueFolder:
    """A catalogue on disk, a file an archive, written at one instant each. Blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Catalogue, list[str]]:
        """The catalogue, and what could not be read of it in words. Raises CatalogueError."""
        entries, problems = [], []
        try:
            self._path.mkdir(mode=0o700, exist_ok=True)
            files = sorted(self._path.glob("[!.]*.json"))
        except OSError as error:
            raise CatalogueError(f"{self._path} cannot be read: {error.strerror}.") from error
        for file in files:
            try:
                entries.append(msgspec.json.decode(file.read_bytes(), type=Entry))
            except (OSError, msgspec.DecodeError) as error:
                problems.append(f"{file.name} cannot be read ({error}); rebuild the catalogue.")
        return Catalogue(entries), problems

    def remove_leftovers(self) -> None:
        """Remove what writers left when they were killed. Only for the one that writes here."""
        for left in self._path.glob(".*.tmp"):
            left.unlink(missing_ok=True)

    def save(self, entry: Entry) -> None:
        """Write one entry, durable. Raises CatalogueError."""
        try:
            text = msgspec.json.format(msgspec.json.encode(entry), indent=2)
            replace_file(self._path / f"{entry.id}.json", text + b"\n")
        except OSError as error:
            raise CatalogueError(
                f"The catalogue {self._path} cannot be written: {error.strerror or error}."
            ) from error

    def remove(self, archive_id: str) -> None:
        """Forget one entry."""
        (self._path / f"{archive_id}.json").unlink(missing_ok=True)
        sync_folder(self._path)
