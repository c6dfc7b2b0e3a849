"""How loud a row is, as a table of rules: the first that applies gives severity and words.

Floors and targets are resolved here too: what was set for the agent, else for its group, else
for the asset. Pure: the tracker says when to look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from sys import intern
from typing import NamedTuple

from core.model import Agent, Amount, Asset, Severity
from core.store.protocol import Limit


class Standing(NamedTuple):
    """What the rules look at. Amounts in base units; `unread_intervals` are whole intervals since
    the account was last read, while an engine ran to read it."""

    amount: int | None
    reserved: int
    floor: int | None
    is_native: bool
    unread_intervals: int
    unread_limit: int
    runway_s: int | None
    runway_sure: str
    runway_warning_s: int

    @property
    def spendable(self) -> int:
        """The amount less what the chain does not let the owner spend."""
        return (self.amount or 0) - self.reserved

    @property
    def matters(self) -> bool:
        """Whether having nothing is a fault: a floor above 0 was set, or it is the coin that pays
        the fees. A floor of 0 says that empty is fine."""
        return self.is_native if self.floor is None else self.floor > 0


class Rule(NamedTuple):
    """One line of the table."""

    severity: Severity
    applies: Callable[[Standing], bool]
    words: Callable[[Standing], str]


RULES: tuple[Rule, ...] = (
    Rule(
        Severity.PROBLEM,
        lambda s: s.unread_intervals >= s.unread_limit,
        lambda s: f"unread for {s.unread_limit} intervals",
    ),
    Rule(
        Severity.PROBLEM,
        lambda s: s.amount == 0 and s.matters,
        lambda _: "empty",
    ),
    Rule(
        Severity.PROBLEM,
        lambda s: s.amount is not None and s.matters and s.spendable <= 0,
        lambda _: "nothing above the reserve",
    ),
    Rule(
        Severity.WARNING,
        lambda s: s.amount is not None and s.floor is not None and s.spendable < s.floor,
        lambda _: "below floor",
    ),
    Rule(
        Severity.WARNING,
        # A rate from a few points is shown, but wakes nobody.
        lambda s: (
            s.runway_s is not None
            and s.runway_s < s.runway_warning_s
            and s.runway_sure in ("fair", "good")
        ),
        lambda s: f"runway {duration(s.runway_s or 0)}",
    ),
)


def judge(standing: Standing) -> tuple[Severity, str]:
    """Severity and the words that say why ("" when OK)."""
    for rule in RULES:
        if rule.applies(standing):
            return rule.severity, intern(rule.words(standing))  # many rows say the same
    return Severity.OK, ""


def duration(seconds: int) -> str:
    """Two units at most, as an operator says it: `2d4h`, `3h50m`, `12m`, `40s`."""
    minutes = seconds // 60
    if minutes < 1:
        return f"{seconds}s"
    if minutes >= 24 * 60:
        return f"{minutes // 1440}d{minutes % 1440 // 60}h"
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{minutes}m"


class Limits:
    """Floors and targets by agent, else group, else asset; each of the two on its own."""

    def __init__(self, limits: Iterable[Limit] = ()) -> None:
        self._by_key = {(limit.scope, limit.key, limit.asset): limit for limit in limits}

    def of(self, agent: Agent, asset: Asset) -> tuple[Amount | None, Amount | None]:
        """(floor, target) in base units; None where nobody set one."""
        floor, target = asset.floor, asset.target
        for scope, key in (("group", agent.group), ("agent", agent.id)):
            limit = self._by_key.get((scope, key, asset.id)) if key else None
            if limit is not None:
                floor = floor if limit.floor is None else Amount(limit.floor)
                target = target if limit.target is None else Amount(limit.target)
        return floor, target
