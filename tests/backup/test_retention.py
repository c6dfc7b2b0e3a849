"""What may be deleted, and above all what may not."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from core.backup.catalogue import Catalogue, Copy, CopyState, Entry
from core.backup.header import BackupType
from core.backup.retention import Retention, plan
from tests.clock import START_MS

FULL, INCREMENTAL = BackupType.FULL, BackupType.INCREMENTAL
DAY = 86_400_000
NOTHING = Retention(incremental_days=0, full_days=0)


def archive(
    sequence: int, days_ago: float, parent: int | None = None, *, verified: bool = False
) -> Entry:
    return Entry(
        id=f"id-{sequence}",
        install_id="i",
        type=INCREMENTAL if parent else FULL,
        sequence=sequence,
        created_ms=START_MS - round(days_ago * DAY),
        parent_id=f"id-{parent}" if parent else None,
        parent_sha256=f"c-{parent}" if parent else None,
        wallet_count=1,
        seed_fingerprint=None,
        sha256=f"s-{sequence}",
        content_sha256=f"c-{sequence}",
        size=1,
        copies={"disk": Copy(state=CopyState.STORED)},
        durable_ms=1,
        verified_ms=1 if verified else 0,
    )


def kept(entries: list[Entry], rules: Retention, zone: str = "UTC") -> list[int]:
    verdicts = plan(Catalogue(entries), rules, START_MS, zone)
    return [verdict.entry.sequence for verdict in verdicts if verdict.stays]


def test_the_last_days_weeks_and_months_are_kept() -> None:
    entries = [archive(100 - day, day + 0.1) for day in range(100)]
    assert kept(entries, msgspec.structs.replace(NOTHING, last=3)) == [100, 99, 98]
    assert kept(entries, msgspec.structs.replace(NOTHING, daily=2)) == [100, 99]
    # START_MS is Thursday 28 May 2026: Sundays are 4, 11 days ago; April ends 28 days ago.
    assert kept(entries, msgspec.structs.replace(NOTHING, weekly=3)) == [100, 96, 89]
    assert kept(entries, msgspec.structs.replace(NOTHING, monthly=3)) == [100, 72, 42]


def test_by_default_incrementals_go_after_thirty_days_and_fulls_after_a_year() -> None:
    entries = [
        archive(1, 400), archive(2, 366), archive(3, 364), archive(4, 31, 3), archive(5, 29, 4),
        archive(6, 40, 2), archive(7, 1),
    ]  # fmt: skip
    # 4 is old, but 5 is built upon it; 6 is old, and so 2 may go.
    assert kept(entries, Retention()) == [7, 5, 4, 3]


def test_a_day_is_a_day_of_the_time_zone() -> None:
    # START_MS is 20:26:40 UTC, 05:26:40 of the next day in Tokyo.
    entries = [archive(1, 0.3), archive(2, 0.2)]
    one_day = msgspec.structs.replace(NOTHING, daily=2)
    assert kept(entries, one_day) == [2]
    assert kept(entries, one_day, "Asia/Tokyo") == [2, 1]


def test_the_newest_verified_full_stays_whatever_the_rules_say() -> None:
    entries = [archive(1, 900, verified=True), archive(2, 800, verified=True), archive(3, 700),
               archive(4, 600, 3)]  # fmt: skip
    assert kept(entries, NOTHING) == [4, 3, 2]


def test_an_archive_that_is_still_to_be_sent_stays() -> None:
    waiting = archive(1, 900).with_copy("cloud", Copy())
    assert kept([waiting, archive(2, 1)], NOTHING) == [2, 1]


def test_of_a_broken_chain_what_is_left_stays() -> None:
    entries = [archive(2, 50, 1), archive(3, 40, 2), archive(4, 1, 3)]
    assert kept(entries, NOTHING) == [4, 3, 2]


def test_a_verdict_says_why() -> None:
    verdicts = plan(Catalogue([archive(1, 40), archive(2, 40, 1)]), Retention(), START_MS, "UTC")
    assert [verdict.reasons for verdict in verdicts] == [
        ("newest",),
        ("not 365 days old", "id-2 is built upon it"),
    ]
    assert plan(Catalogue(), Retention(), START_MS, "UTC") == []


histories = st.lists(
    st.tuples(st.booleans(), st.integers(0, 800), st.booleans()), min_size=1, max_size=30
)
rules = st.builds(
    Retention,
    last=st.integers(0, 3),
    daily=st.integers(0, 3),
    weekly=st.integers(0, 3),
    monthly=st.integers(0, 3),
    incremental_days=st.integers(0, 400),
    full_days=st.integers(0, 800),
)


@settings(max_examples=200, deadline=None)
@given(histories, rules)
def test_no_rule_ever_deletes_a_parent_or_the_newest_verified_full(
    history: list[tuple[bool, int, bool]], chosen: Retention
) -> None:
    entries: list[Entry] = []
    for number, (is_full, days_ago, verified) in enumerate(history, 1):
        parent = None if is_full or not entries else entries[-1].sequence
        entries.append(archive(number, days_ago, parent, verified=verified))
    stays = set(kept(entries, chosen))
    assert stays
    for entry in entries:
        if entry.sequence in stays and entry.parent_id is not None:
            assert int(entry.parent_id.removeprefix("id-")) in stays
    verified_fulls = [e.sequence for e in entries if e.type is FULL and e.verified_ms]
    assert not verified_fulls or max(verified_fulls) in stays
