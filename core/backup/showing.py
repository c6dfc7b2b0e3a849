"""A backup read for people and scripts, with nothing but the catalogue, the key and one copy."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from core.backup.catalogue import Entry
from core.backup.configured import build_destination, key_source
from core.backup.errors import BackupError
from core.backup.show import classic_json
from core.backup.stock import Stock
from core.backup.verify import RestoredChain
from core.config import Settings
from core.config.backup_checks import places
from core.wallets.secrets import SecretBytes


async def write_classic(
    settings: Settings, archive_id: str, write: Callable[[str], object]
) -> None:
    """Fetch the chain of a backup, prove it, and write its classic form piece by piece. Nothing
    is written before all of it is proven. Raises BackupError."""
    stock = Stock(settings.data_path)
    await stock.open((), writes=False)
    chain = stock.catalogue.chain_of(archive_id)
    ring = await asyncio.to_thread(key_source(settings).read)
    with tempfile.TemporaryDirectory(prefix="bursar-show-") as folder:
        files = [await _fetched(settings, entry, Path(folder)) for entry in chain]
        await asyncio.to_thread(_write, files, ring.key, write)


async def _fetched(settings: Settings, entry: Entry, folder: Path) -> Path:
    """A copy from the first destination that gives one."""
    problems = []
    for place in places(settings):
        copy = entry.copies.get(place.name)
        if copy is None or not copy.is_there or place.write_only:
            continue
        target = folder / f"{place.name} {entry.name}"
        try:
            await build_destination(place).fetch(entry.name, target)
            return target
        except BackupError as error:
            problems.append(str(error))
    reason = " ".join(problems) or "no destination that can be read has it"
    raise BackupError(f"{entry.name} cannot be fetched: {reason}")


def _write(files: list[Path], key: SecretBytes, write: Callable[[str], object]) -> None:
    with RestoredChain(files, key) as chain:
        for piece in classic_json(chain.sealed[-1], chain.records()):
            write(piece)
