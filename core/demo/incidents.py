"""What goes wrong in the demo, and when: one table, and the functions that read it.

The table covers one round of six minutes and repeats. Everything here is a pure function of
the milliseconds since the demo started; servers ask through `ScheduledFaults`, the world
through `active`. Titles are what the screen shows, as simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from core.demo.protocol import ActiveFault, Fault
from core.model import Clock

ROUND_S: Final = 360


class Incident(msgspec.Struct, frozen=True):
    """Something that happens from `begin` to `end` (exclusive), seconds into the round."""

    begin: int
    end: int
    chain: str
    title: str


class EndpointFault(Incident, frozen=True):
    """The endpoints (by position in the chain's list) misbehave."""

    endpoints: tuple[int, ...] = (0,)
    fault: Fault = Fault.SERVER_ERROR
    retry_after_s: int = 2


class TokenFault(Incident, frozen=True):
    """Reading this token's balance reverts for everybody."""

    symbol: str = ""


class Reorganisation(Incident, frozen=True):
    """From `begin` on blocks are built that the chain gives up at `end`. In those, one agent in
    `every` had received `payment` base units of the token."""

    symbol: str = ""
    payment: int = 0
    every: int = 20


class BalanceScript(Incident, frozen=True):
    """One agent's balance follows keyframes (see `patterns.Scripted`)."""

    agent: int = 0
    symbol: str = ""
    frames: tuple[tuple[int, int], ...] = ((0, 1000),)


_DRAIN: Final = ((0, 1000), (8, 1000), (100, 0), (284, 0), (288, 1000))
_FAST_DRAIN: Final = ((0, 800), (16, 800), (48, 0), (160, 0), (164, 800), (300, 500), (356, 800))
_REFILL: Final = ((0, 60), (40, 40), (44, 1000), (300, 700), (340, 60))

# Positions are the number in the agent's name less one: agent-0007 is 6.
SCHEDULE: Final[tuple[Incident, ...]] = (
    EndpointFault(
        0, ROUND_S, "base", "base #3 is a node of another chain",
        endpoints=(2,), fault=Fault.WRONG_CHAIN,
    ),
    BalanceScript(
        8, 284, "base", "agent-0007 drains its USDC until it is topped up",
        agent=6, symbol="USDC", frames=_DRAIN,
    ),
    BalanceScript(
        16, 164, "tron", "agent-0012 spends all its USDT within half a minute",
        agent=11, symbol="USDT", frames=_FAST_DRAIN,
    ),
    BalanceScript(
        0, 44, "base", "agent-0003 is below its floor in ETH, then refilled",
        agent=2, symbol="ETH", frames=_REFILL,
    ),
    EndpointFault(
        15, 40, "base", "base #1 allows no more requests (429); #2 takes over",
        endpoints=(0,), fault=Fault.TOO_MANY, retry_after_s=5,
    ),
    EndpointFault(
        28, 40, "base", "base #2 takes only small requests (413)",
        endpoints=(1,), fault=Fault.TOO_LARGE,
    ),
    EndpointFault(
        45, 70, "tron", "tron #1 answers 503; #2 takes over",
        endpoints=(0,), fault=Fault.SERVER_ERROR,
    ),
    # Long: a chain counts as lagging only when its head has not moved for two minutes.
    EndpointFault(
        60, 205, "xrpl", "xrpl validates no new ledger: the head stands still",
        endpoints=(0, 1), fault=Fault.STALE,
    ),
    EndpointFault(
        120, 165, "tron", "tron is down: #1 does not answer",
        endpoints=(0,), fault=Fault.TIMEOUT,
    ),
    EndpointFault(
        120, 165, "tron", "tron is down: #2 shows a gateway's page",
        endpoints=(1,), fault=Fault.HTML,
    ),
    TokenFault(
        170, 195, "base", "EURC's contract reverts: its balances are unknown",
        symbol="EURC",
    ),
    Reorganisation(
        206, 214, "base", "base gives up some blocks: payments of 25 USDC are taken back",
        symbol="USDC", payment=25_000_000,
    ),
    EndpointFault(
        230, 262, "base", "base hangs: #1 and #2 accept and never answer",
        endpoints=(0, 1), fault=Fault.TIMEOUT,
    ),
    EndpointFault(
        240, 255, "xrpl", "xrpl #1 resets its connections; #2 takes over",
        endpoints=(0,), fault=Fault.RESET,
    ),
    EndpointFault(
        275, 295, "xrpl", "xrpl #1 says slowDown; #2 takes over",
        endpoints=(0,), fault=Fault.TOO_MANY, retry_after_s=4,
    ),
    EndpointFault(
        300, 320, "tron", "tron #1 cuts its answers in the middle; #2 takes over",
        endpoints=(0,), fault=Fault.HALF,
    ),
    EndpointFault(
        325, 340, "base", "base #1 has lost its state: reads are errors; #2 takes over",
        endpoints=(0,), fault=Fault.RPC_ERROR,
    ),
)  # fmt: skip


def second_of_round(start_ms: int, at_ms: int) -> int | None:
    """Seconds into the present round; None before the demo started."""
    return (at_ms - start_ms) // 1000 % ROUND_S if at_ms >= start_ms else None


def active(start_ms: int, at_ms: int) -> tuple[Incident, ...]:
    """The incidents of a moment, in the order of the table."""
    second = second_of_round(start_ms, at_ms)
    if second is None:
        return ()
    return tuple(i for i in SCHEDULE if i.begin <= second < i.end)


def endpoint_fault(chain: str, endpoint: int, second: int) -> EndpointFault | None:
    """What ails an endpoint at a second of the round; a later row of the table wins."""
    found = None
    for incident in SCHEDULE:
        if (
            isinstance(incident, EndpointFault)
            and incident.chain == chain
            and endpoint in incident.endpoints
            and incident.begin <= second < incident.end
        ):
            found = incident
    return found


class ScheduledFaults:
    """The FaultPlan of one endpoint. `block_at` tells the chain's head at a time in ms, where
    a head that stops moving got stuck."""

    def __init__(
        self,
        chain: str,
        endpoint: int,
        start_ms: int,
        clock: Clock,
        block_at: Callable[[int], int],
    ) -> None:
        self._chain = chain
        self._endpoint = endpoint
        self._start_ms = start_ms
        self._clock = clock
        self._block_at = block_at

    def current(self) -> ActiveFault | None:
        """The fault in force, None when the endpoint is well."""
        now_ms = self._clock.now_ms()
        second = second_of_round(self._start_ms, now_ms)
        if second is None:
            return None
        incident = endpoint_fault(self._chain, self._endpoint, second)
        if incident is None:
            return None
        stuck_at = 0
        if incident.fault is Fault.STALE:
            began_ms = now_ms - (now_ms - self._start_ms) % 1000 - 1000 * (second - incident.begin)
            stuck_at = self._block_at(began_ms)
        return ActiveFault(incident.fault, incident.retry_after_s, stuck_at)
