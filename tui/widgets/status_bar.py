"""The two lines on top of every screen: who and where, and how the fleet stands.

Pure functions build the lines out of parts with a rank; parts of the lowest rank are left out
until a line fits, so that the bar never scrolls and never wraps. The widget only asks the
session, and repaints a line when its words changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.api import BackupsView, ChainState, LedgerView, StoreHealth, TrialView
from tui import alert_words, backup_words, ledger_words, text
from tui.alerts import OpenAlerts
from tui.fleet import FleetCounts, SymbolTotal
from tui.session import Link, Phase, Session
from tui.widgets.list_table import Tone

WIDE = 116
"""Cells from which the bar says more about alerts."""
DIM, OK, WARNING, PROBLEM, STRONG = "$desk-dim", "$success", "$warning", "bold $error", "bold"


class Part(NamedTuple):
    """A piece of a line, in the order of reading. Rank 0 always stays; of the others the
    highest is left out first."""

    words: tuple[tuple[str, str], ...]
    rank: int = 0

    @property
    def width(self) -> int:
        """Cells it occupies."""
        return sum(text.cells(words) for words, _ in self.words)


def part(words: str, style: str = "", rank: int = 0) -> Part:
    """A part of one style."""
    return Part(((words, style),), rank)


def laid_out(
    left: Sequence[Part], right: Sequence[Part], width: int, gap: str = " │ "
) -> tuple[tuple[str, str], ...]:
    """The parts that fit in `width` cells as (words, style), the right ones at the right end."""
    kept = [*left, *right]
    joint = text.cells(gap)

    def used() -> int:
        here = [p for p in kept if p in left]
        there = [p for p in kept if p in right]
        joints = joint * (max(0, len(here) - 1) + max(0, len(there) - 1))
        return sum(p.width for p in kept) + joints + (1 if here and there else 0)

    while used() > width:
        spare = [p for p in kept if p.rank]
        if not spare:
            break
        kept.remove(max(reversed(spare), key=lambda p: p.rank))
    first = _joined([p for p in left if p in kept], gap)
    last = _joined([p for p in right if p in kept], gap)
    room = width - sum(text.cells(words) for words, _ in (*first, *last))
    if room < 0:
        first = _clipped(first, max(0, width - sum(text.cells(words) for words, _ in last)))
    return (*first, (" " * max(0, room), ""), *last)


def _joined(parts: Iterable[Part], gap: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for each in parts:
        if found:
            found.append((gap, "$desk-rule"))
        found.extend(each.words)
    return tuple(found)


def _clipped(words: tuple[tuple[str, str], ...], width: int) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for each, style in words:
        shown = text.clip(each, width)
        found.append((shown, style))
        width -= text.cells(shown)
        if shown != each:
            break
    return tuple(found)


def badges(link: Link, *, environment: str, demo: bool, read_only: bool) -> list[Part]:
    """`bursar PROD RO DEMO`: what kind of desk this is, in words."""
    words: list[tuple[str, str]] = [("bursar", "bold $accent")]
    name = text.clip(text.safe(environment or link.environment), 16)
    is_demo = demo or link.demo
    if name and not (is_demo and name.lower() == "demo"):
        production = is_production(name)
        words.append((" " + ("PROD" if production else name), PROBLEM if production else STRONG))
    if read_only:
        words.append((" RO", "bold $accent"))
    if is_demo:
        words.append((" DEMO", WARNING))
    return [Part(tuple(words))]


def is_production(environment: str) -> bool:
    """Whether an environment's name means that mistakes are expensive."""
    return environment.strip().lower() in ("production", "prod")


def alert_parts(alerts: OpenAlerts, signs: text.Glyphs, *, wide: bool) -> list[Part]:
    """`✗ 7 alerts`, and on a wide terminal how many of them are problems. The glyph is that of the
    worst. It stands at every width: other parts go for it."""
    said = alert_words.loud_words(alerts, with_problems=wide)
    if not said:
        return []
    severity = alert_words.worst(alerts)
    return [part(f"{text.severity_glyph(severity, signs)} {said}", alert_words.STYLES[severity])]


