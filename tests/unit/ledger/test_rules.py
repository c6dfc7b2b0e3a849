"""The tables themselves: complete, in the official order, and equal to the short cut."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from core.ledger.memory import Book
from core.ledger.rules import ACCOUNT_RULES, TRANSFER_RULES
from core.ledger.types import (
    AMOUNT_MAX,
    Account,
    AccountFlags,
    AccountStatus,
    Transfer,
    TransferStatus,
)
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


class TableOnlyBook(Book):
    """A book that never takes the short cut."""

    def _book_plain(self, t: Transfer, timestamp: int) -> Transfer | None:
        return None


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


@settings(max_examples=400, deadline=None)
@given(batches=st.lists(st.lists(NEARLY_PLAIN, min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_short_cut_decides_and_books_exactly_what_the_table_does(
    batches: list[list[Transfer]],
) -> None:
    books = [Book(ManualClock()), TableOnlyBook(ManualClock())]
    flags = AccountFlags
    accounts = [
        Account(id=1, ledger=1, code=1),
        Account(id=2, ledger=1, code=1),
        Account(id=3, ledger=1, code=1, flags=flags.DEBITS_MUST_NOT_EXCEED_CREDITS),
        Account(id=4, ledger=2, code=1, flags=flags.HISTORY),
        Account(id=5, ledger=1, code=1, flags=flags.CLOSED),
    ]
    for book in books:
        book.create_accounts(accounts)
    for batch in batches:
        quick, careful = (book.commit_transfers(batch) for book in books)
        assert quick == careful
        assert described(books[0].state) == described(books[1].state)
