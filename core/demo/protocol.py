"""What a simulated chain server answers from, and how it can be made to misbehave.

Servers (EVM node, rippled, TRON node) know sockets and reply shapes; a `SimulatedChain` knows
balances and blocks; a `FaultPlan` says what goes wrong when. Tests use the same servers with
chains of their own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from core.model import BlockRef


class Fault(StrEnum):
    """One way in which a real endpoint fails."""

    TIMEOUT = "timeout"  # accepts, never answers
    TOO_MANY = "429"  # with Retry-After; "slowDown" on XRPL
    TOO_LARGE = "413"
    SERVER_ERROR = "503"
    HTML = "html"  # a gateway's page instead of JSON
    HALF = "half"  # an answer cut in the middle
    RESET = "reset"  # connection reset in mid-stream
    WRONG_CHAIN = "wrong chain"  # answers for another chain id
    STALE = "stale"  # its head stopped moving
    RPC_ERROR = "rpc error"  # a JSON-RPC error for the read itself


class ActiveFault(msgspec.Struct, frozen=True):
    """A fault in force now; `retry_after_s` goes with TOO_MANY, `stuck_at` with STALE."""

    fault: Fault
    retry_after_s: int = 2
    stuck_at: int = 0


class FaultPlan(Protocol):
    """Which fault an endpoint shows now."""

    def current(self) -> ActiveFault | None:
        """The fault in force, None when the endpoint is well."""
        ...


class SimulatedChain(Protocol):
    """A chain's truth. Blocks are immutable; balances are asked for at a block number."""

    @property
    def chain_id(self) -> int:
        """EIP-155 id (EVM and TRON JSON-RPC), network id on XRPL."""
        ...

    def head(self) -> BlockRef:
        """The newest block."""
        ...

    def block(self, number: int) -> BlockRef | None:
        """A block of the present history."""
        ...

    def block_by_hash(self, block_hash: str) -> BlockRef | None:
        """The same by hash; None if unknown or no longer canonical."""
        ...

    def balance(self, address: str, contract: str | None, number: int) -> int | None:
        """Base units at that block, native where `contract` is None; None where the account is
        not activated (XRPL, TRON) or the contract is none. Addresses as the chain writes them
        (EVM 0x hex, with its checksum or in lower case)."""
        ...

    def owner_count(self, address: str, number: int) -> int:
        """XRPL: objects owned, each of which raises the reserve; 0 elsewhere."""
        ...

    def is_contract(self, address: str) -> bool:
        """Whether code stands at the address (a token of this chain)."""
        ...
