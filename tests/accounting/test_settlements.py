"""Settlements: what they reduce, what is under way, and that none is booked twice."""

from __future__ import annotations

import asyncio

import pytest

from core.accounting import (
    AccountManager,
    CreditLimits,
    Direction,
    Pair,
    SettlementRefused,
    UnknownToken,
)
from core.accounting.ids import digest_id
from core.ledger import TransferStatus
from tests.accounting.conftest import Books

IN, OUT = Direction.RECEIVABLE, Direction.PAYABLE


async def traded(books: Books, limits: CreditLimits | None = None) -> AccountManager:
    """A manager after the worked example: P owes us 1000, we owe Q 990."""
    manager = books.manager(limits)
    await manager.record_packet_transfers([books.packet("P", "Q", 1000, 990)])
    return manager


async def balanced(manager: AccountManager) -> bool:
    return all(trial.balanced for trial in await manager.trial_balance())


def key(books: Books, name: str) -> int:
    """A transfer id as the settlement room makes one of its key."""
    return digest_id(books.node, "settlement key", name)


async def test_a_payment_from_the_peer_reduces_the_receivable(books: Books) -> None:
    manager = await traded(books)
    result = await manager.record_settlement("P", "USD", IN, 400, "tx-1")
    assert not result.replayed
    balance = await manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.payable, balance.net) == (600, 0, 600)
    assert await balanced(manager)


async def test_a_payment_to_the_peer_reduces_the_payable(books: Books) -> None:
    manager = await traded(books)
    await manager.record_settlement("Q", "USD", OUT, 400, "tx-1")
    balance = await manager.get_account_balance("Q", "USD")
    assert (balance.receivable, balance.payable, balance.net) == (0, 590, -590)
    assert await balanced(manager)


async def test_both_directions_pass_through_the_pairs_transit_account(books: Books) -> None:
    manager = await traded(books)
    await manager.record_settlement("P", "USD", IN, 400, "tx-1")
    await manager.record_settlement("P", "USD", OUT, 150, "tx-2")
    [accounts] = await manager.open_accounts([Pair("P", "USD")])
    [transit] = await books.ledger.lookup_accounts([accounts.transit])
    assert (transit.debits_posted, transit.credits_posted, transit.code) == (400, 150, 500)


async def test_a_payment_is_booked_once_per_reference(books: Books) -> None:
    manager = await traded(books)
    await manager.record_settlement("P", "USD", IN, 400, "tx-1")
    again = await books.manager().record_settlement("P", "USD", IN, 400, "tx-1")
    assert again.replayed
    with pytest.raises(SettlementRefused, match="of 401 USD with peer P was not booked") as caught:
        await manager.record_settlement("P", "USD", IN, 401, "tx-1")
    assert caught.value.status is TransferStatus.EXISTS_WITH_DIFFERENT_AMOUNT
    await manager.record_settlement("P", "USD", IN, 100, "tx-2")
    assert (await manager.get_account_balance("P", "USD")).receivable == 500


async def test_more_than_is_owed_stands_as_a_prepayment(books: Books) -> None:
    manager = await traded(books, CreditLimits(1000))
    await manager.record_settlement("P", "USD", IN, 1200, "tx-1")
    balance = await manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.headroom) == (-200, 1200)


async def test_a_payment_under_way_is_seen_but_frees_nothing_until_it_is_posted(
    books: Books,
) -> None:
    manager = await traded(books, CreditLimits(1000))
    began = await manager.settlements.begin("P", "USD", IN, 700, key(books, "a"))
    balance = await manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.receivable_in_transit) == (1000, 700)
    assert (balance.receivable_due, balance.headroom) == (300, 0)
    assert await balanced(manager)
    await manager.settlements.complete("P", "USD", IN, began.transfer_id)
    balance = await manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.receivable_in_transit, balance.headroom) == (300, 0, 700)


async def test_a_payable_under_way_is_not_due_again(books: Books) -> None:
    manager = await traded(books)
    await manager.settlements.begin("Q", "USD", OUT, 990, key(books, "a"))
    balance = await manager.get_account_balance("Q", "USD")
    assert (balance.payable, balance.payable_in_transit, balance.payable_due) == (990, 990, 0)


async def test_a_second_start_finds_the_first_even_from_another_process(books: Books) -> None:
    managers = [await traded(books), books.manager(), books.manager()]
    results = await asyncio.gather(
        *(m.settlements.begin("P", "USD", IN, 700, key(books, "a")) for m in managers)
    )
    assert sorted(r.replayed for r in results) == [False, True, True]
    assert (await managers[0].get_account_balance("P", "USD")).receivable_in_transit == 700


