"""What a chain's readings say about the chain: starting, live, stale, lagging or down.

Pure: facts in, state and reason out. Who notices a change and reports it once is the cache.
"""

from __future__ import annotations

from typing import NamedTuple

from core.balances.severity import duration

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
