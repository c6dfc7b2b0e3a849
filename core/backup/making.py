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
from core.backup.keyring import Ring
from core.backup.records import AnyRecord, Seed, Wallet, encode
from core.backup.runs import Run, runs
from core.backup.state import Known, StateWriter, read_state
from core.events import iso_utc


class Snapshot(msgspec.Struct, frozen=True):
    """The installation at one moment: every record in order (see `records.sort_records`), and
    how many wallets are among them. With a seed, `seed` must be among `records` too. `about` is
    how many records there are, more or less, for whoever waits (0: not known)."""

    records: Iterable[AnyRecord]
    wallet_count: int
    seed_fingerprint: str | None = None
    about: int = 0


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
    ring: Ring,
    catalogue: Catalogue,
    wanted: BackupType,
    now_ms: int,
) -> Made:
    """Seal a backup into `folder`, where the parent's `<id>.state` is looked for too.

    An incremental with no parent, no sound state of it, or a chain at its longest becomes a full.
    The ring's slots are asked for last, when the first chunk is ready: they may still be in the
    making. Raises BackupError; then no archive and no state of it are left.
    """
    parent, known, note = _base(folder, catalogue, ring, wanted)
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
    )
    path = folder / header.name
    state = state_path(folder, archive_id)
    try:
        with create_exclusive(path) as out, StateWriter(state, archive_id) as after:
            writer = ArchiveWriter(out, header, ring.key, lambda: ring.slots)
            tally = _Tally()
            counted = tally.count(runs(snapshot.records, "the installation's records"), after)
            if known is None:
                for run in counted:
                    writer.write_text(run.text)
            else:
                writer.write_all(map(encode, differences(known, counted)))
            tally.check(snapshot)
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
    folder: Path, catalogue: Catalogue, ring: Ring, wanted: BackupType
) -> tuple[Entry | None, Iterator[Known] | None, str]:
    """The parent, what it held, and why there is none where an incremental was wanted."""
    if wanted is BackupType.FULL:
        return None, None, ""
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


class _Tally:
    """What the header promises, counted: an archive that breaks its word would never verify."""

    def __init__(self) -> None:
        self.wallets = 0
        self.fingerprint: str | None = None

    def count(self, passing: Iterable[Run], after: StateWriter) -> Iterator[Run]:
        """The same runs, counted as they pass and remembered in the state after them."""
        for run in passing:
            if run.kind is Wallet:
                self.wallets += len(run.records)
            for record in run.records if run.kind is Seed else ():
                assert isinstance(record, Seed)
                self.fingerprint = record.fingerprint
            after.add(run.kind.RANK, run.keys, run.digests)
            yield run

    def check(self, snapshot: Snapshot) -> None:
        """Raises BackupError where the snapshot said something else."""
        if self.wallets != snapshot.wallet_count:
            raise BackupError(
                f"The installation said {snapshot.wallet_count} wallets and gave {self.wallets}; "
                "read both in one transaction."
            )
        if self.fingerprint != snapshot.seed_fingerprint:
            raise BackupError("The seed's ciphertext and its fingerprint do not go together.")
