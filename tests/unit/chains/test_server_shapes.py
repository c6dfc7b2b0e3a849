"""The loopback servers answer in the shapes of real ones.

The tables below are field names and JSON types as they stand in recorded answers: for rippled
the fixtures of xrpl.js (packages/xrpl/test/fixtures/rippled: accountInfo, accountLines,
serverInfoNetworkID, subscribe, streams/ledger, streams/partialPaymentTransaction,
subscribeError); for java-tron answers quoted in its documentation (getaccount,
eth_getBlockByNumber on Nile) and in its issues 3996 and 6846. A `?` ends the name of a field
that recorded answers may lack.
"""

from __future__ import annotations

import msgspec
import pytest

from core.chains.base58 import tron_hash
from core.chains.evm.multicall import encode
from core.chains.xrpl import wire
from core.demo.rippled_replies import (
    SLOW_DOWN,
    Command,
    Fees,
    LedgerReplies,
    TrustLine,
    failure,
)
from core.demo.tron_replies import MULTICALL3, RpcRequest, TronReplies
from core.events import Json
from tests.integration.chains.ledgers import (
    USDT_CONTRACT,
    Faults,
    Ledger,
    tron_account,
    xrpl_account,
)

Shape = dict[str, str]
ENVELOPE: Shape = {"id": "int", "status": "str", "type": "str"}
PINNED: Shape = {
    "result.ledger_index": "int",
    "result.ledger_hash?": "str",
    "result.validated?": "bool",
}
ACCOUNT_INFO: Shape = ENVELOPE | PINNED | {
    f"result.account_data.{name}": kind
    for name, kind in {
        "Account": "str", "Balance": "str", "Flags": "int", "LedgerEntryType": "str",
        "OwnerCount": "int", "PreviousTxnID": "str", "PreviousTxnLgrSeq": "int",
        "Sequence": "int", "index": "str",
    }.items()
}  # fmt: skip
ACCOUNT_LINES: Shape = ENVELOPE | PINNED | {
    "result.account": "str", "result.marker?": "str", "result.limit?": "int",
    "result.lines[].account": "str", "result.lines[].balance": "str",
    "result.lines[].currency": "str", "result.lines[].limit": "str",
    "result.lines[].limit_peer": "str", "result.lines[].quality_in": "int",
    "result.lines[].quality_out": "int", "result.lines[].no_ripple?": "bool",
    "result.lines[].freeze_peer?": "bool",
}  # fmt: skip
SERVER_INFO: Shape = ENVELOPE | {
    f"result.info.{name}": kind
    for name, kind in {
        "build_version": "str", "complete_ledgers": "str", "hostid": "str",
        "io_latency_ms": "int", "last_close.converge_time_s": "int",
        "last_close.proposers": "int", "load_factor": "int", "network_id": "int",
        "peers": "int", "server_state": "str", "validated_ledger.age": "int",
        "validated_ledger.base_fee_xrp": "float", "validated_ledger.hash": "str",
        "validated_ledger.reserve_base_xrp": "float",
        "validated_ledger.reserve_inc_xrp": "float", "validated_ledger.seq": "int",
        "validation_quorum": "int",
    }.items()
}  # fmt: skip
LEDGER_CLOSED: Shape = {
    "fee_base": "int", "fee_ref?": "int", "ledger_hash": "str", "ledger_index": "int",
    "ledger_time": "int", "reserve_base": "int", "reserve_inc": "int", "txn_count": "int",
    "type": "str", "validated_ledgers": "str",
}  # fmt: skip
TRANSACTION: Shape = {
    "engine_result": "str", "engine_result_code": "int", "engine_result_message": "str",
    "ledger_hash": "str", "ledger_index": "int",
    "meta.AffectedNodes[].ModifiedNode.FinalFields.Account": "str",
    "meta.AffectedNodes[].ModifiedNode.FinalFields.Balance": "str",
    "meta.AffectedNodes[].ModifiedNode.FinalFields.Flags": "int",
    "meta.AffectedNodes[].ModifiedNode.FinalFields.OwnerCount": "int",
    "meta.AffectedNodes[].ModifiedNode.FinalFields.Sequence": "int",
    "meta.AffectedNodes[].ModifiedNode.LedgerEntryType": "str",
    "meta.AffectedNodes[].ModifiedNode.LedgerIndex": "str",
    "meta.TransactionIndex": "int", "meta.TransactionResult": "str", "status": "str",
    "transaction.Account": "str", "transaction.Destination": "str", "transaction.Fee": "str",
    "transaction.TransactionType": "str", "type": "str", "validated": "bool",
}  # fmt: skip
ERROR: Shape = ENVELOPE | {
    "error": "str", "error_code": "int", "error_message": "str",
    "request.command": "str", "request.account?": "str", "request.id?": "int",
    "request.ledger_index?": "str", "account?": "str", "ledger_hash?": "str",
    "ledger_index?": "int", "validated?": "bool",
}  # fmt: skip
RPC: Shape = {"jsonrpc": "str", "id": "int"}
BLOCK: Shape = RPC | {
    f"result.{name}": "str"
    for name in (
        "number", "hash", "parentHash", "nonce", "sha3Uncles", "logsBloom", "transactionsRoot",
        "stateRoot", "receiptsRoot", "miner", "difficulty", "totalDifficulty", "extraData", "size",
        "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "mixHash",
    )
} | {"result.transactions": "list", "result.uncles": "list"}  # fmt: skip
ACCOUNT: Shape = {
    "address": "str", "balance?": "int", "create_time": "int", "net_window_size?": "int",
    "net_window_optimized?": "bool", "account_resource.energy_window_size?": "int",
    "account_resource.energy_window_optimized?": "bool",
    "owner_permission.permission_name?": "str", "owner_permission.threshold?": "int",
    "owner_permission.keys[].address?": "str", "owner_permission.keys[].weight?": "int",
    "frozenV2[].type?": "str",
}  # fmt: skip


