"""The catalogue again, from nothing but a destination's listing.

A header's own facts come from the archive; the checksums from its sidecar where that fits, else
from the whole file. Nothing is decrypted: a forged sidecar is found when a chain is opened,
because an incremental's header, which is authenticated, names its parent's content.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import msgspec

from core.backup.archive import measure
from core.backup.catalogue import Catalogue, Copy, CopyState, Entry, Sidecar, entry_of
from core.backup.destinations import Destination, StoredObject
from core.backup.errors import BackupError
from core.backup.header import MAGIC, MOST_HEADER_BYTES, parse_archive_name, read_head


async def rebuild(
    destination: Destination, known: Catalogue, now_ms: int, scratch: Path
) -> tuple[Catalogue, list[str]]:
    """`known` with every archive found at `destination`, and what could not be used, in words.

    Raises DestinationError when nothing can be listed; one bad object spoils no other.
    """
    listing = await destination.list()
    names = {found.name for found in listing}
    problems: list[str] = []
    for found in listing:
        if parse_archive_name(found.name) is None:
            continue
        try:
            entry = await _entry(destination, found, f"{found.name}.json" in names, scratch)
        except BackupError as error:
            problems.append(str(error))
            continue
        before = known.get(entry.id)
        if before is not None and before.content_sha256 != entry.content_sha256:
            problems.append(
                f"{destination.name}: {found.name} is not the archive the catalogue knows."
            )
            continue
        copy = Copy(state=CopyState.STORED, stored_ms=now_ms)
        merged = (before or entry).with_copy(destination.name, copy)
        known = known.with_entry(
            msgspec.structs.replace(merged, durable_ms=merged.durable_ms or now_ms)
        )
    return known, problems


async def _entry(
    destination: Destination, found: StoredObject, has_sidecar: bool, scratch: Path
) -> Entry:
    start = await destination.read_start(found.name, len(MAGIC) + 5 + MOST_HEADER_BYTES)
    header = read_head(io.BytesIO(start), found.name).header
    if header.name != found.name:
        raise BackupError(f"{destination.name}: {found.name} holds backup {header.id}: renamed?")
    if has_sidecar:
        text = await destination.read_start(f"{found.name}.json", MOST_HEADER_BYTES)
        try:
            sidecar = msgspec.json.decode(text, type=Sidecar)
        except msgspec.DecodeError:
            sidecar = None  # damaged: the archive itself says it all, only slower
        if sidecar is not None and sidecar.size == found.size and _tells(sidecar, start):
            return Entry(**{n: getattr(sidecar, n) for n in Sidecar.__struct_fields__})
    with tempfile.TemporaryDirectory(dir=scratch, prefix="listing-") as folder:
        target = Path(folder) / found.name
        await destination.fetch(found.name, target)
        with target.open("rb") as file:
            return entry_of(measure(file, found.name))


def _tells(sidecar: Sidecar, start: bytes) -> bool:
    """Whether a sidecar says what the archive's header says."""
    header = read_head(io.BytesIO(start), sidecar.name).header
    return all(
        getattr(sidecar, name) == getattr(header, name)
        for name in Sidecar.__struct_fields__
        if hasattr(header, name)
    )
