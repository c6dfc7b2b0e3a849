"""One row as a desk shows it: figures from the book, past from the trend, and how loud it is.

Pure: everything it looks at is passed in, the time included.
"""

from __future__ import annotations

import msgspec

from core.api import BalanceView
from core.balances.book import ChainBook
from core.balances.severity import Standing, judge
from core.balances.trend import DAY_MS, HOUR_MS, Point, Trend, burn, value_at
from core.model import Amount, Asset, as_amount


class ProblemRules(msgspec.Struct, frozen=True):
    """When a row is loud and a chain lags. `runway_s`: a shorter runway is a warning;
    `unread_intervals` without a reading are a problem; a head that stands still or is older than
    `lag_after_ms` lags."""

    runway_s: int = 24 * 3600
    unread_intervals: int = 5
    lag_after_ms: int = 120_000


def build_view(
    book: ChainBook,
    row: int,
    asset: Asset,
    limits: tuple[Amount | None, Amount | None],
    trend: Trend | None,
    rules: ProblemRules,
    unread_intervals: int,
    now_ms: int,
    kept: BalanceView | None,
) -> BalanceView:
    """The view of a row as of `now_ms`. `limits` are floor and target; `kept` is the view shown
    until now, if there is one."""
    account = book.accounts[row]
    amount, reserved = book.amounts[row], book.reserved.get(row, 0)
    floor, target = limits
    if trend is None:
        change_1h = _still(book, row, now_ms - HOUR_MS)
        change_24h = _still(book, row, now_ms - DAY_MS)
        runway_s, sure = None, ""
    else:
        points = trend.points
        change_1h = _change(points, amount, now_ms - HOUR_MS)
        change_24h = _change(points, amount, now_ms - DAY_MS)
        runway_s, sure = _runway(points, amount, reserved, floor or 0, now_ms, kept)
    error, error_ms = book.faults.get(row, ("", 0))
    severity, problem = judge(
        Standing(
            amount=amount,
            reserved=reserved,
            floor=floor,
            is_native=asset.is_native,
            unread_intervals=unread_intervals,
            unread_limit=rules.unread_intervals,
            runway_s=runway_s,
            runway_sure=sure,
            runway_warning_s=rules.runway_s,
        )
    )
    return BalanceView(
        account=account.id,
        agent=account.agent,
        chain=account.chain,
        asset=account.asset,
        address=account.address,
        amount=None if amount is None else as_amount(amount),
        mark=book.marks.get(row, ""),
        reserved=as_amount(reserved),
        block=book.blocks[row],
        first_seen_ms=book.first_seen_ms[row],
        changed_ms=book.changed_ms[row],
        checked_ms=book.checked_ms[row],
        error=error,
        error_ms=error_ms,
        errors=book.errors[row],
        severity=severity,
        problem=problem,
        floor=floor,
        target=target,
        change_1h=change_1h,
        change_24h=change_24h,
        runway_s=runway_s,
        runway_sure=sure,
    )


def _still(book: ChainBook, row: int, since_ms: int) -> Amount | None:
    """The change of a row without a trend: nothing, as far back as its last change."""
    known = book.amounts[row] is not None and book.changed_ms[row] <= since_ms
    return as_amount(0) if known else None


def _change(points: list[Point], amount: int | None, since_ms: int) -> Amount | None:
    past = value_at(points, since_ms)
    return None if amount is None or past is None else as_amount(amount - past)


def _runway(
    points: list[Point],
    amount: int | None,
    reserved: int,
    floor: int,
    now_ms: int,
    kept: BalanceView | None,
) -> tuple[int | None, str]:
    """Seconds to the floor (zero without one) and how sure. Between two changes of the balance
    the figure shown stands until it is off by a sixteenth, so that time alone repaints little."""
    rate = burn(points, now_ms) if amount is not None else None
    if rate is None or amount is None:
        return None, ""
    runway_s = rate.runway_s(amount - reserved - floor)
    shown = kept.runway_s if kept is not None and kept.runway_sure == rate.sure else None
    if shown is not None and abs(shown - runway_s) * 16 <= shown:
        return shown, rate.sure
    return runway_s, rate.sure
