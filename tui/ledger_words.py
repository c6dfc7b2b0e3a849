"""The ledger in words: its state, its durability, whether it balances, and how custody compares.

Pure. What is wrong is always a word beside the colour, and a difference is always a figure with
its sign: debits less credits, chain less ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest
from typing import NamedTuple

import msgspec

from core.api import CustodyView, LedgerView, TrialView
from core.model import Asset
from tui import text
from tui.widgets.list_table import Tone

Words = list[tuple[str, str]]
DIM, OK, WARNING, PROBLEM = "$desk-dim", "$success", "$warning", "bold $error"


class Standing(NamedTuple):
    """How the ledger stands, in a word or two ("" when all is well) with its tone."""

    said: str
    tone: Tone


def standing(ledger: LedgerView | None, trial: Sequence[TrialView]) -> Standing | None:
    """The ledger's state for the status bar; None where nothing is known of a ledger yet."""
    if ledger is None:
        return None
    if not ledger.ok:
        return Standing("away", Tone.PROBLEM)
    if any(not view.balanced and view.confirmed for view in trial):
        return Standing("not balanced", Tone.PROBLEM)
    if ledger.snapshot_failure:
        return Standing("no snapshot", Tone.WARNING)
    return Standing("", Tone.OK)


def backend_name(ledger: LedgerView) -> tuple[str, str]:
    """The backend and, apart, where it is: `embedded ledger`, `journal: /var/...`."""
    name, _, where = text.safe(ledger.backend).partition(" (")
    return name, where.removesuffix(")")


def durability(
    ledger: LedgerView, now_ms: int, signs: text.Glyphs, *, roomy: bool = False
) -> Words:
    """Backend, journal with last fsync and snapshot, or that a cluster answers; in one line, or
    `roomy` in several with the place. A ledger that is away says only that and why."""
    name, where = backend_name(ledger)
    if not ledger.ok:
        reason = text.safe(ledger.reason) or "it does not say why"
        return [(f"{signs.problem} the ledger is away: {reason}", PROBLEM)]
    parts = [name]
    if ledger.journal_bytes or ledger.last_sync_ms:
        parts.append(f"journal {text.size(ledger.journal_bytes)}")
        parts.append(f"last fsync {_ago(ledger.last_sync_ms, now_ms)}")
        parts.append(f"snapshot {_ago(ledger.last_snapshot_ms, now_ms)}")
    else:
        parts.append("answers")
    dot = f" {signs.dot} "
    lines = [dot.join(parts)]
    if roomy:
        lines = [dot.join(parts[:2]), where, dot.join(parts[2:])]
    words: Words = [
        (f"{line}\n" if line is not lines[-1] else line, DIM if line == where else "")
        for line in lines
        if line
    ]
    if ledger.snapshot_failure:
        words.append((f"\n{signs.warning} no snapshot: {text.safe(ledger.snapshot_failure)}",
                      WARNING))  # fmt: skip
    return words


def _ago(then_ms: int, now_ms: int) -> str:
    return f"{text.age(now_ms - then_ms)} ago" if then_ms else "never"


def trial_words(trial: Sequence[TrialView], signs: text.Glyphs) -> Words:
    """One line while every ledger is at zero; a loud one for each that is not."""
    if not trial:
        return [("no trial balance yet", DIM)]
    words: Words = []
    for view in trial:
        if view.balanced:
            continue
        if words:
            words.append(("\n", ""))
        if view.confirmed:
            words.append((f"{signs.problem} TRIAL BALANCE NOT ZERO: {unbalanced(view)}", PROBLEM))
        else:
            said = f"{signs.warning} {text.safe(view.name)}: sums moved while they were taken"
            words.append((f"{said}; the next trial balance tells", WARNING))
    if words:
        return words
    ledgers = "1 ledger" if len(trial) == 1 else f"{text.count(len(trial))} ledgers"
    return [(f"{signs.ok} trial balance 0", OK), (f" in {ledgers}", "")]


def unbalanced(view: TrialView) -> str:
    """`USD posted +10, pending +0 (debits less credits)`."""
    posted = text.exact(view.debits - view.credits, 0, sign=True)
    pending = text.exact(view.debits_pending - view.credits_pending, 0, sign=True)
    return f"{text.safe(view.name)} posted {posted}, pending {pending} (debits less credits)"


def trial_name(view: TrialView) -> str:
    """A token, or an asset as `USDC on base`; the contract is left to the JSON."""
    chain, colon, asset = text.safe(view.name).partition(":")
    return f"{asset.partition('@')[0]} on {chain}" if colon else chain


# --- custody -------------------------------------------------------------------------------

_TONES = {
    "pending": Tone.DIM,
    "unread": Tone.WARNING,
    "too large": Tone.WARNING,
    "unexplained": Tone.PROBLEM,
}
_URGENCY = ("unexplained", "too large", "unread", "booked", "pending")


