"""Typed events and the bus that wakes their readers.

An event is a fact that was stored: its row joins the transaction of the fact it reports, and
only then is it published here with its sequence number. The bus never delivers payloads that
are not in the store, so a reader that was away resumes by sequence and misses nothing.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from core.model import Amount

# JSON as it crosses the store, the socket and the log: a plain object, names in camelCase.
if TYPE_CHECKING:
    Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
else:
    Json = Any  # msgspec decodes no recursive alias; it checks that it is JSON all the same


class Event(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A fact about to be stored. Subclasses name it by `TYPE`; fields are its payload."""

    TYPE: ClassVar[str] = ""
    timestamp: int  # ms since the epoch; ISO 8601 UTC in JSON

    def subject(self) -> str:
        """What the event is about (an agent, a chain, a pair), for filters."""
        return ""


class AgentBalanceChanged(Event, frozen=True, rename="camel", kw_only=True):
    """A balance differs from the last one read; also over a restart."""

    TYPE: ClassVar[str] = "AGENT_BALANCE_CHANGED"
    agent_id: str
    chain: str
    token: str
    contract: str | None
    old_balance: Amount
    new_balance: Amount
    change: Amount
    block: int
    decimals: int

    def subject(self) -> str:
        return self.agent_id


class AgentBalanceReverted(Event, frozen=True, rename="camel", kw_only=True):
    """A change reported earlier was taken back by a reorganisation."""

    TYPE: ClassVar[str] = "AGENT_BALANCE_REVERTED"
    agent_id: str
    chain: str
    token: str
    contract: str | None
    old_balance: Amount
    new_balance: Amount
    change: Amount
    block: int
    decimals: int
    reverted_sequence: int  # the AGENT_BALANCE_CHANGED that no longer holds

    def subject(self) -> str:
        return self.agent_id


class AgentRegistered(Event, frozen=True, rename="camel", kw_only=True):
    """An agent, or a further address of one, entered the registry."""

    TYPE: ClassVar[str] = "AGENT_REGISTERED"
    agent_id: str
    chain: str
    address: str

    def subject(self) -> str:
        return self.agent_id


class AgentWalletStateChanged(Event, frozen=True, rename="camel", kw_only=True):
    """A wallet entered another state of its life."""

    TYPE: ClassVar[str] = "AGENT_WALLET_STATE_CHANGED"
    agent_id: str
    old_state: str
    new_state: str
    reason: str

    def subject(self) -> str:
        return self.agent_id


class AgentTagged(Event, frozen=True, rename="camel", kw_only=True):
    """Group or tags of an agent were changed."""

    TYPE: ClassVar[str] = "AGENT_TAGGED"
    agent_id: str
    group: str
    tags: tuple[str, ...]

    def subject(self) -> str:
        return self.agent_id


class LimitsChanged(Event, frozen=True, rename="camel", kw_only=True):
    """Floor or target of an asset were set for a group or an agent."""

    TYPE: ClassVar[str] = "LIMITS_CHANGED"
    scope: str  # "group" or "agent"
    key: str
    chain: str
    token: str
    floor: Amount | None
    target: Amount | None

    def subject(self) -> str:
        return self.key


class ChainStateChanged(Event, frozen=True, rename="camel", kw_only=True):
    """A chain went live, stale, lagging or down; once per change."""

    TYPE: ClassVar[str] = "CHAIN_STATE_CHANGED"
    chain: str
    old_state: str
    new_state: str
    reason: str

    def subject(self) -> str:
        return self.chain


class EndpointStateChanged(Event, frozen=True, rename="camel", kw_only=True):
    """An endpoint was left, taken up again or refused; once per change."""

    TYPE: ClassVar[str] = "ENDPOINT_STATE_CHANGED"
    chain: str
    endpoint: str
    old_state: str
    new_state: str
    reason: str

    def subject(self) -> str:
        return self.chain


class ChainReorganised(Event, frozen=True, rename="camel", kw_only=True):
    """Blocks that had been read from were replaced."""

    TYPE: ClassVar[str] = "CHAIN_REORGANISED"
    chain: str
    common_block: int
    old_head: int
    new_head: int

    def subject(self) -> str:
        return self.chain


class EngineStarted(Event, frozen=True, rename="camel", kw_only=True):
    """An engine took the data directory."""

    TYPE: ClassVar[str] = "ENGINE_STARTED"
    version: str
    agents: int


class EngineStopped(Event, frozen=True, rename="camel", kw_only=True):
    """An engine let go of the data directory in good order."""

    TYPE: ClassVar[str] = "ENGINE_STOPPED"
    reason: str


