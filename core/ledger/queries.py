"""What can be asked of a ledger's state: look-ups by id, filters by account and by field.

A search over many rows is a generator that pauses every few thousand, so that an event loop can
turn in between; rows are only ever added after those it was begun with.

A filter that makes no sense (no direction, no limit, an empty span of time) is answered with
an empty list, as TigerBeetle does, and a `limit` above one request's worth is cut to it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Sequence
from operator import attrgetter
from typing import TypeVar

from core.ledger.state import AccountState, State
from core.ledger.types import (
    AMOUNT_MAX,
    BATCH_MAX,
    U64_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountUnknown,
    Balance,
    QueryFilter,
    QueryFilterFlags,
    TooManyEvents,
    Transfer,
)

_DEBITS = int(AccountFilterFlags.DEBITS)
_CREDITS = int(AccountFilterFlags.CREDITS)
_REVERSED = int(AccountFilterFlags.REVERSED)
_QUERY_REVERSED = int(QueryFilterFlags.REVERSED)
_BY_TIMESTAMP = attrgetter("timestamp")

Row = TypeVar("Row", AccountState, Transfer)
Found = TypeVar("Found")
Steps = Generator[None, None, Found]
STEP = 4_096  # rows looked at between two pauses


def lookup_accounts(state: State, ids: Sequence[int]) -> list[Account]:
    """The accounts that exist, in the order asked."""
    _check_count(ids)
    get = state.accounts.get
    return [account.row() for account in map(get, ids) if account is not None]


def lookup_transfers(state: State, ids: Sequence[int]) -> list[Transfer]:
    """The transfers that exist, in the order asked."""
    _check_count(ids)
    get = state.transfers.get
    return [transfer for transfer in map(get, ids) if transfer is not None]


def get_account_balance(state: State, id: int) -> Balance:
    """Posted totals of one account. Raises AccountUnknown."""
    account = state.accounts.get(id)
    if account is None:
        raise AccountUnknown(f"The ledger holds no account {id}; create it before asking.")
    return _balance(account)


def get_accounts_batch(state: State, ids: Sequence[int]) -> dict[int, Balance]:
    """Posted totals of any number of accounts; those that do not exist are left out."""
    found = ((id_, state.accounts.get(id_)) for id_ in ids)
    return {id_: _balance(account) for id_, account in found if account is not None}


def get_account_transfers(state: State, f: AccountFilter) -> Steps[list[Transfer]]:
    """Transfers that debit or credit an account, as its filter's flags say."""
    account = _account_of(state, f)
    if account is None:
        return []
    rows = account.transfers
    return [rows[i] for i in (yield from _found_in(rows, f))]


def get_account_balances(state: State, f: AccountFilter) -> Steps[list[AccountBalance]]:
    """Balances of a `history` account after each transfer that `get_account_transfers` gives."""
    account = _account_of(state, f)
    if account is None or account.history is None:
        return []
    history = account.history
    return [history[i] for i in (yield from _found_in(account.transfers, f))]


def query_accounts(state: State, f: QueryFilter) -> Steps[list[Account]]:
    """Accounts by rising timestamp, or falling if the filter is reversed."""
    # All balances are read in the last step, so that they belong to one moment.
    return [account.row() for account in (yield from _query(state.account_order, f))]


def query_transfers(state: State, f: QueryFilter) -> Steps[list[Transfer]]:
    """Transfers by rising timestamp, or falling if the filter is reversed."""
    return (yield from _query(state.transfer_order, f))


def at_once(steps: Steps[Found]) -> Found:
    """Take all steps of a search without a pause."""
    try:
        while True:
            next(steps)
    except StopIteration as done:
        found: Found = done.value
        return found


def _check_count(ids: Sequence[int]) -> None:
    if len(ids) > BATCH_MAX:
        raise TooManyEvents(f"{len(ids)} ids in one request; ask for at most {BATCH_MAX}.")


def _balance(account: AccountState) -> Balance:
    debits, credits_ = account.debits_posted, account.credits_posted
    return Balance(debits, credits_, credits_ - debits)


def _account_of(state: State, f: AccountFilter) -> AccountState | None:
    """The account a filter asks about; None if it is unknown or the filter is invalid."""
    valid = (
        0 < f.account_id < AMOUNT_MAX
        and f.flags & (_DEBITS | _CREDITS)
        and not f.flags & ~(_DEBITS | _CREDITS | _REVERSED)
        and _span_valid(f)
    )
    return state.accounts.get(f.account_id) if valid else None


def _span_valid(f: AccountFilter | QueryFilter) -> bool:
    return (
        0 <= f.timestamp_min < U64_MAX
        and 0 <= f.timestamp_max < U64_MAX
        and (f.timestamp_max == 0 or f.timestamp_min <= f.timestamp_max)
        and f.limit > 0
    )


def _span(rows: Sequence[Row], f: AccountFilter | QueryFilter, *, back: bool) -> range:
    """Indexes of the rows within a filter's timestamps, in its direction."""
    low = bisect_left(rows, f.timestamp_min, key=_BY_TIMESTAMP) if f.timestamp_min else 0
    high = bisect_right(rows, f.timestamp_max, key=_BY_TIMESTAMP) if f.timestamp_max else len(rows)
    return range(high - 1, low - 1, -1) if back else range(low, high)


def _found_in(rows: Sequence[Transfer], f: AccountFilter) -> Steps[list[int]]:
    """Indexes of an account's transfers that match, up to the limit."""
    debits, credits_ = f.flags & _DEBITS, f.flags & _CREDITS
    span = _span(rows, f, back=bool(f.flags & _REVERSED))
    limit = min(f.limit, BATCH_MAX)
    found: list[int] = []
    for at in range(0, len(span), STEP):
        for i in span[at : at + STEP]:
            row = rows[i]
            if (
                ((debits and row.debit_account_id == f.account_id)
                 or (credits_ and row.credit_account_id == f.account_id))
                and f.user_data_128 in (0, row.user_data_128)
                and f.user_data_64 in (0, row.user_data_64)
                and f.user_data_32 in (0, row.user_data_32)
                and f.code in (0, row.code)
            ):  # fmt: skip
                found.append(i)
                if len(found) == limit:
                    return found
        yield
    return found


def _query(rows: Sequence[Row], f: QueryFilter) -> Steps[list[Row]]:
    """Rows that match, up to the limit."""
    if f.flags & ~_QUERY_REVERSED or not _span_valid(f):
        return []
    span = _span(rows, f, back=bool(f.flags & _QUERY_REVERSED))
    limit = min(f.limit, BATCH_MAX)
    asked = [
        (name, value)
        for name in ("user_data_128", "user_data_64", "user_data_32", "ledger", "code")
        if (value := getattr(f, name))
    ]
    if not asked:
        return [rows[i] for i in span[:limit]]
    found: list[Row] = []
    for at in range(0, len(span), STEP):
        for i in span[at : at + STEP]:
            row = rows[i]
            if all(getattr(row, name) == value for name, value in asked):
                found.append(row)
                if len(found) == limit:
                    return found
        yield
    return found
