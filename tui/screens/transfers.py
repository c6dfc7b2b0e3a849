"""Transfers of one pair: what moved its receivable and its payable, newest first.

Pages are asked of the ledger as the cursor comes to the last line; what is booked meanwhile is
laid on top. A page begins in the millisecond in which the one before ended, so that none of the
transfers of that moment is missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec
from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from core.api import PeerView, TransferView
from core.events import Json, iso_utc
from core.model import BursarError
from tui import text
from tui.screens import forms
from tui.screens.base import Desk, DeskScreen
from tui.screens.ledger_rows import figure
from tui.session import PairKey
from tui.widgets.list_table import Cell, Col, Item, ListTable, Tone

PAGE = 200
MOST_AT_ONCE = 6_400
"""A page is doubled up to this where one moment has more transfers than it holds."""

GAP_PAGES = 20
"""Pages asked for at most to join what is new to what is here."""

COLS = (
    Col("TIME", 19),
    Col("SIDE", 10),
    Col("KIND", 11),
    Col("AMOUNT", 14, right=True, wide=24),
    Col("STATE", 18, grow=True),
    Col("ID", 32, drop=1),
)
_Key = tuple[str, str]


def as_json(view: TransferView) -> dict[str, Json]:
    """A transfer in its public form; the amount is a decimal string in base units."""
    return {
        "id": view.id,
        "time": iso_utc(view.timestamp_ms),
        "peerId": view.peer,
        "tokenId": view.token,
        "side": view.side,
        "kind": view.kind,
        "amount": str(int(view.amount)),
        "pending": view.pending,
        "note": view.note,
    }


def item_of(view: TransferView, signs: text.Glyphs) -> Item:
    """One transfer as a line."""
    plain = Tone.DIM if view.pending or view.note == "taken back" else Tone.PLAIN
    state = view.note or ("prepared" if view.pending else "posted")
    return Item(
        f"{view.id} {view.side}",
        (
            Cell(text.moment(view.timestamp_ms), Tone.DIM),
            Cell(text.safe(view.side), plain),
            Cell(text.safe(view.kind), Tone.STRONG if view.kind == "settlement" else plain),
            figure(view.amount, signs, sign=True, tone=plain),
            Cell(text.safe(state), plain),
            Cell(view.id, Tone.DIM),
        ),
    )


class TransfersScreen(DeskScreen):
    """The transfers of `pair` (peer and token)."""

    PATH = ("Ledger", "Transfers")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", id="back"),
        Binding("y", "copy_id", "copy", id="copy.id"),
        Binding("Y", "copy_json", "copy json", id="copy.json"),
        Binding("e", "export", "export", id="ledger.export"),
    ]

    def __init__(self, desk: Desk, pair: PairKey) -> None:
        super().__init__(desk)
        self._pair = pair
        self._found: dict[_Key, TransferView] = {}
        self._shown: list[TransferView] = []
        self._is_all = False
        self._reason = ""
        self._drawn_for: PeerView | None = None

    def crumbs(self) -> tuple[str, ...]:
        """Ledger, then the pair."""
        peer, token = self._pair
        name = text.clip(text.safe(peer), 28, self.desk.signs.cut)
        return ("Ledger", f"{name} {text.symbol(token)}")

    def body(self) -> Iterable[Widget]:
        """The list."""
        yield ListTable(COLS, empty="asking the ledger", signs=self.desk.signs)

    def follow(self) -> None:
        """Ask anew whenever the pair moved."""
        self.watch(self.session, "peers", self._pair_moved)
        self.watch(self.session, "ledger", self._retry, init=False)
        self.watch(self.session, "link", self._retry, init=False)

    # --- asking ----------------------------------------------------------------------------

    def _pair_moved(self) -> None:
        view = self.session.peers.get(self._pair)
        if view != self._drawn_for or view is None:
            self._drawn_for = view
            self._ask_newest()

    def _retry(self) -> None:
        """What could not be asked is, once the ledger answers again."""
        ledger = self.session.ledger
        if self._reason and ledger is not None and ledger.ok:
            self._ask_newest()

    @work(exclusive=True, group="newest", exit_on_error=False)
    async def _ask_newest(self) -> None:
        """The newest page; what stands between it and the ones before is asked for too."""
        old, count, before_ms = set(self._found), PAGE, 0
        for _ in range(GAP_PAGES):
            page = await self._ask(count, before_ms)
            if page is None:
                return
            is_new = self._take(page)
            if not old:
                self._is_all = len(page) < count
            if not old or len(page) < count or any(key_of(view) in old for view in page):
                break
            if is_new:
                before_ms = page[-1].timestamp_ms + 1
            else:
                count = min(2 * count, MOST_AT_ONCE)
        else:  # too much was booked since: begin anew, so that the list has no hole
            self._found = {key: view for key, view in self._found.items() if key not in old}
            self._is_all = False
            self._take(())
        self._redraw()

    @work(exclusive=True, group="older", exit_on_error=False)
    async def _ask_older(self) -> None:
        """One page further back."""
        count, before_ms = PAGE, self._shown[-1].timestamp_ms + 1
        while True:
            page = await self._ask(count, before_ms)
            if page is None:
                return
            is_new = self._take(page)
            self._is_all = len(page) < count
            if is_new or self._is_all or count >= MOST_AT_ONCE:
                break
            count *= 2
        self._redraw()

    async def _ask(self, count: int, before_ms: int) -> list[TransferView] | None:
        peer, token = self._pair
        try:
            page = list(await self.session.api.transfers(peer, token, count, before_ms))
        except BursarError as error:
            self._reason = text.safe(str(error))
            self._redraw()
            return None
        self._reason = ""
        return page

    def _take(self, page: Iterable[TransferView]) -> bool:
        before = len(self._found)
        self._found |= {key_of(view): view for view in page}
        self._shown = sorted(self._found.values(), key=lambda v: (-v.timestamp_ms, v.id, v.side))
        return len(self._found) > before

    # --- drawing ---------------------------------------------------------------------------

    def _redraw(self) -> None:
        signs = self.desk.signs
        empty = self._reason or "no transfer of this pair yet"
        table = self.query_one(ListTable)
        table.show([item_of(view, signs) for view in self._shown], empty=empty)
        words = [(f"{text.count(len(self._shown))} transfers", "")]
        if self._shown:
            more = ", all there are" if self._is_all else ", G brings older ones"
            words.append((more, "$desk-dim"))
        if self._reason:
            words.append((f"   {signs.problem} {self._reason}", "$error"))
        self.note(*words)

    @on(ListTable.Highlighted)
    def _cursor_moved(self, event: ListTable.Highlighted) -> None:
        table = self.query_one(ListTable)
        last = table.items[-1].key if table.items else ""
        if event.key == table.cursor == last and len(self._shown) > 1 and not self._is_all:
            self._ask_older()

    # --- keys ------------------------------------------------------------------------------

    @property
    def transfer(self) -> TransferView | None:
        """The transfer under the cursor."""
        id_, _, side = self.query_one(ListTable).cursor.partition(" ")
        return self._found.get((id_, side))

    def action_back(self) -> None:
        """Where one came from."""
        self.dismiss()

    def action_copy_id(self) -> None:
        """The transfer's id, 32 hex digits."""
        view = self.transfer
        if view is not None:
            self.copy(view.id, "transfer")

    def action_copy_json(self) -> None:
        """The transfer in its public form."""
        view = self.transfer
        if view is not None:
            self.copy(msgspec.json.encode(as_json(view)).decode(), "transfer")

    @work(group="dialog", exclusive=True)
    async def action_export(self) -> None:
        """Write the transfers that were brought here to a file."""
        found = [as_json(view) for view in self._shown]
        await forms.export_fields(self, "transfers", "transfers", found)


def key_of(view: TransferView) -> _Key:
    """A transfer moves each side of a pair at most once."""
    return view.id, view.side
