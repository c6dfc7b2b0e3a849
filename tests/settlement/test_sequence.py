"""What triggers and what does not, through AccountManager on the embedded ledger."""

from __future__ import annotations

import pytest

from core.accounting import Direction, Pair
from core.events import SettlementRequired, SettlementTriggered
from core.settlement import SettlementKey, Sides, ThresholdRules, idempotency_key
from tests.clock import until
from tests.settlement.conftest import HUNDRED, IDLE, IN_PROGRESS, PENDING, Node

OUT = Direction.PAYABLE


async def test_packets_of_50_40_30_and_10_trigger_once_and_again_after_settling(
    node: Node,
) -> None:
    monitor = await node.start()
    for amount in (50, 40):
        await node.owe(amount)
        await node.quiet()
        assert await node.required() == []
    await node.owe(30)
    await node.state_becomes(PENDING)
    assert await node.required() == [(120, 100, 20)]
    await node.owe(10)
    await node.quiet()
    assert await node.required() == [(120, 100, 20)]
    begun = await monitor.mark_settlement_in_progress("P", "USD")
    assert (begun.state, begun.amount, begun.due) == (IN_PROGRESS, 130, 0)
    done = await monitor.mark_settlement_completed("P", "USD")
    assert (done.state, done.due, done.settled_amount) == (IDLE, 0, 130)
    await node.owe(100)
    await node.quiet()
    assert len(await node.required()) == 1
    await node.owe(1)
    await node.state_becomes(PENDING)
    assert await node.required() == [(120, 100, 20), (101, 100, 1)]


async def test_the_commit_triggers_it_and_not_the_next_poll(node: Node) -> None:
    monitor = await node.start()
    before = monitor.sweeps
    await node.owe(101)
    await node.state_becomes(PENDING)
    assert monitor.sweeps == before  # the clock has not moved


async def test_the_events_are_exactly_those_that_are_promised(node: Node) -> None:
    await node.start()
    await node.owe(120)
    await node.state_becomes(PENDING)
    required, triggered, changed = [row.as_json() for row in await node.events()]
    head = {"nodeId": "node-a", "timestamp": "2026-05-28T20:26:40.000Z"}
    crossing = {
        "peerId": "P",
        "tokenId": "USD",
        "currentBalance": "120",
        "threshold": "100",
        "exceedsBy": "20",
    }
    key = idempotency_key("node-a", "gen-1", SettlementKey("P", "USD"), 1)
    assert required == {"type": "SETTLEMENT_REQUIRED", "sequence": 1, **head, **crossing}
    assert triggered == {
        "type": "SETTLEMENT_TRIGGERED",
        "sequence": 2,
        **head,
        **crossing,
        "idempotencyKey": key,
    }
    assert changed == {
        "type": "SETTLEMENT_STATE_CHANGED",
        "sequence": 3,
        **head,
        "peerId": "P",
        "tokenId": "USD",
        "direction": "receivable",
        "oldState": "IDLE",
        "newState": "SETTLEMENT_PENDING",
        "reason": "120 exceeds the threshold 100 by 20",
    }
    await until(lambda: len(node.seen) == 3)
    first, second = node.seen[:2]
    assert type(first) is SettlementRequired
    assert isinstance(second, SettlementTriggered)
    assert (int(first.current_balance), first.threshold, first.exceeds_by) == (120, 100, 20)