def custody_state(view: CustodyView) -> str:
    """`unexplained`, `booked` once an unexplained difference is, `pending`, `equal`, ..."""
    if view.state == "opened":
        return "equal"
    return "booked" if view.booked else text.safe(view.state)


def custody_tone(view: CustodyView) -> Tone:
    """How loud: only what nobody has booked is a problem."""
    if view.booked:
        return Tone.WARNING
    return _TONES.get(view.state, Tone.PLAIN)


def can_book(view: CustodyView) -> bool:
    """Whether an operator may book it."""
    return view.state == "unexplained" and not view.booked


def custody_order(views: Iterable[CustodyView], most: int) -> list[CustodyView]:
    """The `most` most urgent, the loudest first, then by account."""

    def rank(view: CustodyView) -> tuple[int, int]:
        state = custody_state(view)
        place = _URGENCY.index(state) if state in _URGENCY else len(_URGENCY)
        return place, view.account

    return nsmallest(most, views, key=rank)


def custody_note(view: CustodyView) -> str:
    """Which policy it stands under, or why it could not be compared."""
    reason = text.safe(view.reason)
    if view.booked:
        return f"booked: {reason}" if reason else "booked as it was seen (observe)"
    if can_book(view):
        return reason or "kept until it is booked (strict)"
    if view.state == "pending":
        return reason or "within the finality window"
    return reason


def custody_figure(view: CustodyView, asset: Asset | None, width: int, cut: str) -> str:
    """The difference to the last unit with its sign where it fits, else shortened with a mark."""
    shown = view.unexplained if view.state == "unexplained" else view.difference
    if shown is None:
        return "-"
    places = asset.decimals if asset is not None else 0
    exact = text.exact(shown, places, sign=True)
    return exact if len(exact) <= width else text.delta(shown, places, width, cut)


def custody_sentence(view: CustodyView, asset: Asset | None) -> str:
    """`chain says 0.000000, ledger says 12.400000, difference -12.400000 USDC since block 9`."""
    note = custody_note(view)
    if view.difference is None:
        return f"{custody_state(view)}: {note}" if note else custody_state(view)
    places = asset.decimals if asset is not None else 0
    parts = [
        f"chain says {_amount(view.chain_amount, places)}",
        f"ledger says {text.exact(view.ledger_amount, places)}",
    ]
    if view.difference:
        symbol = f" {text.symbol(asset.symbol)}" if asset is not None else ""
        since = f" since block {text.count(view.since)}" if view.since else ""
        signed = text.exact(view.difference, places, sign=True)
        parts.append(f"difference {signed}{symbol}{since}")
    return f"{custody_state(view)}: {', '.join(parts)}{'; ' + note if note else ''}"


def custody_brief(view: CustodyView, asset: Asset) -> str:
    """The same beside the balance itself: `pending -3.20 USDT since block 9: ledger says 15.64`."""
    if not view.difference:
        return custody_sentence(view, asset)
    signed = text.exact(view.difference, asset.decimals, sign=True)
    since = f" since block {text.count(view.since)}" if view.since else ""
    booked = text.exact(view.ledger_amount, asset.decimals)
    state = custody_state(view)
    return f"{state} {signed} {text.symbol(asset.symbol)}{since}: ledger says {booked}"


def _amount(amount: int | None, places: int) -> str:
    return "unknown" if amount is None else text.exact(amount, places)


def custody_summary(views: Iterable[CustodyView], signs: text.Glyphs) -> Words:
    """`custody: 1 unexplained, 3 pending`, or that chain and ledger agree."""
    counts = dict.fromkeys(_URGENCY, 0)
    for view in views:
        state = custody_state(view)
        counts[state] = counts.get(state, 0) + 1
    found = [f"{text.count(number)} {state}" for state, number in counts.items() if number]
    if not found:
        return [(f"{signs.ok} custody", OK), (": chain and ledger agree", "")]
    loud = counts["unexplained"] > 0
    lead = f"{signs.problem} custody" if loud else "custody"
    return [(lead, PROBLEM if loud else ""), (f": {', '.join(found)}", PROBLEM if loud else "")]


def custody_json(view: CustodyView, agent: str, asset: Asset | None) -> str:
    """A finding in its public form; amounts are decimal strings in base units."""
    fields = {
        "agentId": agent,
        "chain": asset.chain if asset is not None else None,
        "token": asset.symbol if asset is not None else None,
        "contract": asset.contract if asset is not None else None,
        "state": view.state,
        "block": view.block,
        "chainAmount": None if view.chain_amount is None else str(int(view.chain_amount)),
        "ledgerAmount": str(int(view.ledger_amount)),
        "difference": None if view.difference is None else str(int(view.difference)),
        "unexplained": str(int(view.unexplained)),
        "sinceBlock": view.since or None,
        "booked": view.booked,
        "reason": view.reason,
    }
    return msgspec.json.encode(fields).decode()
