"""The thread that owns the journal: group commit, idle seals, an end at the first failure.

Whoever commits hands over effects and gets a ticket. What waits while a record is being synced
goes into the next record together, so concurrent commits share one fdatasync and there is never
more than one un-synced record. Tickets are acknowledged in order.

The thread and the event loop wake each other through a pair of sockets, one byte at a time: a
queue's locks and `call_soon_threadsafe` cost twice as much, and singles are made of little else.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from core.ledger.codec import ROW
from core.ledger.effects import Effects
from core.ledger.journal import Journal
from core.ledger.types import LedgerStopped

GROUP_BYTES = 8 * 1024 * 1024  # a record is closed once it holds this much
_TIMEVAL = struct.Struct("@ll")


class Rotate(NamedTuple):
    """Ask for a new segment; `done` gets the sequence number that ends the old one."""

    done: Callable[[int], None]


class Stop:
    """Seal, close the files, end the thread."""


class Writer:
    """Owns a journal until `stop`. `fileno` becomes readable for the event loop once there are
    tickets to `take`; `fail(reason)` is called from the thread, once, when nothing more will be
    acknowledged."""

    def __init__(self, journal: Journal, fail: Callable[[str], None], idle_seconds: float) -> None:
        self._journal = journal
        self._fail = fail
        self._idle_seconds = idle_seconds
        self._queue: deque[Effects | Rotate | Stop] = deque()
        self._called = False  # a byte is under way to the thread
        self._acknowledged = 0
        self.records = 0  # how many records, so fdatasyncs, since the start
        self._loops_end, self._threads_end = socket.socketpair()
        self._loops_end.setblocking(False)
        self._threads_end.setblocking(True)  # whatever the process's default time-out is
        self._thread = threading.Thread(target=self._run, name="ledger-journal", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def fileno(self) -> int:
        """What the event loop watches."""
        return self._loops_end.fileno()

    def submit(self, effects: Effects) -> None:
        """Queue a commit; the n-th one has ticket n."""
        self._put(effects)

    def rotate(self, done: Callable[[int], None]) -> None:
        """Begin a new segment after what is queued."""
        self._put(Rotate(done))

    def take(self) -> int:
        """The last ticket that is on the disk with all before it; `fileno` is quiet again."""
        with suppress(BlockingIOError):
            self._loops_end.recv(4096)
        return self._acknowledged

    def stop(self) -> None:
        """Write what is queued, seal, and wait for the thread to end. `take` still answers."""
        self._put(Stop())
        self._thread.join()

    def close(self) -> None:
        """Let go of the sockets, after `stop`."""
        self._loops_end.close()
        self._threads_end.close()

    def _put(self, item: Effects | Rotate | Stop) -> None:
        self._queue.append(item)
        if not self._called:
            self._called = True
            self._loops_end.send(b"\0")

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
        self._wait_at_most(0 if journal.is_sealed else self._idle_seconds)
        while True:
            if not queue and not self._is_called():
                journal.seal()
                self._wait_at_most(0)
                continue
            # Cleared before the queue is looked at: what is put from here on calls again.
            self._called = False
            group: list[Effects] = []
            size = 0
            item: Effects | Rotate | Stop | None = None
            while queue and size < GROUP_BYTES:
                item = queue.popleft()
                if not isinstance(item, Effects):
                    break
                group.append(item)
                size += ROW.size * (1 + len(item.transfers) + len(item.accounts))
                size += len(item.run.packed) if item.run else 0
            if group:
                if journal.is_sealed:
                    self._wait_at_most(self._idle_seconds)
                journal.append(group)
                self.records += 1
                self._acknowledged += len(group)
                with suppress(BlockingIOError):
                    self._threads_end.send(b"\0", socket.MSG_DONTWAIT)
            if isinstance(item, Rotate):
                item.done(journal.rotate())
                self._wait_at_most(0)
            elif isinstance(item, Stop):
                journal.seal()
                return

    def _is_called(self) -> bool:
        """Wait for a byte from the loop; False if the time to stay idle ran out."""
        try:
            return bool(os.read(self._threads_end.fileno(), 64))
        except BlockingIOError:
            return False

    def _wait_at_most(self, seconds: float) -> None:
        """How long `_is_called` waits; 0 is for ever."""
        whole = int(seconds)
        wait = _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))
        self._threads_end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
