"""Asking before an alert is acknowledged or silenced: both need a reason and say what follows.

The form names the alert it was opened for, whatever the cursor does meanwhile. What the shown
state forbids is said at once; the engine has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.api import AcknowledgeAlert, AlertView, SilenceAlert
from tui import alert_words, text
from tui.alerts import is_silenced
from tui.screens.base import DeskScreen
from tui.screens.forms import FormError

USUAL = "1h"
"""How long an alert is silenced unless another time is written."""


async def acknowledge(screen: DeskScreen, alert: AlertView) -> bool:
    """Ask for the reason, and take the alert on. Whether it is quiet now."""
    from tui.screens.dialogs import Field, Form

    if alert.acknowledged_ms:
        who = text.safe(alert.acknowledged_by)
        screen.say(f"alert {alert.id} was acknowledged by {who} already", severity="warning")
        return False

    def build(values: Mapping[str, str]) -> tuple[AcknowledgeAlert, str]:
        said = (
            f"alert {alert.id} stays open until all is well, and asks for attention no more; "
            "a new crossing opens a new one"
        )
        if not values["reason"]:
            raise FormError(f"write who is on it, or why it can wait: {said}")
        return AcknowledgeAlert(alert.id, values["reason"]), f"{said}. {_KEPT}"

    form = Form(
        f"Acknowledge {alert_words.name(alert)}",
        [Field("reason", "reason", placeholder="who is on it, or why it can wait")],
        build,
        "Acknowledge",
    )
    command = await screen.app.push_screen_wait(form)
    return command is not None and await screen.give(command) is not None


async def silence(screen: DeskScreen, alert: AlertView) -> bool:
    """Ask for how long and why, and silence the alert, or end its silence. Whether it is quiet
    now."""
    from tui.screens.dialogs import Field, Form

    def build(values: Mapping[str, str]) -> tuple[SilenceAlert, str]:
        now_ms = screen.session.now_ms()
        until_ms, said = _silence(alert, values["span"], now_ms)
        if not values["reason"]:
            raise FormError(f"write why: {said}")
        return SilenceAlert(alert.id, until_ms, values["reason"]), f"{said}. {_KEPT}"

    form = Form(
        f"Silence {alert_words.name(alert)}",
        [
            Field("span", "for", USUAL, "30m, 1h, 2d; 0 ends a silence"),
            Field("reason", "reason", placeholder="why nobody need look meanwhile"),
        ],
        build,
        "Silence",
    )
    command = await screen.app.push_screen_wait(form)
    if command is None or await screen.give(command) is None:
        return False
    return command.until_ms > 0


_KEPT = "The reason goes into the audit log"


def _silence(alert: AlertView, words: str, now_ms: int) -> tuple[int, str]:
    """When the silence ends (0: now), and what will happen. Raises FormError."""
    from core.config import Duration

    try:
        span_ms = 0 if words == "0" else int(Duration.parse(words))
    except ValueError:
        raise FormError("for how long: write 30m, 1h or 2d; 0 ends a silence") from None
    if span_ms:
        ends = alert_words.at(now_ms + span_ms, now_ms)
        return now_ms + span_ms, (
            f"{alert_words.name(alert)} asks for no attention until {ends}, nor do new alerts of "
            "the same rule and subject"
        )
    if not is_silenced(alert, now_ms):
        raise FormError(f"alert {alert.id} is not silenced: write for how long, such as 1h")
    if alert.acknowledged_ms:
        return 0, f"ends the silence of alert {alert.id}; it stays acknowledged"
    return 0, f"ends the silence of alert {alert.id}: it asks for attention again"
