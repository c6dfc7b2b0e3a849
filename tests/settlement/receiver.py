"""A payer's server on loopback that answers as told, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


class Receiver:
    """Answers each POST with the next of `script`, the last one for ever: (status, body), or
    None to say nothing until the client goes away."""

    def __init__(self, *script: tuple[int, str] | None) -> None:
        self.script = deque(script)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.headers: dict[str, str] = {}
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        return f"http://127.0.0.1:{self.port}/settle"

    @property
    def keys(self) -> list[str]:
        """The idempotency keys in order."""
        return [headers["Idempotency-Key"] for headers, _ in self.requests]

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        answer = self.script.popleft() if len(self.script) > 1 else self.script[0]
        if answer is None:
            await asyncio.sleep(3600)
            raise AssertionError("the client never went away")
        return web.Response(status=answer[0], text=answer[1], headers=self.headers)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        """Listen; on the same port again if it did before."""
        app = web.Application()
        app.router.add_post("/settle", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        try:
            yield self
        finally:
            await runner.cleanup()
