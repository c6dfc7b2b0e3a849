"""What accounting speaks in: pairs, packets, steps, balances, results and its errors.

All frozen; amounts are base units of the token. What a peer owes us is receivable, what we owe
the peer is payable, and nothing but their difference is called net.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from core.ledger import TransferStatus
from core.model import BursarError


class Pair(NamedTuple):
    """A peer and a token: whose accounts are meant."""

    peer: str
    token: str


class PeerAccounts(msgspec.Struct, frozen=True, gc=False):
    """The accounts of one pair, and the token's clearing account; ids in ledger `ledger`."""

    peer: str
    token: str
    ledger: int
    debit: int
    credit: int
    transit: int
    line: int
    clearing: int

    @property
    def pair(self) -> Pair:
        """Whose they are."""
        return Pair(self.peer, self.token)


class PeerBalance(msgspec.Struct, frozen=True, gc=False):
    """What stands between us and a peer in one token, base units, from one look-up.

    In flight are prepared packets, in transit are settlements under way; neither is in
    `receivable` or `payable` yet. Both are below zero where more was paid than owed. `limit` is
    what the ledger enforces now and `target` what is configured: they differ while a lowered
    limit waits for the peer to pay. `headroom` is what the peer may still send. None is no limit.
    """

    peer: str
    token: str
    receivable: int = 0
    payable: int = 0
    receivable_in_flight: int = 0
    payable_in_flight: int = 0
    receivable_in_transit: int = 0
    payable_in_transit: int = 0
    limit: int | None = None
    target: int | None = None
    headroom: int | None = None

    @property
    def net(self) -> int:
        """Receivable less payable: above zero the peer owes us."""
        return self.receivable - self.payable

    @property
    def receivable_due(self) -> int:
        """Receivable less what the peer is already paying: what a threshold is compared with."""
        return self.receivable - self.receivable_in_transit

    @property
    def payable_due(self) -> int:
        """Payable less what we are already paying."""
        return self.payable - self.payable_in_transit


class Direction(StrEnum):
    """Which balance a settlement reduces."""

    RECEIVABLE = "receivable"  # the peer pays us
    PAYABLE = "payable"  # we pay the peer


class Packet(msgspec.Struct, frozen=True, gc=False):
    """A packet that `source` sent us and we forward to `destination`; both are peers.

    `id` is unique among all packets of the ledger, for ever. The spread, `amount_in` less
    `amount_out`, stays in the token's clearing account.
    """

    id: str
    source: str
    destination: str
    token: str
    amount_in: int
    amount_out: int


class Stage(StrEnum):
    """What happens to a packet."""

    PREPARE = "prepare"  # both amounts are held: pending
    FULFIL = "fulfil"  # they are booked
    REJECT = "reject"  # they are let go
    RECORD = "record"  # a finished packet, booked in one step


class Step(msgspec.Struct, frozen=True, gc=False):
    """One stage of one packet. `timeout_s` is for a prepare: after that many seconds it lapses
    (0: never). Fulfil and reject take the amounts that were prepared."""

    stage: Stage
    packet: Packet
    timeout_s: int = 0


class PacketResult(msgspec.Struct, frozen=True, gc=False):
    """What became of a step. `status` is the ledger's name of it, such as `created`, `exists`
    or `exceeds_credits`; `message` says a refusal in words and is "" otherwise."""

    packet: str
    stage: Stage
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


class SettlementResult(msgspec.Struct, frozen=True, gc=False):
    """A settlement transfer that stands. `replayed`: it had been booked before."""

    transfer_id: int
    peer: str
    token: str
    direction: Direction
    replayed: bool


class LimitCheck(msgspec.Struct, frozen=True, gc=False):
    """Whether a packet of `amount` would pass now. None is no limit."""

    peer: str
    token: str
    amount: int
    allowed: bool
    limit: int | None
    headroom: int | None


class LimitChange(msgspec.Struct, frozen=True, gc=False):
    """Where a credit line stands after it was moved towards its limit. Not `reached`: the peer
    owes more than the new limit, and the line follows as the peer pays."""

    peer: str
    token: str
    target: int | None
    in_force: int | None

    @property
    def reached(self) -> bool:
        """The ledger enforces what is configured."""
        return self.target == self.in_force


class AccountingError(BursarError):
    """Base of what accounting raises; messages name the peer and the amount."""


class UnknownToken(AccountingError):
    """No such token is configured."""

    def __init__(self, token: str, known: tuple[str, ...]) -> None:
        names = ", ".join(known) or "none"
        super().__init__(f"Token {token!r} is not configured; configured are: {names}.")
        self.token = token


class AccountMismatch(AccountingError):
    """An account exists in the ledger, but not as these settings would make it."""


class LimitRefused(AccountingError):
    """A credit limit is out of range, or the ledger did not take it."""


class SettlementRefused(AccountingError):
    """The ledger did not book a settlement; `status` says why, None if it was never asked."""

    def __init__(self, message: str, status: TransferStatus | None = None) -> None:
        super().__init__(message)
        self.status = status


class CustodyRefused(AccountingError):
    """A movement, a reading or a correction of custody cannot be booked."""
