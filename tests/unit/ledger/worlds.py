"""Ledgers to put through the same questions: the bare book, and every backend behind its door.

A world is a ledger with a clock and ids of its own, so that the suite also runs against a
cluster that others use: ids start at a random point, and time there is waited for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Protocol

from core.ledger.memory import Book
from core.ledger.types import (
    Account,
    AccountBalance,
    AccountFilter,
    AccountStatus,
    Balance,
    CreateResult,
    QueryFilter,
    Transfer,
    TransferStatus,
)

START_MS = 1_800_000_000_000


class ManualClock:
    """Time that stands until a test moves it."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms
        self._moved = asyncio.Event()

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        until = self.ms + seconds * 1000
        while self.ms < until:
            await self._moved.wait()

    def advance(self, seconds: float) -> None:
        """Move on, and wake who waited for it."""
        self.ms += int(seconds * 1000)
        self._moved.set()
        self._moved = asyncio.Event()


class Verbs(Protocol):
    """The ledger's interface as callers see it."""

    async def create_accounts(
        self, batch: Sequence[Account]
    ) -> list[CreateResult[AccountStatus]]: ...
    async def create_transfers(
        self, batch: Sequence[Transfer]
    ) -> list[CreateResult[TransferStatus]]: ...
    async def lookup_accounts(self, ids: Sequence[int]) -> list[Account]: ...
    async def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]: ...
    async def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]: ...
    async def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]: ...
    async def query_accounts(self, filter: QueryFilter) -> list[Account]: ...
    async def query_transfers(self, filter: QueryFilter) -> list[Transfer]: ...
    async def get_account_balance(self, id: int) -> Balance: ...
    async def get_accounts_batch(self, ids: Sequence[int]) -> dict[int, Balance]: ...


class AsyncBook:
    """The bare book behind the asynchronous interface."""

    def __init__(self, book: Book) -> None:
        self.book = book

    async def create_accounts(self, batch: Sequence[Account]) -> list[CreateResult[AccountStatus]]:
        return self.book.create_accounts(batch)

    async def create_transfers(
        self, batch: Sequence[Transfer]
    ) -> list[CreateResult[TransferStatus]]:
        return self.book.create_transfers(batch)

    async def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        return self.book.lookup_accounts(ids)

    async def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        return self.book.lookup_transfers(ids)

    async def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        return self.book.get_account_transfers(filter)

    async def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        return self.book.get_account_balances(filter)

    async def query_accounts(self, filter: QueryFilter) -> list[Account]:
        return self.book.query_accounts(filter)

    async def query_transfers(self, filter: QueryFilter) -> list[Transfer]:
        return self.book.query_transfers(filter)

    async def get_account_balance(self, id: int) -> Balance:
        return self.book.get_account_balance(id)

    async def get_accounts_batch(self, ids: Sequence[int]) -> dict[int, Balance]:
        return self.book.get_accounts_batch(ids)


class World:
    """A ledger, its clock (None if time is the server's own), and fresh ids."""

    def __init__(
        self, ledger: Verbs, clock: ManualClock | None, *, has_reserved_field: bool = True
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.has_reserved_field = has_reserved_field  # the official client cannot send it
        self._next = random.getrandbits(120) + 1
        # Fields that set this world's rows apart on a shared cluster.
        self.user_data = random.getrandbits(60) + 1

    def id(self) -> int:
        """An id nobody has used."""
        self._next += 1
        return self._next

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        if self.clock is None:
            await asyncio.sleep(seconds)
        else:
            self.clock.advance(seconds)

    async def account(self, ledger: int = 1, flags: int = 0, code: int = 1) -> int:
        """Create an account and return its id."""
        id_ = self.id()
        row = Account(id=id_, ledger=ledger, code=code, flags=flags, user_data_64=self.user_data)
        assert await self.account_status(row) is AccountStatus.CREATED
        return id_

    async def transfer(self, debit: int, credit: int, amount: int, **fields: int) -> int:
        """Book a transfer that must pass, and return its id."""
        row = self.draft(debit, credit, amount, **fields)
        assert await self.status(row) is TransferStatus.CREATED
        return row.id

    def draft(self, debit: int, credit: int, amount: int, **fields: int) -> Transfer:
        """A transfer not yet sent."""
        given = {"id": self.id(), "ledger": 1, "code": 1} | fields
        return Transfer(debit_account_id=debit, credit_account_id=credit, amount=amount, **given)

    async def resolve(self, pending_id: int, flags: int, amount: int, **fields: int) -> int:
        """Post or void a pending transfer, and return the id of what did."""
        row = Transfer(id=self.id(), pending_id=pending_id, flags=flags, amount=amount, **fields)
        assert await self.status(row) is TransferStatus.CREATED
        return row.id

    async def status(self, row: Transfer) -> TransferStatus:
        """What one transfer is answered."""
        [result] = await self.ledger.create_transfers([row])
        return result.status

    async def account_status(self, row: Account) -> AccountStatus:
        """What one account is answered."""
        [result] = await self.ledger.create_accounts([row])
        return result.status

    async def statuses(self, *rows: Transfer) -> list[TransferStatus]:
        """What a batch of transfers is answered."""
        return [result.status for result in await self.ledger.create_transfers(rows)]

    async def row(self, account_id: int) -> Account:
        """An account as it stands."""
        [account] = await self.ledger.lookup_accounts([account_id])
        return account

    async def booked(self, transfer_id: int) -> Transfer:
        """A transfer as it was booked."""
        [transfer] = await self.ledger.lookup_transfers([transfer_id])
        return transfer

    async def amounts(self, account_id: int) -> tuple[int, int, int, int]:
        """Debits pending and posted, credits pending and posted."""
        a = await self.row(account_id)
        return a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted
