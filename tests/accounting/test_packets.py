"""Packets: the worked example, two phases, replays, and what bad input is told."""

from __future__ import annotations

import msgspec
import pytest

from core.accounting import (
    AccountManager,
    AccountMismatch,
    CreditLimits,
    Packet,
    PacketResult,
    Pair,
    Stage,
    Step,
    UnknownToken,
    chart_of,
)
from core.accounting.ids import CODES, Kind, account_id, owner_mark, token_mark
from core.accounting.packets import words
from core.ledger import AMOUNT_MAX, Account, AccountFlags, TransferStatus
from tests.accounting.conftest import Books


async def clearing(books: Books) -> int:
    """What the token's clearing account has kept: credits less debits."""
    id_ = account_id(books.node, "", "USD", Kind.CLEARING)
    return (await books.ledger.get_account_balance(id_)).balance


async def figures(manager: AccountManager, peer: str) -> tuple[int, int, int]:
    balance = await manager.get_account_balance(peer, "USD")
    return balance.receivable, balance.payable, balance.net


async def assert_balanced(manager: AccountManager) -> None:
    for trial in await manager.trial_balance():
        assert trial.balanced
        assert trial.confirmed


async def test_the_worked_example(books: Books) -> None:
    manager = books.manager()
    [result] = await manager.record_packet_transfers([books.packet("P", "Q", 1000, 990)])
    assert result.booked
    assert await figures(manager, "P") == (1000, 0, 1000)
    assert await figures(manager, "Q") == (0, 990, -990)
    assert await clearing(books) == 10
    await assert_balanced(manager)


async def test_the_worked_example_in_two_phases(books: Books) -> None:
    manager = books.manager()
    packet = books.packet("P", "Q", 1000, 990)
    await manager.prepare([packet], 60)
    assert await figures(manager, "P") == (0, 0, 0)
    p, q = await manager.get_account_balances([Pair("P", "USD"), Pair("Q", "USD")])
    assert (p.receivable_in_flight, q.payable_in_flight) == (1000, 990)
    await assert_balanced(manager)
    [result] = await manager.fulfil([packet])
    assert result.booked
    assert await figures(manager, "P") == (1000, 0, 1000)
    assert await figures(manager, "Q") == (0, 990, -990)
    assert await clearing(books) == 10
    assert (await manager.get_account_balance("P", "USD")).receivable_in_flight == 0


async def test_a_rejected_packet_leaves_nothing(books: Books) -> None:
    manager = books.manager()
    packet = books.packet("P", "Q", 1000, 990)
    await manager.prepare([packet], 60)
    [result] = await manager.reject([packet])
    assert result.booked
    balance = await manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.receivable_in_flight) == (0, 0)
    [late] = await manager.fulfil([packet])
    assert late.status == "pending_transfer_already_voided"
    assert "rejected before" in late.message


async def test_a_prepare_lapses_when_its_time_is_up(books: Books) -> None:
    manager = books.manager()
    packet = books.packet("P", "Q", 1000, 990)
    await manager.prepare([packet], 1)
    await books.wait(2)
    balance = await manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.receivable_in_flight) == (0, 0)
    [late] = await manager.fulfil([packet])
    assert late.status == "pending_transfer_expired"
    assert await figures(manager, "P") == (0, 0, 0)


@pytest.mark.parametrize("stage", [Stage.RECORD, Stage.PREPARE])
async def test_a_replayed_packet_books_nothing(books: Books, stage: Stage) -> None:
    manager = books.manager()
    steps = [Step(stage, books.packet("P", "Q", 1000, 990))]
    assert [r.booked for r in await manager.commit(steps)] == [True]
    before = await manager.get_account_balance("P", "USD")
    again = await manager.commit(steps * 2) + await books.manager().commit(steps)
    assert [r.status for r in again] == ["exists"] * 3
    assert all(r.replayed and not r.message for r in again)
    assert await manager.get_account_balance("P", "USD") == before


