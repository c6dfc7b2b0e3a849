"""Ids: the published vectors, escaping, and the retry when a hash is no legal id."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.accounting.ids import (
    CODES,
    Kind,
    account_id,
    asset_name,
    digest_id,
    owner_mark,
    packet_transfer_id,
    side_mark,
    token_mark,
)
from core.ledger import AMOUNT_MAX

NAMES = st.text(alphabet="ab|\\:1", max_size=4)


def test_the_published_vectors_hold() -> None:
    debit = account_id("connector-a", "connector-b", "USD", Kind.DEBIT)
    credit = account_id("connector-a", "connector-b", "USD", Kind.CREDIT)
    assert debit == 0x2B48A043C950F1D8CAC80B193C1D2DE6
    assert credit == 0x259DE462F3A7EC8CF5FD25FB989629F1


def test_codes_are_those_of_the_chart_of_accounts() -> None:
    assert {kind.value: CODES[kind] for kind in Kind if kind is not Kind.NUMBER} == {
        "debit": 100,
        "credit": 200,
        "custody": 300,
        "clearing": 400,
        "transit": 500,
        "line": 600,
        "opening": 700,
        "unexplained": 800,
    }


Owner = tuple[str, str, str, Kind]
OWNERS = st.tuples(NAMES, NAMES, NAMES, st.sampled_from(Kind))


@given(OWNERS, OWNERS)
def test_only_the_same_names_share_an_account(one: Owner, other: Owner) -> None:
    assert (account_id(*one) == account_id(*other)) == (one == other)


def test_an_escape_inside_a_name_is_escaped_too() -> None:
    one = account_id("n", "a\\", "b|c", Kind.DEBIT)
    assert one != account_id("n", "a|b\\", "c", Kind.DEBIT)
    assert asset_name("a\\", "b:c") != asset_name("a:b\\", "c")


def test_a_separator_inside_a_name_does_not_move_the_border_between_names() -> None:
    assert account_id("n", "a|b", "c", Kind.DEBIT) != account_id("n", "a", "b|c", Kind.DEBIT)
    assert account_id("n", "a\\", "b", Kind.DEBIT) != account_id("n", "a", "\\b", Kind.DEBIT)


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_only_the_same_chain_and_asset_share_a_name(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert (asset_name(*one) == asset_name(*other)) == (one == other)


def test_an_ordinary_asset_is_named_as_it_is_written() -> None:
    assert asset_name("base", "USDC") == "base:USDC"


def test_a_hash_that_is_no_legal_id_is_retried_with_a_number() -> None:
    asked: list[str] = []
    answers = [0, AMOUNT_MAX, 7]

    def digest(text: str) -> int:
        asked.append(text)
        return answers[len(asked) - 1]

    assert digest_id("a", "b|", digest=digest) == 7
    assert asked == ["a|b\\|", "a|b\\||1", "a|b\\||2"]


def test_marks_fill_the_user_data_fields() -> None:
    mark = owner_mark("connector-a", "connector-b")
    assert mark >> 64 == owner_mark("connector-a", "anyone") >> 64
    assert mark & (2**64 - 1) == owner_mark("anyone", "connector-b") & (2**64 - 1)
    assert 0 < token_mark("USD") < 2**64
    assert [side_mark(Kind.DEBIT), side_mark(Kind.CREDIT)] == [0, 1]


def test_each_leg_and_stage_of_a_packet_is_a_transfer_of_its_own() -> None:
    ids = {
        packet_transfer_id("p", leg, stage)
        for leg in ("in", "out")
        for stage in ("prepare", "fulfil", "reject")
    }
    assert len(ids) == 6
