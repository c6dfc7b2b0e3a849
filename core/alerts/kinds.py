"""The table of rule kinds: which fact each looks at, how loud it is, and where the fact stands.

A judgement has three answers, so that hysteresis is a range and not a state: above the level,
below the clear level, or between. What could not be read is between too: it proves nothing.
Pure: facts in, words out; integers only where money is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeVar

from core.alerts.types import (
    BackupsFact,
    BalanceFact,
    CustodyFact,
    Fact,
    Judgement,
    Level,
    Rule,
    RuleKind,
    SettlementObservation,
)
from core.api import ChainState, TrialView
from core.model import EndpointHealth, EndpointState, Severity, human, parse_amount

F = TypeVar(
    "F",
    BalanceFact,
    ChainState,
    EndpointHealth,
    SettlementObservation,
    TrialView,
    CustodyFact,
    BackupsFact,
)
HOUR_MS = 3_600_000

_BETWEEN = Judgement(Level.BETWEEN)


class Kind(NamedTuple):
    """One line of the table. `judge` is only given facts of the type `fact`."""

    fact: type[Fact]
    severity: Severity
    judge: Callable[[Rule, Fact], Judgement]


def _kind(fact: type[F], severity: Severity, judge: Callable[[Rule, F], Judgement]) -> Kind:
    def checked(rule: Rule, seen: Fact) -> Judgement:
        if not isinstance(seen, fact):
            raise TypeError(f"{rule.kind} does not look at {type(seen).__name__}")
        return judge(rule, seen)

    return Kind(fact, severity, checked)


@lru_cache(maxsize=4096)
def _base_units(text: str, decimals: int) -> int:
    return parse_amount(text, decimals)


def _below(rule: Rule, fact: BalanceFact) -> Judgement:
    """What can be spent (the chain's reserve left out) against the floor or an amount."""
    view, decimals = fact.view, fact.asset.decimals
    if view.amount is None or view.error:
        return _BETWEEN
    level = _base_units(rule.amount, decimals) if rule.amount else view.floor
    if not level:
        return Judgement(Level.CLEAR, "no floor is set")
    spendable = view.amount - view.reserved
    words = (
        f"{human(spendable, decimals)} {fact.asset.symbol} on {view.chain},"
        f" {'level' if rule.amount else 'floor'} {human(level, decimals)}"
    )
    if spendable < level:
        return Judgement(Level.CROSSED, words)
    if rule.clear_amount:
        clear = _base_units(rule.clear_amount, decimals)
    else:
        clear = -(-level * rule.clear // 100)
    return Judgement(Level.CLEAR, words) if spendable >= clear else _BETWEEN


def _drop(rule: Rule, fact: BalanceFact) -> Judgement:
    """The net fall over the rule's time, as a share of what stood before it."""
    view = fact.view
    change = view.change_1h if rule.within_ms == HOUR_MS else view.change_24h
    if view.amount is None or view.error or change is None:
        return _BETWEEN
    before = view.amount - change
    if before <= 0 or change >= 0:
        return Judgement(Level.CLEAR, "it falls no more")
    share = -change * 100  # of `before`
    words = (
        f"{human(view.amount, fact.asset.decimals)} {fact.asset.symbol} on {view.chain}, down"
        f" {share // before} % from {human(before, fact.asset.decimals)}"
        f" in {rule.within_ms // HOUR_MS} h"
    )
    if share >= rule.level * before:
        return Judgement(Level.CROSSED, words)
    return Judgement(Level.CLEAR, words) if share <= rule.clear * before else _BETWEEN


def _runway(rule: Rule, fact: BalanceFact) -> Judgement:
    """Time to the floor at the present rate; a rate from a few points wakes nobody."""
    view = fact.view
    if view.amount is None or view.error:
        return _BETWEEN
    if view.runway_s is None:
        return Judgement(Level.CLEAR, "it falls no more")
    if view.runway_sure not in {"fair", "good"}:
        return _BETWEEN
    words = f"{fact.asset.symbol} on {view.chain} reaches its floor in {_duration(view.runway_s)}"
    if view.runway_s <= 0:
        words = f"{fact.asset.symbol} on {view.chain} is at its floor or below, and falls"
    if view.runway_s < rule.level:
        return Judgement(Level.CROSSED, words)
    return Judgement(Level.CLEAR, words) if view.runway_s >= rule.clear else _BETWEEN


def _endpoint(rule: Rule, fact: EndpointHealth) -> Judgement:
    """Out of use with too many errors, or refused; well again when used and nearly free of them."""
    words = f"{fact.url} is {fact.state.value}" + (
        f": {fact.last_error}" if fact.last_error else ""
    )
    percent = round(fact.error_rate * 100)
    if fact.state is EndpointState.REFUSED:
        return Judgement(Level.CROSSED, words)
    if fact.state is EndpointState.BACKING_OFF and percent >= rule.level:
        return Judgement(Level.CROSSED, f"{words} ({percent} % errors)")
    if fact.state is EndpointState.READY and percent <= rule.clear:
        return Judgement(Level.CLEAR, f"{fact.url} answers")
    return _BETWEEN


_STALE = {
    "stale": Level.CROSSED,
    "lagging": Level.CROSSED,
    "live": Level.CLEAR,
}  # down: said by the other rule; starting: not known yet
_DOWN = {
    "down": Level.CROSSED,
    "live": Level.CLEAR,
    "lagging": Level.CLEAR,
}  # stale: nothing was read, so nothing answered either


def _chain(levels: dict[str, Level]) -> Callable[[Rule, ChainState], Judgement]:
    def judge(rule: Rule, fact: ChainState) -> Judgement:
        reason = f": {fact.reason}" if fact.reason else ""
        return Judgement(
            levels.get(fact.state, Level.BETWEEN), f"{fact.name} is {fact.state}{reason}"
        )

    return judge


def _settlement(rule: Rule, fact: SettlementObservation) -> Judgement:
    """A payment that is still under way and not stuck may be one whose age is not known yet."""
    if fact.stuck:
        paid = "" if fact.amount is None else f" of {fact.amount:,} {fact.token}"
        reason = f": {fact.reason}" if fact.reason else ""
        who = "from" if fact.direction == "receivable" else "to"
        return Judgement(Level.CROSSED, f"a payment{paid} {who} {fact.peer} is stuck{reason}")
    if fact.amount is None:
        return Judgement(Level.CLEAR, "no payment is under way any more")
    return _BETWEEN


def _trial(rule: Rule, fact: TrialView) -> Judgement:
    if fact.balanced:
        return Judgement(Level.CLEAR, f"{fact.name} balances")
    if not fact.confirmed:
        return _BETWEEN
    return Judgement(
        Level.CROSSED,
        f"the trial balance of {fact.name} is not zero: posted {fact.debits - fact.credits},"
        f" pending {fact.debits_pending - fact.credits_pending}",
    )


def _custody(rule: Rule, fact: CustodyFact) -> Judgement:
    view, asset = fact.view, fact.asset
    if view.state == "unexplained" and not view.booked:
        amount = human(view.unexplained, asset.decimals)
        return Judgement(
            Level.CROSSED,
            f"{asset.chain} says {amount} {asset.symbol} more than is booked"
            if view.unexplained >= 0
            else f"{asset.chain} says {amount[1:]} {asset.symbol} less than is booked",
        )
    if view.state in {"opened", "equal"} or view.booked:
        return Judgement(Level.CLEAR, "chain and ledger agree")
    return _BETWEEN


def _backup(rule: Rule, fact: BackupsFact) -> Judgement:
    """The age of the newest backup. Before the first one only trouble counts, or that no run of
    the schedule will make it: a schedule that has just begun needs its minutes."""
    view = fact.view
    if view.last_ms:
        return _overdue(rule, fact.now_ms - view.last_ms, "the last backup was made")
    if view.trouble:
        return Judgement(Level.CROSSED, f"no backup was ever made: {view.trouble}")
    if view.next_full_ms or view.next_incremental_ms:
        return _BETWEEN
    return Judgement(Level.CROSSED, "no backup was ever made, and no run is planned")


def _drill(rule: Rule, fact: BackupsFact) -> Judgement:
    """The age of the last drill; before the first one that of the oldest backup, since which a
    drill could have been made."""
    view = fact.view
    if view.last_drilled_ms:
        return _overdue(rule, fact.now_ms - view.last_drilled_ms, "the last drill was")
    if not view.backups:
        return _BETWEEN
    oldest_ms = min(backup.created_ms for backup in view.backups)
    words = "no backup was ever drilled; the oldest was made"
    return _overdue(rule, fact.now_ms - oldest_ms, words)


def _overdue(rule: Rule, age_ms: int, what: str) -> Judgement:
    age_s = max(0, age_ms) // 1000
    words = f"{what} {_duration(age_s)} ago"
    if age_s > rule.level:
        return Judgement(Level.CROSSED, words)
    return Judgement(Level.CLEAR, words) if age_s <= rule.clear else _BETWEEN


KINDS: dict[RuleKind, Kind] = {
    RuleKind.BALANCE_BELOW: _kind(BalanceFact, Severity.WARNING, _below),
    RuleKind.BALANCE_DROP: _kind(BalanceFact, Severity.WARNING, _drop),
    RuleKind.RUNWAY: _kind(BalanceFact, Severity.WARNING, _runway),
    RuleKind.ENDPOINT_DOWN: _kind(EndpointHealth, Severity.WARNING, _endpoint),
    RuleKind.CHAIN_STALE: _kind(ChainState, Severity.WARNING, _chain(_STALE)),
    RuleKind.CHAIN_DOWN: _kind(ChainState, Severity.PROBLEM, _chain(_DOWN)),
    RuleKind.SETTLEMENT_STUCK: _kind(SettlementObservation, Severity.PROBLEM, _settlement),
    RuleKind.TRIAL_BALANCE: _kind(TrialView, Severity.PROBLEM, _trial),
    RuleKind.CUSTODY_UNEXPLAINED: _kind(CustodyFact, Severity.PROBLEM, _custody),
    # A warning: by its level it is days late already, and can wait for the morning.
    RuleKind.BACKUP_OVERDUE: _kind(BackupsFact, Severity.WARNING, _backup),
    RuleKind.DRILL_OVERDUE: _kind(BackupsFact, Severity.WARNING, _drill),
}


def _duration(seconds: int) -> str:
    """Two units, as an operator says it: `2d4h`, `3h50m`, `12m`."""
    minutes = seconds // 60
    if minutes < 1:
        return "less than a minute"
    if minutes >= 24 * 60:
        return f"{minutes // 1440}d{minutes % 1440 // 60}h"
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m"
