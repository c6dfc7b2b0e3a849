"""What one commit changed, every decision made: what a journal stores and `State.apply` takes.

Rows are as booked: timestamps assigned, amounts resolved. A run is what most batches are, kept
in columns because columns are judged, written and read back several times faster than rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.ledger.types import Account, Transfer


class Run(msgspec.Struct, frozen=True, gc=False):
    """Transfers without flags, pending id or time-out, all of one ledger number, in slots that
    follow each other. Columns are as long as `ids`; user data that no transfer has is an
    empty column. `debits` and `credits` are ordinals: the account's place in the order in which
    the ledger's accounts were created, from 0. `packed` is the run as a journal holds it."""

    timestamp: int  # of the first transfer's slot
    ledger: int
    ids: Sequence[int]
    debits: Sequence[int]
    credits: Sequence[int]
    amounts: Sequence[int]
    codes: Sequence[int]
    user_data_128: Sequence[int]
    user_data_64: Sequence[int]
    user_data_32: Sequence[int]
    packed: bytes


class Effects(msgspec.Struct, frozen=True, gc=False):
    """The changes in the order in which they apply: pending transfers lapsed as (id,
    timestamp), accounts, then transfers as rows or as a run, and ids burnt. `timestamp` is the
    last slot used."""

    timestamp: int
    accounts: Sequence[Account] = ()
    transfers: Sequence[Transfer] = ()
    burnt: Sequence[int] = ()
    expired: Sequence[tuple[int, int]] = ()
    run: Run | None = None
