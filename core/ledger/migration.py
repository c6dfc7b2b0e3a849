"""Carry a ledger over to another backend with its timestamps: imported events, then a comparison.

What cannot be carried is said: ids burnt by a transient failure, pending transfers that lapsed
(they moved nothing), time-outs of pending transfers that were resolved, and the `linked` flag.
A transfer that is pending with a time-out refuses the migration, because an imported event may
not have one. A migration that was broken off is simply run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from core.ledger.protocol import Ledger
from core.ledger.state import (
    ACCOUNT_IMPORTED,
    CLOSED,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    EXPIRED,
    LINKED,
    PENDING_NOW,
    TRANSFER_IMPORTED,
    State,
)
from core.ledger.types import (
    BATCH_MAX,
    Account,
    AccountStatus,
    LedgerError,
    Transfer,
    TransferStatus,
)

_DONE = frozenset({"CREATED", "EXISTS"})
Row = TypeVar("Row", Account, Transfer)


class MigrationRefused(LedgerError):
    """The ledger cannot be carried over as it is, or the target took something else."""


class MigrationReport(msgspec.Struct, frozen=True):
    """What was carried and compared, and what was not."""

    target: str
    accounts: int
    transfers: int
    burnt_ids_left: int
    lapsed_left: int
    time_outs_left: int

    def lines(self) -> list[str]:
        """For the operator."""
        return [
            f"{self.accounts} accounts and {self.transfers} transfers are now on {self.target},"
            " with their timestamps; every one was read back and compared.",
            f"Not carried: {self.burnt_ids_left} burnt ids (they can be used again),"
            f" {self.lapsed_left} pending transfers that lapsed,"
            f" {self.time_outs_left} time-outs of transfers since posted or voided,"
            " and which transfers were linked.",
        ]


def refuse_pending(source: State) -> None:
    """Raises MigrationRefused if a packet with a time-out is pending."""
    waiting = [
        t.id for t in source.transfer_order if t.timeout and source.pending.get(t.id) == PENDING_NOW
    ]
    if waiting:
        raise MigrationRefused(
            f"{len(waiting)} transfers are pending with a time-out (the first is {waiting[0]});"
            " wait until they are fulfilled, rejected or lapsed, then migrate."
        )


async def migrate(source: State, target: Ledger) -> MigrationReport:
    """Import everything and compare. Raises MigrationRefused before anything is sent if a
    packet with a time-out is pending, and if the target refuses or differs."""
    refuse_pending(source)
    carried = [t for t in source.transfer_order if source.pending.get(t.id) != EXPIRED]
    closed = _closed_by_transfer(source)
    accounts = [_import_of_account(a.row(), closed) for a in source.account_order]
    transfers = [_import_of_transfer(t) for t in carried]
    for part in _parts(accounts):
        _all_taken(part, [r.status for r in await target.create_accounts(part)])
    for moves in _parts(transfers):
        _all_taken(moves, [r.status for r in await target.create_transfers(moves)])
    await _compare(source, carried, target)
    return MigrationReport(
        target=target.backend,
        accounts=len(accounts),
        transfers=len(transfers),
        burnt_ids_left=len(source.burnt),
        lapsed_left=len(source.transfer_order) - len(carried),
        time_outs_left=sum(1 for t in carried if t.timeout),
    )


def _closed_by_transfer(source: State) -> set[int]:
    """Accounts that a pending closing transfer holds closed; importing it closes them again."""
    closed: set[int] = set()
    for id_, status in source.pending.items():
        t = source.transfers[id_]
        if status == PENDING_NOW and t.flags & CLOSING_DEBIT:
            closed.add(t.debit_account_id)
        if status == PENDING_NOW and t.flags & CLOSING_CREDIT:
            closed.add(t.credit_account_id)
    return closed


def _import_of_account(row: Account, closed: set[int]) -> Account:
    flags = row.flags & ~LINKED | ACCOUNT_IMPORTED
    return msgspec.structs.replace(
        row,
        flags=flags & ~CLOSED if row.id in closed else flags,
        debits_pending=0,
        debits_posted=0,
        credits_pending=0,
        credits_posted=0,
    )


def _import_of_transfer(row: Transfer) -> Transfer:
    return msgspec.structs.replace(row, flags=row.flags & ~LINKED | TRANSFER_IMPORTED, timeout=0)


def _parts(rows: list[Row]) -> list[list[Row]]:
    return [rows[at : at + BATCH_MAX] for at in range(0, len(rows), BATCH_MAX)]


def _all_taken(
    rows: Sequence[Account | Transfer], statuses: Sequence[AccountStatus | TransferStatus]
) -> None:
    for row, status in zip(rows, statuses, strict=True):
        # An account that a transfer of an earlier attempt closed differs in just that flag.
        closed_since = status is AccountStatus.EXISTS_WITH_DIFFERENT_FLAGS
        if status.name not in _DONE and not closed_since:
            kind = "account" if isinstance(row, Account) else "transfer"
            raise MigrationRefused(
                f"The target refuses {kind} {row.id}: {status.name.lower()}. Migrate into a"
                " cluster that holds nothing but an earlier attempt, with its clock not behind."
            )


async def _compare(source: State, carried: list[Transfer], target: Ledger) -> None:
    """Read everything back. Raises MigrationRefused at the first difference."""
    for part in _parts([a.row() for a in source.account_order]):
        found = {a.id: a for a in await target.lookup_accounts([a.id for a in part])}
        for row in part:
            wanted = msgspec.structs.replace(row, flags=row.flags & ~LINKED | ACCOUNT_IMPORTED)
            _same("account", wanted, found.get(row.id))
    for moves in _parts(carried):
        booked = {t.id: t for t in await target.lookup_transfers([t.id for t in moves])}
        for move in moves:
            _same("transfer", _import_of_transfer(move), booked.get(move.id))


def _same(kind: str, wanted: Account | Transfer, found: Account | Transfer | None) -> None:
    if wanted != found:
        raise MigrationRefused(
            f"After the migration {kind} {wanted.id} differs: {wanted} became {found}."
            " Keep the embedded ledger; the target is not a copy of it."
        )
