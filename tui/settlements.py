"""The settlement board as the desk arranges it: rows, share of threshold, order, filter, counts.

Pure. A row is a `SettlementPairView` with what stands between us and its peer beside it; amounts
are integers in base units of a ledger token. What needs somebody comes first: oldest first in
the lanes of what is asked for and under way, nearest to its threshold first among the idle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from core.api import PeerView, SettlementPairView
from core.events import Json, iso_utc
from tui.query import QueryError, matcher, matches_of

SettlementKey = tuple[str, str, str]
"""Peer, token and direction."""

MOST_IDLE = 50
"""Idle pairs that are shown unfolded, those nearest to their threshold."""

MOST_FOUND = 500
"""Idle pairs that a filter brings."""


class Lane(StrEnum):
    """The three states, in the order in which a settlement passes through them."""

    IDLE = "IDLE"
    PENDING = "SETTLEMENT_PENDING"
    IN_PROGRESS = "SETTLEMENT_IN_PROGRESS"


class Row(NamedTuple):
    """One pair in one direction, and the pair's accounts (None: not known yet)."""

    view: SettlementPairView
    peer: PeerView | None

    @property
    def key(self) -> SettlementKey:
        """Whose settlement it is."""
        return key_of(self.view)

    @property
    def lane(self) -> Lane:
        """Where it stands; a state that this desk does not know is taken for idle."""
        return _LANES.get(self.view.state, Lane.IDLE)


_LANES = {lane.value: lane for lane in Lane}
Predicate = Callable[[Row], bool]


def key_of(view: SettlementPairView) -> SettlementKey:
    """A view's place on the board."""
    return view.peer, view.token, view.direction


def share_percent(view: SettlementPairView) -> int | None:
    """What is due as whole percent of the threshold, cut, 0 at least; None where there is no
    figure for either, or the threshold is 0, of which nothing is a share."""
    if view.due is None or not view.threshold:
        return None
    return max(0, view.due) * 100 // view.threshold


def exceeds_by(view: SettlementPairView) -> int | None:
    """How much more than the threshold is due; 0 or less is none."""
    if view.due is None or view.threshold is None:
        return None
    return view.due - view.threshold


def aim(view: SettlementPairView) -> int:
    """What a settlement begun now would be of: what is due above `settle_to`."""
    return max(0, (view.due or 0) - view.settle_to)


def headroom(row: Row) -> int | None:
    """What the peer may still owe before packets are refused, posted and in flight counted; None
    where there is no limit, or none on this side (payable)."""
    if row.peer is None or row.view.direction != "receivable":
        return None
    return row.peer.headroom


def in_flight(row: Row) -> int:
    """What is prepared on the row's side and not yet booked."""
    if row.peer is None:
        return 0
    if row.view.direction == "payable":
        return row.peer.payable_in_flight
    return row.peer.receivable_in_flight


def as_json(row: Row) -> dict[str, Json]:
    """A row in its public form: amounts are decimal strings in base units, times UTC, the unknown
    is null."""
    view, peer = row.view, row.peer
    return {
        "peerId": view.peer,
        "tokenId": view.token,
        "direction": view.direction,
        "state": view.state,
        "stuck": view.stuck,
        "currentBalance": _digits(view.due),
        "threshold": _digits(view.threshold),
        "sharePercent": share_percent(view),
        "rearm": _digits(view.rearm),
        "settleTo": _digits(view.settle_to),
        "unmonitored": view.unmonitored or None,
        "receivable": _digits(peer.receivable) if peer else None,
        "payable": _digits(peer.payable) if peer else None,
        "net": _digits(peer.net) if peer else None,
        "headroom": _digits(headroom(row)),
        "amount": _digits(view.amount),
        "attempt": view.attempt,
        "idempotencyKey": view.idempotency_key or None,
        "begunBy": view.begun_by or None,
        "since": iso_utc(view.since_ms) if view.since_ms else None,
        "ratePerMinute": _digits(view.rate_per_minute),
        "etaSeconds": view.eta_s,
        "reason": view.reason or None,
        "trouble": view.trouble or None,
        "settledAt": iso_utc(view.settled_ms) if view.settled_ms else None,
        "settledAmount": _digits(view.settled_amount),
    }


def _digits(amount: int | None) -> str | None:
    return None if amount is None else str(int(amount))


# --- the board -----------------------------------------------------------------------------


class Counts(NamedTuple):
    """How many rows stand where; `unmonitored` are idle without a threshold."""

    idle: int = 0
    pending: int = 0
    in_progress: int = 0
    stuck: int = 0
    unmonitored: int = 0

    @property
    def total(self) -> int:
        """All rows."""
        return self.idle + self.pending + self.in_progress


