"""The filter language: what it shows, what it refuses, how fast it is."""

from __future__ import annotations

import time
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api import BalanceView, ChainState
from core.model import Agent, Amount, Asset, ChainKind, Severity, WalletState
from tests.desk.fleets import fleet_model
from tui import query
from tui.fleet_row import ChainLine, FleetRow

NOW = 10_000_000
USDC = Asset(2, "base", "USDC", "USD Coin", 6, contract="0xABCdef")
VIEW = BalanceView(
    1,
    "agent-0031",
    "base",
    2,
    "0xFeed",
    amount=Amount(12_440_000),
    checked_ms=NOW - 130_000,
    change_1h=Amount(-3_200_000),
    change_24h=Amount(1),
    runway_s=13_800,
    severity=Severity.WARNING,
)
AGENT = Agent("agent-0031", group="Trading", tags=("canary", "eu"), state=WalletState.ACTIVE)


def row_of(view: BalanceView = VIEW, agent: Agent = AGENT, asset: Asset = USDC) -> FleetRow:
    return FleetRow(view, asset, agent, ChainLine(ChainState("base", ChainKind.EVM)), 1)


def shows(words: str, row: FleetRow | None = None) -> bool:
    return query.parse(words).matches(row or row_of(), NOW)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "chain:base",
        "CHAIN:Base",
        "asset:usdc",
        "asset:0xabcdef",
        "token=USDC",
        "state:active",
        "state:act*",
        "group:trading",
        "tag:eu",
        "tag:none,canary",
        "severity:warning",
        "severity:problem,warning",
        "!problems",
        "agent:agent-00*",
        "address:0xfeed",
        "bal<13",
        "bal>=12.44",
        "bal=12.44",
        "bal:12.44",
        "bal!=12.45",
        "bal<1,000",
        "change<0",
        "change24h>0",
        "runway<4h",
        "runway>=3h50m",
        "age>2m",
        "age<1h",
        "0031",
        "canary",
        '"agent-0031"',
        "USD coin",
        "-chain:tron",
        "-tag:prod -severity:ok bal<20 usdc",
        "chain!=tron",
    ],
)
def test_a_filter_shows_what_it_describes(words: str) -> None:
    assert shows(words)


@pytest.mark.parametrize(
    "words",
    [
        "chain:bas",
        "asset:usdt",
        "state:suspended",
        "group:trad",
        "tag:can",
        "severity:ok",
        "bal<12.44",
        "bal>12.440000000001",
        "change>0",
        "runway<1h",
        "age<2m",
        "-chain:base",
        "-!problems",
        "-usdc",
        '"USD  coin"',
        "chain!=base",
        "usdc tron",
    ],
)
def test_a_filter_hides_what_it_does_not_describe(words: str) -> None:
    assert not shows(words)


@pytest.mark.parametrize(
    ("words", "said", "position"),
    [
        ("colour:red", "no field 'colour'", 0),
        ("usdc bal<ten", "'ten' is no amount", 5),
        ("bal<", "'' is no amount", 0),
        ("runway<10", "no span of time", 0),
        ("age>2mm", "no span of time", 0),
        ("chain:", "needs a value", 0),
        ("chain<5", "is a word", 0),
        ("state:asleep", "no state 'asleep'", 0),
        ("severity:bad", "no severity 'bad'", 0),
        ('agent "open', "never closed", 6),
        ("a - b", "needs something behind it", 2),
    ],
)
def test_a_filter_that_cannot_be_understood_says_what_and_where(
    words: str, said: str, position: int
) -> None:
    with pytest.raises(query.QueryError, match=said) as caught:
        query.parse(words)
    assert caught.value.position == position
    assert f"character {position + 1}" in str(caught.value)


@pytest.mark.parametrize("words", ["bal<10", "bal>=0", "bal=0", "runway<1h", "runway>1h"])
def test_an_unknown_balance_satisfies_no_comparison(words: str) -> None:
    unread = row_of(msgspec.structs.replace(VIEW, amount=None, checked_ms=0))
    assert not shows(words, unread)
    assert shows("-" + words, unread)
    assert shows("age>30d", unread)


def test_a_balance_that_does_not_fall_has_an_endless_runway() -> None:
    steady = row_of(msgspec.structs.replace(VIEW, runway_s=None))
    assert shows("runway>365d", steady)
    assert not shows("runway<365d", steady)


@given(
    amount=st.integers(0, 2**256 - 1),
    decimals=st.integers(0, 77),
    digits=st.integers(0, 10**12),
    places=st.integers(0, 12),
    sign=st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
)
def test_amounts_are_compared_exactly(
    amount: int, decimals: int, digits: int, places: int, sign: str
) -> None:
    asset = Asset(9, "base", "T", "T", decimals)
    row = row_of(msgspec.structs.replace(VIEW, amount=Amount(amount)), asset=asset)
    whole, fraction = divmod(digits, 10**places)
    literal = f"{whole}.{fraction:0{places}d}" if places else str(whole)
    left, right = Fraction(amount, 10**decimals), Fraction(digits, 10**places)
    truth = {
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
        "=": left == right,
        "!=": left != right,
    }[sign]
    assert shows(f"bal{sign}{literal}", row) is truth


@given(st.text())
def test_any_text_is_a_filter_or_an_error_with_a_place_in_it(words: str) -> None:
    try:
        matches = query.parse(words).matches
        position = 0
    except query.QueryError as error:
        matches = query.parse("").matches
        position = error.position
    assert 0 <= position <= max(0, len(words) - 1)
    assert matches(row_of(), NOW) in (True, False)


@given(st.text(alphabet=st.characters(exclude_characters='"'), min_size=1))
def test_quoted_text_is_looked_for_as_it_stands(words: str) -> None:
    assert shows(f'"{words}"') is (words.lower() in row_of().search)


def test_only_ages_make_a_filter_depend_on_time() -> None:
    assert query.parse("age>2m").timely
    assert not query.parse("runway<1h bal<5 text").timely


def test_ten_thousand_rows_are_filtered_in_milliseconds() -> None:
    model = fleet_model(10_000)
    rows = list(model.rows.values())
    matches = query.parse("agent-04").matches
    assert sum(matches(row, NOW) for row in rows) == 200  # also fills the search texts
    started = time.process_time()
    for _ in range(5):
        for row in rows:
            matches(row, NOW)
    ours = time.process_time() - started
    started = time.process_time()
    words = [row.search for row in rows]
    for _ in range(5):
        for each in words:
            _ = "agent-04" in each
    assert ours < 40 * (time.process_time() - started)
