"""The address codecs, held to xrpl-py, to known addresses and to themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xrpl.core.addresscodec import (
    decode_classic_address,
    encode_classic_address,
    is_valid_classic_address,
)

from core.chains.addresses import parse_address
from core.chains.base58 import (
    BITCOIN_ALPHABET,
    XRPL_ALPHABET,
    AddressError,
    decode_check,
    encode_check,
    evm_to_tron,
    tron_address,
    tron_hash,
    tron_to_evm,
    xrpl_address,
    xrpl_hash,
)
from core.model import ChainKind

USDT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
GENESIS = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"
EVM = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
hashes = st.binary(min_size=20, max_size=20)


@given(st.binary(max_size=60), st.sampled_from([BITCOIN_ALPHABET, XRPL_ALPHABET]))
def test_what_is_encoded_decodes_to_the_same_bytes(payload: bytes, alphabet: str) -> None:
    if payload:
        assert decode_check(encode_check(payload, alphabet), alphabet) == payload


@given(hashes)
def test_xrpl_addresses_are_those_of_xrpl_py(account_id: bytes) -> None:
    address = encode_classic_address(account_id)
    assert xrpl_address(account_id) == address
    assert xrpl_hash(address) == account_id == decode_classic_address(address)


@given(hashes)
def test_a_tron_address_survives_the_way_to_hex_and_back(account_hash: bytes) -> None:
    address = tron_address(account_hash)
    assert address.startswith("T")
    assert tron_hash(address) == account_hash
    assert evm_to_tron(tron_to_evm(address)) == address
    assert evm_to_tron("41" + account_hash.hex()) == address


@given(hashes, st.integers(0, 33), st.sampled_from(BITCOIN_ALPHABET))
def test_a_mistyped_letter_is_never_accepted(account_hash: bytes, at: int, letter: str) -> None:
    address = tron_address(account_hash)
    mistyped = address[:at] + letter + address[at + 1 :]
    if mistyped != address:
        with pytest.raises(AddressError):
            tron_hash(mistyped)


@given(st.text(alphabet=XRPL_ALPHABET + "0OIl", min_size=1, max_size=40))
def test_a_text_is_an_xrpl_address_exactly_if_xrpl_py_says_so(text: str) -> None:
    try:
        xrpl_hash(text)
    except AddressError:
        accepted = False
    else:
        accepted = True
    assert accepted == is_valid_classic_address(text)


def test_known_addresses_stand_for_their_known_bytes() -> None:
    assert tron_to_evm(USDT) == "0xa614f803b6fd780986a42c78ec9c7f77e6ded13c"
    multicall = "TEazPvZwDjDtFeJupyo7QunvnrnUjPH8ED"
    assert tron_to_evm(multicall) == "0x32a4f47a74a6810bd0bf861cabab99656a75de9e"
    assert xrpl_hash(GENESIS).hex() == "b5f762798a53d543a014caf8b297cff8f2f937e8"


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (ChainKind.TRON, USDT[:-1] + "u", "wrong checksum"),
        (ChainKind.TRON, USDT[:-5], "checksum|length"),
        (ChainKind.TRON, USDT[:-20], "wrong length"),
        (ChainKind.TRON, USDT.replace("7", "0"), "'0' at position 3 is not a base58 letter"),
        (ChainKind.TRON, encode_check(b"\0" + bytes(range(20))), "version 0x00.*begins with T"),
        (ChainKind.TRON, GENESIS, "is an XRPL address; this chain needs a TRON address"),
        (ChainKind.TRON, "", "empty"),
        (ChainKind.XRPL, GENESIS[:-1] + "i", "wrong checksum"),
        (ChainKind.XRPL, USDT, "is a TRON address; this chain needs an XRPL address"),
        (ChainKind.XRPL, EVM, "is an EVM address; this chain needs an XRPL address"),
        (ChainKind.XRPL, "XVPcpSm47b1CZkf5AkKM9a84dQHe3m4sBhsrA4XtnBECTAc", "an X-address"),
        (ChainKind.EVM, USDT, "is a TRON address; this chain needs an EVM address"),
        (ChainKind.EVM, EVM.replace("f39F", "F39f"), "wrong checksum"),
        (ChainKind.EVM, EVM[:-1], "40 hexadecimal digits"),
    ],
)
def test_a_wrong_address_is_refused_in_words_that_say_what_is_wrong(
    kind: ChainKind, text: str, says: str
) -> None:
    with pytest.raises(AddressError, match=says):
        parse_address(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "normal"),
    [
        (ChainKind.EVM, EVM, EVM.lower()),
        (ChainKind.XRPL, f"  {GENESIS}\n", GENESIS),
        (ChainKind.TRON, USDT, USDT),
        (ChainKind.TRON, "0xa614f803b6fd780986a42c78ec9c7f77e6ded13c", USDT),
        (ChainKind.TRON, "41a614f803b6fd780986a42c78ec9c7f77e6ded13c", USDT),
        (ChainKind.TRON, "0x41a614f803b6fd780986a42c78ec9c7f77e6ded13c", USDT),
    ],
)
def test_every_accepted_form_has_one_normal_form(kind: ChainKind, text: str, normal: str) -> None:
    assert parse_address(kind, text) == normal


@pytest.mark.parametrize("size", [0, 19, 21])
def test_only_twenty_bytes_make_an_address(size: int) -> None:
    with pytest.raises(AddressError, match=f"{size} bytes"):
        tron_address(bytes(size))
    with pytest.raises(AddressError, match=f"{size} bytes"):
        xrpl_address(bytes(size))
