"""A balance's history as a course to draw: steps, gaps, columns, ticks; all of it integers.

A balance stands until it changes, so its course is made of steps. What was not read is a gap in
it. A column of the chart shows everything that happened within it: its least and its greatest
value survive whatever the width.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from core.api import History, HistoryPoint


class Stretch(NamedTuple):
    """An unbroken time [start, end) of known balances: from `times[i]` (ms) on the balance is
    `amounts[i]` (base units), and `times[0]` is the start."""

    start_ms: int
    end_ms: int
    times: Sequence[int]
    amounts: Sequence[int]


class Scale(NamedTuple):
    """The drawn range of balances, with the ones that carry a label; base units."""

    low: int
    high: int
    ticks: tuple[int, ...]
    step: int

    def dot(self, amount: int, dots: int) -> int:
        """The dot (0 lowest) of an amount on an axis of so many dots."""
        return (2 * (amount - self.low) * (dots - 1) + self.span) // (2 * self.span)

    @property
    def span(self) -> int:
        """Base units from low to high; at least one."""
        return max(1, self.high - self.low)


def stretches(history: History, start_ms: int, end_ms: int) -> tuple[Stretch, ...]:
    """The known times within [start, end), broken where the chain was not read.

    Nothing is known before the first point. After a gap the balance is the last one until a
    point says otherwise: only changes are points.
    """
    points = history.points
    if not points:
        return ()
    times = [point.time_ms for point in points]
    amounts = [point.amount for point in points]
    known = max(start_ms, times[0])
    gaps = sorted((max(a, known), min(b, end_ms)) for a, b in history.gaps)
    edges = [known]
    for gap_start, gap_end in gaps:
        if gap_end > max(gap_start, edges[-1]):
            edges += [max(gap_start, edges[-1]), gap_end]
    edges.append(end_ms)
    found: list[Stretch] = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if begin >= end:
            continue
        first = bisect_right(times, begin)
        last = bisect_left(times, end)
        standing = max(0, first - 1)
        found.append(
            Stretch(
                begin,
                end,
                [begin, *times[first:last]],
                [amounts[standing], *amounts[first:last]],
            )
        )
    return tuple(found)


def column_of(time_ms: int, start_ms: int, end_ms: int, columns: int) -> int:
    """The column of a time in a chart of so many columns."""
    column = (time_ms - start_ms) * columns // max(1, end_ms - start_ms)
    return min(max(0, column), columns - 1)


def decimate(
    stretch: Stretch, start_ms: int, end_ms: int, columns: int
) -> tuple[tuple[int, int], ...]:
    """The stretch as corners (column, amount) of a line of horizontals and verticals.

    A column in which the balance changed gives at most four corners: the balance it was entered
    with, its extremes, and the balance it was left with.
    """
    times, amounts = stretch.times, stretch.amounts
    standing = amounts[0]
    column = column_of(stretch.start_ms, start_ms, end_ms, columns)
    last = column_of(stretch.end_ms - 1, start_ms, end_ms, columns)
    corners = [(column, standing)]
    index = 1
    while index < len(times):
        column = column_of(times[index], start_ms, end_ms, columns)
        beyond = bisect_left(times, _column_end(column, start_ms, end_ms, columns), index)
        inside = amounts[index : max(beyond, index + 1)]
        low, high, left = min(inside), max(inside), inside[-1]
        # the extreme away from where the line leaves comes first
        first, second = (low, high) if left >= standing else (high, low)
        path = [standing]
        for amount in (first, second, left):
            if len(path) > 1 and min(path[-2], amount) <= path[-1] <= max(path[-2], amount):
                path.pop()  # the vertical from the one before it passes over it
            path.append(amount)
        for amount in path:
            if corners[-1] != (column, amount):
                corners.append((column, amount))
        standing = left
        index += len(inside)
    if corners[-1] != (last, standing):
        corners.append((last, standing))
    return tuple(corners)


def _column_end(column: int, start_ms: int, end_ms: int, columns: int) -> int:
    """The first time (ms) that `column_of` puts beyond a column."""
    if column >= columns - 1:
        return end_ms
    return start_ms - (-(column + 1) * max(1, end_ms - start_ms) // columns)


def scale_of(found: Sequence[Stretch], wanted: int) -> Scale:
    """A range that holds every balance, with about `wanted` round ticks inside it."""
    low = min(min(stretch.amounts) for stretch in found)
    high = max(max(stretch.amounts) for stretch in found)
    if low == high:
        room = max(1, abs(low) // 10)
        return Scale(max(0, low - room) if low >= 0 else low - room, high + room, (low,), 1)
    step = round_step(high - low, max(1, wanted))
    first = -(-low // step) * step
    ticks = tuple(range(first, high + 1, step))
    return Scale(low, high, ticks or (low,), step if ticks else 1)


def round_step(span: int, wanted: int) -> int:
    """The least of 1, 2, 5, 10, 20, ... base units that parts `span` into at most `wanted`."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if span // (power * factor) <= wanted:
                return power * factor
        power *= 10


def standing_at(points: Sequence[HistoryPoint], time_ms: int) -> int | None:
    """Index of the point whose balance stands at a time; None before the first."""
    index = bisect_right(points, time_ms, key=lambda point: point.time_ms) - 1
    return index if index >= 0 else None
