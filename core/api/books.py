"""Ledger, custody and settlements as an engine shows them."""

from __future__ import annotations

import msgspec

from core.model import Amount


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
