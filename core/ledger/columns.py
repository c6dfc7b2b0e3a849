"""Runs of plain transfers as bytes: column after column, each packed in one step.

Little-endian: a header, ids (16 bytes each), debit and credit accounts (their ordinals, 4),
amounts (8, or 16 where one needs it), codes (2, once if all are the same), then user data of 128,
64 and 32 bits where there is any. Packing is also how widths are checked.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import repeat
from struct import Struct, unpack
from typing import Literal

from core.ledger.effects import Run

_HEADER = Struct("<QIII")  # timestamp of the first, how many, ledger, which columns there are
_WIDE_AMOUNTS, _USER_DATA_128, _USER_DATA_64, _USER_DATA_32, _ONE_CODE = 1, 2, 4, 8, 16
_SWAP = sys.byteorder == "big"
_LITTLE: Literal["little"] = "little"


def pack_run(
    timestamp: int,
    ledger: int,
    ids: Sequence[int],
    debits: Sequence[int],
    credits: Sequence[int],
    amounts: Sequence[int],
    codes: Sequence[int],
    user_data_128: Sequence[int],
    user_data_64: Sequence[int],
    user_data_32: Sequence[int],
) -> Run:
    """A run with its bytes. Raises OverflowError if a field is negative or too wide for it."""
    there = (
        _USER_DATA_128 * bool(user_data_128)
        | _USER_DATA_64 * bool(user_data_64)
        | _USER_DATA_32 * bool(user_data_32)
        | _ONE_CODE * (codes.count(codes[0]) == len(codes))
    )
    try:
        packed_amounts = _narrow("Q", amounts)
    except OverflowError:
        there |= _WIDE_AMOUNTS
        packed_amounts = _wide(amounts)
    packed = b"".join(
        (
            _HEADER.pack(timestamp, len(ids), ledger, there),
            _wide(ids),
            _narrow("I", debits),
            _narrow("I", credits),
            packed_amounts,
            _narrow("H", codes[:1] if there & _ONE_CODE else codes),
            _wide(user_data_128),
            _narrow("Q", user_data_64),
            _narrow("I", user_data_32),
        )
    )
    return Run(
        timestamp,
        ledger,
        ids,
        debits,
        credits,
        amounts,
        codes,
        user_data_128,
        user_data_64,
        user_data_32,
        packed,
    )


def decode_run(packed: memoryview) -> Run:
    """The inverse of `pack_run`. Raises ValueError or struct.error if it is no run."""
    timestamp, count, ledger, there = _HEADER.unpack_from(packed)
    at = _HEADER.size

    def column(size: int, length: int = count) -> list[int]:
        nonlocal at
        begin, at = at, at + size * length
        if at > len(packed):
            raise ValueError("a run is longer than its commit")
        return _read(size, packed[begin:at])

    run = Run(
        timestamp,
        ledger,
        column(16),
        column(4),
        column(4),
        column(16 if there & _WIDE_AMOUNTS else 8),
        column(2, 1) * count if there & _ONE_CODE else column(2),
        column(16, count if there & _USER_DATA_128 else 0),
        column(8, count if there & _USER_DATA_64 else 0),
        column(4, count if there & _USER_DATA_32 else 0),
        bytes(packed),
    )
    if at != len(packed) or not count:
        raise ValueError("a run is shorter than its commit")
    return run


_KINDS = {2: "H", 4: "I", 8: "Q"}


def _narrow(kind: str, values: Sequence[int]) -> bytes:
    column = array(kind, values)
    if _SWAP:
        column.byteswap()
    return column.tobytes()


def _wide(values: Sequence[int]) -> bytes:
    return b"".join(map(int.to_bytes, values, repeat(16), repeat(_LITTLE)))


def _read(size: int, packed: memoryview) -> list[int]:
    if size == 16:
        parts = unpack("16s" * (len(packed) // 16), packed)
        return list(map(int.from_bytes, parts, repeat(_LITTLE)))
    column = array(_KINDS[size])
    column.frombytes(packed)
    if _SWAP:
        column.byteswap()
    return column.tolist()
