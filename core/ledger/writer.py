"""The thread that owns the journal: group commit, idle seals, an end at the first failure.

Whoever commits hands over effects and gets a ticket. What waits while a record is being synced
goes into the next record together, so concurrent commits share one fdatasync and there is never
more than one un-synced record. Tickets are acknowledged in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from core.ledger.codec import ROW
from core.ledger.effects import Effects
from core.ledger.journal import Journal
from core.ledger.types import LedgerStopped

GROUP_BYTES = 8 * 1024 * 1024  # a record is closed once it holds this much


class Rotate(NamedTuple):
    """Ask for a new segment; `done` gets the sequence number that ends the old one."""

    done: Callable[[int], None]


class Stop:
    """Seal, close the files, end the thread."""


class Writer:
    """Owns a journal until `stop`. `acknowledge(ticket)` is called from the thread once every
    ticket up to it is on the disk, `fail(reason)` once, when nothing more will be."""

    def __init__(
        self,
        journal: Journal,
        acknowledge: Callable[[int], None],
        fail: Callable[[str], None],
        idle_seconds: float,
    ) -> None:
        self._journal = journal
        self._acknowledge = acknowledge
        self._fail = fail
        self._idle_seconds = idle_seconds
        self._queue: SimpleQueue[Effects | Rotate | Stop] = SimpleQueue()
        self._acknowledged = 0
        self.records = 0  # how many records, so fdatasyncs, since the start
        self._thread = threading.Thread(target=self._run, name="ledger-journal", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, effects: Effects) -> None:
        """Queue a commit; the n-th one has ticket n."""
        self._queue.put(effects)

    def rotate(self, done: Callable[[int], None]) -> None:
        """Begin a new segment after what is queued."""
        self._queue.put(Rotate(done))

    def stop(self) -> None:
        """Write what is queued, seal, and wait for the thread to end."""
        self._queue.put(Stop())
        self._thread.join()

    def _run(self) -> None:
        try:
            self._write_until_stopped()
        except LedgerStopped as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing more is acknowledged
            self._fail(f"The ledger stopped: its journal met {error!r}. Restart to go on.")
        finally:
            self._journal.close()

    def _write_until_stopped(self) -> None:
        journal, queue = self._journal, self._queue
        group: list[Effects] = []
        while True:
            try:
                item = queue.get(timeout=None if journal.is_sealed else self._idle_seconds)
            except Empty:
                journal.seal()
                continue
            size = 0
            while isinstance(item, Effects):
                group.append(item)
                size += ROW.size * (1 + len(item.transfers) + len(item.accounts))
                size += len(item.run.packed) if item.run else 0
                if size >= GROUP_BYTES or queue.empty():
                    break
                item = queue.get_nowait()
            if group:
                journal.append(group)
                self.records += 1
                self._acknowledged += len(group)
                self._acknowledge(self._acknowledged)
                group = []
            if isinstance(item, Rotate):
                item.done(journal.rotate())
            elif isinstance(item, Stop):
                journal.seal()
                return
