"""Begin, complete and fail a settlement, and carry on one that a crash interrupted.

What is under way is a pending transfer in the ledger; the row beside it says what was meant and
what was told. Each step can be repeated: the amount is written down before the ledger is asked,
ids follow from key and attempt, and `recover` goes from whatever both say to the next step.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

from core.accounting import AccountManager, SettlementRefused
from core.ledger import Ledger, TransferStatus
from core.model import BursarError, Clock
from core.settlement import rows as happenings
from core.settlement.observer import Observer, due_of
from core.settlement.phases import Payment, Phase, payments
from core.settlement.records import Records
from core.settlement.rows import key_of, state_of
from core.settlement.states import Cause, SettlementState, legal_in, walk, wanted
from core.settlement.thresholds import Threshold
from core.settlement.types import (
    IllegalTransition,
    SettlementKey,
    SettlementNotPossible,
    transfer_id,
)
from core.store.protocol import SettlementRow
from core.telemetry.webhooks import backoff_s

log = logging.getLogger("bursar.settlement")

_ROUNDS = 8  # times another process may be faster, or an id burnt, before this one gives up


class Actions:
    """Commands on settlements, one at a time per key. They raise IllegalTransition and
    SettlementNotPossible, and then nothing was changed; LedgerError and StoreError where it is
    not known, and then the next sweep carries on. `trouble` is what could not be carried on."""

    def __init__(
        self,
        manager: AccountManager,
        ledger: Ledger,
        records: Records,
        observer: Observer,
        clock: Clock,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._manager = manager
        self._ledger = ledger
        self._records = records
        self._observer = observer
        self._clock = clock
        self._rng = rng
        self.trouble: dict[SettlementKey, str] = {}
        self._locks: dict[SettlementKey, asyncio.Lock] = {}

    async def begin(
        self, key: SettlementKey, amount: int | None, by: str, idempotency_key: str | None = None
    ) -> None:
        """Hold a payment: `amount`, or what brings the balance to its `settle_to`."""
        async with self._command(key):
            for _ in range(_ROUNDS):
                row = await self._present(key, Cause.BEGIN, idempotency_key)
                meant = await self._payable(key, amount)
                change = happenings.meant(row, meant, by, self._clock.now_ms())
                if (await self._records.change([change]))[0]:
                    await self._hold(change.row)
                    if self._records[key].amount is not None:
                        return
            raise SettlementNotPossible(
                f"The settlement of {key} could not be begun: other processes changed it each"
                " time. Look at its state and try again."
            )

    async def complete(
        self, key: SettlementKey, amount: int | None, idempotency_key: str | None = None
    ) -> None:
        """Book the payment under way, all of it or a smaller amount."""
        async with self._command(key):
            row = await self._present(key, Cause.COMPLETE, idempotency_key)
            held = row.amount or 0
            if amount is not None and not 0 < amount <= held:
                raise SettlementNotPossible(
                    f"The settlement of {key} cannot be completed with {amount}: {held} is under"
                    " way. Give that or less; if nothing was paid, mark it failed."
                )
            pending = transfer_id(row.key, row.attempt)
            try:
                await self._manager.settlements.complete(
                    key.peer, key.token, key.direction, pending, amount
                )
            except SettlementRefused as error:
                await self._refused(key, Cause.COMPLETE, error)
            await self._finish(row)

    async def fail(
        self, key: SettlementKey, reason: str, idempotency_key: str | None = None
    ) -> None:
        """Take back the payment under way."""
        async with self._command(key):
            row = await self._present(key, Cause.FAIL, idempotency_key)
            pending = transfer_id(row.key, row.attempt)
            try:
                await self._manager.settlements.fail(key.peer, key.token, key.direction, pending)
            except SettlementRefused as error:
                await self._refused(key, Cause.FAIL, error)
            await self._finish(row, reason)

    async def delivered(self, row: SettlementRow) -> None:
        """Note that the engine took the order of this attempt."""
        key = key_of(row)
        async with self._lock(key):
            now = self._records[key]
            if (now.key, now.attempt, now.amount) == (row.key, row.attempt, row.amount):
                await self._records.change([happenings.delivered(now)])

    async def recover(self, rows: Sequence[SettlementRow]) -> None:
        """Carry on what is between two steps; what cannot be is noted in `trouble` and tried
        again next time. Keys at which a command is at work are left to it."""
        for key in [key for key in self.trouble if self._records[key].amount is None]:
            del self.trouble[key]
        free = [row for row in rows if row.amount is not None and not self.busy(key_of(row))]
        try:
            found = await payments(self._ledger, free)
        except BursarError as error:
            if len(free) > 1:  # one peer's failure must not hide the others
                for row in free:
                    await self.recover([row])
                return
            self._note(key_of(free[0]), error)
            return
        for row, payment in zip(free, found, strict=True):
            key = key_of(row)
            if self.busy(key) or self._records[key] is not row:
                continue
            async with self._lock(key):
                try:
                    await self._carry_on(row, payment)
                    self.trouble.pop(key, None)
                except BursarError as error:
                    self._note(key, error)

    def _note(self, key: SettlementKey, error: BursarError) -> None:
        if self.trouble.get(key) != str(error):
            log.error("settlement of %s cannot be carried on now: %s", key, error)
        self.trouble[key] = str(error)

    def busy(self, key: SettlementKey) -> bool:
        """Whether a command is at work there."""
        lock = self._locks.get(key)
        return lock is not None and lock.locked()

    @asynccontextmanager
    async def _command(self, key: SettlementKey) -> AsyncIterator[None]:
        """Alone at the key; then the balance is looked at again at once, since what was due may
        have changed while the command had the row. If that cannot be, the next sweep does."""
        try:
            async with self._lock(key):
                yield
        finally:
            try:
                await self._observer.look([key.pair])
            except BursarError as error:
                self._note(key, error)

    def _lock(self, key: SettlementKey) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def _present(
        self, key: SettlementKey, cause: Cause, idempotency_key: str | None
    ) -> SettlementRow:
        """The row as store and ledger have it now, in which the command is legal."""
        await self._records.load([key])
        row = self._records[key]
        if row.amount is not None:
            [payment] = await payments(self._ledger, [row])
            await self._carry_on(row, payment)
            row = self._records[key]
        if walk(state_of(row), cause) is None:
            self._illegal(row, cause, f"{cause} needs {legal_in(cause)}")
        if idempotency_key is not None and idempotency_key != row.key:
            self._illegal(row, cause, f"the key {idempotency_key} is not that of this settlement")
        return row

    async def _payable(self, key: SettlementKey, amount: int | None) -> int:
        [balance] = await self._manager.get_account_balances([key.pair])
        due = due_of(balance, key.direction)
        threshold = self._observer.threshold(key)
        aim = threshold.settle_to if isinstance(threshold, Threshold) else 0
        meant = due - aim if amount is None else amount
        if not 0 < meant <= due:
            raise SettlementNotPossible(
                f"A settlement of {meant} for {key} cannot be begun: {due} is due"
                + (f", and it aims for {aim}." if amount is None else ". Give that or less.")
            )
        return meant

    async def _hold(self, row: SettlementRow) -> None:
        """Hold in the ledger what the row means, and tell. A burnt id costs the attempt."""
        key, amount = key_of(row), row.amount or 0
        id_ = transfer_id(row.key, row.attempt)
        try:
            await self._manager.settlements.begin(key.peer, key.token, key.direction, amount, id_)
        except SettlementRefused as error:
            await self._records.change([happenings.not_held(row)])
            if error.status is TransferStatus.ID_ALREADY_FAILED:
                log.warning("attempt %d of %s: its id was burnt", row.attempt, key)
                return
            raise SettlementNotPossible(str(error)) from error
        await self._records.change([happenings.begun(row, self._clock.now_ms())])

    async def _finish(self, row: SettlementRow, reason: str = "") -> None:
        """Write down how it ended. Where another process saw that first, it did."""
        [payment] = await payments(self._ledger, [row])
        await self._carry_on(row, payment, reason)

    async def _carry_on(self, row: SettlementRow, payment: Payment, reason: str = "") -> None:
        now_ms = self._clock.now_ms()
        told = state_of(row)
        if payment.phase is Phase.ABSENT:
            await self._hold(row)
            return
        if told is SettlementState.PENDING:  # held, and nobody was told
            change = happenings.begun(row, now_ms)
            if not (await self._records.change([change]))[0]:
                return
            row = change.row
        if payment.phase is Phase.POSTED:
            await self._records.change([happenings.completed(row, payment.amount, now_ms)])
        elif payment.phase is Phase.VOIDED:
            retry_ms = now_ms + round(1000 * backoff_s(row.attempt, self._rng))
            change = happenings.failed(row, reason or "taken back", now_ms, retry_ms)
            await self._records.change([change])

    async def _refused(
        self, key: SettlementKey, cause: Cause, error: SettlementRefused
    ) -> NoReturn:
        """The ledger knows better: take up what it says, and report."""
        row = self._records[key]
        [payment] = await payments(self._ledger, [row])
        if payment.phase in (Phase.POSTED, Phase.VOIDED):
            await self._carry_on(row, payment)
            self._illegal(self._records[key], cause, str(error))
        raise SettlementNotPossible(str(error)) from error

    def _illegal(self, row: SettlementRow, cause: Cause, reason: str) -> NoReturn:
        message = (
            f"The settlement of {key_of(row)} cannot go from {row.told} to {wanted(cause)}:"
            f" {reason}. Nothing was changed."
        )
        log.warning("%s", message)
        raise IllegalTransition(message)
