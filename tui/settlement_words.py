"""Settlements in words: shares as bar and number, ages, what is stuck, and what keys will do.

Pure. `stuck` is always the word, in capitals where it stands alone; a colour only repeats it.
Amounts are whole base units of a ledger token, in full wherever there is room for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.api import CompleteSettlement, SettlementHealth, SettlementPairView, StartSettlement
from tui import settlements, text
from tui.settlements import Counts, Lane, Row
from tui.widgets.list_table import Tone

Words = list[tuple[str, str]]
DIM, OK, WARNING, PROBLEM = "$desk-dim", "$success", "$warning", "bold $error"
LOUD = "bold reverse $error"
"""Seen without colours too."""
STYLES = {
    Tone.PLAIN: "",
    Tone.DIM: DIM,
    Tone.STRONG: "bold",
    Tone.OK: OK,
    Tone.WARNING: WARNING,
    Tone.PROBLEM: PROBLEM,
}
LANE_NAMES = {Lane.IDLE: "IDLE", Lane.PENDING: "PENDING", Lane.IN_PROGRESS: "IN PROGRESS"}
HOW_TO_SET = (
    "no threshold is configured, so nothing is ever asked for: press t, run `bursar settlements "
    "threshold LEVEL`, or set [settlement.thresholds] default"
)
_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}
MOST_SHARE = 9_999


# --- figures -------------------------------------------------------------------------------


def units(amount: int, *, sign: bool = False) -> str:
    """Base units in full, grouped."""
    return text.exact(amount, 0, sign=sign)


def spoken(elapsed_ms: int) -> str:
    """An age in words, in the coarse steps of `text.age`: `40 seconds`, `2 minutes`, `1 day`."""
    short = text.age(elapsed_ms)
    number, unit = short[:-1], _UNITS[short[-1]]
    if number.startswith("<"):
        return f"under {number[1:]} {unit}s"
    return f"{number} {unit}" + ("" if number == "1" else "s")


def share(view: SettlementPairView) -> str:
    """`120%`; `above 0` and `at 0` where the threshold is 0; `-` where it cannot be said."""
    percent = settlements.share_percent(view)
    if percent is not None:
        return f"{percent:,}%" if percent <= MOST_SHARE else f">{MOST_SHARE}%"
    if view.threshold == 0 and view.due is not None:
        return "above 0" if view.due > 0 else "at 0"
    return "-"


def share_bar(view: SettlementPairView, width: int, signs: text.Glyphs) -> str:
    """The share as a bar; full from the threshold on, blank where there is none to draw."""
    percent = settlements.share_percent(view)
    if percent is None:
        if view.threshold != 0 or view.due is None:
            return " " * width
        percent = 100 if view.due > 0 else 0
    return text.gauge(percent, width, signs)


def of_threshold(view: SettlementPairView, room: int, cut: str = text.UNICODE.cut) -> str:
    """`860,000 of 700,000` in at most `room` cells: what is due, of the threshold."""
    if view.threshold is None:
        return "no threshold"
    due = "not read yet" if view.due is None else units(view.due)
    said = f"{due} of {units(view.threshold)}"
    if len(said) <= room or view.due is None:
        return said
    each = max(8, (room - 4) // 2)
    return f"{text.units(view.due, each, cut=cut)} of {text.units(view.threshold, each, cut=cut)}"


def rate(view: SettlementPairView) -> str:
    """`+1,200/min`; `rate not known yet` at the start."""
    if view.rate_per_minute is None:
        return "rate not known yet"
    return f"{units(view.rate_per_minute, sign=True)}/min" if view.rate_per_minute else "not moving"


def to_threshold(view: SettlementPairView) -> str:
    """When the threshold is passed at the present rate: `in 3h50m`, `passed`, `-`."""
    if view.threshold is None or view.due is None:
        return "-"
    if view.due > view.threshold:
        return "passed"
    return "-" if view.eta_s is None else f"in {text.duration(view.eta_s)}"


def headroom(row: Row, room: int = 40, cut: str = text.UNICODE.cut) -> str:
    """`139,000`; `no limit`, or `-` where the pair's accounts are not known."""
    if row.peer is None or row.view.direction != "receivable":
        return "-"
    found = settlements.headroom(row)
    return "no limit" if found is None else text.units(found, room, cut=cut)


