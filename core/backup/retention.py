"""Which archives may go: a pure function; deleting is the caller's.

An archive stays for any one reason to keep it, and then everything it is built upon stays too.
The newest verified full is never among those to go, whatever the rules say.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import msgspec

from core.backup.catalogue import Catalogue, Entry
from core.backup.header import BackupType
from core.config.backup_checks import zone_of

_DAY_MS = 86_400_000


class Retention(msgspec.Struct, frozen=True):
    """Rules; 0 turns one off. `daily`, `weekly`, `monthly` keep the newest archive of that many
    latest days, weeks (ISO) and months that have one."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    incremental_days: int = 30
    full_days: int = 365


class Verdict(msgspec.Struct, frozen=True):
    """One archive, why it stays; it goes where there is no reason."""

    entry: Entry
    reasons: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Whether any reason holds."""
        return bool(self.reasons)


def plan(catalogue: Catalogue, rules: Retention, now_ms: int, timezone: str) -> list[Verdict]:
    """A verdict on every archive, newest first: what a dry run shows."""
    newest_first = list(catalogue)
    reasons: dict[str, list[str]] = {entry.id: [] for entry in newest_first}
    for entry in newest_first[: rules.last]:
        reasons[entry.id].append(f"one of the last {rules.last}")
    zone = zone_of(timezone)
    for word, count, form in (
        ("day", rules.daily, "%Y-%m-%d"),
        ("week", rules.weekly, "%G-W%V"),
        ("month", rules.monthly, "%Y-%m"),
    ):
        for period, entry in _newest_of_each(newest_first, form, zone, count):
            reasons[entry.id].append(f"newest of {word} {period}")
    for entry in newest_first:
        is_full = entry.type is BackupType.FULL
        days = rules.full_days if is_full else rules.incremental_days
        if days and now_ms - entry.created_ms <= days * _DAY_MS:
            reasons[entry.id].append(f"not {days} days old")
        if any(not copy.is_there for copy in entry.copies.values()):
            reasons[entry.id].append("still to be sent")
    _protect(catalogue, newest_first, reasons)
    return [Verdict(entry, tuple(reasons[entry.id])) for entry in newest_first]


def _newest_of_each(
    newest_first: list[Entry], form: str, zone: tzinfo, count: int
) -> list[tuple[str, Entry]]:
    periods: dict[str, Entry] = {}
    for entry in newest_first:
        moment = datetime.fromtimestamp(entry.created_ms / 1000, UTC).astimezone(zone)
        periods.setdefault(moment.strftime(form), entry)
    return sorted(periods.items(), reverse=True)[:count]


def _protect(
    catalogue: Catalogue, newest_first: list[Entry], reasons: dict[str, list[str]]
) -> None:
    """Reasons that no rule can take away."""
    fulls = [entry for entry in newest_first if entry.type is BackupType.FULL]
    verified = next((entry for entry in fulls if entry.verified_ms), None)
    if verified is not None:
        reasons[verified.id].append("newest verified full")
    if newest_first:
        reasons[newest_first[0].id].append("newest")
    for entry in newest_first:  # a child comes before its parents
        seen = {entry.id}
        parent = entry.parent_id if reasons[entry.id] else None
        # Not by `chain_of`: of a broken chain, too, what is left must stay.
        while parent is not None and parent not in seen and (above := catalogue.get(parent)):
            seen.add(parent)
            reasons[parent].append(f"{entry.id} is built upon it")
            parent = above.parent_id