def chain_parts(
    chains: Sequence[ChainState], now_ms: int, signs: text.Glyphs, *, known: bool
) -> list[Part]:
    """`base● xrpl● tron◐ stale 2m`: a chain that lives is a dot, any other says its state."""
    shown: list[Part] = []
    for chain in chains:
        name = text.clip(text.safe(chain.name), 14, signs.cut)
        if chain.state == "live" and known:
            shown.append(Part(((name, ""), (signs.full, OK)), rank=6))
        else:
            tone = PROBLEM if chain.state == "down" else WARNING
            if chain.state in ("live", "starting"):
                tone = DIM
            said = "" if chain.state == "live" else f" {text.chain_words(chain, now_ms)}"
            glyph = text.chain_glyph(chain.state, signs)
            shown.append(Part(((name, ""), (glyph, tone), (said, tone)), rank=2))
    if not shown:
        return []
    healthy = [p for p in shown if p.rank == 6]
    words = tuple(w for i, p in enumerate(shown) for w in ((("  ", ""),) if i else ()) + p.words)
    if sum(p.width for p in shown) + 2 * len(shown) <= 44 or not healthy:
        return [Part(words, rank=2)]
    trouble = [p for p in shown if p.rank != 6]
    count = Part(((f"{len(healthy)} live", ""), (signs.full, OK)), rank=5)
    return [count, *trouble]


def store_parts(store: StoreHealth | None, signs: text.Glyphs) -> list[Part]:
    """Nothing while facts reach the disk; why they do not, when they do not."""
    if store is None or not store.error:
        return []
    return [part(f"{signs.problem} store: {text.clip(text.safe(store.error), 40)}", PROBLEM, 1)]


def ledger_parts(
    ledger: LedgerView | None, trial: Sequence[TrialView], signs: text.Glyphs, *, known: bool
) -> list[Part]:
    """`ledger●`, or with what is wrong in words: `ledger○ away`, `ledger◐ not balanced`."""
    found = ledger_words.standing(ledger, trial)
    if found is None:
        return []
    if not found.said:
        return [Part((("ledger", ""), (signs.full, OK if known else DIM)), rank=5)]
    tone = PROBLEM if found.tone is Tone.PROBLEM else WARNING
    glyph = signs.empty if found.said == "away" else signs.half
    return [Part((("ledger", ""), (f"{glyph} {found.said}", tone)), rank=1)]


def settlement_parts(stuck: int, signs: text.Glyphs) -> list[Part]:
    """Nothing while settlements go on; how many do not."""
    return [part(f"{signs.problem} {text.count(stuck)} STUCK", PROBLEM, 1)] if stuck else []


def backup_parts(view: BackupsView | None, now_ms: int, signs: text.Glyphs) -> list[Part]:
    """`backup ✓ 6h`: the age of the last one; or what is wrong in words: `backup ✗ failing 2d`."""
    found = backup_words.standing(view, now_ms)
    if found is None:
        return []
    if found.tone is Tone.OK:
        return [Part((("backup ", ""), (signs.ok, OK), (f" {found.said}", "")), rank=5)]
    is_bad = found.tone is Tone.PROBLEM
    glyph, tone = (signs.problem, PROBLEM) if is_bad else (signs.warning, WARNING)
    return [Part((("backup ", ""), (f"{glyph} {found.said}", tone)), rank=1 if is_bad else 3)]


def link_parts(
    link: Link, *, paused: bool, period_s: float, signs: text.Glyphs, restarting: bool = False
) -> list[Part]:
    """`live 1s`, `paused`, `connecting`, `engine lost`: whether the picture moves, in words.
    `restarting`: it was this desk that had the engine start again."""
    match link.phase:
        case Phase.LOST if restarting:
            return [part("engine starts again", WARNING)]
        case Phase.CONNECTING:
            return [part("connecting", DIM)]
        case Phase.FAILED:
            return [part(f"{signs.problem} no engine", PROBLEM)]
        case Phase.LOST:
            tried = f", tried {link.attempt}×" if link.attempt else ""
            return [part(f"{signs.problem} engine lost{tried}", PROBLEM)]
        case Phase.LIVE:
            if paused:
                return [part("‖ paused" if signs is text.UNICODE else "paused", WARNING)]
            return [part(f"live {rate(period_s)}", OK)]


def rate(period_s: float) -> str:
    """`1s`, `250ms`: the time between two pictures."""
    return f"{period_s:g}s" if period_s >= 1 else f"{round(period_s * 1000)}ms"


