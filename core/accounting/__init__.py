"""Accounting over the ledger: peers, packets, settlements and limits; and custody of agents.

It speaks ledger and knows no chain: what chains say is handed in as plain readings.
"""

from core.accounting.chart import ChartEntry, chart_of
from core.accounting.custody import Custody
from core.accounting.custody_types import (
    ChainReading,
    ChainRules,
    Finding,
    FindingState,
    Holding,
    Movement,
    MovementResult,
    Policy,
)
from core.accounting.ids import CODES, Kind, account_id, digest_id
from core.accounting.limits import NO_LIMIT, CreditLimits
from core.accounting.manager import AccountManager
from core.accounting.settlements import Settlements
from core.accounting.touched import TouchedReader
from core.accounting.trial import TrialBalance
from core.accounting.types import (
    AccountingError,
    AccountMismatch,
    CustodyRefused,
    Direction,
    LimitChange,
    LimitCheck,
    LimitRefused,
    Packet,
    PacketResult,
    Pair,
    PeerAccounts,
    PeerBalance,
    SettlementRefused,
    SettlementResult,
    Stage,
    Step,
    UnknownToken,
)

__all__ = [
    "CODES",
    "NO_LIMIT",
    "AccountManager",
    "AccountMismatch",
    "AccountingError",
    "ChainReading",
    "ChainRules",
    "ChartEntry",
    "CreditLimits",
    "Custody",
    "CustodyRefused",
    "Direction",
    "Finding",
    "FindingState",
    "Holding",
    "Kind",
    "LimitChange",
    "LimitCheck",
    "LimitRefused",
    "Movement",
    "MovementResult",
    "Packet",
    "PacketResult",
    "Pair",
    "PeerAccounts",
    "PeerBalance",
    "Policy",
    "SettlementRefused",
    "SettlementResult",
    "Settlements",
    "Stage",
    "Step",
    "TouchedReader",
    "TrialBalance",
    "UnknownToken",
    "account_id",
    "chart_of",
    "digest_id",
]
