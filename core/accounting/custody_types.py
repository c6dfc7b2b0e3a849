"""What custody speaks in: holdings, readings, movements, findings and what they are booked as.

All frozen; amounts are base units of the asset, signed where something moves. A chain, an asset
and an agent are names here: this room reads no chain.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec


class Holding(NamedTuple):
    """What an agent holds of one asset on one chain. `asset` tells the chain's assets apart: a
    contract, or the symbol of the coin."""

    agent: str
    chain: str
    asset: str

    def __str__(self) -> str:
        return f"{self.agent}, {self.asset} on {self.chain}"


class ChainReading(msgspec.Struct, frozen=True, gc=False):
    """What a chain said of a holding at a block. `amount` None was not read, and `reason` says
    why."""

    holding: Holding
    amount: int | None
    block: int
    reason: str = ""


class Movement(msgspec.Struct, frozen=True, gc=False):
    """What a caller knows of: funding and income above 0; payments, gas and sweeps below.
    `reference` names it among the holding's movements, for ever."""

    holding: Holding
    amount: int
    reference: str


class MovementResult(msgspec.Struct, frozen=True, gc=False):
    """What became of a movement: the ledger's name of it, and a refusal in words."""

    movement: Movement
    status: str
    message: str = ""

    @property
    def booked(self) -> bool:
        """It was booked now."""
        return self.status == "created"

    @property
    def replayed(self) -> bool:
        """It had been booked before; nothing was changed."""
        return self.status == "exists"

    @property
    def refused(self) -> bool:
        """Nothing was booked, now or before."""
        return not (self.booked or self.replayed)


class Policy(StrEnum):
    """What is done about an unexplained difference."""

    STRICT = "strict"  # it stays until an operator books it with a reason
    OBSERVE = "observe"  # it is booked to the unexplained account


class ChainRules(msgspec.Struct, frozen=True):
    """How a chain is reconciled. A difference younger than `finality` blocks is pending."""

    policy: Policy = Policy.OBSERVE
    finality: int = 64


class FindingState(StrEnum):
    """How chain and ledger compare."""

    OPENED = "opened"  # the first reading: an opening entry was booked
    EQUAL = "equal"
    PENDING = "pending"  # they differ, within the finality window
    UNEXPLAINED = "unexplained"  # they have differed for the whole window
    UNREAD = "unread"  # the chain did not say
    TOO_LARGE = "too large"  # beyond 2^128 - 1, which no ledger account can hold


class Finding(msgspec.Struct, frozen=True, gc=False):
    """What reconciling a holding found at `block`.

    `difference` is what the chain says less what was booked, None where the chain did not say.
    `unexplained` is the part of it that has stood for the finality window, `booked` whether that
    part was booked to the unexplained account; `since` the block of the first reading that did
    not agree. `reason` says why it is unread or too large, or why an operator booked it.
    """

    holding: Holding
    state: FindingState
    block: int
    chain_amount: int | None
    ledger_amount: int = 0
    difference: int | None = None
    unexplained: int = 0
    since: int = 0
    booked: bool = False
    reason: str = ""