async def test_less_may_be_paid_than_was_begun(books: Books) -> None:
    manager = await traded(books)
    began = await manager.settlements.begin("P", "USD", IN, 700, key(books, "a"))
    await manager.settlements.complete("P", "USD", IN, began.transfer_id, 250)
    again = await manager.settlements.complete("P", "USD", IN, began.transfer_id, 250)
    assert again.replayed
    balance = await manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.receivable_in_transit) == (750, 0)


async def test_more_cannot_be_completed_than_was_begun(books: Books) -> None:
    manager = await traded(books)
    began = await manager.settlements.begin("P", "USD", IN, 700, key(books, "a"))
    with pytest.raises(SettlementRefused) as caught:
        await manager.settlements.complete("P", "USD", IN, began.transfer_id, 701)
    assert caught.value.status is TransferStatus.EXCEEDS_PENDING_TRANSFER_AMOUNT


async def test_a_failed_payment_leaves_the_balance_and_cannot_be_completed(books: Books) -> None:
    manager = await traded(books)
    began = await manager.settlements.begin("P", "USD", IN, 700, key(books, "a"))
    assert not (await manager.settlements.fail("P", "USD", IN, began.transfer_id)).replayed
    assert (await manager.settlements.fail("P", "USD", IN, began.transfer_id)).replayed
    with pytest.raises(SettlementRefused) as caught:
        await manager.settlements.complete("P", "USD", IN, began.transfer_id)
    assert caught.value.status is TransferStatus.PENDING_TRANSFER_ALREADY_VOIDED
    balance = await manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.receivable_due) == (1000, 1000)


async def test_a_payment_under_way_never_lapses(books: Books) -> None:
    manager = await traded(books)
    began = await manager.settlements.begin("P", "USD", IN, 700, key(books, "a"))
    await books.wait(3600 if books.clock else 2)
    await manager.settlements.complete("P", "USD", IN, began.transfer_id)
    assert (await manager.get_account_balance("P", "USD")).receivable == 300


@pytest.mark.parametrize("amount", [-1, 2**128])
async def test_an_impossible_amount_is_refused_and_names_peer_and_amount(
    books: Books, amount: int
) -> None:
    manager = await traded(books)
    with pytest.raises(SettlementRefused, match=f"settlement of {amount} USD with peer P"):
        await manager.record_settlement("P", "USD", IN, amount, "tx-1")


async def test_a_settlement_needs_a_reference_a_peer_and_a_token(books: Books) -> None:
    manager = await traded(books)
    with pytest.raises(SettlementRefused, match="needs a reference"):
        await manager.record_settlement("P", "USD", IN, 1, "")
    with pytest.raises(UnknownToken):
        await manager.record_settlement("P", "EUR", IN, 1, "tx-1")
    with pytest.raises(SettlementRefused) as caught:
        await manager.settlements.begin("P", "USD", IN, 1, 0)
    assert caught.value.status is TransferStatus.ID_MUST_NOT_BE_ZERO


async def test_commits_say_which_pairs_they_touched_and_slow_readers_get_one_set(
    books: Books,
) -> None:
    manager = await traded(books)
    reader, other = manager.touched(), manager.touched()
    await manager.record_packet_transfers([books.packet("P", "Q", 1) for _ in range(3)])
    await manager.record_settlement("R", "USD", IN, 5, "tx")
    p, q, r = (Pair(peer, "USD") for peer in "PQR")
    assert await anext(reader) == {p, q, r}
    await manager.record_settlement("P", "USD", IN, 5, "tx")
    assert await anext(reader) == {p}
    assert other.take() == {p, q, r}
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    assert not waiting.done()
    await manager.record_packet_transfers([books.packet("Q", "R", 1)])
    assert await waiting == {q, r}
    reader.close()
    await manager.record_settlement("P", "USD", IN, 5, "tx-2")
    assert [pairs async for pairs in reader] == []
    other.close()


async def test_what_books_nothing_touches_nobody(books: Books) -> None:
    manager = await traded(books, CreditLimits(1000))
    packet = books.packet("Q", "P", 1)
    await manager.record_packet_transfers([packet])
    await manager.record_settlement("P", "USD", IN, 5, "tx")
    reader = manager.touched()
    await manager.record_packet_transfers([packet])
    await manager.record_packet_transfers([books.packet("P", "Q", 2000)])
    await manager.record_settlement("P", "USD", IN, 5, "tx")
    await manager.get_account_balance("P", "USD")
    assert reader.take() == frozenset()
