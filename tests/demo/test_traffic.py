"""The demo's simulated peers: one plan per seed, balances that breathe, and a clean end."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from core.api import PacketOutcome, PacketStep, RecordSettlement
from core.config import parse_settings
from core.demo.setup import config_text, host_demo
from core.demo.traffic import PAST_PACKETS, PEERS, TOKENS, Traffic
from core.demo.world import World
from core.engine import Engine
from tests.clock import TestClock


def accepted(steps: list[PacketStep]) -> list[PacketOutcome]:
    return [PacketOutcome(step.id, step.stage, "created") for step in steps]


def run(traffic: Traffic, seconds: int) -> tuple[list[PacketStep], list[RecordSettlement]]:
    """A plan whose every step is booked."""
    steps = traffic.past()
    traffic.note(accepted(steps))
    paid: list[RecordSettlement] = []
    for _ in range(seconds):
        more = traffic.next_steps()
        traffic.note(accepted(more))
        steps += more
        paid += traffic.next_payments()
    return steps, paid


def test_a_seed_is_a_plan() -> None:
    assert run(Traffic(5), 200) == run(Traffic(5), 200)
    assert run(Traffic(5), 20)[0] != run(Traffic(6), 20)[0]


def test_packets_end_in_every_way_and_none_ends_twice() -> None:
    steps, _ = run(Traffic(1), 600)
    stages = Counter(step.stage for step in steps)
    assert stages["record"] == PAST_PACKETS
    ended = [step.id for step in steps if step.stage in ("fulfil", "reject")]
    assert len(ended) == len(set(ended))
    assert stages["fulfil"] > 5 * stages["reject"] > 0
    lapsed = stages["prepare"] - stages["fulfil"] - stages["reject"]
    assert lapsed > 10
    assert all(step.timeout_s > 0 for step in steps if step.stage == "prepare")
    assert {step.token for step in steps} == set(TOKENS)
    assert {step.source for step in steps} == {peer.name for peer in PEERS}
    assert all(step.source != step.destination for step in steps)
    assert all(step.amount_out <= step.amount_in for step in steps)


def test_every_name_says_that_it_is_simulated() -> None:
    steps, paid = run(Traffic(2), 300)
    for step in steps:
        assert step.id.startswith("sim-")
        assert step.source.startswith("sim-")
        assert step.destination.startswith("sim-")
    assert paid
    assert all(payment.reference.startswith("sim-") for payment in paid)


def test_balances_breathe_they_neither_run_away_nor_stand_still() -> None:
    traffic = Traffic(3)
    _, paid = run(traffic, 4_000)
    assert {payment.direction for payment in paid} == {"receivable", "payable"}
    assert len({payment.reference for payment in paid}) == len(paid)
    assert all(payment.amount > 0 for payment in paid)
    assert all(amount >= 0 for amount in traffic.receivable.values())
    limits = {(peer.name, token): limit for peer in PEERS for token, limit in peer.limits.items()}
    for pair in (("sim-lantern", "USD"), ("sim-sawmill", "JPY"), ("sim-harbour", "EUR")):
        limit = limits[pair]
        assert limit is not None
        assert traffic.receivable[pair] < 2 * limit


def test_a_refused_prepare_is_neither_ended_nor_counted() -> None:
    traffic = Traffic(4)
    refused: set[str] = set()
    for _ in range(60):
        steps = traffic.next_steps()
        assert not refused & {step.id for step in steps}
        prepared = [step for step in steps if step.stage == "prepare"]
        refused |= {step.id for step in prepared}
        traffic.note([PacketOutcome(s.id, s.stage, "exceeds_credits") for s in prepared])
    assert traffic.receivable == {}


def test_the_demos_configuration_has_the_peers_tokens_and_limits(tmp_path: Path) -> None:
    world = World(1, 3, 1_795_176_251_000, TestClock())
    urls: dict[str, tuple[str, ...]] = dict.fromkeys(
        ("base", "xrpl", "tron"), ("http://127.0.0.1:1",)
    )
    urls["xrpl"] = ("ws://127.0.0.1:1",)
    settings = parse_settings(config_text(world, urls, tmp_path), "a test", {})
    assert settings.ledger.tokens == TOKENS
    assert settings.ledger.limits.tokens["sim-lantern"] == {"USD": 400_000}
    assert "sim-quarry" not in settings.ledger.limits.tokens  # no limit


async def test_a_hosted_demo_has_lively_books_that_balance_and_stop_with_it(
    tmp_path: Path,
) -> None:
    demo, api = await host_demo(tmp_path, agents=3, seed=5)
    try:
        async with asyncio.timeout(60):
            while True:
                state = await api.state()
                known = {(view.peer, view.token) for view in state.peers}
                if len(known) >= 12 and any(view.receivable_in_flight for view in state.peers):
                    break
                await asyncio.sleep(0.1)
        assert state.ledger is not None
        assert state.ledger.ok
        found = await api.transfers("sim-harbour", "USD", 50)
        assert {transfer.kind for transfer in found} >= {"packet in", "packet out"}
        assert all(view.balanced for view in await api.trial_balance())
        assert any(view.limit is None for view in state.peers)
    finally:
        await api.close()
        await demo.stop()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "simulated peers"]


async def test_what_ended_the_peers_is_raised_when_the_demo_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def broken(self: Engine, steps: object) -> list[PacketOutcome]:
        asked.set()
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Engine, "packets", broken)
    demo, api = await host_demo(tmp_path, agents=3, seed=5)
    async with asyncio.timeout(120):
        await asked.wait()
        with pytest.raises(ZeroDivisionError):
            await api.close()
        await demo.stop()
