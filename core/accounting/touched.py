"""One coalesced signal: which pairs were touched since a reader last looked.

A commit touches many accounts and a busy ledger commits often; a reader that is slow gets one
larger set instead of a queue. What it holds is bounded by the number of pairs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from core.accounting.types import Pair


class Touched:
    """Where commits report the pairs they touched."""

    def __init__(self) -> None:
        self._readers: list[TouchedReader] = []

    def add(self, pairs: Iterable[Pair]) -> None:
        """Tell every reader; never waits and cannot fail."""
        touched = frozenset(pairs)
        if touched:
            for reader in self._readers:
                reader.add(touched)

    def reader(self) -> TouchedReader:
        """A new reader; close it when done."""
        reader = TouchedReader(self)
        self._readers.append(reader)
        return reader

    def drop(self, reader: TouchedReader) -> None:
        """Forget a reader."""
        if reader in self._readers:
            self._readers.remove(reader)


class TouchedReader:
    """`async for pairs in reader`: what was touched since the last turn; ends when closed."""

    def __init__(self, source: Touched) -> None:
        self._source = source
        self._pairs: set[Pair] = set()
        self._moved = asyncio.Event()
        self._closed = False

    def add(self, pairs: frozenset[Pair]) -> None:
        """Remember them until the next turn."""
        self._pairs |= pairs
        self._moved.set()

    def take(self) -> frozenset[Pair]:
        """What was touched since the last turn, without waiting."""
        pairs = frozenset(self._pairs)
        self._pairs.clear()
        if not self._closed:
            self._moved.clear()
        return pairs

    def close(self) -> None:
        """Stop listening, and end the loop that waits."""
        self._closed = True
        self._source.drop(self)
        self._moved.set()

    def __aiter__(self) -> TouchedReader:
        return self

    async def __anext__(self) -> frozenset[Pair]:
        await self._moved.wait()
        pairs = self.take()
        if not pairs and self._closed:
            raise StopAsyncIteration
        return pairs
