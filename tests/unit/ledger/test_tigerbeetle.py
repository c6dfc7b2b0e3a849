"""The adapter's own part: limits, time-outs, cancellation, a cluster that is not there."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from core.ledger import (
    Account,
    AccountFilter,
    AccountFilterFlags,
    AccountStatus,
    Book,
    FieldOutOfRange,
    LedgerClosed,
    LedgerError,
    LedgerUnavailable,
    QueryFilter,
    TigerBeetleLedger,
    TooManyEvents,
    Transfer,
    TransferFlags,
    TransferStatus,
)
from tests.clock import settle, until
from tests.unit.ledger.worlds import ManualClock


async def test_without_the_client_the_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tigerbeetle", None)
    ledger = TigerBeetleLedger(0, "127.0.0.1:3000")
    with pytest.raises(LedgerError, match=r"install bursar\[tigerbeetle\]"):
        await ledger.open()
    with pytest.raises(LedgerClosed, match="is not open"):
        await ledger.lookup_accounts([1])
    await ledger.close()


def test_it_names_itself_as_the_start_up_message_says_it() -> None:
    ledger = TigerBeetleLedger(0, "127.0.0.1:3000")
    assert ledger.backend == "TigerBeetle (cluster: 0, replicas: 127.0.0.1:3000)"


async def test_a_cluster_that_is_not_there_is_reported_and_never_waited_for() -> None:
    pytest.importorskip("tigerbeetle", reason="the official client is not installed")
    ledger = TigerBeetleLedger(0, "127.0.0.1:1", timeout_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable, match="does not answer within"):
        await ledger.open()
    await ledger.close()
    assert time.monotonic() - began < 10


async def test_addresses_the_client_refuses_are_an_error_that_names_them() -> None:
    pytest.importorskip("tigerbeetle", reason="the official client is not installed")
    with pytest.raises(LedgerError, match="not an address"):
        await TigerBeetleLedger(0, "not an address").open()


async def opened(
    monkeypatch: pytest.MonkeyPatch, book: Book, *, limit: int = 8_189,
    reply: asyncio.Event | None = None, timeout: float = 5.0,
) -> TigerBeetleLedger:  # fmt: skip
    client = pytest.importorskip("tigerbeetle", reason="the official client is not installed")
    from tests.unit.ledger.wire import wired_client

    monkeypatch.setattr(client, "ClientAsync", wired_client(book, limit, reply))
    ledger = TigerBeetleLedger(0, "127.0.0.1:3000", timeout_seconds=timeout)
    await ledger.open()
    return ledger


def draft(id_: int, flags: int = 0) -> Transfer:
    return Transfer(
        id=id_, debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1, flags=flags
    )


async def test_a_smaller_limit_is_learnt_and_chains_are_never_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book = Book(ManualClock())
    ledger = await opened(monkeypatch, book, limit=253)
    accounts = [Account(id=i, ledger=1, code=1) for i in range(1, 301)]
    results = await ledger.create_accounts(accounts)
    assert {r.status for r in results} == {AccountStatus.CREATED}
    linked = int(TransferFlags.LINKED)
    batch = [draft(i, linked if i % 5 else 0) for i in range(1, 1001)]
    statuses = [r.status for r in await ledger.create_transfers(batch)]
    assert statuses == [TransferStatus.CREATED] * 1000
    ids = [t.id for t in batch]
    assert [t.id for t in await ledger.lookup_transfers(ids)] == ids
    for flags in (0, 1):
        f = QueryFilter(limit=900, flags=flags)
        assert await ledger.query_transfers(f) == book.query_transfers(f)
        both = AccountFilterFlags.DEBITS | (AccountFilterFlags.REVERSED if flags else 0)
        of_one = AccountFilter(1, limit=700, flags=int(both))
        assert await ledger.get_account_transfers(of_one) == book.get_account_transfers(of_one)
    too_long = [draft(i, linked) for i in range(2000, 2300)]
    with pytest.raises(TooManyEvents, match="chain"):
        await ledger.create_transfers(too_long)
    await ledger.close()


async def test_more_than_one_request_holds_is_sent_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book = Book(ManualClock())
    ledger = await opened(monkeypatch, book)
    accounts = [Account(id=i, ledger=1, code=1) for i in range(1, 10_001)]
    assert len(await ledger.create_accounts(accounts)) == 10_000
    assert len(await ledger.get_accounts_batch(range(1, 10_001))) == 10_000
    await ledger.close()


async def test_a_silent_cluster_is_lost_at_once_and_found_again_when_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book = Book(ManualClock())
    reply = asyncio.Event()
    reply.set()
    ledger = await opened(monkeypatch, book, reply=reply, timeout=0.5)
    await ledger.create_accounts([Account(id=i, ledger=1, code=1) for i in (1, 2)])
    reply.clear()
    with pytest.raises(LedgerUnavailable, match="may have been booked"):
        await ledger.create_transfers([draft(1)])
    assert not ledger.health().ok
    second = asyncio.create_task(ledger.create_transfers([draft(2)]))
    await settle()
    assert second.done()  # told at once: the first request is the probe
    with pytest.raises(LedgerUnavailable):
        await second
    reply.set()
    await until(lambda: ledger.health().ok, "the cluster is found again")
    [again] = await ledger.create_transfers([draft(1)])
    assert again.status is TransferStatus.EXISTS
    await ledger.close()


async def test_a_cancelled_caller_leaves_the_request_to_end_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book = Book(ManualClock())
    reply = asyncio.Event()
    reply.set()
    ledger = await opened(monkeypatch, book, reply=reply)
    await ledger.create_accounts([Account(id=i, ledger=1, code=1) for i in (1, 2)])
    reply.clear()
    caller = asyncio.create_task(ledger.create_transfers([draft(7)]))
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    reply.set()
    assert [t.id for t in await ledger.lookup_transfers([7])] == [7]
    await ledger.close()


async def test_what_does_not_fit_is_refused_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = await opened(monkeypatch, Book(ManualClock()))
    with pytest.raises(FieldOutOfRange, match="flags is 65536"):
        await ledger.create_transfers([draft(1, flags=1 << 16)])
    with pytest.raises(FieldOutOfRange, match="amount is -1"):
        await ledger.create_transfers([Transfer(id=1, amount=-1)])
    with pytest.raises(FieldOutOfRange, match="reserved"):
        await ledger.create_accounts([Account(id=1, ledger=1, code=1, reserved=1)])
    await ledger.close()
