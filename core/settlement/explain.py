"""Why a pair is or is not settling, in sentences. Pure."""

from __future__ import annotations

from core.settlement.states import SettlementState
from core.settlement.types import SettlementView


def explain(view: SettlementView, stuck_after_ms: int) -> str:
    """Balance against threshold, state and since when, what is waited for, and what to do."""
    what = f"{view.direction.value.capitalize()} {view.token} with peer {view.peer}"
    parts = [f"{what}: {view.state}, {span(view.age_ms)}."]
    if view.unmonitored:
        parts = [f"{what}: {view.state}, not monitored: {view.unmonitored}."]
    elif view.due is None:
        parts.append("Its balance has not been read yet.")
    else:
        parts.append(_balance(view))
    if view.trouble:
        parts.append(f"Last trouble: {view.trouble}.")
    if view.state is SettlementState.PENDING:
        parts.append(_pending(view))
    elif view.state is SettlementState.IN_PROGRESS:
        parts.append(_in_progress(view, stuck_after_ms))
    if view.settled_ms:
        parts.append(f"Last settled: {view.settled_amount}.")
    return " ".join(parts)


def _balance(view: SettlementView) -> str:
    due, at = view.due or 0, view.threshold or 0
    if due > at:
        words = f"{due} is due, {due - at} above the threshold {at}."
    elif due == at:
        words = f"{due} is due, exactly the threshold; only more than it asks for settlement."
    else:
        words = f"{due} is due, {at - due} short of the threshold {at}."
    if view.state is SettlementState.PENDING and due <= at:
        words += f" It stays pending until {view.rearm} or less is due."
    return words


def _pending(view: SettlementView) -> str:
    aim = max(0, (view.due or 0) - view.settle_to)
    words = f"Settlement {view.epoch} of {aim} is required (key {view.idempotency_key})"
    if view.attempt:
        words += f", {view.attempt} {'attempt' if view.attempt == 1 else 'attempts'} failed"
        words += f" ({view.reason})" if view.reason else ""
    if view.retry_ms:
        words += ", the engine is asked again after a pause"
    return words + "; start it, or wait until the balance falls."


def _in_progress(view: SettlementView, stuck_after_ms: int) -> str:
    words = f"{view.amount} is under way, begun by {view.begun_by} (key {view.idempotency_key})"
    if not view.stuck:
        return words + "; complete it when it is paid, fail it when it is not."
    return (
        f"{words}. STUCK: under way for longer than {span(stuck_after_ms)}. Ask whoever pays by"
        " that key, then complete or fail it; it never ends by itself, since it could be paid"
        " twice."
    )


def span(ms: int) -> str:
    """A time span in its largest whole unit and the next: `2 h 5 min`."""
    seconds = ms // 1000
    for size, name, below, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min")):
        if seconds >= size:
            rest = seconds % size // below
            return f"{seconds // size} {name}" + (f" {rest} {part}" if rest else "")
    if seconds >= 60:
        rest = seconds % 60
        return f"{seconds // 60} min" + (f" {rest} s" if rest else "")
    return f"{seconds} s"
