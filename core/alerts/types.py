"""What the alerts room speaks in: rules, observations of facts, and decisions.

An observation is one fact as `core.api` states it, with what names it: `subject` for ever, the
rest for filters and for people. A rule says which facts it looks at and at which levels.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from core.api import BackupsView, BalanceView, ChainState, CustodyView, TrialView
from core.model import Asset, BursarError, EndpointHealth


class AlertRefusedError(BursarError):
    """An alert cannot be acknowledged or silenced as asked; nothing was changed."""


class RuleKind(StrEnum):
    """What a rule watches; the words of `[[alert]] rule`."""

    BALANCE_BELOW = "balance-below"
    BALANCE_DROP = "balance-drop"
    RUNWAY = "runway"
    ENDPOINT_DOWN = "endpoint-down"
    CHAIN_STALE = "chain-stale"
    CHAIN_DOWN = "chain-down"
    SETTLEMENT_STUCK = "settlement-stuck"
    TRIAL_BALANCE = "trial-balance"
    CUSTODY_UNEXPLAINED = "custody-unexplained"
    BACKUP_OVERDUE = "backup-overdue"
    DRILL_OVERDUE = "drill-overdue"


class Rule(msgspec.Struct, frozen=True):
    """A rule ready to be applied; empty filters match everything (assets by symbol, folded).

    `level` and `clear` are percent (drop, error rate, and `clear` of a balance) or seconds
    (runway, backup, drill). For BALANCE_BELOW `amount` is the level as a decimal text, "" for the
    row's own floor, and `clear_amount` the decimal at which it closes, "" for `clear` percent of
    the level.
    """

    name: str
    kind: RuleKind
    groups: frozenset[str] = frozenset()
    chains: frozenset[str] = frozenset()
    assets: frozenset[str] = frozenset()
    level: int = 0
    clear: int = 0
    amount: str = ""
    clear_amount: str = ""
    within_ms: int = 86_400_000

    def covers(self, seen: Observation) -> bool:
        """Whether its filters let the observation through."""
        return (
            (not self.groups or seen.group in self.groups)
            and (not self.chains or seen.chain in self.chains)
            and (not self.assets or seen.asset.casefold() in self.assets)
        )


class BalanceFact(msgspec.Struct, frozen=True, gc=False):
    """A balance and the asset it is of."""

    view: BalanceView
    asset: Asset


class CustodyFact(msgspec.Struct, frozen=True, gc=False):
    """How chain and ledger compare for a balance of an asset."""

    view: CustodyView
    asset: Asset


class SettlementObservation(msgspec.Struct, frozen=True, gc=False):
    """A settlement of a pair. `amount` is the payment under way, None where there is none;
    `stuck` that it is older than it should be, which is the settlement room's to say."""

    peer: str
    token: str
    direction: str
    stuck: bool
    amount: int | None = None
    since_ms: int = 0
    reason: str = ""


class BackupsFact(msgspec.Struct, frozen=True, gc=False):
    """What is known of the backups at a moment (ms): they age without anything happening."""

    view: BackupsView
    now_ms: int


Fact = (
    BalanceFact
    | ChainState
    | EndpointHealth
    | SettlementObservation
    | TrialView
    | CustodyFact
    | BackupsFact
)


class Observation(msgspec.Struct, frozen=True, gc=False):
    """A fact, and of what. `fact` None: the subject is followed no more."""

    subject: str
    about: str
    fact: Fact | None
    group: str = ""
    chain: str = ""
    asset: str = ""
    account: int = 0


class Level(StrEnum):
    """Where a fact stands against a rule."""

    CROSSED = "crossed"  # an alert opens, or stays
    BETWEEN = "between"  # within the hysteresis, or not known: all stays as it is
    CLEAR = "clear"  # an alert closes


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """The level, and in words what was seen."""

    level: Level
    words: str = ""


class Action(StrEnum):
    """What becomes of an alert."""

    OPEN = "open"
    KEEP = "keep"
    CLOSE = "close"
    NOTHING = "nothing"


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The action, and why: the message of an alert that opens, the reason of one that closes."""

    action: Action
    words: str = ""
