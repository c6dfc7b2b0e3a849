"""What a java-tron node says: JSON-RPC and wallet calls in, replies out; no socket here.

As the real one, it knows only the newest state: a block height is refused with -32602, a pin by
hash or number is silently ignored. Multicall3 is answered at TRON's address by taking
`aggregate3` apart by hand. (Source: java-tron TronJsonRpcImpl, JsonRpcServlet, wallet servlets;
Multicall3 ABI.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from core.chains.base58 import evm_to_tron, tron_to_evm
from core.demo.protocol import Fault, FaultPlan, SimulatedChain
from core.events import Json
from core.model import BlockRef, BursarError

MULTICALL3: Final = "0x32a4f47a74a6810bd0bf861cabab99656a75de9e"
CODE: Final = "0x6080604052600080fd"  # stands for any contract's code: it is not empty

AGGREGATE3: Final = "82ad56cb"
BALANCE_OF: Final = "70a08231"
_BLOCK_NUMBER: Final = "42cbb15c"
_TIMESTAMP: Final = "0f28c97d"
_LAST_HASH: Final = "27e86d6e"
_CHAIN_ID: Final = "3408e470"
_NATIVE: Final = "4d2301cc"

_LATEST_ONLY: Final = "QUANTITY not supported, just support TAG as latest"
_NO_CONTRACT: Final = "Smart contract is not exist."
_REVERTED: Final = "REVERT opcode executed"

account_of = lru_cache(maxsize=1 << 16)(evm_to_tron)


class Refused(Exception):
    """A JSON-RPC error: code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class RpcRequest(msgspec.Struct):
    """A JSON-RPC request object."""

    method: str
    params: list[Json] = []
    id: Json = None


