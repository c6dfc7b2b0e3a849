"""Movements of custody from CSV: what is taken, and how each broken line is named."""

from __future__ import annotations

import pytest

from core.engine.movements import parse_movements
from core.model import Asset

ASSETS = [Asset(1, "base", "ETH", "Ether", 18, None), Asset(2, "base", "USDC", "USDC", 6, "0xAb")]


def test_amounts_are_decimal_signed_and_exact() -> None:
    text = "\ufeffagent,chain,asset,amount,reference\r\n# gas\r\na,base,ETH,-0.000021,tx:1\r\n" \
           "a,base,0xab,+12.5,tx:1\n\n"  # fmt: skip
    rows, errors = parse_movements(text, ASSETS)
    assert errors == []
    assert [(row.asset, row.amount) for row in rows] == [
        ("ETH", -21 * 10**12),
        ("0xab", 12_500_000),
    ]
    assert parse_movements("a,base,ETH,1,r", ASSETS)[0][0].amount == 10**18


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,base,ETH,1", "4 fields"),
        ("a,base,ETH,1,", "the reference is missing"),
        ("a,base,ETH,--1,r", "is not an amount"),
        ("a,base,USDC,0.0000001,r", "more decimals"),
        ("a,moon,ETH,1,r", "there is no asset ETH on a chain moon"),
        ('a,base,ETH,1,"r', "no CSV line"),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_taken(line: str, reason: str) -> None:
    rows, errors = parse_movements(f"a,base,ETH,1,first\n{line}\n", ASSETS)
    assert rows == []
    assert [error.line for error in errors] == [2]
    assert reason in errors[0].reason


def test_a_reference_that_stands_twice_for_one_balance_is_refused() -> None:
    rows, [error] = parse_movements("a,base,ETH,1,r\na,base,USDC,1,r\na,base,ETH,2,r\n", ASSETS)
    assert rows == []
    assert (error.line, "line 1" in error.reason) == (3, True)
