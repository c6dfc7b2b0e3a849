"""Giving the archives that exist the key slots of the ring, wherever they lie.

Each is fetched, proven and written to the spool with the other slots; its copies go back into the
outbox, to be written over. So what a destination refuses now is tried again, and a run that dies
is taken up by the next.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from core.backup.archive import measure
from core.backup.catalogue import Copy, Entry
from core.backup.delivery import Outcome
from core.backup.errors import BackupError
from core.backup.files import copy_durably
from core.backup.keyring import KeyRing
from core.backup.maker import Maker, Progress
from core.backup.rekey import rekey


class Reslotted(msgspec.Struct, frozen=True):
    """How many archives have the new slots everywhere, and in words what does not."""

    changed: int
    unchanged: int
    failed: tuple[str, ...]


async def reslot(maker: Maker, ring: KeyRing, progress: Progress) -> Reslotted:
    """Rewrite every archive of this installation that has other slots."""
    own = [e for e in maker.stock.catalogue if e.install_id == ring.install_id]
    progress.stage("rewriting key slots", len(own), "backups")
    changed = unchanged = 0
    failed: list[str] = []
    for number, entry in enumerate(reversed(own)):
        try:
            renewed = await _renew(maker, entry, ring)
        except BackupError as error:
            failed.append(str(error))
            continue
        if renewed is None:
            unchanged += 1
        else:
            delivered = await maker.send(renewed, ring.key, progress)
            changed += delivered.outcome is Outcome.COMPLETE
            failed += delivered.missing()
        progress.stage("rewriting key slots", len(own), "backups")
        progress.advance(number + 1)
    return Reslotted(changed, unchanged, tuple(failed))


async def _renew(maker: Maker, entry: Entry, ring: KeyRing) -> Entry | None:
    """The entry with its rewritten archive in the spool, None where its slots are the ring's."""
    readable = [
        name
        for name, copy in entry.copies.items()
        if copy.is_there and name in maker.destinations and name not in maker.write_only
    ]
    spooled = maker.stock.spooled(entry)
    in_spool = await asyncio.to_thread(spooled.exists)
    if not readable and not in_spool:
        raise BackupError(f"Backup {entry.id} cannot be read anywhere; it keeps its old slots.")
    with maker.stock.scratch("rekey") as folder:
        source = Path(folder) / entry.name
        if in_spool:
            source = spooled
        else:
            await maker.destinations[readable[0]].fetch(entry.name, source)
        return await asyncio.to_thread(_rewrite, maker, entry, source, ring, Path(folder))


def _rewrite(
    maker: Maker, entry: Entry, source: Path, ring: KeyRing, scratch: Path
) -> Entry | None:
    with source.open("rb") as file:
        header = measure(file, source.name).header
    if header.slots == ring.slots:
        return None
    target = scratch / "rekeyed"
    done = rekey(source, target, ring.key, ring.slots)
    copy_durably(target, maker.stock.spooled(entry), replace=True)
    copies = {
        name: Copy(replaces=True) if name in maker.destinations else copy
        for name, copy in entry.copies.items()
    }
    renewed = msgspec.structs.replace(
        entry, sha256=done.sealed.sha256, size=done.sealed.size, copies=copies, verified_ms=0
    )
    maker.stock.save_now(renewed)
    return renewed
