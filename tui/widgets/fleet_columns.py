"""The columns of the fleet table: what each says, how wide it is, which go first when it is tight.

A column is known by its key, never by its place. Widths come from here and from the room there
is, never from measuring values; so a value that changes moves nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from core.model import Severity
from tui import text
from tui.fleet_order import SortKey
from tui.fleet_row import FleetRow
from tui.widgets.sparkline import sparkline


class Column(NamedTuple):
    """One column. `width` is what it needs and `limit` what it may grow to, in cells; the
    highest `drop` leaves first as the table narrows, and 0 never does."""

    key: str
    title: str
    words: str
    width: int
    limit: int
    drop: int
    right: bool = False


class Drawing(NamedTuple):
    """How cells are drawn: the signs in use and the present (ms since the epoch)."""

    signs: text.Glyphs
    now_ms: int
    ascii_only: bool = False
    levels: Sequence[int | None] | None = None


class Placed(NamedTuple):
    """A column with the place the layout gave it: cells [x, x + width)."""

    column: Column
    x: int
    width: int


COLUMNS: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("severity", " !", "severity, as a glyph", 2, 2, 0),
        Column("agent", "AGENT", "agent id", 14, 20, 0),
        Column("chain", "CHAIN", "chain", 6, 8, 2),
        Column("asset", "ASSET", "symbol of the asset", 6, 8, 0),
        Column("balance", "BALANCE ", "balance, a cut marked", 18, 18, 0, True),
        Column("change", "Δ1h", "change over the last hour", 10, 12, 3, True),
        Column("runway", "RUNWAY", "time until the floor at the present rate", 7, 7, 4, True),
        Column("trend", "TREND", "the last hour as a sparkline", 10, 12, 6),
        Column("state", "STATE", "state of the wallet", 9, 9, 5),
        Column("checked", "CHECKED", "when it was last read, ~ if that failed", 7, 7, 7),
        Column("change24h", "Δ24h", "change over the last day", 10, 12, 8, True),
        Column("floor", "FLOOR ", "balance below which it is a problem", 18, 20, 9, True),
        Column("target", "TARGET ", "balance a top-up brings it to", 18, 20, 10, True),
        Column("reserved", "RESERVED ", "what the chain does not let go", 18, 20, 11, True),
        Column("group", "GROUP", "group of the agent", 10, 16, 12),
        Column("tags", "TAGS", "tags of the agent", 12, 24, 13),
        Column("address", "ADDRESS", "address on the chain", 15, 44, 14),
        Column("block", "BLOCK", "block of the last change", 12, 12, 15, True),
        Column("problem", "PROBLEM", "why it is not all right", 24, 60, 16),
    )
}

DEFAULT_COLUMNS = (
    "severity",
    "agent",
    "chain",
    "asset",
    "balance",
    "change",
    "runway",
    "trend",
    "state",
    "checked",
)

_GAP = 1
_GROWTH = ("agent", "asset", "change", "trend", "chain", "problem", "address", "tags", "group")
_SORTS = frozenset(sort.value for sort in SortKey)


def sort_key(column: str) -> SortKey | None:
    """What a column sorts by; None where rows cannot be sorted by it."""
    return SortKey(column) if column in _SORTS else None


def lay_out(chosen: Sequence[str], width: int) -> tuple[Placed, ...]:
    """Place the chosen columns, in their order, in `width` cells.

    Columns leave by `drop` until the rest fits or only those that never leave are left (then
    the table scrolls sideways). Room that is left over goes to the columns that can use it.
    """
    kept = [COLUMNS[key] for key in dict.fromkeys(chosen) if key in COLUMNS]
    while _needed(kept) > width:
        first = max(kept, key=lambda column: column.drop)
        if first.drop == 0:
            break
        kept.remove(first)
    room = width - _needed(kept)
    widths = {column.key: column.width for column in kept}
    for key in _GROWTH:
        if key in widths and room > 0:
            more = min(room, COLUMNS[key].limit - widths[key])
            widths[key] += more
            room -= more
    placed: list[Placed] = []
    x = 0
    for column in kept:
        placed.append(Placed(column, x, widths[column.key]))
        x += widths[column.key] + _GAP
    return tuple(placed)


def _needed(columns: Sequence[Column]) -> int:
    return sum(column.width + _GAP for column in columns) - _GAP if columns else 0


def cell(placed: Placed, row: FleetRow, drawing: Drawing) -> str:
    """A row's text for a column, exactly as wide as the column was placed."""
    content = _CELLS[placed.column.key](row, placed.width, drawing)
    return text.fit(content, placed.width, right=placed.column.right, cut=drawing.signs.cut)


