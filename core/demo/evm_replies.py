"""What a simulated EVM node replies: JSON-RPC requests in, JSON text out, no socket.

Replies and errors have the words and codes of geth. An eth_call runs no EVM: it knows
`balanceOf` of the chain's tokens and, where code may be sent along, the balance scanner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from core.demo.protocol import ActiveFault, Fault, SimulatedChain
from core.events import Json
from core.model import BlockRef

_SAFE_BEHIND: Final = 64
_FINAL_BEHIND: Final = 512
_BALANCE_OF: Final = "0x70a08231"
_TOKEN_CODE: Final = "0x60806040526004361061004a5763ffffffff60e01b600035166370a08231"


class RpcError(Exception):
    """An error object of JSON-RPC 2.0."""

    def __init__(self, code: int, message: str, payload: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.payload = payload

    def as_json(self) -> dict[str, Json]:
        """The `error` member of a reply."""
        body: dict[str, Json] = {"code": self.code, "message": self.message}
        return body if self.payload is None else body | {"data": self.payload}


class Call(msgspec.Struct):
    """A request object of JSON-RPC 2.0."""

    method: str
    id: int | str | None = None
    params: list[object] = []


class _View(NamedTuple):
    """The chain as a faulty endpoint sees it."""

    chain_id: int
    head: BlockRef
    fault: Fault | None


_one = msgspec.json.Decoder(Call)
_many = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class EvmReplies:
    """Answers request bodies. `overrides` and `deployless` are as in `EvmNode`."""

    def __init__(
        self, chain: SimulatedChain, *, overrides: bool, deployless: bool, batch_limit: int
    ) -> None:
        self.calls: Counter[str] = Counter()
        self._chain = chain
        self._overrides = overrides
        self._deployless = deployless
        self._batch_limit = batch_limit
        self._methods: dict[str, Callable[[_View, list[object]], Json]] = {
            "web3_clientVersion": lambda _view, _params: "bursar-demo/evm",
            "net_version": lambda view, _params: str(view.chain_id),
            "eth_chainId": lambda view, _params: hex(view.chain_id),
            "eth_blockNumber": lambda view, _params: hex(view.head.number),
            "eth_syncing": lambda _view, _params: False,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBalance": self._get_balance,
            "eth_getCode": self._get_code,
            "eth_call": self._eth_call,
        }

    def answer(self, body: bytes, active: ActiveFault | None) -> bytes:
        """The answer to a POST's body, a batch or one call."""
        view = self._view(active)
        if not body.lstrip().startswith(b"["):
            return _encode(self._reply(body, view))
        try:
            batch = _many.decode(body)
        except msgspec.DecodeError as error:
            return _encode(_failed(None, RpcError(-32700, f"parse error: {error}")))
        if not batch:
            return _encode(_failed(None, RpcError(-32600, "empty batch")))
        if len(batch) > self._batch_limit:
            return _encode(_failed(None, RpcError(-32600, "batch too large")))
        return _encode([self._reply(bytes(raw), view) for raw in batch])

    def _view(self, active: ActiveFault | None) -> _View:
        fault = active.fault if active is not None else None
        chain_id, head = self._chain.chain_id, self._chain.head()
        if fault is Fault.WRONG_CHAIN:
            chain_id += 1
        if active is not None and fault is Fault.STALE:
            head = self._chain.block(min(active.stuck_at, head.number)) or head
        return _View(chain_id, head, fault)

    def _reply(self, raw: bytes, view: _View) -> dict[str, Json]:
        try:
            call = _one.decode(raw)
        except msgspec.ValidationError:
            return _failed(None, RpcError(-32600, "invalid request"))
        except msgspec.DecodeError as error:
            return _failed(None, RpcError(-32700, f"parse error: {error}"))
        self.calls[call.method] += 1
        method = self._methods.get(call.method)
        try:
            if method is None:
                raise RpcError(-32601, f"the method {call.method} does not exist/is not available")
            return {"jsonrpc": "2.0", "id": call.id, "result": method(view, call.params)}
        except RpcError as error:
            return _failed(call.id, error)

    # --- blocks -----------------------------------------------------------------------------

    def _block_by_number(self, view: _View, params: list[object]) -> Json:
        number = self._number(view, _argument(params, 0))
        block = self._chain.block(number) if number <= view.head.number else None
        return _block_json(block)

    def _block_by_hash(self, view: _View, params: list[object]) -> Json:
        block = self._chain.block_by_hash(_text(params, 0))
        return _block_json(block if block and block.number <= view.head.number else None)

    def _number(self, view: _View, tag: object) -> int:
        head = view.head.number
        named = {
            "latest": head,
            "pending": head,
            "safe": max(0, head - _SAFE_BEHIND),
            "finalized": max(0, head - _FINAL_BEHIND),
            "earliest": 0,
        }
        if isinstance(tag, str) and tag in named:
            return named[tag]
        return _quantity(tag)

    def _state(self, view: _View, at: object) -> BlockRef:
        """The block whose state a call is run on: a tag, a number, or EIP-1898's object."""
        if view.fault is Fault.RPC_ERROR:
            raise RpcError(-32000, f"missing trie node {view.head.hash[2:]} (path ) not found")
        if isinstance(at, dict) and "blockHash" in at:
            block = self._chain.block_by_hash(str(at["blockHash"]))
            if block is None or block.number > view.head.number:
                raise RpcError(-32000, "header for hash not found")
            return block
        number = self._number(view, at["blockNumber"] if isinstance(at, dict) else at)
        found = self._chain.block(number) if number <= view.head.number else None
        if found is None:
            raise RpcError(-32000, "header not found")
        return found

    # --- state ------------------------------------------------------------------------------

    def _get_balance(self, view: _View, params: list[object]) -> Json:
        block = self._state(view, _argument(params, 1, "latest"))
        return hex(self._chain.balance(_address(params, 0), None, block.number) or 0)

    def _get_code(self, view: _View, params: list[object]) -> Json:
        self._state(view, _argument(params, 1, "latest"))
        return _TOKEN_CODE if self._chain.is_contract(_address(params, 0)) else "0x"

    def _eth_call(self, view: _View, params: list[object]) -> Json:
        call = _argument(params, 0)
        if not isinstance(call, dict):
            raise RpcError(-32602, "invalid argument 0: cannot unmarshal into TransactionArgs")
        from core.chains.evm import scanner  # its room loads a client, which can wait for a call

        block = self._state(view, _argument(params, 1, "latest"))
        if len(params) > 2 and not self._overrides:
            raise RpcError(-32602, "too many arguments, want at most 2")
        to = call.get("to")
        data = _call_data(call)
        payload = scanner.payload_of({"to": to, "data": data}, params[2] if params[2:] else None)
        if payload is not None and (to is not None or self._deployless):
            result = self._scan(view, block, payload)
            if to is None:  # creation code, which reverts with its result
                raise RpcError(3, "execution reverted", result)
            return result
        if not isinstance(to, str) or params[2:]:
            raise RpcError(-32000, "this simulated node runs no code sent along but the scanner")
        if not self._chain.is_contract(to.lower()):
            return "0x"
        if not data.startswith(_BALANCE_OF) or len(data) < 74:
            raise RpcError(3, "execution reverted", "0x")
        balance = self._chain.balance("0x" + data[34:74], to.lower(), block.number)
        if balance is None:
            raise RpcError(3, "execution reverted", "0x")
        return f"0x{balance:064x}"

    def _scan(self, view: _View, block: BlockRef, payload: bytes) -> str:
        """The scanner's result as hex. A token of this chain that gives no balance reverted."""
        from core.chains.evm import scanner

        def read(wallet: str, token: str | None) -> int | None:
            return self._chain.balance(wallet, token, block.number)

        try:
            call = scanner.decode_call(payload)
            result = bytearray(scanner.answer(payload, view.chain_id, block, read))
        except scanner.ScanLayoutError as error:
            raise RpcError(3, "execution reverted", "0x") from error
        no_contract, reverted = bytes([scanner.NO_CONTRACT]), bytes([scanner.REVERTED])
        columns = len(call.tokens)
        first = len(result) - len(call.wallets) * columns
        for column, token in enumerate(call.tokens):
            if self._chain.is_contract(token):
                at = slice(first + column, None, columns)
                result[at] = result[at].replace(no_contract, reverted)
        return "0x" + result.hex()


