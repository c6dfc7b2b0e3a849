"""The EVM reader: a ChainReader over several endpoints of one chain.

A reading is: the head, then everything pinned to its hash, a few requests at a time, then the
failed reads one by one. Reorganisations are noticed by the heads of earlier readings. After an
endpoint's first reading its rung is tested against single reads, beside the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from core.chains.chores import Chores
from core.chains.endpoints import Endpoint, EndpointPool
from core.chains.evm import selftest
from core.chains.evm.ladder import find_pin, settle, speaks_of_technique
from core.chains.evm.node import EvmNode
from core.chains.evm.plan import Plan
from core.chains.evm.rungs import Rung, ladder
from core.chains.evm.sweep import Sweep, Swept, sample_of
from core.chains.evm.tracker import Head, HeadTracker
from core.chains.failures import EndpointError, FailureKind
from core.chains.http import TIMEOUT_S, JsonRpc, open_client
from core.chains.protocol import EndpointMemory
from core.model import (
    BlockRef,
    BursarError,
    ChainKind,
    Clock,
    Consistency,
    EndpointHealth,
    EndpointState,
    Reading,
    Request,
)

if TYPE_CHECKING:
    from core.chains.evm.push import HeadFeed

DOUBTS = 2  # internal errors in a row after which the rung is blamed
PLAN_IN_THREAD = 2_000  # requests from which planning would hold up the loop
_MOVED = frozenset({FailureKind.NO_BLOCK, FailureKind.INCONSISTENT})


class ChainSetUpError(BursarError):
    """A chain whose settings cannot work."""


class EvmReader:
    """Balances of one EVM chain (see core.chains.protocol.ChainReader).

    `endpoints` are URLs in order of preference; ws:// and wss:// ones only push heads.
    `chain_id` None takes the first endpoint's for all. `stale_after_s`: an endpoint whose head
    is that much older than another's is left. `rungs` are the techniques allowed, best first; all
    of the ladder where None. `self_test` False skips the comparison with web3.
    """

    kind = ChainKind.EVM

    def __init__(
        self,
        name: str,
        endpoints: Sequence[str],
        *,
        chain_id: int | None,
        clock: Clock,
        memory: EndpointMemory,
        interval_s: float = 30.0,
        requests_per_second: float | None = None,
        timeout_s: float = TIMEOUT_S,
        stale_after_s: float = 60.0,
        rungs: Sequence[Rung] | None = None,
        self_test: bool = True,
    ) -> None:
        reading = [url for url in endpoints if not url.startswith(("ws://", "wss://"))]
        if not reading:
            raise ChainSetUpError(
                f"chain {name}: no http:// or https:// endpoint to read from "
                f"(ws:// endpoints only wake a reading); add one under [[chain]] endpoints"
            )
        self.name = name
        self._timeout_s = timeout_s
        self._self_test = self_test
        self._client = open_client(*reading)
        self._rungs = ladder() if rungs is None else tuple(rungs)
        self._pool: EndpointPool[EvmNode] = EndpointPool(
            name,
            reading,
            lambda url: EvmNode(JsonRpc(url, self._client, clock, timeout_s=timeout_s), clock),
            clock,
            memory,
            interval_s=interval_s,
            requests_per_second=requests_per_second,
        )
        for endpoint in self._pool.endpoints:
            endpoint.session.endpoint = endpoint
        self._tracker = HeadTracker(
            self._pool,
            clock,
            chain_id=chain_id,
            timeout_s=timeout_s,
            stale_after_s=stale_after_s,
        )
        pushing = [url for url in endpoints if url not in reading]
        self._feed = _feed_of(name, pushing, clock) if pushing else None
        self._order = list(endpoints)
        self._plan: Plan | None = None
        self._chores = Chores()

    async def open(self) -> None:
        """Take up what earlier runs learnt of the endpoints; asks none of them."""
        await self._pool.load()

    async def close(self) -> None:
        """Stop the work beside and close every connection."""
        await self._chores.close()
        await self._client.aclose()

    def health(self) -> tuple[EndpointHealth, ...]:
        """Every endpoint in configured order, those that push heads included."""
        known = {e.url: h for e, h in zip(self._pool.endpoints, self._pool.health(), strict=True)}
        if self._feed is not None:
            known |= self._feed.health()
        return tuple(known[url] for url in self._order)

    async def heads(self) -> AsyncGenerator[BlockRef, None]:
        """newHeads over WebSocket where a ws:// endpoint is configured; else ends at once."""
        if self._feed is None:
            return
        async with aclosing(self._feed.heads()) as feed:
            async for block in feed:
                yield block

    async def read(self, requests: Sequence[Request], at: BlockRef | None = None) -> Reading:
        """Read all requests at one block: the head, or `at` (its hash, or its number where the
        hash is ""). Raises ChainUnreachableError."""
        self._chores.reap()
        if self._plan is None or self._plan.requests is not requests:
            large = len(requests) > PLAN_IN_THREAD
            self._plan = await asyncio.to_thread(Plan, requests) if large else Plan(requests)
        plan = self._plan
        before = self._sent()
        swept = await self._pool.run(lambda endpoint: self._read_on(endpoint, plan, at))
        reading = swept.reading(_consistency(swept.sweep), self._sent() - before, marks={})
        if at is None:
            self._tracker.keep(swept.head)
        self._start_self_test(plan, swept, reading)
        self._tracker.watch_standbys(self._chores)
        await self._pool.save()
        return reading

    async def settled(self) -> None:
        """Wait for the work beside the readings (self-test, look at standbys); for tests and
        for a doctor's report."""
        await self._chores.finish()
        await self._pool.save()

    def _sent(self) -> int:
        return sum(endpoint.session.sent for endpoint in self._pool.endpoints)

    # -- one endpoint ---------------------------------------------------------------------

    async def _read_on(self, endpoint: Endpoint[EvmNode], plan: Plan, at: BlockRef | None) -> Swept:
        node = endpoint.session
        await self._tracker.admit(node)
        if at is not None:
            return await self._read_at(node, plan, Head(await _whole(node, at), None))
        try:
            return await self._read_at(node, plan, await self._tracker.head(node))
        except EndpointError as error:
            if error.kind not in _MOVED:
                raise
        # The head was replaced, or a balancer's other backend does not know it yet.
        return await self._read_at(node, plan, await self._tracker.head(node))

    async def _read_at(self, node: EvmNode, plan: Plan, head: Head) -> Swept:
        while True:
            rung = await self._rung(node, plan, head.block)
            sweep = Sweep(node, rung, plan, head.block, self._tracker.chain_id)
            try:
                await sweep.run()
            except EndpointError as error:
                if not speaks_of_technique(error) or error.kind in _MOVED:
                    raise
                if error.kind is FailureKind.RPC and node.doubts < DOUBTS:
                    node.doubts += 1  # it may pass: the endpoint is left, not the rung
                    raise
                node.drop(rung.name, str(error))  # it worked on contact and does no more
            else:
                break
        node.doubts = 0
        first_block, last = await self._confirm(node, sweep, head.block)
        return Swept(sweep, first_block, Head(last, head.forked_below))

    async def _confirm(self, node: EvmNode, sweep: Sweep, block: BlockRef) -> tuple[int, BlockRef]:
        """The first and the last block the sweep read at; they differ only where the endpoint
        reads at its latest block alone. Raises EndpointError if the pin did not hold."""
        if node.pin == "hash" or (node.pin == "number" and sweep.seen):
            return block.number, block
        if node.pin == "number":
            again = await node.block(block.number)
            if again is None or again.hash != block.hash:
                words = f"block {block.number} was replaced while it was read"
                raise EndpointError(FailureKind.INCONSISTENT, words)
            return block.number, block
        seen = sorted(words.number for words in sweep.seen)
        if seen and seen[0] < block.number:
            words = f"asked at block {block.number}, the node read at block {seen[0]}"
            raise EndpointError(FailureKind.INCONSISTENT, words)
        last = await node.block(seen[-1]) if seen else await node.newest()
        if last is None:
            raise EndpointError(FailureKind.INCONSISTENT, f"block {seen[-1]} was read and is gone")
        return (seen[0] if seen else block.number), last

    async def _rung(self, node: EvmNode, plan: Plan, block: BlockRef) -> Rung:
        """The endpoint's rung; on first contact, or after one was dropped, it is probed."""
        name = node.endpoint.rung
        if node.endpoint.state is not EndpointState.UNTRIED:
            for rung in self._rungs:
                if rung.name == name and name not in node.unusable:
                    return rung
        remembered = node.remembered_rung
        remembered_first = sorted(self._rungs, key=lambda rung: rung.name != remembered)
        sample = sample_of(plan, wallets=1)
        return await settle(
            node,
            remembered_first,
            lambda rung: find_pin(node, rung, sample, block, self._tracker.chain_id),
        )

    # -- after the reading ----------------------------------------------------------------

    def _start_self_test(self, plan: Plan, swept: Swept, reading: Reading) -> None:
        node, rung = swept.sweep.node, swept.sweep.rung.name
        if not self._self_test or rung in node.endpoint.traits.get("tested", "").split(","):
            return
        samples = selftest.choose(plan.requests, reading.amounts)
        if samples:
            self._chores.start("self-test", self._test(node, rung, samples, reading.block))

    async def _test(
        self, node: EvmNode, rung: str, samples: list[selftest.Sample], block: BlockRef
    ) -> None:
        """Compare with single reads; a rung that fails is dropped and the next reading reads
        everything by the next rung."""
        outcome = await selftest.compare(node.rpc.url, samples, block, self._timeout_s)
        endpoint = node.endpoint
        endpoint.note = outcome.words
        if outcome.passed:
            tested = [*filter(None, endpoint.traits.get("tested", "").split(",")), rung]
            endpoint.traits["tested"] = ",".join(tested)
        elif outcome.passed is False:
            endpoint.note = f"{rung} dropped, it disagrees with single reads: {outcome.words}"
            node.drop(rung, endpoint.note)


def _feed_of(name: str, urls: Sequence[str], clock: Clock) -> HeadFeed:
    from core.chains.evm.push import HeadFeed  # late: it brings a WebSocket library

    return HeadFeed(name, urls, clock)


async def _whole(node: EvmNode, at: BlockRef) -> BlockRef:
    """`at` with everything the checks need. Raises EndpointError(NO_BLOCK)."""
    if at.hash and at.time_ms:
        return at
    block = await node.block(at.hash or at.number)
    if block is None:
        raise EndpointError(FailureKind.NO_BLOCK, f"block {at.hash or at.number}")
    return block


def _consistency(sweep: Sweep) -> Consistency:
    if sweep.node.pin != "latest":
        return Consistency.PINNED
    one_call = sweep.calls == 1 and len(sweep.seen) == 1 and not sweep.found
    return Consistency.SAME_CALL if one_call else Consistency.SPREAD
