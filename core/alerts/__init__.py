"""Alerts: rules over what the engine sees, once per crossing, kept until they are well again.

`decide` is the pure heart, `AlertKeeper` keeps the open ones, `event_webhook` sends them out.
"""

from core.alerts.configured import configured_rules, rule_of
from core.alerts.delivery import ALERT_TYPES, event_webhook, webhook_secret
from core.alerts.keeper import AlertKeeper
from core.alerts.observations import (
    backups_seen,
    balance_gone,
    balance_seen,
    chain_seen,
    custody_seen,
    endpoints_seen,
    settlement_of,
    settlement_seen,
    trial_seen,
)
from core.alerts.rules import decide
from core.alerts.types import (
    Action,
    AlertRefusedError,
    Decision,
    Observation,
    Rule,
    RuleKind,
    SettlementObservation,
)

__all__ = [
    "ALERT_TYPES",
    "Action",
    "AlertKeeper",
    "AlertRefusedError",
    "Decision",
    "Observation",
    "Rule",
    "RuleKind",
    "SettlementObservation",
    "backups_seen",
    "balance_gone",
    "balance_seen",
    "chain_seen",
    "configured_rules",
    "custody_seen",
    "decide",
    "endpoints_seen",
    "event_webhook",
    "rule_of",
    "settlement_of",
    "settlement_seen",
    "trial_seen",
    "webhook_secret",
]
