"""Full garbage collections are made while nobody types."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tests.desk.fleets import StillClock
from tui.collector import EVERY_S, MOST_S, REST_S, Collector


class Ring:
    """Refers to itself: only a collection ends it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def collector(clock: StillClock) -> Iterator[Collector]:
    made = Collector(clock)
    made.begin()
    yield made
    made.end()


def old_ring() -> weakref.ref[Ring]:
    """A ring that nobody holds, in the old generation."""
    ring = Ring()
    gc.collect(1)
    gc.collect(1)
    return weakref.ref(ring)


def test_python_makes_no_full_collection_by_itself_until_the_end(clock: StillClock) -> None:
    before = gc.get_threshold()
    collector = Collector(clock)
    collector.begin()
    full = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(200_000)]
    assert gc.get_stats()[2]["collections"] == full
    collector.end()
    assert gc.get_threshold() == before
    assert len(kept) == 200_000


def test_it_collects_once_the_desk_was_left_alone(clock: StillClock, collector: Collector) -> None:
    ring = old_ring()
    clock.advance(EVERY_S)
    collector.touched()
    collector.tick()
    assert ring() is not None
    clock.advance(REST_S)
    collector.tick()
    assert ring() is None


def test_it_does_not_collect_again_before_it_is_due(
    clock: StillClock, collector: Collector
) -> None:
    clock.advance(EVERY_S)
    collector.tick()
    ring = old_ring()
    clock.advance(EVERY_S - 1)
    collector.tick()
    assert ring() is not None


def test_somebody_who_never_stops_typing_does_not_keep_garbage_for_ever(
    clock: StillClock, collector: Collector
) -> None:
    ring = old_ring()
    for _ in range(int(MOST_S)):
        assert ring() is not None
        clock.advance(1)
        collector.touched()
        collector.tick()
    assert ring() is None
