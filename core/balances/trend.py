"""Where a balance has been and how fast it falls: change points in, deltas and runway out.

One account's record is at most `MAX_POINTS` change points packed into about 1 KB, so that a
fleet of 30,000 fits in memory. Each point carries the amount and the running sum of what was
spent, so dropping a point in between loses neither; what it does lose (the exact value inside
the gap) is known and answered by None. Pure: no clock, no store, integers only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MAX_POINTS = 32

# The present rate is taken over the shorter span if that holds enough decreases.
_SPANS_MS = ((6 * HOUR_MS, 3), (DAY_MS, 2))
# An increase above this many times the usual decrease is a refill, not income.
_REFILL_FACTOR = 3
_TIME_BYTES = 6


class Point(NamedTuple):
    """The balance from `time_ms` on. `spent` is the net outflow since the record began, refills
    left out. `exact`: no change between this point and the next was dropped."""

    time_ms: int
    amount: int
    spent: int
    exact: bool


class Burn(NamedTuple):
    """Base units spent over a span up to now, and how sure that is: "low", "fair", "good"."""

    spent: int
    span_ms: int
    sure: str

    def runway_s(self, headroom: int) -> int:
        """Seconds until `headroom` base units are gone at this rate; 0 when there is none."""
        return max(0, headroom) * self.span_ms // (self.spent * 1000)


class Trend:
    """The bounded record of one account's change points."""

    __slots__ = ("_record", "last_ms")

    def __init__(self, changes: Iterable[tuple[int, int]] = ()) -> None:
        """From (time in ms, amount) pairs, ascending by time."""
        points: list[Point] = []
        for time_ms, amount in changes:
            _append(points, time_ms, amount)
            if len(points) > 4 * MAX_POINTS:  # thin in strides: linear in the length of history
                _thin(points, time_ms)
        if points:
            _thin(points, points[-1].time_ms)
        self._keep(points)

    def _keep(self, points: list[Point]) -> None:
        self._record = _pack(points)
        self.last_ms = points[-1].time_ms if points else 0  # of the newest change

    @property
    def points(self) -> list[Point]:
        """The change points kept, ascending."""
        return _unpack(self._record)

    def __len__(self) -> int:
        return len(_unpack(self._record))

    def add(self, time_ms: int, amount: int) -> None:
        """The balance is `amount` from `time_ms` on. An amount that stands already adds nothing;
        a time before the last point counts as the last point's."""
        points = _unpack(self._record)
        _append(points, time_ms, amount)
        _thin(points, points[-1].time_ms)
        self._keep(points)

    def take_back(self, from_ms: int) -> None:
        """Forget the points at or after `from_ms` (a reorganisation undid them)."""
        self._keep([point for point in _unpack(self._record) if point.time_ms < from_ms])

    def value_at(self, time_ms: int) -> int | None:
        """The balance that stood at `time_ms`; None before the first point and inside a gap."""
        return value_at(_unpack(self._record), time_ms)

    def burn(self, now_ms: int) -> Burn | None:
        """The present rate of spending; None when the balance is not falling, or fell fewer than
        two times (one payment is no rate)."""
        return burn(_unpack(self._record), now_ms)


def value_at(points: list[Point], time_ms: int) -> int | None:
    """See `Trend.value_at`."""
    at = bisect_right(points, time_ms, key=_time) - 1
    if at < 0:
        return None
    point = points[at]
    if point.exact or point.time_ms == time_ms:
        return point.amount
    return None


def burn(points: list[Point], now_ms: int) -> Burn | None:
    """See `Trend.burn`."""
    for span_ms, enough in _SPANS_MS:
        window = _window(points, now_ms - span_ms)
        falls = sum(b.spent > a.spent for a, b in pairwise(window))
        if falls >= enough:
            break
    else:
        return None
    spent = window[-1].spent - window[0].spent
    span_ms = now_ms - window[0].time_ms
    if spent <= 0 or span_ms <= 0:
        return None
    middle = window[0].time_ms + span_ms // 2
    early = window[bisect_right(window, middle, key=_time) - 1].spent - window[0].spent
    return Burn(spent, span_ms, _sureness(falls, span_ms, early, spent - early))


