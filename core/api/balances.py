"""Chains, balances, history, events and alerts as an engine shows them."""

from __future__ import annotations

import msgspec

from core.model import Amount, ChainKind, Consistency, Severity


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
