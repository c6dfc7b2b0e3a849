"""A chain at the reader's door: balances, blocks and faults that a test sets by hand.

This is the socket edge of the balances room: below it stand the real readers, above it nothing
is scripted (real store, real bus).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from core.chains.protocol import ChainUnreachableError
from core.model import (
    BlockRef,
    ChainKind,
    Clock,
    Consistency,
    EndpointHealth,
    EndpointState,
    Reading,
    Request,
)

Key = tuple[str, str | None]  # address, contract
T = TypeVar("T")


class ScriptedReader:
    """A `core.chains.protocol.ChainReader` over dictionaries."""

    def __init__(self, name: str, clock: Clock, kind: ChainKind = ChainKind.EVM) -> None:
        self.balances: dict[Key, int] = {}
        self.reasons: dict[Key, str] = {}
        self.marks: dict[Key, str] = {}
        self.reserved: dict[Key, int] = {}
        self.down = ""
        self.broken: Exception | None = None
        self.hangs = False
        self.deaf = False  # ignores its cancellation, once
        self.gate: asyncio.Event | None = None
        self.block = 100
        self.moves = True  # every reading is of a new block
        self.forked_below: int | None = None
        self.reads: list[int] = []  # ms at which a reading began
        self.requests: list[Sequence[Request]] = []
        self.reading = 0
        self.most_at_once = 0
        self.pushed: asyncio.Queue[BlockRef] = asyncio.Queue()
        self.endpoints: tuple[EndpointHealth, ...] = (
            EndpointHealth(name, f"http://{name}.test", EndpointState.READY, in_use=True),
        )
        self._name = name
        self._kind = kind
        self._clock = clock

    @property
    def name(self) -> str:
        return self._name

    @property
    def kind(self) -> ChainKind:
        return self._kind

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def read(self, requests: Sequence[Request], at: BlockRef | None = None) -> Reading:
        self.reads.append(self._clock.now_ms())
        self.requests.append(requests)
        self.reading += 1
        self.most_at_once = max(self.most_at_once, self.reading)
        try:
            return await self._answer(requests)
        finally:
            self.reading -= 1

    async def _answer(self, requests: Sequence[Request]) -> Reading:
        if self.gate is not None:
            await self.gate.wait()
        while self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not self.deaf:
                    raise
                self.deaf = False  # and the next time it hears
        if self.down:
            raise ChainUnreachableError(self.down)
        if self.broken is not None:
            raise self.broken
        if self.moves:
            self.block += 1
        keys = [(request.address, request.asset.contract) for request in requests]
        forked, self.forked_below = self.forked_below, None
        return Reading(
            block=BlockRef(self.block, f"0x{self.block:064x}", self._clock.now_ms()),
            consistency=Consistency.PINNED,
            amounts=[None if key in self.reasons else self.balances.get(key, 0) for key in keys],
            reasons={i: self.reasons[key] for i, key in enumerate(keys) if key in self.reasons},
            marks=self._sparse(self.marks, keys),
            reserved=self._sparse(self.reserved, keys),
            forked_below=forked,
            endpoint=self.endpoints[0].url,
            requests_sent=1,
        )

    def _sparse(self, values: dict[Key, T], keys: Sequence[Key]) -> dict[int, T]:
        return {i: values[k] for i, k in enumerate(keys) if k in values and k not in self.reasons}

    def health(self) -> tuple[EndpointHealth, ...]:
        return self.endpoints

    async def heads(self) -> AsyncIterator[BlockRef]:
        while True:
            yield await self.pushed.get()
