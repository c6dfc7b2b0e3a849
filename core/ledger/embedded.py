"""The ledger that needs no server: the book in memory, the journal on disk, snapshots beside it.

The book is changed in the event loop, in one step per request; its effects go to the writer
thread, and the reply waits until the journal has everything the reply was computed from, reads
included. A failed write or sync ends the ledger: it says why and acknowledges nothing more.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from core.clock import SystemClock
from core.ledger import queries
from core.ledger.effects import Effects
from core.ledger.files import Folder, RealFolder
from core.ledger.fold import fold, trim
from core.ledger.journal import Journal
from core.ledger.memory import AccountResults, Book, TransferResults
from core.ledger.protocol import LedgerHealth
from core.ledger.recovery import Recovered, collector_paused, recover
from core.ledger.state import State
from core.ledger.types import (
    Account,
    AccountBalance,
    AccountFilter,
    Balance,
    LedgerClosed,
    LedgerError,
    LedgerStopped,
    QueryFilter,
    Transfer,
)
from core.ledger.writer import Writer
from core.model import Clock

_LOG = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]
Answer = TypeVar("Answer")
Told = TypeVar("Told")


class EmbeddedLedger:
    """A ledger in one directory, held by one process.

    `look_seconds` is how often a snapshot is considered (`LEDGER_PERSIST_INTERVAL_MS`), one is
    made once the journal has grown by `snapshot_bytes` or for `snapshot_seconds`, and at close.
    After `idle_seconds` without a commit the journal is sealed. `folder` replaces the directory
    on disk; then snapshots are folded in a thread.
    """

    def __init__(
        self,
        directory: Path | str,
        clock: Clock | None = None,
        *,
        look_seconds: float = 30.0,
        snapshot_bytes: int = 64 * 1024 * 1024,
        snapshot_seconds: float = 3600.0,
        idle_seconds: float = 0.05,
        folder: Folder | None = None,
    ) -> None:
        self.directory = Path(directory)
        self._clock = SystemClock() if clock is None else clock
        self._look_seconds = look_seconds
        self._snapshot_bytes = snapshot_bytes
        self._snapshot_seconds = snapshot_seconds
        self._idle_seconds = idle_seconds
        self._own_process = folder is None
        self._folder: Folder = RealFolder(self.directory) if folder is None else folder
        self._book = Book(self._clock)
        self._writer: Writer | None = None
        self._journal: Journal | None = None
        self._keeper: asyncio.Task[None] | None = None
        # Kept, because `get_running_loop` is a system call on each commit.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._submitted = self._synced = 0  # tickets
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._rotation: asyncio.Future[int] | None = None
        self._folding = asyncio.Lock()
        self._failure = ""
        self._notices: list[str] = []
        self._last_sync_ms = self._last_snapshot_ms = 0
        self._snapshot_failure = ""
        self._folded = 0  # the last record that a snapshot holds
        self._folded_at = 0.0

    # -- life

    @property
    def backend(self) -> str:
        """What it is, as the start-up message says it."""
        return f"embedded ledger (journal: {self.directory})"

    def health(self) -> LedgerHealth:
        """How it is, without asking it anything."""
        return LedgerHealth(
            backend=self.backend,
            ok=not self._failure,
            reason=self._failure,
            notices=tuple(self._notices),
            journal_bytes=self._journal.position.end if self._journal else 0,
            commits=self._submitted,
            syncs=self._writer.records if self._writer else 0,
            last_sync_ms=self._last_sync_ms,
            last_snapshot_ms=self._last_snapshot_ms,
            snapshot_failure=self._snapshot_failure,
        )

    async def open(self) -> None:
        """Read the ledger, or begin one. Raises LedgerDamaged, LedgerInUse and LedgerError; a
        damaged ledger is left as it was found."""
        if self._writer is not None:
            return
        self._loop = loop = asyncio.get_running_loop()
        try:
            recovered, journal = await asyncio.to_thread(self._load)
        except OSError as error:
            raise LedgerError(
                f"The ledger in {self.directory} cannot be opened: {error.strerror or error}."
            ) from error
        self._book = Book(self._clock, recovered.state if recovered else State())
        self._notices = recovered.notices if recovered else []
        for notice in self._notices:
            _LOG.warning("ledger: %s", notice)
        self._journal = journal
        self._folded = recovered.base if recovered else 0
        self._folded_at = self._clock.monotonic()
        self._submitted = self._synced = 0
        self._failure = ""
        self._writer = Writer(journal, _in_loop(loop, self._fail), self._idle_seconds)
        loop.add_reader(self._writer.fileno(), self._acknowledge, self._writer)
        self._writer.start()
        self._keeper = asyncio.create_task(self._keep(), name="ledger-snapshots")

    async def close(self) -> None:
        """Write and seal what is queued, make a snapshot, let go of the directory."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            if self._keeper is not None:
                async with self._folding:  # a snapshot under way is finished first
                    self._keeper.cancel()
                with suppress(asyncio.CancelledError):
                    await self._keeper
                self._keeper = None
            await asyncio.to_thread(writer.stop)
            self._acknowledge(writer)
            asyncio.get_running_loop().remove_reader(writer.fileno())
            writer.close()
            await asyncio.sleep(0)  # a failure may stand in the loop's queue
            assert self._journal is not None
            if not self._failure and self._journal.position.sequence > self._folded:
                await self._fold(self._journal.position.sequence, in_thread=True)
        finally:
            self._folder.unlock()

    def _load(self) -> tuple[Recovered | None, Journal]:
        self._folder.lock()
        try:
            with collector_paused():
                recovered = recover(self._folder)
                gc.freeze()  # a full collection over a million accounts would stall the loop
            if recovered is None:
                return None, Journal.create(self._folder, secrets.token_bytes(16))
            journal = Journal(self._folder, recovered.position)
            journal.resume(
                recovered.unsealed, was_sealed=recovered.was_sealed, version=recovered.version
            )
            return recovered, journal
        except BaseException:
            self._folder.unlock()
            raise

    # -- verbs

    async def create_accounts(self, batch: Sequence[Account]) -> AccountResults:
        """One result per account, durable. Raises TooManyEvents, FieldOutOfRange,
        LedgerStopped."""
        self._begin()
        commit = self._book.commit_accounts(batch)
        if batch:
            self._submit(commit.effects)
        return await self._durable(commit.results)

    async def create_transfers(self, batch: Sequence[Transfer]) -> TransferResults:
        """One result per transfer, durable. Raises TooManyEvents, FieldOutOfRange,
        LedgerStopped."""
        self._begin()
        commit = self._book.commit_transfers(batch)
        if batch:
            self._submit(commit.effects)
            await self._written()
            return commit.results
        return await self._durable(commit.results)

    async def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """The accounts that exist, in the order asked."""
        return await self._durable(queries.lookup_accounts(self._begin(), ids))

    async def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """The transfers that exist, in the order asked."""
        return await self._durable(queries.lookup_transfers(self._begin(), ids))

    async def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """Transfers that touched an account, by timestamp."""
        return await self._searched(queries.get_account_transfers(self._begin(), filter))

    async def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """Balances of a `history` account after each of its transfers."""
        return await self._searched(queries.get_account_balances(self._begin(), filter))

    async def query_accounts(self, filter: QueryFilter) -> list[Account]:
        """Accounts that match every field set, by timestamp."""
        return await self._searched(queries.query_accounts(self._begin(), filter))

    async def query_transfers(self, filter: QueryFilter) -> list[Transfer]:
        """Transfers that match every field set, by timestamp."""
        return await self._searched(queries.query_transfers(self._begin(), filter))

    async def get_account_balance(self, id: int) -> Balance:
        """Posted debits, credits and credits - debits. Raises AccountUnknown."""
        return await self._durable(queries.get_account_balance(self._begin(), id))

    async def get_accounts_batch(self, ids: Sequence[int]) -> dict[int, Balance]:
        """The same for any number of accounts; those that do not exist are left out."""
        return await self._durable(queries.get_accounts_batch(self._begin(), ids))

    def _begin(self) -> State:
        """Refuse what cannot be served, let lapse what is due; the state to read from."""
        if self._writer is None:
            raise LedgerClosed(f"The ledger in {self.directory} is not open.")
        if self._failure:
            raise LedgerStopped(self._failure)
        lapsed = self._book.expire()
        if lapsed is not None:
            self._submit(lapsed)
        return self._book.state

    def _submit(self, effects: Effects) -> None:
        assert self._writer is not None
        self._submitted += 1
        self._writer.submit(effects)

    async def _durable(self, answer: Answer) -> Answer:
        """The answer, once everything it was computed from is on the disk."""
        if self._synced < self._submitted:
            await self._written()
        return answer

    def _written(self) -> asyncio.Future[None]:
        """Done once everything submitted so far is on the disk."""
        assert self._loop is not None
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((self._submitted, waiter))
        return waiter

    async def _searched(self, steps: queries.Steps[Answer]) -> Answer:
        """What a search finds, the loop turning between its steps."""
        while True:
            try:
                next(steps)
            except StopIteration as done:
                answer: Answer = done.value
                return await self._durable(answer)
            await asyncio.sleep(0)

    def _acknowledge(self, writer: Writer) -> None:
        ticket = writer.take()
        if ticket == self._synced:
            return
        self._synced = ticket
        self._last_sync_ms = self._clock.now_ms()
        waiters = self._waiters
        while waiters and waiters[0][0] <= ticket:
            waiter = waiters.popleft()[1]
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, reason: str) -> None:
        if self._writer is not None:
            self._acknowledge(self._writer)  # what was synced before it failed
        self._failure = reason
        _LOG.error("%s", reason)
        while self._waiters:
            waiter = self._waiters.popleft()[1]
            if not waiter.done():
                waiter.set_exception(LedgerStopped(reason))
        if self._rotation is not None and not self._rotation.done():
            self._rotation.set_exception(LedgerStopped(reason))

    # -- snapshots

    async def snapshot(self) -> bool:
        """Begin a new segment and fold everything before it into a snapshot; False if that
        failed, which costs nothing but a longer restart (see `health`). Raises LedgerStopped."""
        async with self._folding:
            self._begin()
            assert self._writer is not None
            loop = asyncio.get_running_loop()
            self._rotation = loop.create_future()
            self._writer.rotate(_in_loop(loop, self._rotated))
            upto = await self._rotation
            return upto <= self._folded or await self._fold(upto, in_thread=not self._own_process)

    def _rotated(self, ended: int) -> None:
        if self._rotation is not None and not self._rotation.done():
            self._rotation.set_result(ended)

    async def _keep(self) -> None:
        while not self._failure:
            await self._clock.sleep(self._look_seconds)
            assert self._journal is not None
            grown = self._journal.position.sequence > self._folded
            full = self._journal.position.end >= self._snapshot_bytes
            old = self._clock.monotonic() - self._folded_at >= self._snapshot_seconds
            if grown and (full or old):
                with suppress(LedgerStopped):  # every caller is told, and the loop ends
                    await self.snapshot()

    async def _fold(self, upto: int, *, in_thread: bool) -> bool:
        try:
            if in_thread:
                await asyncio.to_thread(fold, self._folder, upto)
            else:
                await self._fold_in_a_process(upto)
            await asyncio.to_thread(trim, self._folder)
        except (LedgerError, OSError) as error:
            self._snapshot_failure = f"no snapshot was made: {error}"
            _LOG.warning("ledger: %s", self._snapshot_failure)
            return False
        self._folded = upto
        self._folded_at = self._clock.monotonic()
        self._last_snapshot_ms = self._clock.now_ms()
        self._snapshot_failure = ""
        return True

    async def _fold_in_a_process(self, upto: int) -> None:
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "core.ledger.fold",
            str(self.directory),
            str(upto),
            env=os.environ | {"PYTHONPATH": path},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise LedgerError(said.decode(errors="replace").strip() or "the process was ended")


def _in_loop(
    loop: asyncio.AbstractEventLoop, call: Callable[[Told], None]
) -> Callable[[Told], None]:
    """The same call, made from the writer's thread; a loop that is gone has nobody waiting."""

    def tell(argument: Told) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(call, argument)

    return tell
