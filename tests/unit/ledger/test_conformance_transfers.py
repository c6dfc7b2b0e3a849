"""Every transfer status, produced by the public verbs, and every pair of checks in order.

Each refusal is a small change to a transfer that would pass. A change that refuses, together
with a change that refuses later in the table, must still be refused for the first reason: so
all compatible pairs are tried, neighbours included.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import msgspec
import pytest

from core.ledger.types import AMOUNT_MAX, AccountFlags, Transfer, TransferFlags, TransferStatus
from tests.unit.ledger.worlds import World

S = TransferStatus
F = TransferFlags
Refusals = list[tuple[TransferStatus, dict[str, int]]]


@dataclass
class Cast:
    """Accounts and transfers that the refusals need."""

    a: int
    b: int
    other_ledger: int
    closed_dr: int
    closed_cr: int
    capped_dr: int
    capped_cr: int
    pending_dr: int  # one pending on the debit side
    pending_cr: int
    posted_dr: int
    posted_cr: int
    busy_dr: int  # one pending and one posted
    busy_cr: int
    plain: Transfer
    pending: Transfer
    posted: int
    voided: int
    expired: int
    on_closed: int  # a pending transfer between the two closed accounts
    post: Transfer
    burnt: int


async def build_cast(w: World) -> Cast:
    a, b, drain = await w.account(), await w.account(), await w.account()
    closed_dr, closed_cr = await w.account(), await w.account()
    busy_dr, busy_cr = await w.account(), await w.account()
    pending_fields = {"flags": int(F.PENDING), "user_data_128": 5, "user_data_64": 6}
    pending_dr, pending_cr = await w.account(), await w.account()
    posted_dr, posted_cr = await w.account(), await w.account()
    await w.transfer(busy_dr, busy_cr, 1, flags=F.PENDING)
    await w.transfer(busy_dr, busy_cr, 1)
    await w.transfer(pending_dr, pending_cr, 1, flags=F.PENDING)
    await w.transfer(posted_dr, posted_cr, 1)
    plain = w.draft(a, b, 10, user_data_128=1, user_data_64=2, user_data_32=3)
    assert await w.status(plain) is S.CREATED
    pending_id = await w.transfer(a, b, 10, **pending_fields)
    to_post = await w.transfer(a, b, 10, user_data_32=7, **pending_fields)
    to_void = await w.transfer(a, b, 10, **pending_fields)
    to_expire = await w.transfer(a, b, 10, timeout=1, **pending_fields)
    on_closed = await w.transfer(closed_dr, closed_cr, 10, flags=F.PENDING)
    post = Transfer(id=w.id(), pending_id=to_post, flags=int(F.POST_PENDING_TRANSFER), amount=4)
    assert await w.status(post) is S.CREATED
    await w.resolve(to_void, F.VOID_PENDING_TRANSFER, 0)
    await w.transfer(closed_dr, drain, 0, flags=F.PENDING | F.CLOSING_DEBIT)
    await w.transfer(drain, closed_cr, 0, flags=F.PENDING | F.CLOSING_CREDIT)
    await w.wait(1.5)
    failed = w.draft(a, w.id(), 1)
    assert await w.status(failed) is S.CREDIT_ACCOUNT_NOT_FOUND
    return Cast(
        a=a,
        b=b,
        other_ledger=await w.account(ledger=2),
        closed_dr=closed_dr,
        closed_cr=closed_cr,
        capped_dr=await w.account(flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS),
        capped_cr=await w.account(flags=AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS),
        pending_dr=pending_dr,
        pending_cr=pending_cr,
        posted_dr=posted_dr,
        posted_cr=posted_cr,
        busy_dr=busy_dr,
        busy_cr=busy_cr,
        plain=plain,
        pending=await w.booked(pending_id),
        posted=to_post,
        voided=to_void,
        expired=to_expire,
        on_closed=on_closed,
        post=post,
        burnt=failed.id,
    )


def of_any_transfer(c: Cast) -> Refusals:
    return [
        (S.TIMESTAMP_MUST_BE_ZERO, {"timestamp": 1}),
        (S.RESERVED_FLAG, {"flags": 1 << 9}),
        (S.ID_MUST_NOT_BE_ZERO, {"id": 0}),
        (S.ID_MUST_NOT_BE_INT_MAX, {"id": AMOUNT_MAX}),
    ]


def of_a_plain_transfer(w: World, c: Cast) -> Refusals:
    return [
        *of_any_transfer(c),
        (S.ID_ALREADY_FAILED, {"id": c.burnt}),
        (S.DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, {"debit_account_id": 0}),
        (S.DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, {"debit_account_id": AMOUNT_MAX}),
        (S.CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO, {"credit_account_id": 0}),
        (S.CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX, {"credit_account_id": AMOUNT_MAX}),
        (S.ACCOUNTS_MUST_BE_DIFFERENT, {"debit_account_id": c.b, "credit_account_id": c.b}),
        (S.PENDING_ID_MUST_BE_ZERO, {"pending_id": c.pending.id}),
        (S.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, {"timeout": 1}),
        (S.CLOSING_TRANSFER_MUST_BE_PENDING, {"flags": F.CLOSING_DEBIT}),
        (S.LEDGER_MUST_NOT_BE_ZERO, {"ledger": 0}),
        (S.CODE_MUST_NOT_BE_ZERO, {"code": 0}),
        (S.DEBIT_ACCOUNT_NOT_FOUND, {"debit_account_id": w.id()}),
        (S.CREDIT_ACCOUNT_NOT_FOUND, {"credit_account_id": w.id()}),
        (S.ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER, {"credit_account_id": c.other_ledger}),
        (S.TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS, {"ledger": 9}),
        (S.DEBIT_ACCOUNT_ALREADY_CLOSED, {"debit_account_id": c.closed_dr}),
        (S.CREDIT_ACCOUNT_ALREADY_CLOSED, {"credit_account_id": c.closed_cr}),
        (
            S.OVERFLOWS_DEBITS_PENDING,
            {"debit_account_id": c.pending_dr, "amount": AMOUNT_MAX, "flags": F.PENDING},
        ),
        (
            S.OVERFLOWS_CREDITS_PENDING,
            {"credit_account_id": c.pending_cr, "amount": AMOUNT_MAX, "flags": F.PENDING},
        ),
        (S.OVERFLOWS_DEBITS_POSTED, {"debit_account_id": c.posted_dr, "amount": AMOUNT_MAX}),
        (S.OVERFLOWS_CREDITS_POSTED, {"credit_account_id": c.posted_cr, "amount": AMOUNT_MAX}),
        (S.OVERFLOWS_DEBITS, {"debit_account_id": c.busy_dr, "amount": AMOUNT_MAX - 1}),
        (S.OVERFLOWS_CREDITS, {"credit_account_id": c.busy_cr, "amount": AMOUNT_MAX - 1}),
        (S.EXCEEDS_CREDITS, {"debit_account_id": c.capped_dr}),
        (S.EXCEEDS_DEBITS, {"credit_account_id": c.capped_cr}),
    ]


def of_a_post(w: World, c: Cast) -> Refusals:
    return [
        *of_any_transfer(c),
        (S.ID_ALREADY_FAILED, {"id": c.burnt}),
        (S.FLAGS_ARE_MUTUALLY_EXCLUSIVE, {"flags": F.VOID_PENDING_TRANSFER}),
        (S.FLAGS_ARE_MUTUALLY_EXCLUSIVE, {"flags": F.PENDING}),
        (S.FLAGS_ARE_MUTUALLY_EXCLUSIVE, {"flags": F.BALANCING_DEBIT}),
        (S.FLAGS_ARE_MUTUALLY_EXCLUSIVE, {"flags": F.BALANCING_CREDIT}),
        (S.FLAGS_ARE_MUTUALLY_EXCLUSIVE, {"flags": F.CLOSING_DEBIT}),
        (S.FLAGS_ARE_MUTUALLY_EXCLUSIVE, {"flags": F.CLOSING_CREDIT}),
        (S.PENDING_ID_MUST_NOT_BE_ZERO, {"pending_id": 0}),
        (S.PENDING_ID_MUST_NOT_BE_INT_MAX, {"pending_id": AMOUNT_MAX}),
        (S.PENDING_ID_MUST_BE_DIFFERENT, {"id": 77 << 100, "pending_id": 77 << 100}),
        (S.TIMEOUT_RESERVED_FOR_PENDING_TRANSFER, {"timeout": 1}),
        (S.PENDING_TRANSFER_NOT_FOUND, {"pending_id": w.id()}),
        (S.PENDING_TRANSFER_NOT_PENDING, {"pending_id": c.plain.id}),
        (S.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID, {"debit_account_id": c.other_ledger}),
        (S.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID, {"credit_account_id": c.other_ledger}),
        (S.PENDING_TRANSFER_HAS_DIFFERENT_LEDGER, {"ledger": 9}),
        (S.PENDING_TRANSFER_HAS_DIFFERENT_CODE, {"code": 9}),
        (S.EXCEEDS_PENDING_TRANSFER_AMOUNT, {"amount": 11}),
        (S.PENDING_TRANSFER_ALREADY_POSTED, {"pending_id": c.posted}),
        (S.PENDING_TRANSFER_ALREADY_VOIDED, {"pending_id": c.voided}),
        (S.PENDING_TRANSFER_EXPIRED, {"pending_id": c.expired}),
        (S.DEBIT_ACCOUNT_ALREADY_CLOSED, {"pending_id": c.on_closed}),
    ]


def of_a_void(w: World, c: Cast) -> Refusals:
    return [
        (S.EXCEEDS_PENDING_TRANSFER_AMOUNT, {"amount": AMOUNT_MAX}),
        (S.PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT, {"amount": 9}),
        (S.PENDING_TRANSFER_ALREADY_POSTED, {"pending_id": c.posted}),
        (S.PENDING_TRANSFER_ALREADY_VOIDED, {"pending_id": c.voided}),
        (S.PENDING_TRANSFER_EXPIRED, {"pending_id": c.expired}),
    ]


def of_a_known_transfer(c: Cast) -> Refusals:
    return [
        (S.EXISTS_WITH_DIFFERENT_FLAGS, {"flags": F.LINKED << 4}),
        (S.EXISTS_WITH_DIFFERENT_PENDING_ID, {"pending_id": c.plain.id}),
        (S.EXISTS_WITH_DIFFERENT_TIMEOUT, {"timeout": 1}),
        (S.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID, {"debit_account_id": c.other_ledger}),
        (S.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID, {"credit_account_id": c.other_ledger}),
        (S.EXISTS_WITH_DIFFERENT_AMOUNT, {"amount": 5}),
        (S.EXISTS_WITH_DIFFERENT_USER_DATA_128, {"user_data_128": 9}),
        (S.EXISTS_WITH_DIFFERENT_USER_DATA_64, {"user_data_64": 9}),
        (S.EXISTS_WITH_DIFFERENT_USER_DATA_32, {"user_data_32": 9}),
        (S.EXISTS_WITH_DIFFERENT_LEDGER, {"ledger": 9}),
        (S.EXISTS_WITH_DIFFERENT_CODE, {"code": 9}),
        (S.EXISTS, {}),
    ]


def changed(row: Transfer, *changes: dict[str, int]) -> Transfer | None:
    """The row with every change made, flags added up; None if two want the same field."""
    fields: dict[str, int] = {}
    flags = row.flags
    for change in changes:
        for name, value in change.items():
            if name == "flags":
                flags |= value
            elif fields.setdefault(name, value) != value:
                return None
    return msgspec.structs.replace(row, flags=flags, **fields)


async def must_hold(w: World, base: Transfer, refusals: Refusals) -> int:
    """Each refusal alone gives its status, and with any later one it still does."""
    pairs = 0

    async def check(status: TransferStatus, *changes: dict[str, int]) -> bool:
        fresh = base if base.id else msgspec.structs.replace(base, id=w.id())
        row = changed(fresh, *changes)
        if row is None:
            return False
        assert await w.status(row) is status, (status.name, changes)
        return True

    for status, change in refusals:
        assert await check(status, change)
    for (status, change), (later, other) in combinations(refusals, 2):
        if status is not later and not contradict(change, other):
            pairs += await check(status, change, other)
    return pairs


def contradict(change: dict[str, int], other: dict[str, int]) -> bool:
    """Whether the later change undoes what the earlier one relied on: the timeout and closing
    rows ask that PENDING is not set."""
    not_pending = change.get("timeout") or change.get("flags", 0) & F.CLOSING_DEBIT
    return bool(not_pending and other.get("flags", 0) & F.PENDING)


async def test_a_plain_transfer_is_refused_for_the_first_reason_in_the_table(world: World) -> None:
    cast = await build_cast(world)
    dr, cr = await world.account(), await world.account()
    base = Transfer(debit_account_id=dr, credit_account_id=cr, amount=10, ledger=1, code=1)
    assert await must_hold(world, base, of_a_plain_transfer(world, cast)) > 200
    assert await world.status(changed(base, {"id": world.id()}) or base) is S.CREATED


async def test_a_post_is_refused_for_the_first_reason_in_the_table(world: World) -> None:
    cast = await build_cast(world)
    base = Transfer(pending_id=cast.pending.id, amount=10, flags=int(F.POST_PENDING_TRANSFER))
    assert await must_hold(world, base, of_a_post(world, cast)) > 100
    assert await world.status(changed(base, {"id": world.id()}) or base) is S.CREATED


async def test_a_void_must_state_the_whole_amount_or_none(world: World) -> None:
    cast = await build_cast(world)
    base = Transfer(pending_id=cast.pending.id, flags=int(F.VOID_PENDING_TRANSFER))
    await must_hold(world, base, of_a_void(world, cast))
    assert await world.status(changed(base, {"id": world.id(), "amount": 10}) or base) is S.CREATED


async def test_a_known_id_is_compared_field_by_field(world: World) -> None:
    cast = await build_cast(world)
    assert await must_hold(world, cast.plain, of_a_known_transfer(cast)) == 66
    assert await must_hold(world, cast.post, of_a_known_transfer(cast)) == 66


async def test_a_known_post_may_leave_out_or_repeat_what_it_inherits(world: World) -> None:
    cast = await build_cast(world)
    booked = await world.booked(cast.post.id)
    assert (booked.user_data_128, booked.user_data_64, booked.user_data_32) == (5, 6, 7)
    assert (booked.debit_account_id, booked.credit_account_id) == (cast.a, cast.b)
    assert (booked.ledger, booked.code, booked.amount) == (1, 1, 4)
    assert await world.status(msgspec.structs.replace(booked, timestamp=0)) is S.EXISTS
    assert await world.status(cast.post) is S.EXISTS
    full = msgspec.structs.replace(cast.post, amount=AMOUNT_MAX)
    assert await world.status(full) is S.EXISTS_WITH_DIFFERENT_AMOUNT


async def test_a_post_on_a_credit_account_that_closed_since_is_refused(world: World) -> None:
    a, b, c = await world.account(), await world.account(), await world.account()
    pending = await world.transfer(a, b, 5, flags=F.PENDING)
    await world.transfer(c, b, 0, flags=F.PENDING | F.CLOSING_CREDIT)
    post = Transfer(id=world.id(), pending_id=pending, amount=5, flags=F.POST_PENDING_TRANSFER)
    assert await world.status(post) is S.CREDIT_ACCOUNT_ALREADY_CLOSED


async def test_a_time_out_beyond_the_end_of_time_overflows_before_limits_are_asked(
    world: World,
) -> None:
    if world.clock is None:
        pytest.skip("needs a clock near the end of time")
    world.clock.ms = (2**63 - 1) // 1_000_000 - 1_000
    capped = await world.account(flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
    other = await world.account()
    late = {"flags": int(F.PENDING), "timeout": 2}
    assert await world.status(world.draft(capped, other, 1, **late)) is S.OVERFLOWS_TIMEOUT
    assert await world.status(world.draft(other, capped, 1, **late)) is S.OVERFLOWS_TIMEOUT
    busy = await world.account()
    await world.transfer(other, busy, 1)
    full = world.draft(other, busy, AMOUNT_MAX, **late)
    assert await world.status(full) is S.OVERFLOWS_DEBITS_POSTED


async def test_overflow_of_pending_is_named_before_posted_and_posted_before_their_sum(
    world: World,
) -> None:
    cast = await build_cast(world)
    a = await world.account()
    named = {status.name: status for status in TransferStatus}
    for debit, credit, side in ((cast.busy_dr, a, "DEBITS"), (a, cast.busy_cr, "CREDITS")):
        pending = world.draft(debit, credit, AMOUNT_MAX, flags=F.PENDING)
        assert await world.status(pending) is named[f"OVERFLOWS_{side}_PENDING"]
        posted = world.draft(debit, credit, AMOUNT_MAX)
        assert await world.status(posted) is named[f"OVERFLOWS_{side}_POSTED"]
        both = world.draft(debit, credit, AMOUNT_MAX - 1)
        assert await world.status(both) is named[f"OVERFLOWS_{side}"]
