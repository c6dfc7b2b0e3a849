"""Settlement: thresholds, the state machine, the monitor, and who acts on what it asks for.

It speaks accounting, ledger and store, and signs no chain transaction.
"""

from core.settlement.engines import (
    ManualEngine,
    SettlementEngine,
    SimulatedEngine,
    WebhookEngine,
)
from core.settlement.listeners import Listener
from core.settlement.monitor import SettlementMonitor
from core.settlement.states import TABLE, Cause, SettlementState, walk
from core.settlement.thresholds import (
    Level,
    Sides,
    Threshold,
    ThresholdRules,
    Unmonitored,
)
from core.settlement.types import (
    Answer,
    IllegalTransition,
    MonitorNotStopped,
    SettlementError,
    SettlementKey,
    SettlementNotPossible,
    SettlementOrder,
    SettlementView,
    ThresholdRefused,
    Verdict,
    idempotency_key,
    transfer_id,
)

__all__ = [
    "TABLE",
    "Answer",
    "Cause",
    "IllegalTransition",
    "Level",
    "Listener",
    "ManualEngine",
    "MonitorNotStopped",
    "SettlementEngine",
    "SettlementError",
    "SettlementKey",
    "SettlementMonitor",
    "SettlementNotPossible",
    "SettlementOrder",
    "SettlementState",
    "SettlementView",
    "Sides",
    "SimulatedEngine",
    "Threshold",
    "ThresholdRefused",
    "ThresholdRules",
    "Unmonitored",
    "Verdict",
    "WebhookEngine",
    "idempotency_key",
    "transfer_id",
    "walk",
]
