"""TronReader: a ChainReader for TRON, on the EVM path wherever a node's JSON-RPC allows it.

A node knows only its newest state. A reading that fits into one Multicall3 is of one block
(same-call), a larger one is spread over the blocks that its calls named; it says which. Zero
balances are looked up once more, because an account that was never activated also reads 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from core.chains.base58 import tron_to_evm
from core.chains.chores import Chores
from core.chains.endpoints import Endpoint, EndpointPool
from core.chains.evm.ladder import settle, speaks_of_technique
from core.chains.evm.plan import Plan
from core.chains.evm.rungs import Rung
from core.chains.evm.sweep import Sweep, Swept, sample_of
from core.chains.evm.tracker import Head, HeadTracker
from core.chains.failures import EndpointError, FailureKind
from core.chains.http import TIMEOUT_S, open_client
from core.chains.protocol import AddressError, EndpointMemory
from core.chains.tron.activation import Activation
from core.chains.tron.node import TronNode
from core.chains.tron.rungs import offered, prove
from core.model import (
    Asset,
    BlockRef,
    ChainKind,
    Clock,
    Consistency,
    EndpointHealth,
    Reading,
    Request,
)

_TRY_AGAIN_S: Final = 600.0  # after this a better rung that failed is tried again
_SAMPLE: Final = 3  # wallets


class TronReader:
    """Balances of a TRON network (see core.chains.protocol.ChainReader).

    `urls` are HTTP endpoints, with or without `/jsonrpc`. `chain_id` None takes the first
    endpoint's for all.
    """

    kind = ChainKind.TRON

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        clock: Clock,
        memory: EndpointMemory,
        *,
        chain_id: int | None = None,
        interval_s: float = 30.0,
        requests_per_second: float | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.name = name
        self._clock = clock
        self._client = open_client(*urls)
        self._pool: EndpointPool[TronNode] = EndpointPool(
            name,
            urls,
            lambda url: TronNode(url, self._client, clock, timeout_s),
            clock,
            memory,
            interval_s=interval_s,
            requests_per_second=requests_per_second,
        )
        for endpoint in self._pool.endpoints:
            endpoint.session.endpoint = endpoint
        self._tracker = HeadTracker(self._pool, clock, chain_id=chain_id, timeout_s=timeout_s)
        self._activation = Activation()
        self._requests: Sequence[Request] | None = None
        self._plan = Plan(())
        self._chores = Chores()

    async def open(self) -> None:
        """Take up what earlier runs learnt of the endpoints; asks none of them."""
        await self._pool.load()
        for endpoint in self._pool.endpoints:
            endpoint.session.unproven = True

    async def close(self) -> None:
        """Stop the work beside and close every connection."""
        await self._chores.close()
        await self._client.aclose()

    def health(self) -> tuple[EndpointHealth, ...]:
        """Every endpoint, in configured order."""
        return self._pool.health()

    async def heads(self) -> AsyncIterator[BlockRef]:
        """Ends at once: java-tron's JSON-RPC has no push."""
        return
        yield  # makes this an async generator

    async def read(self, requests: Sequence[Request], at: BlockRef | None = None) -> Reading:
        """All requests in the newest state. `at` can be served only while it is the newest
        block; else every amount is unknown. Raises ChainUnreachableError."""
        self._chores.reap()
        if self._requests is not requests:
            await self._prepare(requests)
        before = self._sent()
        swept = await self._pool.run(self._read_on)
        reading = swept.reading(
            _consistency(swept.sweep),
            self._sent() - before,
            marks=self._activation.marks(self._plan),
        )
        self._tracker.keep(swept.head)
        self._tracker.watch_standbys(self._chores)
        await self._pool.save()
        if at is not None and (reading.first_block, reading.block.hash) != (at.number, at.hash):
            return _not_at(at, reading)
        return reading

    def _sent(self) -> int:
        return sum(endpoint.session.sent for endpoint in self._pool.endpoints)

    async def _prepare(self, requests: Sequence[Request]) -> None:
        """The plan, on addresses as JSON-RPC wants them."""
        known: dict[str, str] = {}
        refused: dict[int, str] = {}
        translated: list[Request] = []
        assets: dict[Asset, Asset] = {}
        for index, request in enumerate(requests):
            if index % 500 == 499:
                await asyncio.sleep(0)  # base58 is big-number work
            asset = request.asset
            try:
                if request.address not in known:
                    known[request.address] = tron_to_evm(request.address)
                if asset not in assets:
                    contract = asset.contract and tron_to_evm(asset.contract)
                    assets[asset] = msgspec.structs.replace(asset, contract=contract)
                translated.append(Request(known[request.address], assets[asset]))
            except AddressError as error:
                refused[index] = str(error)
                translated.append(Request("", asset))
        self._plan = Plan(translated)
        self._plan.unreadable.update(refused)  # in the words of TRON's addresses
        self._requests = requests

    # -- one endpoint ---------------------------------------------------------------------

    async def _read_on(self, endpoint: Endpoint[TronNode]) -> Swept:
        node = endpoint.session
        await self._tracker.admit(node)
        head = await self._tracker.head(node)
        while True:
            rung = await self._rung(node)
            sweep = Sweep(node, rung, self._plan, head.block, None)
            try:
                await sweep.run()
            except EndpointError as error:
                if not speaks_of_technique(error):
                    raise
                node.drop(rung.name, str(error))
            else:
                break
        last = await self._block_after(node, sweep, head.block)
        first = min((words.number for words in sweep.seen), default=head.block.number)
        await self._activation.look_up(node, self._plan)
        return Swept(sweep, first, Head(last, head.forked_below))

    async def _rung(self, node: TronNode) -> Rung:
        """The endpoint's rung; on first contact, or after one was dropped, the best that works
        and agrees with single reads. Raises EndpointError where none does."""
        rungs = offered(node)
        now = self._clock.monotonic()
        if node.unusable and now - node.settled_at > _TRY_AGAIN_S:
            node.unusable.clear()  # what failed may have been the node's bad hour
            node.unproven = True
        if not node.unproven:
            for rung in rungs:
                if rung.name == node.endpoint.rung and rung.name not in node.unusable:
                    return rung
        sample = sample_of(self._plan, _SAMPLE)
        rung = await settle(node, rungs, lambda rung: prove(node, rung, sample))
        node.settle_on(rung.name, "latest")
        node.unproven = False
        node.settled_at = now
        return rung

    async def _block_after(self, node: TronNode, sweep: Sweep, head: BlockRef) -> BlockRef:
        """The newest block that the sweep read from."""
        last = max((words.number for words in sweep.seen), default=0)
        if last == head.number:
            return head
        block = await node.block(last or "latest")
        if block is None:
            words = f"it read from block {last} and does not know it"
            raise EndpointError(FailureKind.INCONSISTENT, words)
        node.endpoint.block = block.number
        return block


def _consistency(sweep: Sweep) -> Consistency:
    one_block = len(sweep.seen) == 1 and not sweep.found
    return Consistency.SAME_CALL if one_block else Consistency.SPREAD


def _not_at(at: BlockRef, reading: Reading) -> Reading:
    """TRON nodes keep no past states: nothing is known at `at`."""
    reason = f"TRON nodes read only their newest state, not block {at.number}"
    count = len(reading.amounts)
    return Reading(
        block=at,
        consistency=Consistency.SPREAD,
        amounts=[None] * count,
        reasons=dict.fromkeys(range(count), reason),
        first_block=at.number,
        endpoint=reading.endpoint,
        requests_sent=reading.requests_sent,
    )
