"""Sending archives out: every destination on its own, what failed stays in the outbox.

One destination that fails never fails another. Whether a backup succeeded is a policy: at least
one copy (`any`) or one at every destination (`all`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from core.backup.catalogue import Copy, CopyState, Entry
from core.backup.destinations import Destination
from core.backup.errors import CatalogueError, DestinationError
from core.model import Clock

_FIRST_RETRY_MS = 60_000
_LAST_RETRY_MS = 3_600_000


class Require(StrEnum):
    """How many destinations must have a backup for it to count."""

    ANY = "any"
    ALL = "all"


class Outcome(StrEnum):
    """How a delivery stands; PARTIAL is exit code 3."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


def outcome(entry: Entry, require: Require) -> Outcome:
    """COMPLETE: at every destination. PARTIAL: at some, and that suffices. Else FAILED."""
    there = sum(copy.is_there for copy in entry.copies.values())
    if there and there == len(entry.copies):
        return Outcome.COMPLETE
    return Outcome.PARTIAL if there and require is Require.ANY else Outcome.FAILED


async def deliver(
    entry: Entry,
    path: Path,
    destinations: Mapping[str, Destination],
    require: Require,
    clock: Clock,
    save: Callable[[Entry], Awaitable[None]],
) -> Entry:
    """Send the archive to every destination that still lacks it and is due, all at once.

    The entry is saved whenever one destination is through, so that a kill forgets none. `path` is
    the file in the spool; keep it until `outcome` is COMPLETE. Never raises DestinationError: the
    state of each copy says what happened. Raises CatalogueError, when all were tried.
    """
    current = entry
    saving = asyncio.Lock()
    unsaved: list[CatalogueError] = []

    async def send(name: str, copy: Copy) -> None:
        nonlocal current
        after = await _send(current, path, destinations.get(name), name, copy, clock)
        async with saving:
            current = current.with_copy(name, after)
            if not current.durable_ms and outcome(current, require) is not Outcome.FAILED:
                current = msgspec.structs.replace(current, durable_ms=clock.now_ms())
            try:
                await save(current)
            except CatalogueError as error:  # the other destinations go on
                unsaved.append(error)

    async with asyncio.TaskGroup() as group:
        for name, copy in entry.copies.items():
            if not copy.is_there and copy.next_try_ms <= clock.now_ms():
                group.create_task(send(name, copy))
    if unsaved:
        raise unsaved[0]
    return current


async def _send(
    entry: Entry, path: Path, destination: Destination | None, name: str, copy: Copy, clock: Clock
) -> Copy:
    attempts = copy.attempts + 1
    try:
        if destination is None:
            raise DestinationError(f"{name} is no longer among the destinations configured.")
        state = await destination.put(path, entry.name, entry.sha256, replace=copy.replaces)
        await destination.put_note(f"{entry.name}.json", entry.sidecar())
    except DestinationError as error:
        wait = min(_FIRST_RETRY_MS * 2 ** min(attempts - 1, 16), _LAST_RETRY_MS)
        return Copy(
            state=CopyState.PENDING,
            attempts=attempts,
            next_try_ms=clock.now_ms() + wait,
            error=str(error),
            replaces=copy.replaces,
        )
    return Copy(state=state, attempts=attempts, stored_ms=clock.now_ms())