class SettlementRequired(Event, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What stands between us and a peer went above its threshold; once per crossing. Amounts are
    base units; `direction` is in the JSON only where it is not the usual one."""

    TYPE: ClassVar[str] = "SETTLEMENT_REQUIRED"
    peer_id: str
    token_id: str
    current_balance: Amount
    threshold: Amount
    exceeds_by: Amount
    direction: str = "receivable"  # what the peer owes us; "payable": what we owe

    def subject(self) -> str:
        return f"{self.peer_id}/{self.token_id}"


class SettlementTriggered(SettlementRequired, frozen=True, rename="camel", kw_only=True):
    """The same crossing for telemetry, with the key under which it is paid."""

    TYPE: ClassVar[str] = "SETTLEMENT_TRIGGERED"
    node_id: str
    idempotency_key: str


class SettlementStateChanged(Event, frozen=True, rename="camel", kw_only=True):
    """A settlement went from one state to another."""

    TYPE: ClassVar[str] = "SETTLEMENT_STATE_CHANGED"
    peer_id: str
    token_id: str
    direction: str
    old_state: str
    new_state: str
    reason: str

    def subject(self) -> str:
        return f"{self.peer_id}/{self.token_id}"


class SettlementCompleted(Event, frozen=True, rename="camel", kw_only=True):
    """A payment under way was booked; `amount` is what was paid, `begun` what was meant."""

    TYPE: ClassVar[str] = "SETTLEMENT_COMPLETED"
    peer_id: str
    token_id: str
    direction: str
    amount: Amount
    begun: Amount
    idempotency_key: str

    def subject(self) -> str:
        return f"{self.peer_id}/{self.token_id}"


class SettlementFailed(Event, frozen=True, rename="camel", kw_only=True):
    """A payment under way was not made, and was taken back; it is tried again."""

    TYPE: ClassVar[str] = "SETTLEMENT_FAILED"
    peer_id: str
    token_id: str
    direction: str
    amount: Amount
    idempotency_key: str
    attempt: int
    reason: str

    def subject(self) -> str:
        return f"{self.peer_id}/{self.token_id}"


class SettlementThresholdChanged(Event, frozen=True, rename="camel", kw_only=True):
    """An operator changed a threshold. Levels are base units or a share of the credit limit, ""
    for none; an empty token means all of the peer's, an empty peer everybody."""

    TYPE: ClassVar[str] = "SETTLEMENT_THRESHOLD_CHANGED"
    peer_id: str
    token_id: str
    old_level: str
    new_level: str
    operator: str
    reason: str

    def subject(self) -> str:
        return f"{self.peer_id}/{self.token_id}"


class CustodyUnexplained(Event, frozen=True, rename="camel", kw_only=True):
    """What a chain says of a balance has differed from the ledger for the whole finality window,
    under the strict policy; once per crossing. Amounts are base units."""

    TYPE: ClassVar[str] = "CUSTODY_UNEXPLAINED"
    agent_id: str
    chain: str
    token: str
    contract: str | None
    decimals: int
    unexplained: Amount  # what the chain has beyond the ledger; below zero: less
    chain_amount: Amount | None
    ledger_amount: Amount
    block: int
    since_block: int

    def subject(self) -> str:
        return self.agent_id


class CustodyExplained(Event, frozen=True, rename="camel", kw_only=True):
    """An unexplained difference was booked by an operator, or chain and ledger agree again."""

    TYPE: ClassVar[str] = "CUSTODY_EXPLAINED"
    agent_id: str
    chain: str
    token: str
    contract: str | None
    decimals: int
    booked: Amount  # base units; 0 where the difference went by itself
    block: int
    reason: str

    def subject(self) -> str:
        return self.agent_id


class AlertOpened(Event, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A rule's level was crossed; once per crossing. `about` is what it concerns: an agent, a
    chain or a pair. `silenced_until` stands where the same rule and subject are silenced."""

    TYPE: ClassVar[str] = "ALERT_OPENED"
    alert_id: int
    rule: str
    kind: str
    about: str
    severity: str
    message: str
    silenced_until: str = ""  # ISO 8601, UTC

    def subject(self) -> str:
        return self.about


class AlertClosed(Event, frozen=True, rename="camel", kw_only=True):
    """What an alert was about is well again (or followed no more): `reason` says which."""

    TYPE: ClassVar[str] = "ALERT_CLOSED"
    alert_id: int
    rule: str
    kind: str
    about: str
    reason: str
    opened: str  # ISO 8601, UTC

    def subject(self) -> str:
        return self.about


class AlertAcknowledged(Event, frozen=True, rename="camel", kw_only=True):
    """An operator took an alert on."""

    TYPE: ClassVar[str] = "ALERT_ACKNOWLEDGED"
    alert_id: int
    rule: str
    about: str
    operator: str
    reason: str

    def subject(self) -> str:
        return self.about


class AlertSilenced(Event, frozen=True, rename="camel", kw_only=True):
    """An operator silenced an alert and its like until a time; an empty one ends the silence."""

    TYPE: ClassVar[str] = "ALERT_SILENCED"
    alert_id: int
    rule: str
    about: str
    operator: str
    until: str  # ISO 8601, UTC
    reason: str

    def subject(self) -> str:
        return self.about


class BackupCreated(Event, frozen=True, rename="camel", kw_only=True):
    """A backup is where it has to be. `destinations` have it; `missing` are still to get it.
    `size` in bytes; `verified`: what was stored was read back and decrypts."""

    TYPE: ClassVar[str] = "BACKUP_CREATED"
    backup_id: str
    backup_type: str  # full or incremental
    parent_id: str | None
    size: int
    wallets: int
    sha256: str
    destinations: tuple[str, ...]
    missing: tuple[str, ...]
    verified: bool

    def subject(self) -> str:
        return self.backup_id


class BackupFailed(Event, frozen=True, rename="camel", kw_only=True):
    """A backup was not made or not delivered, or did not stand a proof: `operation` is create,
    deliver, verify or drill. `attempt` counts the failures since the last success."""

    TYPE: ClassVar[str] = "BACKUP_FAILED"
    operation: str
    backup_id: str
    backup_type: str
    attempt: int
    reason: str

    def subject(self) -> str:
        return self.backup_id


class RestoreCompleted(Event, frozen=True, rename="camel", kw_only=True):
    """A restored generation is in use. `undo`: it is the one before the last restore again.
    `safety_backup` holds what was there before, "" where there was nothing to save."""

    TYPE: ClassVar[str] = "RESTORE_COMPLETED"
    backup_id: str
    generation: str
    previous: str
    safety_backup: str
    wallets: int
    undo: bool

    def subject(self) -> str:
        return self.backup_id


class RestoreFailed(Event, frozen=True, rename="camel", kw_only=True):
    """A restore came to nothing; the state before it is whole and in use. `stage`: plan, apply or
    undo."""

    TYPE: ClassVar[str] = "RESTORE_FAILED"
    backup_id: str
    stage: str
    reason: str

    def subject(self) -> str:
        return self.backup_id


class WalletBalanceMismatch(Event, frozen=True, rename="camel", kw_only=True):
    """A restored balance is not what its chain says. `token` is the contract, else the symbol."""

    TYPE: ClassVar[str] = "WALLET_BALANCE_MISMATCH"
    agent_id: str
    chain: str
    token: str
    expected_balance: Amount
    actual_balance: Amount
    block: int

    def subject(self) -> str:
        return self.agent_id


class EventRecord(msgspec.Struct, frozen=True):
    """A stored event: what readers get. `payload` is the event's own fields as JSON builtins
    (amounts are decimal strings)."""

    seq: int
    type: str
    node_id: str
    time_ms: int
    subject: str
    payload: dict[str, Json]

    def as_json(self) -> dict[str, Json]:
        """The flat public form: type, nodeId, sequence and timestamp, then the payload."""
        head: dict[str, Json] = {
            "type": self.type,
            "nodeId": self.node_id,
            "sequence": self.seq,
            "timestamp": iso_utc(self.time_ms),
        }
        return head | {k: v for k, v in self.payload.items() if k != "timestamp"}


def iso_utc(time_ms: int) -> str:
    """Milliseconds since the epoch as ISO 8601 in UTC, e.g. `2026-11-20T11:30:00.250Z`."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def payload_of(event: Event) -> dict[str, Json]:
    """The event's fields as JSON builtins; amounts become decimal strings."""
    built: dict[str, Json] = msgspec.to_builtins(event, enc_hook=encode_amount)
    built["timestamp"] = iso_utc(event.timestamp)
    return built


def encode_amount(value: object) -> str:
    """msgspec `enc_hook`: an `Amount` is a decimal string in JSON."""
    if isinstance(value, Amount):
        return str(int(value))
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def decode_amount(kind: type, value: object) -> object:
    """msgspec `dec_hook`: the inverse of `encode_amount`."""
    if kind is Amount and isinstance(value, str | int):
        return Amount(value)
    raise NotImplementedError(f"{kind.__name__} cannot be read from {type(value).__name__}")


class Bus:
    """Tells waiting readers that the store holds events up to a sequence number.

    Readers fetch the rows themselves; so a slow or dead reader costs nobody anything, and
    `publish` cannot fail or wait.
    """

    def __init__(self) -> None:
        self._last = 0
        self._moved = asyncio.Event()

    @property
    def last(self) -> int:
        """The newest sequence number known to be stored."""
        return self._last

    def publish(self, last_seq: int) -> None:
        """Wake every reader; `last_seq` is the newest stored sequence number."""
        if last_seq > self._last:
            self._last = last_seq
            self._moved.set()
            self._moved = asyncio.Event()

    async def wait_beyond(self, seq: int) -> int:
        """Return the newest sequence number as soon as it is greater than `seq`."""
        while self._last <= seq:
            await self._moved.wait()
        return self._last
