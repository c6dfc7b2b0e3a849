"""What the settlement room speaks in: keys, views, orders, verdicts and its errors.

All frozen; amounts are base units of the token, times ms since the epoch.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import msgspec

from core.accounting import Direction, Pair, PeerBalance
from core.accounting.ids import digest_id
from core.model import BursarError
from core.settlement.states import SettlementState


class SettlementKey(NamedTuple):
    """Whose state is meant."""

    peer: str
    token: str
    direction: Direction = Direction.RECEIVABLE

    @property
    def pair(self) -> Pair:
        """Peer and token."""
        return Pair(self.peer, self.token)

    def __str__(self) -> str:
        return f"{self.direction} {self.token} with peer {self.peer}"


def idempotency_key(node: str, generation: str, key: SettlementKey, epoch: int) -> str:
    """The key under which one triggered settlement is paid, however often it is asked for: the
    first 32 hex digits of SHA-256 over node, generation, peer, token, direction and epoch."""
    parts = (node, generation, *key, str(epoch), "settlement epoch")
    text = "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)
    return sha256(text.encode()).hexdigest()[:32]


def transfer_id(key: str, attempt: int) -> int:
    """The pending transfer of one attempt at paying under an idempotency key."""
    return digest_id(key, str(attempt), "settlement attempt")


class SettlementView(msgspec.Struct, frozen=True, gc=False):
    """One pair in one direction as it stood when last looked at.

    `balance` is what was read (None: nothing yet) and `due` the part of it that is posted and not
    in transit. `threshold` is None where `unmonitored` says why. `amount` is the payment under
    way, `age_ms` the time in the state, and `stuck` says that a payment under way is older than
    it should be. `retry_ms` is when the engine is asked again. `trouble` is the last failure in
    words, "" if none stands.
    """

    peer: str
    token: str
    direction: Direction
    state: SettlementState
    balance: PeerBalance | None = None
    due: int | None = None
    threshold: int | None = None
    rearm: int | None = None
    settle_to: int = 0
    unmonitored: str = ""
    epoch: int = 0
    attempt: int = 0
    idempotency_key: str = ""
    amount: int | None = None
    begun_by: str = ""
    delivered: bool = False
    since_ms: int = 0
    age_ms: int = 0
    stuck: bool = False
    retry_ms: int = 0
    reason: str = ""
    trouble: str = ""
    settled_ms: int = 0
    settled_amount: int | None = None


class SettlementOrder(msgspec.Struct, frozen=True):
    """A payment to be made, already held in the ledger. `key` is the same for every attempt at
    it: whoever pays, pays once per key."""

    node: str
    peer: str
    token: str
    direction: Direction
    amount: int
    key: str
    attempt: int


class Answer(StrEnum):
    """What an engine says of an order."""

    ACCEPTED = "accepted"  # under way; the outcome is reported later
    COMPLETED = "completed"
    FAILED = "failed"


class Verdict(msgspec.Struct, frozen=True):
    """An engine's answer. `amount` is what was paid, None for all of it."""

    answer: Answer
    amount: int | None = None
    reason: str = ""


class SettlementError(BursarError):
    """Base of what the settlement room raises."""


class IllegalTransition(SettlementError):
    """A command that the state does not allow; nothing was changed."""


class SettlementNotPossible(SettlementError):
    """A settlement of this amount, or under this key, cannot be; nothing was changed."""


class ThresholdRefused(SettlementError):
    """A threshold cannot work; the message names the scope and the reason."""


class MonitorNotStopped(SettlementError):
    """The monitor was started twice, or stopped while it started."""
