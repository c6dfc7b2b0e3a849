from __future__ import annotations

from core.events import AgentBalanceReverted, AgentRegistered, ChainStateChanged, payload_of
from core.model import Amount
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import NOW, changed, cycle, leased, register, sweep


def _reverted(agent: str, sequence: int) -> AgentBalanceReverted:
    return AgentBalanceReverted(
        timestamp=NOW,
        agent_id=agent,
        chain="base",
        token="ETH",
        contract=None,
        old_balance=Amount(2),
        new_balance=Amount(1),
        change=Amount(-1),
        block=104,
        decimals=18,
        reverted_sequence=sequence,
    )


async def test_a_reading_and_its_events_are_stored_together(store: SqliteStore) -> None:
    await register(store, 1)
    huge = 2**256 - 1
    event = changed("agent-0", 0, huge)
    (record,) = await cycle(store, {1: huge, 2: 0}, events=[event])
    assert record.payload == payload_of(event)
    assert record.payload["newBalance"] == str(huge)
    assert (record.seq, record.type, record.node_id) == (1, "AGENT_BALANCE_CHANGED", "node-1")
    assert await store.events_after(0, 10) == [record]
    assert await store.last_seq() == 1


async def test_events_come_in_order_and_resume_by_sequence(store: SqliteStore) -> None:
    first = await store.append([changed(f"a{i}", 0, i) for i in range(5)])
    second = await store.append([changed("b", 0, 1)])
    assert await store.append([]) == []
    assert [record.seq for record in first + second] == [1, 2, 3, 4, 5, 6]
    assert await store.events_after(2, 2) == first[2:4]
    assert await store.events_after(6, 2) == []


async def test_events_are_found_by_every_filter_and_by_all_at_once(store: SqliteStore) -> None:
    await store.append(
        [
            changed("alice", 0, 1, time_ms=NOW),
            changed("bob", 0, 2, time_ms=NOW + 10),
            AgentRegistered(timestamp=NOW + 20, agent_id="alice", chain="base", address="0xBEEF"),
            ChainStateChanged(
                timestamp=NOW + 30, chain="base", old_state="live", new_state="down",
                reason="100% of_endpoints \\ refused",
            ),
        ]
    )  # fmt: skip

    async def found(**filters: object) -> list[int]:
        records = await store.find_events(**filters)  # type: ignore[arg-type]  # as given
        return [record.seq for record in records]

    assert await found() == [1, 2, 3, 4]
    assert await found(limit=2) == [1, 2]
    assert await found(limit=2, newest=True) == [3, 4]
    assert await found(types=["AGENT_REGISTERED", "CHAIN_STATE_CHANGED"]) == [3, 4]
    assert await found(subject="alice") == [1, 3]
    assert await found(since_ms=NOW + 10, until_ms=NOW + 20) == [2, 3]
    assert await found(text="beef") == [3]
    assert await found(text="state_changed") == [4]
    assert await found(text="100%") == [4]
    assert await found(text="of_end") == [4]
    assert await found(text="ofXend") == []
    assert await found(text="\\\\ refused") == [4]  # as it stands in the JSON
    assert await found(text="' OR 1=1 --") == []
    assert await found(subject="alice", types=["AGENT_REGISTERED"], text="base", after_seq=2) == [3]


async def test_a_reverted_change_is_reverted_once(store: SqliteStore) -> None:
    await register(store, 1)
    await store.append([changed("agent-0", 0, 1, block=100), changed("agent-0", 1, 2, block=105)])
    await store.append([changed("agent-0", 1, 2, block=106, chain="other")])
    assert [r.seq for r in await store.balance_events_above("base", 99)] == [1, 2]
    assert [r.seq for r in await store.balance_events_above("base", 100)] == [2]
    lease = await leased(store)
    await store.record(sweep(lease, {1: 1}, block=104, forked_below=100), [_reverted("agent-0", 2)])
    assert await store.balance_events_above("base", 100) == []
    assert [r.seq for r in await store.balance_events_above("base", 0)] == [1]
    assert [r.seq for r in await store.balance_events_above("other", 0)] == [3]


async def test_cursors_and_memory_are_kept_over_a_restart(store: SqliteStore) -> None:
    assert await store.cursor("webhook") == 0
    assert await store.recall("theme") is None
    for value in (3, 7):
        await store.set_cursor("webhook", value)
        await store.remember("theme", f"dark {value}")
    await store.close()
    again = SqliteStore(store.path, "node-2")
    await again.open()
    try:
        assert await again.cursor("webhook") == 7
        assert await again.cursor("log") == 0
        assert await again.recall("theme") == "dark 7"
    finally:
        await again.close()
