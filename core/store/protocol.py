"""What a store keeps and promises: registry, balances with leases, history, events.

A method is one transaction: either all of it is on disk when it returns, or it raised and
nothing is. Facts and the events that report them go in together (outbox).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from core.events import Event, EventRecord
from core.model import (
    Account,
    Agent,
    Asset,
    BlockRef,
    BursarError,
    Chain,
    ChainKind,
    Consistency,
)

EVERYTHING_DUE_MS = 1 << 62
"""`due_before_ms` of a claim that takes every account, however lately it was checked."""


class StoreError(BursarError):
    """The store failed; the message names the file and the reason."""


class SchemaTooNewError(StoreError):
    """The database was written by a newer Bursar; it was not touched."""


class DuplicateWalletError(StoreError):
    """An address or agent/chain pair is already registered. `index` is the offending row."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class LeaseLostError(StoreError):
    """The lease of a reading ran out and another worker took the chain; nothing was written."""


class NewAsset(msgspec.Struct, frozen=True):
    """An asset as configured: amounts in base units, `contract` None for the native coin."""

    chain: str
    symbol: str
    name: str
    decimals: int
    contract: str | None = None


class NewWallet(msgspec.Struct, frozen=True):
    """An address of an agent to register; the agent is created if it is new."""

    agent: str
    chain: str
    address: str
    group: str = ""
    tags: tuple[str, ...] = ()
    derivation_path: str = ""
    watch_only: bool = True


class Limit(msgspec.Struct, frozen=True):
    """Floor and target an operator set at run time. `scope` is "group" or "agent"."""

    scope: str
    key: str
    asset: int
    floor: int | None
    target: int | None


class Registry(msgspec.Struct, frozen=True):
    """All that is followed. `accounts` are only rows whose asset, chain, address and agent are
    active (ARCHIVED agents are not), ordered by chain, address, natives first."""

    chains: tuple[Chain, ...]
    assets: tuple[Asset, ...]
    agents: tuple[Agent, ...]
    accounts: tuple[Account, ...]
    limits: tuple[Limit, ...]


class StoredBalance(msgspec.Struct, frozen=True, gc=False):
    """The last known state of an account. `amount` None: never read. Times in ms, 0: never.
    A read that succeeds empties `error`; `errors` and `error_ms` remember failures for good."""

    account: int
    amount: int | None
    mark: str
    reserved: int
    block: int
    first_seen_ms: int
    changed_ms: int
    checked_ms: int
    errors: int
    error: str
    error_ms: int


class Lease(msgspec.Struct, frozen=True):
    """Accounts this worker alone may read until `until_ms`, oldest checked first. `whole` says
    they are all active accounts of the chain."""

    chain: str
    worker: str
    until_ms: int
    accounts: Sequence[int]  # 8 bytes each: a fleet has many
    whole: bool


class Change(msgspec.Struct, frozen=True, gc=False):
    """An account whose amount is new (first reading included)."""

    account: int
    amount: int