def count_parts(counts: FleetCounts, signs: text.Glyphs) -> list[Part]:
    """`48 agents  ✓43 ⚠2 ✗3`."""
    words = [(f"{text.count(counts.agents)} agents  ", "")]
    words.append((f"{signs.ok}{text.count(counts.ok)}", OK))
    words.append(
        (f" {signs.warning}{text.count(counts.warning)}", WARNING if counts.warning else DIM)
    )
    words.append(
        (f" {signs.problem}{text.count(counts.problem)}", PROBLEM if counts.problem else DIM)
    )
    return [Part(tuple(words))]


def total_parts(found: Sequence[SymbolTotal], signs: text.Glyphs) -> list[Part]:
    """`Σ 81.2 ETH · 4,182,330 USDC`; `~` before a sum from which unknown accounts are missing."""
    shown: list[Part] = []
    for place, line in enumerate(found):
        lead = f"{signs.total} " if place == 0 else f" {signs.dot} "
        about = signs.stale if line.unknown else ""
        figure = text.total(line.amount, line.decimals)
        if len(figure) > 24:
            figure = text.compact(line.amount, line.decimals)
        symbol = text.clip(text.symbol(line.symbol), 12, signs.cut)
        words = ((lead, DIM), (f"{about}{figure}", ""), (f" {symbol}", DIM))
        shown.append(Part(words, rank=3 + place))
    return shown


class StatusBar(Vertical):
    """The two lines, for any screen. It watches the session and nothing else."""

    DEFAULT_CSS = """
    StatusBar {
        height: 2;
        padding: 0 1;
        background: $desk-bar;
        & > Static { height: 1; width: 1fr; text-wrap: nowrap; }
    }
    """

    def __init__(
        self, session: Session, *, environment: str, demo: bool, read_only: bool, safe: bool
    ) -> None:
        super().__init__()
        self._session = session
        self._environment = environment
        self._demo = demo
        self._read_only = read_only
        self._signs = text.glyphs(safe)
        self._gap = " | " if safe else " │ "
        self._shown: list[tuple[tuple[str, str], ...]] = [(), ()]

    def compose(self) -> ComposeResult:
        """Two lines of text."""
        yield Static(id="status-where")
        yield Static(id="status-fleet")

    def on_mount(self) -> None:
        """Follow the session; `pulse` moves the clock and the ages."""
        for concern in ("link", "paused", "period_s", "alerts", "pulse"):
            self.watch(self._session, concern, self.redraw, init=False)

    def on_resize(self) -> None:
        """Another width, other parts."""
        self.redraw()

    def redraw(self) -> None:
        """Write both lines anew, where their words changed."""
        if not self.is_mounted or not self.size.width:
            return
        session, signs = self._session, self._signs
        now_ms = session.now_ms()
        width = self.size.width - 2
        lines = (
            laid_out(
                [
                    *badges(
                        session.link,
                        environment=self._environment,
                        demo=self._demo,
                        read_only=self._read_only,
                    ),
                    *alert_parts(session.alerts, signs, wide=width >= WIDE),
                    *chain_parts(
                        session.chains, now_ms, signs, known=session.link.phase is Phase.LIVE
                    ),
                    *ledger_parts(
                        session.ledger,
                        session.trial,
                        signs,
                        known=session.link.phase is Phase.LIVE,
                    ),
                    *settlement_parts(session.stuck, signs),
                    *backup_parts(session.backups, now_ms, signs),
                    *store_parts(session.store, signs),
                ],
                [part(f"{text.clock(now_ms)} UTC", DIM)],
                width,
                self._gap,
            ),
            laid_out(
                [
                    *count_parts(session.model.counts, signs),
                    _merged(total_parts(session.model.totals(), signs), width - 44),
                ],
                link_parts(
                    session.link,
                    paused=session.paused,
                    period_s=session.period_s,
                    signs=signs,
                    restarting=bool(session.restarting),
                ),
                width,
                "   ",
            ),
        )
        for place, (line, static) in enumerate(zip(lines, self.query(Static), strict=True)):
            if line != self._shown[place]:
                self._shown[place] = line
                static.update(Content.assemble(*line), layout=False)


def _merged(parts: Sequence[Part], room: int) -> Part:
    """The totals as one part: as many of them, from the first, as there is room for."""
    words: list[tuple[str, str]] = []
    for each in parts:
        if each.width > room:
            break
        room -= each.width
        words.extend(each.words)
    return Part(tuple(words), rank=3)
