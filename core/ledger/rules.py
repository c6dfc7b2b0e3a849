"""What the ledger refuses, and in which order: two tables read from top to bottom.

Each row is a status, the kind of event it concerns, and the condition under which the event is
refused. The first row that holds decides; if none holds the event is created. The rows stand
in the order in which the official client defines the statuses, with the one exception that an
open chain is noticed before a broken one (TigerBeetle `state_machine.zig`: `execute_create`,
`create_account`, `create_transfer`, `post_or_void_pending_transfer`). Nothing here changes
anything; `core.ledger.memory` gathers a case, asks, and applies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from core.ledger.state import (
    ACCOUNT_FLAGS,
    ACCOUNT_IMPORTED,
    BALANCING,
    CAPPED,
    CLOSED,
    CLOSING,
    CREDITS_CAPPED,
    DEBITS_CAPPED,
    EXPIRED,
    LINKED,
    PENDING,
    POSTED,
    RESOLVING,
    TRANSFER_FLAGS,
    TRANSFER_IMPORTED,
    VOID,
    VOIDED,
    AccountState,
    expires_at,
    resolved_amount,
)
from core.ledger.types import (
    AMOUNT_MAX,
    NS_PER_SECOND,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    Account,
    AccountStatus,
    Transfer,
    TransferStatus,
)


class Slot(NamedTuple):
    """Where an event stands in its request: what the first rows of both tables look at."""

    timestamp: int  # of this event's slot
    batch_timestamp: int  # of the last slot
    batch_imported: bool  # what the first event of the batch is
    last: bool  # the last event of the batch
    chain_broken: bool


class AccountCase(NamedTuple):
    """All that decides about one account of a batch."""

    slot: Slot
    a: Account
    e: AccountState  # the account that already has this id, or NO_ACCOUNT
    newest: int  # timestamp of the newest account
    taken: bool  # whether a transfer has exactly this timestamp


class TransferCase(NamedTuple):
    """All that decides about one transfer of a batch. `p` is the pending transfer that it
    resolves, and then `dr` and `cr` are its accounts."""

    slot: Slot
    t: Transfer
    e: Transfer  # the transfer that already has this id, or NO_TRANSFER
    p: Transfer  # the pending transfer it resolves, or NO_TRANSFER
    p_status: int
    dr: AccountState  # or NO_ACCOUNT
    cr: AccountState
    burnt: bool
    amount: int  # what will be booked: balancing and inherited amounts resolved
    timestamp: int  # of the slot, or the event's own if imported
    newest: int  # timestamp of the newest transfer
    taken: bool  # whether an account has exactly this timestamp


# What an event is; a row concerns the events that are everything it names.
ANY = 0
NEW = 1  # the id is not in the book
KNOWN = 2  # it is
PLAIN = 4  # a transfer that resolves nothing
RESOLVES = 8  # posts or voids a pending transfer
LIVE = 16  # the ledger gives the timestamp
IMPORTED = 32  # the caller does


class AccountRule(NamedTuple):
    """One row: accounts of this kind get this status when `refuses` holds."""

    status: AccountStatus
    kind: int
    refuses: Callable[[AccountCase], bool]


class TransferRule(NamedTuple):
    """One row: transfers of this kind get this status when `refuses` holds."""

    status: TransferStatus
    kind: int
    refuses: Callable[[TransferCase], bool]


_A = AccountStatus
_a = AccountRule
ACCOUNT_RULES: tuple[AccountRule, ...] = (
    _a(_A.LINKED_EVENT_CHAIN_OPEN, ANY, lambda c: c.slot.last and c.a.flags & LINKED != 0),
    _a(_A.LINKED_EVENT_FAILED, ANY, lambda c: c.slot.chain_broken),
    _a(_A.IMPORTED_EVENT_EXPECTED, LIVE, lambda c: c.slot.batch_imported),
    _a(_A.IMPORTED_EVENT_NOT_EXPECTED, IMPORTED, lambda c: not c.slot.batch_imported),
    _a(_A.TIMESTAMP_MUST_BE_ZERO, LIVE, lambda c: c.a.timestamp != 0),
    _a(_A.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE, IMPORTED, lambda c: _out(c.a.timestamp)),
    _a(
        _A.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE,
        IMPORTED,
        lambda c: c.a.timestamp >= c.slot.batch_timestamp,
    ),
    _a(_A.RESERVED_FIELD, ANY, lambda c: c.a.reserved != 0),
    _a(_A.RESERVED_FLAG, ANY, lambda c: c.a.flags & ~ACCOUNT_FLAGS != 0),
    _a(_A.ID_MUST_NOT_BE_ZERO, ANY, lambda c: c.a.id == 0),
    _a(_A.ID_MUST_NOT_BE_INT_MAX, ANY, lambda c: c.a.id == AMOUNT_MAX),
    _a(_A.EXISTS_WITH_DIFFERENT_FLAGS, KNOWN, lambda c: c.a.flags != c.e.flags),
    _a(
        _A.EXISTS_WITH_DIFFERENT_USER_DATA_128,
        KNOWN,
        lambda c: c.a.user_data_128 != c.e.user_data_128,
    ),
    _a(
        _A.EXISTS_WITH_DIFFERENT_USER_DATA_64, KNOWN, lambda c: c.a.user_data_64 != c.e.user_data_64
    ),
    _a(
        _A.EXISTS_WITH_DIFFERENT_USER_DATA_32, KNOWN, lambda c: c.a.user_data_32 != c.e.user_data_32
    ),
    _a(_A.EXISTS_WITH_DIFFERENT_LEDGER, KNOWN, lambda c: c.a.ledger != c.e.ledger),
    _a(_A.EXISTS_WITH_DIFFERENT_CODE, KNOWN, lambda c: c.a.code != c.e.code),
    _a(_A.EXISTS, KNOWN, lambda _: True),
    _a(_A.FLAGS_ARE_MUTUALLY_EXCLUSIVE, NEW, lambda c: c.a.flags & CAPPED == CAPPED),
    _a(_A.DEBITS_PENDING_MUST_BE_ZERO, NEW, lambda c: c.a.debits_pending != 0),
    _a(_A.DEBITS_POSTED_MUST_BE_ZERO, NEW, lambda c: c.a.debits_posted != 0),
    _a(_A.CREDITS_PENDING_MUST_BE_ZERO, NEW, lambda c: c.a.credits_pending != 0),
    _a(_A.CREDITS_POSTED_MUST_BE_ZERO, NEW, lambda c: c.a.credits_posted != 0),
    _a(_A.LEDGER_MUST_NOT_BE_ZERO, NEW, lambda c: c.a.ledger == 0),
    _a(_A.CODE_MUST_NOT_BE_ZERO, NEW, lambda c: c.a.code == 0),
    _a(
        _A.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        NEW | IMPORTED,
        lambda c: c.taken or c.a.timestamp <= c.newest,
    ),
)

_T = TransferStatus
_t = TransferRule
TRANSFER_RULES: tuple[TransferRule, ...] = (
    _t(_T.LINKED_EVENT_CHAIN_OPEN, ANY, lambda c: c.slot.last and c.t.flags & LINKED != 0),
    _t(_T.LINKED_EVENT_FAILED, ANY, lambda c: c.slot.chain_broken),
    _t(_T.IMPORTED_EVENT_EXPECTED, LIVE, lambda c: c.slot.batch_imported),
    _t(_T.IMPORTED_EVENT_NOT_EXPECTED, IMPORTED, lambda c: not c.slot.batch_imported),
    _t(_T.TIMESTAMP_MUST_BE_ZERO, LIVE, lambda c: c.t.timestamp != 0),
    _t(_T.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE, IMPORTED, lambda c: _out(c.t.timestamp)),
    _t(
        _T.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE,
        IMPORTED,
        lambda c: c.t.timestamp >= c.slot.batch_timestamp,
    ),
    _t(_T.RESERVED_FLAG, ANY, lambda c: c.t.flags & ~TRANSFER_FLAGS != 0),
    _t(_T.ID_MUST_NOT_BE_ZERO, ANY, lambda c: c.t.id == 0),
    _t(_T.ID_MUST_NOT_BE_INT_MAX, ANY, lambda c: c.t.id == AMOUNT_MAX),
    # The id is known: the same transfer again, or another one under its id. A post or void may
    # leave out what it inherits; for a plain transfer `p` is all zeros, so nothing is inherited.
    _t(_T.EXISTS_WITH_DIFFERENT_FLAGS, KNOWN, lambda c: c.t.flags != c.e.flags),
    _t(_T.EXISTS_WITH_DIFFERENT_PENDING_ID, KNOWN, lambda c: c.t.pending_id != c.e.pending_id),
    _t(_T.EXISTS_WITH_DIFFERENT_TIMEOUT, KNOWN, lambda c: c.t.timeout != c.e.timeout),
    _t(
        _T.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID,
        KNOWN,
        lambda c: (c.t.debit_account_id or c.p.debit_account_id) != c.e.debit_account_id,
    ),
    _t(
        _T.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID,
        KNOWN,
        lambda c: (c.t.credit_account_id or c.p.credit_account_id) != c.e.credit_account_id,
    ),
    _t(
        _T.EXISTS_WITH_DIFFERENT_AMOUNT,
        KNOWN | PLAIN,
        # A retry of a balancing transfer may ask for as much as was moved, or more.
        lambda c: c.t.amount < c.e.amount if c.t.flags & BALANCING else c.t.amount != c.e.amount,
    ),
    _t(
        _T.EXISTS_WITH_DIFFERENT_AMOUNT,
        KNOWN | RESOLVES,
        lambda c: resolved_amount(c.t, c.p) != c.e.amount,
    ),
    _t(
        _T.EXISTS_WITH_DIFFERENT_USER_DATA_128,
        KNOWN,
        lambda c: (c.t.user_data_128 or c.p.user_data_128) != c.e.user_data_128,
    ),
    _t(
        _T.EXISTS_WITH_DIFFERENT_USER_DATA_64,
        KNOWN,
        lambda c: (c.t.user_data_64 or c.p.user_data_64) != c.e.user_data_64,
    ),
    _t(
        _T.EXISTS_WITH_DIFFERENT_USER_DATA_32,
        KNOWN,
        lambda c: (c.t.user_data_32 or c.p.user_data_32) != c.e.user_data_32,
    ),
    _t(
        _T.EXISTS_WITH_DIFFERENT_LEDGER,
        KNOWN,
        lambda c: (c.t.ledger or c.p.ledger) != c.e.ledger,
    ),
    _t(_T.EXISTS_WITH_DIFFERENT_CODE, KNOWN, lambda c: (c.t.code or c.p.code) != c.e.code),
    _t(_T.EXISTS, KNOWN, lambda _: True),
    _t(_T.ID_ALREADY_FAILED, NEW, lambda c: c.burnt),
    # What the event says of itself.
    _t(
        _T.FLAGS_ARE_MUTUALLY_EXCLUSIVE,
        NEW | RESOLVES,
        lambda c: (
            c.t.flags & RESOLVING == RESOLVING or c.t.flags & (PENDING | BALANCING | CLOSING) != 0
        ),
    ),
    _t(_T.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, NEW | PLAIN, lambda c: c.t.debit_account_id == 0),
    _t(
        _T.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX,
        NEW | PLAIN,
        lambda c: c.t.debit_account_id == AMOUNT_MAX,
    ),
    _t(_T.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, NEW | PLAIN, lambda c: c.t.credit_account_id == 0),
    _t(
        _T.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX,
        NEW | PLAIN,
        lambda c: c.t.credit_account_id == AMOUNT_MAX,
    ),
    _t(
        _T.ACCOUNTS_MUST_BE_DIFFERENT,
        NEW | PLAIN,
        lambda c: c.t.debit_account_id == c.t.credit_account_id,
    ),
    _t(_T.PENDING_ID_MUST_BE_ZERO, NEW | PLAIN, lambda c: c.t.pending_id != 0),
    _t(_T.PENDING_ID_MUST_NOT_BE_ZERO, NEW | RESOLVES, lambda c: c.t.pending_id == 0),
    _t(_T.PENDING_ID_MUST_NOT_BE_INT_MAX, NEW | RESOLVES, lambda c: c.t.pending_id == AMOUNT_MAX),
    _t(_T.PENDING_ID_MUST_BE_DIFFERENT, NEW | RESOLVES, lambda c: c.t.pending_id == c.t.id),
    _t(
        _T.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER,
        NEW,
        lambda c: c.t.timeout != 0 and not c.t.flags & PENDING,
    ),
    _t(
        _T.CLOSING_TRANSFER_MUST_BE_PENDING,
        NEW | PLAIN,
        lambda c: c.t.flags & CLOSING != 0 and not c.t.flags & PENDING,
    ),
    _t(_T.LEDGER_MUST_NOT_BE_ZERO, NEW | PLAIN, lambda c: c.t.ledger == 0),
    _t(_T.CODE_MUST_NOT_BE_ZERO, NEW | PLAIN, lambda c: c.t.code == 0),
    # What the book says of the accounts, or of the pending transfer.
    _t(_T.DEBIT_ACCOUNT_NOT_FOUND, NEW | PLAIN, lambda c: c.dr.id == 0),
    _t(_T.CREDIT_ACCOUNT_NOT_FOUND, NEW | PLAIN, lambda c: c.cr.id == 0),
    _t(
        _T.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER,
        NEW | PLAIN,
        lambda c: c.dr.ledger != c.cr.ledger,
    ),
    _t(
        _T.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS,
        NEW | PLAIN,
        lambda c: c.t.ledger != c.dr.ledger,
    ),
    _t(_T.PENDING_TRANSFER_NOT_FOUND, NEW | RESOLVES, lambda c: c.p.id == 0),
    _t(_T.PENDING_TRANSFER_NOT_PENDING, NEW | RESOLVES, lambda c: not c.p.flags & PENDING),
    _t(
        _T.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID,
        NEW | RESOLVES,
        lambda c: c.t.debit_account_id not in (0, c.p.debit_account_id),
    ),
    _t(
        _T.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID,
        NEW | RESOLVES,
        lambda c: c.t.credit_account_id not in (0, c.p.credit_account_id),
    ),
    _t(
        _T.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER,
        NEW | RESOLVES,
        lambda c: c.t.ledger not in (0, c.p.ledger),
    ),
    _t(
        _T.PENDING_TRANSFER_HAS_DIFFERENT_CODE,
        NEW | RESOLVES,
        lambda c: c.t.code not in (0, c.p.code),
    ),
    _t(_T.EXCEEDS_PENDING_TRANSFER_AMOUNT, NEW | RESOLVES, lambda c: c.amount > c.p.amount),
    _t(
        _T.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT,
        NEW | RESOLVES,
        lambda c: c.t.flags & VOID != 0 and c.amount < c.p.amount,
    ),
    _t(_T.PENDING_TRANSFER_ALREADY_POSTED, NEW | RESOLVES, lambda c: c.p_status == POSTED),
    _t(_T.PENDING_TRANSFER_ALREADY_VOIDED, NEW | RESOLVES, lambda c: c.p_status == VOIDED),
    _t(
        _T.PENDING_TRANSFER_EXPIRED,
        NEW | RESOLVES,
        lambda c: c.p_status == EXPIRED or 0 < expires_at(c.p) <= c.timestamp,
    ),
    _t(
        _T.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        NEW | IMPORTED,
        lambda c: c.taken or c.t.timestamp <= c.newest,
    ),
    _t(
        _T.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT,
        NEW | PLAIN | IMPORTED,
        lambda c: c.t.timestamp <= c.dr.timestamp,
    ),
    _t(
        _T.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT,
        NEW | PLAIN | IMPORTED,
        lambda c: c.t.timestamp <= c.cr.timestamp,
    ),
    _t(_T.IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO, NEW | PLAIN | IMPORTED, lambda c: c.t.timeout != 0),
    # A closed account takes nothing but the voiding of what is still pending on it.
    _t(
        _T.DEBIT_ACCOUNT_ALREADY_CLOSED,
        NEW,
        lambda c: c.dr.flags & CLOSED != 0 and not c.t.flags & VOID,
    ),
    _t(
        _T.CREDIT_ACCOUNT_ALREADY_CLOSED,
        NEW,
        lambda c: c.cr.flags & CLOSED != 0 and not c.t.flags & VOID,
    ),
    # What the amounts allow. Resolving never raises a total, so it is not asked.
    _t(
        _T.OVERFLOWS_DEBITS_PENDING,
        NEW | PLAIN,
        lambda c: c.t.flags & PENDING != 0 and c.dr.debits_pending + c.amount > AMOUNT_MAX,
    ),
    _t(
        _T.OVERFLOWS_CREDITS_PENDING,
        NEW | PLAIN,
        lambda c: c.t.flags & PENDING != 0 and c.cr.credits_pending + c.amount > AMOUNT_MAX,
    ),
    _t(
        _T.OVERFLOWS_DEBITS_POSTED,
        NEW | PLAIN,
        lambda c: c.dr.debits_posted + c.amount > AMOUNT_MAX,
    ),
    _t(
        _T.OVERFLOWS_CREDITS_POSTED,
        NEW | PLAIN,
        lambda c: c.cr.credits_posted + c.amount > AMOUNT_MAX,
    ),
    _t(
        _T.OVERFLOWS_DEBITS,
        NEW | PLAIN,
        lambda c: c.dr.debits_pending + c.dr.debits_posted + c.amount > AMOUNT_MAX,
    ),
    _t(
        _T.OVERFLOWS_CREDITS,
        NEW | PLAIN,
        lambda c: c.cr.credits_pending + c.cr.credits_posted + c.amount > AMOUNT_MAX,
    ),
    _t(
        _T.OVERFLOWS_TIMEOUT,
        NEW | PLAIN,
        lambda c: c.timestamp + c.t.timeout * NS_PER_SECOND > TIMESTAMP_MAX,
    ),
    _t(
        _T.EXCEEDS_CREDITS,
        NEW | PLAIN,
        lambda c: (
            c.dr.flags & DEBITS_CAPPED != 0
            and c.dr.debits_pending + c.dr.debits_posted + c.amount > c.dr.credits_posted
        ),
    ),
    _t(
        _T.EXCEEDS_DEBITS,
        NEW | PLAIN,
        lambda c: (
            c.cr.flags & CREDITS_CAPPED != 0
            and c.cr.credits_pending + c.cr.credits_posted + c.amount > c.cr.debits_posted
        ),
    ),
)


def _out(timestamp: int) -> bool:
    return not TIMESTAMP_MIN <= timestamp <= TIMESTAMP_MAX


# The same tables with the rows that cannot concern an event left out, by what the event is.
_ACCOUNT_ROWS = {
    kind: tuple(rule for rule in ACCOUNT_RULES if rule.kind & kind == rule.kind)
    for kind in (known | time for known in (NEW, KNOWN) for time in (LIVE, IMPORTED))
}
_TRANSFER_ROWS = {
    kind: tuple(rule for rule in TRANSFER_RULES if rule.kind & kind == rule.kind)
    for kind in (
        known | does | time
        for known in (NEW, KNOWN)
        for does in (PLAIN, RESOLVES)
        for time in (LIVE, IMPORTED)
    )
}


def judge_account(c: AccountCase) -> AccountStatus:
    """The status of the first row that refuses the account, or CREATED."""
    kind = (KNOWN if c.e.id else NEW) | (IMPORTED if c.a.flags & ACCOUNT_IMPORTED else LIVE)
    for status, _, refuses in _ACCOUNT_ROWS[kind]:
        if refuses(c):
            return status
    return AccountStatus.CREATED


def judge_transfer(c: TransferCase) -> TransferStatus:
    """The status of the first row that refuses the transfer, or CREATED."""
    flags = c.t.flags
    kind = (
        (KNOWN if c.e.id else NEW)
        | (RESOLVES if flags & RESOLVING else PLAIN)
        | (IMPORTED if flags & TRANSFER_IMPORTED else LIVE)
    )
    for status, _, refuses in _TRANSFER_ROWS[kind]:
        if refuses(c):
            return status
    return TransferStatus.CREATED
