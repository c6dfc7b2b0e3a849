"""The states of a settlement, as a table, and the one function that walks it.

    IDLE         --threshold exceeded-->   PENDING       and says so, once
    PENDING      --back at or below-->     IDLE
    PENDING      --begin-->                IN_PROGRESS   a pending transfer in the ledger
    IN_PROGRESS  --complete-->             IDLE          posted; looked at again at once
    IN_PROGRESS  --fail-->                 PENDING       voided; tried again after a while

"Back at or below" means the re-arm level, which is the threshold unless it is set lower: a
balance that swings around its threshold changes nothing until it has been down there. What a
cell does not hold changes nothing. For an observation that is the usual case; for a command it
is an error, since somebody believes in a state that is not there.
"""

from __future__ import annotations

from enum import StrEnum


class SettlementState(StrEnum):
    """Where settling one pair in one direction stands."""

    IDLE = "IDLE"
    PENDING = "SETTLEMENT_PENDING"
    IN_PROGRESS = "SETTLEMENT_IN_PROGRESS"


class Cause(StrEnum):
    """What can move it. The first two are observed, the others commanded."""

    EXCEEDED = "threshold exceeded"
    BACK = "balance back at or below"
    BEGIN = "mark_in_progress"
    COMPLETE = "mark_completed"
    FAIL = "mark_failed"


COMMANDS = frozenset({Cause.BEGIN, Cause.COMPLETE, Cause.FAIL})

TABLE: dict[SettlementState, dict[Cause, SettlementState]] = {
    SettlementState.IDLE: {
        Cause.EXCEEDED: SettlementState.PENDING,
    },
    SettlementState.PENDING: {
        Cause.BACK: SettlementState.IDLE,
        Cause.BEGIN: SettlementState.IN_PROGRESS,
    },
    SettlementState.IN_PROGRESS: {
        Cause.COMPLETE: SettlementState.IDLE,
        Cause.FAIL: SettlementState.PENDING,
    },
}


def walk(state: SettlementState, cause: Cause) -> SettlementState | None:
    """The state that follows; None where the table has no such cell."""
    return TABLE[state].get(cause)


def wanted(cause: Cause) -> SettlementState:
    """Where a cause leads from the state in which it is legal."""
    return next(cells[cause] for cells in TABLE.values() if cause in cells)


def legal_in(cause: Cause) -> SettlementState:
    """The state in which a cause is legal."""
    return next(state for state, cells in TABLE.items() if cause in cells)
