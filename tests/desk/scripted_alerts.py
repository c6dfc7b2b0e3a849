"""The scripted engine's alerts: every kind of rule, loud, acknowledged, silenced, and silenced no
more. `answered` obeys an operator as the engine would, and refuses with the engine's words.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from core.api import AcknowledgeAlert, AlertView, CommandRefusedError, SilenceAlert
from core.model import Severity
from tests.desk.scripted_ledger import NOW_MS

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
STUCK, LOW, DOWN, RUNWAY, CUSTODY, HOSTILE, BACKUP, TRIAL = range(1, 9)
"""Ids of the alerts, oldest first."""


def _alert(
    number: int, rule: str, about: str, message: str, ago_min: int, **more: object
) -> AlertView:
    view = AlertView(
        number,
        rule,
        rule,
        about,
        Severity.WARNING,
        message,
        NOW_MS - ago_min * MINUTE_MS,
    )
    return msgspec.structs.replace(view, **more)


def alerts(accounts: Mapping[tuple[str, int], int]) -> tuple[AlertView, ...]:
    """Eight alerts, three of them loud problems; `accounts` by agent and asset."""
    problem = {"severity": Severity.PROBLEM}
    return (
        _alert(STUCK, "settlement-stuck", "market-west/EUR",
               "a payment of 1,250,000 EUR from market-west is stuck: the bank answers nothing",
               190, **problem),
        _alert(LOW, "balance-below", "agent-0031", "12.44 USDT on tron, floor 25", 95,
               account=accounts["agent-0031", 5]),
        _alert(DOWN, "endpoint-down", "tron",
               "https://tron-b.example is backing off: 429 too many requests (67 % errors)", 62,
               silenced_until_ms=NOW_MS + 55 * MINUTE_MS, silenced_by="operator",
               silenced_reason="the provider works on it"),
        _alert(RUNWAY, "runway", "agent-0006",
               "USDC on base is at its floor or below, and falls", 40,
               account=accounts["agent-0006", 2], acknowledged_ms=NOW_MS - 30 * MINUTE_MS,
               acknowledged_by="operator", acknowledged_reason="refill ordered"),
        _alert(CUSTODY, "custody-unexplained", "agent-0026",
               "xrpl says 20 XRP less than is booked", 30,
               account=accounts["agent-0026", 3], **problem),
        _alert(HOSTILE, "[b]night[/b]\x1b[31m", "[red]gone[/red]\x07",
               "\x1b]52;c;ZXZpbA==\x07[blink]look[/blink]\u202e here", 25, kind="balance-drop",
               account=999_999),
        _alert(BACKUP, "backup-overdue", "backups", "the last backup was made 9d2h ago", 12,
               silenced_until_ms=NOW_MS - MINUTE_MS, silenced_by="operator",
               silenced_reason="over"),
        _alert(TRIAL, "trial-balance", "USD",
               "the trial balance of USD is not zero: posted 12, pending 0", 2, **problem),
    )  # fmt: skip


def answered(
    found: tuple[AlertView, ...], command: AcknowledgeAlert | SilenceAlert, now_ms: int
) -> tuple[AlertView, ...]:
    """The alerts after the command. Raises CommandRefusedError as the engine does."""
    view = next((each for each in found if each.id == command.id), None)
    if view is None:
        raise CommandRefusedError(f"There is no open alert {command.id}.")
    if not command.reason.strip():
        raise CommandRefusedError(f"Say why alert {view.id} is changed: a reason is needed.")
    if isinstance(command, AcknowledgeAlert):
        after = msgspec.structs.replace(
            view,
            acknowledged_ms=now_ms,
            acknowledged_by="operator",
            acknowledged_reason=command.reason,
        )
    else:
        after = msgspec.structs.replace(
            view,
            silenced_until_ms=command.until_ms,
            silenced_by="operator",
            silenced_reason=command.reason,
        )
    return tuple(after if each is view else each for each in found)
