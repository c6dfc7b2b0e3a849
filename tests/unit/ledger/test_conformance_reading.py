"""Imports, timestamps, history, look-ups and filters; the same on every backend."""

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
