"""Double-entry ledger with TigerBeetle's interface and rules: types, book, journal, backends.

What others need is named here; `TigerBeetleLedger` loads the official client only when opened.
"""

from core.ledger.embedded import EmbeddedLedger
from core.ledger.memory import Book
from core.ledger.protocol import Ledger, LedgerHealth
from core.ledger.tigerbeetle import TigerBeetleLedger
from core.ledger.types import (
    AMOUNT_MAX,
    BATCH_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountFlags,
    AccountStatus,
    AccountUnknown,
    Balance,
    CreateResult,
    FieldOutOfRange,
    LedgerClosed,
    LedgerDamaged,
    LedgerError,
    LedgerInUse,
    LedgerStopped,
    LedgerUnavailable,
    QueryFilter,
    QueryFilterFlags,
    TooManyEvents,
    Transfer,
    TransferFlags,
    TransferStatus,
)

__all__ = [
    "AMOUNT_MAX",
    "BATCH_MAX",
    "Account",
    "AccountBalance",
    "AccountFilter",
    "AccountFilterFlags",
    "AccountFlags",
    "AccountStatus",
    "AccountUnknown",
    "Balance",
    "Book",
    "CreateResult",
    "EmbeddedLedger",
    "FieldOutOfRange",
    "Ledger",
    "LedgerClosed",
    "LedgerDamaged",
    "LedgerError",
    "LedgerHealth",
    "LedgerInUse",
    "LedgerStopped",
    "LedgerUnavailable",
    "QueryFilter",
    "QueryFilterFlags",
    "TigerBeetleLedger",
    "TooManyEvents",
    "Transfer",
    "TransferFlags",
    "TransferStatus",
]
