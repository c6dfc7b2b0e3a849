"""Rows and effects as bytes, little-endian; the layout of rows is TigerBeetle's own.

A row is 128 bytes. A body (one journal record) is a sequence of commits: the last timestamp and
five counts, then the lapsed transfers, the accounts, the transfers, the burnt ids and the run
(`core.ledger.columns`). Format 1 had no runs and four counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from core.ledger.columns import decode_run
from core.ledger.effects import Effects
from core.ledger.types import Account, AccountBalance, Transfer

ROW = Struct("<16s16s16s16s16s16sQIIIHHQ")
HISTORY_ROW = Struct("<16s16s16s16sQ")
ID_SIZE = 16
# timestamp; how many lapsed, accounts, transfers, burnt; bytes of the run
_COMMIT = Struct("<QIIIII")
_COMMIT_1 = Struct("<QIIII")
_LAPSED = Struct("<16sQ")
_ZERO = bytes(16)
_from_bytes = int.from_bytes


def encode_effects(commits: Iterable[Effects]) -> bytearray:
    """The body of one record."""
    body = bytearray()
    for e in commits:
        run = b"" if e.run is None else e.run.packed
        body += _COMMIT.pack(
            e.timestamp, len(e.expired), len(e.accounts), len(e.transfers), len(e.burnt), len(run)
        )
        for id_, timestamp in e.expired:
            body += _LAPSED.pack(id_.to_bytes(16, "little"), timestamp)
        if e.accounts:
            body += encode_accounts(e.accounts)
        if e.transfers:
            body += encode_transfers(e.transfers)
        for id_ in e.burnt:
            body += id_.to_bytes(16, "little")
        body += run
    return body


def merged(commits: Sequence[Effects]) -> Sequence[Effects]:
    """The same changes in fewer commits: neighbours that hold nothing but rows of transfers
    become one, as concurrent callers with one transfer each leave them."""
    if len(commits) == 1:
        return commits
    fewer: list[Effects] = []
    rows: list[Transfer] = []
    timestamp = 0
    for e in commits:
        if e.run is None and not (e.accounts or e.burnt or e.expired):
            rows += e.transfers
            timestamp = e.timestamp
            continue
        if timestamp:
            fewer.append(Effects(timestamp, transfers=rows))
            rows, timestamp = [], 0
        fewer.append(e)
    if timestamp:
        fewer.append(Effects(timestamp, transfers=rows))
    return fewer


def decode_effects(body: memoryview, version: int) -> Iterator[Effects]:
    """The commits of one record of a segment of that format. Raises ValueError or struct.error
    if it is not a body."""
    header = _COMMIT_1 if version == 1 else _COMMIT
    at = 0
    while at < len(body):
        timestamp, lapsed, accounts, transfers, burnt, *run = header.unpack_from(body, at)
        at += header.size
        ends = [at + lapsed * _LAPSED.size]
        sizes = ((accounts, ROW.size), (transfers, ROW.size), (burnt, ID_SIZE), (sum(run), 1))
        for count, size in sizes:
            ends.append(ends[-1] + count * size)
        if ends[-1] > len(body):
            raise ValueError("a commit is longer than its record")
        yield Effects(
            timestamp,
            accounts=decode_accounts(body[ends[0] : ends[1]]),
            transfers=decode_transfers(body[ends[1] : ends[2]]),
            burnt=decode_ids(body[ends[2] : ends[3]]),
            expired=[
                (_from_bytes(id_, "little"), when)
                for id_, when in _LAPSED.iter_unpack(body[at : ends[0]])
            ],
            run=decode_run(body[ends[3] : ends[4]]) if ends[4] > ends[3] else None,
        )
        at = ends[-1]


def encode_accounts(rows: Sequence[Account]) -> bytearray:
    """128 bytes per account."""
    packed = bytearray(len(rows) * ROW.size)
    pack = ROW.pack_into
    for i, a in enumerate(rows):
        pack(
            packed,
            i * 128,
            a.id.to_bytes(16, "little"),
            a.debits_pending.to_bytes(16, "little"),
            a.debits_posted.to_bytes(16, "little"),
            a.credits_pending.to_bytes(16, "little"),
            a.credits_posted.to_bytes(16, "little"),
            a.user_data_128.to_bytes(16, "little"),
            a.user_data_64,
            a.user_data_32,
            0,
            a.ledger,
            a.code,
            a.flags,
            a.timestamp,
        )
    return packed


def encode_transfers(rows: Sequence[Transfer]) -> bytearray:
    """128 bytes per transfer."""
    packed = bytearray(len(rows) * ROW.size)
    pack = ROW.pack_into
    at = 0
    for t in rows:
        pending_id, user_data = t.pending_id, t.user_data_128
        pack(
            packed,
            at,
            t.id.to_bytes(16, "little"),
            t.debit_account_id.to_bytes(16, "little"),
            t.credit_account_id.to_bytes(16, "little"),
            t.amount.to_bytes(16, "little"),
            pending_id.to_bytes(16, "little") if pending_id else _ZERO,
            user_data.to_bytes(16, "little") if user_data else _ZERO,
            t.user_data_64,
            t.user_data_32,
            t.timeout,
            t.ledger,
            t.code,
            t.flags,
            t.timestamp,
        )
        at += 128
    return packed


def decode_accounts(packed: memoryview) -> list[Account]:
    """The inverse of `encode_accounts`."""
    u = _from_bytes
    return [
        Account(
            u(id_, "little"),
            0 if dp == _ZERO else u(dp, "little"),
            0 if dd == _ZERO else u(dd, "little"),
            0 if cp == _ZERO else u(cp, "little"),
            0 if cc == _ZERO else u(cc, "little"),
            0 if ud == _ZERO else u(ud, "little"),
            u64,
            u32,
            ledger,
            code,
            flags,
            timestamp,
        )
        for id_, dp, dd, cp, cc, ud, u64, u32, _, ledger, code, flags, timestamp in (
            ROW.iter_unpack(packed)
        )
    ]


def decode_transfers(packed: memoryview) -> list[Transfer]:
    """The inverse of `encode_transfers`."""
    u = _from_bytes
    return [
        Transfer(
            u(id_, "little"),
            u(dr, "little"),
            u(cr, "little"),
            u(amount, "little"),
            0 if pending == _ZERO else u(pending, "little"),
            0 if ud == _ZERO else u(ud, "little"),
            u64,
            u32,
            timeout,
            ledger,
            code,
            flags,
            timestamp,
        )
        for id_, dr, cr, amount, pending, ud, u64, u32, timeout, ledger, code, flags, timestamp in (
            ROW.iter_unpack(packed)
        )
    ]


def encode_ids(ids: Iterable[int]) -> bytes:
    """16 bytes per id."""
    return b"".join([id_.to_bytes(16, "little") for id_ in ids])


def decode_ids(packed: memoryview) -> list[int]:
    """The inverse of `encode_ids`."""
    return [
        _from_bytes(packed[at : at + ID_SIZE], "little") for at in range(0, len(packed), ID_SIZE)
    ]


def encode_history(rows: Sequence[AccountBalance]) -> bytes:
    """72 bytes per balance."""
    pack = HISTORY_ROW.pack
    return b"".join(
        [
            pack(
                b.debits_pending.to_bytes(16, "little"),
                b.debits_posted.to_bytes(16, "little"),
                b.credits_pending.to_bytes(16, "little"),
                b.credits_posted.to_bytes(16, "little"),
                b.timestamp,
            )
            for b in rows
        ]
    )


def decode_history(packed: memoryview) -> list[AccountBalance]:
    """The inverse of `encode_history`."""
    u = _from_bytes
    return [
        AccountBalance(u(dp, "little"), u(dd, "little"), u(cp, "little"), u(cc, "little"), when)
        for dp, dd, cp, cc, when in HISTORY_ROW.iter_unpack(packed)
    ]
