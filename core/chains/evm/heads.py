"""Recent heads, and what they tell of reorganisations.

Only blocks that were read from are kept: a change can only have been reported at one of them,
so the newest of them that still stands is as good as the exact fork point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum

from core.model import BlockRef

SIZE = 128

BlockAt = Callable[[int], Awaitable[BlockRef | None]]


class Verdict(Enum):
    """What a new head is to the history that was read from, where it is no fork."""

    FOLLOWS = "follows"
    BEHIND = "behind"  # on the same history, but older than the last reading


class HeadRing:
    """The blocks of the last readings, oldest first."""

    def __init__(self, size: int = SIZE) -> None:
        self._ring: deque[BlockRef] = deque(maxlen=size)

    @property
    def newest(self) -> BlockRef | None:
        """The block of the last reading."""
        return self._ring[-1] if self._ring else None

    def add(self, block: BlockRef) -> None:
        """Append the block of a reading; anything at or above its number is forgotten."""
        self.cut(block.number - 1)
        self._ring.append(block)

    def cut(self, number: int) -> None:
        """Forget the blocks above `number`."""
        while self._ring and self._ring[-1].number > number:
            self._ring.pop()

    async def judge(self, head: BlockRef, block_at: BlockAt) -> Verdict | int:
        """FOLLOWS, BEHIND, or the number of the newest kept block that both histories share
        (one below the oldest kept where none is). `block_at` asks the node that stated `head`."""
        last = self.newest
        if last is None or last.hash in (head.hash, head.parent):
            return Verdict.FOLLOWS
        if head.number > last.number:
            there = await block_at(last.number)
            if there is None or there.hash == last.hash:
                return Verdict.FOLLOWS
        lower = [block for block in self._ring if block.number <= head.number]
        standing = await self._standing(lower, head, block_at)
        if head.number < last.number and standing == len(lower):
            return Verdict.BEHIND
        if standing:
            return lower[standing - 1].number
        return self._ring[0].number - 1

    @staticmethod
    async def _standing(blocks: list[BlockRef], head: BlockRef, block_at: BlockAt) -> int:
        """How many of `blocks` (ascending) are on head's history: they are a prefix of it."""
        low, high = 0, len(blocks)
        while low < high:
            # The newest first: it usually stands, or the one below it does.
            middle = high - 1 if high - low <= 2 else (low + high) // 2
            block = blocks[middle]
            there = head if block.number == head.number else await block_at(block.number)
            if there is not None and there.hash == block.hash:
                low = middle + 1
            else:
                high = middle
        return low
