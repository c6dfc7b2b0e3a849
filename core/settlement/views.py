"""One pair as a board shows it, made of row, balance and threshold. Pure."""

from __future__ import annotations

from core.accounting import PeerBalance
from core.settlement.observer import due_of, is_stuck
from core.settlement.rows import state_of
from core.settlement.thresholds import Threshold, Unmonitored
from core.settlement.types import SettlementKey, SettlementView
from core.store.protocol import SettlementRow


def view_of(
    key: SettlementKey,
    row: SettlementRow,
    balance: PeerBalance | None,
    threshold: Threshold | Unmonitored,
    trouble: str,
    now_ms: int,
    stuck_after_ms: int,
) -> SettlementView:
    """The view at `now_ms`."""
    levels = threshold if isinstance(threshold, Threshold) else None
    return SettlementView(
        peer=key.peer,
        token=key.token,
        direction=key.direction,
        state=state_of(row),
        balance=balance,
        due=None if balance is None else due_of(balance, key.direction),
        threshold=levels.at if levels else None,
        rearm=levels.rearm if levels else None,
        settle_to=levels.settle_to if levels else 0,
        unmonitored=threshold.reason if isinstance(threshold, Unmonitored) else "",
        epoch=row.epoch,
        attempt=row.attempt,
        idempotency_key=row.key,
        amount=row.amount,
        begun_by=row.begun_by,
        delivered=row.delivered,
        since_ms=row.changed_ms,
        age_ms=max(0, now_ms - row.changed_ms) if row.changed_ms else 0,
        stuck=is_stuck(row, now_ms, stuck_after_ms),
        retry_ms=0 if row.armed else row.retry_ms,
        reason=row.reason,
        trouble=trouble,
        settled_ms=row.settled_ms,
        settled_amount=row.settled_amount,
    )