def title(placed: Placed, sort: SortKey, is_descending: bool, signs: text.Glyphs) -> str:
    """A column's heading in its width, with the arrow where rows are sorted by it."""
    heading = placed.column.title.replace("Δ", signs.change)
    if placed.column.key == sort.value:
        arrow = signs.descending if is_descending else signs.ascending
        heading = f" {arrow}" if placed.width < 3 else f"{heading.rstrip()}{arrow}"
    return text.fit(heading, placed.width, right=placed.column.right, cut=signs.cut)


VOLATILE = frozenset({"trend", "checked"})
"""Columns that change without a new version of the row: by time, or by what is fetched later."""


def _severity(row: FleetRow, width: int, drawing: Drawing) -> str:
    # the first cell is the cursor's
    return " " + text.severity_glyph(row.view.severity, drawing.signs)


def _balance(row: FleetRow, width: int, drawing: Drawing) -> str:
    amount = row.view.amount
    signs = drawing.signs
    mark = signs.stale if row.view.error else ""
    if amount is None:
        return "unknown" + (mark or " ")
    return text.aligned(amount, row.asset.decimals, width, mark=mark, cut=signs.cut)


def _limit(amount: int | None, row: FleetRow, width: int, drawing: Drawing) -> str:
    if amount is None:
        return "- "
    return text.aligned(amount, row.asset.decimals, width, cut=drawing.signs.cut)


def _checked(row: FleetRow, width: int, drawing: Drawing) -> str:
    interval = row.line.state.interval_ms
    when = text.checked(row.checked_ms, drawing.now_ms, interval)
    if row.view.error:
        when = text.age(drawing.now_ms - row.checked_ms) if row.checked_ms else "never"
        return f"{when} {drawing.signs.stale}"
    return when


def _problem(row: FleetRow, width: int, drawing: Drawing) -> str:
    view = row.view
    words = view.problem or view.error or view.mark
    return text.safe(words) if view.severity is not Severity.OK or words else ""


_CELLS: Mapping[str, Callable[[FleetRow, int, Drawing], str]] = {
    "severity": _severity,
    "agent": lambda row, width, drawing: text.safe(row.view.agent),
    "chain": lambda row, width, drawing: text.safe(row.view.chain),
    "asset": lambda row, width, drawing: text.symbol(row.asset.symbol),
    "balance": _balance,
    "change": lambda row, width, drawing: text.delta(
        row.view.change_1h, row.asset.decimals, width, drawing.signs.cut
    ),
    "runway": lambda row, width, drawing: text.runway(row.view),
    "trend": lambda row, width, drawing: sparkline(drawing.levels or (), width, drawing.ascii_only),
    "state": lambda row, width, drawing: text.wallet_state(row.state),
    "checked": _checked,
    "change24h": lambda row, width, drawing: text.delta(
        row.view.change_24h, row.asset.decimals, width, drawing.signs.cut
    ),
    "floor": lambda row, width, drawing: _limit(row.view.floor, row, width, drawing),
    "target": lambda row, width, drawing: _limit(row.view.target, row, width, drawing),
    "reserved": lambda row, width, drawing: _limit(row.view.reserved, row, width, drawing),
    "group": lambda row, width, drawing: text.safe(row.group),
    "tags": lambda row, width, drawing: text.safe(",".join(row.tags)),
    "address": lambda row, width, drawing: text.elide(
        text.safe(row.address), width, drawing.signs.cut
    ),
    "block": lambda row, width, drawing: text.count(row.view.block),
    "problem": _problem,
}
