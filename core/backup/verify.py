"""Proof that archives open, and the state they add up to.

`verify` decrypts and checks every chunk, record and count. `RestoredChain` does so for a whole
chain before it hands out a record; a drill or a restore builds from there, and re-derives addresses
itself. All of it blocks: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from core.backup.archive import Archive, Sealed, open_archive
from core.backup.chain import LONGEST, Link, check_link, fold
from core.backup.errors import ChainError, DamagedArchiveError, MissingParentError
from core.backup.header import BackupType, Header
from core.backup.records import (
    KIND_NAMES,
    AnyRecord,
    Gone,
    LedgerCheckpoint,
    Line,
    Position,
    Seed,
    Wallet,
    decode,
    placed,
)
from core.wallets.secrets import SecretBytes


class Verified(msgspec.Struct, frozen=True):
    """An archive in which all is as it was sealed. `upserts` by kind, and tombstones."""

    sealed: Sealed
    upserts: dict[str, int]
    tombstones: int


def read_lines(archive: Archive) -> Iterator[tuple[Position, Line]]:
    """An archive's records and where they stand, all chunks verified before the first.

    Raises DamagedArchiveError, RecordError.
    """
    lines = (decode(text, archive.name, at) for at, text in enumerate(archive.lines(), 1))
    return placed(lines, archive.name)


def verify(archive: Archive, sha256: str | None = None) -> Verified:
    """Decrypt and check everything; `sha256` is what catalogue or sidecar say of the file.

    Raises DamagedArchiveError, RecordError, ChainError.
    """
    sealed = archive.verify()
    if sha256 is not None and sealed.sha256 != sha256:
        raise DamagedArchiveError(
            archive.name,
            "whole file",
            f"its SHA-256 is {sealed.sha256}, the catalogue has {sha256}. It opens, so it may be "
            "a copy with other key slots",
        )
    upserts = dict.fromkeys(KIND_NAMES, 0)
    tombstones = 0
    for _, line in read_lines(archive):
        if isinstance(line, Gone):
            tombstones += 1
        else:
            upserts[KIND_NAMES[line.RANK]] += 1
    header = archive.header
    is_full = header.type is BackupType.FULL
    if is_full and tombstones:
        raise ChainError(f"{archive.name} is a full backup with tombstones in it.")
    if is_full and upserts["wallet"] != header.wallet_count:
        raise ChainError(
            f"{archive.name} says {header.wallet_count} wallets and holds {upserts['wallet']}."
        )
    if (header.seed_fingerprint is not None) != bool(upserts["seed"]):
        raise ChainError(f"{archive.name} names a seed without its ciphertext, or the reverse.")
    return Verified(sealed, {kind: n for kind, n in upserts.items() if n}, tombstones)


class RestoredChain:
    """A chain of archive files, opened and proven whole, and the records it adds up to.

    Give the files full first. Use as a context manager; the files stay open within it, so that
    what was verified is what is read. Raises MissingParentError, ChainError, WrongKeyError,
    DamagedArchiveError, RecordError before any record is handed out. Who builds in a staging place
    anyway may be `staging`: then every chunk is proven first as well, and what the records must add
    up to as they pass, the error coming at their end.
    """

    def __init__(self, files: Sequence[Path], key: SecretBytes, *, staging: bool = False) -> None:
        self._files = files
        self._key = key
        self._staging = staging
        self._open = ExitStack()
        self._archives: list[Archive] = []
        self.sealed: list[Sealed] = []

    def __enter__(self) -> Self:
        try:
            self._prove()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def header(self) -> Header:
        """The header of the newest archive, which says what the whole is."""
        return self._archives[-1].header

    def records(self) -> Iterator[AnyRecord]:
        """The installation at the newest archive, in order, streamed."""
        return self._checked() if self._staging else self._folded()

    def _folded(self) -> Iterator[AnyRecord]:
        return fold([read_lines(archive) for archive in self._archives])

    def _prove(self) -> None:
        if not 1 <= len(self._files) <= LONGEST:
            raise ChainError(f"A chain has 1 to {LONGEST} archives; these are {len(self._files)}.")
        for path in self._files:
            file = self._open.enter_context(path.open("rb"))
            archive = open_archive(file, path.name, self._key)
            self._archives.append(archive)
            self.sealed.append(archive.verify())
            self._check_parent()
        if not self._staging:
            for _ in self._checked():
                pass

    def _check_parent(self) -> None:
        child = _link(self.sealed[-1])
        if len(self.sealed) == 1:
            if child.parent_id is not None:
                raise MissingParentError(
                    f"Backup {child.id} is an incremental upon {child.parent_id}, which is not "
                    "here. Fetch that file too."
                )
            return
        parent = _link(self.sealed[-2])
        if child.parent_id != parent.id:
            raise ChainError(
                f"Backup {child.id} was made upon {child.parent_id}, not upon {parent.id}."
            )
        check_link(child, parent)

    def _checked(self) -> Iterator[AnyRecord]:
        """Every record decodes and stands in order, and what the folded state must hold does."""
        wallets = 0
        fingerprint: str | None = None
        parts: list[LedgerCheckpoint] = []
        for record in self._folded():
            if isinstance(record, Wallet):
                wallets += 1
            elif isinstance(record, Seed):
                fingerprint = record.fingerprint
            elif isinstance(record, LedgerCheckpoint):
                parts.append(msgspec.structs.replace(record, content=b""))
            yield record
        name = self._archives[-1].name
        if wallets != self.header.wallet_count:
            raise ChainError(
                f"The chain of {name} adds up to {wallets} wallets, "
                f"its header says {self.header.wallet_count}."
            )
        if fingerprint != self.header.seed_fingerprint:
            raise ChainError(f"The chain of {name} ends with another seed than its header says.")
        if parts and not (
            len({(part.sequence, part.parts) for part in parts}) == 1
            and [int(part.part) for part in parts] == list(range(parts[0].parts))
        ):
            raise ChainError(f"The ledger checkpoint in the chain of {name} is not of one piece.")


def _link(sealed: Sealed) -> Link:
    header = sealed.header
    return Link(
        header.id,
        header.install_id,
        header.type,
        header.sequence,
        header.parent_id,
        header.parent_sha256,
        sealed.content_sha256,
    )
