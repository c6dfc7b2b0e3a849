"""The scanner's bytecode is its source, and its layout is what the node really answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chains import evm
from core.chains.evm import scanner
from core.chains.evm.scanner import (
    BURNT,
    BYTECODE,
    NO_CONTRACT,
    REVERTED,
    SCANNER_ADDRESS,
    SHORT,
    SKIPPED,
    ScanLayoutError,
    answer,
    decode_call,
    decode_result,
    encode_call,
    payload_of,
    result_size,
)
from core.events import Json
from core.model import BlockRef
from tests.chain import tokens
from tests.chain.anvil import Anvil
from tests.chain.assembler import assemble
from tests.chain.bench import wallet

addresses = st.lists(st.binary(min_size=20, max_size=20), max_size=12)


def test_bytecode_is_what_the_commented_source_assembles_to() -> None:
    source = Path(evm.__file__).with_name("scanner.asm").read_text()
    assert assemble(source) == BYTECODE


@given(addresses, addresses, st.integers(0, 2**32 - 1))
def test_a_payload_survives_encoding_and_decoding(
    wallets: list[bytes], contracts: list[bytes], gas_cap: int
) -> None:
    call = decode_call(encode_call(wallets, contracts, gas_cap))
    assert call.gas_cap == gas_cap
    assert [bytes.fromhex(w[2:]) for w in call.wallets] == wallets
    assert [bytes.fromhex(t[2:]) for t in call.tokens] == contracts


@pytest.mark.parametrize("payload", [b"", bytes(5), bytes(7), b"\0\0\0\0\0\1" + bytes(19)])
def test_bytes_that_are_no_payload_are_refused(payload: bytes) -> None:
    with pytest.raises(ScanLayoutError):
        decode_call(payload)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_result_of_another_length_is_refused(change: int) -> None:
    with pytest.raises(ScanLayoutError, match="returned"):
        decode_result(bytes(result_size(3, 2) + change), 3, 2)


def run(anvil: Anvil, payload: bytes, way: str, number: int | None = None) -> bytes:
    """Run the scanner on the node, by override or deployless."""
    at = "latest" if number is None else hex(number)
    if way == "override":
        call: Json = {"to": SCANNER_ADDRESS, "data": "0x" + payload.hex()}
        override: Json = {SCANNER_ADDRESS: {"code": "0x" + BYTECODE.hex()}}
        return bytes.fromhex(str(anvil.rpc("eth_call", call, at, override))[2:])
    return anvil.revert_of({"data": "0x" + (BYTECODE + payload).hex()}, at)


@pytest.mark.parametrize("way", ["override", "deployless"])
def test_the_node_answers_what_the_reference_answers(anvil: Anvil, way: str) -> None:
    good = bytes.fromhex("aa" * 20)
    anvil.set_code(good, tokens.FROM_ADDRESS)
    nobody = bytes.fromhex("bb" * 20)
    wallets = [wallet(i) for i in range(50)]
    anvil.set_native({wallets[3]: 12345, wallets[4]: 2**255})
    anvil.mine(2)
    payload = encode_call(wallets, [good, nobody])
    header = anvil.rpc("eth_getBlockByNumber", "latest", False)
    assert isinstance(header, dict)
    block = BlockRef(
        int(str(header["number"]), 16),
        str(header["hash"]),
        int(str(header["timestamp"]), 16) * 1000,
        str(header["parentHash"]),
    )
    natives = {
        w: int(str(anvil.rpc("eth_getBalance", "0x" + w.hex(), "latest")), 16) for w in wallets
    }

    def truth(owner: str, contract: str | None) -> int | None:
        if contract is None:
            return natives[bytes.fromhex(owner[2:])]
        return int(owner[-4:], 16) if contract == "0x" + good.hex() else None

    assert run(anvil, payload, way, block.number) == answer(payload, 31337, block, truth)


@pytest.mark.parametrize("way", ["override", "deployless"])
def test_each_way_of_failing_has_its_own_status(anvil: Anvil, way: str) -> None:
    hostile = {
        tokens.REVERTS: REVERTED,
        tokens.RETURNS_NOTHING: SHORT,
        tokens.RETURNS_31_BYTES: SHORT + 31,
        tokens.BURNS_ALL_GAS: BURNT,
        tokens.INVALID_OPCODE: BURNT,
        tokens.RETURNS_64_BYTES: 0,
        tokens.RETURNS_A_MEGABYTE: BURNT,  # its memory costs more than the cap
        tokens.LARGEST: 0,
        b"": NO_CONTRACT,
    }
    contracts = [bytes([0xC0 + i]) * 20 for i in range(len(hostile))]
    for contract, code in zip(contracts, hostile, strict=True):
        anvil.set_code(contract, code)
    wallets = [wallet(i) for i in range(3)]
    result = decode_result(run(anvil, encode_call(wallets, contracts), way), 3, len(contracts))
    first = list(hostile.values())
    later = [SKIPPED if status == BURNT else status for status in first]
    assert list(result.statuses) == first + later + later
    width = len(contracts) + 1
    row = [int.from_bytes(result.words[i * 32 : i * 32 + 32], "big") for i in range(width)]
    assert row[6] == 5
    assert row[8] == 2**256 - 1


def test_too_little_gas_reverts_bare_instead_of_blaming_a_token(anvil: Anvil) -> None:
    good = bytes.fromhex("aa" * 20)
    anvil.set_code(good, tokens.FROM_ADDRESS)
    payload = encode_call([wallet(i) for i in range(100)], [good])
    call: Json = {"to": SCANNER_ADDRESS, "data": "0x" + payload.hex(), "gas": hex(400_000)}
    override: Json = {SCANNER_ADDRESS: {"code": "0x" + BYTECODE.hex()}}
    assert anvil.revert_of(call, "latest", override) == b""


def test_a_simulated_node_recognises_both_ways_of_calling() -> None:
    payload = encode_call([wallet(1)], [])
    code = "0x" + BYTECODE.hex()
    call: dict[str, object] = {"to": SCANNER_ADDRESS, "data": "0x" + payload.hex()}
    assert payload_of(call, {SCANNER_ADDRESS: {"code": code}}) == payload
    assert payload_of(call, {SCANNER_ADDRESS: {"code": "0x00"}}) is None
    assert payload_of(call) is None
    assert payload_of({"data": code + payload.hex()}) == payload
    assert payload_of({"data": "0x6000"}) is None


def test_every_status_has_words() -> None:
    for status in (REVERTED, BURNT, SKIPPED, NO_CONTRACT, SHORT, SHORT + 31):
        assert "status" not in scanner.status_words(status)
    assert scanner.status_words(SHORT + 31) == "balanceOf returned 31 bytes instead of 32"