def shape_of(value: Json, path: str = "") -> Shape:
    """Every leaf's path and JSON type; a list is as its elements, an empty one "list"."""
    if isinstance(value, dict):
        found: Shape = {}
        for name, inner in value.items():
            found |= shape_of(inner, f"{path}.{name}" if path else name)
        return found
    if isinstance(value, list) and value:
        found = {}
        for inner in value:
            found |= shape_of(inner, f"{path}[]")
        return found
    return {path: type(value).__name__}


def assert_shape(answer: bytes | dict[str, Json], recorded: Shape) -> None:
    found = shape_of(msgspec.json.decode(answer) if isinstance(answer, bytes) else answer)
    known = {name.rstrip("?"): kind for name, kind in recorded.items()}
    assert set(found) <= set(known), "fields that no recorded answer has"
    assert {name for name in recorded if not name.endswith("?")} <= set(found), "fields missing"
    assert found == {name: known[name] for name in found}


ALICE = xrpl_account(1)


@pytest.fixture
def rippled() -> LedgerReplies:
    ledger = Ledger()
    ledger.close({(ALICE, None): 922_913_243})
    lines = [TrustLine("rMwjYedjc7qqtKYVLiAccJSmCwih4LnE2q", "2.497605752725159", "USD")] * 3
    return LedgerReplies(ledger, Faults(), lambda _address, _number: lines, Fees(), 2)


def test_account_info_has_the_recorded_shape_and_is_understood(rippled: LedgerReplies) -> None:
    answer = rippled.answer(Command(command="account_info", id=1, account=ALICE))
    assert_shape(answer, ACCOUNT_INFO)
    result = wire.decode(answer).result
    assert result is not None
    assert result.account_data == wire.AccountRoot("922913243", 0)


def test_account_lines_have_the_recorded_shape_with_a_marker_between_pages(
    rippled: LedgerReplies,
) -> None:
    first = rippled.answer(Command(command="account_lines", id=1, account=ALICE))
    assert_shape(first, ACCOUNT_LINES)
    marker = msgspec.json.decode(first)["result"]["marker"]
    command = Command(command="account_lines", id=1, account=ALICE, marker=marker)
    last = rippled.answer(command)
    assert_shape(last, ACCOUNT_LINES)
    assert len(msgspec.json.decode(last)["result"]["lines"]) == 1
    assert "marker" not in msgspec.json.decode(last)["result"]


def test_server_info_has_the_recorded_shape(rippled: LedgerReplies) -> None:
    assert_shape(rippled.answer(Command(command="server_info", id=1)), SERVER_INFO)


def test_stream_messages_have_the_recorded_shape(rippled: LedgerReplies) -> None:
    head = rippled.head()
    assert_shape(rippled.ledger_closed(head, 70), LEDGER_CLOSED)
    assert_shape(rippled.transaction(head, ALICE), TRANSACTION)


def test_errors_stand_at_the_top_level_with_the_request_copied_back(
    rippled: LedgerReplies,
) -> None:
    stranger = Command(command="account_info", id=1, account=xrpl_account(2))
    answer = rippled.answer(stranger)
    assert_shape(answer, ERROR)
    assert wire.decode(answer).error == "actNotFound"
    unknown = rippled.answer(Command(command="no_such_thing", id=1))
    assert_shape(unknown, ERROR)
    assert wire.decode(unknown).error == "unknownCmd"
    assert failure(stranger, SLOW_DOWN).startswith(b'{"error":"slowDown"')


CAROL = tron_account(1)
CAROL_HEX = "0x" + "00" * 20


