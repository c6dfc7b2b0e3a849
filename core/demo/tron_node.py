"""An HTTP server that answers as a java-tron node does, from a `SimulatedChain`.

Sockets and broken lines are `http_server`'s, what is replied is written in `tron_replies`.
`/jsonrpc` (single and batch) and `/wallet/*` are served; no transactions.
"""

from __future__ import annotations

import msgspec

from core.demo.http_server import HttpServer
from core.demo.protocol import ActiveFault, FaultPlan, SimulatedChain
from core.demo.tron_replies import RpcRequest, TronReplies
from core.events import Json

_requests = msgspec.json.Decoder(list[RpcRequest])
_request = msgspec.json.Decoder(RpcRequest)


class TronNode(HttpServer):
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
        super().__init__(faults)
        self._batch_limit = batch_limit
        self._jsonrpc = jsonrpc
        self._replies = TronReplies(chain, faults, time_limit=time_limit, multicall=multicall)

    @property
    def time_limit(self) -> int | None:
        """Inner calls that fit into 80 ms; assign to make the node faster or slower."""
        return self._replies.time_limit

    @time_limit.setter
    def time_limit(self, calls: int | None) -> None:
        self._replies.time_limit = calls

    def _answer(self, path: str, body: bytes, active: ActiveFault | None) -> bytes | None:
        reply: Json = None
        if path == "/jsonrpc" and self._jsonrpc:
            reply = self._rpc(body)
        elif path.startswith("/wallet/"):
            reply = self._wallet(path.removeprefix("/wallet/"), body)
        return None if reply is None else msgspec.json.encode(reply)

    def _rpc(self, body: bytes) -> Json:
        try:
            batch = body.lstrip().startswith(b"[")
            calls = _requests.decode(body) if batch else [_request.decode(body)]
        except msgspec.DecodeError:
            return _error(-32700, "Parse json error")
        if len(calls) > self._batch_limit:
            return _error(
                -32005, f"Batch size {len(calls)} exceeds the limit of {self._batch_limit}"
            )
        replies: list[Json] = [self._replies.rpc(call) for call in calls]
        return replies if batch else replies[0]

    def _wallet(self, name: str, body: bytes) -> Json:
        try:
            fields: dict[str, Json] = msgspec.json.decode(body or b"{}")
        except msgspec.DecodeError as error:
            return {"Error": f"class JSONException : {error}"}
        return self._replies.wallet(name, fields)


def _error(code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": None}
