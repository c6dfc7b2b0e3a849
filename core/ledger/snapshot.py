"""Snapshots: the state after one record, whole, in one file that is checked by one crc.

A snapshot only shortens the restart; what makes a transfer durable is the journal. It is
written under a `.tmp` name, synced, renamed, and its folder synced; what is left of one that
was not finished is never read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from core.ledger.codec import (
    HISTORY_ROW,
    ID_SIZE,
    ROW,
    decode_accounts,
    decode_history,
    decode_ids,
    decode_transfers,
    encode_accounts,
    encode_history,
    encode_ids,
    encode_transfers,
)
from core.ledger.files import Folder
from core.ledger.state import PENDING, State
from core.ledger.types import AccountBalance, LedgerDamaged, Transfer

VERSION = 1
_MAGIC = b"BURSSNAP"
# magic, version, 0, identity, sequence, timestamp, chain; how many accounts, transfers, pending
# ones, burnt ids, history rows; then the header's crc. A crc of the whole file ends it.
_HEADER = Struct("<8sII16sQQIIQQQQQ")
_CRC = Struct("<I")
_COUNT = Struct("<I")
_START = _HEADER.size + _CRC.size
_SLICE = 8_192  # rows encoded at a time


class Snapshot(NamedTuple):
    """A state, and the record it was taken after."""

    identity: bytes
    sequence: int
    chain: int
    state: State


def snapshot_name(sequence: int) -> str:
    """File name of the snapshot after this record."""
    return f"snapshot-{sequence:020d}.bin"


def sequence_of(name: str) -> int:
    """The number in the name of a snapshot or a segment."""
    return int(name.partition("-")[2].partition(".")[0])


def write_snapshot(folder: Folder, snapshot: Snapshot) -> int:
    """Write one durably under its final name; return its size in bytes. Raises OSError."""
    name = snapshot_name(snapshot.sequence)
    # A folding process may outlive the engine that started it and meet its successor's.
    temporary = f"{name}.{os.getpid()}.tmp"
    file = folder.create(temporary)
    try:
        crc = size = 0
        for part in _encode(snapshot):
            file.append(part)
            crc, size = crc32(part, crc), size + len(part)
        file.append(_CRC.pack(crc))
        file.sync()
    finally:
        file.close()
    folder.rename(temporary, name)
    folder.sync()
    return size + _CRC.size


def read_snapshot(where: str, packed: bytes) -> Snapshot:
    """A snapshot's contents. Raises LedgerDamaged."""
    view = memoryview(packed)
    if len(packed) < _START + _CRC.size:
        raise LedgerDamaged(where, len(packed), "the file ends within its header")
    if packed[:8] != _MAGIC:
        raise LedgerDamaged(where, 0, "this is not a ledger's snapshot")
    if _CRC.unpack_from(view, _HEADER.size)[0] != crc32(view[: _HEADER.size]):
        raise LedgerDamaged(where, 0, "the header is damaged")
    _, version, _, identity, sequence, timestamp, chain, history, *counts = _HEADER.unpack_from(
        view
    )
    if version != VERSION:
        raise LedgerDamaged(where, 8, f"format {version} is not known to this version")
    ends = [_START]
    sizes = (ROW.size, ROW.size, 1, ID_SIZE, HISTORY_ROW.size)
    for count, size in zip(counts, sizes, strict=True):
        ends.append(ends[-1] + count * size)
    ends.append(ends[-1] + history * _COUNT.size)
    if len(packed) != ends[-1] + _CRC.size:
        raise LedgerDamaged(where, len(packed), f"the file should have {ends[-1] + 4} bytes")
    if _CRC.unpack_from(view, ends[-1])[0] != crc32(view[: ends[-1]]):
        raise LedgerDamaged(where, _START, "the contents are damaged")
    state = State()
    state.timestamp = timestamp
    accounts = decode_accounts(view[ends[0] : ends[1]])
    state.add_accounts(accounts)
    for account in accounts:
        debits = account.debits_posted + account.debits_pending
        credits_ = account.credits_posted + account.credits_pending
        state.turnover = max(state.turnover, debits, credits_)
    pending = bytes(view[ends[2] : ends[3]])
    _restore_transfers(state, decode_transfers(view[ends[1] : ends[2]]), pending)
    state.burnt = set(decode_ids(view[ends[3] : ends[4]]))
    lengths = [n for (n,) in _COUNT.iter_unpack(view[ends[5] : ends[6]])]
    _restore_history(state, decode_history(view[ends[4] : ends[5]]), lengths)
    return Snapshot(identity, sequence, chain, state)


def _encode(snapshot: Snapshot) -> Iterator[bytes | bytearray]:
    state = snapshot.state
    histories = [a.history for a in state.account_order if a.history is not None]
    pending = bytes(state.pending[t.id] for t in state.transfer_order if t.flags & PENDING)
    header = _HEADER.pack(
        _MAGIC,
        VERSION,
        0,
        snapshot.identity,
        snapshot.sequence,
        state.timestamp,
        snapshot.chain,
        len(histories),
        len(state.account_order),
        len(state.transfer_order),
        len(pending),
        len(state.burnt),
        sum(map(len, histories)),
    )
    yield header + _CRC.pack(crc32(header))
    for at in range(0, len(state.account_order), _SLICE):
        yield encode_accounts([a.row() for a in state.account_order[at : at + _SLICE]])
    for at in range(0, len(state.transfer_order), _SLICE):
        yield encode_transfers(state.transfer_order[at : at + _SLICE])
    yield pending
    yield encode_ids(sorted(state.burnt))
    for history in histories:
        yield encode_history(history)
    yield b"".join(_COUNT.pack(len(history)) for history in histories)


def _restore_transfers(state: State, rows: Sequence[Transfer], pending: bytes) -> None:
    """Enter transfers whose amounts the accounts' balances already hold."""
    statuses = iter(pending)
    accounts = state.accounts
    state.transfer_order.extend(rows)
    for row in rows:
        state.transfers[row.id] = row
        accounts[row.debit_account_id].transfers.append(row)
        accounts[row.credit_account_id].transfers.append(row)
        if row.flags & PENDING:
            state.restore_pending(row, next(statuses))


def _restore_history(state: State, rows: Sequence[AccountBalance], lengths: list[int]) -> None:
    at = 0
    kept = (account for account in state.account_order if account.history is not None)
    for account, length in zip(kept, lengths, strict=True):
        account.history = list(rows[at : at + length])
        at += length
