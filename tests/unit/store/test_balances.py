from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.model import human
from core.store.protocol import (
    EVERYTHING_DUE_MS,
    HistoryRow,
    LeaseLostError,
    Mark,
    NewWallet,
    StoreError,
)
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import (
    CHAINS,
    ETH,
    INTERVAL,
    LEASE,
    NOW,
    XRP,
    changed,
    claim,
    cycle,
    evm_address,
    leased,
    register,
    sweep,
)


def _row(path: Path, account: int) -> dict[str, object]:
    with sqlite3.connect(path) as other:
        other.row_factory = sqlite3.Row
        row = other.execute("SELECT * FROM wallet_balances WHERE id = ?", (account,)).fetchone()
        return dict(row)


async def test_a_lease_covers_the_chain_and_excludes_other_workers(store: SqliteStore) -> None:
    await register(store, 2, xrpl=True)
    lease = await leased(store)
    assert (tuple(lease.accounts), lease.whole, lease.until_ms) == ((1, 2, 3, 4), True, NOW + LEASE)
    assert await claim(store, worker="other", now_ms=NOW + LEASE - 1) is None
    assert await claim(store, worker="other", chain="xrpl") is not None
    late = await leased(store, worker="other", now_ms=NOW + LEASE)
    assert late.accounts == lease.accounts


async def test_a_lease_of_everything_knows_what_joined_and_left_since_the_last(
    store: SqliteStore, path: Path
) -> None:
    await register(store, 2)

    async def everything() -> Sequence[int]:
        lease = await store.claim(
            "base",
            "w",
            now_ms=NOW,
            due_before_ms=EVERYTHING_DUE_MS,
            lease_ms=LEASE,
            limit=None,
        )
        assert lease is not None
        assert lease.whole
        await store.record(sweep(lease, dict.fromkeys(lease.accounts, 5)), ())
        return lease.accounts

    assert tuple(await everything()) == (1, 2, 3, 4)
    assert await everything() is await everything()  # nothing happened: nothing is fetched
    await store.add_wallets([NewWallet("late", "base", evm_address(9))], (), NOW)
    assert tuple(await everything()) == (1, 2, 3, 4, 5, 6)
    await store.put_registry(CHAINS, (ETH, XRP))
    assert tuple(await everything()) == (1, 3, 5)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE wallets SET state = 'ARCHIVED' WHERE wallet_id = 'agent-0'")
    assert tuple(await everything()) == (3, 5)
    # Another worker leases everything after the change, so that the chain is whole once more.
    beside = SqliteStore(path, "beside")
    await beside.open()
    await beside.add_wallets([NewWallet("later", "base", evm_address(10))], (), NOW)
    lease = await leased(beside, worker="v", now_ms=NOW + INTERVAL)
    await beside.release(lease, (), (), NOW)
    await beside.close()
    assert tuple(await everything()) == tuple(lease.accounts) == (3, 5, 7)
    assert len(await everything()) == len((await leased(store, now_ms=NOW + INTERVAL)).accounts)
    assert tuple((await leased(store, limit=1, now_ms=NOW + INTERVAL)).accounts) == (3,)
    assert tuple(await everything()) == (3, 5, 7)


async def test_a_stamp_that_a_constraint_refuses_leaves_nothing_of_the_reading(
    store: SqliteStore, path: Path
) -> None:
    await register(store, 1)
    await cycle(store, {1: 1, 2: 2})
    with sqlite3.connect(path) as other:
        other.execute(
            "CREATE TRIGGER refused BEFORE UPDATE OF last_checked ON wallet_balances"
            " WHEN new.id = 2 BEGIN SELECT RAISE(ABORT, 'theirs'); END"
        )
    lease = await leased(store, now_ms=NOW + INTERVAL)
    with pytest.raises(StoreError, match="theirs"):
        await store.record(sweep(lease, {1: 7, 2: 8}, time_ms=NOW + INTERVAL), ())
    assert _row(path, 1)["on_chain_balance_raw"] == "1"
    assert _row(path, 1)["last_checked"] == NOW
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER refused")
    await store.record(sweep(lease, {1: 7, 2: 8}, time_ms=NOW + INTERVAL), ())
    assert _row(path, 2)["on_chain_balance_raw"] == "8"