async def test_a_replayed_fulfil_or_reject_books_nothing(books: Books) -> None:
    manager = books.manager()
    kept, dropped = books.packet("P", "Q", 10), books.packet("P", "Q", 20)
    await manager.prepare([kept, dropped], 60)
    steps = [Step(Stage.FULFIL, kept), Step(Stage.REJECT, dropped)]
    assert [r.status for r in await manager.commit(steps)] == ["created"] * 2
    assert [r.status for r in await manager.commit(steps)] == ["exists"] * 2
    assert await figures(manager, "P") == (10, 0, 10)


async def test_a_packet_is_not_booked_in_both_ways(books: Books) -> None:
    manager = books.manager()
    prepared, recorded = books.packet("P", "Q", 10), books.packet("P", "Q", 20)
    await manager.prepare([prepared], 60)
    await manager.record_packet_transfers([recorded])
    [one] = await manager.record_packet_transfers([prepared])
    [other] = await manager.prepare([recorded], 60)
    [fulfilled] = await manager.fulfil([recorded])
    assert one.status == other.status == "exists_with_different_flags"
    assert fulfilled.status == "pending_transfer_not_pending"
    assert await figures(manager, "P") == (20, 0, 20)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"amount_in": 999}, "exists_with_different_amount"),
        ({"amount_out": 989}, "exists_with_different_amount"),
        ({"source": "R"}, "exists_with_different_debit_account_id"),
        ({"destination": "R"}, "exists_with_different_credit_account_id"),
    ],
)
async def test_an_id_used_again_for_another_packet_is_refused(
    books: Books, change: dict[str, int | str], status: str
) -> None:
    manager = books.manager()
    packet = books.packet("P", "Q", 1000, 990)
    await manager.record_packet_transfers([packet])
    [result] = await manager.record_packet_transfers([msgspec.structs.replace(packet, **change)])
    assert result.status == status
    assert "its id was used before" in result.message
    assert await figures(manager, "P") == (1000, 0, 1000)
    assert await figures(manager, "R") == (0, 0, 0)


