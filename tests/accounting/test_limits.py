"""Which limit holds, and that none is passed, whoever asks and however it is moved."""

from __future__ import annotations

import asyncio

import pytest

from core.accounting import (
    NO_LIMIT,
    AccountManager,
    CreditLimits,
    Direction,
    LimitRefused,
    Packet,
    Pair,
    Stage,
    Step,
)
from core.accounting.lines import change
from core.ledger import Transfer, TransferFlags, TransferStatus
from tests.accounting.conftest import Books


def test_the_most_specific_limit_holds() -> None:
    limits = CreditLimits(100, {"p": 200}, {"p": {"USD": 300}, "q": {"EUR": 50}})
    assert [limits.of("p", "USD"), limits.of("p", "EUR")] == [300, 200]
    assert [limits.of("q", "EUR"), limits.of("q", "USD"), limits.of("r", "USD")] == [50, 100, 100]


def test_the_ceiling_caps_every_limit_and_none() -> None:
    limits = CreditLimits(None, {"p": 200, "q": 10}, ceiling=50)
    assert [limits.of(peer, "USD") for peer in "pqr"] == [50, 10, 50]


def test_a_peer_can_be_without_limit_beneath_a_default() -> None:
    limits = CreditLimits(100, {"p": None}, {"q": {"USD": None}})
    assert [limits.of("p", "USD"), limits.of("q", "USD"), limits.of("q", "EUR")] == [
        None,
        None,
        100,
    ]


def test_without_settings_there_is_no_limit() -> None:
    assert CreditLimits().of("p", "USD") is None


@pytest.mark.parametrize("limit", [-1, NO_LIMIT])
def test_a_limit_out_of_range_is_refused_and_names_its_peer(limit: int) -> None:
    with pytest.raises(LimitRefused, match=f"{limit} cannot be the credit limit of peer p in USD"):
        CreditLimits(tokens={"p": {"USD": limit}})


async def status(manager: AccountManager, packet: Packet) -> str:
    [result] = await manager.record_packet_transfers([packet])
    return result.status


