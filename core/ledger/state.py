"""What a ledger holds, and how the effects of a commit change it: no clock, no judgement.

`State.apply` is the one way a booked row reaches the balances, live and on replay alike; its
inverse `unbook` takes back the rows of a broken chain, newest first. Flags stand here as plain
ints, because `IntFlag & int` costs fifty times `int & int`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import msgspec

from core.ledger.types import (
    AMOUNT_MAX,
    NS_PER_SECOND,
    Account,
    AccountBalance,
    AccountFlags,
    Transfer,
    TransferFlags,
)

LINKED = int(TransferFlags.LINKED)  # the same bit in both kinds of flags
DEBITS_CAPPED = int(AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
CREDITS_CAPPED = int(AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS)
CAPPED = DEBITS_CAPPED | CREDITS_CAPPED
HISTORY = int(AccountFlags.HISTORY)
ACCOUNT_IMPORTED = int(AccountFlags.IMPORTED)
CLOSED = int(AccountFlags.CLOSED)
ACCOUNT_FLAGS = int(sum(AccountFlags))

PENDING = int(TransferFlags.PENDING)
POST = int(TransferFlags.POST_PENDING_TRANSFER)
VOID = int(TransferFlags.VOID_PENDING_TRANSFER)
BALANCING_DEBIT = int(TransferFlags.BALANCING_DEBIT)
BALANCING_CREDIT = int(TransferFlags.BALANCING_CREDIT)
BALANCING = BALANCING_DEBIT | BALANCING_CREDIT
CLOSING_DEBIT = int(TransferFlags.CLOSING_DEBIT)
CLOSING_CREDIT = int(TransferFlags.CLOSING_CREDIT)
CLOSING = CLOSING_DEBIT | CLOSING_CREDIT
TRANSFER_IMPORTED = int(TransferFlags.IMPORTED)
RESOLVING = POST | VOID
TRANSFER_FLAGS = int(sum(TransferFlags))


class AccountState:
    """An account of the book: its fields, the transfers that touched it, and, for `history`
    accounts, its balances after each of them."""

    __slots__ = (
        "code",
        "credits_pending",
        "credits_posted",
        "debits_pending",
        "debits_posted",
        "flags",
        "history",
        "id",
        "ledger",
        "timestamp",
        "transfers",
        "user_data_32",
        "user_data_64",
        "user_data_128",
    )

    def __init__(self, row: Account) -> None:
        self.id = row.id
        self.debits_pending = row.debits_pending
        self.debits_posted = row.debits_posted
        self.credits_pending = row.credits_pending
        self.credits_posted = row.credits_posted
        self.user_data_128 = row.user_data_128
        self.user_data_64 = row.user_data_64
        self.user_data_32 = row.user_data_32
        self.ledger = row.ledger
        self.code = row.code
        self.flags = row.flags
        self.timestamp = row.timestamp
        self.transfers: list[Transfer] = []
        self.history: list[AccountBalance] | None = [] if row.flags & HISTORY else None

    def row(self) -> Account:
        """The account as callers see it."""
        return Account(
            self.id,
            self.debits_pending,
            self.debits_posted,
            self.credits_pending,
            self.credits_posted,
            self.user_data_128,
            self.user_data_64,
            self.user_data_32,
            self.ledger,
            self.code,
            self.flags,
            self.timestamp,
        )

    def balance_at(self, timestamp: int) -> AccountBalance:
        """The four balances as they are now, under a timestamp."""
        return AccountBalance(
            self.debits_pending,
            self.debits_posted,
            self.credits_pending,
            self.credits_posted,
            timestamp,
        )


NO_ACCOUNT = AccountState(Account())  # id 0 is never in the book
NO_TRANSFER = Transfer()

PENDING_NOW, POSTED, VOIDED, EXPIRED = range(1, 5)  # what became of a pending transfer


def resolved_amount(t: Transfer, p: Transfer) -> int:
    """Base units that a post or void books: 2^128-1 posts all, 0 voids all."""
    if t.flags & VOID:
        return t.amount or p.amount
    return p.amount if t.amount == AMOUNT_MAX else t.amount


def balanced_amount(t: Transfer, dr: AccountState, cr: AccountState) -> int:
    """Base units that a plain transfer books: a balancing one never moves more than brings the
    account's debits and credits level, pending counted."""
    amount = t.amount
    if t.flags & BALANCING_DEBIT:
        amount = min(amount, max(0, dr.credits_posted - dr.debits_posted - dr.debits_pending))
    if t.flags & BALANCING_CREDIT:
        amount = min(amount, max(0, cr.debits_posted - cr.credits_posted - cr.credits_pending))
    return amount


def expires_at(p: Transfer) -> int:
    """Timestamp at which a pending transfer lapses, or 0 for never."""
    return p.timestamp + p.timeout * NS_PER_SECOND if p.timeout else 0


class Effects(msgspec.Struct, frozen=True, gc=False):
    """What one commit changed, with every decision made: rows as booked (timestamps assigned,
    amounts resolved), ids burnt, pending transfers lapsed as (id, timestamp). `timestamp` is
    the last slot used. This is what a journal stores and `State.apply` takes."""

    timestamp: int
    accounts: Sequence[Account] = ()
    transfers: Sequence[Transfer] = ()
    burnt: Sequence[int] = ()
    expired: Sequence[tuple[int, int]] = ()


