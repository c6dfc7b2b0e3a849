"""What a chain's readings say about the chain: starting, live, stale, lagging or down.

`judge_chain` is pure: facts in, state and reason out. A `ChainWatch` gathers the facts of one
chain, beside its book; who reports a change, once, is the cache.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from core.api import ChainState
from core.balances.book import ChainBook
from core.balances.severity import duration
from core.model import EndpointHealth, Reading

STALE_INTERVALS = 2


class ChainFacts(NamedTuple):
    """Times in ms. `failure` is why the last reading failed, "" when it did not. `head_since_ms`
    is when the present head was first seen, `head_ms` the time it carries, `behind` how many
    blocks below the highest head ever read it stands."""

    accounts: int
    started_ms: int
    swept_ms: int
    interval_ms: int
    failure: str
    head: int
    head_ms: int
    head_since_ms: int
    behind: int
    lag_after_ms: int


def judge_chain(facts: ChainFacts, now_ms: int) -> tuple[str, str]:
    """(state, reason) as in `core.api.ChainState`."""
    if facts.failure:
        return "down", facts.failure
    if not facts.accounts:
        return "starting", "no address to read on this chain yet"
    unread_ms = now_ms - max(facts.swept_ms, facts.started_ms)
    if unread_ms > STALE_INTERVALS * facts.interval_ms:
        return "stale", f"no reading for {STALE_INTERVALS} intervals"
    if not facts.swept_ms:
        return "starting", ""
    if facts.behind > 0:
        return "lagging", f"head {facts.head} stands behind the highest head read"
    if facts.swept_ms - facts.head_since_ms > facts.lag_after_ms:
        return "lagging", f"head {facts.head} has not moved"
    if facts.swept_ms - facts.head_ms > facts.lag_after_ms:
        return "lagging", f"head is {duration((facts.swept_ms - facts.head_ms) // 1000)} old"
    return "live", ""


class ChainWatch:
    """One chain's book, and what its last readings said about the chain itself."""

    def __init__(self, book: ChainBook, state: ChainState, now_ms: int) -> None:
        self.book = book
        self.state = state
        self.started_ms = now_ms
        self.shown_unread = False  # its rows have been looked at since it went unread
        self.endpoints: tuple[EndpointHealth, ...] = ()
        self._failure = ""
        self._head_since_ms = 0
        self._highest = 0

    def note(
        self,
        reading: Reading,
        time_ms: int,
        *,
        swept_ms: int,
        unknown: int,
        changed: int,
        seconds: float,
    ) -> None:
        """A reading that began at `time_ms` came about."""
        block = reading.block
        if reading.forked_below is not None:
            self._highest = 0
        if block.number != self.state.block or not self._head_since_ms:
            self._head_since_ms = time_ms
        self._highest = max(self._highest, block.number)
        self._failure = ""
        self.state = msgspec.structs.replace(
            self.state,
            swept_ms=swept_ms,
            block=block.number,
            block_hash=block.hash,
            block_ms=block.time_ms,
            first_block=reading.first_block or block.number,
            consistency=reading.consistency,
            endpoint=reading.endpoint,
            unknown=unknown,
            changed=changed,
            seconds=seconds,
            requests=reading.requests_sent,
        )

    def fail(self, reason: str, unknown: int) -> None:
        """A reading did not come about."""
        self._failure = reason
        self.state = msgspec.structs.replace(self.state, unknown=unknown)

    def unread_intervals(self, now_ms: int) -> int:
        """Whole intervals without a sweep since there was an engine to make one."""
        return (now_ms - max(self.state.swept_ms, self.started_ms)) // self.state.interval_ms

    def judge(self, now_ms: int, lag_after_ms: int) -> tuple[ChainState, ChainState]:
        """The state as it was shown and as it is shown from now on."""
        old = self.state
        facts = ChainFacts(
            accounts=old.accounts,
            started_ms=self.started_ms,
            swept_ms=old.swept_ms,
            interval_ms=old.interval_ms,
            failure=self._failure,
            head=old.block,
            head_ms=old.block_ms,
            head_since_ms=self._head_since_ms,
            behind=self._highest - old.block,
            lag_after_ms=max(lag_after_ms, 4 * old.interval_ms),
        )
        state, reason = judge_chain(facts, now_ms)
        if (state, reason) != (old.state, old.reason):
            self.state = msgspec.structs.replace(old, state=state, reason=reason)
        return old, self.state