class Mark(msgspec.Struct, frozen=True, gc=False):
    """An account whose mark or reserve is new."""

    account: int
    mark: str
    reserved: int


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An account that could not be read, and why."""

    account: int
    reason: str


class Sweep(msgspec.Struct, frozen=True):
    """One reading as the store records it. `forked_below`: history of this chain from blocks
    above that number is taken back in the same transaction, for the accounts that were read."""

    lease: Lease
    time_ms: int
    block: BlockRef
    consistency: Consistency
    first_block: int
    endpoint: str
    seconds: float
    changes: Sequence[Change] = ()
    marks: Sequence[Mark] = ()
    failures: Sequence[Failure] = ()
    forked_below: int | None = None


class HistoryRow(msgspec.Struct, frozen=True, gc=False):
    """A stored change: the balance from `time_ms` on, as read at `block`."""

    account: int
    time_ms: int
    block: int
    amount: int


class SettlementRow(msgspec.Struct, frozen=True, gc=False):
    """Where settling one pair in one direction stands; `version` counts its changes.

    `epoch` counts triggers and `attempt` the tries within one; `armed` says that the next
    crossing triggers. `told` is the state last published. `key` is the epoch's idempotency key.
    `amount` (base units) is the payment meant by the attempt, None before one is begun; it is
    under way if the ledger says so. `delivered`: the engine `begun_by` took the order. Not before
    `retry_ms` is it given again. Times in ms, 0: never.
    """

    peer: str
    token: str
    direction: str
    version: int = 0
    epoch: int = 0
    attempt: int = 0
    armed: bool = True
    told: str = "IDLE"
    key: str = ""
    amount: int | None = None
    begun_by: str = ""
    delivered: bool = False
    retry_ms: int = 0
    changed_ms: int = 0
    reason: str = ""
    settled_ms: int = 0
    settled_amount: int | None = None


class StoredThreshold(msgspec.Struct, frozen=True):
    """A threshold set at run time: base units or a share such as "80%". An empty `token` means
    all tokens of the peer, an empty `peer` everybody; an empty `level` takes it back."""

    peer: str
    token: str
    level: str


class SettlementStore(Protocol):
    """What the settlement room needs of a store; part of `Store`."""

    async def settlements(
        self, only: Sequence[tuple[str, str, str]] | None = None
    ) -> list[SettlementRow]:
        """All rows, or those of some (peer, token, direction)."""
        ...

    async def change_settlements(
        self, changes: Sequence[tuple[SettlementRow, Sequence[Event]]]
    ) -> list[list[EventRecord] | None]:
        """Write rows with the events that report them, in one transaction. A row follows the
        version below its own (1 is a new row); where another writer was faster neither row nor
        events are written and its answer is None."""
        ...

    async def thresholds(self) -> list[StoredThreshold]:
        """Thresholds set at run time."""
        ...

    async def set_threshold(
        self, threshold: StoredThreshold, events: Sequence[Event]
    ) -> list[EventRecord]:
        """Set or take back a threshold."""
        ...


class AlertRow(msgspec.Struct, frozen=True, gc=False):
    """One alert, from opening to closing; `version` counts its changes (1 is new).

    `subject` is the stable key of what it is about: a rule has one open alert per subject. `about`
    and `message` are words. `account` is the fleet's row, 0 for none. Times in ms, 0: never; open
    while `closed_ms` is 0. A silence outlives the alert: its like opens silenced.
    """

    id: int
    rule: str
    subject: str
    version: int = 0
    kind: str = ""
    about: str = ""
    severity: str = ""
    message: str = ""
    account: int = 0
    opened_ms: int = 0
    acknowledged_by: str = ""
    acknowledged_ms: int = 0
    acknowledged_reason: str = ""
    silenced_until_ms: int = 0
    silenced_by: str = ""
    silenced_reason: str = ""
    closed_ms: int = 0
    closed_reason: str = ""


class StandingAlerts(msgspec.Struct, frozen=True):
    """What a keeper starts from: alerts that are open, the newest closed ones per rule and subject
    whose silence still runs, and the highest id ever given."""

    open: tuple[AlertRow, ...]
    silenced: tuple[AlertRow, ...]
    last_id: int


class AlertStore(Protocol):
    """What the alerts room needs of a store; part of `Store`."""

    async def alerts(self, now_ms: int) -> StandingAlerts:
        """The alerts that still matter at `now_ms`."""
        ...

    async def change_alerts(
        self, changes: Sequence[tuple[AlertRow, Sequence[Event]]]
    ) -> list[list[EventRecord] | None]:
        """Write alerts with the events that report them, in one transaction. A row follows the
        version below its own (1 is a new row); where another writer was faster, or has opened the
        same, neither row nor events are written and its answer is None."""
        ...


class Store(SettlementStore, AlertStore, Protocol):
    """One database. All methods may raise StoreError; times are ms since the epoch."""

    async def open(self) -> None:
        """Open or create, migrate to the present schema. Raises SchemaTooNewError."""
        ...

    async def close(self) -> None:
        """Close; every acknowledged transaction stays."""
        ...

    async def size_bytes(self) -> int:
        """Bytes on disk, write-ahead log included."""
        ...

    # registry
    async def put_registry(
        self, chains: Sequence[tuple[str, ChainKind]], assets: Sequence[NewAsset]
    ) -> None:
        """Make the configured chains and assets active, those no longer configured inactive, and
        see that every address has an account for each asset of its chain."""
        ...

    async def registry(self) -> Registry:
        """The registry as it stands."""
        ...

    async def add_wallets(
        self, wallets: Sequence[NewWallet], events: Sequence[Event], now_ms: int
    ) -> list[EventRecord]:
        """Register all or none, with their accounts. Raises DuplicateWalletError."""
        ...

    async def label_agents(
        self, agents: Sequence[Agent], events: Sequence[Event]
    ) -> list[EventRecord]:
        """Write group and tags of existing agents."""
        ...

    async def set_limit(self, limit: Limit, events: Sequence[Event]) -> list[EventRecord]:
        """Set or (both None) remove a limit."""
        ...

    # balances
    async def balances(self) -> list[StoredBalance]:
        """All active accounts' last known state."""
        ...

    async def claim(
        self,
        chain: str,
        worker: str,
        *,
        now_ms: int,
        due_before_ms: int,
        lease_ms: int,
        limit: int | None,
    ) -> Lease | None:
        """Lease the chain's accounts last checked before `due_before_ms` (EVERYTHING_DUE_MS: all
        of them); None when none is due or another worker's lease still runs."""
        ...

    async def record(self, sweep: Sweep, events: Sequence[Event]) -> list[EventRecord]:
        """Write a reading: changed rows, one stamp over the unchanged, failures, history, the
        poll row, the events, and release of the lease, in one transaction. Raises
        LeaseLostError."""
        ...

    async def release(
        self, lease: Lease, failures: Sequence[Failure], events: Sequence[Event], now_ms: int
    ) -> list[EventRecord]:
        """Give a lease back without a reading, noting per account why it could not be read. Of a
        lease that was lost nothing but the events is written."""
        ...

    # history
    async def history(self, account: int, start_ms: int, end_ms: int) -> list[HistoryRow]:
        """Ascending changes in [start, end], preceded by the row standing at `start`, if any."""
        ...

    async def recent_history(self, since_ms: int) -> list[HistoryRow]:
        """For every account changed since then: those changes, preceded by the row standing at
        `since_ms`; ascending by account, then time."""
        ...

    async def put_history(self, rows: Sequence[HistoryRow]) -> None:
        """Insert history from elsewhere (imports, the demo's past); existing rows win."""
        ...

    async def gaps(self, chain: str, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """[from, to) ranges without a reading of the chain longer than three intervals."""
        ...

    async def prune(
        self,
        *,
        history_before_ms: int,
        thin_before_ms: int,
        events_before_ms: int,
        polls_before_ms: int,
    ) -> int:
        """Delete what is older; history between the first two is thinned to one row an hour per
        account. The value standing at a boundary is kept. Answers the number of rows deleted."""
        ...

    # events (outbox)
    async def append(self, events: Sequence[Event]) -> list[EventRecord]:
        """Store events that report no other row."""
        ...

    async def last_seq(self) -> int:
        """The newest sequence number, 0 in an empty store."""
        ...

    async def events_after(self, seq: int, limit: int) -> list[EventRecord]:
        """Events above `seq`, ascending."""
        ...

    async def find_events(
        self,
        *,
        after_seq: int = 0,
        limit: int = 500,
        newest: bool = False,
        types: Sequence[str] = (),
        subject: str = "",
        text: str = "",
        since_ms: int = 0,
        until_ms: int = 0,
    ) -> list[EventRecord]:
        """Events that match all filters given, ascending by sequence."""
        ...

    async def balance_events_above(self, chain: str, block: int) -> list[EventRecord]:
        """AGENT_BALANCE_CHANGED of the chain from blocks above that number, ascending, that no
        AGENT_BALANCE_REVERTED has taken back."""
        ...

    async def cursor(self, reader: str) -> int:
        """How far an outbox reader (log file, webhook) has come; 0 at first."""
        ...

    async def set_cursor(self, reader: str, seq: int) -> None:
        """Remember how far it has come."""
        ...

    # names of the ledger's pairs
    async def pairs(self) -> list[tuple[str, str]]:
        """Peer and token of every pair that has accounts in the ledger."""
        ...

    async def add_pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Remember pairs; known ones are left as they are."""
        ...

    # small memory
    async def recall(self, key: str) -> str | None:
        """A text kept under `key`."""
        ...

    async def remember(self, key: str, value: str) -> None:
        """Keep a text under `key`."""
        ...
