"""Requests of any size: cut to what a ledger takes at once, sent together, answered in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from core.accounting.types import AccountMismatch
from core.ledger import (
    BATCH_MAX,
    Account,
    AccountStatus,
    CreateResult,
    Ledger,
    Transfer,
    TransferStatus,
)

Row = TypeVar("Row")
Answer = TypeVar("Answer")


def chunks(rows: Sequence[Row], size: int = BATCH_MAX) -> Iterator[Sequence[Row]]:
    """The rows in runs of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


async def together(
    send: Callable[[Sequence[Row]], Awaitable[list[Answer]]], rows: Sequence[Row]
) -> list[Answer]:
    """All answers, in order; every request has ended when this returns or raises."""
    if len(rows) <= BATCH_MAX:
        return await send(rows) if rows else []
    answers = await asyncio.gather(*(send(c) for c in chunks(rows)), return_exceptions=True)
    found: list[Answer] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        found += answer
    return found


async def lookup_accounts(ledger: Ledger, ids: Sequence[int]) -> dict[int, Account]:
    """The accounts that exist, by id."""
    return {row.id: row for row in await together(ledger.lookup_accounts, ids)}


async def lookup_transfers(ledger: Ledger, ids: Sequence[int]) -> dict[int, Transfer]:
    """The transfers that exist, by id."""
    return {row.id: row for row in await together(ledger.lookup_transfers, ids)}


async def create_transfers(
    ledger: Ledger, rows: Sequence[Transfer]
) -> list[CreateResult[TransferStatus]]:
    """One result per transfer, whose order among requests does not matter."""
    return await together(ledger.create_transfers, rows)


async def ensure_accounts(ledger: Ledger, rows: Sequence[Account], owners: Sequence[str]) -> None:
    """Create the accounts that are not there. `owners[i]` says whose `rows[i]` is.

    Raises AccountMismatch if one exists that is not the same.
    """
    fine = (AccountStatus.CREATED, AccountStatus.EXISTS)
    results = await together(ledger.create_accounts, rows)
    for row, owner, result in zip(rows, owners, results, strict=True):
        if result.status not in fine:
            raise AccountMismatch(
                f"Account {row.id:032x} ({owner}) cannot be opened in ledger {row.ledger}:"
                f" {result.status.name.lower()}. It was made by other settings; check the node id."
            )
