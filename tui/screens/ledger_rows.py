"""Lines of the ledger's screens: columns, and a pair, a sum or a finding as cells of text.

Columns leave by priority: net and use of the limit stay to the last. Figures of ledger tokens
are whole base units, for the tokens of packets have no decimals.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.api import CustodyView, PeerView, TrialView
from core.model import Severity
from tui import ledger_words, pairs, text
from tui.fleet_row import FleetRow
from tui.ledger_words import Words
from tui.widgets.list_table import Cell, Col, Item, Tone

BAR = 7
LEAST_FIGURE = 10
"""Cells that the narrowest column of figures has."""
PAIR_COLS = (
    Col("!", 1),
    Col("PEER", 13, grow=True, wide=24),
    Col("TOKEN", 5),
    Col("RECEIVABLE", 14, right=True, drop=1, wide=22),
    Col("PAYABLE", 12, right=True, drop=2, wide=22),
    Col("NET", 13, right=True, wide=22),
    Col("USE OF LIMIT", BAR + 6),
    Col("HEADROOM", 12, right=True, drop=6, wide=22),
    Col("IN FLIGHT", 10, right=True, drop=7, wide=14),
    Col("LIMIT", 12, right=True, drop=8, wide=22),
    Col("IN TRANSIT", 10, right=True, drop=9, wide=14),
)
DIFFERENCE = 22
CUSTODY_COLS = (
    Col("!", 1),
    Col("AGENT", 11, wide=20),
    Col("CHAIN", 5, drop=1),
    Col("ASSET", 5),
    Col("STATE", 11),
    Col("DIFFERENCE", DIFFERENCE, right=True),
    Col("SINCE BLOCK", 12, right=True, drop=2),
    Col("NOTE", 24, drop=6, grow=True),
)
TRIAL_COLS = (
    Col("", 1),
    Col("LEDGER", 16, grow=True, wide=24),
    Col("ACCOUNTS", 8, right=True, drop=2),
    Col("DEBITS", 18, right=True, wide=34),
    Col("DIFFERENCE", 14, right=True, wide=20),
    Col("CREDITS", 18, right=True, drop=5, wide=34),
    Col("PENDING", 14, right=True, drop=6, wide=24),
    Col("DIFFERENCE", 12, right=True, drop=1, wide=20),
)
_TONES = {Severity.OK: Tone.PLAIN, Severity.WARNING: Tone.WARNING, Severity.PROBLEM: Tone.PROBLEM}


def key_of(view: PeerView) -> str:
    """A pair's key in a list."""
    return f"pair {view.peer}\0{view.token}"


def figure(amount: int, signs: text.Glyphs, *, sign: bool = False, tone: Tone = Tone.PLAIN) -> Cell:
    """Base units, whole where the column holds them; nothing is quiet."""
    if not amount:
        return Cell("0", Tone.DIM)
    short = text.units(amount, LEAST_FIGURE, sign=sign, cut=signs.cut)
    return Cell(text.exact(amount, 0, sign=sign), tone, short)


def pair_item(view: PeerView, signs: text.Glyphs) -> Item:
    """One pair; a bar and a number for the share of its limit."""
    level = pairs.severity(view)
    tone, percent = _TONES[level], pairs.use_percent(view)
    if percent is None:
        use = headroom = limit = Cell("no limit", Tone.DIM)
    else:
        said = f"{percent}%" if percent < 10_000 else ">9999%"
        use = Cell(f"{text.gauge(percent, BAR, signs)} {said:>5}", tone)
        headroom = figure(view.headroom or 0, signs)
        limit = figure(view.limit or 0, signs, tone=Tone.DIM)
    return Item(
        key_of(view),
        (
            Cell(text.severity_glyph(level, signs), tone),
            Cell(text.safe(view.peer), Tone.STRONG),
            Cell(text.symbol(view.token)),
            figure(view.receivable, signs),
            figure(view.payable, signs),
            figure(view.net, signs, sign=True),
            use,
            headroom,
            figure(pairs.in_flight(view), signs),
            limit,
            figure(pairs.in_transit(view), signs),
        ),
    )


def total_item(total: pairs.TokenTotal, signs: text.Glyphs) -> Item:
    """The sums of one token over the pairs that are shown."""
    pairs_word = "pair" if total.pairs == 1 else "pairs"

    return Item(
        f"total {total.token}",
        (
            Cell(""),
            Cell(f"{signs.total} {text.count(total.pairs)} {pairs_word}", Tone.DIM),
            Cell(text.symbol(total.token), Tone.STRONG),
            figure(total.receivable, signs, tone=Tone.STRONG),
            figure(total.payable, signs, tone=Tone.STRONG),
            figure(total.net, signs, sign=True, tone=Tone.STRONG),
            Cell(""),
            Cell(""),
            figure(total.in_flight, signs, tone=Tone.STRONG),
            Cell(""),
            figure(total.in_transit, signs, tone=Tone.STRONG),
        ),
        heading=True,
    )


