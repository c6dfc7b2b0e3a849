"""One chain as several endpoints tell it: one chain id, heads that keep up, one history.

A reader holds an endpoint to it before it reads there; the endpoints not in use are looked at
now and then, beside the readings. Which blocks make a history is for the ring in `heads`.
"""

from __future__ import annotations

from typing import NamedTuple

from core.chains.chores import Chores
from core.chains.endpoints import EndpointPool
from core.chains.evm.heads import HeadRing, Verdict
from core.chains.evm.ladder import wrong_chain
from core.chains.evm.node import EvmNode
from core.chains.failures import EndpointError, FailureKind
from core.model import BlockRef, Clock, EndpointState

TRIAL_TIMEOUT_S = 3.0  # for the first request to an endpoint that has failed before
BEHIND_READINGS = 3  # after so many older heads in a row the chain itself went back


class Head(NamedTuple):
    """A block to read at. `forked_below` is `Reading.forked_below`."""

    block: BlockRef
    forked_below: int | None


class HeadTracker:
    """What the nodes of `pool` are held to.

    `chain_id` None takes the first node's for all. A node whose head is `stale_after_s` older
    than another's is left. `timeout_s` bounds the trial of a node that failed before.
    """

    def __init__(
        self,
        pool: EndpointPool[EvmNode],
        clock: Clock,
        *,
        chain_id: int | None,
        timeout_s: float,
        stale_after_s: float = 60.0,
    ) -> None:
        self.chain_id = chain_id
        self._pool = pool
        self._clock = clock
        self._trial_s = min(TRIAL_TIMEOUT_S, timeout_s)
        self._stale_after_s = stale_after_s
        self._ring = HeadRing()
        self._behind = 0
        self._watched_at = clock.monotonic()

    async def admit(self, node: EvmNode) -> None:
        """Ask for the chain id on first contact. Raises EndpointError(WRONG_CHAIN, ...)."""
        if node.chain_id is None:
            node.chain_id = await node.identify(timeout_s=self._limit(node))
        if self.chain_id is None:
            self.chain_id = node.chain_id
        if node.chain_id != self.chain_id:
            raise wrong_chain(node.chain_id, self.chain_id)

    async def head(self, node: EvmNode) -> Head:
        """The node's newest block, fit to be read at. Raises EndpointError(STALE, ...)."""
        block = await node.newest(timeout_s=self._limit(node))
        behind_s = (self._newest_ms(other_than=node) - block.time_ms) / 1000
        if behind_s > self._stale_after_s:
            words = f"block {block.number} is {behind_s:.0f} s behind the chain"
            raise EndpointError(FailureKind.STALE, words)
        verdict = await self._ring.judge(block, node.block)
        return Head(block, self._forked_below(block, verdict))

    def keep(self, head: Head) -> None:
        """Take up the block of a reading into the history."""
        if head.forked_below is not None:
            self._ring.cut(head.forked_below)
        self._ring.add(head.block)

    def watch_standbys(self, chores: Chores) -> None:
        """Once in an interval, start a look at the endpoints not in use."""
        now = self._clock.monotonic()
        if len(self._pool.endpoints) > 1 and now - self._watched_at >= self._pool.interval_s:
            self._watched_at = now
            chores.start("standbys", self._look_at_standbys())

    async def _look_at_standbys(self) -> None:
        """Ask for their heads, so that lag is known and a failover does not find out only then
        that the standby is dead."""
        for endpoint in self._pool.endpoints:
            if endpoint is self._pool.in_use or not endpoint.usable or endpoint.half_open:
                continue
            try:
                await self.admit(endpoint.session)
                await endpoint.session.newest(timeout_s=self._trial_s)
            except EndpointError as error:
                endpoint.leave(error)
        self._pool.measure_lag()

    def _newest_ms(self, other_than: EvmNode) -> int:
        """The newest head among the other endpoints; one refused tells of another chain."""
        refused = EndpointState.REFUSED
        others = [e for e in self._pool.endpoints if e.session is not other_than]
        heads = [e.session.head for e in others if e.state is not refused]
        return max((head.time_ms for head in heads if head is not None), default=0)

    def _limit(self, node: EvmNode) -> float | None:
        return self._trial_s if node.endpoint.half_open else None

    def _forked_below(self, head: BlockRef, verdict: Verdict | int) -> int | None:
        """Raises EndpointError(STALE) for a head older than the last reading: going back would
        report changes that never were."""
        if verdict is not Verdict.BEHIND:
            self._behind = 0
            return None if isinstance(verdict, Verdict) else verdict
        self._behind += 1
        if self._behind > BEHIND_READINGS * len(self._pool.endpoints):
            self._behind = 0
            return head.number  # nobody knows the newer blocks any more: the chain went back
        newest = self._ring.newest
        assert newest is not None
        words = f"block {head.number} is older than the last reading's {newest.number}"
        raise EndpointError(FailureKind.STALE, words)
