"""A whole database at once: streamed out in one read transaction, written anew in one.

For backups: rows go by natural names, in the order of those names by code point, and never by row
number. `WholeReader` may read beside the engine that writes. Events, history and polls are not in
it; a new database begins its history with the balances it was given. All of it blocks.
"""

from core.store.whole.continuing import continue_from
from core.store.whole.reader import WholeReader
from core.store.whole.rows import (
    AddressRow,
    AgentRow,
    AssetRow,
    BalanceRow,
    ChainRow,
    LifecycleRow,
    LimitRow,
    VolumeRow,
)
from core.store.whole.writer import WholeWriter

__all__ = [
    "AddressRow",
    "AgentRow",
    "AssetRow",
    "BalanceRow",
    "ChainRow",
    "LifecycleRow",
    "LimitRow",
    "VolumeRow",
    "WholeReader",
    "WholeWriter",
    "continue_from",
]
