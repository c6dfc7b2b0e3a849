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

WIDE_FIGURE, FIGURE, BAR = 14, 12, 7
PAIR_COLS = (
    Col("!", 1),
    Col("PEER", 13, grow=True),
    Col("TOKEN", 5),
    Col("RECEIVABLE", WIDE_FIGURE, right=True, drop=1),
    Col("PAYABLE", FIGURE, right=True, drop=2),
    Col("NET", 13, right=True),
    Col("USE OF LIMIT", BAR + 6),
    Col("HEADROOM", FIGURE, right=True, drop=6),
    Col("IN FLIGHT", 10, right=True, drop=7),
    Col("LIMIT", FIGURE, right=True, drop=8),
    Col("IN TRANSIT", 10, right=True, drop=9),
)
DIFFERENCE = 22
CUSTODY_COLS = (
    Col("!", 1),
    Col("AGENT", 11, grow=True),
    Col("CHAIN", 5),
    Col("ASSET", 5),
    Col("STATE", 11),
    Col("DIFFERENCE", DIFFERENCE, right=True),
    Col("SINCE BLOCK", 12, right=True, drop=1),
    Col("NOTE", 30, drop=6),
    Col("CHAIN SAYS", 26, right=True, drop=7),
    Col("LEDGER SAYS", 26, right=True, drop=8),
)
TRIAL_COLS = (
    Col("", 1),
    Col("LEDGER", 16, grow=True),
    Col("ACCOUNTS", 8, right=True, drop=2),
    Col("DEBITS", 20, right=True),
    Col("DIFFERENCE", 16, right=True),
    Col("CREDITS", 20, right=True, drop=5),
    Col("PENDING", 16, right=True, drop=6),
    Col("DIFFERENCE", 12, right=True, drop=1),
)
_TONES = {Severity.OK: Tone.PLAIN, Severity.WARNING: Tone.WARNING, Severity.PROBLEM: Tone.PROBLEM}


def key_of(view: PeerView) -> str:
    """A pair's key in a list."""
    return f"pair {view.peer}\0{view.token}"


def _figure(amount: int, width: int, signs: text.Glyphs, *, sign: bool = False) -> Cell:
    if not amount:
        return Cell("0", Tone.DIM)
    return Cell(text.units(amount, width, sign=sign, cut=signs.cut))


def pair_item(view: PeerView, signs: text.Glyphs) -> Item:
    """One pair; a bar and a number for the share of its limit."""
    level = pairs.severity(view)
    tone, percent = _TONES[level], pairs.use_percent(view)
    if percent is None:
        use = headroom = limit = Cell("no limit", Tone.DIM)
    else:
        said = f"{percent}%" if percent < 10_000 else ">9999%"
        use = Cell(f"{text.gauge(percent, BAR, signs)} {said:>5}", tone)
        headroom = _figure(view.headroom or 0, FIGURE, signs)
        limit = Cell(text.units(view.limit or 0, FIGURE, cut=signs.cut), Tone.DIM)
    return Item(
        key_of(view),
        (
            Cell(text.severity_glyph(level, signs), tone),
            Cell(text.safe(view.peer), Tone.STRONG),
            Cell(text.symbol(view.token)),
            _figure(view.receivable, WIDE_FIGURE, signs),
            _figure(view.payable, FIGURE, signs),
            _figure(view.net, 13, signs, sign=True),
            use,
            headroom,
            _figure(pairs.in_flight(view), 10, signs),
            limit,
            _figure(pairs.in_transit(view), 10, signs),
        ),
    )


def total_item(total: pairs.TokenTotal, signs: text.Glyphs) -> Item:
    """The sums of one token over the pairs that are shown."""
    pairs_word = "pair" if total.pairs == 1 else "pairs"

    def cell(amount: int, width: int, *, sign: bool = False) -> Cell:
        return Cell(text.units(amount, width, sign=sign, cut=signs.cut), Tone.STRONG)

    return Item(
        f"total {total.token}",
        (
            Cell(""),
            Cell(f"{signs.total} {text.count(total.pairs)} {pairs_word}", Tone.DIM),
            Cell(text.symbol(total.token), Tone.STRONG),
            cell(total.receivable, WIDE_FIGURE),
            cell(total.payable, FIGURE),
            cell(total.net, 13, sign=True),
            Cell(""),
            Cell(""),
            cell(total.in_flight, 10),
            Cell(""),
            cell(total.in_transit, 10),
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
    places = asset.decimals if asset is not None else 0
    chain_says = "-" if view.chain_amount is None else text.exact(view.chain_amount, places)
    return Item(
        str(view.account),
        (
            Cell(glyph, tone),
            Cell(text.safe(row.agent) if row else f"account {view.account}", Tone.STRONG),
            Cell(text.safe(row.chain) if row else "-"),
            Cell(text.symbol(row.symbol) if row else "-"),
            Cell(ledger_words.custody_state(view), tone),
            Cell(ledger_words.custody_figure(view, asset, DIFFERENCE, signs.cut), tone),
            Cell(text.count(view.since) if view.since else "-", Tone.DIM),
            Cell(ledger_words.custody_note(view), Tone.DIM),
            Cell(chain_says, Tone.DIM),
            Cell(text.exact(view.ledger_amount, places), Tone.DIM),
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
            Cell(text.units(view.debits, 20, cut=signs.cut)),
            _difference(view.debits - view.credits, 16, tone, signs),
            Cell(text.units(view.credits, 20, cut=signs.cut)),
            Cell(text.units(view.debits_pending, 16, cut=signs.cut), Tone.DIM),
            _difference(view.debits_pending - view.credits_pending, 12, tone, signs),
        ),
    )


def _difference(amount: int, width: int, tone: Tone, signs: text.Glyphs) -> Cell:
    said = text.units(amount, width, sign=bool(amount), cut=signs.cut)
    return Cell(said, tone if amount else Tone.OK)


MOST_TRIAL_LINES = 8


def trial_lines(trial: Sequence[TrialView], signs: text.Glyphs) -> Words:
    """A line per ledger for a pane beside the list, those out of balance first."""
    found = sorted(trial, key=lambda view: (view.balanced, view.ledger))
    words: Words = []
    for view in found[:MOST_TRIAL_LINES]:
        name = text.fit(ledger_words.trial_name(view), 14, cut=signs.cut)
        off = view.debits - view.credits or view.debits_pending - view.credits_pending
        style = "$success" if view.balanced else "bold $error"
        figure = text.units(view.debits, 20, cut=signs.cut)
        words.append((f"\n{name} {figure:>20} ", "$desk-dim"))
        words.append((text.units(off, 12, sign=bool(off), cut=signs.cut).rjust(12), style))
    more = len(found) - MOST_TRIAL_LINES
    if more > 0:
        words.append((f"\n{text.count(more)} more: t shows every ledger", "$desk-dim"))
    return words
