"""When a backup is due, over missed slots, changes of the hour, and clocks that jump."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from core.backup.errors import ScheduleError
from core.backup.header import BackupType
from core.backup.schedule import (
    Due,
    Past,
    Schedule,
    decide,
    next_run,
    next_slot,
    previous_slot,
)

FULL, INCREMENTAL = BackupType.FULL, BackupType.INCREMENTAL
PLAIN = Schedule(jitter_ms=0)
HOUR, DAY = 3_600_000, 86_400_000


def at(text: str, zone: str = "UTC") -> int:
    """Local time as ms; a trailing `*` means the second of two equal hours."""
    moment = datetime.fromisoformat(text.rstrip("*")).replace(
        tzinfo=ZoneInfo(zone), fold=int(text.endswith("*"))
    )
    return round(moment.timestamp() * 1000)


SUNDAY = at("2026-11-15T00:00")  # a Sunday, a slot of both


def test_the_weekly_full_falls_on_sunday() -> None:
    assert previous_slot("0 0 * * 0", "UTC", at("2026-11-20T12:00")) == SUNDAY
    assert next_slot("0 0 * * 0", "UTC", SUNDAY) == SUNDAY + 7 * DAY


def test_with_no_backup_yet_a_full_is_due_at_once() -> None:
    assert decide(PLAIN, Past(), "i", at("2026-11-18T15:00")) == Due(FULL, SUNDAY)


def test_where_both_are_due_the_full_is_made_and_stands_for_both() -> None:
    past = Past(full_ms=SUNDAY - 7 * DAY, incremental_ms=SUNDAY - DAY)
    assert decide(PLAIN, past, "i", SUNDAY) == Due(FULL, SUNDAY)
    assert decide(PLAIN, Past(full_ms=SUNDAY + 1), "i", SUNDAY + 2) is None


def test_a_slot_counts_from_its_very_millisecond() -> None:
    past = Past(full_ms=SUNDAY)
    monday = SUNDAY + DAY
    assert decide(PLAIN, past, "i", monday - 1) is None
    assert decide(PLAIN, past, "i", monday) == Due(INCREMENTAL, monday)


def test_many_missed_slots_are_made_up_for_once() -> None:
    past = Past(full_ms=SUNDAY)
    now = SUNDAY + 5 * DAY + HOUR
    assert decide(PLAIN, past, "i", now) == Due(INCREMENTAL, SUNDAY + 5 * DAY)
    after = Past(full_ms=SUNDAY, incremental_ms=now + 1000)
    assert decide(PLAIN, after, "i", now + 2000) is None
    assert decide(PLAIN, after, "i", SUNDAY + 6 * DAY) == Due(INCREMENTAL, SUNDAY + 6 * DAY)


def test_a_missed_full_goes_before_missed_incrementals() -> None:
    past = Past(full_ms=SUNDAY - 7 * DAY, incremental_ms=SUNDAY - DAY)
    assert decide(PLAIN, past, "i", SUNDAY + 2 * DAY) == Due(FULL, SUNDAY)


def test_jitter_is_one_answer_for_an_installation_and_lies_within_its_bound() -> None:
    schedule = Schedule(jitter_ms=600_000)
    past = Past(full_ms=SUNDAY)
    monday = SUNDAY + DAY
    starts = set()
    for number in range(20):
        due = [
            minute
            for minute in range(0, 11)
            if decide(schedule, past, f"install-{number}", monday + minute * 60_000)
        ]
        assert due == list(range(due[0], 11))  # once due, it stays so until it is made
        starts.add(due[0])
    assert len(starts) > 4


def test_hosts_that_catch_up_after_a_start_do_not_all_come_at_once() -> None:
    schedule = Schedule(jitter_ms=600_000)
    now = SUNDAY + 3 * HOUR
    first = [
        next(m for m in range(11)
             if decide(schedule, Past(started_ms=now), f"i{n}", now + m * 60_000))
        for n in range(20)
    ]  # fmt: skip
    assert len(set(first)) > 4


def test_an_incremental_is_not_slipped_in_before_a_full_that_waits_for_its_jitter() -> None:
    schedule = Schedule(full="0 0 * * 0", incremental="0 0 * * *", jitter_ms=600_000)
    past = Past(full_ms=SUNDAY - 7 * DAY, incremental_ms=SUNDAY - 2 * DAY)
    kinds = {
        due.type
        for minute in range(0, 11)
        for number in range(20)
        if (due := decide(schedule, past, f"i{number}", SUNDAY + minute * 60_000))
    }
    assert kinds == {FULL}


def test_after_failures_it_is_tried_again_later_and_later_but_within_the_hour() -> None:
    past = Past(full_ms=SUNDAY)
    monday = SUNDAY + DAY
    for failures, pause in ((1, 60_000), (2, 120_000), (3, 240_000), (40, HOUR)):
        failed = Past(full_ms=past.full_ms, failures=failures, failed_ms=monday)
        assert decide(PLAIN, failed, "i", monday + pause - 1) is None
        assert decide(PLAIN, failed, "i", monday + pause) == Due(INCREMENTAL, monday)


def test_a_clock_set_back_does_not_stop_backups() -> None:
    stamped_ahead = Past(full_ms=SUNDAY + 400 * DAY, failed_ms=SUNDAY + 400 * DAY, failures=3,
                         started_ms=SUNDAY + 400 * DAY)  # fmt: skip
    assert decide(PLAIN, stamped_ahead, "i", SUNDAY + HOUR) == Due(FULL, SUNDAY)


BERLIN = "Europe/Berlin"  # 2026: 29 March 02:00 -> 03:00, 25 October 03:00 -> 02:00


def test_a_slot_in_the_hour_that_comes_twice_is_one_slot() -> None:
    nightly = Schedule(incremental="30 2 * * *", full="0 0 1 1 *", timezone=BERLIN, jitter_ms=0)
    made: list[int] = []
    now = at("2026-10-24T12:00", BERLIN)
    made_ms = now
    while now < at("2026-10-26T12:00", BERLIN):
        due = decide(nightly, Past(full_ms=made_ms), "i", now)
        if due is not None:
            made.append(now)
            made_ms = now
        now += 60_000
    # The first of the two 02:30 (summer time), and 02:30 a day of 25 hours later.
    assert made == [at("2026-10-25T02:30", BERLIN), at("2026-10-26T02:30", BERLIN)]


def test_a_slot_in_the_hour_that_is_skipped_is_not_lost() -> None:
    nightly = Schedule(incremental="30 2 * * *", full="0 0 1 1 *", timezone=BERLIN, jitter_ms=0)
    made_ms = at("2026-03-28T12:00", BERLIN)
    noon = at("2026-03-29T12:00", BERLIN)
    due = decide(nightly, Past(full_ms=made_ms), "i", noon)
    assert due is not None
    assert at("2026-03-29T01:59", BERLIN) < due.slot_ms <= at("2026-03-29T03:30", BERLIN)


def test_midnight_follows_the_time_zone_through_the_year() -> None:
    for day in ("2026-03-29", "2026-07-01", "2026-10-25", "2026-12-24"):
        now = at(f"{day}T12:00", BERLIN)
        assert previous_slot("0 0 * * *", BERLIN, now) == at(f"{day}T00:00", BERLIN)


def test_the_next_run_is_named_with_its_kind() -> None:
    assert next_run(PLAIN, SUNDAY) == Due(INCREMENTAL, SUNDAY + DAY)
    assert next_run(PLAIN, SUNDAY + 6 * DAY) == Due(FULL, SUNDAY + 7 * DAY)


@pytest.mark.parametrize(
    "expression",
    ["", "0 0 * *", "60 * * * *", "0 24 * * *", "0 0 31 2 *", "0 0 * * 8", "@daily", "x 0 * * *",
     "*/0 * * * *", "0 0 0 * *"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["full", "incremental"])
def test_wrong_expressions_are_refused_by_their_key(key: str, expression: str) -> None:
    is_full = key == "full"
    wrong = Schedule(full=expression) if is_full else Schedule(incremental=expression)
    with pytest.raises(ScheduleError, match=rf"\[backup\] {key}: "):
        wrong.check()


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe", "a\0b"])
def test_unknown_time_zones_are_refused(zone: str) -> None:
    with pytest.raises(ScheduleError, match=r"\[backup\] timezone"):
        Schedule(timezone=zone).check()


def test_a_negative_jitter_is_refused() -> None:
    with pytest.raises(ScheduleError, match="jitter"):
        Schedule(jitter_ms=-1).check()
