"""Which part of a difference between chain and ledger has stood long enough to be believed.

A payment is reported before or after its block, and a block can be replaced, so a difference is
first only pending. What has stood for the whole finality window is unexplained: the smallest of
the differences seen in it, if they all lean the same way. So a busy agent whose payments are
always under way is not accused, and a leak beneath that noise is not hidden by it. Pure.
"""

from __future__ import annotations

from typing import NamedTuple


class Seen(NamedTuple):
    """A difference, in base units, that was seen at `block` and held until the next entry."""

    block: int
    difference: int


class Differences:
    """What was seen of one account since chain and ledger last agreed. Differences are what the
    chain says less what is booked."""

    __slots__ = ("_seen", "_since")

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._since = 0

    @property
    def since(self) -> int:
        """Block of the first reading that did not agree; 0 if the last one did."""
        return self._since

    def see(self, block: int, difference: int) -> None:
        """Take the reading of a block. A block below earlier ones replaces them: the chain was
        reorganised, or another endpoint stands there."""
        while self._seen and self._seen[-1].block >= block:
            self._seen.pop()
        if not difference:
            self._seen.clear()
            self._since = 0
            return
        if not self._seen or self._seen[-1].difference != difference:
            self._seen.append(Seen(block, difference))
        self._since = min(self._since or block, self._seen[0].block)

    def standing(self, block: int, window: int) -> int:
        """The part that has stood for `window` blocks up to `block`; 0 if none has."""
        start = block - window
        if not self._seen or self._seen[0].block > start:
            return 0
        before = max(i for i, seen in enumerate(self._seen) if seen.block <= start)
        del self._seen[:before]  # what lies before the window decides nothing any more
        held = [seen.difference for seen in self._seen]
        return min(held) if min(held) > 0 else min(0, max(held))

    def settle(self, amount: int) -> None:
        """That part is booked now: what was seen is less by it, since the last time it was 0."""
        rest = [Seen(seen.block, seen.difference - amount) for seen in self._seen]
        agreed = max((i for i, seen in enumerate(rest) if not seen.difference), default=-1)
        self._seen = rest[agreed + 1 :]
        if agreed >= 0:
            self._since = self._seen[0].block if self._seen else 0
