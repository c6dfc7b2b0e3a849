"""The rules that the settings ask for, and those that hold when they ask for none.

The settings were checked when they were read; here their words become numbers. There is no
default for a drop: which fall is usual differs from fleet to fleet.
"""

from __future__ import annotations

from core.alerts.types import Rule, RuleKind
from core.config import AlertSettings, Duration, Settings
from core.config.alert_checks import FLOOR, RULE_FORMS, parse_percent

_DEFAULT_KINDS = tuple(kind for kind in RuleKind if kind is not RuleKind.BALANCE_DROP)


def configured_rules(settings: Settings) -> tuple[Rule, ...]:
    """The rules in force. Without any [[alert]]: one of each kind but the drop, over everything,
    the runway as short as [problems] says."""
    if settings.alert is not None:
        return tuple(rule_of(alert) for alert in settings.alert)
    levels = {RuleKind.RUNWAY: str(settings.problems.runway)}
    return tuple(
        rule_of(AlertSettings(rule=kind.value, level=levels.get(kind, "")))
        for kind in _DEFAULT_KINDS
        if kind is not RuleKind.RUNWAY or settings.problems.runway > 0
    )


def rule_of(alert: AlertSettings) -> Rule:
    """One checked [[alert]] as a rule."""
    form = RULE_FORMS[alert.rule]
    level_text, clear_text = alert.level or form.level, alert.clear or form.clear
    level = clear = 0
    amount = clear_amount = ""
    if form.form == "amount":
        amount = "" if level_text == FLOOR else level_text
        if "%" in clear_text:
            clear = parse_percent(clear_text)
        else:
            clear_amount = clear_text
    elif form.form == "percent":
        level = parse_percent(level_text)
        clear = min(level, parse_percent(clear_text)) if clear_text else level // 2
    elif form.form == "duration":
        level = Duration.parse(level_text) // 1000
        spare = level // 2 if form.rising else level * 5 // 4
        clear = Duration.parse(clear_text) // 1000 if clear_text else spare
    return Rule(
        name=alert.name or alert.rule,
        kind=RuleKind(alert.rule),
        groups=frozenset(alert.groups),
        chains=frozenset(alert.chains),
        assets=frozenset(symbol.casefold() for symbol in alert.assets),
        level=level,
        clear=clear,
        amount=amount,
        clear_amount=clear_amount,
        within_ms=alert.within or 86_400_000,
    )
