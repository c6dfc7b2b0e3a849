"""The scripted engine's settlements: every state, stuck, tried in vain, unmonitored, both sides.

`walked` answers a command as the engine would: by the state's table, and with an error that names
the state where the command is not legal.
"""

from __future__ import annotations

import msgspec

from core.api import (
    CommandRefusedError,
    CompleteSettlement,
    FailSettlement,
    PeerView,
    SetThreshold,
    SettlementHealth,
    SettlementPairView,
    StartSettlement,
)
from core.model import Amount
from tests.desk.scripted_ledger import HOSTILE_PEER, NOW_MS, WIDE_PEER

MINUTE_MS = 60_000
KEY = "5d3c6f0b9a7e4c1d8f2a6b0c4e8d1f{:02x}"
IDLE, PENDING, IN_PROGRESS = "IDLE", "SETTLEMENT_PENDING", "SETTLEMENT_IN_PROGRESS"
UNMONITORED = "no threshold is configured for the token, the peer or by default"

SettlementCommand = StartSettlement | CompleteSettlement | FailSettlement | SetThreshold


def health() -> SettlementHealth:
    """A monitor that runs; an operator settles."""
    return SettlementHealth(True, "manual", sweeps=122)


def _view(
    peer: str, token: str, state: str, due: int | None, threshold: int | None, *,
    ago_min: int = 0, direction: str = "receivable", rate: int | None = None,
    eta_s: int | None = None,
) -> SettlementPairView:  # fmt: skip
    return SettlementPairView(
        peer,
        token,
        direction,
        state,
        due=None if due is None else Amount(due),
        threshold=None if threshold is None else Amount(threshold),
        rearm=None if threshold is None else Amount(threshold),
        since_ms=NOW_MS - ago_min * MINUTE_MS if ago_min else 0,
        rate_per_minute=None if rate is None else Amount(rate),
        eta_s=eta_s,
    )


def settlements() -> tuple[SettlementPairView, ...]:
    """Ten rows over the scripted peers."""
    edit = msgspec.structs.replace
    hour_ms = 60 * MINUTE_MS
    return (
        edit(_view("connector-a", "USD", IDLE, 412_000, 700_000, rate=12_000, eta_s=1_440),
             settled_ms=NOW_MS - 26 * hour_ms, settled_amount=Amount(700_500)),
        edit(_view("connector-b", "USD", PENDING, 861_250, 800_000, ago_min=2, rate=30_000),
             idempotency_key=KEY.format(1)),
        edit(_view("connector-b", "EUR", IDLE, 0, 300_000),
             settled_ms=NOW_MS - 2 * hour_ms, settled_amount=Amount(1_200_000)),
        edit(_view("market-east", "USD", PENDING, 500_000, 400_000, ago_min=14, rate=0),
             idempotency_key=KEY.format(2), attempt=1, retry_ms=NOW_MS + 30_000,
             settle_to=Amount(50_000), reason="bank closed",
             trouble="https://pay.example answered 500"),
        edit(_view("market-west", "EUR", IN_PROGRESS, 0, 450_000, ago_min=41),
             idempotency_key=KEY.format(3), amount=Amount(540_000), begun_by="operator",
             stuck=True),
        edit(_view("settler", "USD", IN_PROGRESS, 0, 250_000, ago_min=1),
             idempotency_key=KEY.format(4), amount=Amount(300_000), begun_by="webhook"),
        edit(_view("settler", "USD", IN_PROGRESS, 200_000, 40_000, ago_min=3,
                   direction="payable"),
             idempotency_key=KEY.format(5), amount=Amount(50_000), begun_by="operator"),
        edit(_view("relay-07", "USD", IDLE, 2_500_000_000_000_000, None),
             unmonitored=UNMONITORED),
        _view(WIDE_PEER, "EUR", IDLE, -1_500, 8_000, rate=-20),
        _view(HOSTILE_PEER, "USD", IDLE, 7, 7, rate=0),
    )  # fmt: skip


def in_transit(peers: tuple[PeerView, ...]) -> tuple[PeerView, ...]:
    """The pairs, with what the rows above have under way."""
    edit = msgspec.structs.replace
    return tuple(
        edit(view, receivable_in_transit=view.receivable) if view.peer == "market-west" else view
        for view in peers
    )


def walked(view: SettlementPairView, command: SettlementCommand, now_ms: int) -> SettlementPairView:
    """The row after a command. Raises CommandRefusedError, and then nothing was changed."""
    edit = msgspec.structs.replace
    match command:
        case SetThreshold(level=level):
            if level.endswith("%"):
                raise CommandRefusedError(f"{level} is above the credit limit")
            return edit(view, threshold=Amount(int(level or 700_000)), unmonitored="")
        case StartSettlement(amount=amount):
            _must_be(view, PENDING, "start")
            whole = Amount((view.due or 0) - view.settle_to)
            paid = whole if amount is None else amount
            return edit(view, state=IN_PROGRESS, amount=paid, begun_by="operator",
                        due=Amount((view.due or 0) - paid), since_ms=now_ms)  # fmt: skip
        case CompleteSettlement(amount=amount, key=key):
            _must_be(view, IN_PROGRESS, "complete")
            if key != view.idempotency_key:
                raise CommandRefusedError(f"{key} is not the settlement under way")
            settled = view.amount if amount is None else amount
            return edit(view, state=IDLE, amount=None, stuck=False, since_ms=now_ms,
                        settled_ms=now_ms, settled_amount=settled)  # fmt: skip
        case FailSettlement(reason=reason):
            _must_be(view, IN_PROGRESS, "fail")
            return edit(view, state=PENDING, amount=None, stuck=False, since_ms=now_ms,
                        attempt=view.attempt + 1, reason=reason,
                        due=Amount((view.due or 0) + (view.amount or 0)))  # fmt: skip


def _must_be(view: SettlementPairView, state: str, what: str) -> None:
    if view.state != state:
        raise CommandRefusedError(
            f"cannot {what} the settlement of {view.token} with peer {view.peer}: it is "
            f"{view.state}, not {state}"
        )


def explained(view: SettlementPairView) -> str:
    """Sentences as the engine makes them."""
    if view.unmonitored:
        return f"{view.token} with peer {view.peer}: not monitored: {view.unmonitored}."
    said = f"{view.token} with peer {view.peer}: {view.state}. {view.due} is due, the threshold is "
    said += f"{view.threshold}."
    if view.stuck:
        said += (
            f" STUCK: {view.amount} is under way for longer than 10 min. Ask whoever pays by key "
            f"{view.idempotency_key}, then complete or fail it."
        )
    return said
