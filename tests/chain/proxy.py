"""A small HTTP proxy in front of a node that fails in the ways real endpoints fail.

It stands at the socket: the reader and the node under test are both real. Set `fault` and what
goes with it; it holds for every request until changed. `seen` counts requests by method.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from core.demo.protocol import Fault
from core.events import Json

PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
REASONS = {200: "OK", 413: "Payload Too Large", 429: "Too Many Requests", 503: "Unavailable"}


class RpcRefusal(Exception):
    """Raised by a `rule`: the call is answered with this JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.error: dict[str, Json] = {"code": code, "message": message}


class Proxy:
    """The proxy's state.

    `rule(method, params)` may raise RpcRefusal for single calls; `accepts_batches` False refuses
    JSON-RPC arrays. Bodies and answers above `largest_body` and `largest_answer` bytes get 413,
    a body above `silent_above` is never answered. `stuck_at` goes with Fault.STALE; `delay_s`
    is a round trip's latency.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.fault: Fault | None = None
        self.retry_after_s = 1
        self.stuck_at = 0
        self.delay_s = 0.0
        self.largest_body: int | None = None
        self.largest_answer: int | None = None
        self.silent_above: int | None = None
        self.accepts_batches = True
        self.rule: Callable[[str, list[Json]], None] | None = None
        self.seen: Counter[str] = Counter()
        self.bodies: list[int] = []
        self._client = httpx.AsyncClient(timeout=60)
        self._open: dict[asyncio.StreamWriter, asyncio.Task[object] | None] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        self._open[writer] = asyncio.current_task()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                body = await reader.readexactly(length)
                await asyncio.sleep(self.delay_s)
                if not await self._answer(body, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        except asyncio.CancelledError:
            return  # by close(); asyncio's streams would print it as an error
        finally:
            self._open.pop(writer, None)
            writer.close()

    async def _answer(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False ends the connection."""
        request = json.loads(body)
        calls = request if isinstance(request, list) else [request]
        for call in calls:
            self.seen[call["method"]] += 1
        self.bodies.append(len(body))
        silent = self.silent_above is not None and len(body) > self.silent_above
        if silent or self.fault is Fault.TIMEOUT:
            await asyncio.sleep(3600)
        if self.fault is Fault.TOO_MANY:
            return self._write(writer, 429, b"slow down", f"Retry-After: {self.retry_after_s}\r\n")
        if self.fault is Fault.SERVER_ERROR:
            return self._write(writer, 503, b"maintenance")
        if self.fault is Fault.HTML:
            return self._write(writer, 200, PAGE)
        too_large = self.largest_body is not None and len(body) > self.largest_body
        if self.fault is Fault.TOO_LARGE or too_large:
            return self._write(writer, 413, b"request entity too large")
        answer = await self._forward(request, calls)
        if self.largest_answer is not None and len(answer) > self.largest_answer:
            return self._write(writer, 413, b"response too large")
        if self.fault is Fault.HALF:
            # Whole to HTTP, broken as JSON: some gateways cut and then correct the length.
            return self._write(writer, 200, answer[: len(answer) // 2])
        if self.fault is Fault.RESET:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
            writer.write(head + answer[: len(answer) // 2])
            await writer.drain()
            linger = struct.pack("ii", 1, 0)  # closing now sends RST instead of FIN
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await asyncio.sleep(0.02)
            writer.transport.abort()
            return False
        return self._write(writer, 200, answer)

    async def _forward(self, request: Json, calls: list[dict[str, Json]]) -> bytes:
        if isinstance(request, list) and not self.accepts_batches:
            return _error(None, {"code": -32600, "message": "batch requests are not supported"})
        for call in calls:
            params = call["params"]
            assert isinstance(params, list)
            try:
                if self.fault is Fault.RPC_ERROR:
                    raise RpcRefusal(-32000, "internal error: database is closed")
                if self.rule is not None:
                    self.rule(str(call["method"]), params)
            except RpcRefusal as refusal:
                return _error(call["id"], refusal.error)
            if self.fault is Fault.WRONG_CHAIN and call["method"] == "eth_chainId":
                return json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": "0x1"}).encode()
            if self.fault is Fault.STALE:
                call["params"] = [hex(self.stuck_at) if p == "latest" else p for p in params]
        answer = await self._client.post(self.target, json=request)
        return answer.content

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: int, body: bytes, headers: str = "") -> bool:
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: {len(body)}\r\n{headers}"
        writer.write(head.encode() + b"\r\n" + body)
        return True

    async def close(self) -> None:
        """Drop every connection, those that were to hang for ever too."""
        serving = [task for task in self._open.values() if task is not None]
        for writer in self._open:
            writer.transport.abort()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._client.aclose()


def _error(call_id: Json, error: dict[str, Json]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": call_id, "error": error}).encode()


@asynccontextmanager
async def proxied(target: str) -> AsyncIterator[Proxy]:
    """A proxy before `target` on a free loopback port."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=2**26)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
