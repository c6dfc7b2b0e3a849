"""Listeners, ledgers, stores and starts that go wrong: the rest works."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence

import pytest

from core.accounting import Pair
from core.accounting.ids import Kind, account_id
from core.events import Event
from core.ledger import (
    BATCH_MAX,
    Account,
    EmbeddedLedger,
    LedgerError,
    LedgerUnavailable,
)
from core.settlement import MonitorNotStopped, SettlementMonitor
from tests.clock import settle, until
from tests.settlement.conftest import HUNDRED, IDLE, IN_PROGRESS, PENDING, Node


class Gate(EmbeddedLedger):
    """A ledger on the same directory whose look-ups of some accounts fail. Counts look-ups."""

    failing: frozenset[int] = frozenset()
    down = False
    lookups = 0

    async def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        self.lookups += 1
        if self.down:
            raise LedgerUnavailable("The cluster does not answer.")
        if not self.failing.isdisjoint(ids):
            raise LedgerError("This account cannot be read.")
        return await super().lookup_accounts(ids)


async def gated(node: Node) -> Gate:
    await node.open()
    await node.embedded.close()
    gate = Gate(node.folder / "ledger", node.clock)
    await gate.open()
    node.embedded = gate
    return gate


async def test_a_listener_that_raises_and_one_that_never_returns_delay_nobody(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = await node.start()
    began = asyncio.Event()

    async def raises(event: Event) -> None:
        raise ValueError(event.TYPE)

    async def hangs(event: Event) -> None:
        began.set()
        await asyncio.Event().wait()

    told: list[str] = []

    async def last(event: Event) -> None:
        told.append(event.TYPE)

    for listener in (raises, hangs, last):
        monitor.add_listener(listener)
    await node.owe(120)
    await node.state_becomes(PENDING)
    await began.wait()
    await node.owe(120, "Q")
    await node.state_becomes(PENDING, "Q")
    await until(lambda: len(told) == 6)
    await until(lambda: monitor.listener_failures == 6)
    assert "SETTLEMENT_REQUIRED of P/USD" in caplog.text
    monitor.remove_listener(last)
    await node.owe(120, "R")
    await node.state_becomes(PENDING, "R")
    await until(lambda: monitor.listener_failures == 9)
    assert len(told) == 6
    await asyncio.wait_for(monitor.stop(), 60)  # the one that hangs too


async def test_one_failing_peer_stops_neither_sweep_nor_watch_and_is_counted_shown_and_retried(
    node: Node,
) -> None:
    gate = await gated(node)
    peers = [f"peer-{number}" for number in range(40)]
    pairs = tuple(Pair(peer, "USD") for peer in peers)
    monitor = await node.start(pairs=pairs)
    sick = account_id("node-a", "peer-7", "USD", Kind.DEBIT)
    gate.failing = frozenset({sick})
    await monitor.sweep()
    assert monitor.failures == 1
    assert "This account cannot be read" in monitor.view("peer-7", "USD").trouble
    assert "Last trouble: This account cannot be read" in monitor.explain("peer-7", "USD")
    assert monitor.view("peer-8", "USD").trouble == ""
    for peer in peers:
        await node.owe(120, peer)
    for peer in peers:
        if peer != "peer-7":
            await node.state_becomes(PENDING, peer)
    assert monitor.get_settlement_state("peer-7", "USD") is IDLE
    gate.failing = frozenset()
    await node.clock.advance(30)
    await node.state_becomes(PENDING, "peer-7")
    assert monitor.view("peer-7", "USD").trouble == ""
    assert len(await node.events("SETTLEMENT_REQUIRED")) == len(peers)


async def test_a_ledger_that_is_down_is_asked_once_a_sweep_and_taken_up_when_it_is_back(
    node: Node,
) -> None:
    gate = await gated(node)
    pairs = tuple(Pair(f"peer-{number}", "USD") for number in range(40))
    monitor = await node.start(pairs=pairs)
    await node.owe(120, "peer-3")
    await node.state_becomes(PENDING, "peer-3")
    gate.down, gate.lookups = True, 0
    await monitor.sweep()
    assert gate.lookups == 1
    assert "does not answer" in monitor.view("peer-3", "USD").trouble
    assert monitor.get_settlement_state("peer-3", "USD") is PENDING
    with pytest.raises(LedgerUnavailable):
        await monitor.mark_settlement_in_progress("peer-3", "USD")
    gate.down = False
    await node.clock.advance(30)
    await until(lambda: monitor.view("peer-3", "USD").trouble == "")
    await monitor.mark_settlement_in_progress("peer-3", "USD")
    assert monitor.get_settlement_state("peer-3", "USD") is IN_PROGRESS


@pytest.mark.parametrize("count", [2_000, 3_000])
async def test_a_sweep_is_one_look_up_per_8189_accounts(node: Node, count: int) -> None:
    gate = await gated(node)
    pairs = tuple(Pair(f"peer-{number}", "USD") for number in range(count))
    monitor = await node.start(pairs=pairs)
    gate.lookups = 0
    await monitor.sweep()
    accounts = 3 * count  # receivable, payable and credit line
    assert gate.lookups == -(-accounts // BATCH_MAX)


async def test_starting_twice_is_an_error_and_the_first_goes_on(node: Node) -> None:
    monitor = await node.start()
    with pytest.raises(MonitorNotStopped, match="runs already"):
        await monitor.start()
    await node.owe(120)
    await node.state_becomes(PENDING)
    await monitor.stop()
    await monitor.stop()
    await monitor.start()  # and it can be started again
    await node.owe(120, "Q")
    await node.state_becomes(PENDING, "Q")


async def tasks_of(monitor: SettlementMonitor) -> set[asyncio.Task[None]]:
    await settle()
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("settlement")}


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34])
async def test_stop_during_start_leaves_nothing_running(node: Node, turns: int) -> None:
    await node.start(pairs=(Pair("P", "USD"),))
    await node.monitor.stop()
    monitor = node.monitor_of(node.manager, HUNDRED)
    starting = asyncio.create_task(monitor.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    await monitor.stop()
    [outcome] = await asyncio.gather(starting, return_exceptions=True)
    assert outcome is None or isinstance(outcome, MonitorNotStopped)
    assert await tasks_of(monitor) == set()
    await monitor.start()
    assert await tasks_of(monitor) != set()
    await monitor.stop()
    assert await tasks_of(monitor) == set()


async def test_a_start_that_is_cancelled_leaves_nothing_running(node: Node) -> None:
    await node.start()
    await node.monitor.stop()
    monitor = node.monitor_of(node.manager)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await monitor.start()
    assert await tasks_of(monitor) == set()


async def test_a_store_that_refuses_a_trigger_delays_it_and_loses_nothing(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await node.start(pairs=(Pair("P", "USD"),))
    node.store._database._busy_ms = 1
    lock = sqlite3.connect(node.folder / "bursar.db", isolation_level=None)
    await node.store.close()
    await node.store.open()
    lock.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.ERROR):
        await node.owe(120)
        await until(lambda: "cannot write settlements" in node.monitor.error)
    assert node.monitor.get_settlement_state("P", "USD") is IDLE
    lock.execute("ROLLBACK")
    lock.close()
    await node.clock.advance(1)
    await node.state_becomes(PENDING)
    assert await node.required() == [(120, 100, 20)]
    await until(lambda: node.monitor.error == "")


async def test_a_token_that_is_no_longer_configured_stops_nobody_else(node: Node) -> None:
    await node.start()
    await node.owe(120, "P", "EUR")
    await node.owe(120)
    await node.state_becomes(PENDING)
    await node.quiet()
    await node.monitor.stop()
    node.manager = type(node.manager)(node.embedded, "node-a", ("USD",))
    node.monitor = node.monitor_of(node.manager)
    await node.monitor.start()
    assert "'EUR' is not configured" in node.monitor.view("P", "EUR").trouble
    await node.monitor.mark_settlement_in_progress("P", "USD")
    assert node.monitor.get_settlement_state("P", "USD") is IN_PROGRESS


async def test_a_balance_overtaken_by_a_settlement_triggers_nothing(node: Node) -> None:
    """The look-up answers before a settlement is completed and is judged after it."""
    gate = await gated(node)
    monitor = await node.start()
    await node.owe(120)
    await node.state_becomes(PENDING)
    await monitor.mark_settlement_in_progress("P", "USD")
    await monitor.mark_settlement_failed("P", "USD", reason="x")
    held = asyncio.Event()
    answered = asyncio.Event()
    original = Gate.lookup_accounts

    async def slow(ids: Sequence[int]) -> list[Account]:
        rows = await original(gate, ids)
        answered.set()
        await held.wait()
        return rows

    gate.lookup_accounts = slow  # type: ignore[method-assign]
    late = asyncio.create_task(monitor.sweep())
    await answered.wait()
    del gate.lookup_accounts
    await monitor.mark_settlement_in_progress("P", "USD")
    await monitor.mark_settlement_completed("P", "USD")
    held.set()
    await late
    assert monitor.get_settlement_state("P", "USD") is IDLE
    assert len(await node.required()) == 1
