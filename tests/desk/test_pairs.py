"""The ledger's words and its list of pairs: use, order, filter, sums, and what differs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api import CustodyView, PeerView
from core.model import Amount, Asset, Severity
from tests.desk import scripted_ledger
from tests.desk.scripted import ASSETS, NOW_MS
from tui import ledger_words, pairs, text
from tui.pairs import SortBy
from tui.query import QueryError
from tui.widgets.list_table import Tone

USDC: Asset = ASSETS[1]


def pair(receivable: int, limit: int | None, flight: int = 0) -> PeerView:
    return PeerView(
        "p",
        "USD",
        Amount(receivable),
        receivable_in_flight=Amount(flight),
        limit=None if limit is None else Amount(limit),
    )


def test_use_counts_what_is_in_flight_and_is_cut_never_rounded_up() -> None:
    assert pairs.use_percent(pair(500, 1_000)) == 50
    assert pairs.use_percent(pair(999, 1_000)) == 99
    assert pairs.use_percent(pair(999, 1_000, flight=1)) == 100
    assert pairs.use_percent(pair(1_500, 1_000)) == 150
    assert pairs.use_percent(pair(-20, 1_000)) == 0
    assert pairs.use_percent(pair(5, None)) is None
    assert pairs.use_percent(pair(0, 0)) == 100  # nothing may be sent at all


def test_a_pair_warns_from_eighty_percent_and_is_a_problem_when_full() -> None:
    assert pairs.severity(pair(799, 1_000)) is Severity.OK
    assert pairs.severity(pair(800, 1_000)) is Severity.WARNING
    assert pairs.severity(pair(999, 1_000)) is Severity.WARNING
    assert pairs.severity(pair(1_000, 1_000)) is Severity.PROBLEM
    assert pairs.severity(pair(10**30, None)) is Severity.OK


def test_sums_are_per_token_and_exact() -> None:
    eur, usd = pairs.totals(scripted_ledger.peers())
    assert (eur.token, eur.pairs, eur.receivable, eur.payable) == ("EUR", 3, 538_500, 4_200_700)
    assert usd.receivable == 2_500_000_002_073_257
    assert usd.net == usd.receivable - 468_508
    assert (eur.in_flight, usd.in_transit) == (34_000, 350_000)


@given(st.sampled_from(SortBy), st.booleans(), st.permutations(scripted_ledger.peers()))
def test_the_order_is_the_same_whatever_order_the_engine_names_the_pairs_in(
    by: SortBy, falling: bool, views: list[PeerView]
) -> None:
    found = pairs.ordered(views, by, falling=falling)
    assert found == pairs.ordered(scripted_ledger.peers(), by, falling=falling)
    assert sorted(found, key=repr) == sorted(views, key=repr)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("", 9),
        ("net<0", 2),
        ("net>=0", 7),
        ("use>80", 4),
        ("use>80%", 4),
        ("use>=0", 8),  # no limit satisfies no comparison
        ("-use>=0", 1),
        ("peer:connector-a,relay-07", 2),
        ("peer!=connector-*", 6),
        ("token:EUR flight>0", 2),
        ("transit>0", 1),
        ("receivable>1,000,000", 1),
        ('"relay-07 USD"', 1),
    ],
)
def test_the_filter_finds(words: str, count: int) -> None:
    holds = pairs.parse(words)
    assert sum(holds(view) for view in scripted_ledger.peers()) == count


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("use>many", "'many' is no whole number"),
        ("net<1.5", "'1.5' is no whole number"),
        ("peer>3", "peer is a word"),
        ("limit<3", "no field 'limit'"),
        ('peer:"open', "a quote is opened and never closed"),
        ("-", "a minus needs something behind it"),
        ("usd peer:", "peer is a word: write peer:value (at character 5)"),
    ],
)
def test_a_filter_that_makes_no_sense_names_its_place(words: str, said: str) -> None:
    with pytest.raises(QueryError, match="at character") as error:
        pairs.parse(words)
    assert said in str(error.value)


@given(st.integers(-(2**130), 2**130), st.integers(9, 44), st.booleans())
def test_units_fit_and_are_whole_or_say_their_power_of_ten(
    amount: int, width: int, sign: bool
) -> None:
    shown = text.units(amount, width, sign=sign)
    if "…" in shown:
        assert shown.endswith(f"…e{len(str(abs(amount))) - 1}")
        assert len(f"{amount:+,}" if sign else f"{amount:,}") > width
    else:
        assert int(shown.replace(",", "")) == amount
        assert len(shown) <= width


@given(st.integers(0, 300), st.integers(1, 20))
def test_a_gauge_is_full_only_at_a_hundred_and_empty_only_at_nothing(
    percent: int, width: int
) -> None:
    drawn = text.gauge(percent, width)
    assert len(drawn) == width
    assert (drawn == "█" * width) == (percent >= 100 or (width == 1 and percent > 0))
    assert (drawn == "░" * width) == (percent == 0)


def test_the_ledgers_standing_is_a_word() -> None:
    ledger, trial = scripted_ledger.ledger(), scripted_ledger.trial()
    edit = msgspec.structs.replace
    moving = tuple(edit(v, confirmed=False) for v in scripted_ledger.unbalanced())
    assert ledger_words.standing(None, ()) is None
    for view, sums, said in (
        (ledger, trial, ""),
        (ledger, moving, ""),  # not confirmed: the next one tells
        (ledger, scripted_ledger.unbalanced(), "not balanced"),
        (edit(ledger, snapshot_failure="No space"), trial, "no snapshot"),
        (edit(ledger, ok=False), scripted_ledger.unbalanced(), "away"),
    ):
        found = ledger_words.standing(view, sums)
        assert found is not None
        assert found.said == said


def words(said: ledger_words.Words) -> str:
    return "".join(each for each, _ in said)


def test_durability_tells_the_journal_or_that_a_cluster_answers() -> None:
    ledger, edit = scripted_ledger.ledger(), msgspec.structs.replace
    said = words(ledger_words.durability(ledger, NOW_MS, text.UNICODE))
    assert said == "embedded ledger · journal 4.40MB · last fsync <10s ago · snapshot 10m ago"
    young = edit(ledger, last_snapshot_ms=0)
    assert words(ledger_words.durability(young, NOW_MS, text.UNICODE)).endswith("snapshot never")
    cluster = edit(ledger, backend="TigerBeetle (cluster: 0, replicas: 3000)", journal_bytes=0,
                   last_sync_ms=0, last_snapshot_ms=0)  # fmt: skip
    assert words(ledger_words.durability(cluster, NOW_MS, text.UNICODE)) == "TigerBeetle · answers"
    roomy = words(ledger_words.durability(cluster, NOW_MS, text.UNICODE, roomy=True))
    assert "cluster: 0, replicas: 3000" in roomy
    lost = edit(cluster, ok=False, reason="no answer within 5 s\x1b[2J")
    said = words(ledger_words.durability(lost, NOW_MS, text.UNICODE))
    assert said == "✗ the ledger is away: no answer within 5 s"


def custody(state: str, **changes: object) -> CustodyView:
    view = CustodyView(1, state, 9, Amount(5), Amount(7), Amount(-2), Amount(0), 3)
    return msgspec.structs.replace(view, **changes)


def test_custody_is_put_into_words_with_its_policy() -> None:
    kept = custody("unexplained", unexplained=Amount(-2))
    assert ledger_words.can_book(kept)
    assert ledger_words.custody_note(kept) == "kept until it is booked (strict)"
    seen = custody("unexplained", unexplained=Amount(-2), booked=True)
    assert not ledger_words.can_book(seen)
    assert ledger_words.custody_state(seen) == "booked"
    assert ledger_words.custody_note(seen) == "booked as it was seen (observe)"
    by_hand = custody("unexplained", booked=True, reason="refund")
    assert ledger_words.custody_note(by_hand) == "booked: refund"
    assert ledger_words.custody_note(custody("pending")) == "within the finality window"
    assert ledger_words.custody_sentence(kept, USDC) == (
        "unexplained: chain says 0.000005, ledger says 0.000007, difference -0.000002 USDC since "
        "block 3; kept until it is booked (strict)"
    )
    unread = CustodyView(1, "unread", 0, reason="429 too many requests")
    assert ledger_words.custody_sentence(unread, USDC) == "unread: 429 too many requests"


def test_the_most_urgent_difference_stands_first() -> None:
    views = [
        custody("pending", account=1),
        custody("unexplained", account=2, booked=True),
        custody("too large", account=3),
        custody("unexplained", account=4),
    ]
    assert [v.account for v in ledger_words.custody_order(views, 9)] == [4, 3, 2, 1]
    assert [v.account for v in ledger_words.custody_order(views, 2)] == [4, 3]
    assert ledger_words.custody_tone(views[3]) is Tone.PROBLEM
    assert words(ledger_words.custody_summary(views, text.UNICODE)) == (
        "✗ custody: 1 unexplained, 1 too large, 1 booked, 1 pending"
    )
