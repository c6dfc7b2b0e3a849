"""What a store keeps of wallets beyond their balances: derivation indices and lifecycle.

The same promises as `protocol`: a method is one transaction, and a change goes in together with
the events that report it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from core.events import Event, EventRecord
from core.model import Amount, ChainKind, WalletState
from core.store.protocol import Store, StoreError


class AgentPresentError(StoreError):
    """An agent of that name exists; nothing was written. `agent` is its name."""

    def __init__(self, message: str, agent: str) -> None:
        super().__init__(message)
        self.agent = agent


class StateMovedError(StoreError):
    """An agent was not in the state that a change started from; nothing was written."""


class WalletAddress(msgspec.Struct, frozen=True, rename="camel"):
    """An agent's address on one chain; `path` is "" where it was not derived from the seed."""

    chain: str
    kind: ChainKind
    address: str
    path: str = ""


class AgentWallet(msgspec.Struct, frozen=True, rename="camel"):
    """An agent with all its addresses, by chain: what a backup keeps of it."""

    agent: str
    addresses: tuple[WalletAddress, ...]
    group: str = ""
    tags: tuple[str, ...] = ()
    state: WalletState = WalletState.PENDING
    watch_only: bool = False
    created_ms: int = 0

    @property
    def index(self) -> int | None:
        """The derivation index shared by its chains; None for a watch-only agent."""
        last = next((a.path.rpartition("/")[2] for a in self.addresses if a.path), "")
        return int(last) if last.isdecimal() else None


class Volume(msgspec.Struct, frozen=True, rename="camel"):
    """What moved in one asset: how many changes, and the sum of their sizes in base units."""

    chain: str
    token: str
    contract: str | None
    transactions: int
    amount: Amount


class LifecycleRecord(msgspec.Struct, frozen=True, rename="camel"):
    """An agent's life so far. Times in ms, 0: never; `activated_ms` and `suspended_ms` are the last
    of their kind. `reason` is of the last change of state."""

    agent: str
    state: WalletState
    created_ms: int
    activated_ms: int = 0
    last_activity_ms: int = 0
    suspended_ms: int = 0
    archived_ms: int = 0
    reason: str = ""
    transactions: int = 0
    volumes: tuple[Volume, ...] = ()


class StateChange(msgspec.Struct, frozen=True):
    """One agent from one state to another."""

    agent: str
    old: WalletState
    new: WalletState
    time_ms: int
    reason: str


class Activity(msgspec.Struct, frozen=True):
    """What one balance change adds to an agent's record. `transactions` is -1 and `amount`
    negative where a reorganisation takes a change back."""

    agent: str
    chain: str
    token: str
    contract: str | None
    time_ms: int
    transactions: int
    amount: int


class WalletStore(Store, Protocol):
    """A store that also keeps wallets. All methods may raise StoreError."""

    # indices
    async def take_indices(self, fingerprint: str, count: int) -> int:
        """Reserve `count` derivation indices of a seed in one statement; the first of them. No
        two callers, processes or restarts ever get the same one."""
        ...

    async def skip_indices(self, fingerprint: str, below: int) -> None:
        """Never hand out an index below that one again; one already beyond stays."""
        ...

    async def next_index(self, fingerprint: str) -> int:
        """The index that would be taken next; 0 at first."""
        ...

    # wallets
    async def create_wallets(
        self, wallets: Sequence[AgentWallet], events: Sequence[Event]
    ) -> list[EventRecord]:
        """Register new agents with all their addresses, or none. Raises AgentPresentError,
        DuplicateWalletError."""
        ...

    async def wallets(self) -> list[AgentWallet]:
        """Every agent, archived ones included, by name."""
        ...

    async def wallet(self, agent: str) -> AgentWallet | None:
        """One agent."""
        ...

    async def wallets_by_address(self, address: str, folded: str) -> list[AgentWallet]:
        """The agents with that address on any chain; `folded` is its form without case, which is
        compared on EVM chains."""
        ...

    # lifecycle
    async def lifecycle_records(self) -> list[LifecycleRecord]:
        """Every agent's record, by name."""
        ...

    async def lifecycle_record(self, agent: str) -> LifecycleRecord | None:
        """One agent's record."""
        ...

    async def put_lifecycle_record(
        self, record: LifecycleRecord, events: Sequence[Event]
    ) -> list[EventRecord]:
        """Write the record of an existing agent as it is given, its state included."""
        ...

    async def change_states(
        self, changes: Sequence[StateChange], events: Sequence[Event]
    ) -> list[EventRecord]:
        """Change all or none. Raises StateMovedError where one is not in its `old` state."""
        ...

    async def record_activity(
        self, activities: Sequence[Activity], reader: str, after_seq: int, seq: int
    ) -> bool:
        """Add to the records and move the outbox reader's cursor from `after_seq` to `seq`; False
        and nothing written where somebody else moved it meanwhile."""
        ...

    async def funded_pending(self) -> list[str]:
        """PENDING agents with a balance above 0 on any chain."""
        ...
