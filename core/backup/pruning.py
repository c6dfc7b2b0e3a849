"""Deleting what no rule keeps, children before what they were made upon.

A destination whose credential may only write is left to its own rules of life. A copy that could
not be deleted stays in the catalogue, to be tried again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.backup.catalogue import Catalogue, Entry
from core.backup.errors import DestinationError
from core.backup.maker import Maker, Progress
from core.backup.retention import Retention, Verdict, plan


class Pruned(msgspec.Struct, frozen=True):
    """Archives that went, and in words what could not be deleted."""

    gone: tuple[Entry, ...]
    failed: tuple[str, ...]


def verdicts(
    catalogue: Catalogue, install_id: str, rules: Retention, now_ms: int, timezone: str
) -> list[Verdict]:
    """What stays and why, of this installation's archives: others may share a destination."""
    own = Catalogue(entry for entry in catalogue if entry.install_id == install_id)
    return plan(own, rules, now_ms, timezone)


async def prune(maker: Maker, going: Sequence[Entry], progress: Progress) -> Pruned:
    """Delete these archives everywhere, newest first."""
    progress.stage("deleting", len(going), "backups")
    gone: list[Entry] = []
    failed: list[str] = []
    for entry in going:
        kept = entry.copies
        for name in entry.copies:
            if name in maker.destinations and name not in maker.write_only:
                try:
                    await maker.destinations[name].delete(entry.name)
                    await maker.destinations[name].delete(f"{entry.name}.json")
                except DestinationError as error:
                    failed.append(str(error))
                    continue
            kept = {other: copy for other, copy in kept.items() if other != name}
        if kept:
            await maker.stock.save(msgspec.structs.replace(entry, copies=kept))
        else:
            await maker.stock.forget(entry)
            gone.append(entry)
        progress.advance()
    return Pruned(tuple(gone), tuple(failed))