def last_settled(view: SettlementPairView, now_ms: int) -> str:
    """`last settled 100,000, 2 hours ago`; `never settled`."""
    if not view.settled_ms:
        return "never settled"
    what = "" if view.settled_amount is None else f" {units(view.settled_amount)},"
    return f"last settled{what} {spoken(now_ms - view.settled_ms)} ago"


# --- states --------------------------------------------------------------------------------


def name(view: SettlementPairView) -> str:
    """Peer and token; the side too where we owe."""
    side = " (we owe)" if view.direction == "payable" else ""
    return f"{text.safe(view.peer)} {text.symbol(view.token)}{side}"


def tone(row: Row) -> Tone:
    """How loud a row is."""
    if row.view.stuck:
        return Tone.PROBLEM
    if row.view.trouble:
        return Tone.WARNING
    return Tone.WARNING if row.lane is Lane.PENDING else Tone.PLAIN


def glyph(row: Row, signs: text.Glyphs) -> str:
    """One cell beside the words."""
    if row.view.stuck:
        return signs.problem
    return signs.warning if row.view.trouble or row.lane is Lane.PENDING else " "


def standing(row: Row, now_ms: int) -> str:
    """What is going on, in words with its age: `STUCK 40 minutes`, `waits 2 minutes`, `pays 40
    seconds`, `in 3h50m` (until the threshold), `not monitored`."""
    view = row.view
    age = spoken(now_ms - view.since_ms) if view.since_ms else ""
    if view.stuck:
        return f"STUCK {age}"
    match row.lane:
        case Lane.PENDING:
            return f"waits {age}"
        case Lane.IN_PROGRESS:
            return f"pays {age}"
        case Lane.IDLE:
            if view.threshold is None:
                return "not monitored"
            if view.due is None:
                return "not read yet"
            if view.eta_s is not None:
                return to_threshold(view)
            return "not rising" if view.rate_per_minute is not None else f"idle {age}".rstrip()


def under_way(row: Row) -> str:
    """What is paid, or would be, and by whom."""
    view = row.view
    failed = f", {view.attempt} failed" if view.attempt else ""
    match row.lane:
        case Lane.IN_PROGRESS:
            by = f" by {text.safe(view.begun_by)}" if view.begun_by else ""
            return f"pays {units(view.amount or 0)}{by}{failed}"
        case Lane.PENDING:
            return f"asks for {units(settlements.aim(view))}{failed}"
        case Lane.IDLE:
            return ""


def summary(counts: Counts, signs: text.Glyphs) -> Words:
    """`31 idle  2 pending  2 in progress  1 STUCK`."""
    words: Words = [(f"{text.count(counts.idle)} idle", "")]
    if counts.unmonitored:
        words.append((f" ({text.count(counts.unmonitored)} not monitored)", DIM))
    words.append((f"  {text.count(counts.pending)} pending", WARNING if counts.pending else DIM))
    words.append((f"  {text.count(counts.in_progress)} in progress", ""))
    if counts.stuck:
        words.append((f"  {signs.problem} {text.count(counts.stuck)} STUCK", PROBLEM))
    return words


def alarm(
    stuck: Sequence[Row],
    health: SettlementHealth | None,
    now_ms: int,
    signs: text.Glyphs,
    *,
    empty: bool,
    unset: bool,
) -> Words:
    """What must be seen before anything else: the monitor that does not run, what is stuck and
    what to do, or that nothing is watched; [] when all is well."""
    if health is None:
        return [("no settlement monitor: the engine has no [ledger], or has not opened it yet",
                 WARNING)]  # fmt: skip
    if not health.running or health.error:
        why = text.safe(health.error) or "it does not say why"
        said = "settlements are NOT WATCHED" if not health.running else "the monitor has trouble"
        return [(f"{signs.problem} {said}: {why}", LOUD)]
    if stuck:
        first = stuck[0].view
        more = f" and {text.count(len(stuck) - 1)} more" if len(stuck) > 1 else ""
        age = spoken(now_ms - first.since_ms)
        return [
            (f"{signs.problem} STUCK: {name(first)}, {age} under way{more}.", LOUD),
            (" Ask whoever pays by its key (y), then d or x.", ""),
        ]
    if unset and not empty:
        return [(f"{signs.warning} {HOW_TO_SET}", WARNING)]
    if health.warnings:
        return [(f"{signs.warning} {text.safe(health.warnings[0])}", WARNING)]
    return []


