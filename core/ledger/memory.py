"""The double-entry book: TigerBeetle's accounts and transfers in memory, without I/O.

Like a sans-I/O protocol, the book decides and somebody else writes down what it decided:
`commit_accounts`, `commit_transfers` and `expire` return their effects as values. An event is
judged by the table in `core.ledger.rules`; transfers without flags between two ordinary
accounts take a short cut, alone or as a whole batch (`core.ledger.plain`), that a property test
holds equal to the table.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter

import msgspec

from core.ledger import queries
from core.ledger.effects import Effects
from core.ledger.plain import judge_run
from core.ledger.rules import AccountCase, Slot, TransferCase, judge_account, judge_transfer
from core.ledger.state import (
    ACCOUNT_IMPORTED,
    LINKED,
    NO_ACCOUNT,
    NO_TRANSFER,
    RESOLVING,
    TRANSFER_IMPORTED,
    AccountState,
    State,
    balanced_amount,
    resolved_amount,
)
from core.ledger.types import (
    AMOUNT_MAX,
    BATCH_MAX,
    TIMESTAMP_MAX,
    TRANSIENT,
    Account,
    AccountBalance,
    AccountFilter,
    AccountStatus,
    Balance,
    CreateResult,
    FieldOutOfRange,
    LedgerError,
    QueryFilter,
    TooManyEvents,
    Transfer,
    TransferStatus,
)
from core.ledger.widths import check_account, check_transfer
from core.model import Clock

_RUN_MIN = 8  # events from which on judging a batch by columns is quicker
_CREATED = TransferStatus.CREATED  # an attribute of an enum is slow to come by
_BY_TIMESTAMP = attrgetter("timestamp")
_NS_PER_MS = 1_000_000

AccountResults = list[CreateResult[AccountStatus]]
TransferResults = list[CreateResult[TransferStatus]]


class AccountCommit(msgspec.Struct, frozen=True, gc=False):
    """What a `create_accounts` request is answered, and what it changed."""

    results: AccountResults
    effects: Effects


class TransferCommit(msgspec.Struct, frozen=True, gc=False):
    """What a `create_transfers` request is answered, and what it changed."""

    results: TransferResults
    effects: Effects


class Book:
    """TigerBeetle's eight verbs, synchronous, on a state in memory.

    Batches hold up to 8,189 events; more raises TooManyEvents. A field that does not fit its
    width raises FieldOutOfRange, and then nothing of the batch is booked. Batches of `run_min`
    transfers or more are judged by columns where that suffices.
    """

    run_min = _RUN_MIN

    def __init__(self, clock: Clock, state: State | None = None) -> None:
        self._clock = clock
        self.state = State() if state is None else state

    # -- the verbs

    def create_accounts(self, batch: Sequence[Account]) -> AccountResults:
        """One result per account, in order."""
        self.expire()
        return self.commit_accounts(batch).results

    def create_transfers(self, batch: Sequence[Transfer]) -> TransferResults:
        """One result per transfer, in order."""
        self.expire()
        return self.commit_transfers(batch).results

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """The accounts that exist, in the order asked."""
        self.expire()
        return queries.lookup_accounts(self.state, ids)

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """The transfers that exist, in the order asked."""
        self.expire()
        return queries.lookup_transfers(self.state, ids)

    def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """Transfers that touched an account, by timestamp."""
        self.expire()
        return queries.at_once(queries.get_account_transfers(self.state, filter))

    def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """Balances of a `history` account after each of its transfers; else an empty list."""
        self.expire()
        return queries.at_once(queries.get_account_balances(self.state, filter))

    def query_accounts(self, filter: QueryFilter) -> list[Account]:
        """Accounts that match every field set, by timestamp."""
        self.expire()
        return queries.at_once(queries.query_accounts(self.state, filter))

    def query_transfers(self, filter: QueryFilter) -> list[Transfer]:
        """Transfers that match every field set, by timestamp."""
        self.expire()
        return queries.at_once(queries.query_transfers(self.state, filter))

    def get_account_balance(self, id: int) -> Balance:
        """Posted debits, credits and credits - debits. Raises AccountUnknown."""
        self.expire()
        return queries.get_account_balance(self.state, id)

    def get_accounts_batch(self, ids: Sequence[int]) -> dict[int, Balance]:
        """The same for any number of accounts; those that do not exist are left out."""
        self.expire()
        return queries.get_accounts_batch(self.state, ids)

    # -- what the verbs are made of

    def expire(self) -> Effects | None:
        """Let every pending transfer lapse whose time has come; None if there was none."""
        state = self.state
        when = state.next_due()
        if not when:
            return None
        first = self._first_slot()
        if when > first:
            return None
        expired: list[tuple[int, int]] = []
        while when and when <= first:
            pending_id = heapq.heappop(state.due)[2]
            state.expire(pending_id)
            expired.append((pending_id, first + len(expired)))
            when = state.next_due()
        state.timestamp = expired[-1][1]
        return Effects(state.timestamp, expired=expired)

    def commit_accounts(self, batch: Sequence[Account]) -> AccountCommit:
        """Judge and enter a batch, without looking at expiry."""
        state = self.state
        first, last = self._slots(batch)
        imported = bool(batch and batch[0].flags & ACCOUNT_IMPORTED)
        results: AccountResults = []
        rows: list[Account] = []
        chain: Chain | None = None
        try:
            for index, a in enumerate(batch):
                check_account(a, index)
                linked = a.flags & LINKED
                if linked and chain is None:
                    chain = Chain(index, len(rows))
                slot = Slot(first + index, last, imported, first + index == last, _is_broken(chain))
                e = state.accounts.get(a.id, NO_ACCOUNT)
                status = judge_account(self._account_case(slot, a, e))
                timestamp = slot.timestamp
                if status is AccountStatus.CREATED:
                    if a.flags & ACCOUNT_IMPORTED:
                        timestamp = a.timestamp
                    rows.append(_account_row(a, timestamp))
                    state.add_account(rows[-1])
                elif status is AccountStatus.EXISTS:
                    timestamp = e.timestamp
                results.append(CreateResult(timestamp, status))
                if chain is not None:
                    if status is not AccountStatus.CREATED and not chain.broken:
                        chain.broken = True
                        self._take_back_accounts(rows, chain.rows)
                        for i in range(chain.first, index):
                            results[i] = CreateResult(
                                results[i].timestamp, AccountStatus.LINKED_EVENT_FAILED
                            )
                    if not linked or status is AccountStatus.LINKED_EVENT_CHAIN_OPEN:
                        chain = None
        except FieldOutOfRange:
            self._take_back_accounts(rows, 0)
            raise
        state.timestamp = last
        return AccountCommit(results, Effects(last, accounts=rows))

    def commit_transfers(self, batch: Sequence[Transfer]) -> TransferCommit:
        """Judge and book a batch, without looking at expiry."""
        state = self.state
        first, last = self._slots(batch)
        if len(batch) >= self.run_min:
            judged = judge_run(state, batch, first)
            if judged is not None:
                state.enter(*judged)
                state.timestamp = last
                created = map(CreateResult, range(first, last + 1), repeat(_CREATED))
                return TransferCommit(list(created), Effects(last, run=judged.run))
        elif len(batch) == 1 and not batch[0].flags:
            row = self._book_plain(batch[0], first)
            if row is not None:
                state.timestamp = last
                return TransferCommit([CreateResult(first, _CREATED)], Effects(last, (), [row]))
        return self._commit_each(batch, first, last)

    def _commit_each(self, batch: Sequence[Transfer], first: int, last: int) -> TransferCommit:
        """Judge and book event by event."""
        state = self.state
        imported = bool(batch and batch[0].flags & TRANSFER_IMPORTED)
        results: TransferResults = []
        rows: list[Transfer] = []
        burnt: list[int] = []
        chain: Chain | None = None
        try:
            for index, t in enumerate(batch):
                if chain is None and not t.flags and not imported:
                    row = self._book_plain(t, first + index)
                    if row is not None:
                        rows.append(row)
                        results.append(CreateResult(row.timestamp, _CREATED))
                        continue
                check_transfer(t, index)
                linked = t.flags & LINKED
                if linked and chain is None:
                    chain = Chain(index, len(rows))
                slot = Slot(first + index, last, imported, first + index == last, _is_broken(chain))
                case = self._transfer_case(slot, t)
                status = judge_transfer(case)
                timestamp = slot.timestamp
                if status is TransferStatus.CREATED:
                    timestamp = case.timestamp
                    rows.append(_transfer_row(case))
                    state.book(rows[-1])
                elif status is TransferStatus.EXISTS:
                    timestamp = case.e.timestamp
                elif status in TRANSIENT:
                    state.burnt.add(t.id)
                    burnt.append(t.id)
                results.append(CreateResult(timestamp, status))
                if chain is not None:
                    if status is not TransferStatus.CREATED and not chain.broken:
                        chain.broken = True
                        self._take_back_transfers(rows, chain.rows)
                        for i in range(chain.first, index):
                            results[i] = CreateResult(
                                results[i].timestamp, TransferStatus.LINKED_EVENT_FAILED
                            )
                    if not linked or status is TransferStatus.LINKED_EVENT_CHAIN_OPEN:
                        chain = None
        except FieldOutOfRange:
            self._take_back_transfers(rows, 0)
            state.burnt.difference_update(burnt)
            raise
        state.timestamp = last
        return TransferCommit(results, Effects(last, transfers=rows, burnt=burnt))

    def _book_plain(self, t: Transfer, timestamp: int) -> Transfer | None:
        """The short cut: book a transfer without flags between two accounts without limits, if
        no row of the table can refuse it; None where the table must say."""
        state = self.state
        id_, amount, ledger = t.id, t.amount, t.ledger
        dr = state.accounts.get(t.debit_account_id)
        cr = state.accounts.get(t.credit_account_id)
        if (
            dr is None
            or cr is None
            or dr is cr
            or not ledger
            or not ledger == dr.plain_ledger == cr.plain_ledger
            or id_ in state.transfers
            or id_ in state.burnt
            or t.timestamp
            or t.pending_id
            or t.timeout
            or not 0 < id_ < AMOUNT_MAX
            or not 0 < t.code < 1 << 16
            or amount < 0
            or state.turnover + amount > AMOUNT_MAX
            or t.user_data_128 >> 128
            or t.user_data_64 >> 64
            or t.user_data_32 >> 32
        ):
            return None
        row = Transfer(
            id_,
            dr.id,  # the account's own int, not one more that is equal: a ledger has millions
            cr.id,
            amount,
            0,
            t.user_data_128,
            t.user_data_64,
            t.user_data_32,
            0,
            ledger,
            t.code,
            0,
            timestamp,
        )
        dr.debits_posted += amount
        cr.credits_posted += amount
        state.turnover += amount
        state.transfers[id_] = row
        state.transfer_order.append(row)
        dr.transfers.append(row)
        cr.transfers.append(row)
        return row

    def _account_case(self, slot: Slot, a: Account, e: AccountState) -> AccountCase:
        state = self.state
        newest = state.account_order[-1].timestamp if state.account_order else 0
        taken = bool(a.flags & ACCOUNT_IMPORTED) and _has(state.transfer_order, a.timestamp)
        return AccountCase(slot, a, e, newest, taken)

    def _transfer_case(self, slot: Slot, t: Transfer) -> TransferCase:
        state = self.state
        if t.flags & RESOLVING:
            p = state.transfers.get(t.pending_id, NO_TRANSFER)
            dr = state.accounts.get(p.debit_account_id, NO_ACCOUNT)
            cr = state.accounts.get(p.credit_account_id, NO_ACCOUNT)
            amount = resolved_amount(t, p)
        else:
            p = NO_TRANSFER
            dr = state.accounts.get(t.debit_account_id, NO_ACCOUNT)
            cr = state.accounts.get(t.credit_account_id, NO_ACCOUNT)
            amount = balanced_amount(t, dr, cr)
        imported = t.flags & TRANSFER_IMPORTED
        return TransferCase(
            slot,
            t,
            state.transfers.get(t.id, NO_TRANSFER),
            p,
            state.pending.get(p.id, 0),
            dr,
            cr,
            t.id in state.burnt,
            amount,
            t.timestamp if imported else slot.timestamp,
            state.transfer_order[-1].timestamp if state.transfer_order else 0,
            bool(imported) and _has(state.account_order, t.timestamp),
        )

    def _first_slot(self) -> int:
        now, following = self._clock.now_ms() * _NS_PER_MS, self.state.timestamp + 1
        return now if now > following else following

    def _slots(self, batch: Sequence[Account] | Sequence[Transfer]) -> tuple[int, int]:
        """Timestamps of the first and last event of a batch: one nanosecond each."""
        if len(batch) > BATCH_MAX:
            raise TooManyEvents(
                f"{len(batch)} events in one request; send at most {BATCH_MAX} at a time."
            )
        if not batch:
            return self.state.timestamp, self.state.timestamp
        first = self._first_slot()
        last = first + len(batch) - 1
        if last > TIMESTAMP_MAX:
            raise LedgerError(f"The clock says {first} ns, beyond what a timestamp can hold.")
        return first, last

    def _take_back_accounts(self, rows: list[Account], keep: int) -> None:
        while len(rows) > keep:
            rows.pop()
            self.state.remove_newest_account()

    def _take_back_transfers(self, rows: list[Transfer], keep: int) -> None:
        while len(rows) > keep:
            rows.pop()
            self.state.unbook()


class Chain:
    """A run of linked events: where it starts in the batch and among the rows entered."""

    __slots__ = ("broken", "first", "rows")

    def __init__(self, first: int, rows: int) -> None:
        self.first = first
        self.rows = rows
        self.broken = False


def _is_broken(chain: Chain | None) -> bool:
    return chain is not None and chain.broken


def _has(order: Sequence[AccountState] | Sequence[Transfer], timestamp: int) -> bool:
    """Whether a row of a list that rises by timestamp has exactly this one."""
    at = bisect_left(order, timestamp, key=_BY_TIMESTAMP)
    return at < len(order) and order[at].timestamp == timestamp


def _account_row(a: Account, timestamp: int) -> Account:
    return Account(
        a.id,
        user_data_128=a.user_data_128,
        user_data_64=a.user_data_64,
        user_data_32=a.user_data_32,
        ledger=a.ledger,
        code=a.code,
        flags=int(a.flags),
        timestamp=timestamp,
    )


def _transfer_row(c: TransferCase) -> Transfer:
    """The transfer as it is booked: what it left out is inherited from the pending one."""
    t, p = c.t, c.p
    return Transfer(
        t.id,
        c.dr.id,
        c.cr.id,
        c.amount,
        t.pending_id,
        t.user_data_128 or p.user_data_128,
        t.user_data_64 or p.user_data_64,
        t.user_data_32 or p.user_data_32,
        t.timeout,
        c.dr.ledger,
        t.code or p.code,
        int(t.flags),
        c.timestamp,
    )
