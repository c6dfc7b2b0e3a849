"""What happens over several requests: chains, pending life cycles, balancing, closing, burnt
ids; the same on every backend."""

from __future__ import annotations

import msgspec

from core.ledger.types import (
    AMOUNT_MAX,
    Account,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    AccountStatus,
    Transfer,
    TransferFlags,
    TransferStatus,
)
from tests.unit.ledger.worlds import World

A = AccountFlags
F = TransferFlags
S = TransferStatus
BOTH = AccountFilterFlags.DEBITS | AccountFilterFlags.CREDITS


# -- linked chains


async def test_linked_transfers_are_booked_together_or_not_at_all(world: World) -> None:
    a, b = await world.account(), await world.account()
    batch = [
        world.draft(a, b, 1),
        world.draft(a, b, 2, flags=F.LINKED),
        world.draft(a, b, 4, flags=F.LINKED, code=0),
        world.draft(a, b, 8),
        world.draft(a, b, 16, flags=F.LINKED),
        world.draft(a, b, 32),
        world.draft(a, b, 64),
    ]
    assert await world.statuses(*batch) == [
        S.CREATED,
        S.LINKED_EVENT_FAILED,
        S.CODE_MUST_NOT_BE_ZERO,
        S.LINKED_EVENT_FAILED,
        S.CREATED,
        S.CREATED,
        S.CREATED,
    ]
    assert await world.amounts(a) == (0, 1 + 16 + 32 + 64, 0, 0)
    assert await world.amounts(b) == (0, 0, 0, 1 + 16 + 32 + 64)
    assert await world.status(msgspec.structs.replace(batch[1], flags=0)) is S.CREATED


async def test_an_open_chain_is_noticed_before_a_broken_one(world: World) -> None:
    a, b = await world.account(), await world.account()
    assert await world.statuses(
        world.draft(a, b, 1, flags=F.LINKED),
        world.draft(a, b, 1, flags=F.LINKED, ledger=0),
        world.draft(a, b, 1, flags=F.LINKED),
        world.draft(a, b, 1, flags=F.LINKED),
    ) == [
        S.LINKED_EVENT_FAILED,
        S.LEDGER_MUST_NOT_BE_ZERO,
        S.LINKED_EVENT_FAILED,
        S.LINKED_EVENT_CHAIN_OPEN,
    ]
    assert await world.statuses(
        world.draft(a, b, 1), world.draft(a, b, 1, flags=F.LINKED), world.draft(a, b, 1, flags=1)
    ) == [S.CREATED, S.LINKED_EVENT_FAILED, S.LINKED_EVENT_CHAIN_OPEN]
    assert await world.amounts(a) == (0, 1, 0, 0)


async def test_a_broken_chain_is_refused_before_what_it_says_of_imports(world: World) -> None:
    a, b = await world.account(), await world.account()
    assert await world.statuses(
        world.draft(a, b, 1, flags=F.LINKED, code=0),
        world.draft(a, b, 1, flags=F.LINKED | F.IMPORTED),
        world.draft(a, b, 1, timestamp=9),
    ) == [S.CODE_MUST_NOT_BE_ZERO, S.LINKED_EVENT_FAILED, S.LINKED_EVENT_FAILED]


async def test_a_later_event_of_a_chain_sees_what_an_earlier_one_booked(world: World) -> None:
    capped = await world.account(flags=A.DEBITS_MUST_NOT_EXCEED_CREDITS)
    other = await world.account()
    assert await world.statuses(
        world.draft(other, capped, 10, flags=F.LINKED), world.draft(capped, other, 10)
    ) == [S.CREATED, S.CREATED]
    pending = world.draft(other, capped, 3, flags=F.LINKED | F.PENDING)
    post = Transfer(
        id=world.id(), pending_id=pending.id, amount=AMOUNT_MAX, flags=F.POST_PENDING_TRANSFER
    )
    assert await world.statuses(pending, post) == [S.CREATED, S.CREATED]
    assert await world.amounts(capped) == (0, 10, 0, 13)


