"""EngineApi: the one door between the engine and everything that shows or commands it.

Two things stand behind it: `core.engine.Engine` in this process, `core.service.EngineClient`
over the socket of another one. A screen cannot tell which it has. All views are frozen; a
change is a new view. State is idempotent (take the newest), events are exact (by sequence).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from core.events import EventRecord
from core.model import (
    Agent,
    Amount,
    Asset,
    BursarError,
    ChainKind,
    Consistency,
    EndpointHealth,
    Severity,
)


class CommandRefusedError(BursarError):
    """A command was wrong or not possible; nothing was changed."""


class LedgerAwayError(BursarError):
    """The ledger cannot answer now; the message says why. Everything else goes on."""


class EngineLostError(BursarError):
    """The engine behind an attached desk went away; try `state` again later."""


# --- views ---------------------------------------------------------------------------------


class BalanceView(msgspec.Struct, frozen=True, gc=False):
    """One row of the fleet: one agent's balance of one asset on one chain.

    `amount` is the last figure a chain stated (None: never read) and stays while reads fail;
    then `error` says why. A row without error was last checked at the later of `checked_ms`
    and its chain's `ChainView.swept_ms` (a sweep stamps all its rows at once).
    `problem` says in words why `severity` is not OK. `change_*` are base units, None where
    the past is not known. `runway_s` is seconds until the floor at the present rate, 0 when
    there, None when not falling; `runway_sure` is "", "low", "fair" or "good".
    """

    account: int
    agent: str
    chain: str
    asset: int
    address: str
    amount: Amount | None = None
    mark: str = ""
    reserved: Amount = Amount(0)
    block: int = 0
    first_seen_ms: int = 0
    changed_ms: int = 0
    checked_ms: int = 0
    error: str = ""
    error_ms: int = 0
    errors: int = 0
    severity: Severity = Severity.OK
    problem: str = ""
    floor: Amount | None = None
    target: Amount | None = None
    change_1h: Amount | None = None
    change_24h: Amount | None = None
    runway_s: int | None = None
    runway_sure: str = ""


class ChainState(msgspec.Struct, frozen=True, gc=False):
    """A chain as the desk shows it.

    `state` is "starting", "live", "stale" (no reading for two intervals), "lagging" (the head
    does not move or stands behind) or "down" (no endpoint answers); `reason` says why.
    `swept_ms` is when all of its accounts were last covered by a reading; `interval_ms` the
    configured time between readings.
    """

    name: str
    kind: ChainKind
    state: str = "starting"
    reason: str = ""
    swept_ms: int = 0
    block: int = 0
    block_hash: str = ""
    block_ms: int = 0
    first_block: int = 0
    consistency: Consistency = Consistency.PINNED
    endpoint: str = ""
    accounts: int = 0
    unknown: int = 0
    changed: int = 0
    seconds: float = 0.0
    requests: int = 0
    interval_ms: int = 30_000


class AssetTotal(msgspec.Struct, frozen=True, gc=False):
    """The fleet's sum of one asset (base units) over `known` accounts; `unknown` are left out."""

    asset: int
    total: Amount
    known: int
    unknown: int


class StoreHealth(msgspec.Struct, frozen=True, gc=False):
    """Whether facts reach the disk. `error` is "" or why they do not."""

    backend: str
    path: str
    error: str = ""
    size_bytes: int = 0


class LedgerView(msgspec.Struct, frozen=True, gc=False):
    """The ledger's backend and how durable it is. `reason` says why `ok` is False; times in ms,
    0 for never; `journal_bytes` and `last_*` are 0 on a cluster."""

    backend: str
    ok: bool = True
    reason: str = ""
    notices: tuple[str, ...] = ()
    journal_bytes: int = 0
    commits: int = 0
    syncs: int = 0
    last_sync_ms: int = 0
    last_snapshot_ms: int = 0
    snapshot_failure: str = ""


