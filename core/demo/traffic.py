"""Simulated peers that send each other packets through the demo's engine.

A plan made of the seed alone says which packets are prepared in each second and what becomes of
them: most are fulfilled, some rejected, a few left to lapse. Peers pay what they owe when it
comes near their patience, so that balances breathe. Every name begins with `sim-`. What the
ledger answered decides the tally that payments are made of; nothing here reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final, NamedTuple

from core.api import (
    CommandRefusedError,
    EngineApi,
    LedgerAwayError,
    PacketOutcome,
    PacketStep,
    RecordSettlement,
)
from core.model import Amount, Clock
from core.settlement import Answer, SettlementOrder, Verdict

log = logging.getLogger("bursar.demo")

TOKENS: Final = ("USD", "EUR", "JPY")
PERIOD_S: Final = 1.0
PAST_PACKETS: Final = 120
"""Finished packets recorded at the start, so that no account is empty."""
_BATCH: Final = 4  # packets prepared in a second, at most
_SPREAD: Final = 80  # one part in so many stays here
_LAPSES, _REJECTED = 4, 12  # percent of the packets
_BOOKED: Final = ("created", "exists")


class Peer(NamedTuple):
    """A simulated peer: its limit in each of its tokens, base units (None: no limit), how much
    of it (percent) it lets stand before it pays, and how much it is used."""

    name: str
    limits: dict[str, int | None]
    patience: int
    weight: int


PEERS: Final = (
    Peer("sim-harbour", {"USD": 1_000_000, "EUR": 800_000}, 70, 8),
    Peer("sim-lantern", {"USD": 400_000}, 97, 7),  # lives near its limit, and meets it
    Peer("sim-meadow", {"USD": 2_000_000, "JPY": 50_000_000}, 60, 6),
    Peer("sim-orchard", {"EUR": 500_000}, 90, 5),
    Peer("sim-quarry", {"USD": None, "EUR": None}, 0, 4),
    Peer("sim-sawmill", {"JPY": 20_000_000, "EUR": 1_200_000}, 75, 4),
    Peer("sim-tideway", {"USD": 250_000, "JPY": 15_000_000}, 99, 5),
    Peer("sim-wharf", {"EUR": 900_000}, 50, 3),
)
# Pairs that settle by threshold, as shares of their limits, instead of paying by themselves.
THRESHOLDS: Final = {
    ("sim-harbour", "USD"): "20%",
    ("sim-meadow", "USD"): "10%",
    ("sim-orchard", "EUR"): "45%",
    ("sim-tideway", "USD"): "40%",
    ("sim-wharf", "EUR"): "15%",
}
SLOW_PAYER: Final = "sim-tideway"  # says it pays, and never does
UNLUCKY_PAYER: Final = "sim-meadow"  # its first attempt fails
PAYS_AFTER_S: Final = 9.0
STUCK_AFTER_S: Final = 45
_UNITS: Final = {"USD": 1_000, "EUR": 1_000, "JPY": 60_000}
_UNLIMITED_PAYS_AT: Final = 2_000  # usual packets, for peers without a limit and for ourselves


class _Open(NamedTuple):
    due: int
    end: str  # "fulfil", "reject", or "" to let it lapse
    step: PacketStep


class Traffic:
    """The plan. `next_steps` and `next_payments` each second, `note` with what came of them."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"packets {seed}")
        self._seed = seed
        self._second = 0
        self._number = 0
        self._open: list[_Open] = []
        self._steps: dict[tuple[str, str], PacketStep] = {}
        self.receivable: dict[tuple[str, str], int] = {}
        self.payable: dict[tuple[str, str], int] = {}
        self._payments = 0

    def past(self) -> list[PacketStep]:
        """Packets that were finished before the desk opened."""
        return self._sent([self._packet("record", 0) for _ in range(PAST_PACKETS)])

    def next_steps(self) -> list[PacketStep]:
        """One second on: new packets, and the ends of those that are due."""
        self._second += 1
        now = self._second
        ended = [each for each in self._open if each.due <= now]
        self._open = [each for each in self._open if each.due > now]
        steps = [_stage(each.step, each.end) for each in ended if each.end]
        for _ in range(self._random.randint(1, _BATCH)):
            luck = self._random.randrange(100)
            end = "" if luck < _LAPSES else "reject" if luck < _REJECTED else "fulfil"
            wait = self._random.randint(1, 12)
            step = self._packet("prepare", wait + 8)
            self._open.append(_Open(now + wait, end, step))
            steps.append(step)
        return self._sent(steps)

    def note(self, outcomes: Iterable[PacketOutcome]) -> None:
        """Take what was booked into the tally; a refused prepare has no end."""
        refused: set[str] = set()
        for outcome in outcomes:
            step = self._steps.pop((outcome.id, outcome.stage), None)
            if step is None:
                continue
            if outcome.status not in _BOOKED:
                refused.add(outcome.id)
            elif outcome.stage in ("fulfil", "record"):
                source, destination = (step.source, step.token), (step.destination, step.token)
                self.receivable[source] = self.receivable.get(source, 0) + step.amount_in
                self.payable[destination] = self.payable.get(destination, 0) + step.amount_out
        self._open = [each for each in self._open if each.step.id not in refused]

    def next_payments(self) -> list[RecordSettlement]:
        """Payments of those whose patience is used up, ours included; now and then one rests."""
        found: list[RecordSettlement] = []
        for peer in PEERS:
            for token, limit in peer.limits.items():
                pair = (peer.name, token)
                usual = _UNITS[token] * _UNLIMITED_PAYS_AT
                level = usual if limit is None else limit * peer.patience // 100
                pays = pair not in THRESHOLDS and self.receivable.get(pair, 0) >= level
                if pays and self._random.randrange(4) == 0:
                    found.append(self._payment(pair, "receivable", self.receivable))
                ours = usual // 4
                if self.payable.get(pair, 0) >= ours and self._random.randrange(4) == 0:
                    found.append(self._payment(pair, "payable", self.payable))
        return found

    def _payment(
        self, pair: tuple[str, str], direction: str, tally: dict[tuple[str, str], int]
    ) -> RecordSettlement:
        amount = tally[pair] * self._random.randint(40, 90) // 100
        tally[pair] -= amount
        self._payments += 1
        reference = f"sim-payment-{self._seed}-{self._payments}"
        return RecordSettlement(*pair, direction, Amount(amount), reference)

    def _packet(self, stage: str, timeout_s: int) -> PacketStep:
        peers = self._random.choices(PEERS, [peer.weight for peer in PEERS])
        source = peers[0]
        token = self._random.choice(tuple(source.limits))
        others = [peer for peer in PEERS if token in peer.limits and peer is not source]
        destination = self._random.choice(others)
        size = self._random.randint(1, 40) * self._random.randint(1, 8)
        amount = size * _UNITS[token] // 10 + self._random.randrange(_UNITS[token])
        self._number += 1
        return PacketStep(
            stage,
            f"sim-{self._seed}-{self._number}",
            source.name,
            destination.name,
            token,
            Amount(amount),
            Amount(amount - amount // _SPREAD),
            timeout_s,
        )

    def _sent(self, steps: list[PacketStep]) -> list[PacketStep]:
        self._steps |= {(step.id, step.stage): step for step in steps}
        return steps


def _stage(step: PacketStep, stage: str) -> PacketStep:
    return PacketStep(
        stage,
        step.id,
        step.source,
        step.destination,
        step.token,
        step.amount_in,
        step.amount_out,
    )


def config_lines() -> str:
    """The demo's [ledger] section: tokens, and a limit per peer and token."""
    listed = ", ".join(f'"{token}"' for token in TOKENS)
    lines = ["[ledger]", f"tokens = [{listed}]"]
    for peer in PEERS:
        limited = {token: limit for token, limit in peer.limits.items() if limit is not None}
        if limited:
            lines += ["", f'[ledger.limits.tokens."{peer.name}"]']
            lines += [f"{token} = {limit}" for token, limit in limited.items()]
    return "\n".join(lines)


def settlement_lines(node_id: str) -> str:
    """The demo's [settlement] section: who settles at which share of the limit."""
    lines = ["[settlement]", f'node_id = "{node_id}"', f'stuck_after = "{STUCK_AFTER_S}s"']
    for (peer, token), share in THRESHOLDS.items():
        lines += ["", f'[settlement.thresholds.tokens."{peer}"]', f'{token} = "{share}"']
    return "\n".join(lines)


def outcome_of(order: SettlementOrder) -> Verdict:
    """What becomes of a simulated payment: no money moves."""
    if order.peer == SLOW_PAYER:
        return Verdict(Answer.ACCEPTED, reason="simulated: under way")
    if order.peer == UNLUCKY_PAYER and order.attempt == 0:
        return Verdict(Answer.FAILED, reason="simulated: the bank is closed")
    return Verdict(Answer.COMPLETED)


async def send(api: EngineApi, seed: int, clock: Clock) -> None:
    """Post packets and payments through an engine, until cancelled. While the ledger is away
    the peers wait."""
    traffic = Traffic(seed)
    waits = False
    pending: Sequence[PacketStep] = traffic.past()
    while True:
        try:
            traffic.note(await api.packets(pending))
            pending = ()
            for payment in traffic.next_payments():
                await api.execute(payment)
            waits = False
        except (LedgerAwayError, CommandRefusedError) as error:
            if not waits:
                log.warning("simulated peers wait: %s", error)
            waits = True
        await clock.sleep(PERIOD_S)
        pending = pending or traffic.next_steps()


class Peers:
    """The task of the simulated peers; whoever starts it stops it."""

    def __init__(self, api: EngineApi, seed: int, clock: Clock) -> None:
        self._task = asyncio.create_task(send(api, seed, clock), name="simulated peers")

    async def stop(self) -> None:
        """End them. What had ended them before is raised."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled() and (error := self._task.exception()):
            raise error
