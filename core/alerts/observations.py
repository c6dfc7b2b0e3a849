"""Observations from the views that a desk is shown.

Subjects are stable over restarts: account ids, names of chains, masked URLs, pairs. `gone` says
that a subject is followed no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from core.alerts.types import (
    BackupsFact,
    BalanceFact,
    CustodyFact,
    Observation,
    SettlementObservation,
)
from core.api import (
    BackupsView,
    BalanceView,
    ChainState,
    CustodyView,
    SettlementPairView,
    TrialView,
)
from core.model import Asset, EndpointHealth


def balance_seen(view: BalanceView, asset: Asset, group: str) -> Observation:
    """A row of the fleet; `group` is its agent's."""
    return Observation(
        subject=f"balance/{view.account}",
        about=view.agent,
        fact=BalanceFact(view, asset),
        group=group,
        chain=view.chain,
        asset=asset.symbol,
        account=view.account,
    )


def custody_seen(view: CustodyView, row: BalanceView, asset: Asset, group: str) -> Observation:
    """How chain and ledger compare for the row."""
    return Observation(
        subject=f"custody/{view.account}",
        about=row.agent,
        fact=CustodyFact(view, asset),
        group=group,
        chain=row.chain,
        asset=asset.symbol,
        account=view.account,
    )


def chain_seen(state: ChainState) -> Observation:
    """A chain."""
    return Observation(f"chain/{state.name}", state.name, state, chain=state.name)


def endpoints_seen(endpoints: Sequence[EndpointHealth]) -> list[Observation]:
    """All endpoints, in their configured order. Two that look alike because their keys are
    masked are told apart by that order."""
    alike: Counter[tuple[str, str]] = Counter()
    seen = []
    for health in endpoints:
        alike[health.chain, health.url] += 1
        number = alike[health.chain, health.url]
        subject = f"endpoint/{health.chain}/{health.url}" + (f"#{number}" if number > 1 else "")
        seen.append(Observation(subject, health.chain, health, chain=health.chain))
    return seen


def trial_seen(view: TrialView) -> Observation:
    """One ledger's trial balance."""
    return Observation(f"trial/{view.ledger}", view.name, view)


def settlement_seen(settlement: SettlementObservation) -> Observation:
    """A settlement of a pair in one direction."""
    pair = f"{settlement.peer}/{settlement.token}"
    return Observation(
        f"settlement/{settlement.direction}/{pair}", pair, settlement, asset=settlement.token
    )


def settlement_of(view: SettlementPairView) -> SettlementObservation:
    """The board's row as an observation."""
    return SettlementObservation(
        peer=view.peer,
        token=view.token,
        direction=view.direction,
        stuck=view.stuck,
        amount=view.amount if view.state == "SETTLEMENT_IN_PROGRESS" else None,
        since_ms=view.since_ms,
        reason=view.trouble,  # why it was begun is no reason why it is stuck
    )


def backups_seen(view: BackupsView, now_ms: int) -> list[Observation]:
    """The backups, to be looked at again as time goes by. None while they are off: that opens
    nothing, and it makes no backup, so it closes nothing either."""
    if view.off:
        return []
    return [Observation("backups", "backups", BackupsFact(view, now_ms))]


def balance_gone(account: int) -> list[Observation]:
    """A row that left the fleet: its alerts close."""
    return [
        Observation(f"{what}/{account}", "", None, account=account)
        for what in ("balance", "custody")
    ]
