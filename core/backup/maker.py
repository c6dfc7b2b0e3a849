"""Backups made, delivered, proven and pruned: the one set of steps that every caller walks.

Engine, desk, command line and timer come here through the engine, which owns the data directory's
lock; calls are made one at a time. What failed at one destination stays in the outbox. A delivered
archive is decrypted once more: what was read back has its SHA-256, so the proof holds for both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from core.backup.archive import open_archive
from core.backup.catalogue import CopyState, Entry, entry_of
from core.backup.delivery import Outcome, Require, deliver, outcome
from core.backup.destinations import Destination
from core.backup.errors import BackupError, ChainError, DestinationError
from core.backup.header import BackupType
from core.backup.keyring import Ring
from core.backup.making import Made, Snapshot, make
from core.backup.records import AnyRecord
from core.backup.stock import Stock
from core.backup.verify import verify
from core.model import BursarError, Clock
from core.wallets.secrets import SecretBytes

log = logging.getLogger("bursar.backup")


class Progress(Protocol):
    """Who is told how far the work is; from any thread."""

    def stage(self, words: str, total: int = 0, unit: str = "") -> None:
        """The next part begins."""
        ...

    def advance(self, units: int = 1) -> None:
        """So many units more are done."""
        ...


class Delivered(msgspec.Struct, frozen=True):
    """How an archive stands after it was sent. `fresh`: it became durable by it. `note` says why
    a full was made where an incremental was asked for."""

    entry: Entry
    outcome: Outcome
    fresh: bool
    note: str = ""

    def missing(self) -> tuple[str, ...]:
        """The destinations that still lack it, each with the reason."""
        return tuple(
            copy.error or f"{name}: not sent yet"
            for name, copy in self.entry.copies.items()
            if not copy.is_there
        )


class Maker:
    """`destinations` by name; those in `write_only` are never read or deleted from."""

    def __init__(
        self,
        stock: Stock,
        destinations: Mapping[str, Destination],
        write_only: Iterable[str],
        require: Require,
        clock: Clock,
    ) -> None:
        self.stock = stock
        self.destinations = destinations
        self.write_only = frozenset(write_only)
        self._require = require
        self._clock = clock

    async def make(
        self,
        ring: Ring,
        take: Callable[[], AbstractContextManager[Snapshot]],
        wanted: BackupType,
        progress: Progress,
    ) -> Delivered:
        """Read the installation, seal it and send it everywhere. `take` reads in the thread that
        seals. Raises BackupError where nothing was made; an archive that is nowhere yet is no
        error but an `outcome`."""
        note = ""
        if wanted is BackupType.INCREMENTAL and (note := self._uncovered(ring.install_id)):
            wanted = BackupType.FULL
        made = await asyncio.to_thread(self._seal, ring, take, wanted, progress)
        entry = entry_of(made.sealed, self.destinations)
        await self.stock.save(entry)
        return await self.send(entry, ring.key, progress, note or made.note)

    def _seal(
        self,
        ring: Ring,
        take: Callable[[], AbstractContextManager[Snapshot]],
        wanted: BackupType,
        progress: Progress,
    ) -> Made:
        stock, now_ms = self.stock, self._clock.now_ms()
        try:
            with take() as found:
                progress.stage("reading and sealing", found.about, "records")
                counted = Snapshot(
                    _counted(found.records, progress), found.wallet_count, found.seed_fingerprint
                )
                return make(stock.spool, counted, ring, stock.catalogue, wanted, now_ms)
        except BackupError:
            raise
        except BursarError as error:  # of the vault, the database or the ledger
            raise BackupError(f"The installation cannot be read: {error}") from error
        except OSError as error:
            raise BackupError(f"The installation cannot be read: {error}.") from error

    def _uncovered(self, install_id: str) -> str:
        """Why an incremental would be of no use to some destination, "" where there is none: it
        never got what the incremental would be made upon."""
        parent = self.stock.catalogue.newest_durable(install_id)
        if parent is None:
            return ""
        try:
            chain = self.stock.catalogue.chain_of(parent.id)
        except ChainError as error:
            return str(error)
        lacking = [n for n in self.destinations if any(n not in link.copies for link in chain)]
        return f"{', '.join(lacking)} never got the backups before it" if lacking else ""

    async def send(
        self, entry: Entry, key: SecretBytes | None, progress: Progress, note: str = ""
    ) -> Delivered:
        """Send an archive to the destinations that lack it and are due. With the key it is proven
        once it is durable."""
        waiting = sum(not copy.is_there for copy in entry.copies.values())
        progress.stage("sending", waiting, "destinations")

        async def save(current: Entry) -> None:
            await self.stock.save(current)
            progress.advance()

        path = await self._spooled(entry)
        after = await deliver(entry, path, self.destinations, self._require, self._clock, save)
        was_read_back = any(c.state is CopyState.STORED for c in after.copies.values())
        if key is not None and was_read_back and not after.verified_ms:
            progress.stage("proving")
            await asyncio.to_thread(_prove, path, after, key)
            after = msgspec.structs.replace(after, verified_ms=self._clock.now_ms())
            await self.stock.save(after)
        await self.stock.tidy()
        fresh = bool(after.durable_ms) and not entry.durable_ms
        return Delivered(after, outcome(after, self._require), fresh, note)

    async def _spooled(self, entry: Entry) -> Path:
        """The archive in the spool; fetched again from where it is, if it was lost there. Raises
        BackupError where it is nowhere any more."""
        path = self.stock.spooled(entry)
        if await asyncio.to_thread(path.exists):
            return path
        for name, copy in entry.copies.items():
            if copy.is_there and name not in self.write_only and name in self.destinations:
                try:
                    await self.destinations[name].fetch(entry.name, path)
                    return path
                except DestinationError as error:
                    log.warning("%s", error)
        if not any(copy.is_there for copy in entry.copies.values()):
            await self.stock.forget(entry)
        raise BackupError(f"Backup {entry.id} was lost before it was sent everywhere.")

    async def send_waiting(self, key: SecretBytes | None, progress: Progress) -> list[Delivered]:
        """Try again what is due in the outbox, oldest first."""
        done = []
        waiting = {
            entry.id: entry for entry, _ in self.stock.catalogue.outbox(self._clock.now_ms())
        }
        for entry in waiting.values():
            try:
                done.append(await self.send(entry, key, progress))
            except BackupError as error:
                log.error("%s", error, extra={"component": "backup"})
        return done

    def find(self, archive_id: str, install_id: str = "") -> Entry:
        """An archive by its id or a clear beginning of it; "" is the newest durable one. Raises
        BackupError."""
        catalogue = self.stock.catalogue
        if not archive_id:
            newest = catalogue.newest_durable(install_id)
            if newest is None:
                raise BackupError("There is no backup yet; run `bursar backup create`.")
            return newest
        found = [entry for entry in catalogue if entry.id.startswith(archive_id)]
        if len(found) == 1:
            return found[0]
        what = "There is no backup" if not found else f"{len(found)} backups begin with"
        raise BackupError(f"{what} {archive_id}; see `bursar backup list`.")


def _counted(records: Iterable[AnyRecord], progress: Progress) -> Iterator[AnyRecord]:
    at = 0
    for at, record in enumerate(records, 1):
        if not at % 1000:
            progress.advance(1000)
        yield record
    progress.advance(at % 1000)


def _prove(path: Path, entry: Entry, key: SecretBytes) -> None:
    """Raises DamagedArchiveError and what else `verify` raises."""
    with path.open("rb") as file:
        verify(open_archive(file, path.name, key), entry.sha256)