async def test_a_chain_that_breaks_takes_back_posts_voids_and_closings(world: World) -> None:
    a, b = await world.account(flags=A.HISTORY), await world.account()
    to_post = await world.transfer(a, b, 5, flags=F.PENDING)
    to_void = await world.transfer(a, b, 7, flags=F.PENDING)
    before = await world.row(a), await world.row(b)
    linked = int(F.LINKED)
    batch = [
        Transfer(
            id=world.id(), pending_id=to_post, amount=2, flags=linked | F.POST_PENDING_TRANSFER
        ),
        Transfer(id=world.id(), pending_id=to_void, flags=linked | F.VOID_PENDING_TRANSFER),
        world.draft(b, a, 0, flags=linked | F.PENDING | F.CLOSING_DEBIT | F.CLOSING_CREDIT),
        world.draft(a, b, 1),
    ]
    assert await world.statuses(*batch) == [S.LINKED_EVENT_FAILED] * 3 + [
        S.DEBIT_ACCOUNT_ALREADY_CLOSED
    ]
    assert (await world.row(a), await world.row(b)) == before
    assert await world.ledger.lookup_transfers([t.id for t in batch]) == []
    history = await world.ledger.get_account_balances(AccountFilter(a, limit=10, flags=BOTH))
    assert [h.debits_pending for h in history] == [5, 12]
    await world.resolve(to_post, F.POST_PENDING_TRANSFER, 5)
    await world.resolve(to_void, F.VOID_PENDING_TRANSFER, 7)
    assert await world.amounts(a) == (0, 5, 0, 0)


# -- pending transfers


async def test_a_pending_transfer_holds_and_a_post_books_all_or_part_of_it(world: World) -> None:
    a, b = await world.account(), await world.account()
    whole = await world.transfer(a, b, 10, flags=F.PENDING)
    part = await world.transfer(a, b, 10, flags=F.PENDING)
    nothing = await world.transfer(a, b, 10, flags=F.PENDING)
    assert await world.amounts(a) == (30, 0, 0, 0)
    await world.resolve(whole, F.POST_PENDING_TRANSFER, AMOUNT_MAX)
    await world.resolve(part, F.POST_PENDING_TRANSFER, 4)
    zero = await world.resolve(nothing, F.POST_PENDING_TRANSFER, 0)
    assert await world.amounts(a) == (0, 14, 0, 0)
    assert await world.amounts(b) == (0, 0, 0, 14)
    assert (await world.booked(zero)).amount == 0


async def test_a_void_gives_back_what_was_held(world: World) -> None:
    a, b = await world.account(), await world.account()
    first = await world.transfer(a, b, 10, flags=F.PENDING)
    second = await world.transfer(a, b, 10, flags=F.PENDING)
    void = await world.resolve(first, F.VOID_PENDING_TRANSFER, 0)
    await world.resolve(second, F.VOID_PENDING_TRANSFER, 10)
    assert await world.amounts(a) == await world.amounts(b) == (0, 0, 0, 0)
    assert (await world.booked(void)).amount == 10


async def test_a_pending_transfer_lapses_when_its_time_is_over(world: World) -> None:
    a, b = await world.account(), await world.account()
    short = await world.transfer(a, b, 10, flags=F.PENDING, timeout=1)
    await world.transfer(a, b, 20, flags=F.PENDING, timeout=3600)
    await world.transfer(a, b, 40, flags=F.PENDING)
    assert await world.amounts(a) == (70, 0, 0, 0)
    await world.wait(1.5)
    assert await world.amounts(a) == (60, 0, 0, 0)
    assert await world.amounts(b) == (0, 0, 60, 0)
    late = Transfer(id=world.id(), pending_id=short, flags=F.VOID_PENDING_TRANSFER)
    assert await world.status(late) is S.PENDING_TRANSFER_EXPIRED