class State:
    """Accounts, transfers, pending life cycles, burnt ids and the last timestamp."""

    def __init__(self) -> None:
        self.timestamp = 0  # of the last slot given to any event
        self.accounts: dict[int, AccountState] = {}
        self.account_order: list[AccountState] = []  # by rising timestamp
        self.transfers: dict[int, Transfer] = {}
        self.transfer_order: list[Transfer] = []  # by rising timestamp
        self.pending: dict[int, int] = {}  # id of a pending transfer -> what became of it
        self.burnt: set[int] = set()
        # (expires_at, timestamp, id); entries that were resolved or taken back stay until due
        self.due: list[tuple[int, int, int]] = []

    def apply(self, effects: Effects) -> None:
        """Change the state by what a commit decided, in the order it happened."""
        for pending_id, _ in effects.expired:
            self.expire(pending_id)
        for account in effects.accounts:
            self.add_account(account)
        accounts, transfers = self.accounts, self.transfers
        enter = self.transfer_order.append
        for row in effects.transfers:
            dr, cr = accounts[row.debit_account_id], accounts[row.credit_account_id]
            if row.flags or dr.history is not None or cr.history is not None:
                self.book(row)
                continue
            # What `book` does for most rows of most journals, without the calls.
            dr.debits_posted += row.amount
            cr.credits_posted += row.amount
            transfers[row.id] = row
            enter(row)
            dr.transfers.append(row)
            cr.transfers.append(row)
        self.burnt.update(effects.burnt)
        self.timestamp = effects.timestamp

    def add_account(self, row: Account) -> None:
        """Enter an account that passed the rules."""
        account = AccountState(row)
        self.accounts[row.id] = account
        self.account_order.append(account)

    def remove_newest_account(self) -> None:
        """Take back the last `add_account`."""
        del self.accounts[self.account_order.pop().id]

    def book(self, row: Transfer) -> None:
        """Enter a transfer that passed the rules, with the amount and timestamp it was given."""
        flags, amount = row.flags, row.amount
        dr, cr = self.accounts[row.debit_account_id], self.accounts[row.credit_account_id]
        if flags & RESOLVING:
            self._release(
                self.transfers[row.pending_id], dr, cr, POSTED if flags & POST else VOIDED
            )
            if flags & POST:
                dr.debits_posted += amount
                cr.credits_posted += amount
        elif flags & PENDING:
            dr.debits_pending += amount
            cr.credits_pending += amount
            self.pending[row.id] = PENDING_NOW
            if flags & CLOSING_DEBIT:
                dr.flags |= CLOSED
            if flags & CLOSING_CREDIT:
                cr.flags |= CLOSED
            if row.timeout:
                heapq.heappush(self.due, (expires_at(row), row.timestamp, row.id))
        else:
            dr.debits_posted += amount
            cr.credits_posted += amount
        self.transfers[row.id] = row
        self.transfer_order.append(row)
        for account in (dr, cr):
            account.transfers.append(row)
            if account.history is not None:
                account.history.append(account.balance_at(row.timestamp))

    def unbook(self) -> None:
        """Take back the newest transfer."""
        row = self.transfer_order.pop()
        del self.transfers[row.id]
        flags, amount = row.flags, row.amount
        dr, cr = self.accounts[row.debit_account_id], self.accounts[row.credit_account_id]
        if flags & RESOLVING:
            p = self.transfers[row.pending_id]
            if flags & POST:
                dr.debits_posted -= amount
                cr.credits_posted -= amount
            self.pending[p.id] = PENDING_NOW
            dr.debits_pending += p.amount
            cr.credits_pending += p.amount
            self._mark_closed(p, dr, cr, closed=True)
        elif flags & PENDING:
            del self.pending[row.id]
            dr.debits_pending -= amount
            cr.credits_pending -= amount
            self._mark_closed(row, dr, cr, closed=False)
        else:
            dr.debits_posted -= amount
            cr.credits_posted -= amount
        for account in (dr, cr):
            account.transfers.pop()
            if account.history is not None:
                account.history.pop()

    def expire(self, pending_id: int) -> None:
        """Let a pending transfer lapse."""
        p = self.transfers[pending_id]
        dr, cr = self.accounts[p.debit_account_id], self.accounts[p.credit_account_id]
        self._release(p, dr, cr, EXPIRED)

    def restore_pending(self, row: Transfer, status: int) -> None:
        """Remember what became of a pending transfer that a snapshot holds."""
        self.pending[row.id] = status
        if row.timeout and status == PENDING_NOW:
            heapq.heappush(self.due, (expires_at(row), row.timestamp, row.id))

    def next_due(self) -> int:
        """When the next pending transfer lapses (ns), or 0 if none will."""
        due = self.due
        while due:
            when, timestamp, id_ = due[0]
            if self.pending.get(id_) == PENDING_NOW and self.transfers[id_].timestamp == timestamp:
                return when
            heapq.heappop(due)
        return 0

    def _release(self, p: Transfer, dr: AccountState, cr: AccountState, status: int) -> None:
        self.pending[p.id] = status
        dr.debits_pending -= p.amount
        cr.credits_pending -= p.amount
        if status != POSTED:
            self._mark_closed(p, dr, cr, closed=False)

    @staticmethod
    def _mark_closed(p: Transfer, dr: AccountState, cr: AccountState, *, closed: bool) -> None:
        if p.flags & CLOSING_DEBIT:
            dr.flags = dr.flags | CLOSED if closed else dr.flags & ~CLOSED
        if p.flags & CLOSING_CREDIT:
            cr.flags = cr.flags | CLOSED if closed else cr.flags & ~CLOSED
