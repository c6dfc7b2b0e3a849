"""The heart: a rule, an observation and the alert that is open make a decision.

The decision is a table over where the fact stands and whether an alert is open; nothing else
enters it, so a crossing opens one alert however often it is seen.
"""

from __future__ import annotations

from core.alerts.kinds import KINDS
from core.alerts.types import Action, Decision, Judgement, Level, Observation, Rule
from core.store.protocol import AlertRow

# (where the fact stands, whether an alert is open) -> what becomes of it
TABLE: dict[tuple[Level, bool], Action] = {
    (Level.CROSSED, False): Action.OPEN,
    (Level.CROSSED, True): Action.KEEP,
    (Level.BETWEEN, False): Action.NOTHING,
    (Level.BETWEEN, True): Action.KEEP,
    (Level.CLEAR, False): Action.NOTHING,
    (Level.CLEAR, True): Action.CLOSE,
}

GONE = Judgement(Level.CLEAR, "it is followed no more")
NOT_COVERED = Judgement(Level.CLEAR, "the rule covers it no more")


def decide(rule: Rule, seen: Observation, alert: AlertRow | None) -> Decision:
    """What becomes of the alert of `rule` for the subject of `seen`; `alert` is the one open."""
    judgement = judge(rule, seen)
    return Decision(TABLE[judgement.level, alert is not None], judgement.words)


def judge(rule: Rule, seen: Observation) -> Judgement:
    """Where the observation stands. Its fact must be of the type that the rule looks at."""
    if seen.fact is None:
        return GONE
    if not rule.covers(seen):
        return NOT_COVERED
    return KINDS[rule.kind].judge(rule, seen.fact)