async def test_a_transfer_expires_at_the_very_nanosecond_and_not_before(world: World) -> None:
    if world.clock is None:
        return  # only a clock that stands still can be this exact
    a, b = await world.account(), await world.account()
    pending = await world.transfer(a, b, 10, flags=F.PENDING, timeout=1)
    booked = await world.booked(pending)
    world.clock.ms = (booked.timestamp + 1_000_000_000) // 1_000_000
    before_slot = booked.timestamp + 1_000_000_000 - world.clock.ms * 1_000_000
    fillers = [world.draft(a, b, 0) for _ in range(before_slot - 1)]
    on_time = Transfer(id=world.id(), pending_id=pending, flags=F.POST_PENDING_TRANSFER)
    results = await world.ledger.create_transfers([*fillers, on_time])
    assert results[-1].timestamp == booked.timestamp + 1_000_000_000 - 1
    assert results[-1].status is S.CREATED
    other = await world.transfer(a, b, 10, flags=F.PENDING, timeout=1)
    world.clock.ms += 1_000
    late = Transfer(id=world.id(), pending_id=other, flags=F.POST_PENDING_TRANSFER)
    offset = (await world.booked(other)).timestamp + 1_000_000_000 - world.clock.ms * 1_000_000
    fillers = [world.draft(a, b, 0) for _ in range(offset)]
    results = await world.ledger.create_transfers([*fillers, late])
    assert results[-1].status is S.PENDING_TRANSFER_EXPIRED


async def test_pending_amounts_count_against_the_limits_of_both_sides(world: World) -> None:
    other = await world.account()
    payer = await world.account(flags=A.DEBITS_MUST_NOT_EXCEED_CREDITS)
    payee = await world.account(flags=A.CREDITS_MUST_NOT_EXCEED_DEBITS)
    await world.transfer(other, payer, 10)
    await world.transfer(payee, other, 10)
    await world.transfer(payer, other, 6, flags=F.PENDING)
    await world.transfer(other, payee, 6, flags=F.PENDING)
    assert await world.status(world.draft(payer, other, 5)) is S.EXCEEDS_CREDITS
    assert await world.status(world.draft(other, payee, 5)) is S.EXCEEDS_DEBITS
    await world.transfer(payer, other, 4)
    await world.transfer(other, payee, 4)


# -- balancing


async def test_a_balancing_transfer_moves_no_more_than_levels_the_account(world: World) -> None:
    owed, bank = await world.account(), await world.account()
    await world.transfer(bank, owed, 100)
    await world.transfer(owed, bank, 30, flags=F.PENDING)
    debit = world.draft(owed, bank, AMOUNT_MAX, flags=F.BALANCING_DEBIT)
    assert await world.status(debit) is S.CREATED
    assert (await world.booked(debit.id)).amount == 70
    assert await world.amounts(owed) == (30, 70, 0, 100)
    again = world.draft(owed, bank, 5, flags=F.BALANCING_DEBIT)
    assert await world.status(again) is S.CREATED
    assert (await world.booked(again.id)).amount == 0
    # A retry may ask for what was moved or more, and is told that it exists.
    assert await world.status(debit) is S.EXISTS
    assert await world.status(msgspec.structs.replace(debit, amount=70)) is S.EXISTS
    less = msgspec.structs.replace(debit, amount=69)
    assert await world.status(less) is S.EXISTS_WITH_DIFFERENT_AMOUNT


async def test_balancing_both_sides_takes_the_smaller_room(world: World) -> None:
    dr, cr, bank = await world.account(), await world.account(), await world.account()
    await world.transfer(bank, dr, 50)
    await world.transfer(cr, bank, 20)
    both = world.draft(dr, cr, 40, flags=F.BALANCING_DEBIT | F.BALANCING_CREDIT)
    assert await world.status(both) is S.CREATED
    assert (await world.booked(both.id)).amount == 20
    pending = world.draft(dr, bank, 40, flags=F.BALANCING_DEBIT | F.PENDING)
    assert await world.status(pending) is S.CREATED
    assert await world.amounts(dr) == (30, 20, 0, 50)


async def test_a_transfer_of_nothing_is_legal(world: World) -> None:
    a, b = await world.account(), await world.account()
    zero = await world.transfer(a, b, 0)
    assert (await world.booked(zero)).amount == 0


# -- closing


async def test_a_closing_transfer_closes_and_its_void_opens_again(world: World) -> None:
    a, b = await world.account(), await world.account()
    held = await world.transfer(a, b, 5, flags=F.PENDING)
    closing = await world.transfer(a, b, 0, flags=F.PENDING | F.CLOSING_DEBIT)
    assert (await world.row(a)).flags == A.CLOSED
    assert (await world.row(b)).flags == 0
    assert await world.status(world.draft(a, b, 1)) is S.DEBIT_ACCOUNT_ALREADY_CLOSED
    assert await world.status(world.draft(b, a, 1)) is S.CREDIT_ACCOUNT_ALREADY_CLOSED
    post = Transfer(id=world.id(), pending_id=closing, flags=F.POST_PENDING_TRANSFER)
    assert await world.status(post) is S.DEBIT_ACCOUNT_ALREADY_CLOSED
    await world.resolve(held, F.VOID_PENDING_TRANSFER, 0)
    retry = Account(id=a, ledger=1, code=1, user_data_64=world.user_data)
    assert await world.account_status(retry) is AccountStatus.EXISTS_WITH_DIFFERENT_FLAGS
    await world.resolve(closing, F.VOID_PENDING_TRANSFER, 0)
    assert (await world.row(a)).flags == 0
    await world.transfer(a, b, 1)


async def test_a_closing_transfer_that_lapses_opens_the_account_again(world: World) -> None:
    a, b = await world.account(), await world.account()
    flags = F.PENDING | F.CLOSING_DEBIT | F.CLOSING_CREDIT
    await world.transfer(a, b, 3, flags=flags, timeout=1)
    assert (await world.row(a)).flags == (await world.row(b)).flags == A.CLOSED
    await world.wait(1.5)
    assert (await world.row(a)).flags == (await world.row(b)).flags == 0


# -- burnt ids


async def test_a_transient_failure_burns_the_id_even_inside_a_chain(world: World) -> None:
    a, b = await world.account(), await world.account()
    late = world.id()
    lost = world.draft(a, late, 1)
    companion = world.draft(a, b, 1, flags=F.LINKED)
    assert await world.statuses(companion, lost) == [
        S.LINKED_EVENT_FAILED,
        S.CREDIT_ACCOUNT_NOT_FOUND,
    ]
    account = Account(id=late, ledger=1, code=1)
    assert await world.account_status(account) is AccountStatus.CREATED
    assert await world.status(lost) is S.ID_ALREADY_FAILED
    assert await world.status(msgspec.structs.replace(companion, flags=0)) is S.CREATED


async def test_each_of_the_seven_transient_failures_burns_and_no_other_does(world: World) -> None:
    a, b = await world.account(), await world.account()
    capped = await world.account(flags=A.DEBITS_MUST_NOT_EXCEED_CREDITS)
    owing = await world.account(flags=A.CREDITS_MUST_NOT_EXCEED_DEBITS)
    closed = await world.account(flags=A.CLOSED)
    resolve_lost = Transfer(id=world.id(), pending_id=world.id(), flags=F.VOID_PENDING_TRANSFER)
    transient = {
        S.DEBIT_ACCOUNT_NOT_FOUND: world.draft(world.id(), b, 1),
        S.CREDIT_ACCOUNT_NOT_FOUND: world.draft(a, world.id(), 1),
        S.PENDING_TRANSFER_NOT_FOUND: resolve_lost,
        S.EXCEEDS_CREDITS: world.draft(capped, b, 1),
        S.EXCEEDS_DEBITS: world.draft(a, owing, 1),
        S.DEBIT_ACCOUNT_ALREADY_CLOSED: world.draft(closed, b, 1),
        S.CREDIT_ACCOUNT_ALREADY_CLOSED: world.draft(a, closed, 1),
    }
    for status, row in transient.items():
        assert await world.status(row) is status
        assert await world.status(row) is S.ID_ALREADY_FAILED
        assert await world.status(world.draft(a, b, 1, id=row.id)) is S.ID_ALREADY_FAILED
    for row in (
        world.draft(a, b, 1, ledger=9),
        world.draft(a, a, 1),
        world.draft(a, b, 1, timeout=5),
        world.draft(a, b, 1, flags=F.CLOSING_DEBIT),
    ):
        assert await world.status(row) is not S.CREATED
        assert await world.status(world.draft(a, b, 1, id=row.id)) is S.CREATED