async def test_nothing_is_leased_where_nothing_is_due_or_known(store: SqliteStore) -> None:
    await register(store, 1)
    assert await claim(store, chain="xrpl") is None
    assert await claim(store, chain="unheard of") is None
    await cycle(store, {1: 1, 2: 1})
    assert await claim(store, now_ms=NOW + INTERVAL // 2) is None
    assert await claim(store, now_ms=NOW + INTERVAL // 2 + 1) is not None


async def test_the_oldest_checked_come_first_and_a_limit_is_kept(store: SqliteStore) -> None:
    await register(store, 3)
    first = await leased(store, limit=2)
    assert (tuple(first.accounts), first.whole) == ((1, 2), False)
    await store.record(sweep(first, {1: 5, 2: 5}), ())
    second = await leased(store, now_ms=NOW + INTERVAL, limit=5)
    assert tuple(second.accounts) == (3, 4, 5, 6, 1)
    await store.record(sweep(second, dict.fromkeys(second.accounts, 5)), ())
    assert [row.checked_ms for row in await store.balances()] == [NOW] * 6


async def test_an_account_that_always_fails_does_not_keep_others_from_their_turn(
    store: SqliteStore,
) -> None:
    await register(store, 2)
    lease = await leased(store, limit=2)
    await store.release(lease, sweep(lease, failures={1: "x", 2: "x"}).failures, (), NOW)
    assert tuple((await leased(store, now_ms=NOW + 1, limit=2)).accounts) == (3, 4)


async def test_a_worker_takes_its_own_lease_again_and_the_older_one_is_void(
    store: SqliteStore,
) -> None:
    await register(store, 1)
    older = await leased(store)
    newer = await leased(store, now_ms=NOW + 1)
    with pytest.raises(LeaseLostError):
        await store.record(sweep(older, {1: 1}), ())
    await store.record(sweep(newer, {1: 2}), ())
    assert (await store.balances())[0].amount == 2


async def test_a_reading_writes_the_row_as_described(store: SqliteStore, path: Path) -> None:
    await register(store, 1)
    await cycle(store, {1: 1_500_000_000_000_000_000, 2: 0}, block=77)
    row = _row(path, 1)
    assert row["on_chain_balance_raw"] == "1500000000000000000"
    assert row["on_chain_balance_human"] == "1.5"
    assert (row["block_number"], row["block_hash"]) == (77, f"0x{77:064x}")
    assert (row["last_checked"], row["sync_count"], row["error_count"]) == (NOW, 1, 0)
    assert (row["processing_status"], row["locked_by"]) == ("idle", None)
    assert _row(path, 2)["on_chain_balance_human"] == "0"


async def test_unchanged_rows_are_stamped_with_the_reading_that_confirmed_them(
    store: SqliteStore, path: Path
) -> None:
    await register(store, 1)
    await cycle(store, {1: 10, 2: 20}, block=100)
    later = NOW + INTERVAL
    await cycle(store, {2: 21}, time_ms=later, block=101)
    unchanged, moved = await store.balances()
    assert (unchanged.amount, unchanged.checked_ms, unchanged.changed_ms) == (10, later, NOW)
    assert (unchanged.block, _row(path, 1)["sync_count"]) == (101, 2)
    assert (moved.amount, moved.changed_ms, moved.first_seen_ms) == (21, later, NOW)
    assert [len(await store.history(a, 0, later)) for a in (1, 2)] == [1, 2]


async def test_an_account_reported_with_its_old_amount_gets_no_history_row(
    store: SqliteStore,
) -> None:
    await register(store, 1)
    await cycle(store, {1: 10, 2: 20})
    await cycle(store, {1: 10}, time_ms=NOW + INTERVAL)
    assert (await store.balances())[0].changed_ms == NOW
    assert len(await store.history(1, 0, NOW + INTERVAL)) == 1


async def test_a_failure_keeps_the_figure_and_says_why_until_a_read_succeeds(
    store: SqliteStore, path: Path
) -> None:
    await register(store, 1)
    await cycle(store, {1: 10, 2: 20})
    failed_at = NOW + INTERVAL
    await cycle(store, failures={1: "reverted"}, time_ms=failed_at)
    failed, fine = await store.balances()
    assert (failed.amount, failed.checked_ms, failed.block) == (10, NOW, 100)
    assert (failed.errors, failed.error, failed.error_ms) == (1, "reverted", failed_at)
    assert (fine.checked_ms, fine.error) == (failed_at, "")
    await cycle(store, time_ms=failed_at + INTERVAL)
    healed = (await store.balances())[0]
    assert (healed.error, healed.errors, healed.checked_ms) == ("", 1, failed_at + INTERVAL)
    assert _row(path, 1)["sync_count"] == 2


async def test_an_account_never_read_has_no_amount(store: SqliteStore) -> None:
    await register(store, 1)
    await cycle(store, {2: 0}, failures={1: "time-out"})
    never, zero = await store.balances()
    assert (never.amount, never.checked_ms, never.errors) == (None, 0, 1)
    assert (zero.amount, zero.checked_ms) == (0, NOW)


async def test_marks_and_reserves_are_kept(store: SqliteStore) -> None:
    await register(store, 1)
    marks = [Mark(1, "not activated", 0), Mark(2, "", 2**80)]
    await cycle(store, {1: 0, 2: 2**81}, marks=marks)
    first, second = await store.balances()
    assert (first.mark, first.reserved) == ("not activated", 0)
    assert (second.mark, second.reserved) == ("", 2**80)


@pytest.mark.parametrize("amount", [0, 1, 2**63 - 1, 2**63, 2**64, 2**256 - 1, -1, -(2**63) - 1])
async def test_amounts_of_any_size_come_back_exactly(store: SqliteStore, amount: int) -> None:
    await register(store, 1)
    await cycle(store, {1: amount, 2: 1})
    assert (await store.balances())[0].amount == amount
    assert (await store.history(1, 0, NOW))[0].amount == amount
    assert (await store.recent_history(0))[0].amount == amount


async def test_release_frees_the_chain_at_once_and_notes_the_failures(store: SqliteStore) -> None:
    await register(store, 1)
    lease = await leased(store)
    records = await store.release(
        lease, sweep(lease, failures={2: "down"}).failures, [changed("agent-0", 0, 1)], NOW
    )
    assert [record.seq for record in records] == [1]
    assert [(row.error, row.errors) for row in await store.balances()] == [("", 0), ("down", 1)]
    assert tuple((await leased(store, worker="other", now_ms=NOW + 1)).accounts) == (1,)


async def test_wallets_added_while_a_reading_runs_are_not_stamped_by_it(
    store: SqliteStore,
) -> None:
    await register(store, 1)
    lease = await leased(store)
    await store.add_wallets([NewWallet("late", "base", evm_address(500))], (), NOW)
    await store.record(sweep(lease, {1: 1, 2: 2}), ())
    assert [row.checked_ms for row in await store.balances()] == [NOW, NOW, 0, 0]
    next_lease = await leased(store, now_ms=NOW + 1)
    assert tuple(next_lease.accounts) == (3, 4)


async def test_an_account_followed_again_while_a_reading_runs_is_not_stamped_by_it(
    store: SqliteStore, path: Path
) -> None:
    await register(store, 2)
    await cycle(store, dict.fromkeys(range(1, 5), 9))
    with sqlite3.connect(path) as other:
        other.execute("UPDATE wallets SET state = 'ARCHIVED' WHERE wallet_id = 'agent-1'")
    later = NOW + INTERVAL
    lease = await leased(store, now_ms=later)
    assert lease.whole
    with sqlite3.connect(path) as other:
        other.execute("UPDATE wallets SET state = 'ACTIVE' WHERE wallet_id = 'agent-1'")
    await store.record(sweep(lease, time_ms=later), ())
    assert [row.checked_ms for row in await store.balances()] == [later, later, NOW, NOW]


async def test_a_change_of_another_chain_is_refused_and_nothing_is_written(
    store: SqliteStore,
) -> None:
    await register(store, 1, xrpl=True)
    lease = await leased(store)
    with pytest.raises(StoreError, match="account 3 is not one of chain base"):
        await store.record(sweep(lease, {1: 1, 3: 1}), [changed("agent-0", 0, 1)])
    assert all(row.amount is None for row in await store.balances())
    assert await store.last_seq() == 0
    await store.record(sweep(lease, {1: 1}), ())  # the lease still stands


async def test_columns_of_other_workers_are_never_written(store: SqliteStore, path: Path) -> None:
    await register(store, 2)
    theirs = (
        "needs_gas",
        "needs_consolidation",
        "priority",
        "gas_locked_until",
        "gas_locked_by",
        "consolidation_locked_until",
        "consolidation_locked_by",
    )
    with sqlite3.connect(path) as other:
        for column in theirs:
            other.execute(f"ALTER TABLE wallet_balances ADD COLUMN {column} DEFAULT 'untouched'")
        other.execute(
            "UPDATE wallet_balances SET priority = 'mine ' || id,"
            " processing_status = 'processing', locked_by = 'them', locked_until = 5"
        )
    await cycle(store, {1: 1, 2: 2, 3: 3}, failures={4: "x"}, marks=[Mark(1, "m", 1)])
    lease = await leased(store, now_ms=NOW + INTERVAL, limit=2)
    await store.record(sweep(lease, {lease.accounts[0]: 5}, forked_below=50), ())
    await store.release(await leased(store, now_ms=NOW + 2 * INTERVAL), (), (), NOW)
    await store.add_wallets([NewWallet("new", "base", evm_address(77))], (), NOW)
    assert len(await store.balances()) == 6
    for account in range(1, 5):
        row = _row(path, account)
        assert row["priority"] == f"mine {account}"
        assert {row[column] for column in theirs if column != "priority"} == {"untouched"}
    assert _row(path, 5)["needs_gas"] == "untouched"


class TestFork:
    """A reading that found blocks replaced: history above the common block is taken back."""

    AT = NOW + 2 * INTERVAL

    async def _forked(self, store: SqliteStore, amounts: dict[int, int], **how: object) -> None:
        """Block 100: 10 each. Block 105, orphaned later: account 1 has 12, account 2 has 22."""
        await register(store, 2)
        await cycle(store, {1: 10, 2: 20, 3: 30, 4: 40}, block=100)
        await cycle(store, {1: 12, 2: 22}, time_ms=NOW + INTERVAL, block=105)
        await cycle(
            store,
            amounts,
            time_ms=self.AT,
            block=104,
            forked_below=102,
            **how,  # type: ignore[arg-type]  # passed on as given
        )

    async def test_a_change_that_did_not_happen_leaves_no_trace(self, store: SqliteStore) -> None:
        await self._forked(store, {1: 10, 2: 20})
        assert await store.history(1, 0, self.AT) == [HistoryRow(1, NOW, 100, 10)]
        row = (await store.balances())[0]
        assert (row.amount, row.changed_ms, row.block) == (10, NOW, 104)

    async def test_the_same_change_on_the_new_branch_is_dated_there(
        self, store: SqliteStore
    ) -> None:
        await self._forked(store, {})  # 12 and 22 again: nothing new to whoever compares
        assert await store.history(1, 0, self.AT) == [
            HistoryRow(1, NOW, 100, 10),
            HistoryRow(1, self.AT, 104, 12),
        ]
        assert (await store.balances())[0].changed_ms == self.AT

    async def test_another_change_replaces_it(self, store: SqliteStore) -> None:
        await self._forked(store, {1: 13, 3: 31})
        assert [r.amount for r in await store.history(1, 0, self.AT)] == [10, 13]
        assert [r.amount for r in await store.history(3, 0, self.AT)] == [30, 31]
        assert await store.history(4, 0, self.AT) == [HistoryRow(4, NOW, 100, 40)]

    async def test_an_account_seen_only_on_the_lost_branch_begins_anew(
        self, store: SqliteStore
    ) -> None:
        await register(store, 1)
        await cycle(store, {1: 5, 2: 6}, block=105)
        await cycle(store, {1: 7}, time_ms=self.AT, block=104, forked_below=100)
        assert await store.history(1, 0, self.AT) == [HistoryRow(1, self.AT, 104, 7)]
        assert await store.history(2, 0, self.AT) == [HistoryRow(2, self.AT, 104, 6)]

    async def test_an_account_not_read_keeps_history_and_figure_that_agree(
        self, store: SqliteStore
    ) -> None:
        await self._forked(store, {2: 20}, failures={1: "time-out"})
        assert [r.amount for r in await store.history(1, 0, self.AT)] == [10, 12]
        assert (await store.balances())[0].amount == 12

    async def test_other_chains_are_untouched(self, store: SqliteStore) -> None:
        await register(store, 1, xrpl=True)
        other = await leased(store, chain="xrpl")
        await store.record(sweep(other, {3: 9}, block=1_000), ())
        await cycle(store, {1: 1, 2: 2}, block=100, forked_below=50)
        assert await store.history(3, 0, NOW) == [HistoryRow(3, NOW, 1_000, 9)]


@pytest.mark.parametrize(
    ("amount", "decimals", "text"),
    [
        (0, 18, "0"),
        (1, 18, "0.000000000000000001"),
        (1_500_000, 6, "1.5"),
        (42, 0, "42"),
        (-1_050, 3, "-1.05"),
        (10**18, 18, "1"),
        (
            2**256 - 1,
            77,
            "1.15792089237316195423570985008687907853269984665640564039457584007913129639935",
        ),
    ],
)
def test_human_is_exact(amount: int, decimals: int, text: str) -> None:
    assert human(amount, decimals) == text
