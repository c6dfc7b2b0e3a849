"""The settlement board: three lanes on a wide terminal, one grouped list on a narrow one.

Both show the same rows and share one cursor; which of them is seen follows the width. The board
knows how things are drawn and where the cursor is, and gives no command.
"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.message import Message

from tui import settlement_words, settlements, text
from tui.settlement_words import LANE_NAMES
from tui.settlements import Board, Counts, Lane, Row, SettlementKey
from tui.widgets.list_table import Cell, Col, Item, ListTable, Tone
from tui.widgets.settlement_lane import SettlementLane

BAR = 6
COLS = (
    Col("!", 1),
    Col("PEER", 14, grow=True),
    Col("TOKEN", 5),
    Col("NOW", 17),
    Col("OF THRESHOLD", BAR + 7),
    Col("DUE", 11, right=True),
    Col("HEADROOM", 10, right=True, drop=1),
    Col("THRESHOLD", 11, right=True, drop=3),
    Col("PER MINUTE", 10, right=True, drop=2),
)
LANE_IDS = {Lane.IDLE: "lane-idle", Lane.PENDING: "lane-pending", Lane.IN_PROGRESS: "lane-progress"}
LANE_NOTES = {
    Lane.IDLE: "nearest to its threshold first",
    Lane.PENDING: "a settlement is asked for",
    Lane.IN_PROGRESS: "a payment is under way",
}
LANE_EMPTY = {
    Lane.IDLE: "no pair is idle",
    Lane.PENDING: "nothing is asked for",
    Lane.IN_PROGRESS: "nothing is under way",
}
LIST_ORDER = (Lane.IN_PROGRESS, Lane.PENDING, Lane.IDLE)
"""In the list what needs an eye comes first."""


class SettlementBoard(Container):
    """Lanes and list over one set of rows."""

    DEFAULT_CSS = """
    SettlementBoard {
        height: 1fr;
        & > #settlement-lanes { display: none; height: 1fr; }
        & SettlementLane { border-left: solid $desk-rule; }
        & #lane-idle { border-left: none; }
        &.-lanes > #settlement-lanes { display: block; }
        &.-lanes > ListTable { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,left", "lane(-1)", "Lane to the left", show=False, id="settlement.left"),
        Binding("l,right", "lane(1)", "Lane to the right", show=False, id="settlement.right"),
    ]

    class Highlighted(Message):
        """The cursor came to another row."""

    class Selected(Message):
        """The row under the cursor was opened."""

    def __init__(self, signs: text.Glyphs) -> None:
        super().__init__()
        self._signs = signs
        self._board = Board()
        self._counts = Counts()
        self._rows: dict[str, Row] = {}
        self._empty = ""

    def compose(self) -> ComposeResult:
        """Lanes from left to right as a settlement goes, and the list."""
        with Horizontal(id="settlement-lanes"):
            for lane, lane_id in LANE_IDS.items():
                yield SettlementLane(lane, self._signs, id=lane_id)
        yield ListTable(COLS, opens=True, signs=self._signs, id="settlement-list")

    # --- what others see -------------------------------------------------------------------

    @property
    def lanes(self) -> tuple[SettlementLane, ...]:
        """The three lanes."""
        return tuple(self.query(SettlementLane))

    @property
    def in_lanes(self) -> bool:
        """Whether lanes are seen, not the list."""
        return self.has_class("-lanes")

    @property
    def row(self) -> Row | None:
        """The row under the cursor of the lane that has the focus (or had), or of the list."""
        if not self.in_lanes:
            return self._rows.get(self.query_one(ListTable).cursor)
        return self._lane().row

    def show(self, board: Board, counts: Counts, now_ms: int, *, empty: str) -> None:
        """Draw these rows; `empty` says why where there are none. The cursor goes with its
        settlement into another lane; from one that is gone, and was the last of its lane, to what
        needs an eye most."""
        before = self.row
        self._board, self._counts, self._empty = board, counts, empty
        self._rows = {_id(row): row for lane in Lane for row in board.lane(lane)}
        self.tick(now_ms)
        if before is None or not self._rows:
            return
        if _id(before) in self._rows:
            if self.row is None or self.row.key != before.key:
                self.move_to(before.key)
        elif self.row is None:
            self.move_to(next(board.lane(lane)[0] for lane in LIST_ORDER if board.lane(lane)).key)

    def tick(self, now_ms: int) -> None:
        """Draw what is seen; what did not change costs nothing."""
        board, is_empty = self._board, not self._rows
        if not self.in_lanes:
            table = self.query_one(ListTable)
            table.show(list_items(board, now_ms, self._signs), empty=self._empty)
            return
        for lane in self.lanes:
            total = len(board.lane(lane.lane))
            note = LANE_NOTES[lane.lane]
            if lane.lane is Lane.IDLE and board.folded:
                total += board.folded
                note = f"the nearest {len(board.idle)} shown, / finds others"
            lane.show(
                board.lane(lane.lane),
                now_ms,
                title=f"{LANE_NAMES[lane.lane]} {text.count(total)}",
                note=note,
                empty=self._empty if is_empty and lane.lane is Lane.IDLE else LANE_EMPTY[lane.lane],
            )

    def use_lanes(self, wanted: bool, now_ms: int) -> None:
        """Show lanes, or the list; cursor and focus go with the row."""
        if wanted is self.in_lanes:
            return
        row = self.row
        had_focus = self.has_focus_within or self.screen.focused is None
        self.set_class(wanted, "-lanes")
        self.tick(now_ms)
        if row is not None:
            self.move_to(row.key)
        if had_focus:
            self.take_focus()

    def move_to(self, key: SettlementKey) -> None:
        """Put the cursor on a settlement, in whichever lane it is."""
        if not self.in_lanes:
            self.query_one(ListTable).move_to("\0".join(key))
            return
        for lane in self.lanes:
            if lane.move_to(key):
                self._last = lane.lane
                if self.screen.focused in self.lanes:
                    self.screen.set_focus(lane)

    def take_focus(self) -> None:
        """The keys go to the list, or to the lane with the cursor."""
        if self.in_lanes:
            self._lane().focus()
        else:
            self.query_one(ListTable).focus()

    # --- lanes -----------------------------------------------------------------------------

    _last: Lane | None = None

    def _lane(self) -> SettlementLane:
        """The lane of the cursor; at first the one that needs an eye most."""
        lanes = {lane.lane: lane for lane in self.lanes}
        focused = next((lane for lane in lanes.values() if lane.has_focus), None)
        if focused is not None:
            return focused
        if self._last is not None:
            return lanes[self._last]
        busy = (lanes[lane] for lane in LIST_ORDER if self._board.lane(lane))
        return next(busy, lanes[Lane.IDLE])

    def action_lane(self, by: int) -> None:
        """The lane beside."""
        if self.in_lanes:
            lanes = self.lanes
            place = lanes.index(self._lane()) + by
            lanes[max(0, min(len(lanes) - 1, place))].focus()

    @on(SettlementLane.Highlighted)
    @on(ListTable.Highlighted)
    def _moved(self, event: Message) -> None:
        event.stop()
        focused = next((lane for lane in self.lanes if lane.has_focus), None)
        if focused is not None:
            self._last = focused.lane
        self.post_message(self.Highlighted())

    @on(SettlementLane.Selected)
    @on(ListTable.Selected)
    def _opened(self, event: Message) -> None:
        event.stop()
        self.post_message(self.Selected())


def _id(row: Row) -> str:
    return "\0".join(row.key)


# --- the list ------------------------------------------------------------------------------


def list_items(board: Board, now_ms: int, signs: text.Glyphs) -> list[Item]:
    """The rows grouped by state, each group under a heading with its count."""
    items: list[Item] = []
    for lane in LIST_ORDER:
        found = board.lane(lane)
        if not found:
            continue
        total = len(found) + (board.folded if lane is Lane.IDLE else 0)
        stuck = sum(row.view.stuck for row in found)
        items.append(_heading(lane.value, f"{LANE_NAMES[lane]} {text.count(total)}", stuck, signs))
        items += [_item(row, now_ms, signs) for row in found]
    if board.folded:
        items.append(_heading("folded", f"{text.count(board.folded)} more idle", 0, signs))
    return items


def _heading(key: str, words: str, stuck: int, signs: text.Glyphs) -> Item:
    loud = f"{text.count(stuck)} STUCK" if stuck else ""
    cells = [Cell(""), Cell(words, Tone.STRONG), Cell(""), Cell(loud, Tone.PROBLEM)]
    if stuck:
        cells[0] = Cell(signs.problem, Tone.PROBLEM)
    return Item(key, (*cells, *(Cell("") for _ in COLS[len(cells) :])), heading=True)


def _item(row: Row, now_ms: int, signs: text.Glyphs) -> Item:
    view, tone = row.view, settlement_words.tone(row)
    peer = short = text.safe(view.peer)
    if view.direction == "payable":
        peer, short = f"{peer} (we owe)", f"{text.clip(peer, 7, signs.cut)} we owe"
    share = f"{settlement_words.share_bar(view, BAR, signs)} {settlement_words.share(view):>6}"
    if view.threshold is None:
        share = "no threshold"
    rate = view.rate_per_minute
    room = settlements.headroom(row)
    return Item(
        _id(row),
        (
            Cell(settlement_words.glyph(row, signs), tone),
            Cell(peer, Tone.STRONG, short),
            Cell(text.symbol(view.token)),
            Cell(settlement_words.standing(row, now_ms), tone),
            Cell(share, Tone.DIM if view.threshold is None else tone),
            _figure(view.due, COLS[5].width, signs),
            _figure(room, COLS[6].width, signs)
            if room is not None
            else Cell(settlement_words.headroom(row), Tone.DIM),
            _figure(view.threshold, COLS[7].width, signs, Tone.DIM),
            _figure(rate, COLS[8].width, signs, sign=True),
        ),
    )


def _figure(
    amount: int | None, width: int, signs: text.Glyphs, tone: Tone = Tone.PLAIN, *,
    sign: bool = False,
) -> Cell:  # fmt: skip
    if amount is None:
        return Cell("-", Tone.DIM)
    shown = text.units(amount, width, sign=sign and amount != 0, cut=signs.cut)
    return Cell(shown, tone if amount else Tone.DIM)
