"""TronReader: a ChainReader for TRON, on the EVM path wherever a node's JSON-RPC allows it.

A node knows only its newest state. A reading that fits into one Multicall3 is of one block
(same-call), a larger one is spread over the blocks that its calls named; it says which. Zero
balances are looked up once more, because an account that was never activated also reads 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import msgspec

from core.chains.base58 import AddressError, tron_to_evm
from core.chains.chores import Chores
from core.chains.endpoints import Endpoint, EndpointPool
from core.chains.evm.heads import HeadRing, Verdict
from core.chains.evm.ladder import speaks_of_technique, wrong_chain
from core.chains.evm.plan import Plan
from core.chains.evm.rungs import Rung, slice_of
from core.chains.evm.sweep import Sweep
from core.chains.failures import EndpointError, FailureKind
from core.chains.http import TIMEOUT_S, open_client
from core.chains.protocol import EndpointMemory
from core.chains.tron.node import TronNode
from core.chains.tron.rungs import agrees, offered
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

NOT_ACTIVATED: Final = "not activated"

_TRIAL_TIMEOUT_S: Final = 3.0  # for the first request to an endpoint that has failed before
_STALE_AFTER_S: Final = 60.0
_BEHIND_READINGS: Final = 3  # after so many older heads in a row the chain itself went back
_TRY_AGAIN_S: Final = 600.0  # after this a better rung that failed is tried again
_LOOK_UPS: Final = 30  # wallet/getaccount per reading, for accounts that read 0
_SAMPLE: Final = 3


class _Swept(NamedTuple):
    sweep: Sweep
    block: BlockRef
    first_block: int
    forked_below: int | None


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
        self.chain_id = chain_id
        self._clock = clock
        self._client = open_client()
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
            endpoint.session.attach(endpoint)
        self._ring = HeadRing()
        self._behind = 0
        self._requests: Sequence[Request] | None = None
        self._plan = Plan(())
        self._refused: dict[int, str] = {}
        self._activated: set[str] = set()
        self._inactive: set[str] = set()
        self._look_from = 0
        self._chores = Chores()
        self._watched_at = clock.monotonic()

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
        reading = self._reading(requests, swept, self._sent() - before)
        self._keep_head(swept)
        self._watch_standbys()
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
        self._refused = refused
        self._requests = requests

    # -- one endpoint ---------------------------------------------------------------------

    async def _read_on(self, endpoint: Endpoint[TronNode]) -> _Swept:
        node = endpoint.session
        limit = _TRIAL_TIMEOUT_S if endpoint.half_open else None
        await self._know_chain(node, limit)
        head = await self._head(node, limit)
        forked_below = self._fork(head, await self._ring.judge(head, node.block))
        while True:
            rung = await self._rung(node)
            sweep = Sweep(node, rung, self._plan, head, None)
            try:
                await sweep.run()
            except* EndpointError as group:
                error = _first(group)
            else:
                break
            if not speaks_of_technique(error):
                raise error
            node.unusable[rung.name] = str(error)
            endpoint.rung = ""
        block = await self._block_after(node, sweep, head)
        first = min((words.number for words in sweep.seen), default=head.number)
        await self._look_up(node)
        return _Swept(sweep, block, first, forked_below)

    async def _know_chain(self, node: TronNode, limit: float | None) -> None:
        if node.chain_id is None:
            node.chain_id = await node.identify(limit)
        if self.chain_id is None:
            self.chain_id = node.chain_id
        if node.chain_id != self.chain_id:
            raise wrong_chain(node.chain_id, self.chain_id)

    async def _head(self, node: TronNode, limit: float | None) -> BlockRef:
        head = await node.newest(timeout_s=limit)
        others = [e.session.head for e in self._pool.endpoints if e.session is not node]
        newest_ms = max((h.time_ms for h in others if h is not None), default=0)
        behind_s = (newest_ms - head.time_ms) / 1000
        if behind_s > _STALE_AFTER_S:
            words = f"block {head.number} is {behind_s:.0f} s behind the chain"
            raise EndpointError(FailureKind.STALE, words)
        return head

    def _fork(self, head: BlockRef, verdict: Verdict | int) -> int | None:
        """The verdict on a head as `Reading.forked_below`. Raises EndpointError(STALE) for a
        head older than the last reading: going back would report changes that never were."""
        if verdict is not Verdict.BEHIND:
            self._behind = 0
            return None if isinstance(verdict, Verdict) else verdict
        self._behind += 1
        if self._behind > _BEHIND_READINGS * len(self._pool.endpoints):
            self._behind = 0
            return head.number
        words = f"block {head.number} is older than the last reading's"
        raise EndpointError(FailureKind.STALE, words)

    async def _rung(self, node: TronNode) -> Rung:
        """The endpoint's rung; on first contact, or after one was dropped, the best that works
        and agrees with single reads. Raises EndpointError where none does."""
        rungs = offered(node)
        endpoint = node.endpoint
        now = self._clock.monotonic()
        if node.unusable and now - node.settled_at > _TRY_AGAIN_S:
            node.unusable.clear()  # what failed may have been the node's bad hour
            node.unproven = True
        for rung in rungs:
            if rung.name == endpoint.rung and not node.unproven and rung.name not in node.unusable:
                return rung
        group = max(self._plan.groups, key=lambda g: len(g.wallets), default=None)
        sample = slice_of(group.wallets[:_SAMPLE], group.tokens[:2]) if group else slice_of((), ())
        for rung in rungs:
            if rung.name in node.unusable:
                continue
            try:
                await rung.ready(node)
                if rung is rungs[-1]:
                    await rung.read(node, sample, "latest")
                elif not await agrees(node, rung, sample):
                    raise EndpointError(FailureKind.INCONSISTENT, "disagrees with single reads")
            except EndpointError as error:
                if not speaks_of_technique(error):
                    raise
                node.unusable[rung.name] = str(error)
                continue
            endpoint.traits["pin"] = "latest"
            endpoint.rung = rung.name
            node.unproven = False
            node.settled_at = now
            return rung
        endpoint.rung = ""
        reasons = "; ".join(f"{name}: {reason}" for name, reason in node.unusable.items())
        node.unusable.clear()  # after the back-off everything is tried again
        raise EndpointError(FailureKind.NO_METHOD, f"no way to read balances works ({reasons})")

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

    # -- accounts that read 0 -------------------------------------------------------------

    async def _look_up(self, node: TronNode) -> None:
        """Learn which accounts without TRX are not activated; a few per reading, in turn. An
        activated account stays so."""
        if not node.has_wallet:
            return
        unclear: list[tuple[str, bytes]] = []
        known: list[tuple[str, bytes]] = []
        for group in self._plan.groups:
            natives = group.values[:: group.width]
            for wallet, balance in zip(group.wallets, natives, strict=True):
                address = wallet.hex()
                if balance:
                    self._inactive.discard(address)
                elif address in self._inactive:
                    known.append((address, wallet))
                elif address not in self._activated:
                    unclear.append((address, wallet))
        turn = unclear[:_LOOK_UPS]
        if known:  # one may have been activated without receiving TRX
            self._look_from += 1
            turn.append(known[self._look_from % len(known)])
        for address, wallet in turn:
            try:
                account = await node.account(wallet)
            except EndpointError as error:
                if error.kind in (FailureKind.NOT_JSON, FailureKind.NO_METHOD):
                    node.has_wallet = False
                return  # what is read is read: the mark comes with a later reading
            if account.address:
                self._activated.add(address)
                self._inactive.discard(address)
            else:
                self._inactive.add(address)

    # -- after the reading ----------------------------------------------------------------

    def _reading(self, requests: Sequence[Request], swept: _Swept, sent: int) -> Reading:
        sweep, block, first_block, forked_below = swept
        plan = self._plan
        amounts = plan.amounts(sweep.failed)
        for index, amount in sweep.found.items():
            amounts[index] = amount
        reasons = {**sweep.failed, **plan.unreadable, **self._refused}
        for to, source in plan.copies:
            amounts[to] = amounts[source]
            if source in reasons:
                reasons[to] = reasons[source]
        marks: dict[int, str] = {}
        if self._inactive:
            for index, request in enumerate(plan.requests):
                if request.asset.contract is None and request.address[2:] in self._inactive:
                    marks[index] = NOT_ACTIVATED
        one_block = len(sweep.seen) == 1 and not sweep.found
        return Reading(
            block=block,
            consistency=Consistency.SAME_CALL if one_block else Consistency.SPREAD,
            amounts=amounts,
            reasons=reasons,
            marks=marks,
            first_block=first_block,
            forked_below=forked_below,
            endpoint=sweep.node.endpoint.label,
            requests_sent=sent,
        )

    def _keep_head(self, swept: _Swept) -> None:
        if swept.forked_below is not None:
            self._ring.cut(swept.forked_below)
        self._ring.add(swept.block)

    def _watch_standbys(self) -> None:
        now = self._clock.monotonic()
        if len(self._pool.endpoints) > 1 and now - self._watched_at >= self._pool.interval_s:
            self._watched_at = now
            self._chores.start("standbys", self._watch())

    async def _watch(self) -> None:
        """Look at the heads of the endpoints not in use, so that a stuck one is noticed."""
        for endpoint in self._pool.endpoints:
            if endpoint is self._pool.in_use or not endpoint.usable or endpoint.half_open:
                continue
            try:
                await self._know_chain(endpoint.session, _TRIAL_TIMEOUT_S)
                await endpoint.session.newest(timeout_s=_TRIAL_TIMEOUT_S)
            except EndpointError as error:
                endpoint.leave(error)
        self._pool.measure_lag()


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