async def test_completion_and_failure_are_reported_with_key_and_amount(node: Node) -> None:
    monitor = await node.start()
    await node.owe(120)
    await node.state_becomes(PENDING)
    await monitor.mark_settlement_in_progress("P", "USD")
    await monitor.mark_settlement_failed("P", "USD", reason="bank is closed")
    await monitor.mark_settlement_in_progress("P", "USD")
    await monitor.mark_settlement_completed("P", "USD", amount=70)
    key = idempotency_key("node-a", "gen-1", SettlementKey("P", "USD"), 1)
    [failed] = await node.events("SETTLEMENT_FAILED")
    [completed] = await node.events("SETTLEMENT_COMPLETED")
    assert failed.payload | {"timestamp": ""} == {
        "timestamp": "",
        "peerId": "P",
        "tokenId": "USD",
        "direction": "receivable",
        "amount": "120",
        "idempotencyKey": key,
        "attempt": 0,
        "reason": "bank is closed",
    }
    assert (completed.payload["amount"], completed.payload["begun"]) == ("70", "120")
    assert completed.payload["idempotencyKey"] == key  # the attempt rose, the key stayed
    steps = [
        (row.payload["oldState"], row.payload["newState"])
        for row in await node.events("SETTLEMENT_STATE_CHANGED")
    ]
    assert steps == [
        (IDLE, PENDING),
        (PENDING, IN_PROGRESS),
        (IN_PROGRESS, PENDING),
        (PENDING, IN_PROGRESS),
        (IN_PROGRESS, IDLE),
    ]


async def test_a_payment_without_being_asked_brings_it_back_and_arms_it(node: Node) -> None:
    await node.start()
    await node.owe(120)
    await node.state_becomes(PENDING)
    await node.pay(20)
    await node.state_becomes(IDLE)
    await node.owe(1)
    await node.state_becomes(PENDING)
    assert await node.required() == [(120, 100, 20), (101, 100, 1)]


SWING = (120, -40, +40, -40, +40, -40, +40)  # 120, 80, 120, 80, 120, 80, 120


async def swing(node: Node) -> list[str]:
    states = []
    for step in SWING:
        await (node.owe(step) if step > 0 else node.pay(-step))
        await node.quiet()
        states.append(node.monitor.get_settlement_state("P", "USD"))
    return [str(state) for state in states]


async def test_without_rearm_every_crossing_triggers(node: Node) -> None:
    await node.start()
    assert await swing(node) == [PENDING, IDLE] * 3 + [PENDING]
    assert len(await node.required()) == 4


async def test_with_rearm_a_swinging_balance_triggers_once_until_it_was_below(
    node: Node,
) -> None:
    await node.start(ThresholdRules(default=100, rearm=50))
    assert await swing(node) == [PENDING] * 7
    assert len(await node.required()) == 1
    await node.pay(69)  # 51
    await node.quiet()
    assert node.monitor.get_settlement_state("P", "USD") is PENDING
    await node.pay(1)  # 50
    await node.quiet()
    assert node.monitor.get_settlement_state("P", "USD") is IDLE
    await node.owe(50)  # 100
    await node.quiet()
    assert len(await node.required()) == 1
    await node.owe(1)
    await node.state_becomes(PENDING)
    assert len(await node.required()) == 2


async def test_a_settlement_aims_for_settle_to(node: Node) -> None:
    monitor = await node.start(ThresholdRules(default=100, settle_to=30))
    await node.owe(120)
    await node.state_becomes(PENDING)
    assert (await monitor.mark_settlement_in_progress("P", "USD")).amount == 90
    assert (await monitor.mark_settlement_completed("P", "USD")).due == 30


async def test_a_smaller_payment_that_leaves_too_much_takes_a_new_epoch_at_once(
    node: Node,
) -> None:
    monitor = await node.start()
    await node.owe(300)
    await node.state_becomes(PENDING)
    first = await monitor.mark_settlement_in_progress("P", "USD")
    after = await monitor.mark_settlement_completed("P", "USD", amount=150)
    assert (after.state, after.epoch, after.due) == (PENDING, 2, 150)
    assert after.idempotency_key != first.idempotency_key
    assert await node.required() == [(300, 100, 200), (150, 100, 50)]


async def test_more_debt_while_a_payment_is_under_way_waits_for_its_end(node: Node) -> None:
    monitor = await node.start()
    await node.owe(120)
    await node.state_becomes(PENDING)
    await monitor.mark_settlement_in_progress("P", "USD")
    await node.owe(150)
    await node.quiet()
    assert len(await node.required()) == 1
    after = await monitor.mark_settlement_completed("P", "USD")
    assert (after.state, after.due) == (PENDING, 150)
    assert await node.required() == [(120, 100, 20), (150, 100, 50)]


