"""Every event as a JSON line in a file, in order and once each.

A reader of the outbox: it follows the events table by sequence number, so a full disk or a crash
loses nothing and delays nobody. The file is written in a thread of its own; where the store's
cursor and the file's last line disagree after a crash, the file is right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from core.events import Bus, EventRecord
from core.model import Clock
from core.store.protocol import Store, StoreError
from core.telemetry.rotation import RotatedFile

log = logging.getLogger("bursar.telemetry")

P = ParamSpec("P")
T = TypeVar("T")

_READER = "event-lines"
_PAGE = 500
_RETRY_S = 5.0


class _Line(msgspec.Struct):
    sequence: int


class EventLines:
    """Writes events to `path` until cancelled. `error` says why the last attempt failed, "" when
    it did not; a failing disk or store is tried again and stops nothing."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        clock: Clock,
        path: Path,
        *,
        rotate_bytes: int = 64 * 1024 * 1024,
        keep_files: int = 5,
    ) -> None:
        self.error = ""
        self.written = 0  # the newest sequence number in the file
        self._store = store
        self._bus = bus
        self._clock = clock
        self._file = RotatedFile(path, rotate_bytes=rotate_bytes, keep_files=keep_files)

    async def run(self) -> None:
        """Follow the events from where the file ends. Ends only by cancellation, and then with
        the lines at hand written."""
        with ThreadPoolExecutor(1, thread_name_prefix="event-lines") as thread:
            try:
                seq: int | None = None
                while True:
                    try:
                        if seq is None:
                            seq = await self._resume(thread)
                        records = await self._store.events_after(seq, _PAGE)
                        if records:
                            await _in(thread, self._file.append, encode_lines(records))
                            seq = records[-1].seq
                            await self._store.set_cursor(_READER, seq)
                        self.written = seq
                        self._note("")
                    except (OSError, StoreError) as error:
                        self._note(f"{self._file.path}: events are not written: {error}")
                        seq = None
                        await self._clock.sleep(_RETRY_S)
                        continue
                    if len(records) < _PAGE:
                        await self._bus.wait_beyond(seq)
            finally:
                thread.submit(self._file.close)

    async def _resume(self, thread: ThreadPoolExecutor) -> int:
        """The newest sequence number that was written. A store put back to an older state has
        newer events below it: then the store's last one counts."""
        await _in(thread, self._file.close)
        last = await _in(thread, self._file.open)
        try:
            written = msgspec.json.decode(last, type=_Line).sequence if last else 0
        except msgspec.DecodeError:
            written = 0  # not our line; the cursor knows
        seq = written or await self._store.cursor(_READER)
        return min(seq, await self._store.last_seq())

    def _note(self, error: str) -> None:
        if error and error != self.error:
            log.error("%s", error, extra={"component": "telemetry"})
        self.error = error


def encode_lines(records: Sequence[EventRecord]) -> bytes:
    """One JSON object a line, in the flat public form of events."""
    return b"".join(msgspec.json.encode(record.as_json()) + b"\n" for record in records)


async def _in(
    thread: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **named: P.kwargs
) -> T:
    """Run a piece of blocking work in the thread; once begun it is waited for."""
    running = asyncio.wrap_future(thread.submit(work, *args, **named))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise
