"""What happens over several requests: chains, pending life cycles, balancing, closing, imports,
burnt ids, timestamps, history and filters; the same on every backend."""

from __future__ import annotations

import msgspec

from core.ledger.types import (
    AMOUNT_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    AccountStatus,
    QueryFilter,
    QueryFilterFlags,
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


# -- imported events


async def test_the_first_event_decides_whether_a_batch_is_imported(world: World) -> None:
    a, b = await world.account(), await world.account()
    live, imported = world.draft(a, b, 1), world.draft(a, b, 1, flags=F.IMPORTED, timestamp=1)
    assert await world.statuses(live, imported) == [S.CREATED, S.IMPORTED_EVENT_NOT_EXPECTED]
    # The kind is asked before the timestamp.
    stamped = world.draft(a, b, 1, timestamp=7)
    none = world.draft(a, b, 1, flags=F.IMPORTED)
    assert await world.statuses(imported, stamped) == [
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        S.IMPORTED_EVENT_EXPECTED,
    ]
    assert await world.statuses(live, none) == [S.EXISTS, S.IMPORTED_EVENT_NOT_EXPECTED]


async def test_imported_accounts_keep_their_timestamps_in_rising_order(world: World) -> None:
    s = AccountStatus
    anchor = await world.account()
    await world.wait(0.1)
    past = (await world.row(anchor)).timestamp

    def row(timestamp: int, **fields: int) -> Account:
        fields = {"id": world.id(), "ledger": 1, "code": 1} | fields
        return Account(flags=int(A.IMPORTED), timestamp=timestamp, **fields)

    batch = [
        row(0),
        row(2**63),
        row(0, ledger=0),
        row(2**63 - 1),
        row(2**63 - 1, reserved=1) if world.has_reserved_field else row(2**63 - 1, id=0),
        row(past),
        row(past, code=0),
        row(past + 10, user_data_32=1),
        row(past + 10),
        row(past + 9),
        row(past + 11),
    ]
    results = await world.ledger.create_accounts(batch)
    assert [r.status for r in results] == [
        s.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE,
        s.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE,
        s.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE,
        s.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE,
        s.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE,
        s.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        s.CODE_MUST_NOT_BE_ZERO,
        s.CREATED,
        s.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        s.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        s.CREATED,
    ]
    assert results[7].timestamp == past + 10
    assert (await world.row(batch[7].id)).timestamp == past + 10
    [again] = await world.ledger.create_accounts([batch[7]])
    assert (again.status, again.timestamp) == (s.EXISTS, past + 10)


async def test_mixed_account_batches_are_refused_by_kind(world: World) -> None:
    s = AccountStatus
    live = Account(id=world.id(), ledger=1, code=1)
    stamped = Account(id=world.id(), ledger=1, code=1, timestamp=5)
    imported = Account(id=world.id(), ledger=1, code=1, flags=int(A.IMPORTED))
    results = await world.ledger.create_accounts([live, imported])
    assert [r.status for r in results] == [s.CREATED, s.IMPORTED_EVENT_NOT_EXPECTED]
    results = await world.ledger.create_accounts([imported, stamped])
    assert [r.status for r in results] == [
        s.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE,
        s.IMPORTED_EVENT_EXPECTED,
    ]


async def test_imported_transfers_postdate_their_accounts_and_each_other(world: World) -> None:
    old_dr, old_cr = await world.account(), await world.account()
    await world.transfer(old_dr, old_cr, 1)
    await world.wait(0.1)
    new_dr, new_cr = await world.account(), await world.account()
    await world.wait(0.1)
    young = (await world.row(new_dr)).timestamp
    between = young - 1_000

    def row(timestamp: int, debit: int = old_dr, credit: int = old_cr, **fields: int) -> Transfer:
        given = {"flags": int(F.IMPORTED), "timestamp": timestamp} | fields
        return world.draft(debit, credit, 3, **given)

    pending = int(F.IMPORTED | F.PENDING)
    before = (
        await world.booked(
            (
                await world.ledger.query_transfers(
                    QueryFilter(timestamp_max=between, limit=1, flags=QueryFilterFlags.REVERSED)
                )
            )[0].id
        )
    ).timestamp
    batch = [
        row(0),
        row(2**63 - 1, flags=int(F.IMPORTED) | 1 << 9),
        row(before),
        row(before, debit=new_dr),
        row(young),  # an account has this very timestamp
        row(between, debit=new_dr, credit=new_cr),
        row(between, credit=new_cr),
        row(between, credit=new_cr, flags=pending, timeout=1),
        row(between, flags=pending, timeout=1),
        row(between),
        row(between),
        row(between + 1, flags=pending),
    ]
    results = await world.ledger.create_transfers(batch)
    assert [r.status for r in results] == [
        S.IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT,
        S.IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO,
        S.CREATED,
        S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS,
        S.CREATED,
    ]
    assert results[9].timestamp == between
    post = Transfer(
        id=world.id(),
        pending_id=batch[11].id,
        amount=1,
        flags=int(F.IMPORTED | F.POST_PENDING_TRANSFER),
        timestamp=between + 1,
    )
    assert await world.status(post) is S.IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    assert await world.status(msgspec.structs.replace(post, timestamp=between + 2)) is S.CREATED


# -- timestamps


async def test_timestamps_rise_by_a_nanosecond_per_slot_refused_or_not(world: World) -> None:
    a, b = await world.account(), await world.account()
    known = world.draft(a, b, 1)
    [original] = await world.ledger.create_transfers([known])
    results = await world.ledger.create_transfers(
        [world.draft(a, b, 1), world.draft(a, b, 1, code=0), known, world.draft(a, b, 1)]
    )
    first = results[0].timestamp
    assert first > original.timestamp
    assert [r.timestamp for r in results] == [first, first + 1, original.timestamp, first + 3]
    [later] = await world.ledger.create_transfers([world.draft(a, b, 1)])
    assert later.timestamp > first + 3


# -- reading


async def test_look_ups_give_what_exists_in_the_order_asked(world: World) -> None:
    a, b = await world.account(), await world.account()
    first, second = await world.transfer(a, b, 1), await world.transfer(a, b, 2)
    accounts = await world.ledger.lookup_accounts([b, world.id(), a, b])
    assert [x.id for x in accounts] == [b, a, b]
    transfers = await world.ledger.lookup_transfers([second, world.id(), first])
    assert [x.amount for x in transfers] == [2, 1]


async def test_an_account_filter_selects_by_side_time_field_and_limit(world: World) -> None:
    a, b = await world.account(flags=A.HISTORY), await world.account()
    out1 = await world.transfer(a, b, 1, user_data_32=1)
    in1 = await world.transfer(b, a, 2, user_data_32=2, code=7)
    out2 = await world.transfer(a, b, 4, user_data_64=3, user_data_128=4)
    times = [(await world.booked(i)).timestamp for i in (out1, in1, out2)]

    async def found(**fields: int) -> list[int]:
        f = AccountFilter(**({"account_id": a, "limit": 10, "flags": int(BOTH)} | fields))
        rows = await world.ledger.get_account_transfers(f)
        balances = await world.ledger.get_account_balances(f)
        assert [r.timestamp for r in rows] == [x.timestamp for x in balances]
        return [r.amount for r in rows]

    assert await found() == [1, 2, 4]
    assert await found(flags=AccountFilterFlags.DEBITS) == [1, 4]
    assert await found(flags=AccountFilterFlags.CREDITS) == [2]
    assert await found(flags=BOTH | AccountFilterFlags.REVERSED) == [4, 2, 1]
    assert await found(flags=BOTH | AccountFilterFlags.REVERSED, limit=2) == [4, 2]
    assert await found(limit=1) == [1]
    assert await found(timestamp_min=times[1]) == [2, 4]
    assert await found(timestamp_max=times[1]) == [1, 2]
    assert await found(timestamp_min=times[1], timestamp_max=times[1]) == [2]
    assert await found(user_data_32=1) == [1]
    assert await found(user_data_64=3, user_data_128=4) == [4]
    assert await found(user_data_64=3, user_data_32=1) == []
    assert await found(code=7) == [2]


async def test_an_invalid_filter_is_an_empty_list_and_not_an_error(world: World) -> None:
    a, b = await world.account(flags=A.HISTORY), await world.account()
    await world.transfer(a, b, 1)
    for fields in (
        {"flags": 0},
        {"flags": int(AccountFilterFlags.REVERSED)},
        {"flags": int(BOTH) | 8},
        {"limit": 0},
        {"account_id": 0},
        {"account_id": AMOUNT_MAX},
        {"timestamp_min": 9, "timestamp_max": 8},
        {"timestamp_min": 2**64 - 1},
        {"timestamp_max": 2**64 - 1},
    ):
        f = AccountFilter(**({"account_id": a, "limit": 10, "flags": int(BOTH)} | fields))
        assert await world.ledger.get_account_transfers(f) == []
        assert await world.ledger.get_account_balances(f) == []
    for fields in (
        {"limit": 0},
        {"flags": 2},
        {"timestamp_min": 9, "timestamp_max": 8},
        {"timestamp_max": 2**64 - 1},
    ):
        query = QueryFilter(**({"limit": 10} | fields))
        assert await world.ledger.query_accounts(query) == []
        assert await world.ledger.query_transfers(query) == []


async def test_balances_are_kept_for_history_accounts_alone(world: World) -> None:
    a, b = await world.account(flags=A.HISTORY), await world.account()
    pending = await world.transfer(a, b, 10, flags=F.PENDING)
    post = await world.resolve(pending, F.POST_PENDING_TRANSFER, 4)
    back = await world.transfer(b, a, 3)
    f = AccountFilter(a, limit=10, flags=int(BOTH))
    times = [(await world.booked(i)).timestamp for i in (pending, post, back)]
    assert await world.ledger.get_account_balances(f) == [
        AccountBalance(10, 0, 0, 0, times[0]),
        AccountBalance(0, 4, 0, 0, times[1]),
        AccountBalance(0, 4, 0, 3, times[2]),
    ]
    other = msgspec.structs.replace(f, account_id=b)
    assert await world.ledger.get_account_balances(other) == []
    unknown = msgspec.structs.replace(f, account_id=world.id())
    assert await world.ledger.get_account_transfers(unknown) == []


async def test_queries_match_every_field_that_is_set(world: World) -> None:
    mark = world.user_data
    a, b = await world.account(code=3), await world.account(code=4)
    c = await world.account(code=3, ledger=2)
    one = await world.transfer(a, b, 1, user_data_64=mark)
    two = await world.transfer(b, a, 2, user_data_64=mark, code=9)

    async def accounts(**fields: int) -> list[int]:
        f = QueryFilter(**({"user_data_64": mark, "limit": 10} | fields))
        return [x.id for x in await world.ledger.query_accounts(f)]

    async def transfers(**fields: int) -> list[int]:
        f = QueryFilter(**({"user_data_64": mark, "limit": 10} | fields))
        return [x.id for x in await world.ledger.query_transfers(f)]

    assert await accounts() == [a, b, c]
    assert await accounts(flags=QueryFilterFlags.REVERSED) == [c, b, a]
    assert await accounts(code=3) == [a, c]
    assert await accounts(code=3, ledger=2) == [c]
    assert await accounts(limit=2) == [a, b]
    assert await transfers() == [one, two]
    assert await transfers(code=9) == [two]
    assert await transfers(timestamp_min=(await world.booked(two)).timestamp) == [two]
    assert await transfers(timestamp_max=(await world.booked(one)).timestamp) == [one]
    newest = QueryFilter(limit=1, timestamp_min=(await world.booked(two)).timestamp)
    assert [x.id for x in await world.ledger.query_transfers(newest)] == [two]


async def test_a_balance_is_credits_less_debits_and_unknown_ids_are_not_zero(
    world: World,
) -> None:
    a, b = await world.account(), await world.account()
    await world.transfer(a, b, 7)
    await world.transfer(b, a, 2, flags=F.PENDING)
    balance = await world.ledger.get_account_balance(a)
    assert (balance.debits, balance.credits, balance.balance) == (7, 0, -7)
    unknown = world.id()
    both = await world.ledger.get_accounts_batch([a, unknown, b])
    assert set(both) == {a, b}
    assert both[b].balance == 7
