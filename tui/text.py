"""Every amount, delta, age, address, runway and state as text: how things look is decided here.

Amounts are integers in base units and become text by integer arithmetic alone: never rounded,
cut only with a mark that says so. Ages and runways move in coarse steps, so that a quiet desk
stays quiet on the wire. Text from outside passes `safe` and is never markup.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len

from core.api import BalanceView, ChainState, WalletView
from core.model import Asset, BursarError, Severity, WalletState

PLACES = 6
"""Decimal places a column shows unless it has room for more."""


class AmountFormatError(BursarError):
    """Text that is no amount of an asset; the message says why."""


# --- glyphs --------------------------------------------------------------------------------


class Glyphs(NamedTuple):
    """The signs of the desk, one cell each but `change` and `total` in ASCII; one set for
    Unicode, one for `--safe`."""

    cursor: str
    ok: str
    warning: str
    problem: str
    stale: str
    cut: str
    ascending: str
    descending: str
    full: str
    half: str
    empty: str
    change: str
    total: str
    dot: str
    bar: str


UNICODE = Glyphs("▸", "✓", "⚠", "✗", "~", "…", "↑", "↓", "●", "◐", "○", "Δ", "Σ", "·", "│")
ASCII = Glyphs(">", "+", "!", "x", "~", "+", "^", "v", "*", "/", "o", "+-", "sum", "-", "|")


def glyphs(ascii_only: bool) -> Glyphs:
    """The set to draw with; ASCII under `--safe`."""
    return ASCII if ascii_only else UNICODE


def severity_glyph(severity: Severity, signs: Glyphs = UNICODE) -> str:
    """One cell; OK is a space in rows, so that what is wrong stands out."""
    if severity is Severity.PROBLEM:
        return signs.problem
    return signs.warning if severity is Severity.WARNING else " "


def severity_words(severity: Severity, signs: Glyphs = UNICODE) -> str:
    """Glyph and word, e.g. `⚠ warning`: never colour alone."""
    glyph = signs.ok if severity is Severity.OK else severity_glyph(severity, signs)
    return f"{glyph} {severity.value}"


def wallet_state(state: WalletState) -> str:
    """A wallet's state as an operator reads it."""
    return state.value


def life(wallet: WalletView, state: WalletState, chain: str = "") -> str:
    """Since when and why an agent is out of service, and the path its address on `chain` was
    derived by; "" where there is nothing to say. `state` may be newer than the wallet's."""
    since = {
        WalletState.SUSPENDED: ("suspended", wallet.suspended_ms),
        WalletState.ARCHIVED: ("archived", wallet.archived_ms),
    }
    told = []
    if state is wallet.state and state in since:
        word, time_ms = since[state]
        told.append(f"{word} {moment(time_ms)[:16]}: {safe(wallet.reason)}")
    told += [f"path {each.path}" for each in wallet.addresses if each.chain == chain and each.path]
    return "   ".join(told)


def chain_glyph(state: str, signs: Glyphs = UNICODE) -> str:
    """One cell for a `ChainState.state`: full is live, half is late, hollow is not there."""
    if state == "live":
        return signs.full
    return signs.half if state in ("stale", "lagging") else signs.empty


def chain_words(chain: ChainState, now_ms: int) -> str:
    """`live`, `down`, `stale 2m`: a chain's state with the age of its newest reading."""
    if chain.state == "live" or not chain.swept_ms:
        return chain.state
    return f"{chain.state} {age(now_ms - chain.swept_ms)}"


# --- text from outside ---------------------------------------------------------------------

