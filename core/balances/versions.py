"""Who changed since when: the versions behind "give me what is new since version 812".

One counter counts the state changes of an engine; each log remembers, per key, the version of
its last change, ordered by it, so that asking costs what changed and not what there is.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_ROOM = 256  # marks beside those that are needed, before older ones are dropped


class VersionCounter:
    """Counts the state changes of one engine, from 0."""

    def __init__(self) -> None:
        self.value = 0

    def step(self) -> int:
        """The next version."""
        self.value += 1
        return self.value


class ChangeLog(Generic[Key]):
    """The last change of each key that changed at all: two columns that only grow, and of which
    what newer marks made needless is dropped now and then. 16 bytes a mark; a fleet has many."""

    def __init__(self, counter: VersionCounter) -> None:
        self._counter = counter
        self._keys: list[Key] = []
        self._versions = array("q")  # ascending, beside the keys
        self._gone: set[Key] = set()
        self._full = 2 * _ROOM

    def mark(self, key: Key) -> None:
        """The key changed now."""
        self._gone.discard(key)
        self._keys.append(key)
        self._versions.append(self._counter.step())
        if len(self._keys) >= self._full:
            self._drop_old()

    def forget(self, key: Key) -> None:
        """The key is gone."""
        if self._keys:
            self._gone.add(key)

    def since(self, version: int) -> list[Key]:
        """The keys changed after `version`, newest first."""
        newer = self._keys[bisect_right(self._versions, version) :]
        newer.reverse()
        return [key for key in dict.fromkeys(newer) if key not in self._gone]

    def _drop_old(self) -> None:
        """Keep each key's newest mark."""
        seen = set(self._gone)
        kept: list[int] = []
        for at in range(len(self._keys) - 1, -1, -1):
            key = self._keys[at]
            if key not in seen:
                seen.add(key)
                kept.append(at)
        kept.reverse()
        self._keys = [self._keys[at] for at in kept]
        self._versions = array("q", (self._versions[at] for at in kept))
        self._gone.clear()
        self._full = 2 * (len(kept) + _ROOM)
