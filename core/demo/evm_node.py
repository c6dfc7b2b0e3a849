"""A JSON-RPC server over HTTP that answers as an EVM node does, from a `SimulatedChain`.

Sockets and broken lines are `http_server`'s, what is replied is written in `evm_replies`. No
transactions, logs or subscriptions. (Source: Ethereum execution JSON-RPC.)
"""

from __future__ import annotations

from typing import ClassVar

from core.demo.evm_replies import EvmReplies
from core.demo.http_server import HttpServer
from core.demo.protocol import ActiveFault, FaultPlan, SimulatedChain


class EvmNode(HttpServer):
    """`async with EvmNode(chain, faults) as node:` listens on `node.url`, whatever the path.

    `overrides` and `deployless` say whether eth_call runs code that is sent along; `batch_limit`
    is the most calls in one POST; for the rest see `HttpServer`.
    """

    limited: ClassVar[bytes] = (
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"rate limit exceeded"}}'
    )

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
        super().__init__(faults, small_bytes=small_bytes, latency_s=latency_s)
        self._replies = EvmReplies(
            chain, overrides=overrides, deployless=deployless, batch_limit=batch_limit
        )

    @property
    def calls(self) -> dict[str, int]:
        """How often each JSON-RPC method was asked for, calls in batches included."""
        return self._replies.calls

    def _answer(self, path: str, body: bytes, active: ActiveFault | None) -> bytes:
        return self._replies.answer(body, active)