def _sureness(falls: int, span_ms: int, early: int, late: int) -> str:
    """Many decreases over a long span, as much in its first half as in its second: good."""
    less, more = sorted((early, late))
    if less > 0:
        if falls >= 8 and span_ms >= HOUR_MS and 2 * more <= 3 * less:
            return "good"
        if falls >= 4 and span_ms >= HOUR_MS // 6 and more <= 3 * less:
            return "fair"
    return "low"


def _window(points: list[Point], start_ms: int) -> list[Point]:
    """The points after `start_ms`, preceded by the one standing there (moved to `start_ms`)
    unless it stands before a gap."""
    at = bisect_right(points, start_ms, key=_time)
    window = points[at:]
    if at > 0 and points[at - 1].exact:
        window.insert(0, points[at - 1]._replace(time_ms=start_ms))
    return window


def _time(point: Point) -> int:
    return point.time_ms


def _append(points: list[Point], time_ms: int, amount: int) -> None:
    if not points:
        points.append(Point(time_ms, amount, 0, True))
        return
    last = points[-1]
    if amount == last.amount:
        return
    spent = last.spent
    if amount < last.amount or amount - last.amount <= _REFILL_FACTOR * _usual_fall(points):
        spent += last.amount - amount
    points.append(Point(max(time_ms, last.time_ms), amount, spent, True))


def _usual_fall(points: list[Point]) -> int:
    """The median of the last five decreases, 0 where there was none. The newest points are the
    last to be thinned, so these are single steps and not sums."""
    falls: list[int] = []
    for index in range(len(points) - 1, 0, -1):
        fall = points[index].spent - points[index - 1].spent
        if fall > 0:
            falls.append(fall)
            if len(falls) == 5:
                break
    return sorted(falls)[len(falls) // 2] if falls else 0


def _thin(points: list[Point], now_ms: int) -> None:
    """Drop what lies before the value standing a day ago, then the points that are close
    together for their age, until the record fits."""
    standing = bisect_right(points, now_ms - DAY_MS, key=_time) - 1
    if standing > 0:
        del points[:standing]
    while len(points) > MAX_POINTS:
        drop = min(
            range(1, len(points) - 1),
            key=lambda i: (
                (points[i + 1].time_ms - points[i - 1].time_ms)
                * 1000
                // (now_ms - points[i].time_ms + 60_000)
            ),
        )
        points[drop - 1] = points[drop - 1]._replace(exact=False)
        del points[drop]


def _pack(points: list[Point]) -> bytes:
    """One byte of integer width, then per point: time, exact, amount, spent."""
    if not points:
        return b""
    largest = max(max(point.amount.bit_length(), point.spent.bit_length()) for point in points)
    width = largest // 8 + 1  # room for the sign
    parts = [bytes((width,))]
    for time_ms, amount, spent, exact in points:
        parts += (
            time_ms.to_bytes(_TIME_BYTES, "big"),
            b"\1" if exact else b"\0",
            amount.to_bytes(width, "big", signed=True),
            spent.to_bytes(width, "big", signed=True),
        )
    return b"".join(parts)


def _unpack(record: bytes) -> list[Point]:
    if not record:
        return []
    width = record[0]
    read = int.from_bytes
    head = _TIME_BYTES + 1
    return [
        Point(
            read(record[at : at + _TIME_BYTES], "big"),
            read(record[at + head : at + head + width], "big", signed=True),
            read(record[at + head + width : at + head + 2 * width], "big", signed=True),
            record[at + _TIME_BYTES] == 1,
        )
        for at in range(1, len(record), head + 2 * width)
    ]
