"""A node's HTTP server on loopback, which misbehaves as a `FaultPlan` says.

It knows sockets and the faults that a gateway or a broken line shows whatever was asked; what is
answered, and the faults that show in an answer, are the node's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from typing import ClassVar, Final, Self

from aiohttp import web

from core.demo.protocol import ActiveFault, Fault, FaultPlan

_MAX_BODY: Final = 64 * 1024 * 1024
_PAGE: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: RST instead of FIN


class HttpServer(ABC):
    """`async with` a subclass of it: it listens on `url`.

    Under `Fault.TOO_LARGE` bodies above `small_bytes` are refused; `latency_s` is waited before
    every answer. `limited` is the body of a 429.
    """

    limited: ClassVar[bytes] = b"Too Many Requests"

    def __init__(self, faults: FaultPlan, *, small_bytes: int = 0, latency_s: float = 0.0) -> None:
        self._faults = faults
        self._small_bytes = small_bytes
        self._latency_s = latency_s
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    @abstractmethod
    def _answer(self, path: str, body: bytes, active: ActiveFault | None) -> bytes | None:
        """The JSON that a POST is answered with; None where nothing is served at that path."""

    @property
    def url(self) -> str:
        """http:// address with the port the system gave, without a path."""
        if self._runner is None:
            raise RuntimeError("the server is not started")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 lets the system choose."""
        self._stopping.clear()
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

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
        body = await request.read()
        active = self._faults.current()
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        refusal = await self._refusal(active, body)
        if refusal is not None:
            return refusal
        answer = self._answer(request.path, body, active)
        if answer is None:
            return web.Response(status=404, text="nothing is served here")
        if active is not None and active.fault in (Fault.HALF, Fault.RESET):
            return await _cut(request, answer, reset=active.fault is Fault.RESET)
        return web.Response(body=answer, content_type="application/json")

    async def _refusal(self, active: ActiveFault | None, body: bytes) -> web.Response | None:
        """The answer of a server that does not look at the request, None if it does."""
        fault = active.fault if active is not None else None
        if fault is Fault.TIMEOUT:
            await self._stopping.wait()
            return web.Response(status=503)
        if active is not None and fault is Fault.TOO_MANY:
            headers = {"Retry-After": str(active.retry_after_s)}
            return web.Response(status=429, headers=headers, body=self.limited)
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