async def test_a_packet_that_meets_the_limit_passes_and_one_more_does_not(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    assert await status(manager, books.packet("p", "q", 100)) == "created"
    over = books.packet("p", "q", 1)
    [result] = await manager.record_packet_transfers([over])
    assert result.status == "exceeds_credits"
    assert "peer p (1 USD)" in result.message
    assert "credit limit" in result.message
    assert (await manager.get_account_balance("p", "USD")).receivable == 100


async def test_what_is_in_flight_counts_against_the_limit(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    held = books.packet("p", "q", 60)
    await manager.prepare([held], 0)
    assert await status(manager, books.packet("p", "q", 41)) == "exceeds_credits"
    await manager.reject([held])
    assert await status(manager, books.packet("p", "q", 41)) == "created"


async def test_a_limit_of_zero_lets_nothing_through(books: Books) -> None:
    manager = books.manager(CreditLimits(0))
    assert await status(manager, books.packet("p", "q", 1)) == "exceeds_credits"
    assert await status(manager, books.packet("p", "q", 0)) == "created"


async def test_a_payable_is_not_limited_by_the_credit_we_give(books: Books) -> None:
    manager = books.manager(CreditLimits(tokens={"q": {"USD": 0}}))
    assert await status(manager, books.packet("p", "q", 1000)) == "created"


async def test_without_limit_headroom_is_not_a_number(books: Books) -> None:
    manager = books.manager()
    await manager.open_accounts([Pair("p", "USD")])
    balance = await manager.get_account_balance("p", "USD")
    assert (balance.limit, balance.target, balance.headroom) == (None, None, None)
    assert await status(manager, books.packet("p", "q", NO_LIMIT)) == "created"
    assert await status(manager, books.packet("p", "q", 1)) == "exceeds_credits"


async def test_asking_gives_the_answer_that_booking_would(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    for amount, would_pass in ((101, False), (100, True), (-1, False)):
        check = await manager.check_credit_limit("p", "USD", amount)
        assert check.allowed is would_pass
        assert await manager.would_exceed_credit_limit("p", "USD", amount) is not would_pass
    assert manager.pairs == ()
    await status(manager, books.packet("p", "q", 70))
    check = await manager.check_credit_limit("p", "USD", 31)
    assert (check.allowed, check.headroom, check.limit) == (False, 30, 100)


async def test_a_raised_limit_is_in_force_at_once(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    await status(manager, books.packet("p", "q", 100))
    changes = await manager.set_limits(CreditLimits(150))
    assert {change.in_force for change in changes} == {150}
    assert await status(manager, books.packet("p", "q", 51)) == "exceeds_credits"
    assert await status(manager, books.packet("p", "q", 50)) == "created"
    await manager.set_limits(CreditLimits())
    assert (await manager.get_account_balance("p", "USD")).limit is None


async def test_a_limit_can_be_lowered_to_what_is_owed_and_below(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    await status(manager, books.packet("p", "q", 80))
    [change, _] = await manager.set_limits(CreditLimits(50))
    assert (change.peer, change.in_force, change.reached) == ("p", 80, False)
    balance = await manager.get_account_balance("p", "USD")
    assert (balance.receivable, balance.limit, balance.target) == (80, 80, 50)
    assert balance.headroom == 0
    assert await status(manager, books.packet("p", "q", 1)) == "exceeds_credits"


async def test_a_payment_brings_a_lowered_limit_down_before_a_packet_can_use_it(
    books: Books,
) -> None:
    manager = books.manager(CreditLimits(100))
    await status(manager, books.packet("p", "q", 80))
    await manager.set_limits(CreditLimits(50))
    await manager.record_settlement("p", "USD", Direction.RECEIVABLE, 20, "first")
    balance = await manager.get_account_balance("p", "USD")
    assert (balance.receivable, balance.limit, balance.headroom) == (60, 60, 0)
    await manager.record_settlement("p", "USD", Direction.RECEIVABLE, 40, "second")
    balance = await manager.get_account_balance("p", "USD")
    assert (balance.receivable, balance.limit, balance.headroom) == (20, 50, 30)
    assert await status(manager, books.packet("p", "q", 31)) == "exceeds_credits"
    assert await status(manager, books.packet("p", "q", 30)) == "created"


async def test_a_rejected_packet_gives_its_headroom_to_the_lowered_limit(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    held = books.packet("p", "q", 80)
    await manager.prepare([held], 0)
    await manager.set_limits(CreditLimits(50))
    after = books.packet("p", "q", 60)
    results = await manager.commit([Step(Stage.REJECT, held)])
    assert results[0].booked
    assert (await manager.get_account_balance("p", "USD")).limit == 50
    assert await status(manager, after) == "exceeds_credits"


async def test_a_lapsed_packet_gives_its_headroom_to_the_lowered_limit(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    await manager.prepare([books.packet("p", "q", 80)], 1)
    await manager.set_limits(CreditLimits(50))
    await books.wait(2)
    check = await manager.check_credit_limit("p", "USD", 51)
    assert (check.allowed, check.headroom) == (False, 50)
    assert await status(manager, books.packet("p", "q", 51)) == "exceeds_credits"
    assert await status(manager, books.packet("p", "q", 50)) == "created"


async def test_applying_the_limits_takes_up_what_lapsed(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    await manager.prepare([books.packet("p", "q", 80)], 1)
    await manager.set_limits(CreditLimits(50))
    assert manager.limits == CreditLimits(50)
    await books.wait(2)
    changes = await manager.apply_limits()
    assert [(c.in_force, c.reached) for c in changes] == [(50, True)] * 2


async def test_a_limit_the_ledger_does_not_take_names_the_peer(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    [accounts] = await manager.open_accounts([Pair("p", "USD")])
    closing = Transfer(
        id=accounts.debit + 1,
        debit_account_id=accounts.debit,
        credit_account_id=accounts.clearing,
        ledger=accounts.ledger,
        code=1,
        flags=int(TransferFlags.PENDING | TransferFlags.CLOSING_DEBIT),
    )
    await books.ledger.create_transfers([closing])
    with pytest.raises(LimitRefused, match=r"peer p in USD could not be set to 200.*closed"):
        await manager.set_limits(CreditLimits(200))
    assert (await manager.get_account_balance("p", "USD")).limit == 100


async def test_two_processes_that_open_a_peer_together_fund_it_once(books: Books) -> None:
    limits = CreditLimits(100)
    managers = [books.manager(limits) for _ in range(4)]
    await asyncio.gather(*(m.open_accounts([Pair("p", "USD")]) for m in managers))
    assert (await managers[0].get_account_balance("p", "USD")).headroom == 100


@pytest.mark.parametrize("target", [250, 40])
async def test_processes_that_see_the_same_line_move_it_once(
    books: Books, monkeypatch: pytest.MonkeyPatch, target: int
) -> None:
    managers = [books.manager(CreditLimits(100)) for _ in range(2)]
    for manager in managers:
        await manager.open_accounts([Pair("p", "USD")])
    books.hold_until(2, monkeypatch)
    changes = await asyncio.gather(*(m.set_limits(CreditLimits(target)) for m in managers))
    assert [c.in_force for [c] in changes] == [target, target]
    [accounts] = await managers[0].open_accounts([Pair("p", "USD")])
    [line] = await books.ledger.lookup_accounts([accounts.line])
    moved = (line.debits_posted, line.credits_posted)
    assert moved == ((250, 0) if target == 250 else (100, 60))


async def test_a_line_that_could_not_move_can_be_moved_later(books: Books) -> None:
    """A transfer that moved nothing took its id; the next one must have another."""
    manager = books.manager(CreditLimits(100))
    [accounts] = await manager.open_accounts([Pair("p", "USD")])
    await status(manager, books.packet("p", "q", 100))
    [line] = await books.ledger.lookup_accounts([accounts.line])
    nothing = change(accounts, line, 30, 0)
    assert nothing is not None
    assert (await books.ledger.create_transfers([nothing]))[0].status is TransferStatus.CREATED
    assert (await manager.get_account_balance("p", "USD")).limit == 100
    await manager.record_settlement("p", "USD", Direction.RECEIVABLE, 90, "tx")
    changes = await manager.set_limits(CreditLimits(30))
    assert [c.in_force for c in changes if c.peer == "p"] == [30]


async def test_processes_that_move_a_limit_together_end_at_one_of_their_targets(
    books: Books,
) -> None:
    managers = [books.manager(CreditLimits(100)) for _ in range(3)]
    for manager in managers:
        await manager.open_accounts([Pair("p", "USD")])
    for targets in ((200, 200, 200), (50, 50, 50), (300, 70, 120)):
        await asyncio.gather(
            *(m.set_limits(CreditLimits(t)) for m, t in zip(managers, targets, strict=True))
        )
        assert (await managers[0].get_account_balance("p", "USD")).limit in targets


async def test_processes_that_race_for_one_limit_never_pass_it(books: Books) -> None:
    limit = 1_000
    managers = [books.manager(CreditLimits(limit)) for _ in range(2)]
    packets = [[books.packet("p", "q", 37) for _ in range(20)] for _ in range(6)]
    taken = await asyncio.gather(
        *(
            managers[turn % 2].record_packet_transfers(batch)
            if turn % 3
            else managers[turn % 2].prepare(batch, 0)
            for turn, batch in enumerate(packets)
        )
    )
    passed = sum(result.booked for results in taken for result in results)
    balance = await managers[0].get_account_balance("p", "USD")
    assert balance.receivable + balance.receivable_in_flight == 37 * passed == 37 * (limit // 37)


async def test_limits_that_move_while_packets_race_are_never_passed(books: Books) -> None:
    one, other = (books.manager(CreditLimits(400)) for _ in range(2))
    await one.open_accounts([Pair("p", "USD"), Pair("q", "USD")])
    most = 0

    async def send(manager: AccountManager) -> None:
        nonlocal most
        for _ in range(30):
            await manager.record_packet_transfers([books.packet("p", "q", 13)])
            balance = await manager.get_account_balance("p", "USD")
            assert balance.limit is not None
            assert balance.receivable + balance.receivable_in_flight <= balance.limit
            most = max(most, balance.receivable)

    async def move() -> None:
        for limit in (200, 350, 100, 300, 150):
            await one.set_limits(CreditLimits(limit))
            await asyncio.sleep(0)

    await asyncio.gather(send(one), send(other), move())
    assert 0 < most <= 400