@pytest.fixture
def tron() -> TronReplies:
    ledger = Ledger("tron", chain_id=728126428)
    ledger.contracts.add(USDT_CONTRACT)
    ledger.close({(CAROL, None): 1_793_227_200, (CAROL, USDT_CONTRACT): 5})
    return TronReplies(ledger, Faults(), time_limit=10, multicall=True)


def test_a_block_over_json_rpc_has_the_documented_fields(tron: TronReplies) -> None:
    reply = tron.rpc(RpcRequest("eth_getBlockByNumber", ["latest", False], 1))
    assert_shape(reply, BLOCK)
    assert_shape(tron.rpc(RpcRequest("eth_chainId", [], 1)), RPC | {"result": "str"})


def test_an_account_has_the_documented_fields_and_nothing_where_not_activated(
    tron: TronReplies,
) -> None:
    assert_shape(tron.wallet("getaccount", {"address": CAROL, "visible": True}) or {}, ACCOUNT)
    stranger: dict[str, Json] = {"address": tron_account(2), "visible": True}
    assert tron.wallet("getaccount", stranger) == {}


def test_a_constant_call_answers_as_recorded(tron: TronReplies) -> None:
    body: dict[str, Json] = {
        "owner_address": "41" + tron_hash(CAROL).hex(),
        "contract_address": "41" + tron_hash(USDT_CONTRACT).hex(),
        "function_selector": "balanceOf(address)",
        "parameter": "00" * 12 + tron_hash(CAROL).hex(),
    }
    reply = tron.wallet("triggerconstantcontract", body) or {}
    assert reply["result"] == {"result": True}
    assert reply["constant_result"] == [f"{5:064x}"]
    assert {"ret", "visible", "txID", "raw_data", "raw_data_hex"} == set(
        msgspec.convert(reply["transaction"], dict[str, object])
    )
    missing = tron.wallet("triggerconstantcontract", body | {"contract_address": "41" + "0" * 40})
    assert missing is not None
    error = msgspec.convert(missing["result"], dict[str, str])
    assert error["code"] == "CONTRACT_VALIDATE_ERROR"
    assert b"is not exist" in bytes.fromhex(error["message"])


@pytest.mark.parametrize(
    ("tag", "code"), [("0x10", -32602), ("pending", -32602), ("earliest", -32602)]
)
def test_a_height_is_refused_and_a_pin_is_silently_ignored(
    tron: TronReplies, tag: str, code: int
) -> None:
    refused = tron.rpc(RpcRequest("eth_getBalance", [CAROL_HEX, tag], 1))
    assert msgspec.convert(refused["error"], dict[str, object])["code"] == code
    pin: Json = {"blockHash": "0x" + "12" * 32}
    assert "result" in tron.rpc(RpcRequest("eth_getBalance", [CAROL_HEX, pin], 1))


def test_the_time_limit_is_reported_in_the_recorded_words(tron: TronReplies) -> None:
    data = "0x" + encode([bytes(20)] * 7, (), bytes.fromhex(MULTICALL3[2:])).hex()
    call: Json = {"to": MULTICALL3, "data": data}
    reply = tron.rpc(RpcRequest("eth_call", [call, "latest"], 1))
    error = msgspec.convert(reply["error"], dict[str, object])
    assert error["code"] == -32000
    assert error["message"] == "CPU timeout for 'PUSH1' operation executing"


def test_aggregate3_is_taken_apart_and_answered_as_a_general_abi_library_does(
    tron: TronReplies,
) -> None:
    from eth_abi import abi

    wallet, token = tron_hash(CAROL), tron_hash(USDT_CONTRACT)
    multicall = bytes.fromhex(MULTICALL3[2:])
    nobody = bytes(19) + b"\1"
    balance_of = bytes.fromhex("70a08231") + bytes(12) + wallet
    calls = [
        (multicall, True, bytes.fromhex("42cbb15c")),
        (multicall, True, bytes.fromhex("4d2301cc") + bytes(12) + wallet),
        (token, True, balance_of),
        (token, True, balance_of[:-1] + b"\0"),  # an account of which the token knows nothing
        (nobody, True, balance_of),
    ]
    data = "0x82ad56cb" + abi.encode(["(address,bool,bytes)[]"], [calls]).hex()
    call: Json = {"to": MULTICALL3, "data": data}
    reply = tron.rpc(RpcRequest("eth_call", [call, "latest"], 1))
    (outcomes,) = abi.decode(["(bool,bytes)[]"], bytes.fromhex(str(reply["result"])[2:]))
    word = (1001).to_bytes(32)
    assert outcomes == (
        (True, word),
        (True, (1_793_227_200).to_bytes(32)),
        (True, (5).to_bytes(32)),
        (False, b""),
        (True, b""),
    )
