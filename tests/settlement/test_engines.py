"""Engines: a webhook over real HTTP that is down, slow, failing or answers twice; simulation."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from core.accounting import Pair
from core.model import Secret
from core.settlement import (
    Answer,
    IllegalTransition,
    SimulatedEngine,
    ThresholdRules,
    Verdict,
    WebhookEngine,
)
from core.settlement.engines import read_verdict
from core.telemetry.webhooks import SignedPost, open_client
from tests.clock import until
from tests.settlement.conftest import HUNDRED, IDLE, IN_PROGRESS, PENDING, Node
from tests.settlement.receiver import Receiver

PAID = (200, '{"status": "completed"}')
BUSY = (500, "oops")
ACCEPTED = (202, "")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client() as opened:
        yield opened


def engine_of(
    node: Node, client: httpx.AsyncClient, receiver: Receiver, timeout_s: float = 5.0
) -> WebhookEngine:
    post = SignedPost(client, receiver.url, Secret("s3cret"), node.clock, timeout_s=timeout_s)
    return WebhookEngine(post, node.clock, rng=lambda: 1.0)


async def settled(node: Node, amount: int = 120) -> None:
    await node.state_becomes(IDLE)
    balance = await node.manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.receivable_in_transit) == (0, 0)
    [completed] = await node.events("SETTLEMENT_COMPLETED")
    assert completed.payload["amount"] == str(amount)
    assert len(await node.required()) == 1


async def after_failures(node: Node, receiver: Receiver, count: int) -> None:
    """Let back-offs pass until the receiver was asked that often."""
    for asked in range(1, count):
        told = f"(failure {asked}, next try"
        await until(lambda told=told: told in node.monitor.view("P", "USD").trouble)  # type: ignore[misc]
        await node.clock.advance(2.0 ** (asked - 1))
    await until(lambda: len(receiver.requests) >= count)


async def test_an_order_is_signed_and_names_amount_key_and_parties(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(PAID).listening() as receiver:
        await node.start(engine=engine_of(node, client, receiver))
        await node.owe(120)
        await until(lambda: len(receiver.requests) == 1)
        await settled(node)
    headers, body = receiver.requests[0]
    [triggered] = await node.events("SETTLEMENT_TRIGGERED")
    key = triggered.payload["idempotencyKey"]
    assert json.loads(body) == {
        "type": "SETTLEMENT_ORDER",
        "nodeId": "node-a",
        "peerId": "P",
        "tokenId": "USD",
        "direction": "receivable",
        "amount": "120",
        "attempt": 0,
        "idempotencyKey": key,
    }
    assert headers["Idempotency-Key"] == key
    time_s, mac = (part.split("=")[1] for part in headers["Bursar-Signature"].split(","))
    signed = f"{time_s}.".encode() + body
    assert mac == hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert int(time_s) == node.clock.now_ms() // 1000


async def test_a_receiver_that_answers_500_is_asked_again_under_one_key(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(BUSY, BUSY, BUSY, PAID).listening() as receiver:
        await node.start(engine=engine_of(node, client, receiver))
        await node.owe(120)
        await until(lambda: "HTTP 500" in node.monitor.view("P", "USD").trouble)
        assert node.monitor.get_settlement_state("P", "USD") is IN_PROGRESS
        await after_failures(node, receiver, 4)
        await settled(node)
    assert len(set(receiver.keys)) == 1
    assert len({body for _, body in receiver.requests}) == 1
    assert node.monitor.view("P", "USD").trouble == ""


async def test_a_receiver_that_is_down_is_asked_until_it_is_up(
    node: Node, client: httpx.AsyncClient
) -> None:
    receiver = Receiver(PAID)
    async with receiver.listening():
        pass  # now there is a port on which nobody listens
    await node.start(engine=engine_of(node, client, receiver))
    await node.owe(120)
    await until(lambda: "(failure 1, next try in 1 s)" in node.monitor.view("P", "USD").trouble)
    await node.clock.advance(1)
    await until(lambda: "(failure 2, next try in 2 s)" in node.monitor.view("P", "USD").trouble)
    async with receiver.listening():
        await node.clock.advance(2)
        await until(lambda: len(receiver.requests) == 1)
        await settled(node)


async def test_a_slow_receiver_is_asked_again_under_one_key_and_booked_once(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(None, None, PAID).listening() as receiver:
        await node.start(engine=engine_of(node, client, receiver, timeout_s=1.0))
        await node.owe(120)
        await after_failures(node, receiver, 3)
        await settled(node)
    assert len(receiver.keys) == 3
    assert len(set(receiver.keys)) == 1


async def test_an_outcome_that_is_reported_twice_is_booked_once(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(PAID).listening() as receiver:
        monitor = await node.start(engine=engine_of(node, client, receiver))
        await node.owe(120)
        await until(lambda: len(receiver.requests) == 1)
        await settled(node)
        with pytest.raises(IllegalTransition):
            await monitor.mark_settlement_completed("P", "USD", idempotency_key=receiver.keys[0])
        await settled(node)


async def test_a_report_that_arrives_while_the_answer_is_waited_for_ends_the_asking(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(BUSY).listening() as receiver:
        monitor = await node.start(engine=engine_of(node, client, receiver))
        await node.owe(120)
        await until(lambda: "next try" in monitor.view("P", "USD").trouble)
        await monitor.mark_settlement_completed("P", "USD", idempotency_key=receiver.keys[0])
        await settled(node)
        await node.clock.advance(3600)
        assert len(receiver.requests) == 1
        assert monitor.view("P", "USD").trouble == ""


async def test_an_accepted_order_waits_for_the_report_and_is_not_sent_again(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(ACCEPTED).listening() as receiver:
        monitor = await node.start(engine=engine_of(node, client, receiver))
        await node.owe(120)
        await until(lambda: monitor.view("P", "USD").delivered)
        await node.close()
        monitor = await node.start(engine=engine_of(node, client, receiver))
        await node.clock.advance(3600)
        assert len(receiver.requests) == 1
        assert monitor.view("P", "USD").stuck
        await monitor.mark_settlement_completed("P", "USD", idempotency_key=receiver.keys[0])
        await settled(node)


async def test_an_order_nobody_took_before_a_restart_is_sent_again_under_the_same_key(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(BUSY, PAID).listening() as receiver:
        await node.start(engine=engine_of(node, client, receiver))
        await node.owe(120)
        await until(lambda: "next try" in node.monitor.view("P", "USD").trouble)
        await node.close()
        await node.start(engine=engine_of(node, client, receiver))
        await until(lambda: len(receiver.requests) == 2)
        await settled(node)
    assert len(set(receiver.keys)) == 1
    assert len({body for _, body in receiver.requests}) == 1


async def test_a_failed_payment_is_ordered_again_after_a_pause_under_the_same_key(
    node: Node, client: httpx.AsyncClient
) -> None:
    failed = (200, '{"status": "failed", "reason": "no funds"}')
    async with Receiver(failed, failed, PAID).listening() as receiver:
        monitor = await node.start(engine=engine_of(node, client, receiver))
        await node.owe(120)
        await until(lambda: len(receiver.requests) == 1)
        await node.state_becomes(PENDING)
        assert "no funds" in monitor.explain("P", "USD")
        await node.clock.advance(0.9)
        assert len(receiver.requests) == 1
        await node.clock.advance(0.1)
        await until(lambda: monitor.view("P", "USD").attempt == 2)
        await node.clock.advance(2)
        await until(lambda: len(receiver.requests) == 3)
        await settled(node)
    assert len(set(receiver.keys)) == 1
    assert [json.loads(body)["attempt"] for _, body in receiver.requests] == [0, 1, 2]
    assert len(await node.events("SETTLEMENT_FAILED")) == 2


async def test_a_smaller_payment_is_booked_as_told_and_the_rest_asked_for_under_a_new_key(
    node: Node, client: httpx.AsyncClient
) -> None:
    part = (200, '{"status": "completed", "amount": "150"}')
    async with Receiver(part, ACCEPTED).listening() as receiver:
        await node.start(engine=engine_of(node, client, receiver))
        await node.owe(300)
        await until(lambda: len(receiver.requests) == 2)
        await until(lambda: node.monitor.view("P", "USD").delivered)
    assert [json.loads(body)["amount"] for _, body in receiver.requests] == ["300", "150"]
    assert len(set(receiver.keys)) == 2
    balance = await node.manager.get_account_balance("P", "USD")
    assert (balance.receivable, balance.receivable_in_transit) == (150, 150)


async def test_a_payment_that_cannot_be_booked_as_told_stays_under_way_for_an_operator(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver((200, '{"status": "completed", "amount": "500"}')).listening() as receiver:
        monitor = await node.start(engine=engine_of(node, client, receiver))
        await node.owe(120)
        await until(lambda: monitor.view("P", "USD").delivered)
        assert monitor.get_settlement_state("P", "USD") is IN_PROGRESS
        assert "120 is under way" in monitor.explain("P", "USD")
        await node.clock.advance(3600)
        assert len(receiver.requests) == 1
        await monitor.mark_settlement_completed("P", "USD")
        await settled(node)


async def test_what_an_operator_began_is_not_ordered_from_the_engine(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(PAID).listening() as receiver:
        await node.start()
        await node.owe(120)
        await node.state_becomes(PENDING)
        await node.monitor.mark_settlement_in_progress("P", "USD")
        await node.monitor.stop()
        await node.start(
            HUNDRED, engine=engine_of(node, client, receiver), pairs=(Pair("P", "USD"),)
        )
        await node.clock.advance(60)
        assert receiver.requests == []
        assert node.monitor.get_settlement_state("P", "USD") is IN_PROGRESS


async def test_one_receiver_that_hangs_keeps_no_other_settlement_waiting(
    node: Node, client: httpx.AsyncClient
) -> None:
    async with Receiver(None, PAID).listening() as receiver:
        await node.start(engine=engine_of(node, client, receiver, timeout_s=300))
        await node.owe(120, "Q")
        await until(lambda: len(receiver.requests) == 1)
        await node.owe(120)
        await until(lambda: len(receiver.requests) == 2)
        await node.state_becomes(IDLE)
        assert (await node.manager.get_account_balance("P", "USD")).receivable == 0
        await asyncio.wait_for(node.monitor.stop(), 60)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"", Verdict(Answer.ACCEPTED)),
        (b" \n", Verdict(Answer.ACCEPTED)),
        (b"{}", Verdict(Answer.ACCEPTED)),
        (b'{"status": "completed"}', Verdict(Answer.COMPLETED)),
        (b'{"status": "completed", "amount": "12"}', Verdict(Answer.COMPLETED, 12)),
        (b'{"status": "failed", "reason": "no"}', Verdict(Answer.FAILED, reason="no")),
    ],
)
def test_a_webhooks_answer_is_read(answer: bytes, verdict: Verdict) -> None:
    assert read_verdict(answer) == verdict


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b'{"status": "paid"}', b'{"status": "completed", "amount": "1.5"}', b"[", b"\xff"],
)
def test_an_answer_that_cannot_be_read_is_never_taken_for_an_outcome(answer: bytes) -> None:
    assert read_verdict(answer).answer is Answer.ACCEPTED


async def test_the_simulation_settles_after_its_time_and_fails_as_told(node: Node) -> None:
    outcomes = iter([Verdict(Answer.FAILED, reason="pretended"), Verdict(Answer.COMPLETED)])
    engine = SimulatedEngine(node.clock, 5, lambda order: next(outcomes))
    await node.start(ThresholdRules(default=100), engine=engine)
    await node.owe(120)
    await node.state_becomes(IN_PROGRESS)
    await node.clock.advance(5)
    await node.state_becomes(PENDING)
    await node.clock.advance(1)
    await node.state_becomes(IN_PROGRESS)
    await until(lambda: node.clock.sleepers() >= 3)
    await node.clock.advance(5)
    await settled(node)
