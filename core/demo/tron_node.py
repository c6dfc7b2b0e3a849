"""An HTTP server that answers as a java-tron node does, from a `SimulatedChain`.

It knows sockets, limits and how to misbehave as a `FaultPlan` says; what it replies is written
in `tron_replies`. `/jsonrpc` (single and batch) and `/wallet/*` are served; no transactions.
"""

from __future__ import annotations

import asyncio
from typing import Final, Self

import msgspec
from aiohttp import web

from core.demo.protocol import ActiveFault, Fault, FaultPlan, SimulatedChain
from core.demo.tron_replies import RpcRequest, TronReplies
from core.events import Json

_PAGE: Final = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_requests = msgspec.json.Decoder(list[RpcRequest])
_request = msgspec.json.Decoder(RpcRequest)


class TronNode:
    """`async with TronNode(chain, faults) as node:` listens on `node.url`.

    `time_limit` is how many inner calls of a Multicall3 fit into 80 ms, `batch_limit` the most
    requests in a batch. `jsonrpc=False` is a node whose JSON-RPC is switched off (the default of
    java-tron), `multicall=False` a network without the contract.
    """

    def __init__(
        self,
        chain: SimulatedChain,
        faults: FaultPlan,
        *,
        time_limit: int | None = None,
        batch_limit: int = 100,
        jsonrpc: bool = True,
        multicall: bool = True,
    ) -> None:
        self.posts = 0
        self._faults = faults
        self._batch_limit = batch_limit
        self._jsonrpc = jsonrpc
        self._replies = TronReplies(chain, faults, time_limit=time_limit, multicall=multicall)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """http:// address with the port the system gave, without a path."""
        if self._runner is None:
            raise RuntimeError("the server is not started")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    @property
    def time_limit(self) -> int | None:
        """Inner calls that fit into 80 ms; assign to make the node faster or slower."""
        return self._replies.time_limit

    @time_limit.setter
    def time_limit(self, calls: int | None) -> None:
        self._replies.time_limit = calls

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 lets the system choose."""
        app = web.Application(client_max_size=8 * 1024 * 1024)
        if self._jsonrpc:
            app.router.add_post("/jsonrpc", self._rpc)
        app.router.add_post("/wallet/{name}", self._wallet)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def stop(self) -> None:
        """Close every connection; no task is left."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _rpc(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            batch = body.lstrip().startswith(b"[")
            calls = _requests.decode(body) if batch else [_request.decode(body)]
        except msgspec.DecodeError:
            return await self._send(request, _error(-32700, "Parse json error"))
        if len(calls) > self._batch_limit:
            words = f"Batch size {len(calls)} exceeds the limit of {self._batch_limit}"
            return await self._send(request, _error(-32005, words))
        replies: list[Json] = [self._replies.rpc(call) for call in calls]
        return await self._send(request, replies if batch else replies[0])

    async def _wallet(self, request: web.Request) -> web.StreamResponse:
        try:
            body: dict[str, Json] = msgspec.json.decode(await request.read() or b"{}")
        except msgspec.DecodeError as error:
            return await self._send(request, {"Error": f"class JSONException : {error}"})
        reply = self._replies.wallet(request.match_info["name"], body)
        if reply is None:
            return web.Response(status=405, text="<h1>405 Method Not Allowed</h1>")
        return await self._send(request, reply)

    async def _send(self, request: web.Request, reply: Json) -> web.StreamResponse:
        self.posts += 1
        body = msgspec.json.encode(reply)
        active = self._faults.current()
        if active is not None:
            broken = await self._misbehave(request, active, body)
            if broken is not None:
                return broken
        return web.Response(body=body, content_type="application/json")

    async def _misbehave(
        self, request: web.Request, active: ActiveFault, body: bytes
    ) -> web.StreamResponse | None:
        match active.fault:
            case Fault.TIMEOUT:
                await asyncio.Event().wait()
            case Fault.TOO_MANY:
                headers = {"Retry-After": str(active.retry_after_s)}
                return web.Response(status=429, headers=headers, text="Too Many Requests")
            case Fault.TOO_LARGE:
                return web.Response(status=413, text="Request Entity Too Large")
            case Fault.SERVER_ERROR:
                return web.Response(status=503, text="Service Unavailable")
            case Fault.HTML:
                return web.Response(text=_PAGE, content_type="text/html")
            case Fault.HALF:
                half = web.StreamResponse(headers={"Content-Type": "application/json"})
                half.content_length = len(body)
                await half.prepare(request)
                await half.write(body[: len(body) // 2])
                if request.transport is not None:
                    request.transport.close()
                return half
            case Fault.RESET:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            case _:
                pass
        return None


def _error(code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": None}
