"""Sealing a backup into a file: the records in, an archive and the state after it out.

Decides full or incremental by what there is to build upon. Reading the installation's records in
one transaction, and sending the file anywhere, is left to the caller. All of it blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from core.backup.archive import ArchiveWriter, Sealed, new_salts
from core.backup.catalogue import Catalogue, Entry
from core.backup.chain import LONGEST, differences
from core.backup.errors import BackupError, ChainError
from core.backup.files import create_exclusive, sync_folder
from core.backup.header import BackupType, Header, new_archive_id
from core.backup.keyring import KeyRing
from core.backup.records import AnyRecord, Line, Seed, digest, encode, placed
from core.backup.state import Known, StateWriter, read_state
from core.events import iso_utc


class Snapshot(msgspec.Struct, frozen=True):
    """The installation at one moment: every record in order (see `records.sort_records`), and
    how many wallets are among them. With a seed, `seed` must be among `records` too."""

    records: Iterable[AnyRecord]
    wallet_count: int
    seed_fingerprint: str | None = None


class Made(msgspec.Struct, frozen=True):
    """A sealed archive in the spool, durable there. `state` is in force once it is delivered.
    `note` says why a full was made where an incremental was asked for, else ""."""

    sealed: Sealed
    path: Path
    state: Path
    note: str


def make(
    folder: Path,
    snapshot: Snapshot,
    ring: KeyRing,
    catalogue: Catalogue,
    wanted: BackupType,
    now_ms: int,
) -> Made:
    """Seal a backup into `folder`, where the parent's `<id>.state` is looked for too.

    An incremental with no parent, no sound state of it, or a chain at its longest becomes a full.
    Raises BackupError; then no archive and no state of it are left.
    """
    parent, known, note = _base(folder, catalogue, ring) if wanted is not BackupType.FULL else (
        None, None, "")  # fmt: skip
    archive_id = new_archive_id(now_ms, os.urandom(10))
    salt, prefix = new_salts()
    header = Header(
        id=archive_id,
        install_id=ring.install_id,
        type=BackupType.INCREMENTAL if parent else BackupType.FULL,
        sequence=catalogue.next_sequence(),
        created_at=iso_utc(now_ms),
        parent_id=parent.id if parent else None,
        parent_sha256=parent.content_sha256 if parent else None,
        wallet_count=snapshot.wallet_count,
        seed_fingerprint=snapshot.seed_fingerprint,
        salt=salt,
        nonce_prefix=prefix,
        slots=ring.slots,
    )
    path = folder / header.name
    state = state_path(folder, archive_id)
    try:
        with create_exclusive(path) as out, StateWriter(state, archive_id) as after:
            writer = ArchiveWriter(out, header, ring.key)
            has_seed = False
            for line, text in _lines(known, snapshot, after):
                has_seed |= isinstance(line, Seed)
                writer.write(text)
            if has_seed != (snapshot.seed_fingerprint is not None):
                raise BackupError("The seed's ciphertext and its fingerprint go together.")
            sealed = writer.finish()
            out.flush()
            os.fsync(out.fileno())
            after.finish()
        sync_folder(folder)
    except BaseException as error:
        path.unlink(missing_ok=True)
        state.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BackupError(f"{path} cannot be written: {error.strerror or error}.") from error
        raise
    return Made(sealed, path, state, note)


def state_path(folder: Path, archive_id: str) -> Path:
    """Where the state after an archive is kept."""
    return folder / f"{archive_id}.state"


def _base(
    folder: Path, catalogue: Catalogue, ring: KeyRing
) -> tuple[Entry | None, Iterator[Known] | None, str]:
    parent = catalogue.newest_durable(ring.install_id)
    if parent is None:
        return None, None, "there is no backup yet to build upon"
    try:
        if len(catalogue.chain_of(parent.id)) >= LONGEST:
            return None, None, f"the chain has its {LONGEST} archives"
    except ChainError as error:
        return None, None, str(error)
    known = read_state(state_path(folder, parent.id), parent.id)
    if known is None:
        return None, None, f"what {parent.id} held is not known here any more"
    return parent, known, ""


def _lines(
    known: Iterator[Known] | None, snapshot: Snapshot, after: StateWriter
) -> Iterator[tuple[Line, bytes]]:
    if known is not None:
        for line in differences(known, snapshot.records, after.add):
            yield line, encode(line)
        return
    for where, record in placed(snapshot.records, "the installation's records"):
        text = encode(record)
        after.add(where, digest(record, text))
        yield record, text
