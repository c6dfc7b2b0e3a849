"""One EVM endpoint as a reader's session: requests with pacing and health, blocks, pins.

Wraps `JsonRpc` so that every request is paced, timed and counted on its `Endpoint`.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from core.chains.endpoints import Endpoint
from core.chains.failures import EndpointError, FailureKind
from core.chains.http import JsonRpc, decoded
from core.model import BlockRef, Clock

T = TypeVar("T")

REMEMBERED_MS = 7 * 24 * 3600 * 1000

# A revert is an answer: the node did what it was asked to do.
_ANSWERS = frozenset({FailureKind.REVERTED})


class Header(msgspec.Struct, rename="camel"):
    """The parts of an eth_getBlockBy* answer that Bursar uses; quantities are 0x hex."""

    number: str
    hash: str
    timestamp: str
    parent_hash: str


class EvmNode:
    """What the EVM reader keeps for one endpoint. `endpoint` is set when the pool is built."""

    endpoint: Endpoint[EvmNode]

    def __init__(self, rpc: JsonRpc, clock: Clock) -> None:
        self.rpc = rpc
        self.sent = 0
        self.chain_id: int | None = None
        self.head: BlockRef | None = None
        self.unusable: dict[str, str] = {}  # rung -> why it was dropped
        self.burners: set[bytes] = set()  # tokens that burn all gas, for rungs without a cap
        self.block_misses = 0
        self.doubts = 0  # readings in a row that failed for a reason of nobody's in particular
        self._clock = clock

    async def ask(
        self, method: str, params: object, result: type[T], *, timeout_s: float | None = None
    ) -> T:
        """One paced, timed and counted call, its result decoded strictly."""
        return decoded(await self.ask_raw(method, params, timeout_s=timeout_s), result, method)

    async def ask_raw(
        self, method: str, params: object, *, timeout_s: float | None = None
    ) -> msgspec.Raw:
        """The same, the result's JSON undecoded."""
        await self.endpoint.pace()
        self.sent += 1
        started = self._clock.monotonic()
        try:
            raw = await self.rpc.call_raw(method, params, timeout_s=timeout_s)
        except EndpointError as error:
            if error.kind in _ANSWERS:
                self.endpoint.answered(self._clock.monotonic() - started)
            else:
                self.endpoint.erred(error)
            raise
        self.endpoint.answered(self._clock.monotonic() - started)
        return raw

    async def ask_batch(
        self, calls: Sequence[tuple[str, object]]
    ) -> list[msgspec.Raw | EndpointError]:
        """Several calls in one request; providers bill and pace each of them."""
        await self.endpoint.pace(len(calls))
        self.sent += 1
        started = self._clock.monotonic()
        try:
            answers = await self.rpc.batch(calls)
        except EndpointError as error:
            self.endpoint.erred(error)
            raise
        self.endpoint.answered(self._clock.monotonic() - started)
        return answers

    async def call_bytes(self, *params: object) -> bytes:
        """An `eth_call`; its returned bytes."""
        return hex_bytes(await self.ask_raw("eth_call", params), "eth_call")

    async def block(self, which: int | str, *, timeout_s: float | None = None) -> BlockRef | None:
        """A block by number, tag ("latest") or hash; None where the node does not have it."""
        by_hash = isinstance(which, str) and which.startswith("0x")
        method = "eth_getBlockByHash" if by_hash else "eth_getBlockByNumber"
        wanted = hex(which) if isinstance(which, int) else which
        raw = await self.ask_raw(method, (wanted, False), timeout_s=timeout_s)
        return None if bytes(raw) == b"null" else block_ref(decoded(raw, Header, method))

    async def newest(self, *, timeout_s: float | None = None) -> BlockRef:
        """The head, also noted for the endpoint's health."""
        head = await self.block("latest", timeout_s=timeout_s)
        if head is None:
            raise EndpointError(FailureKind.NO_BLOCK, "the node has no latest block")
        self.head = head
        self.endpoint.block = head.number
        return head

    @property
    def pin(self) -> str:
        """How this endpoint is asked at a block: "hash", "number" or "latest"."""
        return self.endpoint.traits.get("pin", "hash")

    def at(self, block: BlockRef, pin: str | None = None) -> object:
        """The block parameter (EIP-1898 where the endpoint knows it)."""
        pin = pin or self.pin
        if pin == "hash":
            return {"blockHash": block.hash, "requireCanonical": True}
        return hex(block.number) if pin == "number" else "latest"

    @property
    def remembered_rung(self) -> str:
        """The rung found earlier, for a week: nodes are upgraded, and a better one may work."""
        probed_ms = int(self.endpoint.traits.get("probed_ms", "0"))
        fresh = self._clock.now_ms() - probed_ms < REMEMBERED_MS
        return self.endpoint.rung if fresh else ""

    def settle_on(self, rung: str, pin: str) -> None:
        """Note what a probe found; only a probe that began anew renews the week."""
        if rung != self.remembered_rung:
            self.endpoint.traits["probed_ms"] = str(self._clock.now_ms())
        self.endpoint.rung = rung
        self.endpoint.traits["pin"] = pin


def hex_bytes(raw: msgspec.Raw, method: str) -> bytes:
    """A JSON string of 0x hex as bytes, without building the text. Raises EndpointError."""
    text = memoryview(raw)
    if bytes(text[:3]) != b'"0x' or bytes(text[-1:]) != b'"':
        raise EndpointError(FailureKind.RPC, f"{method} answered no 0x hex")
    try:
        return unhexlify(text[3:-1])
    except ValueError as error:
        raise EndpointError(FailureKind.RPC, f"{method} answered broken hex") from error


def block_ref(header: Header) -> BlockRef:
    """A header as a BlockRef. Raises EndpointError for quantities that are none."""
    try:
        return BlockRef(
            number=int(header.number, 16),
            hash=header.hash.lower(),
            time_ms=int(header.timestamp, 16) * 1000,
            parent=header.parent_hash.lower(),
        )
    except ValueError as error:
        raise EndpointError(FailureKind.NOT_JSON, "a block with broken quantities") from error
