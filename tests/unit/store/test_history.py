from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.store.history import pack_amount, unpack_amount
from core.store.protocol import HistoryRow, StoreError
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import INTERVAL, NOW, changed, cycle, leased, register, sweep

HOUR = 3_600_000


@given(st.integers(-(2**300), 2**300))
def test_packed_amounts_are_exact_and_compact(amount: int) -> None:
    packed = pack_amount(amount)
    assert unpack_amount(packed) == amount
    assert isinstance(packed, int) or len(packed) <= amount.bit_length() // 8 + 1


async def test_the_value_standing_at_the_start_comes_first(store: SqliteStore) -> None:
    await register(store, 1)
    await store.put_history([HistoryRow(1, 1_000 * i, i, 10 * i) for i in range(1, 6)])

    async def amounts(start: int, end: int) -> list[int]:
        return [row.amount for row in await store.history(1, start, end)]

    assert await amounts(2_500, 4_000) == [20, 30, 40]
    assert await amounts(2_000, 3_999) == [20, 30]
    assert await amounts(0, 1_000) == [10]
    assert await amounts(9_000, 9_999) == [50]
    assert await amounts(0, 999) == []
    assert await store.history(2, 0, 9_999) == []


async def test_recent_history_covers_accounts_changed_since_and_no_other(
    store: SqliteStore,
) -> None:
    await register(store, 2)
    await store.put_history(
        [
            HistoryRow(1, 100, 1, 1),
            HistoryRow(1, 200, 2, 2),
            HistoryRow(1, 900, 9, 9),
            HistoryRow(2, 100, 1, 1),
            HistoryRow(3, 800, 8, 8),
        ]
    )
    rows = await store.recent_history(500)
    assert [(row.account, row.time_ms) for row in rows] == [(1, 200), (1, 900), (3, 800)]


async def test_imported_history_does_not_replace_what_was_read(store: SqliteStore) -> None:
    await register(store, 1)
    await cycle(store, {1: 5, 2: 6})
    await store.put_history([HistoryRow(1, NOW, 1, 999), HistoryRow(1, NOW - 1, 1, 4)])
    assert [row.amount for row in await store.history(1, 0, NOW)] == [4, 5]


async def test_history_of_an_unknown_account_is_refused(store: SqliteStore) -> None:
    await register(store, 1)
    with pytest.raises(StoreError, match="account 99, which is not in the registry"):
        await store.put_history([HistoryRow(1, 1, 1, 1), HistoryRow(99, 1, 1, 1)])
    assert await store.history(1, 0, NOW) == []


class TestGaps:
    async def _polls(self, store: SqliteStore, *cycles: int) -> None:
        await register(store, 1)
        for number in cycles:
            await cycle(store, {1: number, 2: number}, time_ms=NOW + number * INTERVAL)

    async def test_three_missed_intervals_are_no_gap_and_more_are(self, store: SqliteStore) -> None:
        await self._polls(store, 0, 3, 4, 8)
        assert await store.gaps("base", NOW, NOW + 8 * INTERVAL) == [
            (NOW + 4 * INTERVAL, NOW + 8 * INTERVAL)
        ]

    async def test_a_gap_is_clipped_to_the_range(self, store: SqliteStore) -> None:
        await self._polls(store, 0, 10)
        start, end = NOW + 4 * INTERVAL, NOW + 6 * INTERVAL
        assert await store.gaps("base", start, end) == [(start, end)]

    async def test_before_the_first_and_after_the_last_reading_nothing_was_read(
        self, store: SqliteStore
    ) -> None:
        await self._polls(store, 0)
        start, end = NOW - 10 * INTERVAL, NOW + 10 * INTERVAL
        assert await store.gaps("base", start, end) == [(start, NOW), (NOW, end)]
        assert await store.gaps("xrpl", start, end) == [(start, end)]
        assert await store.gaps("base", NOW - INTERVAL, NOW + INTERVAL) == []

    async def test_a_reading_in_which_nothing_could_be_read_closes_no_gap(
        self, store: SqliteStore
    ) -> None:
        await self._polls(store, 0)
        dead = NOW + 5 * INTERVAL
        await cycle(store, failures={1: "x", 2: "x"}, time_ms=dead)
        assert await store.gaps("base", NOW, dead) == [(NOW, dead)]

    async def test_imported_spans_are_known(self, store: SqliteStore) -> None:
        await self._polls(store, 20)
        for low, high in ((0, 6), (12, 19), (5, 13)):
            await store.put_history(
                [HistoryRow(1, NOW + at * INTERVAL, at, at) for at in (low, high)]
            )
        assert await store.gaps("base", NOW, NOW + 20 * INTERVAL) == []
        before = NOW - 10 * INTERVAL
        assert await store.gaps("base", before, NOW + INTERVAL) == [(before, NOW)]

    async def test_an_unknown_chain_is_an_error(self, store: SqliteStore) -> None:
        with pytest.raises(StoreError, match="chain nowhere"):
            await store.gaps("nowhere", 0, 1)


