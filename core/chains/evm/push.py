"""New heads as an EVM node pushes them: eth_subscribe("newHeads") over WebSocket.

A head only wakes a reading, so nothing is replayed after a gap. Reads never share this socket:
the subscription stands alone, reconnects on its own and is watched for silence.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from core.chains.endpoints import Endpoint, labels
from core.chains.evm.node import Header, block_ref
from core.chains.failures import EndpointError, FailureKind, plain
from core.model import BlockRef, Clock, EndpointHealth

OPEN_TIMEOUT_S = 10.0
FIRST_SILENCE_S = 120.0  # until the chain's own rhythm is known
SILENCE_BLOCKS = 3  # a watchdog of so many block times, at least QUIET_S
QUIET_S = 15.0
MAX_MESSAGE_BYTES = 1024 * 1024


class _Params(msgspec.Struct):
    result: Header


class _Notification(msgspec.Struct):
    params: _Params | None = None
    error: msgspec.Raw = msgspec.Raw()


class HeadFeed:
    """Heads from the first of `urls` that works, with failover among them."""

    def __init__(self, chain: str, urls: Sequence[str], clock: Clock) -> None:
        self.endpoints = tuple(
            Endpoint(chain, url, label, None, clock)
            for url, label in zip(urls, labels(urls), strict=True)
        )
        self._clock = clock
        self._in_use: Endpoint[None] | None = None

    def health(self) -> dict[str, EndpointHealth]:
        """Health by URL."""
        return {e.url: e.health(in_use=e is self._in_use) for e in self.endpoints}

    async def heads(self) -> AsyncGenerator[BlockRef, None]:
        """Heads for ever; connections come and go behind it."""
        while True:
            for endpoint in self.endpoints:
                if not endpoint.usable:
                    continue
                try:
                    async with aclosing(self._subscribed(endpoint)) as subscription:
                        async for block in subscription:
                            self._in_use = endpoint
                            endpoint.recovered()
                            endpoint.block = block.number
                            yield block
                except EndpointError as error:
                    endpoint.erred(error)
                    endpoint.leave(error)
                self._in_use = None
            wait = min(endpoint.wait_s for endpoint in self.endpoints)
            await self._clock.sleep(max(wait, 0.05) + 0.05 * random.random())

    async def _subscribed(self, endpoint: Endpoint[None]) -> AsyncGenerator[BlockRef, None]:
        """One connection's heads. Raises EndpointError when it ends, for whatever reason."""
        endpoint.rung = "newHeads"
        silence = FIRST_SILENCE_S
        try:
            async with connect(
                endpoint.url, open_timeout=OPEN_TIMEOUT_S, max_size=MAX_MESSAGE_BYTES
            ) as socket:
                started = self._clock.monotonic()
                request = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe"}
                await socket.send(msgspec.json.encode({**request, "params": ["newHeads"]}).decode())
                previous: BlockRef | None = None
                while True:
                    async with asyncio.timeout(silence):
                        message = await socket.recv()
                    block = _head(message)
                    if block is None:
                        endpoint.answered(self._clock.monotonic() - started)
                        continue
                    yield block
                    if previous is not None and block.time_ms > previous.time_ms:
                        gap = (block.time_ms - previous.time_ms) / 1000
                        silence = max(QUIET_S, SILENCE_BLOCKS * gap)
                    previous = block
        except TimeoutError as error:
            words = f"no head for {silence:.0f} s"
            raise EndpointError(FailureKind.TIMEOUT, words) from error
        except WebSocketException as error:
            raise EndpointError(FailureKind.RESET, plain(str(error))) from error
        except OSError as error:
            raise EndpointError(FailureKind.UNREACHABLE, plain(str(error))) from error


def _head(message: str | bytes) -> BlockRef | None:
    """The head in a message; None for the answer to the subscription itself."""
    try:
        notification = msgspec.json.decode(message, type=_Notification)
    except msgspec.DecodeError as error:
        raise EndpointError(FailureKind.NOT_JSON, plain(str(error))) from error
    if bytes(notification.error) not in (b"", b"null"):
        words = plain(bytes(notification.error).decode(errors="replace"))
        raise EndpointError(FailureKind.NO_METHOD, f"newHeads: {words}")
    return None if notification.params is None else block_ref(notification.params.result)
