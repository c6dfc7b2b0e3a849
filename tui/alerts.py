"""Open alerts as the desk arranges them: what asks for attention first, and how many do.

Pure. An alert is loud until somebody acknowledges it, and while no silence runs; so what is loud
changes with the clock too, and `until_ms` says when it next does.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from core.api import AlertView
from core.events import Json, iso_utc
from core.model import Severity

_WORST_FIRST = {Severity.PROBLEM: 0, Severity.WARNING: 1, Severity.OK: 2}


class OpenAlerts(msgspec.Struct, frozen=True):
    """Every open alert in the order of reading. `opened` are the loud ones that are news: they
    came with this picture. `loud` and `problems` count those that ask for attention, and the
    problems among them. At `until_ms` the next silence ends; 0: none runs."""

    listed: tuple[AlertView, ...] = ()
    opened: tuple[AlertView, ...] = ()
    loud: int = 0
    problems: int = 0
    until_ms: int = 0


def arranged(alerts: Iterable[AlertView], now_ms: int, known: int | None) -> OpenAlerts:
    """The alerts as they stand: loud before quiet, problems before warnings, newest first. What
    has an id above `known` is news; None: nothing is, the desk only begins to look."""
    listed = tuple(sorted(alerts, key=lambda alert: _place(alert, now_ms)))
    loud = [alert for alert in listed if alert.loud(now_ms)]
    ends = [a.silenced_until_ms for a in listed if is_silenced(a, now_ms)]
    return OpenAlerts(
        listed,
        tuple(alert for alert in loud if known is not None and alert.id > known),
        len(loud),
        sum(alert.severity is Severity.PROBLEM for alert in loud),
        min(ends, default=0),
    )


def _place(alert: AlertView, now_ms: int) -> tuple[bool, int, int, int]:
    return not alert.loud(now_ms), _WORST_FIRST[alert.severity], -alert.opened_ms, -alert.id


def is_silenced(alert: AlertView, now_ms: int) -> bool:
    """Whether a silence runs."""
    return alert.silenced_until_ms > now_ms


def as_json(alert: AlertView, now_ms: int) -> dict[str, Json]:
    """The public form: times in UTC, null where there is nothing to say."""
    return {
        "id": alert.id,
        "rule": alert.rule,
        "about": alert.about,
        "severity": alert.severity.value,
        "message": alert.message,
        "openedAt": iso_utc(alert.opened_ms),
        "acknowledgedBy": alert.acknowledged_by or None,
        "silencedUntil": iso_utc(alert.silenced_until_ms) if is_silenced(alert, now_ms) else None,
    }