class PeerView(msgspec.Struct, frozen=True, gc=False):
    """What stands between us and a peer in one token, base units. `in_flight` is prepared and
    not yet booked, `in_transit` settlements under way. `limit`, `headroom`: None is no limit."""

    peer: str
    token: str
    receivable: Amount = Amount(0)
    payable: Amount = Amount(0)
    receivable_in_flight: Amount = Amount(0)
    payable_in_flight: Amount = Amount(0)
    receivable_in_transit: Amount = Amount(0)
    payable_in_transit: Amount = Amount(0)
    limit: Amount | None = None
    headroom: Amount | None = None

    @property
    def net(self) -> int:
        """Receivable less payable: above zero the peer owes us."""
        return self.receivable - self.payable


class TrialView(msgspec.Struct, frozen=True, gc=False):
    """One ledger's sums over all its accounts; both differences must be 0. `name` is the token,
    or chain and asset for custody."""

    ledger: int
    name: str
    accounts: int
    debits: Amount
    credits: Amount
    debits_pending: Amount
    credits_pending: Amount
    confirmed: bool = True

    @property
    def balanced(self) -> bool:
        """Debits equal credits, posted and pending."""
        return self.debits == self.credits and self.debits_pending == self.credits_pending


class CustodyView(msgspec.Struct, frozen=True, gc=False):
    """How chain and ledger compare for one balance (`account` of the fleet). `state` is opened,
    equal, pending, unexplained, unread or "too large"; `difference` is chain less ledger."""

    account: int
    state: str
    block: int
    chain_amount: Amount | None = None
    ledger_amount: Amount = Amount(0)
    difference: Amount | None = None
    unexplained: Amount = Amount(0)
    since: int = 0
    booked: bool = False
    reason: str = ""


class AccountTotals(msgspec.Struct, frozen=True, gc=False):
    """Posted totals of one ledger account, base units; `id` is its 128-bit id in decimal."""

    id: str
    debits_posted: Amount
    credits_posted: Amount


class SettlementPairView(msgspec.Struct, frozen=True, gc=False):
    """One pair in one direction on the settlement board.

    `state` is IDLE, SETTLEMENT_PENDING or SETTLEMENT_IN_PROGRESS. `due` is posted less in transit
    (None: not read yet); `threshold` None where `unmonitored` says why. `amount` is the payment
    under way, `since_ms` when the state began, `stuck` that a payment is older than it should be.
    `rate_per_minute` is how fast `due` grows (None: not known yet), `eta_s` the seconds until it
    passes the threshold at that rate. `trouble` is the last failure in words.
    """

    peer: str
    token: str
    direction: str
    state: str
    due: Amount | None = None
    threshold: Amount | None = None
    rearm: Amount | None = None
    settle_to: Amount = Amount(0)
    unmonitored: str = ""
    amount: Amount | None = None
    attempt: int = 0
    idempotency_key: str = ""
    begun_by: str = ""
    since_ms: int = 0
    stuck: bool = False
    retry_ms: int = 0
    reason: str = ""
    trouble: str = ""
    settled_ms: int = 0
    settled_amount: Amount | None = None
    rate_per_minute: Amount | None = None
    eta_s: int | None = None


class SettlementHealth(msgspec.Struct, frozen=True, gc=False):
    """The monitor itself: whether it watches, why not, and how readings fared. `engine` is who
    acts: manual, webhook or simulated."""

    running: bool
    engine: str
    error: str = ""
    sweeps: int = 0
    failures: int = 0
    warnings: tuple[str, ...] = ()


class TransferView(msgspec.Struct, frozen=True, gc=False):
    """One transfer of a pair's accounts, newest first in a list. `kind` is packet, settlement,
    credit line or the like, in words; `side` receivable or payable; `amount` is signed as it
    moves that side (in flight where `pending`)."""

    timestamp_ms: int
    id: str
    peer: str
    token: str
    side: str
    kind: str
    amount: Amount
    pending: bool = False
    note: str = ""


