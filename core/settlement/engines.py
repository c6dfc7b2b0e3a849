"""Who acts when a settlement is required: an operator, another program, or a simulation.

An engine is given an order for money that the ledger already holds as under way, and answers
what became of it. It may be given the same order again after a crash, always under one key.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Protocol

import msgspec

from core.model import Clock
from core.settlement.types import Answer, SettlementOrder, Verdict
from core.telemetry.webhooks import SignedPost, send_until_taken

log = logging.getLogger("bursar.settlement")


class SettlementEngine(Protocol):
    """`begins` says whether it starts required settlements itself; `name` is recorded with each
    that it starts."""

    @property
    def name(self) -> str:
        """How it is called in rows, views and logs."""
        ...

    @property
    def begins(self) -> bool:
        """Whether required settlements are started without an operator."""
        ...

    async def settle(self, order: SettlementOrder, note: Callable[[str], None]) -> Verdict:
        """See to the payment. `note` is told what stands in the way, "" when nothing does. May
        take as long as it takes; is cancelled when the settlement ends otherwise."""
        ...


class ManualEngine:
    """An operator starts, completes and fails every settlement."""

    name = "manual"
    begins = False

    async def settle(self, order: SettlementOrder, note: Callable[[str], None]) -> Verdict:
        """The operator reports the outcome."""
        return Verdict(Answer.ACCEPTED, reason="an operator reports the outcome")


class _Reply(msgspec.Struct):
    status: Answer = Answer.ACCEPTED
    amount: str | None = None
    reason: str = ""


class WebhookEngine:
    """A signed POST with `Idempotency-Key`, repeated until it is taken.

    The answer may say `{"status": "completed" | "failed" | "accepted", "amount": "<base units>",
    "reason": "..."}`; an empty one, or one that cannot be read, means accepted, and the outcome
    is reported to the engine's socket: what may be under way is never taken for failed.
    """

    name = "webhook"
    begins = True

    def __init__(
        self, post: SignedPost, clock: Clock, *, rng: Callable[[], float] = random.random
    ) -> None:
        self._post = post
        self._clock = clock
        self._rng = rng

    async def settle(self, order: SettlementOrder, note: Callable[[str], None]) -> Verdict:
        """POST the order until it is answered."""
        body = msgspec.json.encode(
            {
                "type": "SETTLEMENT_ORDER",
                "nodeId": order.node,
                "peerId": order.peer,
                "tokenId": order.token,
                "direction": order.direction.value,
                "amount": str(order.amount),
                "attempt": order.attempt,
                "idempotencyKey": order.key,
            }
        )
        headers = {"Idempotency-Key": order.key}
        answer = await send_until_taken(
            self._post, body, headers, self._clock, rng=self._rng, note=note
        )
        return read_verdict(answer)


def read_verdict(answer: bytes) -> Verdict:
    """A webhook's answer as a verdict."""
    if not answer.strip():
        return Verdict(Answer.ACCEPTED)
    try:
        reply = msgspec.json.decode(answer, type=_Reply)
        amount = None if reply.amount is None else int(reply.amount)
    except (msgspec.DecodeError, ValueError) as error:
        log.warning("a webhook's answer cannot be read, and counts as accepted: %s", error)
        return Verdict(Answer.ACCEPTED, reason="the answer could not be read")
    return Verdict(reply.status, amount, reply.reason)


class SimulatedEngine:
    """For demonstrations only: no money moves. Every payment takes `seconds`; `outcome` decides
    what becomes of it."""

    name = "simulated"
    begins = True

    def __init__(
        self, clock: Clock, seconds: float, outcome: Callable[[SettlementOrder], Verdict]
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._outcome = outcome

    async def settle(self, order: SettlementOrder, note: Callable[[str], None]) -> Verdict:
        """Wait, and say that it was paid, or what `outcome` says."""
        await self._clock.sleep(self._seconds)
        return self._outcome(order)
