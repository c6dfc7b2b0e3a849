"""Who changed since when: the versions behind "give me what is new since version 812".

One counter counts the state changes of an engine; each log remembers, per key, the version of
its last change, ordered by it, so that asking costs what changed and not what there is.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class VersionCounter:
    """Counts the state changes of one engine, from 0."""

    def __init__(self) -> None:
        self.value = 0

    def step(self) -> int:
        """The next version."""
        self.value += 1
        return self.value


class ChangeLog(Generic[Key]):
    """The last change of each key that changed at all."""

    def __init__(self, counter: VersionCounter) -> None:
        self._counter = counter
        self._versions: dict[Key, int] = {}  # ascending by version: a change moves its key last

    def mark(self, key: Key) -> None:
        """The key changed now."""
        self._versions.pop(key, None)
        self._versions[key] = self._counter.step()

    def forget(self, key: Key) -> None:
        """The key is gone."""
        self._versions.pop(key, None)

    def since(self, version: int) -> list[Key]:
        """The keys changed after `version`, newest first."""
        newer: list[Key] = []
        for key, changed in reversed(self._versions.items()):
            if changed <= version:
                break
            newer.append(key)
        return newer