class AlertView(msgspec.Struct, frozen=True, gc=False):
    """One open alert. `about` is the agent, chain or pair it concerns, `account` the fleet's row
    where there is one. `message` says what was seen when it opened. Times in ms, 0: never."""

    id: int
    rule: str
    kind: str
    about: str
    severity: Severity
    message: str
    opened_ms: int
    account: int = 0
    acknowledged_by: str = ""
    acknowledged_ms: int = 0
    acknowledged_reason: str = ""
    silenced_until_ms: int = 0
    silenced_by: str = ""
    silenced_reason: str = ""

    def loud(self, now_ms: int) -> bool:
        """Whether it asks for attention: neither acknowledged nor silenced."""
        return not self.acknowledged_ms and self.silenced_until_ms <= now_ms


class EngineState(msgspec.Struct, frozen=True):
    """Everything a desk starts from. `instance` is new at every start of an engine; `version`
    counts state changes within it; `seq` is the newest event in the store."""

    instance: str
    version: int
    seq: int
    now_ms: int
    started_ms: int
    node_id: str
    environment: str
    demo: bool
    interval_ms: int
    chains: tuple[ChainState, ...]
    endpoints: tuple[EndpointHealth, ...]
    assets: tuple[Asset, ...]
    agents: tuple[Agent, ...]
    balances: tuple[BalanceView, ...]
    totals: tuple[AssetTotal, ...]
    store: StoreHealth
    clients: int = 0
    ledger: LedgerView | None = None
    peers: tuple[PeerView, ...] = ()
    trial: tuple[TrialView, ...] = ()
    custody: tuple[CustodyView, ...] = ()
    settlements: tuple[SettlementPairView, ...] = ()
    settlement: SettlementHealth | None = None
    alerts: tuple[AlertView, ...] = ()


class StatePatch(msgspec.Struct, frozen=True, tag="patch"):
    """What changed since `version` - 1 or earlier: replace by key (chain name, asset id, agent
    id, account id, peer and token). `endpoints`, `totals` and `trial` are whole or None.
    `removed` are account ids. `custody` has only what does not simply agree: a view that is
    "equal" takes an earlier one back."""

    version: int
    now_ms: int
    chains: tuple[ChainState, ...] = ()
    endpoints: tuple[EndpointHealth, ...] | None = None
    assets: tuple[Asset, ...] = ()
    agents: tuple[Agent, ...] = ()
    balances: tuple[BalanceView, ...] = ()
    removed: tuple[int, ...] = ()
    totals: tuple[AssetTotal, ...] | None = None
    store: StoreHealth | None = None
    clients: int | None = None
    ledger: LedgerView | None = None
    peers: tuple[PeerView, ...] = ()
    trial: tuple[TrialView, ...] | None = None
    custody: tuple[CustodyView, ...] = ()
    settlements: tuple[SettlementPairView, ...] = ()
    settlement: SettlementHealth | None = None
    alerts: tuple[AlertView, ...] | None = None


Update = StatePatch | EventRecord


class HistoryPoint(msgspec.Struct, frozen=True, gc=False):
    """The balance from `time_ms` on. `carried` marks the value already standing at the start of
    the range asked for (its time is the start)."""

    time_ms: int
    amount: Amount
    block: int
    carried: bool = False


class History(msgspec.Struct, frozen=True):
    """Ascending points; `gaps` are [from, to) ms ranges in which the chain was not read."""

    points: tuple[HistoryPoint, ...]
    gaps: tuple[tuple[int, int], ...] = ()


class EventQuery(msgspec.Struct, frozen=True):
    """Stored events, ascending by sequence. `newest` takes the last `limit` instead of the
    first. Empty filters match everything; `text` is looked for in type, subject, payload."""

    after_seq: int = 0
    limit: int = 500
    newest: bool = False
    types: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    since_ms: int = 0
    until_ms: int = 0


