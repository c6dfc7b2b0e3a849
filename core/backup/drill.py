"""A drill: the newest chain restored into a scratch folder and proven, with nothing in use touched.

What a restore would do up to the swap: every archive decrypted, the database built and checked,
every address derived again and compared; with a password the seed is opened too.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from core.backup.catalogue import Catalogue, Entry
from core.backup.destinations import Destination
from core.backup.errors import BackupError
from core.backup.keyring import KeyRing
from core.backup.source import Found, Note, Source
from core.backup.staging import CHECKPOINT, Staged, UnlockedChain, stage, unlock_chain
from core.config import Settings
from core.model import Secret


class Drilled(msgspec.Struct, frozen=True):
    """What a drill proved. `unproven` says why the seed was not opened, "" where it was."""

    entry: Entry
    archives: int
    wallets: int
    addresses: int
    watch_only: int
    unproven: str

    def sentence(self) -> str:
        """For the operator."""
        seed = (
            "the seed opens" if not self.unproven else f"the seed was not opened: {self.unproven}"
        )
        archives = f"{self.archives} archive{'s' * (self.archives != 1)}"
        return (
            f"Backup {self.entry.id} restores: {self.wallets:,} wallets from {archives}, "
            f"{self.addresses:,} addresses derived again and equal, {self.watch_only:,} "
            f"watch-only; {seed}."
        )


async def drill(
    entry: Entry,
    catalogue: Catalogue,
    destinations: Mapping[str, Destination],
    opened_by: KeyRing | Secret,
    folder: Path,
    settings: Settings,
    now_ms: int,
    note: Note,
) -> Drilled:
    """Restore an archive of the catalogue into `folder`, a place for drills alone, removed after.
    Opened by the engine's key, or by a password or recovery key.

    Raises BackupError and what else staging raises, for the first thing that does not hold.
    """
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)  # of a drill that died
    await asyncio.to_thread(folder.mkdir, 0o700)
    try:
        files = await _fetched(entry, catalogue, destinations, folder, now_ms, note)
        staged = await asyncio.to_thread(_restore, files, opened_by, folder, settings, note)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if staged.header.id != entry.id:
        raise BackupError(f"What is stored as {entry.id} is backup {staged.header.id}.")
    return Drilled(
        entry,
        len(files),
        staged.header.wallet_count,
        staged.proven.addresses,
        staged.proven.watch_only,
        staged.unproven,
    )


async def _fetched(
    entry: Entry,
    catalogue: Catalogue,
    destinations: Mapping[str, Destination],
    folder: Path,
    now_ms: int,
    note: Note,
) -> list[Path]:
    """The chain from the first destination that gives it whole. Raises BackupError with what each
    of them said."""
    problems = []
    for name in destinations:
        copy = entry.copies.get(name)
        if copy is None or not copy.is_there:
            continue
        try:
            source = Source(name, destinations, catalogue, entry.install_id)
            found: Found = await source.look(now_ms, folder)
            _, files = await source.fetch(found, entry.id, folder, now_ms, note)
            return files
        except BackupError as error:
            problems.append(str(error))
            await asyncio.to_thread(_empty, folder)
    raise BackupError(" ".join(problems) or f"Backup {entry.id} is at no destination yet.")


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink()


def _restore(
    files: list[Path], opened_by: KeyRing | Secret, folder: Path, settings: Settings, note: Note
) -> Staged:
    if isinstance(opened_by, KeyRing):
        chain = UnlockedChain(tuple(files), opened_by)
    else:
        chain = unlock_chain(files, opened_by)
    return stage(chain, folder, None, settings, CHECKPOINT, note)
