"""Whether a row's fields fit the widths they are stored and sent in.

All fields of one width are or-ed together: a sum too wide, or any negative, leaves bits above.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.ledger.types import (
    AMOUNT_MAX,
    U16_MAX,
    U32_MAX,
    U64_MAX,
    Account,
    FieldOutOfRange,
    Transfer,
)


def check_account(a: Account, index: int) -> None:
    """Raise FieldOutOfRange unless every field of the account fits."""
    if (
        (
            a.id
            | a.debits_pending
            | a.debits_posted
            | a.credits_pending
            | a.credits_posted
            | a.user_data_128
        )
        >> 128
        or (a.user_data_64 | a.timestamp) >> 64
        or (a.user_data_32 | a.ledger | a.reserved) >> 32
        or (a.code | int(a.flags)) >> 16
    ):
        raise FieldOutOfRange(f"Account {a.id} (event {index}): {_misfit(a)}. Nothing was booked.")


def check_transfer(t: Transfer, index: int) -> None:
    """Raise FieldOutOfRange unless every field of the transfer fits."""
    if (
        (
            t.id
            | t.debit_account_id
            | t.credit_account_id
            | t.amount
            | t.pending_id
            | t.user_data_128
        )
        >> 128
        or (t.user_data_64 | t.timestamp) >> 64
        or (t.user_data_32 | t.timeout | t.ledger) >> 32
        or (t.code | int(t.flags)) >> 16
    ):
        raise FieldOutOfRange(f"Transfer {t.id} (event {index}): {_misfit(t)}. Nothing was booked.")


_WIDTHS = {
    "user_data_64": U64_MAX,
    "timestamp": U64_MAX,
    "user_data_32": U32_MAX,
    "timeout": U32_MAX,
    "ledger": U32_MAX,
    "reserved": U32_MAX,
    "code": U16_MAX,
    "flags": U16_MAX,
}


def _misfit(row: Account | Transfer) -> str:
    for name, value in _fields(row):
        largest = _WIDTHS.get(name, AMOUNT_MAX)
        if not 0 <= value <= largest:
            return f"{name} is {value}, which is not between 0 and {largest}"
    raise AssertionError("no field is out of range")


def _fields(row: Account | Transfer) -> Iterator[tuple[str, int]]:
    return ((name, getattr(row, name)) for name in row.__struct_fields__)
