"""The change log behind "what is new since": held to a plain dict of each key's last version."""

from __future__ import annotations

import random

from core.balances.versions import ChangeLog, VersionCounter


def test_it_answers_what_changed_since_newest_first_however_long_it_runs() -> None:
    chance = random.Random(11)
    counter = VersionCounter()
    log, other = ChangeLog[int](counter), ChangeLog[str](counter)
    last: dict[int, int] = {}
    for _ in range(20_000):
        key = chance.randrange(300)
        if chance.random() < 0.05:
            log.forget(key)
            last.pop(key, None)
        else:
            log.mark(key)
            last[key] = counter.value
        if chance.random() < 0.2:
            other.mark("somebody else")
        if chance.random() < 0.02:
            version = chance.randrange(counter.value + 1)
            wanted = sorted((v, k) for k, v in last.items() if v > version)
            assert log.since(version) == [key for _, key in reversed(wanted)]
    assert other.since(0) == ["somebody else"]


def test_its_size_is_that_of_the_keys_and_not_of_the_changes() -> None:
    log = ChangeLog[int](VersionCounter())
    for turn in range(100_000):
        log.mark(turn % 50)
    assert len(log._keys) == len(log._versions) < 2_000
    assert len(log.since(0)) == 50


def test_a_key_that_never_changed_can_be_forgotten() -> None:
    counter = VersionCounter()
    log = ChangeLog[int](counter)
    log.forget(1)
    assert log.since(0) == []
    log.mark(1)
    assert log.since(0) == [1]
    assert log.since(counter.value) == []