async def test_a_refused_prepare_stays_refused(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    packet = books.packet("P", "Q", 101)
    [refused] = await manager.prepare([packet], 60)
    assert refused.status == "exceeds_credits"
    await manager.set_limits(CreditLimits(1000))
    [again] = await manager.prepare([packet], 60)
    assert again.status == "id_already_failed"
    assert "a retry is a new packet" in again.message
    [retry] = await manager.prepare([books.packet("P", "Q", 101)], 60)
    assert retry.booked


async def test_a_refused_leg_takes_the_other_with_it(books: Books) -> None:
    manager = books.manager(CreditLimits(100))
    [refused] = await manager.record_packet_transfers([books.packet("P", "Q", 101, 99)])
    assert refused.status == "exceeds_credits"
    assert await figures(manager, "Q") == (0, 0, 0)
    await manager.record_packet_transfers([books.packet("P", "Q", 1, AMOUNT_MAX)])
    [full] = await manager.record_packet_transfers([books.packet("P", "Q", 50, 1)])
    assert full.status.startswith("overflows")
    assert await figures(manager, "P") == (1, 0, 1)


async def test_a_fulfil_of_another_peers_packet_is_refused(books: Books) -> None:
    manager = books.manager()
    packet = books.packet("P", "Q", 10)
    await manager.prepare([packet], 60)
    [wrong] = await manager.fulfil([msgspec.structs.replace(packet, source="R")])
    assert wrong.status == "pending_transfer_has_different_debit_account_id"
    [right] = await manager.fulfil([packet])
    assert right.booked


async def test_what_was_never_prepared_cannot_be_fulfilled(books: Books) -> None:
    [result] = await books.manager().fulfil([books.packet("P", "Q", 10)])
    assert result.status == "pending_transfer_not_found"
    assert "never prepared" in result.message


def bad(packet: Packet) -> list[tuple[Step, str]]:
    """Steps that no ledger would take, and what it would say."""
    say = msgspec.structs.replace
    return [
        (Step(Stage.RECORD, say(packet, token="EUR")), "ledger_must_not_be_zero"),
        (Step(Stage.RECORD, say(packet, id="")), "id_must_not_be_zero"),
        (Step(Stage.RECORD, say(packet, source="")), "debit_account_id_must_not_be_zero"),
        (Step(Stage.RECORD, say(packet, destination="")), "credit_account_id_must_not_be_zero"),
        (Step(Stage.RECORD, say(packet, destination="P")), "accounts_must_be_different"),
        (Step(Stage.RECORD, say(packet, amount_in=-1)), "field_out_of_range"),
        (Step(Stage.RECORD, say(packet, amount_out=AMOUNT_MAX + 1)), "field_out_of_range"),
        (Step(Stage.PREPARE, packet, 2**32), "field_out_of_range"),
        (Step(Stage.RECORD, packet, 5), "timeout_reserved_for_pending_transfer"),
    ]


async def test_bad_steps_are_named_and_the_others_of_the_batch_go_on(books: Books) -> None:
    manager = books.manager()
    cases = bad(books.packet("P", "Q", 10))
    steps = [Step(Stage.RECORD, books.packet("P", "Q", 1)), *(step for step, _ in cases)]
    steps.append(Step(Stage.RECORD, books.packet("P", "Q", 2)))
    results = await manager.commit(steps)
    assert [r.status for r in results] == ["created", *(status for _, status in cases), "created"]
    for (step, status), result in zip(cases, results[1:-1], strict=True):
        assert result.refused
        assert f"({step.packet.amount_in} {step.packet.token})" in result.message
        assert step.packet.source in result.message
        assert words(status) in result.message
        assert status == "field_out_of_range" or TransferStatus[status.upper()]
    assert await figures(manager, "P") == (3, 0, 3)


async def test_a_batch_beyond_one_request_is_booked_in_order(books: Books) -> None:
    manager = books.manager(CreditLimits(4_100))
    packets = [books.packet("P", "Q", 1) for _ in range(4_101)]
    results = await manager.record_packet_transfers(packets)
    assert [r.packet for r in results] == [p.id for p in packets]
    assert [r.status for r in results] == ["created"] * 4_100 + ["exceeds_credits"]


async def test_an_empty_batch_asks_nothing(books: Books) -> None:
    assert await books.manager().commit([]) == []


async def test_many_pairs_are_opened_and_read_at_once(books: Books) -> None:
    manager = books.manager(CreditLimits(5))
    pairs = [Pair(f"peer-{number}", "USD") for number in range(3_000)]
    opened = await manager.open_accounts(pairs)
    assert [accounts.pair for accounts in opened] == pairs
    assert await manager.open_accounts(pairs) == opened
    balances = await manager.get_account_balances(pairs)
    assert [(b.peer, b.limit, b.headroom) for b in balances] == [(p.peer, 5, 5) for p in pairs]
    [trial] = await manager.trial_balance()
    assert trial.accounts >= 4 * len(pairs)
    assert trial.balanced


async def test_accounts_carry_the_marks_that_queries_find_them_by(books: Books) -> None:
    manager = books.manager()
    [accounts] = await manager.open_accounts([Pair("P", "USD")])
    debit, credit = await books.ledger.lookup_accounts([accounts.debit, accounts.credit])
    assert (debit.code, credit.code) == (CODES[Kind.DEBIT], CODES[Kind.CREDIT])
    assert debit.user_data_128 == credit.user_data_128 == owner_mark(books.node, "P")
    assert debit.user_data_64 == token_mark("USD")
    assert (debit.user_data_32, credit.user_data_32) == (0, 1)
    assert debit.flags == int(AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
    assert credit.flags == 0


async def test_an_unknown_token_has_no_balance_and_an_unknown_peer_owes_nothing(
    books: Books,
) -> None:
    manager = books.manager()
    with pytest.raises(UnknownToken, match="'EUR' is not configured; configured are: USD"):
        await manager.get_account_balance("P", "EUR")
    with pytest.raises(UnknownToken):
        await manager.open_accounts([Pair("P", "EUR")])
    assert await figures(manager, "nobody") == (0, 0, 0)


async def test_tokens_keep_their_ledgers_when_the_settings_are_reordered(books: Books) -> None:
    first = books.manager(None, "USD", "EUR")
    await first.open()
    [usd, eur] = await first.open_accounts([Pair("P", "USD"), Pair("P", "EUR")])
    assert (usd.ledger, eur.ledger) == (1, 2)
    second = books.manager(None, "GBP", "EUR", "USD")
    assert await second.open_accounts([Pair("P", "USD"), Pair("P", "EUR")]) == [usd, eur]
    [gbp] = await second.open_accounts([Pair("P", "GBP")])
    assert gbp.ledger == 3
    assert [t.name for t in await second.trial_balance()] == ["GBP", "EUR", "USD"]


@pytest.mark.parametrize(("claimant", "number"), [("USD", 1), ("EUR", 2)])
async def test_a_number_claimed_by_a_start_that_died_is_taken_up_or_left(
    books: Books, claimant: str, number: int
) -> None:
    claim = Account(
        id=account_id(books.node, "", "1", Kind.NUMBER),
        user_data_128=owner_mark(books.node, ""),
        user_data_64=token_mark(claimant),
        ledger=1,
        code=CODES[Kind.NUMBER],
    )
    await books.ledger.create_accounts([claim])
    [accounts] = await books.manager().open_accounts([Pair("P", "USD")])
    assert accounts.ledger == number


async def test_a_chart_says_whose_an_id_is(books: Books) -> None:
    manager = books.manager()
    await manager.record_packet_transfers([books.packet("P", "Q", 1000, 990)])
    chart = await manager.chart()
    rows = await books.ledger.lookup_accounts(list(chart))
    assert len(rows) == len(chart) == 3 + 2 * 4
    for row in rows:
        made = chart[row.id].account
        assert (row.code, row.ledger, row.flags) == (made.code, made.ledger, made.flags)
        assert (row.user_data_128, row.user_data_64) == (made.user_data_128, made.user_data_64)
    whose = {(e.kind.value, e.owner): e.token for e in chart.values()}
    assert whose["debit", "P"] == whose["line", "Q"] == whose["clearing", ""] == "USD"


async def test_a_token_whose_opening_was_imported_keeps_its_number(books: Books) -> None:
    chart = chart_of(books.node, {"USD": 1}, [])
    opening = next(e.account for e in chart.values() if e.kind is Kind.OPENING)
    await books.ledger.create_accounts([opening])
    manager = books.manager(None, "EUR", "USD")
    [eur, usd] = await manager.open_accounts([Pair("P", "EUR"), Pair("P", "USD")])
    assert (eur.ledger, usd.ledger) == (2, 1)


async def test_accounts_made_by_other_settings_are_refused_by_name(books: Books) -> None:
    foreign = Account(id=account_id(books.node, "P", "USD", Kind.CREDIT), ledger=9, code=200)
    await books.ledger.create_accounts([foreign])
    with pytest.raises(AccountMismatch, match=r"peer P, USD.*exists_with_different"):
        await books.manager().record_packet_transfers([books.packet("P", "Q", 1)])


async def test_any_number_of_tokens_get_numbers_of_their_own(books: Books) -> None:
    tokens = [f"T{n}" for n in range(70)]
    manager = books.manager(None, *tokens)
    assert [t.ledger for t in await manager.trial_balance()] == list(range(1, 71))


async def test_a_manager_restarted_knows_what_its_peers_owe(books: Books) -> None:
    limits = CreditLimits(5_000)
    await books.manager(limits).record_packet_transfers([books.packet("P", "Q", 1000, 990)])
    restarted = books.manager(limits)
    balance = await restarted.get_account_balance("P", "USD")
    assert (balance.receivable, balance.limit, balance.headroom) == (1000, 5_000, 4_000)
    await restarted.open_accounts([Pair("P", "USD")])
    assert await restarted.get_account_balance("P", "USD") == balance


def test_a_step_travels_as_json() -> None:
    step = Step(Stage.PREPARE, Packet("id", "P", "Q", "USD", 2**100, 1), 30)
    assert msgspec.convert(msgspec.to_builtins(step), Step) == step
    assert PacketResult("id", Stage.PREPARE, "created").booked
