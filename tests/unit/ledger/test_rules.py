"""The tables themselves: complete, in the official order, and equal to the short cuts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ledger.codec import decode_effects, encode_effects
from core.ledger.journal import VERSION
from core.ledger.memory import Book, TransferCommit
from core.ledger.rules import ACCOUNT_RULES, TRANSFER_RULES
from core.ledger.snapshot import Snapshot, read_snapshot, snapshot_name, write_snapshot
from core.ledger.state import State
from core.ledger.types import (
    AMOUNT_MAX,
    Account,
    AccountFlags,
    AccountStatus,
    FieldOutOfRange,
    Transfer,
    TransferFlags,
    TransferStatus,
)
from tests.crash.simulated import SimFolder
from tests.crash.workload import described
from tests.unit.ledger.worlds import ManualClock


def test_every_account_status_has_a_row_in_the_order_of_the_official_enum() -> None:
    rows = [rule.status for rule in ACCOUNT_RULES]
    order = list(AccountStatus)
    assert len(order) == 27
    assert order[0] is AccountStatus.CREATED
    # The one exception: an open chain is noticed before a broken one.
    assert rows == [order[2], order[1], *order[3:]]


def test_every_transfer_status_has_a_row_in_the_order_of_the_official_enum() -> None:
    # Two neighbouring rows share EXISTS_WITH_DIFFERENT_AMOUNT, for plain and resolving transfers.
    rows = [status for status, _ in groupby(rule.status for rule in TRANSFER_RULES)]
    order = list(TransferStatus)
    assert len(order) == 68
    assert order[0] is TransferStatus.CREATED
    assert rows == [order[2], order[1], *order[3:]]


F = TransferFlags


class TableOnlyBook(Book):
    """A book that never takes a short cut."""

    run_min = sys.maxsize

    def _book_plain(self, t: Transfer, timestamp: int) -> Transfer | None:
        return None

    def commit_transfers(self, batch: Sequence[Transfer]) -> TransferCommit:
        return self._commit_each(batch, *self._slots(batch))


class ColumnsBook(Book):
    """A book that tries the columns on any batch."""

    run_min = 1


NEARLY_PLAIN = st.builds(
    Transfer,
    id=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, AMOUNT_MAX]),
    debit_account_id=st.sampled_from([0, 1, 1, 2, 2, 3, 4, 5, 9, AMOUNT_MAX]),
    credit_account_id=st.sampled_from([0, 1, 1, 2, 2, 3, 4, 5, 9, AMOUNT_MAX]),
    amount=st.sampled_from([0, 1, 2, 10, 2**127, AMOUNT_MAX - 10, AMOUNT_MAX]),
    pending_id=st.sampled_from([0, 0, 0, 0, 0, 1]),
    timeout=st.sampled_from([0, 0, 0, 0, 0, 1]),
    timestamp=st.sampled_from([0, 0, 0, 0, 0, 1]),
    ledger=st.sampled_from([0, 1, 1, 1, 1, 1, 2]),
    code=st.sampled_from([0, 1, 1, 1, 1, 1, 2]),
    user_data_128=st.sampled_from([0, AMOUNT_MAX]),
    user_data_64=st.sampled_from([0, 2**64 - 1]),
    user_data_32=st.sampled_from([0, 2**32 - 1]),
)
PLAIN = st.builds(
    Transfer,
    id=st.integers(1, 2**100),
    debit_account_id=st.sampled_from([1, 6]),
    credit_account_id=st.sampled_from([2, 7]),
    amount=st.sampled_from([0, 1, 2**64 - 1, 2**64, 2**120]),
    ledger=st.just(1),
    code=st.sampled_from([1, 1, 1, 2**16 - 1]),
    user_data_128=st.sampled_from([0, 0, 0, AMOUNT_MAX]),
    user_data_64=st.sampled_from([0, 0, 0, 2**64 - 1]),
    user_data_32=st.sampled_from([0, 0, 0, 2**32 - 1]),
)
SPOILT = {
    "flags": [int(F.PENDING), int(F.LINKED), 1 << 15],
    "id": [0, 1, AMOUNT_MAX],
    "debit_account_id": [0, 2, 3, 4, 5, 8, 9],
    "credit_account_id": [0, 1, 3, 4, 5, 8, 9],
    "amount": [2**127, AMOUNT_MAX],
    "pending_id": [1],
    "timeout": [1],
    "timestamp": [1],
    "ledger": [0, 2],
    "code": [0],
}


@st.composite
def runs(draw: st.DrawFn) -> list[Transfer]:
    """Plain transfers, of which one may be spoilt in one field or there twice."""
    batch = draw(st.lists(PLAIN, min_size=1, max_size=6))
    if draw(st.booleans()):
        at, field = draw(st.integers(0, len(batch) - 1)), draw(st.sampled_from(sorted(SPOILT)))
        change = {field: draw(st.sampled_from(SPOILT[field]))}
        batch[at] = msgspec.structs.replace(batch[at], **change)
    if draw(st.integers(0, 5)) == 0:
        batch.append(batch[0])
    return batch


ACCOUNTS = [
    Account(id=1, ledger=1, code=1),
    Account(id=2, ledger=1, code=1),
    Account(id=3, ledger=1, code=1, flags=int(AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)),
    Account(id=4, ledger=2, code=1, flags=int(AccountFlags.HISTORY)),
    Account(id=5, ledger=1, code=1, flags=int(AccountFlags.CLOSED)),
    Account(id=6, ledger=1, code=1),
    Account(id=7, ledger=1, code=1),
    Account(id=8, ledger=2, code=1),
]
PENDING = Transfer(
    id=1 << 109,
    debit_account_id=1,
    credit_account_id=2,
    amount=AMOUNT_MAX - 10,
    ledger=1,
    code=1,
    flags=int(F.PENDING),
)
CLOSE = Transfer(
    id=1 << 110,
    debit_account_id=1,
    credit_account_id=2,
    ledger=1,
    code=1,
    flags=int(F.PENDING | F.CLOSING_DEBIT),
)
REOPEN = Transfer(id=1 << 111, pending_id=CLOSE.id, flags=int(F.VOID_PENDING_TRANSFER))


@settings(max_examples=600, deadline=None)
@given(
    batches=st.lists(
        st.one_of(
            st.lists(NEARLY_PLAIN, min_size=1, max_size=6),
            runs(),
            runs(),
            st.sampled_from([[CLOSE], [REOPEN]]),
        ),
        min_size=1,
        max_size=5,
    ),
    stop_after=st.integers(0, 5),
)
def test_the_short_cuts_decide_and_book_exactly_what_the_table_does(
    batches: list[list[Transfer]], stop_after: int
) -> None:
    careful = TableOnlyBook(ManualClock())
    quick = [Book(ManualClock()), ColumnsBook(ManualClock())]
    replayed = State()
    for book in quick:
        book.commit_accounts(ACCOUNTS)
    replayed.apply(careful.commit_accounts(ACCOUNTS).effects)
    for number, batch in enumerate(batches):
        expected = careful.commit_transfers(batch)
        for book in quick:
            commit = book.commit_transfers(batch)
            assert commit.results == expected.results
            assert described(book.state) == described(careful.state)
        for effects in decode_effects(memoryview(encode_effects([commit.effects])), VERSION):
            replayed.apply(effects)
        assert described(replayed) == described(careful.state)
        if number == stop_after:  # go on from a snapshot
            quick = [type(book)(ManualClock(), from_a_snapshot(book.state)) for book in quick]


def from_a_snapshot(state: State) -> State:
    """The same state, written and read back."""
    folder = SimFolder()
    write_snapshot(folder, Snapshot(bytes(16), 1, 0, state))
    return read_snapshot("", folder.read(snapshot_name(1))).state


def test_a_plain_batch_is_written_as_a_run_and_a_spoilt_one_as_rows() -> None:
    book = Book(ManualClock())
    book.create_accounts(ACCOUNTS)
    plain = [
        Transfer(id=i, debit_account_id=1, credit_account_id=2, amount=i, ledger=1, code=1)
        for i in range(1, 101)
    ]
    effects = book.commit_transfers(plain).effects
    assert effects.run is not None
    assert effects.run.ids == [t.id for t in plain]
    assert len(encode_effects([effects])) < 100 * 36
    again = book.commit_transfers(plain)
    assert {result.status for result in again.results} == {TransferStatus.EXISTS}
    assert again.effects.run is None


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in SPOILT for value in SPOILT[field]]
)
def test_one_spoilt_transfer_in_a_plain_batch_is_judged_by_the_table(
    field: str, value: int
) -> None:
    plain = [
        Transfer(id=i, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1)
        for i in range(1, 11)
    ]
    batch = [*plain[:4], msgspec.structs.replace(plain[4], **{field: value}), *plain[5:]]
    books = [ColumnsBook(ManualClock()), TableOnlyBook(ManualClock())]
    for book in books:
        book.commit_accounts(ACCOUNTS)
    quick, careful = (book.commit_transfers(batch) for book in books)
    assert quick.results == careful.results
    assert described(books[0].state) == described(books[1].state)


def test_what_is_pending_counts_towards_the_totals_that_a_plain_batch_may_not_overflow() -> None:
    batch = [
        Transfer(id=i, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1)
        for i in range(1, 12)
    ]
    book = ColumnsBook(ManualClock())
    book.commit_accounts(ACCOUNTS)
    book.commit_transfers([PENDING])  # leaves room for ten
    statuses = [result.status for result in book.commit_transfers(batch).results]
    assert statuses == [TransferStatus.CREATED] * 10 + [TransferStatus.OVERFLOWS_DEBITS]


def test_a_batch_without_ledger_number_is_refused_between_accounts_that_need_the_table() -> None:
    book = ColumnsBook(ManualClock())
    book.commit_accounts(ACCOUNTS)
    draft = Transfer(id=1, debit_account_id=3, credit_account_id=5, amount=1, code=1)
    [result] = book.commit_transfers([draft]).results
    assert result.status is TransferStatus.LEDGER_MUST_NOT_BE_ZERO


def test_a_field_too_wide_for_a_column_is_named_and_books_nothing() -> None:
    book = Book(ManualClock())
    book.create_accounts(ACCOUNTS)
    plain = [
        Transfer(id=i, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1)
        for i in range(1, 11)
    ]
    before = described(book.state)
    for field, value in (
        ("id", 1 << 128),
        ("amount", -1),
        ("amount", 1 << 128),
        ("code", 1 << 16),
        ("user_data_128", 1 << 128),
        ("user_data_64", -1),
        ("user_data_32", 1 << 32),
    ):
        batch = [*plain[:5], msgspec.structs.replace(plain[5], **{field: value}), *plain[6:]]
        with pytest.raises(FieldOutOfRange, match=f"{field} is {value}"):
            book.create_transfers(batch)
        assert described(book.state) == before
