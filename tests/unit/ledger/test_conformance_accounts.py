"""Every account status, produced by the public verbs, and every pair of checks in order."""

from __future__ import annotations

from itertools import combinations

import msgspec

from core.ledger.types import AMOUNT_MAX, Account, AccountFlags, AccountStatus
from tests.unit.ledger.worlds import World

S = AccountStatus
F = AccountFlags
Refusals = list[tuple[AccountStatus, dict[str, int]]]

OF_ANY_ACCOUNT: Refusals = [
    (S.TIMESTAMP_MUST_BE_ZERO, {"timestamp": 1}),
    (S.RESERVED_FIELD, {"reserved": 1}),
    (S.RESERVED_FLAG, {"flags": 1 << 6}),
    (S.ID_MUST_NOT_BE_ZERO, {"id": 0}),
    (S.ID_MUST_NOT_BE_INT_MAX, {"id": AMOUNT_MAX}),
]
OF_A_NEW_ACCOUNT: Refusals = [
    *OF_ANY_ACCOUNT,
    (
        S.FLAGS_ARE_MUTUALLY_EXCLUSIVE,
        {"flags": F.DEBITS_MUST_NOT_EXCEED_CREDITS | F.CREDITS_MUST_NOT_EXCEED_DEBITS},
    ),
    (S.DEBITS_PENDING_MUST_BE_ZERO, {"debits_pending": 1}),
    (S.DEBITS_POSTED_MUST_BE_ZERO, {"debits_posted": 1}),
    (S.CREDITS_PENDING_MUST_BE_ZERO, {"credits_pending": 1}),
    (S.CREDITS_POSTED_MUST_BE_ZERO, {"credits_posted": 1}),
    (S.LEDGER_MUST_NOT_BE_ZERO, {"ledger": 0}),
    (S.CODE_MUST_NOT_BE_ZERO, {"code": 0}),
]
OF_A_KNOWN_ACCOUNT: Refusals = [
    *OF_ANY_ACCOUNT[:3],
    (S.EXISTS_WITH_DIFFERENT_FLAGS, {"flags": F.HISTORY}),
    (S.EXISTS_WITH_DIFFERENT_USER_DATA_128, {"user_data_128": 9}),
    (S.EXISTS_WITH_DIFFERENT_USER_DATA_64, {"user_data_64": 9}),
    (S.EXISTS_WITH_DIFFERENT_USER_DATA_32, {"user_data_32": 9}),
    (S.EXISTS_WITH_DIFFERENT_LEDGER, {"ledger": 9}),
    (S.EXISTS_WITH_DIFFERENT_CODE, {"code": 9}),
    # Balances are not compared: they are the ledger's, not the caller's.
    (S.EXISTS, {"debits_posted": 1, "credits_pending": 1}),
]


def changed(row: Account, *changes: dict[str, int]) -> Account | None:
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


async def must_hold(w: World, base: Account, refusals: Refusals) -> int:
    """Each refusal alone gives its status, and with any later one it still does."""
    pairs = 0
    refusals = [r for r in refusals if w.has_reserved_field or r[0] is not S.RESERVED_FIELD]
    sets: list[tuple[AccountStatus, tuple[dict[str, int], ...]]]
    sets = [(status, (change,)) for status, change in refusals]
    sets += [(a[0], (a[1], b[1])) for a, b in combinations(refusals, 2)]
    for status, changes in sets:
        fresh = base if base.id else msgspec.structs.replace(base, id=w.id())
        row = changed(fresh, *changes)
        if row is not None:
            assert await w.account_status(row) is status, (status.name, changes)
            pairs += len(changes) - 1
    return pairs


async def test_a_new_account_is_refused_for_the_first_reason_in_the_table(world: World) -> None:
    base = Account(ledger=1, code=1)
    assert await must_hold(world, base, OF_A_NEW_ACCOUNT) >= 54
    assert await world.account_status(Account(id=world.id(), ledger=1, code=1)) is S.CREATED


async def test_a_known_account_is_compared_field_by_field_and_nothing_changes(
    world: World,
) -> None:
    known = Account(
        id=world.id(), ledger=1, code=1, user_data_128=1, user_data_64=2, user_data_32=3
    )
    assert await world.account_status(known) is S.CREATED
    before = await world.row(known.id)
    assert await must_hold(world, known, OF_A_KNOWN_ACCOUNT) >= 36
    assert await world.row(known.id) == before


async def test_an_existing_account_is_answered_with_the_timestamp_it_was_created_at(
    world: World,
) -> None:
    known = Account(id=world.id(), ledger=1, code=1)
    [first] = await world.ledger.create_accounts([known])
    [again] = await world.ledger.create_accounts([known])
    assert (again.status, again.timestamp) == (S.EXISTS, first.timestamp)
    assert (await world.row(known.id)).timestamp == first.timestamp


async def test_linked_accounts_are_created_together_or_not_at_all(world: World) -> None:
    def row(**fields: int) -> Account:
        return Account(**({"id": world.id(), "ledger": 1, "code": 1} | fields))

    batch = [
        row(),
        row(flags=F.LINKED),
        row(flags=F.LINKED, code=0),
        row(),
        row(flags=F.LINKED),
        row(),
        row(flags=F.LINKED, ledger=0),
        row(flags=F.LINKED),
    ]
    results = await world.ledger.create_accounts(batch)
    assert [r.status for r in results] == [
        S.CREATED,
        S.LINKED_EVENT_FAILED,
        S.CODE_MUST_NOT_BE_ZERO,
        S.LINKED_EVENT_FAILED,
        S.CREATED,
        S.CREATED,
        S.LEDGER_MUST_NOT_BE_ZERO,
        S.LINKED_EVENT_CHAIN_OPEN,
    ]
    found = await world.ledger.lookup_accounts([a.id for a in batch])
    assert [a.id for a in found] == [batch[0].id, batch[4].id, batch[5].id]
    # An id that fell with its chain is free again.
    again = msgspec.structs.replace(batch[1], flags=0)
    assert await world.account_status(again) is S.CREATED


async def test_an_open_chain_alone_is_refused_before_anything_else(world: World) -> None:
    row = Account(id=0, ledger=0, flags=F.LINKED | F.IMPORTED)
    assert await world.account_status(row) is S.LINKED_EVENT_CHAIN_OPEN


async def test_an_account_can_be_created_closed(world: World) -> None:
    closed = await world.account(flags=F.CLOSED)
    assert (await world.row(closed)).flags == F.CLOSED