class TronReplies:
    """The replies of one node. A token whose balance the chain does not know reverts.

    `time_limit` is how many inner calls fit into the node's 80 ms; None is no limit.
    """

    def __init__(
        self,
        chain: SimulatedChain,
        faults: FaultPlan,
        *,
        time_limit: int | None,
        multicall: bool,
    ) -> None:
        self.time_limit = time_limit
        self._chain = chain
        self._faults = faults
        self._multicall = multicall
        self._stuck: BlockRef | None = None

    def head(self) -> BlockRef:
        """The newest block; under STALE the one it stopped at."""
        head = self._chain.head()
        active = self._faults.current()
        if active is None or active.fault is not Fault.STALE:
            self._stuck = None
            return head
        self._stuck = self._stuck or self._chain.block(active.stuck_at or head.number) or head
        return self._stuck

    # --- JSON-RPC ---------------------------------------------------------------------------

    def rpc(self, request: RpcRequest) -> dict[str, Json]:
        """The reply object to one request."""
        reply: dict[str, Json] = {"jsonrpc": "2.0", "id": request.id}
        try:
            reply["result"] = self._result(request.method, request.params)
        except Refused as refusal:
            error: Json = {"code": refusal.code, "message": str(refusal), "data": "{}"}
            reply["error"] = error
        return reply

    def _result(self, method: str, params: list[Json]) -> Json:
        active = self._faults.current()
        broken = active is not None and active.fault is Fault.RPC_ERROR
        if broken and method in ("eth_call", "eth_getBalance"):
            raise Refused(-32000, "internal error")
        match method, params:
            case "eth_chainId", _:
                wrong = active is not None and active.fault is Fault.WRONG_CHAIN
                return hex(self._chain.chain_id + wrong)
            case "eth_blockNumber", _:
                return hex(self.head().number)
            case "eth_getBlockByNumber", [str(number), *_]:
                return self._block(number)
            case "eth_getBalance", [str(address), tag]:
                self._latest(tag)
                account = account_of(address)
                return hex(self._chain.balance(account, None, self.head().number) or 0)
            case "eth_getCode", [str(address), tag]:
                self._latest(tag)
                return CODE if self._has_code(address) else "0x"
            case "eth_call", [dict(call), tag]:
                self._latest(tag)
                to, data = str(call.get("to")), str(call.get("data"))
                return "0x" + self._call(to.lower(), data.removeprefix("0x")).hex()
            case (
                ("eth_getBlockByNumber" | "eth_getBalance" | "eth_getCode" | "eth_call"),
                _,
            ):
                raise Refused(-32602, "invalid json request")
            case _:
                raise Refused(-32601, f"the method {method} does not exist/is not available")

    def _latest(self, tag: Json) -> None:
        """Refuse what java-tron refuses; let pins pass, because it ignores them."""
        if isinstance(tag, dict):
            if "blockHash" not in tag and "blockNumber" not in tag:
                raise Refused(-32600, "invalid json request")
            return
        if tag in ("earliest", "pending"):
            raise Refused(-32602, "TAG [earliest | pending] not supported")
        if tag != "latest":
            raise Refused(-32602, _LATEST_ONLY)

    def _has_code(self, address: str) -> bool:
        if address.lower() == MULTICALL3:
            return self._multicall
        return self._chain.is_contract(account_of(address))

    def _call(self, to: str, data: str) -> bytes:
        if not self._has_code(to):
            raise Refused(-32600, _NO_CONTRACT)
        if to == MULTICALL3 and data.startswith(AGGREGATE3):
            return self._aggregate(bytes.fromhex(data[8:]))
        result = self._inner(to, data)
        if result is None:
            raise Refused(-32000, _REVERTED)
        return result

    def _inner(self, to: str, data: str) -> bytes | None:
        """One call's return data; None where it reverts."""
        head = self.head()
        selector, argument = data[:8], data[8:72]
        if to != MULTICALL3:
            contract = account_of(to)
            if not self._chain.is_contract(contract):
                return b""
            if selector != BALANCE_OF:
                return None
            account = account_of("0x" + argument[24:])
            amount = self._chain.balance(account, contract, head.number)
            return None if amount is None else _word(amount)
        match selector:
            case _ if selector == _BLOCK_NUMBER:
                return _word(head.number)
            case _ if selector == _TIMESTAMP:
                return _word(head.time_ms // 1000)
            case _ if selector == _LAST_HASH:
                return _word(int(head.parent or "0x0", 16))
            case _ if selector == _CHAIN_ID:
                return _word(self._chain.chain_id)
            case _ if selector == _NATIVE:
                account = account_of("0x" + argument[24:])
                return _word(self._chain.balance(account, None, head.number) or 0)
            case _:
                return None

    def _aggregate(self, arguments: bytes) -> bytes:
        calls = _calls(arguments)
        if self.time_limit is not None and len(calls) > self.time_limit:
            raise Refused(-32000, "CPU timeout for 'PUSH1' operation executing")
        tails: list[bytes] = []
        for target, may_fail, data in calls:
            result = self._inner(target, data.hex())
            if result is None and not may_fail:
                raise Refused(-32000, f"{_REVERTED}: Multicall3: call failed")
            body = result or b""
            padded = body + b"\0" * (-len(body) % 32)
            tails.append(_word(result is not None) + _word(64) + _word(len(body)) + padded)
        offset = 32 * len(tails)
        heads: list[bytes] = []
        for tail in tails:
            heads.append(_word(offset))
            offset += len(tail)
        return b"".join([_word(32), _word(len(tails)), *heads, *tails])

    def _block(self, number: str) -> Json:
        head = self.head()
        if number == "latest":
            block: BlockRef | None = head
        else:
            try:
                block = self._chain.block(int(number, 16))
            except ValueError:
                raise Refused(-32602, "invalid block number") from None
        if block is None or block.number > head.number:
            return None
        zeros = "0x" + "0" * 64
        return {
            "baseFeePerGas": "0x0",
            "difficulty": "0x0",
            "extraData": "0x",
            "gasLimit": "0x0",
            "gasUsed": "0x0",
            "hash": block.hash,
            "logsBloom": "0x" + "0" * 512,
            "miner": "0xa234e405a2c6fd67cdd4d0ea2f6188f65534c8b1",
            "mixHash": zeros,
            "nonce": "0x0000000000000000",
            "number": hex(block.number),
            "parentHash": block.parent or zeros,
            "receiptsRoot": zeros,
            "sha3Uncles": zeros,
            "size": "0xb6",
            "stateRoot": "0x",
            "timestamp": hex(block.time_ms // 1000),
            "totalDifficulty": "0x0",
            "transactions": [],
            "transactionsRoot": zeros,
            "uncles": [],
        }

    # --- wallet calls -----------------------------------------------------------------------

    def wallet(self, name: str, body: dict[str, Json]) -> dict[str, Json] | None:
        """The reply of `/wallet/<name>`; None where there is no such call."""
        active = self._faults.current()
        if (
            active is not None
            and active.fault is Fault.RPC_ERROR
            and name in ("getaccount", "triggerconstantcontract")
        ):
            return {"Error": "class java.lang.NullPointerException : null"}
        try:
            match name:
                case "getnowblock":
                    return self._wallet_block(self.head())
                case "getblockbynum":
                    return self._block_by_number(body)
                case "getaccount":
                    return self._account(body)
                case "triggerconstantcontract":
                    return self._constant(body)
        except BursarError as error:
            return {"Error": f"class java.lang.IllegalArgumentException : {error}"}
        return None

    def _block_by_number(self, body: dict[str, Json]) -> dict[str, Json]:
        number = body.get("num")
        if number == 0:  # the end of the genesis hash is the chain id
            active = self._faults.current()
            wrong = active is not None and active.fault is Fault.WRONG_CHAIN
            identity = (self._chain.chain_id + wrong) & 0xFFFFFFFF
            return self._wallet_block(BlockRef(0, f"0x{identity:064x}", 0))
        block = self._chain.block(number) if isinstance(number, int) else None
        if block is None or block.number > self.head().number:
            return {}
        return self._wallet_block(block)

    def _wallet_block(self, head: BlockRef) -> dict[str, Json]:
        return {
            "blockID": head.hash.removeprefix("0x"),
            "block_header": {
                "raw_data": {
                    "number": head.number,
                    "txTrieRoot": "0" * 64,
                    "witness_address": "41a234e405a2c6fd67cdd4d0ea2f6188f65534c8b1",
                    "parentHash": (head.parent or "0x" + "0" * 64).removeprefix("0x"),
                    "version": 31,
                    "timestamp": head.time_ms,
                },
                "witness_signature": "0" * 130,
            },
        }

    def _account(self, body: dict[str, Json]) -> dict[str, Json]:
        shown = str(body.get("address", ""))
        account = shown if body.get("visible") else account_of(shown)
        balance = self._chain.balance(account, None, self.head().number)
        if balance is None:
            return {}
        reply: dict[str, Json] = {"address": shown}
        if balance:
            reply["balance"] = balance
        return reply | {
            "create_time": 1_776_933_207_000,
            "net_window_size": 28_800_000,
            "net_window_optimized": True,
            "account_resource": {
                "energy_window_size": 28_800_000,
                "energy_window_optimized": True,
            },
            "owner_permission": {
                "permission_name": "owner",
                "threshold": 1,
                "keys": [{"address": shown, "weight": 1}],
            },
            "frozenV2": [{}, {"type": "ENERGY"}, {"type": "TRON_POWER"}],
        }

    def _constant(self, body: dict[str, Json]) -> dict[str, Json]:
        contract = str(body.get("contract_address", ""))
        hexadecimal = tron_to_evm(contract) if body.get("visible") else "0x" + contract[2:]
        selectors = {"balanceOf(address)": BALANCE_OF}
        selector = selectors.get(str(body.get("function_selector", "")), "00000000")
        data = selector + str(body.get("parameter", ""))
        if not self._has_code(hexadecimal):
            message = f"Contract validate error : {_NO_CONTRACT}".encode().hex()
            return {"result": {"code": "CONTRACT_VALIDATE_ERROR", "message": message}}
        result = self._inner(hexadecimal, data)
        outcome: dict[str, Json] = {"result": True}
        ret: dict[str, Json] = {}
        if result is None:
            outcome["message"] = _REVERTED.encode().hex()
            ret["ret"] = "FAILED"
        return {
            "result": outcome,
            "energy_used": 541,
            "constant_result": [(result or b"").hex()],
            "transaction": {
                "ret": [ret],
                "visible": bool(body.get("visible")),
                "txID": "0" * 64,
                "raw_data": {
                    "contract": [
                        {
                            "parameter": {
                                "value": {
                                    "data": data,
                                    "owner_address": body.get("owner_address"),
                                    "contract_address": contract,
                                },
                                "type_url": "type.googleapis.com/protocol.TriggerSmartContract",
                            },
                            "type": "TriggerSmartContract",
                        }
                    ],
                    "ref_block_bytes": "0a02",
                    "ref_block_hash": "16a02d9b44e05a5d",
                    "expiration": self.head().time_ms + 60_000,
                    "timestamp": self.head().time_ms,
                },
                "raw_data_hex": "",
            },
        }


def _calls(arguments: bytes) -> list[tuple[str, bool, bytes]]:
    """The (target, allowFailure, callData) of an ABI-encoded `Call3[]`."""

    def number(at: int) -> int:
        if at + 32 > len(arguments):
            raise Refused(-32000, f"{_REVERTED}: calldata too short")
        return int.from_bytes(arguments[at : at + 32])

    start = number(0)
    count = number(start)
    if count > len(arguments) // 32:
        raise Refused(-32000, f"{_REVERTED}: calldata too short")
    calls: list[tuple[str, bool, bytes]] = []
    for index in range(count):
        item = start + 32 + number(start + 32 + 32 * index)
        body = item + number(item + 64)
        length = number(body)
        target = "0x" + arguments[item + 12 : item + 32].hex()
        calls.append((target, bool(number(item + 32)), arguments[body + 32 : body + 32 + length]))
    return calls


def _word(number: int) -> bytes:
    return int(number).to_bytes(32)
