"""The next row and its events for each thing that can happen to a settlement. Pure.

One function per happening; each answers the row that is to replace the one given, and what is
published with it in the same transaction.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from core.accounting import Direction
from core.events import (
    Event,
    SettlementCompleted,
    SettlementFailed,
    SettlementRequired,
    SettlementStateChanged,
    SettlementTriggered,
)
from core.model import Amount
from core.settlement.states import Cause, SettlementState, walk
from core.settlement.thresholds import Threshold
from core.settlement.types import SettlementKey, idempotency_key
from core.store.protocol import SettlementRow

# Looked up ten thousand times a sweep, where calling the enumeration costs four times as much.
_SIDES = {side.value: side for side in Direction}
_STATES = {state.value: state for state in SettlementState}


class Change(NamedTuple):
    """A row to write and the events to store with it."""

    row: SettlementRow
    events: tuple[Event, ...] = ()


class Node(NamedTuple):
    """Who settles: the node, and the generation of its data (a restored node must not repeat the
    keys it gave out after the backup)."""

    id: str
    generation: str


def key_of(row: SettlementRow) -> SettlementKey:
    """Whose row it is."""
    return SettlementKey(row.peer, row.token, _SIDES[row.direction])


def state_of(row: SettlementRow) -> SettlementState:
    """The state last published."""
    return _STATES[row.told]


def triggered(
    row: SettlementRow, node: Node, due: int, threshold: Threshold, now_ms: int
) -> Change:
    """The balance went above its threshold: a new epoch."""
    epoch = row.epoch + 1
    key = idempotency_key(node.id, node.generation, key_of(row), epoch)
    required = SettlementRequired(
        timestamp=now_ms,
        peer_id=row.peer,
        token_id=row.token,
        current_balance=Amount(due),
        threshold=Amount(threshold.at),
        exceeds_by=Amount(due - threshold.at),
        direction=row.direction,
    )
    told = SettlementTriggered(
        **msgspec.structs.asdict(required), node_id=node.id, idempotency_key=key
    )
    return _moved(
        row,
        Cause.EXCEEDED,
        f"{due} exceeds the threshold {threshold.at} by {due - threshold.at}",
        now_ms,
        required,
        told,
        epoch=epoch,
        attempt=0,
        armed=False,
        key=key,
        amount=None,
        begun_by="",
        delivered=False,
        retry_ms=0,
    )


def went_back(row: SettlementRow, reason: str, now_ms: int) -> Change:
    """Nothing is due any more: the next crossing counts again."""
    return _moved(row, Cause.BACK, reason, now_ms, armed=True)


def meant(row: SettlementRow, amount: int, by: str, now_ms: int) -> Change:
    """A payment is about to be held in the ledger. Written down first, so that a crash in
    between is carried out and not forgotten."""
    return _next(row, amount=amount, begun_by=by, delivered=False, changed_ms=now_ms)


def begun(row: SettlementRow, now_ms: int) -> Change:
    """The ledger holds the payment."""
    since = row.changed_ms
    change = _moved(row, Cause.BEGIN, f"begun by {row.begun_by}: {row.amount}", now_ms)
    return change._replace(row=msgspec.structs.replace(change.row, changed_ms=since))


def not_held(row: SettlementRow) -> Change:
    """The ledger refused to hold it, and its id with it: the next attempt has another."""
    return _next(row, attempt=row.attempt + 1, amount=None, begun_by="")


def delivered(row: SettlementRow) -> Change:
    """The engine took the order, and reports later."""
    return _next(row, delivered=True)


def completed(row: SettlementRow, amount: int, now_ms: int) -> Change:
    """The payment was posted. The next crossing counts again, also if it is this balance."""
    return _moved(
        row,
        Cause.COMPLETE,
        f"{amount} of {row.amount} settled",
        now_ms,
        SettlementCompleted(
            timestamp=now_ms,
            peer_id=row.peer,
            token_id=row.token,
            direction=row.direction,
            amount=Amount(amount),
            begun=Amount(row.amount or 0),
            idempotency_key=row.key,
        ),
        armed=True,
        amount=None,
        settled_ms=now_ms,
        settled_amount=amount,
    )


def failed(row: SettlementRow, reason: str, now_ms: int, retry_ms: int) -> Change:
    """The payment was voided; another attempt may be made from `retry_ms` on."""
    return _moved(
        row,
        Cause.FAIL,
        reason,
        now_ms,
        SettlementFailed(
            timestamp=now_ms,
            peer_id=row.peer,
            token_id=row.token,
            direction=row.direction,
            amount=Amount(row.amount or 0),
            idempotency_key=row.key,
            attempt=row.attempt,
            reason=reason,
        ),
        attempt=row.attempt + 1,
        amount=None,
        begun_by="",
        delivered=False,
        retry_ms=retry_ms,
    )


def _moved(
    row: SettlementRow,
    cause: Cause,
    reason: str,
    now_ms: int,
    *events: Event,
    **fields: object,
) -> Change:
    """Walk the table and publish the step."""
    state = walk(state_of(row), cause)
    assert state is not None, f"{row.told} has no {cause}"
    step = SettlementStateChanged(
        timestamp=now_ms,
        peer_id=row.peer,
        token_id=row.token,
        direction=row.direction,
        old_state=row.told,
        new_state=state.value,
        reason=reason,
    )
    change = _next(row, told=state.value, changed_ms=now_ms, reason=reason, **fields)
    return change._replace(events=(*events, step))


def _next(row: SettlementRow, **fields: object) -> Change:
    return Change(msgspec.structs.replace(row, version=row.version + 1, **fields))
