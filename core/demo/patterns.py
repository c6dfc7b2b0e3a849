"""How simulated balances move: each pattern is a pure function of the second.

One idea: a pattern maps a moment to a small integer, its tick, and a tick to an amount. The
amount can only change when the tick does, so whoever caches (tick, amount) does work per
change and not per read. Integers only; which account has which pattern stands in `world`.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

_MASK: Final = (1 << 64) - 1
_DAY_S: Final = 86_400


def mix(key: int, salt: int) -> int:
    """A well-spread 64-bit number of two integers (splitmix64's finaliser)."""
    z = (key ^ (salt * 0x9E3779B97F4A7C15)) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


# Seconds of work done in each hour of an office's day: quiet nights, busy afternoons. The sum
# is a day, so that work keeps up with the wall clock.
_HOURS: Final = (1_800,) * 6 + (3_600, 3_600) + (5_400,) * 8 + (3_600,) * 6 + (1_800, 1_800)
_WORK_BEFORE: Final = tuple(sum(_HOURS[:hour]) for hour in range(24))
OFFICES: Final = (0, 8 * 3600, 16 * 3600)  # hours ahead of UTC, as seconds


class Moment(NamedTuple):
    """A second since the epoch, and how many seconds of work each office has done by then."""

    second: int
    work: tuple[int, ...]


def moment_at(second: int) -> Moment:
    """The moment of a second since the epoch (UTC)."""
    return Moment(second, tuple(_work(second + ahead) for ahead in OFFICES))


def _work(second: int) -> int:
    day, rest = divmod(second, _DAY_S)
    hour, within = divmod(rest, 3600)
    return day * _DAY_S + _WORK_BEFORE[hour] + _HOURS[hour] * within // 3600


class Pattern(Protocol):
    """A balance over time."""

    def tick(self, moment: Moment) -> int:
        """A number that changes whenever the amount may."""
        ...

    def amount(self, tick: int) -> int:
        """Base units during that tick; never negative."""
        ...


class Burner:
    """Spends from about `top` to `low` in payments every `period` working seconds, is topped
    up, begins again every `cycle` working seconds. Amounts are multiples of `unit`."""

    def __init__(
        self, key: int, *, top: int, low: int, period: int, cycle: int, unit: int, office: int
    ) -> None:
        self._key = key
        self._top = top
        self._low = low
        self._period = period
        self._steps = max(2, cycle // period)
        self._unit = unit
        self._office = office
        self._phase = key % (period * self._steps)

    def tick(self, moment: Moment) -> int:
        return (moment.work[self._office] + self._phase) // self._period

    def amount(self, tick: int) -> int:
        cycle, step = divmod(tick, self._steps)
        room = max(0, self._top * (85 + mix(self._key, cycle) % 31) // 100 - self._low)
        # One payment is on average room/steps; a jitter below that keeps the fall monotone.
        spent = room * step // self._steps
        if step:
            spent += mix(self._key, tick) % max(1, room // self._steps)
        return (self._low + room - spent) // self._unit * self._unit


class Trader:
    """Trades in bursts: in one window of three the balance wanders every `period` seconds to a
    new level, else it stands still."""

    SLOTS: Final = 48

    def __init__(self, key: int, *, middle: int, period: int, unit: int) -> None:
        self._key = key
        self._middle = middle
        self._period = period
        self._unit = unit

    def tick(self, moment: Moment) -> int:
        return (moment.second + self._key % 1009) // self._period

    def amount(self, tick: int) -> int:
        window, slot = divmod(tick, self.SLOTS)
        before = self._level(window)
        if not self._trades(window):
            return before // self._unit * self._unit
        after = self._middle * (60 + mix(self._key ^ 1, window) % 81) // 100
        swing = mix(self._key ^ 2, tick) % (self._middle // 8) - self._middle // 16 if slot else 0
        amount = before + (after - before) * slot // self.SLOTS + swing
        return max(0, amount) // self._unit * self._unit

    def _trades(self, window: int) -> bool:
        # Every eighth window is one for certain, which bounds the look-back of `_level`.
        return (window + self._key) % 8 == 0 or mix(self._key, window) % 3 == 0

    def _level(self, window: int) -> int:
        last = next(w for w in range(window - 1, window - 10, -1) if self._trades(w))
        return self._middle * (60 + mix(self._key ^ 1, last) % 81) // 100


class Idle:
    """Moves once in some days."""

    def __init__(self, key: int, *, amount: int, unit: int) -> None:
        self._key = key
        self._amount = amount
        self._unit = unit
        self._period = (2 + key % 5) * _DAY_S

    def tick(self, moment: Moment) -> int:
        return (moment.second + self._key % self._period) // self._period

    def amount(self, tick: int) -> int:
        return self._amount * (90 + mix(self._key, tick) % 21) // 100 // self._unit * self._unit


class Emptied:
    """Another pattern until a second, and `least` from then on."""

    def __init__(self, before: Pattern, second: int, least: int) -> None:
        self._before = before
        self._second = second
        self._least = least

    def tick(self, moment: Moment) -> int:
        return self._before.tick(moment) if moment.second < self._second else -1

    def amount(self, tick: int) -> int:
        return self._before.amount(tick) if tick >= 0 else self._least


class Scripted:
    """Another pattern until `start`, then keyframes, repeated every `period` seconds.

    A keyframe is (seconds into the round, thousandths of `full`); between two of them the
    balance moves in steps of `stride` seconds.
    """

    def __init__(
        self,
        before: Pattern,
        frames: tuple[tuple[int, int], ...],
        *,
        full: int,
        start: int,
        period: int,
        unit: int,
        stride: int = 4,
    ) -> None:
        self._before = before
        self._frames = (*frames, (period, frames[0][1]))
        self._full = full
        self._start = start
        self._stride = stride
        self._rounds = period // stride
        self._unit = unit

    def tick(self, moment: Moment) -> int:
        if moment.second < self._start:
            return self._before.tick(moment)
        return -1 - (moment.second - self._start) // self._stride

    def amount(self, tick: int) -> int:
        if tick >= 0:
            return self._before.amount(tick)
        at = (-1 - tick) % self._rounds * self._stride
        for (begin, first), (end, last) in zip(self._frames, self._frames[1:], strict=False):
            if begin <= at < end:
                share = first * (end - begin) + (last - first) * (at - begin)
                return self._full * share // (1000 * (end - begin)) // self._unit * self._unit
        raise AssertionError(f"keyframes leave out second {at}")
