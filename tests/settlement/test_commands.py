"""Begin, complete and fail: amounts, keys, races, burnt ids, and what an operator is told."""

from __future__ import annotations

import asyncio

import pytest

from core.accounting import AccountManager, Direction, Pair
from core.accounting.ids import resolution_id
from core.ledger import Transfer, TransferFlags, TransferStatus
from core.settlement import (
    IllegalTransition,
    SettlementKey,
    SettlementNotPossible,
    ThresholdRules,
    idempotency_key,
    transfer_id,
)
from tests.settlement.conftest import IDLE, IN_PROGRESS, PENDING, Node

KEY = SettlementKey("P", "USD")


async def pending(node: Node, amount: int = 120) -> None:
    await node.start()
    await node.owe(amount)
    await node.state_becomes(PENDING)


async def test_in_progress_is_a_pending_transfer_with_an_id_made_of_key_and_attempt(
    node: Node,
) -> None:
    await pending(node)
    view = await node.monitor.mark_settlement_in_progress("P", "USD")
    id_ = transfer_id(idempotency_key("node-a", "gen-1", KEY, 1), 0)
    [held] = await node.embedded.lookup_transfers([id_])
    assert (held.amount, held.flags, held.timeout) == (120, TransferFlags.PENDING, 0)
    [accounts] = await node.manager.open_accounts([Pair("P", "USD")])
    assert (held.debit_account_id, held.credit_account_id) == (accounts.transit, accounts.debit)
    assert view.idempotency_key == idempotency_key("node-a", "gen-1", KEY, 1)
    await node.monitor.mark_settlement_failed("P", "USD", reason="x")
    await node.monitor.mark_settlement_in_progress("P", "USD")
    second = transfer_id(view.idempotency_key, 1)
    assert [row.amount for row in await node.embedded.lookup_transfers([second])] == [120]


def test_keys_differ_in_everything_they_are_made_of_and_names_cannot_run_together() -> None:
    keys = {
        idempotency_key(node, generation, SettlementKey(peer, token, side), epoch)
        for node in ("n", "n|g")
        for generation in ("g", "g|p")
        for peer in ("p", "p|USD", "g|p")
        for token in ("USD", "EUR")
        for side in Direction
        for epoch in (1, 2, 11)
    }
    assert len(keys) == 2 * 2 * 3 * 2 * 2 * 3


@pytest.mark.parametrize("amount", [0, -1, 121])
async def test_an_amount_that_is_not_owed_cannot_be_begun(node: Node, amount: int) -> None:
    await pending(node)
    with pytest.raises(SettlementNotPossible, match="120 is due"):
        await node.monitor.mark_settlement_in_progress("P", "USD", amount=amount)
    assert node.monitor.get_settlement_state("P", "USD") is PENDING
    assert (await node.manager.get_account_balance("P", "USD")).receivable_in_transit == 0


@pytest.mark.parametrize("amount", [0, -1, 121])
async def test_more_than_was_begun_or_nothing_cannot_be_completed(node: Node, amount: int) -> None:
    await pending(node)
    await node.monitor.mark_settlement_in_progress("P", "USD")
    with pytest.raises(SettlementNotPossible, match="120 is under way"):
        await node.monitor.mark_settlement_completed("P", "USD", amount=amount)
    assert node.monitor.get_settlement_state("P", "USD") is IN_PROGRESS


async def test_a_part_may_be_begun_and_the_rest_is_asked_for_if_it_is_too_much(
    node: Node,
) -> None:
    await pending(node, 500)
    await node.monitor.mark_settlement_in_progress("P", "USD", amount=200)
    view = await node.monitor.mark_settlement_completed("P", "USD")
    assert (view.state, view.due, view.epoch) == (PENDING, 300, 2)


async def test_a_report_under_the_key_of_another_settlement_is_refused(node: Node) -> None:
    await pending(node, 300)
    monitor = node.monitor
    first = await monitor.mark_settlement_in_progress("P", "USD")
    await monitor.mark_settlement_completed(
        "P", "USD", amount=150, idempotency_key=first.idempotency_key
    )
    second = await monitor.mark_settlement_in_progress("P", "USD")
    assert second.epoch == 2
    with pytest.raises(IllegalTransition, match="is not that of this settlement"):
        await monitor.mark_settlement_completed("P", "USD", idempotency_key=first.idempotency_key)
    with pytest.raises(IllegalTransition, match="is not that of this settlement"):
        await monitor.mark_settlement_failed(
            "P", "USD", reason="late", idempotency_key=first.idempotency_key
        )
    assert (await node.manager.get_account_balance("P", "USD")).receivable == 150
    assert monitor.get_settlement_state("P", "USD") is IN_PROGRESS


async def test_two_processes_that_begin_complete_and_fail_at_once_do_it_once(node: Node) -> None:
    await pending(node)
    others = [
        node.monitor_of(AccountManager(node.embedded, "node-a", ("USD", "EUR"))) for _ in range(3)
    ]
    for other in others:
        await other.start()
    try:
        all_of = [node.monitor, *others]
        begun = await asyncio.gather(
            *(m.mark_settlement_in_progress("P", "USD") for m in all_of), return_exceptions=True
        )
        assert any(not isinstance(answer, BaseException) for answer in begun)
        refused = [answer for answer in begun if isinstance(answer, BaseException)]
        assert all(isinstance(answer, IllegalTransition) for answer in refused)
        assert (await node.manager.get_account_balance("P", "USD")).receivable_in_transit == 120
        ended = await asyncio.gather(
            *(m.mark_settlement_completed("P", "USD") for m in all_of),
            *(m.mark_settlement_failed("P", "USD", reason="x") for m in all_of),
            return_exceptions=True,
        )
        kinds = (IllegalTransition, SettlementNotPossible)
        assert all(isinstance(a, kinds) for a in ended if isinstance(a, BaseException)), ended
        balance = await node.manager.get_account_balance("P", "USD")
        outcomes = await node.events("SETTLEMENT_COMPLETED", "SETTLEMENT_FAILED")
        assert len(outcomes) == 1
        if outcomes[0].type == "SETTLEMENT_COMPLETED":
            assert (balance.receivable, balance.receivable_in_transit) == (0, 0)
        else:
            assert (balance.receivable, balance.receivable_in_transit) == (120, 0)
    finally:
        for other in others:
            await other.stop()


