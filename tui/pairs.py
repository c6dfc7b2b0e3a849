"""The peers' accounts as the desk arranges them: filter, order, sums, and how full a limit is.

Pure. A pair is a `PeerView`; amounts are integers in base units of a token that has no decimals.
The filter speaks the fleet's language with words of its own: `peer:acme* net<0 use>80 text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

from core.api import PeerView
from core.events import Json
from core.model import Severity
from tui.query import NUMBER, OPERATORS, QueryError, matcher, matches_of

NEAR_PERCENT = 80
"""From this use of its limit on a pair is a warning; at its limit it is a problem."""

Predicate = Callable[[PeerView], bool]


def used(view: PeerView) -> int:
    """What counts against the limit: owed and prepared."""
    return view.receivable + view.receivable_in_flight


def use_percent(view: PeerView) -> int | None:
    """How much of the limit is used, cut to whole percent, 0 at least; None without a limit. A
    limit of nothing is full."""
    if view.limit is None:
        return None
    if view.limit <= 0:
        return 100
    return max(0, used(view)) * 100 // view.limit


def severity(view: PeerView) -> Severity:
    """Problem where nothing more fits, warning from `NEAR_PERCENT` on."""
    percent = use_percent(view)
    if percent is None or percent < NEAR_PERCENT:
        return Severity.OK
    return Severity.WARNING if percent < 100 else Severity.PROBLEM


def in_flight(view: PeerView) -> int:
    """Prepared on either side."""
    return view.receivable_in_flight + view.payable_in_flight


def in_transit(view: PeerView) -> int:
    """Settlements under way on either side."""
    return view.receivable_in_transit + view.payable_in_transit


def as_json(view: PeerView) -> dict[str, Json]:
    """A pair in its public form: amounts are decimal strings in base units, no limit is null."""
    return {
        "peerId": view.peer,
        "tokenId": view.token,
        "receivable": str(int(view.receivable)),
        "payable": str(int(view.payable)),
        "net": str(int(view.net)),
        "receivableInFlight": str(int(view.receivable_in_flight)),
        "payableInFlight": str(int(view.payable_in_flight)),
        "receivableInTransit": str(int(view.receivable_in_transit)),
        "payableInTransit": str(int(view.payable_in_transit)),
        "limit": None if view.limit is None else str(int(view.limit)),
        "headroom": None if view.headroom is None else str(int(view.headroom)),
        "usePercent": use_percent(view),
    }


# --- sums ----------------------------------------------------------------------------------


class TokenTotal(NamedTuple):
    """Sums over `pairs` pairs of one token, base units."""

    token: str
    pairs: int
    receivable: int
    payable: int
    in_flight: int
    in_transit: int

    @property
    def net(self) -> int:
        """Receivable less payable."""
        return self.receivable - self.payable


def totals(views: Iterable[PeerView]) -> list[TokenTotal]:
    """One per token, by name."""
    found: dict[str, TokenTotal] = {}
    for view in views:
        _, pairs, *sums = found.get(view.token, TokenTotal(view.token, 0, 0, 0, 0, 0))
        more = (view.receivable, view.payable, in_flight(view), in_transit(view))
        added = [a + b for a, b in zip(sums, more, strict=True)]
        found[view.token] = TokenTotal(view.token, pairs + 1, *added)
    return [found[token] for token in sorted(found)]


# --- order ---------------------------------------------------------------------------------


class SortBy(StrEnum):
    """What the list is ordered by, in the order of the columns."""

    PEER = "peer"
    TOKEN = "token"
    RECEIVABLE = "receivable"
    PAYABLE = "payable"
    NET = "net"
    FLIGHT = "in flight"
    USE = "use"
    HEADROOM = "headroom"


_FIGURES: dict[SortBy, Callable[[PeerView], int | None]] = {
    SortBy.RECEIVABLE: lambda view: view.receivable,
    SortBy.PAYABLE: lambda view: view.payable,
    SortBy.NET: lambda view: view.net,
    SortBy.FLIGHT: in_flight,
    SortBy.USE: use_percent,
    SortBy.HEADROOM: lambda view: view.headroom,
}
FALLING_FIRST = frozenset({SortBy.RECEIVABLE, SortBy.PAYABLE, SortBy.NET, SortBy.FLIGHT,
                           SortBy.USE})  # fmt: skip
"""Orders that begin with the largest."""


def ordered(views: Iterable[PeerView], by: SortBy, *, falling: bool) -> list[PeerView]:
    """The pairs in order; ties by peer and token, and what has no figure stands last."""
    by_name = sorted(views, key=lambda view: (view.peer, view.token))
    if by is SortBy.PEER:
        return by_name[::-1] if falling else by_name
    if by is SortBy.TOKEN:
        return sorted(by_name, key=lambda view: view.token, reverse=falling)
    figure = _FIGURES[by]
    known = [(value, view) for view in by_name if (value := figure(view)) is not None]
    known.sort(key=lambda pair: pair[0], reverse=falling)
    return [view for _, view in known] + [view for view in by_name if figure(view) is None]


# --- filter --------------------------------------------------------------------------------

WORD_FIELDS: dict[str, Callable[[PeerView], str]] = {
    "peer": lambda view: view.peer.lower(),
    "token": lambda view: view.token.lower(),
}
FIGURE_FIELDS: dict[str, Callable[[PeerView], int | None]] = {
    "receivable": lambda view: view.receivable,
    "payable": lambda view: view.payable,
    "net": lambda view: view.net,
    "flight": in_flight,
    "transit": in_transit,
    "use": use_percent,
    "headroom": lambda view: view.headroom,
}


def parse(text: str) -> Predicate:
    """The filter as a predicate: all terms hold. Raises QueryError with the place of what is
    wrong. A figure that is not there (use without a limit) satisfies no comparison."""
    terms = [_signed(match) for match in matches_of(text)]
    return lambda view: all(term(view) for term in terms)


def _signed(match: re.Match[str]) -> Predicate:
    term = _term(match)
    return (lambda view: not term(view)) if match["minus"] else term


def _term(match: re.Match[str]) -> Predicate:
    position = match.start()
    if match["quoted"] is not None and not match["closed"]:
        raise QueryError("a quote is opened and never closed", position)
    value = match["quoted"] if match["quoted"] is not None else match["word"]
    field, sign = (match["field"] or "").lower(), match["op"]
    if not field:
        if not value:
            raise QueryError("a minus needs something behind it", position)
        needle = value.lower()
        return lambda view: needle in f"{view.peer} {view.token}".lower()
    if field in WORD_FIELDS:
        return _word_term(field, sign, value, position)
    if field in FIGURE_FIELDS:
        return _figure_term(field, sign, value, position)
    known = ", ".join((*WORD_FIELDS, *FIGURE_FIELDS))
    raise QueryError(f"no field {match['field']!r}: there are {known}", position)


def _word_term(field: str, sign: str, value: str, position: int) -> Predicate:
    if sign not in (":", "=", "!=") or not value:
        raise QueryError(f"{field} is a word: write {field}:value", position)
    of, same = WORD_FIELDS[field], matcher([word for word in value.lower().split(",") if word])
    return (lambda view: not same(of(view))) if sign == "!=" else (lambda view: same(of(view)))


def _figure_term(field: str, sign: str, value: str, position: int) -> Predicate:
    number = value.removesuffix("%") if field == "use" else value
    if not NUMBER.match(number) or "." in number:
        raise QueryError(f"{value!r} is no whole number: write {field}<10", position)
    of, compare, bound = FIGURE_FIELDS[field], OPERATORS[sign], int(re.sub("[,_]", "", number))

    def holds(view: PeerView) -> bool:
        figure = of(view)
        return figure is not None and compare(figure, bound)

    return holds
