"""XRPL's bytes: currency codes, exact decimals, reserves, and what counts as the server's fault."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chains.failures import FailureKind
from core.chains.xrpl import wire
from core.model import BursarError


@given(st.integers(-(10**16), 10**16), st.integers(-15, 15), st.integers(15, 30))
def test_every_decimal_text_becomes_its_exact_base_units(
    mantissa: int, exponent: int, decimals: int
) -> None:
    value = Decimal(mantissa).scaleb(exponent)
    for text in (str(value), f"{value:f}", f"{value:e}"):
        assert wire.base_units(text, decimals) == mantissa * 10 ** (exponent + decimals)


def test_a_recorded_balance_of_sixteen_digits_is_exact() -> None:
    assert wire.base_units("0.3488146605801446", 16) == 3488146605801446
    assert wire.base_units("-0.1010780000080207", 18) == -101078000008020700
    assert wire.base_units("9999999999999999e80", 0) == 9999999999999999 * 10**80


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.0000001", "finer than the asset's 6 decimals"),
        ("1e-7", "finer than the asset's 6 decimals"),
        ("NaN", "not an amount"),
        ("Infinity", "not an amount"),
        ("1e999999999", "not an amount"),
        ("twelve", "is not a number"),
        ("", "is not a number"),
    ],
)
def test_what_is_no_representable_amount_is_refused(text: str, says: str) -> None:
    with pytest.raises(BursarError, match=says):
        wire.base_units(text, 6)


@pytest.mark.parametrize(
    ("symbol", "code"),
    [
        ("USD", "USD"),
        ("RLUSD", "524C555344000000000000000000000000000000"),
        ("524c555344000000000000000000000000000000", "524C555344000000000000000000000000000000"),
    ],
)
def test_a_symbol_becomes_the_code_that_trust_lines_carry(symbol: str, code: str) -> None:
    assert wire.currency_code(symbol) == code


@pytest.mark.parametrize("symbol", ["", "AB", "A" * 21, "é€ü", "Z" * 40])
def test_a_symbol_that_can_be_no_currency_is_refused(symbol: str) -> None:
    with pytest.raises(BursarError, match="no XRPL currency code"):
        wire.currency_code(symbol)


@pytest.mark.parametrize(
    "node",
    [
        {"ReserveBaseDrops": "1000000", "ReserveIncrementDrops": "200000"},
        {"ReserveBase": 1000000, "ReserveIncrement": 200000},
    ],
)
def test_reserves_are_read_in_both_forms_the_ledger_has_had(node: dict[str, object]) -> None:
    message = wire.decode(msgspec.json.encode({"id": 1, "result": {"node": node}}))
    assert wire.reserves_of(message) == wire.Reserves(1_000_000, 200_000)


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("slowDown", FailureKind.TOO_MANY),
        ("tooBusy", FailureKind.SERVER),
        ("lgrNotFound", FailureKind.NO_BLOCK),
        ("unknownCmd", FailureKind.NO_METHOD),
    ],
)
def test_errors_of_the_server_are_told_from_errors_of_an_account(
    token: str, kind: FailureKind
) -> None:
    trouble = wire.server_error(wire.Message(error=token, error_message="words"))
    assert trouble is not None
    assert trouble.kind is kind
    assert wire.server_error(wire.Message(error="actMalformed")) is None


def test_requests_are_json_with_the_ledger_pinned() -> None:
    info = msgspec.json.decode(wire.account_info(7, b"rAcc", b"AB" * 32))
    assert info == {
        "id": 7, "command": "account_info", "account": "rAcc", "ledger_hash": "AB" * 32
    }  # fmt: skip
    lines = msgspec.json.decode(wire.account_lines(8, b"rAcc", b"CD" * 32, b"rPeer", b'{"a":1}'))
    assert lines["peer"] == "rPeer"
    assert lines["marker"] == {"a": 1}
    assert "marker" not in msgspec.json.decode(wire.account_lines(8, b"r", b"0", b"", b""))