class Board(NamedTuple):
    """Rows by lane in their order; `idle` is folded, and `folded` how many it leaves out."""

    idle: tuple[Row, ...] = ()
    pending: tuple[Row, ...] = ()
    in_progress: tuple[Row, ...] = ()
    folded: int = 0

    def lane(self, lane: Lane) -> tuple[Row, ...]:
        """The rows of a lane."""
        match lane:
            case Lane.IDLE:
                return self.idle
            case Lane.PENDING:
                return self.pending
            case Lane.IN_PROGRESS:
                return self.in_progress


def rows(
    views: Iterable[SettlementPairView], peers: Mapping[tuple[str, str], PeerView]
) -> list[Row]:
    """Views joined with their pairs."""
    return [Row(view, peers.get((view.peer, view.token))) for view in views]


def counts(found: Iterable[Row]) -> Counts:
    """How many stand where."""
    lanes = dict.fromkeys(Lane, 0)
    stuck = unmonitored = 0
    for row in found:
        lanes[row.lane] += 1
        stuck += row.view.stuck
        unmonitored += row.lane is Lane.IDLE and row.view.threshold is None
    return Counts(
        lanes[Lane.IDLE], lanes[Lane.PENDING], lanes[Lane.IN_PROGRESS], stuck, unmonitored
    )


def board(found: Iterable[Row], *, most_idle: int = MOST_IDLE) -> Board:
    """Rows by lane: oldest first, the idle by nearness with at most `most_idle` of them."""
    lanes: dict[Lane, list[Row]] = {lane: [] for lane in Lane}
    for row in found:
        lanes[row.lane].append(row)
    idle = sorted(lanes[Lane.IDLE], key=_nearest)
    return Board(
        tuple(idle[:most_idle]),
        tuple(sorted(lanes[Lane.PENDING], key=_oldest)),
        tuple(sorted(lanes[Lane.IN_PROGRESS], key=_oldest)),
        max(0, len(idle) - most_idle),
    )


def _oldest(row: Row) -> tuple[int, SettlementKey]:
    return row.view.since_ms, row.key


def _nearest(row: Row) -> tuple[bool, int, SettlementKey]:
    """Those with a threshold first, by share of it; 0 as a threshold is as near as can be."""
    view = row.view
    if view.threshold is None:
        return True, 0, row.key
    share = 1_000_000 if not view.threshold else (view.due or 0) * 1_000_000 // view.threshold
    return False, -share, row.key


# --- filter --------------------------------------------------------------------------------

STATE_WORDS = {
    "idle": Lane.IDLE,
    "pending": Lane.PENDING,
    "progress": Lane.IN_PROGRESS,
    "in_progress": Lane.IN_PROGRESS,
}
_FIELDS = ("peer", "token", "state", "side")


def parse(text: str) -> Predicate:
    """The filter as a predicate: all terms hold. `peer:` `token:` `side:` `state:` with
    alternatives by comma, `stuck`, `unmonitored`, or any text. Raises QueryError."""
    terms = [_signed(match) for match in matches_of(text)]
    return lambda row: all(term(row) for term in terms)


def _signed(match: re.Match[str]) -> Predicate:
    term = _term(match)
    return (lambda row: not term(row)) if match["minus"] else term


def _term(match: re.Match[str]) -> Predicate:
    position = match.start()
    if match["quoted"] is not None and not match["closed"]:
        raise QueryError("a quote is opened and never closed", position)
    value = match["quoted"] if match["quoted"] is not None else match["word"]
    field, sign = (match["field"] or "").lower(), match["op"]
    if not field:
        return _plain(value.lower(), position, quoted=match["quoted"] is not None)
    if field not in _FIELDS:
        known = ", ".join(_FIELDS)
        raise QueryError(f"no field {match['field']!r}: there are {known}, stuck", position)
    words = [word for word in value.lower().split(",") if word]
    if sign not in (":", "=", "!=") or not words:
        raise QueryError(f"{field} is a word: write {field}:value", position)
    term = _state(words, position) if field == "state" else _word(field, words)
    return (lambda row: not term(row)) if sign == "!=" else term


def _plain(value: str, position: int, *, quoted: bool) -> Predicate:
    if not value:
        raise QueryError("a minus needs something behind it", position)
    if value == "stuck" and not quoted:
        return lambda row: row.view.stuck
    if value == "unmonitored" and not quoted:
        return lambda row: row.view.threshold is None
    return lambda row: value in f"{row.view.peer} {row.view.token}".lower()


def _word(field: str, words: list[str]) -> Predicate:
    same = matcher(words)
    if field == "peer":
        return lambda row: same(row.view.peer.lower())
    if field == "token":
        return lambda row: same(row.view.token.lower())
    return lambda row: same(row.view.direction.lower())


def _state(words: list[str], position: int) -> Predicate:
    unknown = [word for word in words if word not in STATE_WORDS and word != "stuck"]
    if unknown:
        known = "idle, pending, progress, stuck"
        raise QueryError(f"no state {unknown[0]!r}: {known}", position)
    lanes = {STATE_WORDS[word] for word in words if word != "stuck"}
    with_stuck = "stuck" in words
    return lambda row: row.lane in lanes or (with_stuck and row.view.stuck)
