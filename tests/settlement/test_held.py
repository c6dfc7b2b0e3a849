"""Settlements after a restore: watched, and nothing begun until an operator releases them."""

from __future__ import annotations

import pytest

from core.settlement import SettlementNotPossible
from tests.settlement.conftest import IDLE, IN_PROGRESS, PENDING, Node


async def test_what_crosses_its_threshold_while_held_triggers_when_it_is_released(
    node: Node,
) -> None:
    monitor = await node.start(held=True)
    await node.owe(150)
    await node.quiet()
    assert await node.required() == []
    assert monitor.get_settlement_state("P", "USD") is IDLE
    assert monitor.explain("P", "USD").startswith("Settlements are held")
    await monitor.release()
    await node.state_becomes(PENDING)
    assert await node.required() == [(150, 100, 50)]
    assert not monitor.explain("P", "USD").startswith("Settlements are held")


async def test_nobody_begins_a_payment_while_they_are_held(node: Node) -> None:
    monitor = await node.start(held=True)
    await node.owe(150)
    with pytest.raises(SettlementNotPossible, match="restored"):
        await monitor.mark_settlement_in_progress("P", "USD")
    await monitor.release()
    begun = await monitor.mark_settlement_in_progress("P", "USD")
    assert begun.state is IN_PROGRESS


async def test_a_payment_that_was_under_way_can_be_ended_while_they_are_held(node: Node) -> None:
    monitor = await node.start()
    await node.owe(150)
    await node.state_becomes(PENDING)
    await monitor.mark_settlement_in_progress("P", "USD")
    await monitor.stop()
    held = await node.start(held=True)
    assert held.get_settlement_state("P", "USD") is IN_PROGRESS
    done = await held.mark_settlement_completed("P", "USD")
    assert (done.state, done.settled_amount) == (IDLE, 150)
