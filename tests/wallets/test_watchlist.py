"""A watch list is taken whole or refused with every broken line named."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from core.model import ChainKind
from core.wallets.watchlist import parse_watchlist

KINDS = {"base": ChainKind.EVM, "xrpl": ChainKind.XRPL, "tron": ChainKind.TRON}
ONE = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
TWO = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
XRP = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"


def broken(text: str, known: dict[tuple[str, str], str] | None = None) -> list[tuple[int, str]]:
    parsed = parse_watchlist(text, KINDS, known or {})
    assert parsed.rows == ()
    return [(error.line, error.reason) for error in parsed.errors]


def test_a_list_with_header_comments_quotes_and_windows_line_ends() -> None:
    text = (
        "\ufeffagent,address,chain,tags,group\r\n"
        "# the first ones\r\n"
        f'"agent, one",{ONE},base,"hot;eu us",alpha\r\n'
        "\r\n"
        f" two , {XRP} ,xrpl\r\n"
    )
    parsed = parse_watchlist(text, KINDS, {})
    assert parsed.errors == ()
    assert parsed.lines == 2
    first, second = parsed.rows
    assert (first.agent, first.chain, first.address) == ("agent, one", "base", ONE.lower())
    assert (first.tags, first.group, first.line) == (("hot", "eu", "us"), "alpha", 3)
    assert (second.agent, second.address, second.line) == ("two", XRP, 5)


def test_without_a_header_the_columns_stand_in_order() -> None:
    (row,) = parse_watchlist(f"a,base,{ONE},alpha,hot", KINDS, {}).rows
    assert (row.agent, row.group, row.tags, row.line) == ("a", "alpha", ("hot",), 1)


def test_every_broken_line_is_named_and_nothing_is_imported() -> None:
    text = (
        f"a,base,{ONE}\nb,moon,{TWO}\nc,base\nd,base,0x123\n,base,{TWO}\n\ne,base,{TWO},g,t,more\n"
    )
    errors = broken(text)
    assert [line for line, _ in errors] == [2, 3, 4, 5, 7]
    assert errors[0][1] == "there is no chain 'moon' (known: base, tron, xrpl)"
    assert errors[1][1] == "the address is missing"
    assert errors[3][1] == "the agent is missing"
    assert errors[4][1] == "6 fields where 5 are expected"


def test_a_wrong_checksum_is_named() -> None:
    ((line, reason),) = broken(f"a,base,{ONE.replace('39F', '39f')}")
    assert line == 1
    assert "checksum" in reason


def test_duplicates_in_the_file_and_with_the_registry_are_named() -> None:
    text = f"a,base,{ONE}\na,base,{TWO}\nb,base,{ONE.lower()}\nc,xrpl,{XRP}\nold,base,{TWO}\n"
    errors = broken(text, {("old", "base"): "0xdead", ("other", "xrpl"): XRP})
    assert errors == [
        (2, "agent a already has an address on base in line 1"),
        (3, f"{ONE.lower()} on base already stands in line 1"),
        (4, f"{XRP} on xrpl already belongs to agent other"),
        (5, "agent old is already followed on base at 0xdead"),
    ]


def test_one_agent_in_two_groups_is_named() -> None:
    ((line, reason),) = broken(f"a,base,{ONE},alpha\na,xrpl,{XRP},beta\n")
    assert line == 2
    assert reason == "agent a is in group 'beta' here and in 'alpha' in line 1"


def test_a_header_with_wrong_columns_is_named() -> None:
    reasons = [reason for _, reason in broken(f"agent,address,colour\na,{ONE},red\n")]
    assert "column 'chain' is missing" in reasons
    assert any(reason.startswith("column 'colour' is unknown") for reason in reasons)


def test_quotes_that_never_end_are_named() -> None:
    ((line, reason),) = broken(f'a,base,{ONE}\n"b,base,{TWO}\n')
    assert line == 2
    assert "no CSV line" in reason


def test_an_empty_list_has_no_rows_and_no_errors() -> None:
    parsed = parse_watchlist("# nothing yet\n\n", KINDS, {})
    assert (parsed.rows, parsed.errors, parsed.lines) == ((), (), 0)


NAME = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, categories=("L", "N", "P")), min_size=1
).filter(lambda text: not text.startswith("#"))


@given(st.lists(NAME, min_size=1, max_size=20, unique=True))
def test_what_a_csv_writer_wrote_is_read_back(agents: list[str]) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["agent", "chain", "address"])
    for number, agent in enumerate(agents, start=1):
        writer.writerow([agent, "base", f"0x{number:040x}"])
    parsed = parse_watchlist(out.getvalue(), KINDS, {})
    assert parsed.errors == ()
    assert [row.agent for row in parsed.rows] == agents


@given(st.text())
def test_any_text_is_read_or_refused_line_by_line(text: str) -> None:
    parsed = parse_watchlist(text, KINDS, {})
    assert not (parsed.rows and parsed.errors)
    assert all(
        1 <= error.line <= text.count("\n") + text.count("\r") + 1 for error in parsed.errors
    )
