"""The EVM reader: a ChainReader over several endpoints of one chain.

A reading is: the head, then everything pinned to its hash, a few requests at a time, then the
failed reads one by one. Reorganisations are noticed by the heads of earlier readings. After an
endpoint's first reading its rung is tested against single reads, beside the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from core.chains.chores import Chores
from core.chains.endpoints import Endpoint, EndpointPool
from core.chains.evm import selftest
from core.chains.evm.heads import HeadRing, Verdict
from core.chains.evm.ladder import settle, speaks_of_technique, wrong_chain
from core.chains.evm.node import EvmNode
from core.chains.evm.plan import Plan
from core.chains.evm.push import HeadFeed
from core.chains.evm.rungs import Rung, ladder, slice_of
from core.chains.evm.sweep import Sweep
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

TRIAL_TIMEOUT_S = 3.0  # for the first request to an endpoint that has failed before
SELF_TEST_WALLETS = 3
DOUBTS = 2  # internal errors in a row after which the rung is blamed
PLAN_IN_THREAD = 2_000  # requests from which planning would hold up the loop
BEHIND_READINGS = 3  # after so many older heads in a row the chain itself went back
_MOVED = frozenset({FailureKind.NO_BLOCK, FailureKind.INCONSISTENT})


class ChainSetUpError(BursarError):
    """A chain whose settings cannot work."""


class _Swept(NamedTuple):
    """A reading before it becomes one."""

    sweep: Sweep
    block: BlockRef
    first_block: int
    forked_below: int | None


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
        self.chain_id = chain_id
        self._clock = clock
        self._timeout_s = timeout_s
        self._trial_s = min(TRIAL_TIMEOUT_S, timeout_s)
        self._stale_after_s = stale_after_s
        self._self_test = self_test
        self._client = open_client()
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
        pushing = [url for url in endpoints if url not in reading]
        self._feed = HeadFeed(name, pushing, clock) if pushing else None
        self._order = list(endpoints)
        self._ring = HeadRing()
        self._behind = 0
        self._plan: Plan | None = None
        self._chores = Chores()
        self._watched_at = clock.monotonic()

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
        reading = self._reading(plan, swept, self._sent() - before)
        if at is None:
            self._keep_head(swept)
        self._start_chores(plan, swept, reading)
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

    async def _read_on(
        self, endpoint: Endpoint[EvmNode], plan: Plan, at: BlockRef | None
    ) -> _Swept:
        node = endpoint.session
        await self._know_chain(node)
        for attempt in (1, 2):
            try:
                if at is not None:
                    return await self._read_at(node, plan, await _whole(node, at), None)
                head = await self._head(node)
                verdict = await self._ring.judge(head, node.block)
                return await self._read_at(node, plan, head, self._fork(head, verdict))
            except EndpointError as error:
                # The head may be replaced, or a balancer's other backend not know it yet.
                if at is not None or error.kind not in _MOVED or attempt == 2:
                    raise
        raise AssertionError("unreachable")

    async def _know_chain(self, node: EvmNode) -> None:
        """Ask for the chain id on first contact; the scanner restates it in every answer."""
        if node.chain_id is None:
            limit = self._trial_s if node.endpoint.half_open else None
            stated = await node.ask("eth_chainId", (), str, timeout_s=limit)
            try:
                node.chain_id = int(stated, 16)
            except ValueError as error:
                words = "eth_chainId answered no quantity"
                raise EndpointError(FailureKind.NOT_JSON, words) from error
        if self.chain_id is None:
            self.chain_id = node.chain_id
        if node.chain_id != self.chain_id:
            raise wrong_chain(node.chain_id, self.chain_id)

    async def _head(self, node: EvmNode) -> BlockRef:
        limit = self._trial_s if node.endpoint.half_open else None
        head = await node.newest(timeout_s=limit)
        others = [e.session.head for e in self._pool.endpoints if e.session is not node]
        newest_ms = max((h.time_ms for h in others if h is not None), default=0)
        behind_s = (newest_ms - head.time_ms) / 1000
        if behind_s > self._stale_after_s:
            raise EndpointError(
                FailureKind.STALE, f"block {head.number} is {behind_s:.0f} s behind the chain"
            )
        return head

    def _fork(self, head: BlockRef, verdict: Verdict | int) -> int | None:
        """The verdict on a head as `Reading.forked_below`. Raises EndpointError(STALE) for a
        head older than the last reading: going back would report changes that never were."""
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

    async def _read_at(
        self, node: EvmNode, plan: Plan, block: BlockRef, forked_below: int | None
    ) -> _Swept:
        while True:
            rung = await self._rung(node, plan, block)
            sweep = Sweep(node, rung, plan, block, self.chain_id)
            try:
                await sweep.run()
            except* EndpointError as group:
                error = _first(group)
            else:
                break
            if not speaks_of_technique(error) or error.kind in _MOVED:
                raise error
            if error.kind is FailureKind.RPC and node.doubts < DOUBTS:
                node.doubts += 1  # an internal error may pass: the endpoint is left, not the rung
                raise error
            node.unusable[rung.name] = str(error)  # it worked on contact and does no more
            node.endpoint.rung = ""
        node.doubts = 0
        first_block, block = await self._confirm(node, sweep, block)
        return _Swept(sweep, block, first_block, forked_below)

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
        group = max(plan.groups, key=lambda g: len(g.wallets), default=None)
        sample = slice_of(group.wallets[:1], group.tokens[:2]) if group else slice_of((), ())
        return await settle(node, self._rungs, sample, block, self.chain_id)

    # -- after the reading ----------------------------------------------------------------

    def _reading(self, plan: Plan, swept: _Swept, sent: int) -> Reading:
        sweep, block, first_block, forked_below = swept
        amounts = plan.amounts(sweep.failed)
        for index, amount in sweep.found.items():
            amounts[index] = amount
        reasons = {**sweep.failed, **plan.unreadable}
        for to, source in plan.copies:
            amounts[to] = amounts[source]
            if source in reasons:
                reasons[to] = reasons[source]
        consistency = Consistency.PINNED
        if sweep.node.pin == "latest":
            one_call = sweep.calls == 1 and len(sweep.seen) == 1 and not sweep.found
            consistency = Consistency.SAME_CALL if one_call else Consistency.SPREAD
        return Reading(
            block=block,
            consistency=consistency,
            amounts=amounts,
            reasons=reasons,
            first_block=first_block,
            forked_below=forked_below,
            endpoint=sweep.node.endpoint.label,
            requests_sent=sent,
        )

    def _keep_head(self, swept: _Swept) -> None:
        if swept.forked_below is not None:
            self._ring.cut(swept.forked_below)
        self._ring.add(swept.block)

    def _start_chores(self, plan: Plan, swept: _Swept, reading: Reading) -> None:
        node = swept.sweep.node
        rung = swept.sweep.rung.name
        if self._self_test and rung not in node.endpoint.traits.get("tested", "").split(","):
            samples = _samples(plan, reading)
            if samples:
                self._chores.start("self-test", self._test(node, rung, samples, swept.block))
        now = self._clock.monotonic()
        if len(self._pool.endpoints) > 1 and now - self._watched_at >= self._pool.interval_s:
            self._watched_at = now
            self._chores.start("standbys", self._watch())

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
            node.unusable[rung] = endpoint.note
            endpoint.rung = ""

    async def _watch(self) -> None:
        """Look at the heads of the endpoints not in use, so that lag is known and a failover
        does not find out only then that the standby is dead."""
        for endpoint in self._pool.endpoints:
            if endpoint is self._pool.in_use or not endpoint.usable or endpoint.half_open:
                continue
            node = endpoint.session
            try:
                await self._know_chain(node)
                await node.newest(timeout_s=self._trial_s)
            except EndpointError as error:
                endpoint.leave(error)
        self._pool.measure_lag()


async def _whole(node: EvmNode, at: BlockRef) -> BlockRef:
    """`at` with everything the checks need. Raises EndpointError(NO_BLOCK)."""
    if at.hash and at.time_ms:
        return at
    block = await node.block(at.hash or at.number)
    if block is None:
        raise EndpointError(FailureKind.NO_BLOCK, f"block {at.hash or at.number}")
    return block


def _first(group: BaseExceptionGroup[EndpointError]) -> EndpointError:
    """One of a group's errors: the one that says most about what to do."""
    errors: list[EndpointError] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        elif isinstance(error, EndpointError):
            errors.append(error)
    return max(errors, key=lambda e: (e.kind is FailureKind.WRONG_CHAIN, e.retry_after_s or 0))


def _samples(plan: Plan, reading: Reading) -> list[selftest.Sample]:
    """A few wallets' values, those with money first: zeros agree too easily."""
    by_wallet: dict[str, list[selftest.Sample]] = {}
    for request, amount in zip(plan.requests, reading.amounts, strict=True):
        if amount is not None:
            sample = selftest.Sample(request.address, request.asset.contract, str(amount))
            by_wallet.setdefault(request.address, []).append(sample)
    richest = sorted(by_wallet.values(), key=lambda s: -sum(v.amount != "0" for v in s))
    return [sample for samples in richest[:SELF_TEST_WALLETS] for sample in samples[:8]]