class TestPrune:
    async def _prune(self, store: SqliteStore, history: int = 0, thin: int = 0) -> int:
        return await store.prune(
            history_before_ms=history,
            thin_before_ms=thin,
            events_before_ms=0,
            polls_before_ms=0,
        )

    async def test_the_value_standing_at_the_boundary_is_kept(self, store: SqliteStore) -> None:
        await register(store, 1)
        await store.put_history([HistoryRow(1, t, t, t) for t in (10, 20, 30, 40)])
        await store.put_history([HistoryRow(2, 10, 1, 1)])
        assert await self._prune(store, history=35) == 2
        assert [row.time_ms for row in await store.history(1, 0, 99)] == [30, 40]
        assert len(await store.history(2, 0, 99)) == 1

    async def test_old_rows_are_thinned_to_the_last_of_each_hour(self, store: SqliteStore) -> None:
        await register(store, 1)
        times = [HOUR + 1, HOUR + 2, 2 * HOUR - 1, 2 * HOUR, 2 * HOUR + 5, 3 * HOUR + 1]
        await store.put_history([HistoryRow(1, t, t, t) for t in times])
        assert await self._prune(store, thin=3 * HOUR) == 3
        assert [row.time_ms for row in await store.history(1, 0, 9 * HOUR)] == [
            2 * HOUR - 1,
            2 * HOUR + 5,
            3 * HOUR + 1,
        ]
        assert await self._prune(store, thin=3 * HOUR) == 0

    async def test_history_imported_behind_the_boundary_is_thinned_next_time(
        self, store: SqliteStore
    ) -> None:
        await register(store, 1)
        await store.put_history([HistoryRow(1, 9 * HOUR, 9, 9)])
        await self._prune(store, thin=8 * HOUR)
        await store.put_history([HistoryRow(1, HOUR + i, i, i) for i in range(5)])
        assert await self._prune(store, thin=8 * HOUR) == 4

    async def test_polls_and_events_go_by_age_but_the_standing_poll_stays(
        self, store: SqliteStore
    ) -> None:
        await register(store, 1)
        for i in range(5):
            at = NOW + i * INTERVAL
            event = changed("agent-0", i, i + 1, time_ms=at)
            await cycle(store, {1: i, 2: i}, time_ms=at, events=[event])
        deleted = await store.prune(
            history_before_ms=0,
            thin_before_ms=0,
            events_before_ms=NOW + 2 * INTERVAL,
            polls_before_ms=NOW + 2 * INTERVAL + 5,
        )
        assert deleted == 2 + 2
        assert [record.seq for record in await store.events_after(0, 9)] == [3, 4, 5]
        assert await store.gaps("base", NOW + 3 * INTERVAL, NOW + 4 * INTERVAL) == []

    async def test_sequence_numbers_are_not_used_again_after_everything_is_pruned(
        self, store: SqliteStore
    ) -> None:
        await store.append([changed("a", 0, 1)] * 3)
        await store.prune(
            history_before_ms=0, thin_before_ms=0, events_before_ms=2 * NOW, polls_before_ms=0
        )
        assert await store.events_after(0, 9) == []
        assert await store.last_seq() == 3
        assert [r.seq for r in await store.append([changed("a", 1, 2)])] == [4]


# --- against a model: a list of (time, amount) per account ---------------------------------------

_changes = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 6 * HOUR), st.integers(0, 2**256 - 1)),
    unique_by=lambda change: change[:2],
    max_size=40,
)
_times = st.integers(0, 7 * HOUR)


def _value_at(rows: list[tuple[int, int]], time: int) -> int | None:
    return next((amount for at, amount in reversed(rows) if at <= time), None)


@settings(max_examples=60, deadline=None)
@given(changes=_changes, start=_times, length=_times, before=_times, thin=_times, again=_times)
def test_ranges_and_thinning_agree_with_a_plain_list(
    changes: list[tuple[int, int, int]],
    start: int,
    length: int,
    before: int,
    thin: int,
    again: int,
) -> None:
    model: dict[int, list[tuple[int, int]]] = {account: [] for account in range(1, 5)}
    for account, time, amount in sorted(changes, key=lambda change: change[1]):
        model[account].append((time, amount))
    end = start + length

    async def check() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = SqliteStore(Path(folder) / "bursar.db", "n")
            await store.open()
            try:
                await register(store, 2)
                await store.put_history([HistoryRow(a, t, 1, x) for a, t, x in changes])
                for account, rows in model.items():
                    found = [
                        (row.time_ms, row.amount)
                        for row in await store.history(account, start, end)
                    ]
                    inside = [row for row in rows if start < row[0] <= end]
                    carried = [row for row in rows if row[0] <= start][-1:]
                    assert found == carried + inside
                recent = await store.recent_history(start)
                assert {r.account for r in recent} == {
                    account for account, rows in model.items() if rows and rows[-1][0] >= start
                }
                for boundary in (thin, again):
                    await store.prune(
                        history_before_ms=before,
                        thin_before_ms=boundary,
                        events_before_ms=0,
                        polls_before_ms=0,
                    )
                    await _check_pruned(store, before, max(thin, boundary))
            finally:
                await store.close()

    async def _check_pruned(store: SqliteStore, before: int, thinned: int) -> None:
        for account, rows in model.items():
            kept = [(row.time_ms, row.amount) for row in await store.history(account, 0, 9 * HOUR)]
            assert set(kept) <= set(rows)
            # Values are exact at both boundaries, at each whole hour kept and ever after.
            hours = [hour for hour in range(HOUR - 1, 8 * HOUR, HOUR) if hour >= before]
            for time in (before, *(t for t in (thinned,) if t >= before), *hours):
                assert _value_at(kept, time) == _value_at(rows, time)
            assert [r for r in kept if r[0] >= max(thinned, before)] == [
                r for r in rows if r[0] >= max(thinned, before)
            ]
            old = [r[0] for r in kept if before < r[0] < thinned]
            assert len(old) == len({time // HOUR for time in old})
            assert sum(1 for r in kept if r[0] <= before) <= 1

    asyncio.run(check())


async def test_the_polls_of_a_partial_lease_count_as_readings(store: SqliteStore) -> None:
    await register(store, 2)
    lease = await leased(store, limit=1)
    await store.record(sweep(lease, {1: 1}), ())
    assert await store.gaps("base", NOW, NOW + INTERVAL) == []