async def test_two_processes_that_see_one_crossing_trigger_once(node: Node) -> None:
    await node.start()
    others = [
        node.monitor_of(AccountManager(node.embedded, "node-a", ("USD", "EUR"))) for _ in range(3)
    ]
    for other in others:
        await other._manager.open_accounts([Pair("P", "USD")])
        await other.start()
    await node.owe(120)
    await asyncio.gather(node.monitor.sweep(), *(other.sweep() for other in others))
    assert len(await node.required()) == 1
    assert {o.get_settlement_state("P", "USD") for o in (node.monitor, *others)} == {PENDING}
    for other in others:
        await other.stop()


async def test_a_burnt_id_costs_an_attempt_and_keeps_the_key(node: Node) -> None:
    await pending(node)
    key = node.monitor.view("P", "USD").idempotency_key
    nowhere = Transfer(
        id=transfer_id(key, 0), debit_account_id=1, credit_account_id=2, amount=1, ledger=1, code=1
    )
    [burnt] = await node.embedded.create_transfers([nowhere])
    assert burnt.status is TransferStatus.DEBIT_ACCOUNT_NOT_FOUND
    view = await node.monitor.mark_settlement_in_progress("P", "USD")
    assert (view.state, view.attempt, view.idempotency_key) == (IN_PROGRESS, 1, key)
    await node.monitor.mark_settlement_completed("P", "USD")
    assert (await node.manager.get_account_balance("P", "USD")).receivable == 0


async def test_what_was_ended_in_the_ledger_alone_is_taken_up(node: Node) -> None:
    await pending(node)
    view = await node.monitor.mark_settlement_in_progress("P", "USD")
    id_ = transfer_id(view.idempotency_key, 0)
    await node.manager.settlements.complete("P", "USD", Direction.RECEIVABLE, id_, 100)
    assert await node.embedded.lookup_transfers([resolution_id(id_, "complete")])
    with pytest.raises(IllegalTransition, match="cannot go from IDLE"):
        await node.monitor.mark_settlement_failed("P", "USD", reason="x")
    assert node.monitor.view("P", "USD").settled_amount == 100
    assert len(await node.events("SETTLEMENT_COMPLETED")) == 1


async def test_a_settlement_that_takes_long_is_stuck_says_so_once_and_never_lapses(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await pending(node)
    await node.monitor.mark_settlement_in_progress("P", "USD", by="ada")
    await node.clock.advance(600)
    await node.quiet()
    assert not node.monitor.view("P", "USD").stuck
    caplog.clear()
    await node.clock.advance(61)
    await node.quiet()
    view = node.monitor.view("P", "USD")
    assert (view.stuck, view.age_ms, view.state) == (True, 661_000, IN_PROGRESS)
    words = node.monitor.explain("P", "USD")
    assert "STUCK" in words
    assert "begun by ada" in words
    assert view.idempotency_key in words
    assert "complete or fail it" in words
    assert sum("is stuck" in record.getMessage() for record in caplog.records) == 1
    await node.clock.advance(86_400)
    await node.monitor.mark_settlement_completed("P", "USD")
    assert node.monitor.get_settlement_state("P", "USD") is IDLE


async def test_explain_says_why_it_is_or_is_not_settling(node: Node) -> None:
    await node.start(ThresholdRules(default=100, rearm=50))
    explain = node.monitor.explain
    assert "has not been read yet" in explain("P", "USD")
    await node.owe(70)
    await node.quiet()
    assert "70 is due, 30 short of the threshold 100" in explain("P", "USD")
    await node.owe(30)
    await node.quiet()
    assert "exactly the threshold; only more" in explain("P", "USD")
    await node.owe(20)
    await node.state_becomes(PENDING)
    assert "20 above the threshold 100" in explain("P", "USD")
    assert "Settlement 1 of 120 is required" in explain("P", "USD")
    await node.pay(40)
    await node.quiet()
    assert "stays pending until 50 or less is due" in explain("P", "USD")
    await node.monitor.mark_settlement_in_progress("P", "USD")
    assert "80 is under way, begun by operator" in explain("P", "USD")
    await node.monitor.mark_settlement_failed("P", "USD", reason="no funds")
    assert "1 attempt failed (no funds)" in explain("P", "USD")
    await node.monitor.mark_settlement_in_progress("P", "USD")
    await node.monitor.mark_settlement_completed("P", "USD")
    assert "Last settled: 80" in explain("P", "USD")


async def test_the_board_lists_pairs_that_are_not_monitored_with_the_reason(node: Node) -> None:
    await node.start(ThresholdRules(peers={"P": 100}))
    await node.owe(120)
    await node.state_becomes(PENDING)
    views = {view.peer: view for view in node.monitor.views()}
    assert set(views) == {"P", "Z"}
    assert views["P"].unmonitored == ""
    assert "no threshold is configured" in views["Z"].unmonitored