def pair_words(view: PeerView, signs: text.Glyphs) -> Words:
    """Everything of a pair in two lines, whole figures whatever the columns could hold."""
    dot = f" {signs.dot} "
    words: Words = [(f"{text.safe(view.peer)} {text.symbol(view.token)}  ", "bold")]
    owes = f"owes us {_units(view.receivable)}{dot}we owe {_units(view.payable)}"
    words.append((f"{owes}{dot}net {text.exact(view.net, 0, sign=True)}\n", ""))
    limit = (
        "no limit"
        if view.limit is None
        else f"headroom {_units(view.headroom or 0)} of {_units(view.limit)}"
    )
    flight = (
        f"in flight in {_units(view.receivable_in_flight)} out {_units(view.payable_in_flight)}"
    )
    parts = [limit, flight]
    if pairs.in_transit(view):
        parts.append(
            f"in transit to us {_units(view.receivable_in_transit)}"
            f" from us {_units(view.payable_in_transit)}"
        )
    words.append((dot.join(parts), "$desk-dim"))
    return words


def _units(amount: int) -> str:
    return text.exact(amount, 0)


def custody_item(view: CustodyView, row: FleetRow | None, signs: text.Glyphs) -> Item:
    """One balance in which chain and ledger do not simply agree."""
    tone = ledger_words.custody_tone(view)
    asset = row.asset if row is not None else None
    glyph = {Tone.PROBLEM: signs.problem, Tone.WARNING: signs.warning}.get(tone, " ")
    return Item(
        str(view.account),
        (
            Cell(glyph, tone),
            Cell(text.safe(row.agent) if row else f"account {view.account}", Tone.STRONG),
            Cell(text.safe(row.chain) if row else "-"),
            Cell(text.symbol(row.symbol) if row else "-"),
            Cell(ledger_words.custody_state(view), tone),
            Cell(
                ledger_words.custody_figure(view, asset, 80, signs.cut),
                tone,
                ledger_words.custody_figure(view, asset, DIFFERENCE, signs.cut),
            ),
            Cell(text.count(view.since) if view.since else "-", Tone.DIM),
            Cell(ledger_words.custody_note(view), Tone.DIM),
        ),
    )


def trial_item(view: TrialView, signs: text.Glyphs) -> Item:
    """One ledger's sums and what they differ by."""
    tone, glyph = Tone.OK, signs.ok
    if not view.balanced:
        tone, glyph = Tone.PROBLEM, signs.problem
        if not view.confirmed:
            tone, glyph = Tone.WARNING, signs.warning
    return Item(
        str(view.ledger),
        (
            Cell(glyph, tone),
            Cell(ledger_words.trial_name(view), Tone.STRONG),
            Cell(text.count(view.accounts), Tone.DIM),
            figure(view.debits, signs),
            _difference(view.debits - view.credits, tone, signs),
            figure(view.credits, signs),
            figure(view.debits_pending, signs, tone=Tone.DIM),
            _difference(view.debits_pending - view.credits_pending, tone, signs),
        ),
    )


def _difference(amount: int, tone: Tone, signs: text.Glyphs) -> Cell:
    return figure(amount, signs, sign=True, tone=tone) if amount else Cell("0", Tone.OK)


MOST_TRIAL_LINES = 8


def trial_lines(trial: Sequence[TrialView], signs: text.Glyphs) -> Words:
    """A line per ledger for a pane beside the list, those out of balance first."""
    found = sorted(trial, key=lambda view: (view.balanced, view.ledger))
    words: Words = []
    if found:
        words.append((f"\n{'ledger':<13} {'debits':>18} {'difference':>12}", "bold $desk-dim"))
    for view in found[:MOST_TRIAL_LINES]:
        name = text.fit(ledger_words.trial_name(view), 13, cut=signs.cut)
        off = view.debits - view.credits or view.debits_pending - view.credits_pending
        style = "$success" if view.balanced else "bold $error"
        debits = text.units(view.debits, 18, cut=signs.cut)
        words.append((f"\n{name} {debits:>18} ", "$desk-dim"))
        words.append((text.units(off, 12, sign=bool(off), cut=signs.cut).rjust(12), style))
    more = len(found) - MOST_TRIAL_LINES
    if more > 0:
        words.append((f"\n{text.count(more)} more: t shows every ledger", "$desk-dim"))
    return words
