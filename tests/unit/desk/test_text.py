"""What figures, ages and words from outside look like."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from core.api import BalanceView, ChainState
from core.model import Amount, Asset, ChainKind, Severity
from tui import text

amounts = st.integers(min_value=-(2**256), max_value=2**256)
decimals = st.integers(min_value=0, max_value=77)
VIEW = BalanceView(1, "a", "base", 1, "0x1", amount=Amount(5))


@given(amounts, decimals)
def test_an_exact_amount_reads_back_to_the_same_base_units(amount: int, places: int) -> None:
    assert text.parse_amount(text.exact(amount, places), places) == amount
    assert text.parse_amount(text.exact(amount, places, sign=True), places) == amount
    assert text.parse_amount(text.plain(amount, places), places) == amount


@pytest.mark.parametrize(
    ("amount", "places", "shown"),
    [
        (1_204_000_000, 6, "1,204.000000"),
        (0, 6, "0.000000"),
        (-1, 6, "-0.000001"),
        (7, 0, "7"),
        (2**256 - 1, 0, f"{2**256 - 1:,}"),
        (1, 18, "0.000000000000000001"),
    ],
)
def test_an_exact_amount_has_every_digit_and_is_grouped(
    amount: int, places: int, shown: str
) -> None:
    assert text.exact(amount, places) == shown


@pytest.mark.parametrize("wrong", ["", ".", "1.2.3", "ten", "1e5", "--1", "NaN", "0x10"])
def test_what_is_no_amount_is_refused(wrong: str) -> None:
    with pytest.raises(text.AmountFormatError):
        text.parse_amount(wrong, 6)


def test_an_amount_finer_than_the_asset_is_refused_and_never_cut() -> None:
    with pytest.raises(text.AmountFormatError, match="more decimal places"):
        text.parse_amount("0.0000001", 6)
    assert text.parse_amount("0.1000000", 6) == 100_000


@given(amounts, decimals, st.integers(min_value=14, max_value=40))
def test_an_aligned_amount_is_exactly_as_wide_as_its_column(
    amount: int, places: int, width: int
) -> None:
    assert cell_len(text.aligned(amount, places, width)) == width


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(0, 18)),
        min_size=2,
        max_size=6,
    )
)
def test_points_of_a_column_stand_in_one_line(rows: list[tuple[int, int]]) -> None:
    shown = [text.aligned(amount % 10 ** (decimals + 7), decimals, 18) for amount, decimals in rows]
    assert {cell.index(".") for cell in shown if "." in cell} <= {10}


@given(amounts, decimals)
def test_digits_that_are_cut_always_leave_a_mark(amount: int, places: int) -> None:
    cell = text.aligned(amount, places, 18)
    if cell[-1] == " " and "…" not in cell:
        assert text.parse_amount(cell.strip(), places) == amount


def test_a_cut_amount_is_cut_and_not_rounded() -> None:
    assert text.aligned(1_999_999_999_999_999_999, 18, 18) == "         1.999999…"


def test_a_value_that_could_not_be_read_carries_its_mark_in_the_last_cell() -> None:
    assert text.aligned(990_100_000, 6, 18, mark="~") == "       990.100000~"


def test_the_largest_uint256_shows_leading_digits_and_the_power_of_ten() -> None:
    assert text.aligned(2**256 - 1, 0, 18) == " 1.1579208923…e77 "


@pytest.mark.parametrize(
    ("amount", "places", "shown"),
    [
        (0, 6, "+0.00"),
        (-12_400_000, 6, "-12.40"),
        (-3_200_000, 6, "-3.20"),
        (12, 6, "+0.000012"),
        (714_285, 6, "+0.71…"),
        (1_204_500_001, 6, "+1,204.50…"),
        (5, 0, "+5"),
        (None, 6, "-"),
    ],
)
def test_a_change_shows_its_sign_and_two_digits_that_matter(
    amount: int | None, places: int, shown: str
) -> None:
    assert text.delta(amount, places) == shown


@given(amounts, decimals, st.integers(min_value=8, max_value=14))
def test_a_change_fits_its_column_and_keeps_its_sign(amount: int, places: int, width: int) -> None:
    shown = text.delta(amount, places, width)
    assert cell_len(shown) <= width
    assert shown[0] == ("-" if amount < 0 else "+")


@pytest.mark.parametrize(
    ("amount", "places", "shown", "short"),
    [
        (4_182_330_987_654, 6, "4,182,330", "4.18M"),
        (81_250_000_000_000_000_000, 18, "81.2", "81.2"),
        (12, 6, "0.000012", "0.000012"),
        (999_999_999, 6, "999.9", "999.9"),
        (0, 6, "0", "0"),
        (12_345, 0, "12,345", "12.3k"),
    ],
)
def test_totals_are_cut_to_what_a_headline_needs(
    amount: int, places: int, shown: str, short: str
) -> None:
    assert text.total(amount, places) == shown
    assert text.compact(amount, places) == short


@pytest.mark.parametrize(
    ("amount", "step", "shown"),
    [
        (40_000_000, 20_000_000, "40"),
        (40_500_000, 500_000, "40.5"),
        (-1_250_000, 250_000, "-1.25"),
        (3, 1, "0.000003"),
        (0, 10_000_000, "0"),
    ],
)
def test_an_axis_label_is_exact_and_no_longer_than_its_step(
    amount: int, step: int, shown: str
) -> None:
    assert text.axis_label(amount, 6, step) == shown


@given(st.integers(-(10**12), 10**12), st.integers(0, 9))
def test_an_axis_label_reads_back_to_the_same_base_units(times: int, power: int) -> None:
    step = 10**power
    assert text.parse_amount(text.axis_label(times * step, 6, step), 6) == times * step


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<10s"),
        (9, "<10s"),
        (49, "40s"),
        (60, "1m"),
        (599, "9m"),
        (59 * 60, "55m"),
        (3_600, "1h"),
        (47 * 3_600, "47h"),
        (48 * 3_600, "2d"),
    ],
)
def test_ages_move_in_coarse_steps(seconds: int, shown: str) -> None:
    assert text.age(seconds * 1000) == shown


def test_an_age_appears_only_after_two_intervals() -> None:
    now = 1_000_000
    assert text.checked(0, now, 30_000) == "never"
    assert text.checked(now - 59_999, now, 30_000) == "live"
    assert text.checked(now - 60_000, now, 30_000) == "1m"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (13_859, "3h50m"),
        (59, "<1m"),
        (47 * 60, "45m"),
        (2 * 86_400 + 4 * 3_600, "2d4h"),
        (30 * 86_400, "30d"),
        (10**9, ">999d"),
    ],
)
def test_a_runway_is_told_in_one_or_two_units(seconds: int, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_a_runway_says_empty_floor_unsure_or_nothing() -> None:
    edit = msgspec.structs.replace
    assert text.runway(edit(VIEW, amount=Amount(0), runway_s=0)) == "empty"
    assert text.runway(edit(VIEW, runway_s=0)) == "floor"
    assert text.runway(edit(VIEW, runway_s=None)) == "-"
    assert text.runway(edit(VIEW, runway_s=7_200, runway_sure="low")) == "2h00m?"


def test_severity_is_told_by_glyph_and_word() -> None:
    assert text.severity_words(Severity.PROBLEM) == "✗ problem"
    assert text.severity_words(Severity.OK, text.ASCII) == "+ ok"
    assert text.severity_glyph(Severity.OK) == " "


def test_a_stale_chain_says_how_old_its_newest_reading_is() -> None:
    chain = ChainState("tron", ChainKind.TRON, "stale", swept_ms=1_000)
    assert text.chain_words(chain, 121_000) == "stale 2m"
    assert text.chain_glyph("live") == "●"
    assert text.chain_glyph("down", text.ASCII) == "o"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("[red]agent[/red]", "[red]agent[/red]"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]52;c;ZXZpbA==\x07copied", "copied"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("line\nbreak\ttab\r", "line break tab "),
        ("bell\x07\x00", "bell"),
        ("lone\ud800", "lone"),
        ("代理", "代理"),
    ],
)
def test_text_from_outside_loses_whatever_could_steer_a_terminal(hostile: str, shown: str) -> None:
    assert text.safe(hostile) == shown


@given(st.text())
def test_safe_text_is_printable_one_line_and_stays_what_it_is(raw: str) -> None:
    clean = text.safe(raw)
    assert all(char.isprintable() for char in clean)
    assert text.safe(clean) == clean


@given(st.text(), st.integers(min_value=1, max_value=30), st.booleans())
def test_fitted_text_has_exactly_the_cells_it_was_given(raw: str, width: int, right: bool) -> None:
    assert cell_len(text.fit(text.safe(raw), width, right=right)) == width


@given(st.text(), st.integers(min_value=1, max_value=30))
def test_clipped_and_elided_text_never_exceeds_its_cells(raw: str, width: int) -> None:
    clean = text.safe(raw)
    assert cell_len(text.clip(clean, width)) <= width
    assert cell_len(text.elide(clean, width)) <= width


def test_an_elided_address_keeps_both_ends() -> None:
    address = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
    assert text.elide(address, 15) == "0x83358…dA02913"
    assert text.elide(address, 42) == address


def test_wide_characters_count_two_cells() -> None:
    assert text.fit("代理人", 5) == "代理…"
    assert text.fit("代理人", 4) == "代… "


def test_a_reason_says_how_old_the_figure_is_and_what_was_answered() -> None:
    view = msgspec.structs.replace(
        VIEW, error="429\x1b[31m too many", problem="not read for 2m", mark="not activated"
    )
    assert text.reason(view, 1_000, 121_000) == (
        "not read for 2m · last read 2m ago: 429 too many · not activated"
    )
    assert text.reason(VIEW, 1_000, 121_000) == ""


def test_a_symbol_in_hex_becomes_letters_where_it_can() -> None:
    assert text.symbol("524C555344000000000000000000000000000000") == "RLUSD"
    assert text.symbol("FF4C555344000000000000000000000000000000").startswith("FF4C")
    assert text.symbol("US\x1b[1mDC") == "USDC"


def test_moments_are_told_in_utc() -> None:
    assert text.moment(1_795_176_251_000) == "2026-11-20 12:04:11"
    assert text.clock(1_795_176_251_000) == "12:04"
    assert text.tick_label(1_795_176_251_000, 7 * 86_400_000) == "11-20"


def test_an_unknown_amount_is_never_zero() -> None:
    asset = Asset(1, "base", "USDC", "USD Coin", 6)
    assert text.with_symbol(None, asset) == "unknown"
    assert text.with_symbol(0, asset) == "0.000000 USDC"
