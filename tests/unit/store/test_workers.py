"""Two workers on one database, one of them killed: no row is read twice in a lease, none lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.store.protocol import Lease, LeaseLostError
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import INTERVAL, LEASE, NOW, changed, claim, leased, register, sweep


@pytest.mark.parametrize("seed", range(5))
async def test_no_row_is_read_twice_in_a_lease_and_none_is_lost(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    stores = {name: SqliteStore(path, name, busy_ms=5_000) for name in ("left", "right")}
    for store in stores.values():
        await store.open()
    await register(stores["left"], 50, xrpl=True)
    everything = {row.account for row in await stores["left"].balances()}
    held: dict[str, Lease] = {}
    read: set[int] = set()
    now = NOW
    try:
        for step in range(400):
            now += chance.randrange(1_000, 8_000)
            name = chance.choice(["left", "right"])
            if name == "left" and step > 100:
                continue  # killed: whatever it held, it never comes back to
            store = stores[name]
            if name in held and chance.random() < 0.7:
                lease = held.pop(name)
                if lease.until_ms > now:
                    amounts = dict.fromkeys(lease.accounts, step)
                    await store.record(sweep(lease, amounts, time_ms=now, block=step), ())
                    read |= set(lease.accounts)
                continue
            held.pop(name, None)
            lease_or_none = await claim(
                store,
                worker=name,
                now_ms=now,
                chain=chance.choice(["base", "xrpl"]),
                limit=chance.choice([None, 7]),
            )
            if lease_or_none is not None:
                for other in held.values():
                    if other.until_ms > now:
                        assert not set(other.accounts) & set(lease_or_none.accounts)
                held[name] = lease_or_none
        assert read == everything
        assert min(row.checked_ms for row in await store.balances()) > NOW + 100 * 1_000
    finally:
        for store in stores.values():
            await store.close()


async def test_who_lost_the_lease_can_neither_record_nor_blame(store: SqliteStore) -> None:
    await register(store, 1)
    slow = await leased(store, worker="slow")
    quick = await leased(store, worker="quick", now_ms=NOW + LEASE)
    with pytest.raises(LeaseLostError, match="slow: the lease of chain base ran out"):
        await store.record(sweep(slow, {1: 1, 2: 1}), [changed("agent-0", 0, 1)])
    records = await store.release(
        slow, sweep(slow, failures={1: "late"}).failures, [changed("agent-0", 0, 1)], NOW
    )
    assert [record.seq for record in records] == [1]
    assert [(row.amount, row.error) for row in await store.balances()] == [(None, ""), (None, "")]
    assert await claim(store, worker="slow", now_ms=NOW + LEASE + 1) is None
    await store.record(sweep(quick, {1: 2, 2: 2}, time_ms=NOW + LEASE + INTERVAL), ())
    assert [row.amount for row in await store.balances()] == [2, 2]


async def test_a_lease_that_ran_out_but_was_not_taken_still_records(store: SqliteStore) -> None:
    await register(store, 1)
    lease = await leased(store)
    await store.record(sweep(lease, {1: 1, 2: 1}, time_ms=NOW + 2 * LEASE), ())
    assert [row.amount for row in await store.balances()] == [1, 1]


async def test_a_restarted_engine_takes_its_own_lease_at_once(path: Path) -> None:
    for _ in range(2):  # the second finds the lease of the first, which "died"
        store = SqliteStore(path, "node-1")
        await store.open()
        if not (await store.registry()).accounts:
            await register(store, 1)
        assert await claim(store, worker="node-1") is not None
        await store.close()