def _failed(call_id: int | str | None, error: RpcError) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": call_id, "error": error.as_json()}


def _argument(params: list[object], index: int, otherwise: object = None) -> object:
    if index < len(params):
        return params[index]
    if otherwise is None:
        raise RpcError(-32602, f"missing value for required argument {index}")
    return otherwise


def _text(params: list[object], index: int) -> str:
    value = _argument(params, index)
    if not isinstance(value, str):
        raise RpcError(-32602, f"invalid argument {index}: cannot unmarshal into string")
    return value


def _address(params: list[object], index: int) -> str:
    address = _text(params, index).lower()
    if len(address) != 42 or not address.startswith("0x"):
        raise RpcError(
            -32602, f"invalid argument {index}: hex string has length {len(address) - 2}, want 40"
        )
    return address


def _quantity(value: object) -> int:
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise RpcError(-32602, "invalid argument: hex string without 0x prefix or invalid")


def _call_data(call: dict[str, object]) -> str:
    """A call's data, lower-case hex with 0x."""
    data = call.get("input", call.get("data", "0x"))
    if isinstance(data, str) and data.startswith("0x"):
        try:
            return "0x" + bytes.fromhex(data[2:]).hex()
        except ValueError:
            pass
    raise RpcError(-32602, "invalid argument 0: json: cannot unmarshal invalid hex string")


def _block_json(block: BlockRef | None) -> Json:
    """The fields readers and web3 look at, of a block without transactions."""
    if block is None:
        return None
    zero = "0x" + "00" * 32
    return {
        "number": hex(block.number),
        "hash": block.hash,
        "parentHash": block.parent or zero,
        "timestamp": hex(block.time_ms // 1000),
        "miner": "0x4200000000000000000000000000000000000011",
        "difficulty": "0x0",
        "extraData": "0x",
        "gasLimit": hex(400_000_000),
        "gasUsed": "0x0",
        "baseFeePerGas": hex(5_000_000),
        "logsBloom": "0x" + "00" * 256,
        "mixHash": zero,
        "nonce": "0x0000000000000000",
        "receiptsRoot": zero,
        "sha3Uncles": zero,
        "size": "0x400",
        "stateRoot": zero,
        "transactions": [],
        "transactionsRoot": zero,
        "uncles": [],
    }
