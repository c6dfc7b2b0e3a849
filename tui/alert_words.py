"""Alerts in words: who they are about, how long they stand, and who has done what about them.

Severity is a glyph and a word wherever an alert is named; a quiet one says first why it is quiet.
"""

from __future__ import annotations

from core.api import AlertView
from core.model import Severity
from tui import text
from tui.alerts import OpenAlerts, is_silenced
from tui.widgets.list_table import Cell, Col, Item, Tone

COLS = (
    Col("", 1),
    Col("SEVERITY", 8),
    Col("ALERT", 16, drop=1, wide=20),
    Col("ABOUT", 14, wide=28),
    Col("OPEN", 5, right=True),
    Col("WHAT", 24, grow=True),
)
TONES = {Severity.PROBLEM: Tone.PROBLEM, Severity.WARNING: Tone.WARNING, Severity.OK: Tone.PLAIN}
STYLES = {Severity.PROBLEM: "bold $error", Severity.WARNING: "$warning", Severity.OK: ""}

Words = list[tuple[str, str]]


def name(alert: AlertView) -> str:
    """`settlement-stuck: acme/USD`, printable."""
    return f"{text.safe(alert.rule)}: {text.safe(alert.about)}"


def loud_words(alerts: OpenAlerts, *, with_problems: bool) -> str:
    """`7 alerts`, or `7 alerts, 1 problem`; "" where none is loud."""
    if not alerts.loud:
        return ""
    said = f"{text.count(alerts.loud)} alert{'s' if alerts.loud != 1 else ''}"
    if not with_problems or not alerts.problems:
        return said
    return f"{said}, {text.count(alerts.problems)} problem{'s' if alerts.problems != 1 else ''}"


def worst(alerts: OpenAlerts) -> Severity:
    """The worst severity among the loud ones."""
    if not alerts.loud:
        return Severity.OK
    return Severity.PROBLEM if alerts.problems else Severity.WARNING


def quiet(alert: AlertView, now_ms: int) -> str:
    """Why it is quiet, as short as a line needs it; "" for a loud one."""
    if is_silenced(alert, now_ms):
        left = text.duration((alert.silenced_until_ms - now_ms) // 1000)
        return f"silenced {left} by {text.safe(alert.silenced_by)}"
    if alert.acknowledged_ms:
        return f"acknowledged by {text.safe(alert.acknowledged_by)}"
    return ""


def at(time_ms: int, now_ms: int) -> str:
    """`13:04 UTC`, with the date where it is not today."""
    moment = text.moment(time_ms)
    is_today = moment[:10] == text.moment(now_ms)[:10]
    return f"{moment[11:16] if is_today else moment[:16]} UTC"


def item(alert: AlertView, now_ms: int, signs: text.Glyphs) -> Item:
    """One line of the list."""
    hush = quiet(alert, now_ms)
    tone = Tone.DIM if hush else TONES[alert.severity]
    message = text.safe(alert.message)
    return Item(
        str(alert.id),
        (
            Cell(text.severity_glyph(alert.severity, signs), tone),
            Cell(alert.severity.value, tone),
            Cell(text.safe(alert.rule), Tone.DIM if hush else Tone.PLAIN),
            Cell(text.safe(alert.about), Tone.DIM if hush else Tone.STRONG),
            Cell(text.age(now_ms - alert.opened_ms), Tone.DIM),
            Cell(f"{hush}: {message}", Tone.DIM) if hush else Cell(message),
        ),
    )


def detail(alert: AlertView, now_ms: int, signs: text.Glyphs) -> Words:
    """The alert in full: what, since when, what was seen, and what somebody did about it."""
    words: Words = [
        (f"{text.severity_words(alert.severity, signs)}  ", STYLES[alert.severity]),
        (name(alert), "bold"),
        (f"  alert {alert.id}, since {at(alert.opened_ms, now_ms)}\n", "$desk-dim"),
    ]
    for said in _answers(alert, now_ms):
        words.append((f"{said}\n", ""))
    words.append((text.safe(alert.message), ""))
    return words


def _answers(alert: AlertView, now_ms: int) -> list[str]:
    found = []
    if alert.acknowledged_ms:
        ago = text.age(now_ms - alert.acknowledged_ms)
        said = f"acknowledged by {text.safe(alert.acknowledged_by)} {ago} ago"
        found.append(f"{said}: {text.safe(alert.acknowledged_reason)}")
    if is_silenced(alert, now_ms):
        ends = at(alert.silenced_until_ms, now_ms)
        said = f"silenced by {text.safe(alert.silenced_by)} until {ends}"
        found.append(f"{said}: {text.safe(alert.silenced_reason)}")
    return found
