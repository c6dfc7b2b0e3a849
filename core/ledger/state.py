"""What a ledger holds, and how the effects of a commit change it: no clock, no judgement.

`State.apply` is the one way a booked row reaches the balances, live and on replay alike; its
inverse `unbook` takes back the rows of a broken chain, newest first. Flags stand here as plain
ints, because `IntFlag & int` costs fifty times `int & int`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count, repeat

from core.ledger.effects import Effects, Run
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
NEEDS_TABLE = CAPPED | CLOSED | HISTORY  # accounts that no short cut may touch
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
    accounts, its balances after each of them. `ordinal` is its place in the order of creation;
    `plain_ledger` is its ledger number if nothing but totals can refuse a transfer, else 0."""

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
        "ordinal",
        "plain_ledger",
        "timestamp",
        "transfers",
        "user_data_32",
        "user_data_64",
        "user_data_128",
    )

    def __init__(self, row: Account, ordinal: int) -> None:
        self.id = row.id
        self.ordinal = ordinal
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
        self.plain_ledger = 0 if row.flags & NEEDS_TABLE else row.ledger
        self.timestamp = row.timestamp
        self.transfers: list[Transfer] = []
        self.history: list[AccountBalance] | None = [] if row.flags & HISTORY else None

    def mark(self, flags: int) -> None:
        """Give it other flags: closed, or open again."""
        self.flags = flags
        self.plain_ledger = 0 if flags & NEEDS_TABLE else self.ledger

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


NO_ACCOUNT = AccountState(Account(), 0)  # id 0 is never in the book
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
        # No account's debits or credits, posted and pending together, are above this.
        self.turnover = 0

    def apply(self, effects: Effects) -> None:
        """Change the state by what a commit decided, in the order it happened."""
        for pending_id, _ in effects.expired:
            self.expire(pending_id)
        if effects.accounts:
            self.add_accounts(effects.accounts)
        for row in effects.transfers:
            self.book(row)
        if effects.run is not None:
            order = self.account_order
            debits = [order[ordinal] for ordinal in effects.run.debits]
            self.enter(effects.run, debits, [order[ordinal] for ordinal in effects.run.credits])
        self.burnt.update(effects.burnt)
        self.timestamp = effects.timestamp

    def enter(
        self, run: Run, debits: Sequence[AccountState], credits: Sequence[AccountState]
    ) -> None:
        """Enter a run that passed the rules, given the accounts that it names."""
        rows = list(
            map(
                Transfer,
                run.ids,
                [account.id for account in debits],
                [account.id for account in credits],
                run.amounts,
                repeat(0),
                run.user_data_128 or repeat(0),
                run.user_data_64 or repeat(0),
                run.user_data_32 or repeat(0),
                repeat(0),
                repeat(run.ledger),
                run.codes,
                repeat(0),
                range(run.timestamp, run.timestamp + len(run.ids)),
            )
        )
        self.transfers.update(zip(run.ids, rows, strict=True))
        self.transfer_order += rows
        for dr, cr, amount, row in zip(debits, credits, run.amounts, rows, strict=True):
            dr.debits_posted += amount
            cr.credits_posted += amount
            dr.transfers.append(row)
            cr.transfers.append(row)
        self.turnover += sum(run.amounts)

    def add_account(self, row: Account) -> None:
        """Enter an account that passed the rules."""
        self.add_accounts((row,))

    def add_accounts(self, rows: Sequence[Account]) -> None:
        """The same for several."""
        order = self.account_order
        accounts = list(map(AccountState, rows, count(len(order))))
        order += accounts
        self.accounts.update([(account.id, account) for account in accounts])

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
            self.turnover += amount
            self.pending[row.id] = PENDING_NOW
            self._mark_closed(row, dr, cr, closed=True)
            if row.timeout:
                heapq.heappush(self.due, (expires_at(row), row.timestamp, row.id))
        else:
            dr.debits_posted += amount
            cr.credits_posted += amount
            self.turnover += amount
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
            dr.mark(dr.flags | CLOSED if closed else dr.flags & ~CLOSED)
        if p.flags & CLOSING_CREDIT:
            cr.mark(cr.flags | CLOSED if closed else cr.flags & ~CLOSED)