def health_words(health: SettlementHealth | None) -> str:
    """Who acts, and whether readings failed."""
    if health is None:
        return ""
    failed = f", {text.count(health.failures)} readings failed" if health.failures else ""
    return f"engine: {text.safe(health.engine)}{failed}"


def detail(row: Row, now_ms: int, signs: text.Glyphs, width: int) -> Words:
    """Everything of a row in a few lines of `width` cells, every figure whole; only the key is
    elided where it does not fit (`y` copies it)."""
    view, peer, dot = row.view, row.peer, f" {signs.dot} "
    words: Words = [(f"{name(view)}  ", "bold"), (_state_words(row, now_ms), STYLES[tone(row)])]
    lines: list[str] = []
    if peer is not None:
        owed = (
            f"owes us {units(peer.receivable)}",
            f"we owe {units(peer.payable)}",
            f"net {units(peer.net, sign=True)}",
            f"in flight {units(settlements.in_flight(row))}",
            f"headroom {headroom(row, 80)}",
        )
        lines.append(dot.join(owed))
    if view.threshold is None:
        lines.append(f"not monitored: {text.safe(view.unmonitored) or 'no threshold'}")
    else:
        levels = [f"due {of_threshold(view, 999)} ({share(view)})"]
        if view.rearm != view.threshold and view.rearm is not None:
            levels.append(f"rearms at {units(view.rearm)}")
        if view.settle_to:
            levels.append(f"settles to {units(view.settle_to)}")
        levels += [rate(view), f"threshold {to_threshold(view)}".replace(" -", " not in sight")]
        lines.append(dot.join(levels))
    said = [part for part in (under_way(row), last_settled(view, now_ms)) if part]
    if view.idempotency_key and row.lane is not Lane.IDLE:
        room = max(13, width - len(dot.join(said)) - len(dot) - 4)
        said.append(f"key {text.elide(text.safe(view.idempotency_key), room, signs.cut)}")
    lines.append(dot.join(said))
    told = dict.fromkeys(text.safe(part) for part in (view.trouble, view.reason) if part)
    if told:
        lead, style = (f"{signs.warning} ", WARNING) if view.trouble else ("", DIM)
        words.append((f"\n{lead}{dot.join(told)}", style))
    words.append(("\n" + "\n".join(lines), DIM))
    return words


def _state_words(row: Row, now_ms: int) -> str:
    view = row.view
    age = f" for {spoken(now_ms - view.since_ms)}" if view.since_ms else ""
    said = f"{LANE_NAMES[row.lane].lower()}{age}"
    return f"{said}, STUCK" if view.stuck else said


# --- what a command will do ----------------------------------------------------------------


def will_start(command: StartSettlement, view: SettlementPairView) -> str:
    """The consequence of a start."""
    amount = command.amount if command.amount is not None else settlements.aim(view)
    return (
        f"{units(amount)} {text.symbol(view.token)} of {name(view)} is held as under way. Bursar "
        "pays nothing itself: the payment is made outside, then told here with d or x. Until "
        "then no second one can begin."
    )


def will_complete(command: CompleteSettlement, view: SettlementPairView) -> str:
    """The consequence of a completion, whole or in part."""
    whole = view.amount or 0
    amount = whole if command.amount is None else command.amount
    rest = whole - amount
    said = f"{units(amount)} of {name(view)} is booked as paid. A booking is never taken back."
    if rest:
        said += f" The other {units(rest)} under way is released and counts as due again."
    return said


def will_fail(view: SettlementPairView, reason: str) -> str:
    """The consequence of a failure."""
    return (
        f"{units(view.amount or 0)} of {name(view)} is released and is due again; the settlement "
        "is asked for anew under the same key. Say so only when the payment cannot arrive any "
        f"more: it would be paid twice.\n\nReason: {text.safe(reason)}"
    )
