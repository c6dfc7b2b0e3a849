"""One TRON endpoint: JSON-RPC as for EVM, and the wallet calls beside it.

java-tron's own ways of failing are translated here, so that the EVM path needs to know none of
them. An endpoint without JSON-RPC (java-tron's default) is known by its wallet calls alone.
(Source: java-tron TronJsonRpcImpl, JsonRpcServlet and the wallet servlets.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar, cast

import httpx
import msgspec

from core.chains.endpoints import Endpoint
from core.chains.evm.node import EvmNode
from core.chains.failures import EndpointError, FailureKind, of_rpc_error, plain
from core.chains.http import JsonRpc
from core.model import BlockRef, Clock

T = TypeVar("T")

_NO_CONTRACT: Final = "is not exist"
_EMPTY: Final = msgspec.Raw(b'"0x"')
_encode = msgspec.json.Encoder().encode


class TronRpc(JsonRpc):
    """JSON-RPC in which calling no contract returns nothing, as on EVM chains, and a batch that
    is too long is too large rather than too frequent."""

    async def call_raw(
        self, method: str, params: object, *, timeout_s: float | None = None
    ) -> msgspec.Raw:
        """See JsonRpc."""
        try:
            return await super().call_raw(method, params, timeout_s=timeout_s)
        except EndpointError as error:
            if _is_no_contract(error):
                return _EMPTY
            raise

    async def batch(
        self, calls: Sequence[tuple[str, object]], *, timeout_s: float | None = None
    ) -> list[msgspec.Raw | EndpointError]:
        """See JsonRpc."""
        try:
            answers = await super().batch(calls, timeout_s=timeout_s)
        except EndpointError as error:
            if error.words.lower().startswith("batch size"):
                raise EndpointError(FailureKind.TOO_LARGE, error.words) from error
            raise
        return [
            _EMPTY if isinstance(answer, EndpointError) and _is_no_contract(answer) else answer
            for answer in answers
        ]


def _is_no_contract(error: EndpointError) -> bool:
    return _NO_CONTRACT in error.words


class _Call(msgspec.Struct):
    """The parts of an eth_call object that matter to `balanceOf`."""

    to: str
    data: str


class Account(msgspec.Struct):
    """wallet/getaccount: nothing at all for an account that is not activated, no `balance`
    where it is 0. Staked TRX stand elsewhere."""

    address: str = ""
    balance: int = 0
    failure: str = msgspec.field(name="Error", default="")


class _Outcome(msgspec.Struct):
    result: bool = False
    code: str = ""
    message: str = ""


class Constant(msgspec.Struct):
    """wallet/triggerconstantcontract; `message` is hex text, also beside a reverted result."""

    result: _Outcome = msgspec.field(default_factory=_Outcome)
    constant_result: list[str] = []
    failure: str = msgspec.field(name="Error", default="")


class _RawHeader(msgspec.Struct, rename="camel"):
    number: int = 0  # absent on the genesis block
    timestamp: int = 0
    parent_hash: str = ""


class _BlockHeader(msgspec.Struct):
    raw_data: _RawHeader


class _Block(msgspec.Struct):
    block_id: str = msgspec.field(name="blockID", default="")
    block_header: _BlockHeader | None = None


class TronNode(EvmNode):
    """What the TRON reader keeps for one endpoint. `url` is without `/jsonrpc` or `/wallet`."""

    def __init__(self, url: str, client: httpx.AsyncClient, clock: Clock, timeout_s: float) -> None:
        base = url.rstrip("/").removesuffix("/jsonrpc").removesuffix("/wallet")
        super().__init__(TronRpc(f"{base}/jsonrpc", client, clock, timeout_s=timeout_s), clock)
        self.has_rpc: bool | None = None
        self.has_wallet = True
        self.unproven = True  # the rung was not compared with single reads in this run
        self.settled_at = 0.0  # monotonic
        self._no_contracts: set[bytes] = set()  # as the wallet calls told
        self._wallet = f"{base}/wallet"
        self._client = client
        self._timeout_s = timeout_s

    def attach(self, endpoint: Endpoint[TronNode]) -> None:
        """Name the endpoint whose health this node's requests are counted on."""
        # A pool of a subclass: only what every session of it has is used through the base.
        self.endpoint = cast("Endpoint[EvmNode]", endpoint)

    async def identify(self, timeout_s: float | None = None) -> int:
        """The chain id (last four bytes of the genesis hash), by JSON-RPC where the endpoint has
        it; so `has_rpc` is known. Raises EndpointError."""
        if self.has_rpc is not False:
            try:
                stated = await self.ask("eth_chainId", (), str, timeout_s=timeout_s)
                self.has_rpc = True
                return int(stated, 16) & 0xFFFFFFFF  # older nodes state the whole hash
            except ValueError as error:
                words = "eth_chainId answered no quantity"
                raise EndpointError(FailureKind.NOT_JSON, words) from error
            except EndpointError as error:
                if error.kind not in (FailureKind.NOT_JSON, FailureKind.NO_METHOD):
                    raise
        genesis = await self._wallet_call("getblockbynum", {"num": 0}, _Block)
        if len(genesis.block_id) != 64:
            raise EndpointError(FailureKind.NOT_JSON, "neither /jsonrpc nor /wallet answers")
        self.has_rpc = False
        return int(genesis.block_id[-8:], 16)

    async def block(self, which: int | str, *, timeout_s: float | None = None) -> BlockRef | None:
        """A block by number or "latest"; None where the node does not have it."""
        if self.has_rpc is not False:
            return await super().block(which, timeout_s=timeout_s)
        if which == "latest":
            answer = await self._wallet_call("getnowblock", {}, _Block, timeout_s=timeout_s)
        else:
            number = {"num": which}
            answer = await self._wallet_call("getblockbynum", number, _Block, timeout_s=timeout_s)
        if answer.block_header is None or len(answer.block_id) != 64:
            return None
        header = answer.block_header.raw_data
        return BlockRef(
            header.number,
            "0x" + answer.block_id.lower(),
            header.timestamp // 1000 * 1000,  # whole seconds, as by JSON-RPC
            "0x" + header.parent_hash.lower() if header.parent_hash else "",
        )

    async def ask_raw(
        self, method: str, params: object, *, timeout_s: float | None = None
    ) -> msgspec.Raw:
        """See EvmNode. Without JSON-RPC, the two questions about a single token that the EVM
        path asks are put as wallet calls."""
        if self.has_rpc is not False:
            return await super().ask_raw(method, params, timeout_s=timeout_s)
        asked = msgspec.convert(params, tuple[_Call | str, object])[0]
        if isinstance(asked, str):
            code = b"0x" if bytes.fromhex(asked[2:]) in self._no_contracts else b"0x00"
            return msgspec.Raw(b'"%b"' % code)
        wallet, token = bytes.fromhex(asked.data[-40:]), bytes.fromhex(asked.to[2:])
        return msgspec.Raw(b'"0x%b"' % (await self.balance_of(wallet, token)).hex().encode())

    async def account(self, wallet: bytes) -> Account:
        """wallet/getaccount of twenty bytes of address. Raises EndpointError."""
        body = {"address": "41" + wallet.hex()}
        answer = await self._wallet_call("getaccount", body, Account)
        if answer.failure:
            raise EndpointError(FailureKind.RPC, plain(answer.failure))
        return answer

    async def balance_of(self, wallet: bytes, token: bytes) -> bytes:
        """A token's `balanceOf` by wallet/triggerconstantcontract: the bytes it returned, none
        where there is no contract. Raises EndpointError(REVERTED, GAS, ...)."""
        body = {
            "owner_address": "41" + wallet.hex(),
            "contract_address": "41" + token.hex(),
            "function_selector": "balanceOf(address)",
            "parameter": (bytes(12) + wallet).hex(),
        }
        answer = await self._wallet_call("triggerconstantcontract", body, Constant)
        if answer.failure:
            raise EndpointError(FailureKind.RPC, plain(answer.failure))
        message = _text(answer.result.message)
        if message and _NO_CONTRACT in message:
            self._no_contracts.add(token)
            return b""
        if not answer.result.result or message:
            raise of_rpc_error(0, message or answer.result.code or "no result")
        try:
            return b"".join(bytes.fromhex(part) for part in answer.constant_result)
        except ValueError as error:
            words = "triggerconstantcontract answered broken hex"
            raise EndpointError(FailureKind.NOT_JSON, words) from error

    async def _wallet_call(
        self, name: str, body: object, answer: type[T], *, timeout_s: float | None = None
    ) -> T:
        """One paced, timed and counted POST to /wallet. Raises EndpointError."""
        await self.endpoint.pace()
        self.sent += 1
        started = self._clock.monotonic()
        rpc = JsonRpc(
            f"{self._wallet}/{name}", self._client, self._clock, timeout_s=self._timeout_s
        )
        try:
            raw = await rpc.post(_encode(body), timeout_s=timeout_s)
            try:
                decoded = msgspec.json.decode(raw, type=answer)
            except msgspec.DecodeError as error:
                raise _garbage(name, raw, error) from error
        except EndpointError as error:
            self.endpoint.erred(error)
            raise
        self.endpoint.answered(self._clock.monotonic() - started)
        return decoded


def _text(message: str) -> str:
    """A wallet call's message: hex on the wire, plain on some gateways."""
    try:
        return plain(bytes.fromhex(message).decode(errors="replace"))
    except ValueError:
        return plain(message)


def _garbage(name: str, raw: bytes, error: msgspec.DecodeError) -> EndpointError:
    if raw.lstrip()[:1] == b"<":
        return EndpointError(FailureKind.NOT_JSON, "an HTML page")
    kind = FailureKind.CUT if "truncated" in str(error) else FailureKind.NOT_JSON
    return EndpointError(kind, f"{name}: {plain(str(error))}")
