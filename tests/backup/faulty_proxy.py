"""What can go wrong between here and an object store: a proxy that does it on demand.

It speaks enough HTTP/1.1 for one request a connection, forwards to the real (moto) server, and
keeps every request's bytes for tests that look for secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """Goes wrong once, for the first request of this method with such a path: `unavailable` (503),
    `reset`, `reset after` (the server did it, nobody hears), `flip request`, `flip response`."""

    method: str
    path_part: str
    what: str


class FaultyProxy:
    """Faults still to come, and what was sent."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, bytes]] = []
        self.forbid: Callable[[str], bool] = lambda method: False
        """Methods the credential may not use: answered 403."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up; that is its business
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        length = next((x for x in lines[1:] if x.lower().startswith("content-length:")), ":0")
        body = await reader.readexactly(int(length.partition(":")[2]))
        self.requests.append((method, path, head + body))
        what = self._fault(method, path)
        if self.forbid(method):
            writer.write(_denied(b"403 Forbidden", b"AccessDenied"))
        elif what == "unavailable":
            writer.write(_denied(b"503 Slow Down", b"SlowDown"))
        elif what == "reset":
            writer.transport.abort()
            return
        else:
            if what == "flip request":
                body = body[:-1] + bytes([body[-1] ^ 1])
            answer = await self._forward(lines, body)
            if what == "reset after":
                writer.transport.abort()
                return
            if what == "flip response":
                answer = answer[:-1] + bytes([answer[-1] ^ 1])
            writer.write(answer)
        await writer.drain()

    def _fault(self, method: str, path: str) -> str:
        for fault in self.faults:
            if fault.method == method and fault.path_part in path:
                self.faults.remove(fault)
                return fault.what
        return ""

    async def _forward(self, lines: list[str], body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        kept = [line for line in lines if line and not line.lower().startswith("connection:")]
        writer.write("\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1") + body)
        await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer


def _denied(status: bytes, code: bytes) -> bytes:
    body = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>no</Message></Error>" % code
    return (
        b"HTTP/1.1 %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n" % (status, len(body))
    ) + body


@asynccontextmanager
async def faulty_proxy(upstream: int) -> AsyncIterator[tuple[FaultyProxy, int]]:
    """A proxy to that port of this machine, and its own port."""
    proxy = FaultyProxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        yield proxy, server.sockets[0].getsockname()[1]