# --- commands ------------------------------------------------------------------------------


class SyncNow(msgspec.Struct, frozen=True, tag="sync"):
    """Read these chains (all, if empty) now, due or not; answers when they were read."""

    chains: tuple[str, ...] = ()


class WalletRow(msgspec.Struct, frozen=True):
    """One address to follow, as an operator gave it. `line` is where it stood in a file."""

    agent: str
    chain: str
    address: str
    group: str = ""
    tags: tuple[str, ...] = ()
    line: int = 0


class ImportWallets(msgspec.Struct, frozen=True, tag="import"):
    """Register watch-only addresses, all or none."""

    rows: tuple[WalletRow, ...]


class TagAgents(msgspec.Struct, frozen=True, tag="tag"):
    """Set the group (None: keep) and add or remove tags of existing agents, all or none."""

    agents: tuple[str, ...]
    group: str | None = None
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class SetLimits(msgspec.Struct, frozen=True, tag="limits"):
    """Floor and target (base units; None clears) of an asset for a "group" or an "agent"."""

    scope: str
    key: str
    chain: str
    asset: str  # symbol or contract
    floor: Amount | None = None
    target: Amount | None = None


class MovementRow(msgspec.Struct, frozen=True):
    """One movement of an agent's balance; `reference` names it for ever."""

    agent: str
    chain: str
    asset: str  # symbol or contract
    amount: Amount
    reference: str


class RecordMovements(msgspec.Struct, frozen=True, tag="movements"):
    """Book what callers know of on-chain custody: funding above 0; payments, gas, sweeps below."""

    movements: tuple[MovementRow, ...]


class BookUnexplained(msgspec.Struct, frozen=True, tag="explain-custody"):
    """Book an unexplained difference of one balance, with an operator's reason."""

    agent: str
    chain: str
    asset: str
    reason: str


class ImportTotals(msgspec.Struct, frozen=True, tag="ledger-import"):
    """Start the empty ledger from these totals. `peers` are known beside those that the settings
    name; ids of nobody known are kept as foreign accounts."""

    totals: tuple[AccountTotals, ...]
    peers: tuple[str, ...] = ()


class RecordSettlement(msgspec.Struct, frozen=True, tag="settlement"):
    """Book a payment that has happened: `direction` is "receivable" (the peer paid us) or
    "payable" (we paid). `reference` is the payment's own; a second one with it books nothing."""

    peer: str
    token: str
    direction: str
    amount: Amount
    reference: str


class AcknowledgeAlert(msgspec.Struct, frozen=True, tag="alert-ack"):
    """Take an open alert on; it stays open and is loud no more."""

    id: int
    reason: str


class SilenceAlert(msgspec.Struct, frozen=True, tag="alert-silence"):
    """Silence an alert, and new ones of its rule and subject, until then; 0 ends a silence."""

    id: int
    until_ms: int
    reason: str


class StartSettlement(msgspec.Struct, frozen=True, tag="settlement-start"):
    """A payment has begun: of `amount` base units, or (None) of what is due above `settle_to`."""

    peer: str
    token: str
    direction: str = "receivable"
    amount: Amount | None = None


class CompleteSettlement(msgspec.Struct, frozen=True, tag="settlement-done"):
    """The payment under way arrived: all of it, or the smaller `amount`. `key`, where given, must
    be that of the settlement meant."""

    peer: str
    token: str
    direction: str = "receivable"
    amount: Amount | None = None
    key: str = ""


class FailSettlement(msgspec.Struct, frozen=True, tag="settlement-failed"):
    """The payment under way was not made; it is asked for again under the same key."""

    peer: str
    token: str
    reason: str
    direction: str = "receivable"
    key: str = ""


class SetThreshold(msgspec.Struct, frozen=True, tag="threshold"):
    """Set the threshold of a pair, of a peer (token "") or the default (both ""). `level` is base
    units or a share of the credit limit such as "80%"; "" goes back to what is configured."""

    peer: str
    token: str
    level: str
    reason: str = ""