async def test_what_we_owe_is_watched_only_where_asked_for(node: Node) -> None:
    monitor = await node.start()
    await node.forward(120)
    await node.quiet()
    assert monitor.get_settlement_state("P", "USD", OUT) is IDLE
    await monitor.stop()
    monitor = await node.start(
        ThresholdRules(default=100, direction=Sides.BOTH), pairs=(Pair("P", "USD"),)
    )
    assert monitor.get_settlement_state("P", "USD", OUT) is PENDING
    assert monitor.get_settlement_state("P", "USD") is IDLE
    [required] = [r for r in await node.events("SETTLEMENT_REQUIRED") if "direction" in r.payload]
    assert required.payload["direction"] == "payable"
    await monitor.mark_settlement_in_progress("P", "USD", OUT)
    await monitor.mark_settlement_completed("P", "USD", OUT)
    assert (await node.manager.get_account_balance("P", "USD")).payable == 0


async def test_peers_and_tokens_that_appear_while_running_are_watched_at_once(
    node: Node,
) -> None:
    monitor = await node.start()
    await node.owe(101, "new")
    await node.owe(101, "new", "EUR")
    await until(
        lambda: (
            monitor.get_settlement_state("new", "USD") is PENDING
            and monitor.get_settlement_state("new", "EUR") is PENDING
        )
    )


async def test_an_unknown_pair_is_idle_and_the_states_are_a_copy(node: Node) -> None:
    monitor = await node.start()
    assert monitor.get_settlement_state("nobody", "XXX") is IDLE
    await node.owe(120)
    await node.state_becomes(PENDING)
    states = monitor.get_all_settlement_states()
    assert states[SettlementKey("P", "USD")] is PENDING
    states.clear()
    assert monitor.get_all_settlement_states()[SettlementKey("P", "USD")] is PENDING


async def test_states_survive_a_restart_and_trigger_nothing_again(node: Node) -> None:
    monitor = await node.start()
    for peer in ("P", "Q", "R"):
        await node.owe(120, peer)
        await node.state_becomes(PENDING, peer)
    await monitor.mark_settlement_in_progress("Q", "USD")
    await monitor.mark_settlement_in_progress("R", "USD")
    await monitor.mark_settlement_completed("R", "USD")
    before = await node.store.last_seq()
    await node.close()
    monitor = await node.start()  # nobody names the pairs: the rows do
    states = [monitor.get_settlement_state(peer, "USD") for peer in "PQR"]
    assert states == [PENDING, IN_PROGRESS, IDLE]
    assert await node.store.last_seq() == before
    assert (await monitor.mark_settlement_completed("Q", "USD")).settled_amount == 120


async def test_a_crossing_while_nobody_watched_is_found_at_the_start(node: Node) -> None:
    monitor = await node.start()
    await monitor.stop()
    await node.owe(120)
    assert await node.required() == []
    await node.start(HUNDRED, pairs=(Pair("P", "USD"),))
    assert await node.required() == [(120, 100, 20)]


async def test_the_sweep_every_interval_finds_what_no_commit_of_ours_told(node: Node) -> None:
    monitor = await node.start(pairs=(Pair("P", "USD"),))
    other = node.monitor_of(node.manager)  # never started: its commits are told to nobody
    theirs = type(node.manager)(node.embedded, "node-a", ("USD",))
    node.manager, ours = theirs, node.manager
    await node.owe(120)
    node.manager = ours
    assert monitor.get_settlement_state("P", "USD") is IDLE
    assert other.get_settlement_state("P", "USD") is IDLE
    await node.clock.advance(29)
    assert monitor.get_settlement_state("P", "USD") is IDLE
    await node.clock.advance(1)
    await node.state_becomes(PENDING)


@pytest.mark.parametrize("threshold", [0, 1])
async def test_a_threshold_of_zero_is_one(node: Node, threshold: int) -> None:
    await node.start(ThresholdRules(default=threshold))
    await node.owe(threshold + 1)
    await node.state_becomes(PENDING)
    assert await node.required() == [(threshold + 1, threshold, 1)]
