"""A JSON-RPC server over HTTP that answers as an EVM node does, from a `SimulatedChain`.

It knows sockets and how to misbehave as a `FaultPlan` says; what it replies is written in
`evm_replies`. No transactions, logs or subscriptions. (Source: Ethereum execution JSON-RPC.)
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final, Self

from aiohttp import web

from core.demo.evm_replies import EvmReplies
from core.demo.protocol import ActiveFault, Fault, FaultPlan, SimulatedChain

_MAX_BODY: Final = 64 * 1024 * 1024
_PAGE: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_LIMITED: Final = (
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"rate limit exceeded"}}'
)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: RST instead of FIN


class EvmNode:
    """`async with EvmNode(chain, faults) as node:` listens on `node.url`.

    `overrides` and `deployless` say whether eth_call runs code that is sent along; `batch_limit`
    is the most calls in one POST; under `Fault.TOO_LARGE` bodies above `small_bytes` are refused;
    `latency_s` is waited before every answer.
    """

    def __init__(
        self,
        chain: SimulatedChain,
        faults: FaultPlan,
        *,
        overrides: bool = True,
        deployless: bool = True,
        batch_limit: int = 1000,
        small_bytes: int = 4096,
        latency_s: float = 0.0,
    ) -> None:
        self.posts = 0
        self._faults = faults
        self._replies = EvmReplies(
            chain, overrides=overrides, deployless=deployless, batch_limit=batch_limit
        )
        self._small_bytes = small_bytes
        self._latency_s = latency_s
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """http:// address with the port the system gave."""
        if self._runner is None:
            raise RuntimeError("the node is not started")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    @property
    def calls(self) -> dict[str, int]:
        """How often each JSON-RPC method was asked for, calls in batches included."""
        return self._replies.calls

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 lets the system choose."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self._runner = runner

    async def stop(self) -> None:
        """Close every connection; no task is left."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.posts += 1
        body = await request.read()
        active = self._faults.current()
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        if request.method != "POST":
            return web.Response(status=405, text="only POST is served here")
        refusal = await self._refusal(active, body)
        if refusal is not None:
            return refusal
        answer = self._replies.answer(body, active)
        if active is not None and active.fault in (Fault.HALF, Fault.RESET):
            return await _cut(request, answer, reset=active.fault is Fault.RESET)
        return web.Response(body=answer, content_type="application/json")

    async def _refusal(self, active: ActiveFault | None, body: bytes) -> web.Response | None:
        """The answer of a node that does not look at the request, None if it does."""
        fault = active.fault if active is not None else None
        if fault is Fault.TIMEOUT:
            await self._stopping.wait()
            return web.Response(status=503)
        if active is not None and fault is Fault.TOO_MANY:
            return web.Response(
                status=429,
                headers={"Retry-After": str(active.retry_after_s)},
                body=_LIMITED,
                content_type="application/json",
            )
        if fault is Fault.TOO_LARGE and len(body) > self._small_bytes:
            return web.Response(status=413, text="Request Entity Too Large")
        if fault is Fault.SERVER_ERROR:
            return web.Response(status=503, text="no healthy upstream")
        if fault is Fault.HTML:
            return web.Response(body=_PAGE, content_type="text/html")
        return None


async def _cut(request: web.Request, answer: bytes, *, reset: bool) -> web.StreamResponse:
    """Promise the whole answer, send half of it, and go away."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(answer)
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    transport = request.transport
    if transport is not None:
        if reset:
            sock: socket.socket = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        else:
            transport.close()
    return response