Command = (
    SyncNow
    | ImportWallets
    | TagAgents
    | SetLimits
    | RecordMovements
    | BookUnexplained
    | ImportTotals
    | RecordSettlement
    | StartSettlement
    | CompleteSettlement
    | FailSettlement
    | SetThreshold
    | AcknowledgeAlert
    | SilenceAlert
)


class PacketStep(msgspec.Struct, frozen=True):
    """One stage of one packet that `source` sent us and we forward to `destination`. `stage` is
    prepare, fulfil, reject or record; `timeout_s` is for a prepare (0: it never lapses)."""

    stage: str
    id: str
    source: str
    destination: str
    token: str
    amount_in: Amount
    amount_out: Amount
    timeout_s: int = 0


class PacketOutcome(msgspec.Struct, frozen=True):
    """What became of a step: the ledger's name of it (`created`, `exists`, `exceeds_credits`,
    ...) and, where it was refused, why in words."""

    id: str
    stage: str
    status: str
    message: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What a command did, in one sentence, with details a line each."""

    message: str
    changed: int = 0
    details: tuple[str, ...] = ()


# --- the door ------------------------------------------------------------------------------


class EngineApi(Protocol):
    """What a desk, the command line and the socket may ask of an engine."""

    async def state(self) -> EngineState:
        """Everything as it stands now. Raises EngineLostError."""
        ...

    def updates(self, after_version: int, after_seq: int) -> AsyncIterator[Update]:
        """Patches newer than `after_version` (coalesced, at most four a second) and every event
        with a sequence above `after_seq`, once and in order. Ends only by EngineLostError or
        when the engine stops. A version of another instance counts as 0: a patch with all."""
        ...

    async def events(self, query: EventQuery) -> Sequence[EventRecord]:
        """Stored events."""
        ...

    async def history(
        self, agent: str, chain: str, asset: str, start_ms: int, end_ms: int
    ) -> History:
        """One account's history; `asset` is a symbol or a contract. Raises NoWallet."""
        ...

    async def sparklines(
        self, accounts: Sequence[int], start_ms: int, end_ms: int, buckets: int
    ) -> dict[int, tuple[int | None, ...]]:
        """Per account the balance at the end of each of `buckets` equal slices (None: unknown)."""
        ...

    async def execute(self, command: Command) -> Outcome:
        """Carry out a command. Raises CommandRefusedError and then nothing was changed."""
        ...

    async def packets(self, steps: Sequence[PacketStep]) -> Sequence[PacketOutcome]:
        """Book packets, in order; one outcome per step, given once they are durable. Raises
        LedgerAwayError."""
        ...

    async def transfers(
        self, peer: str, token: str, limit: int, before_ms: int = 0
    ) -> Sequence[TransferView]:
        """The newest transfers of a pair (before that time, if given), newest first. Raises
        LedgerAwayError."""
        ...

    async def peer_balances(self) -> Sequence[PeerView]:
        """What stands between us and every known peer, in each token, as of now. Raises
        LedgerAwayError."""
        ...

    async def trial_balance(self) -> Sequence[TrialView]:
        """The trial balance of every ledger number, taken now. Raises LedgerAwayError."""
        ...

    async def ledger_totals(self) -> Sequence[AccountTotals]:
        """Posted totals of every account of the ledger, all of one moment. Raises
        LedgerAwayError."""
        ...

    async def explain(self, peer: str, token: str, direction: str = "receivable") -> str:
        """Why a pair is or is not settling, in words. Raises LedgerAwayError."""
        ...

    async def reconcile(self, agent: str = "") -> Sequence[CustodyView]:
        """Compare chain and ledger for an agent (all, if empty), as last read. Raises NoWallet,
        LedgerAwayError."""
        ...

    async def close(self) -> None:
        """Stop (the engine) or detach (a client)."""
        ...