_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe(text: str) -> str:
    """Text from outside as one printable line.

    Escape sequences, control and format characters (bidirectional overrides, zero-width and
    tag characters), surrogates and variation selectors are taken out; line breaks and tabs
    become spaces. What is left occupies the cells it seems to.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _SEQUENCE.sub("", text)
    kept: list[str] = []
    for char in text:
        if char in "\n\r\t\v\f\u2028\u2029\x85":
            kept.append(" ")
        elif "\ufe00" <= char <= "\ufe0f" or unicodedata.category(char) in _DROPPED:
            continue
        else:
            kept.append(" " if char.isspace() else char)
    return "".join(kept)


def cells(text: str) -> int:
    """Terminal cells the text occupies (wide characters count two)."""
    return len(text) if text.isascii() else cell_len(text)


def clip(text: str, width: int, cut: str = UNICODE.cut) -> str:
    """The text in at most `width` cells; what was cut off leaves a mark."""
    if cells(text) <= width:
        return text
    room = width - cells(cut)
    if room < 0:
        return ""
    return _head(text, room) + cut


def fit(text: str, width: int, *, right: bool = False, cut: str = UNICODE.cut) -> str:
    """The text in exactly `width` cells: clipped, or padded on the left if `right`."""
    size = cells(text)
    if size > width:
        text = clip(text, width, cut)
        size = cells(text)
    pad = " " * (width - size)
    return pad + text if right else text + pad


def elide(text: str, width: int, cut: str = UNICODE.cut) -> str:
    """The text in at most `width` cells with its middle left out: both ends of an address
    identify it, its beginning alone does not."""
    if cells(text) <= width:
        return text
    room = width - cells(cut)
    if room < 2:
        return clip(text, width, cut)
    tail = room // 2
    return _head(text, room - tail) + cut + _head(text[::-1], tail)[::-1]


def _head(text: str, room: int) -> str:
    if text.isascii():
        return text[:room]
    used = 0
    for index, char in enumerate(text):
        used += cell_len(char)
        if used > room:
            return text[:index]
    return text


# --- amounts -------------------------------------------------------------------------------


def exact(amount: int, decimals: int, *, sign: bool = False) -> str:
    """Every digit, grouped: `1,204.000000`. `sign` also writes a plus."""
    whole, fraction = split(amount, decimals)
    return (
        _sign(amount, sign) + f"{whole:,}" + (f".{fraction:0{decimals}d}" if decimals > 0 else "")
    )


def plain(amount: int, decimals: int) -> str:
    """Every digit that matters, ungrouped, for files and for copying: `1204`, `0.000001`."""
    whole, fraction = split(amount, decimals)
    tail = f"{fraction:0{decimals}d}".rstrip("0") if decimals > 0 else ""
    return _sign(amount, False) + str(whole) + (f".{tail}" if tail else "")


def with_symbol(amount: int | None, asset: Asset) -> str:
    """`1,204.000000 XRP`; `unknown` where no chain ever stated a figure."""
    if amount is None:
        return "unknown"
    return f"{exact(amount, asset.decimals)} {safe(asset.symbol)}"


def split(amount: int, decimals: int) -> tuple[int, int]:
    """Whole and fraction of the absolute value, the fraction in base units."""
    return divmod(abs(amount), 10**decimals) if decimals > 0 else (abs(amount), 0)


def aligned(
    amount: int,
    decimals: int,
    width: int,
    places: int = PLACES,
    mark: str = "",
    cut: str = UNICODE.cut,
) -> str:
    """An amount in exactly `width` cells, its point where the column's other points stand.

    The last cell carries `mark` (a value that could not be read again) or `cut` where digits
    were left out; the `places + 1` cells before it are point and fraction. A whole part that
    does not fit takes the room of the fraction, and after that shows its leading digits and
    the power of ten: it can be cut, never mistaken for a smaller one.
    """
    whole, fraction = split(amount, decimals)
    text = _sign(amount, False) + f"{whole:,}"
    shown = min(places, decimals)
    lost = decimals > shown and fraction % 10 ** (decimals - shown) != 0
    if len(text) <= width - places - 2:
        tail = f".{fraction // 10 ** (decimals - shown):0{shown}d}" if shown > 0 else ""
        sign = mark or (cut if lost else " ")
        return text.rjust(width - places - 2) + tail.ljust(places + 1) + sign
    room = width - 1
    if len(text) <= room:
        digits = f"{fraction:0{decimals}d}"[: max(0, room - len(text) - 1)] if decimals > 0 else ""
        lost = fraction != 0 and int(digits or "0") * 10 ** (decimals - len(digits)) != fraction
        tail = f".{digits}" if digits else ""
        return (text + tail).rjust(room) + (mark or (cut if lost else " "))
    return _scientific(_sign(amount, False), whole, room, cut).rjust(room) + (mark or " ")


def delta(amount: int | None, decimals: int, width: int = 12, cut: str = UNICODE.cut) -> str:
    """A change with its sign: `+0.00`, `-12.40`, `+0.000012`; `-` where the past is not known.

    At least two places, and as many as it takes to see two digits that are not zero; digits
    left out beyond those or beyond `width` cells leave a mark.
    """
    if amount is None:
        return "-"
    whole, fraction = split(amount, decimals)
    tail = f"{fraction:0{decimals}d}".rstrip("0") if decimals > 0 else ""
    zeros = len(tail) - len(tail.lstrip("0")) if whole == 0 else 0
    shown = tail[: zeros + 2].ljust(min(2, decimals), "0")
    head = _sign(amount, True) + f"{whole:,}"
    text = head + (f".{shown}" if shown else "") + (cut if len(tail) > len(shown) else "")
    if len(text) <= width:
        return text
    if len(head) + 1 <= width:
        return text[: width - 1].rstrip(".") + cut
    return _scientific(_sign(amount, True), whole, width, cut)


def total(amount: int, decimals: int, cut: str = "") -> str:
    """A fleet's sum for a headline: `4,182,330`, `81.2`, `0.000012`: cut, never rounded.

    From a thousand on no places, from one on one, below that as many as `PLACES`.
    """
    whole, fraction = split(amount, decimals)
    shown = min(decimals, 0 if whole >= 1_000 else 1 if whole >= 1 else PLACES)
    digits = f"{fraction:0{decimals}d}"[:shown] if shown > 0 else ""
    digits = digits.rstrip("0") if whole < 1 else digits
    lost = fraction != int((digits or "0").ljust(decimals, "0")) if decimals > 0 else False
    text = _sign(amount, False) + f"{whole:,}" + (f".{digits}" if digits else "")
    return text + (cut if lost else "")


def axis_label(amount: int, decimals: int, step: int) -> str:
    """An amount beside an axis whose ticks are `step` base units apart: exact, with no more
    places than the step needs."""
    places = decimals
    while places > 0 and step % 10 == 0 and amount % 10 ** (decimals - places + 1) == 0:
        places -= 1
        step //= 10
    whole, fraction = split(amount, decimals)
    tail = f".{fraction // 10 ** (decimals - places):0{places}d}" if places > 0 else ""
    return _sign(amount, False) + f"{whole:,}{tail}"


_SI = ("", "k", "M", "G", "T", "P", "E")


def compact(amount: int, decimals: int) -> str:
    """Three digits and an SI prefix, for totals in a narrow place: `4.18M`. Cut, not rounded."""
    whole, _ = split(amount, decimals)
    if whole < 1_000:
        return total(amount, decimals)
    power = min((len(str(whole)) - 1) // 3, len(_SI) - 1)
    lead, rest = divmod(whole, 1_000**power)
    places = max(0, 3 - len(str(lead)))
    digits = f"{rest:0{3 * power}d}"[:places]
    return _sign(amount, False) + f"{lead:,}" + (f".{digits}" if digits else "") + _SI[power]


def units(amount: int, width: int, *, sign: bool = False, cut: str = UNICODE.cut) -> str:
    """Base units of a ledger token in at most `width` cells: grouped and whole, or its leading
    digits and the power of ten; never a number that could be read as a smaller one."""
    shown = exact(amount, 0, sign=sign)
    return (
        shown if len(shown) <= width else _scientific(_sign(amount, sign), abs(amount), width, cut)
    )


def gauge(percent: int, width: int, signs: Glyphs = UNICODE) -> str:
    """A bar of `width` cells for 0 to 100 percent: full only at 100, empty only at 0."""
    full = min(width, max(0, percent) * width // 100)
    if percent > 0 and not full:
        full = 1
    mark, rest = ("#", "-") if signs is ASCII else ("█", "░")
    return mark * full + rest * (width - full)


_AMOUNT = re.compile(r"([+-]?)(\d[\d,_]*|(?=\.\d))(?:\.(\d+))?$")


def parse_amount(text: str, decimals: int) -> int:
    """Base units of an amount as a person writes it; the inverse of `exact` and `plain`.

    Raises AmountFormatError where the text is no number or finer than the asset.
    """
    match = _AMOUNT.match(text.strip())
    if match is None:
        raise AmountFormatError(f"{safe(text)!r} is not an amount: write it like 1,204.50")
    sign, whole, fraction = match[1], re.sub("[,_]", "", match[2]) or "0", match[3] or ""
    if len(fraction.rstrip("0")) > decimals:
        raise AmountFormatError(
            f"{safe(text)!r} has more decimal places than the asset's {decimals}"
        )
    units: int = int(whole) * 10**decimals + int(fraction[:decimals].ljust(decimals, "0") or "0")
    return -units if sign == "-" else units


def _sign(amount: int, plus: bool) -> str:
    return "-" if amount < 0 else "+" if plus else ""


def _scientific(sign: str, whole: int, width: int, cut: str) -> str:
    """Leading digits, the cut and the power of ten: `1.1579…e77`."""
    digits = str(whole)
    power = f"{cut}e{len(digits) - 1}"
    lead = digits[: max(2, width - len(power) - 2)]
    return f"{sign}{lead[0]}.{lead[1:]}{power}"


# --- time ----------------------------------------------------------------------------------


def age(elapsed_ms: int) -> str:
    """How long ago, in steps coarse enough that a row rarely changes: `<10s`, `40s`, `2m`,
    `35m`, `3h`, `12d`."""
    seconds = max(0, elapsed_ms) // 1000
    if seconds < 10:
        return "<10s"
    if seconds < 60:
        return f"{seconds // 10 * 10}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m"
    if minutes < 60:
        return f"{minutes // 5 * 5}m"
    hours = minutes // 60
    return f"{hours}h" if hours < 48 else f"{hours // 24:,}d"


def checked(checked_ms: int, now_ms: int, interval_ms: int) -> str:
    """When a row was last checked: `never`, `live` for two intervals, then its age."""
    if not checked_ms:
        return "never"
    elapsed = now_ms - checked_ms
    return "live" if elapsed < 2 * interval_ms else age(elapsed)


def duration(seconds: int) -> str:
    """A span in one or two units, rounded down in coarse steps: `<1m`, `45m`, `3h50m`,
    `2d4h`, `45d`, `>999d`."""
    minutes = max(0, seconds) // 60
    if minutes < 1:
        return "<1m"
    if minutes < 60:
        return f"{minutes if minutes < 10 else minutes // 5 * 5}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes // 10 * 10:02d}m"
    days, hours = divmod(hours, 24)
    if days < 7:
        return f"{days}d{hours}h"
    return f"{days}d" if days <= 999 else ">999d"


def runway(view: BalanceView) -> str:
    """Time until the floor at the present rate: `empty`, `floor`, `3h50m`, `3h50m?` where the
    rate is hardly known, `-` where the balance does not fall."""
    if view.amount == 0:
        return "empty"
    if view.runway_s is None:
        return "-"
    if view.runway_s <= 0:
        return "floor"
    return duration(view.runway_s) + ("?" if view.runway_sure == "low" else "")


def clock(time_ms: int) -> str:
    """`12:04` in UTC: the clock of the status bar, which moves once a minute."""
    return _utc(time_ms).strftime("%H:%M")


def moment(time_ms: int) -> str:
    """`2026-11-20 12:04:11` in UTC."""
    return _utc(time_ms).strftime("%Y-%m-%d %H:%M:%S")


def tick_label(time_ms: int, span_ms: int) -> str:
    """An axis label in UTC fit for the range shown: `12:04`, or `11-20` beyond two days."""
    return _utc(time_ms).strftime("%H:%M" if span_ms <= 2 * 86_400_000 else "%m-%d")


def _utc(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms // 1000, UTC)


# --- rows ----------------------------------------------------------------------------------


def count(number: int) -> str:
    """`10,214`."""
    return f"{number:,}"


def size(count: int) -> str:
    """Bytes with an SI prefix, three digits, cut: `812B`, `4.40MB`."""
    return f"{compact(count, 0)}B"


def reason(view: BalanceView, checked_ms: int, now_ms: int) -> str:
    """Why a row is not all right, in words for a detail pane; "" where it is.

    A value that could not be read again says how old it is and what the chain or the
    endpoint answered.
    """
    parts = [safe(view.problem)] if view.problem else []
    if view.error:
        since = f"last read {age(now_ms - checked_ms)} ago" if checked_ms else "never read"
        parts.append(f"{since}: {safe(view.error)}")
    if view.mark:
        parts.append(safe(view.mark))
    return " · ".join(parts)


@lru_cache(maxsize=4096)
def symbol(raw: str) -> str:
    """An asset's symbol, made safe; XRPL's 40 hex digits become their letters where they can."""
    if len(raw) == 40 and not raw.startswith("00"):
        try:
            letters = bytes.fromhex(raw).rstrip(b"\0").decode("ascii")
        except (ValueError, UnicodeDecodeError):
            return safe(raw)
        if letters.isprintable():
            return letters
    return safe(raw)
