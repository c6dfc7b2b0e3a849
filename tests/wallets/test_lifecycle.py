"""The life of a wallet: the whole table, who walks it, and what is counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from core.events import AgentBalanceChanged, AgentBalanceReverted, Event, EventRecord
from core.model import Amount, NoWallet, WalletState
from core.store.protocol import StoreError
from core.store.wallet_protocol import (
    Activity,
    LifecycleRecord,
    StateChange,
    StateMovedError,
    Volume,
)
from core.wallets.lifecycle import (
    READER,
    TRANSITIONS,
    ArchivePolicy,
    LifecycleError,
    Trigger,
    activity_of,
    inactive,
    step,
)
from tests.wallets.fleets import Fleet, opened

PENDING, ACTIVE = WalletState.PENDING, WalletState.ACTIVE
SUSPENDED, ARCHIVED = WalletState.SUSPENDED, WalletState.ARCHIVED
DAY = 86_400_000
ALLOWED = {
    (PENDING, Trigger.FUNDED): ACTIVE,
    (ACTIVE, Trigger.SUSPEND): SUSPENDED,
    (SUSPENDED, Trigger.REACTIVATE): ACTIVE,
    (ACTIVE, Trigger.ARCHIVE): ARCHIVED,
    (SUSPENDED, Trigger.ARCHIVE): ARCHIVED,
}


@pytest.mark.parametrize("state", WalletState)
@pytest.mark.parametrize("trigger", Trigger)
def test_every_pair_of_state_and_trigger_is_as_specified(
    state: WalletState, trigger: Trigger
) -> None:
    if (state, trigger) in ALLOWED:
        assert step("a", state, trigger) is ALLOWED[state, trigger]
    else:
        with pytest.raises(LifecycleError, match=rf"a is {state}: `{trigger}` is not possible"):
            step("a", state, trigger)


def test_the_table_knows_every_state_and_archived_has_no_way_out() -> None:
    assert set(TRANSITIONS) == set(WalletState)
    assert TRANSITIONS[ARCHIVED] == {}
    with pytest.raises(TypeError):
        TRANSITIONS[ARCHIVED] = {}  # type: ignore[index]  # that is the point


async def state_of(fleet: Fleet, agent: str) -> WalletState:
    return (await fleet.wallets.get_agent_wallet(agent)).state


async def test_a_wallet_becomes_active_when_it_is_first_funded_on_any_chain(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as fleet:
        await fleet.wallets.create_named(["a", "b", "c"])
        await fleet.fund("a", 0)
        assert await fleet.lifecycle.observe() == ()
        await fleet.clock.advance(60)
        await fleet.fund("b", 10**30, chain="tron")
        await fleet.fund("a", 1)
        assert await fleet.lifecycle.observe() == ("a", "b")
        assert await fleet.lifecycle.observe() == ()
        await fleet.clock.advance(60)
        await fleet.fund("a", 0)
        assert await fleet.lifecycle.observe() == ()
        assert [await state_of(fleet, n) for n in "abc"] == [ACTIVE, ACTIVE, PENDING]
        told = await fleet.events("AGENT_WALLET_STATE_CHANGED")
        assert [(e.subject, e.payload["oldState"], e.payload["newState"]) for e in told] == [
            ("a", "PENDING", "ACTIVE"),
            ("b", "PENDING", "ACTIVE"),
        ]
        record = next(r for r in await fleet.lifecycle.get_all_records() if r.agent == "a")
        assert record.activated_ms == record.created_ms + 60_000
        assert record.reason == "first funded"


async def test_operators_suspend_reactivate_and_archive_with_a_reason(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as fleet:
        await fleet.wallets.create_named(["a"])
        await fleet.fund("a", 5)
        await fleet.lifecycle.observe()
        await fleet.lifecycle.suspend(["a"], "key review")
        assert await state_of(fleet, "a") is SUSPENDED
        assert len((await fleet.store.registry()).accounts) == 4  # still polled
        await fleet.lifecycle.reactivate(["a"])
        await fleet.lifecycle.archive(["a"], "sold")
        assert (await fleet.store.registry()).accounts == ()  # never polled again
        for change in (
            fleet.lifecycle.suspend,
            fleet.lifecycle.reactivate,
            fleet.lifecycle.archive,
        ):
            with pytest.raises(LifecycleError, match="final"):
                await change(["a"])
        told = await fleet.events("AGENT_WALLET_STATE_CHANGED")
        assert [e.payload["newState"] for e in told] == [
            "ACTIVE", "SUSPENDED", "ACTIVE", "ARCHIVED",
        ]  # fmt: skip
        assert told[1].payload["reason"] == "key review"
        assert fleet.bus.last == told[-1].seq


async def test_many_agents_change_together_or_not_at_all(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as fleet:
        await fleet.wallets.create_named(["a", "b", "new"])
        for agent in "ab":
            await fleet.fund(agent, 5)
            await fleet.clock.advance(60)
        await fleet.lifecycle.observe()
        seq = await fleet.store.last_seq()
        with pytest.raises(LifecycleError, match="new is PENDING"):
            await fleet.lifecycle.suspend(["a", "new"])
        with pytest.raises(NoWallet, match="nobody"):
            await fleet.lifecycle.suspend(["a", "nobody"])
        with pytest.raises(NoWallet):
            await fleet.lifecycle.suspend(["nobody"])
        with pytest.raises(LifecycleError, match="reason"):
            await fleet.lifecycle.suspend(["a"], "bell\a")
        assert await state_of(fleet, "a") is ACTIVE
        assert await fleet.store.last_seq() == seq
        await fleet.lifecycle.suspend(["a", "b"])
        assert [await state_of(fleet, n) for n in "ab"] == [SUSPENDED, SUSPENDED]


async def test_a_state_that_moved_meanwhile_is_not_changed_and_no_event_is_written(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "db") as fleet:
        await fleet.wallets.create_named(["a", "b"])
        changes = [
            StateChange("a", PENDING, ACTIVE, 1, ""),
            StateChange("b", SUSPENDED, ACTIVE, 1, ""),  # it is PENDING
        ]
        event = changed("a", "base", 1, 0)
        seq = await fleet.store.last_seq()
        with pytest.raises(StateMovedError, match="agent b is not SUSPENDED any more"):
            await fleet.store.change_states(changes, [event])
        assert await state_of(fleet, "a") is PENDING
        assert await fleet.store.last_seq() == seq


async def test_two_engines_activate_and_count_everything_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as one, opened(tmp_path / "db") as two:
        await one.wallets.create(20)
        for n in range(20):
            await one.fund(f"agent-{n:05d}", n + 1)
            await one.clock.advance(60)
        await one.store.append([changed(f"agent-{n:05d}", "base", 3, n) for n in range(20)])
        activated = await asyncio.gather(one.lifecycle.observe(), two.lifecycle.observe())
        assert sorted(sum(activated, ())) == [f"agent-{n:05d}" for n in range(20)]
        assert len(await one.events("AGENT_WALLET_STATE_CHANGED")) == 20
        assert {r.transactions for r in await two.lifecycle.get_all_records()} == {1}


def changed(
    agent: str, chain: str, change: int, time_ms: int, contract: str | None = None
) -> AgentBalanceChanged:
    return AgentBalanceChanged(
        timestamp=time_ms,
        agent_id=agent,
        chain=chain,
        token="ETH",
        contract=contract,
        old_balance=Amount(0),
        new_balance=Amount(change),
        change=Amount(change),
        block=1,
        decimals=18,
    )


def taken_back(event: AgentBalanceChanged, sequence: int) -> AgentBalanceReverted:
    return AgentBalanceReverted(
        **{
            **{f: getattr(event, f) for f in event.__struct_fields__},
            "change": Amount(-event.change),
            "reverted_sequence": sequence,
        }
    )


async def test_activity_is_counted_exactly_once_by_asset_however_large(tmp_path: Path) -> None:
    big = 2**80
    async with opened(tmp_path / "db") as fleet:
        await fleet.wallets.create_named(["a", "b"])
        await fleet.store.append(
            [
                changed("a", "base", big, 100),
                changed("a", "base", -big, 300),
                changed("a", "base", 7, 200, "0xdead"),
                changed("gone", "base", 7, 400),  # no such agent: nobody's record
            ]
        )
        for _ in range(3):
            await fleet.lifecycle.observe()
        a, b = await fleet.lifecycle.get_all_records()
        assert (a.transactions, a.last_activity_ms) == (3, 300)
        assert a.volumes == (
            Volume("base", "ETH", None, 2, Amount(2 * big)),
            Volume("base", "ETH", "0xdead", 1, Amount(7)),
        )
        assert (b.transactions, b.volumes) == (0, ())
    async with opened(tmp_path / "db") as fleet:  # and not again after a restart
        await fleet.store.append([changed("a", "base", 1, 500)])
        await fleet.lifecycle.observe()
        assert (await fleet.lifecycle.get_all_records())[0].transactions == 4


async def test_what_a_reorganisation_takes_back_is_taken_off_again(tmp_path: Path) -> None:
    event = changed("a", "base", 50, 100)
    async with opened(tmp_path / "db") as fleet:
        await fleet.wallets.create_named(["a"])
        (record,) = await fleet.store.append([event])
        await fleet.store.append([taken_back(event, record.seq)])
        await fleet.lifecycle.observe()
        (a,) = await fleet.lifecycle.get_all_records()
        assert (a.transactions, a.volumes) == (0, (Volume("base", "ETH", None, 0, Amount(0)),))


async def test_a_long_outbox_is_counted_to_its_end(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as fleet:
        await fleet.wallets.create_named(["a"])
        await fleet.store.append([changed("a", "base", 1, n) for n in range(4_500)])
        await fleet.lifecycle.observe()
        (a,) = await fleet.lifecycle.get_all_records()
        assert a.transactions == 4_500
        assert await fleet.store.cursor(READER) == await fleet.store.last_seq()


def test_other_events_are_no_activity() -> None:
    record = EventRecord(1, "AGENT_TAGGED", "node", 5, "a", {"agentId": "a"})
    assert activity_of(record) is None
    payload = {"agentId": "a", "chain": "c", "token": "T", "contract": None, "change": "-4"}
    assert activity_of(
        EventRecord(1, "AGENT_BALANCE_CHANGED", "node", 5, "a", {**payload, "unknown": 1})
    ) == Activity("a", "c", "T", None, 5, 1, 4)


def record(agent: str, state: WalletState, **times: int) -> LifecycleRecord:
    return msgspec.structs.replace(LifecycleRecord(agent, state, 0), **times)


def test_nobody_is_archived_by_themselves_unless_that_is_switched_on() -> None:
    idle = [record("a", ACTIVE)]
    assert inactive(idle, ArchivePolicy(), 10_000 * DAY) == ()
    assert inactive(idle, ArchivePolicy(enabled=True), 10_000 * DAY) == ("a",)
    assert ArchivePolicy().inactivity_days == 90


def test_inactivity_counts_from_the_last_sign_of_life_on_both_sides_of_the_boundary() -> None:
    policy = ArchivePolicy(enabled=True)
    for sign in ("created_ms", "activated_ms", "last_activity_ms", "suspended_ms"):
        records = [record("a", ACTIVE, **{sign: 5 * DAY})]
        assert inactive(records, policy, 95 * DAY) == ()
        assert inactive(records, policy, 95 * DAY + 1) == ("a",)
    states = [record(state.value, state) for state in WalletState]
    assert inactive(states, policy, 91 * DAY) == ("ACTIVE", "SUSPENDED")


async def test_inactive_agents_are_archived_with_the_reason(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as fleet:
        await fleet.wallets.create_named(["busy", "idle"])
        await fleet.fund("busy", 1)
        await fleet.clock.advance(60)
        await fleet.fund("idle", 1)
        await fleet.lifecycle.observe()
        await fleet.clock.advance(91 * 86_400)
        await fleet.store.append([changed("busy", "base", 1, fleet.clock.now_ms())])
        await fleet.lifecycle.observe()
        assert await fleet.lifecycle.archive_inactive(ArchivePolicy()) == ()
        assert await fleet.lifecycle.archive_inactive(ArchivePolicy(enabled=True)) == ("idle",)
        assert await fleet.lifecycle.archive_inactive(ArchivePolicy(enabled=True)) == ()
        (_, idle) = await fleet.lifecycle.get_all_records()
        assert (idle.state, idle.reason) == (ARCHIVED, "inactive for 90 days")


async def test_records_move_from_one_store_to_another_as_they_are(tmp_path: Path) -> None:
    async with opened(tmp_path / "old.db") as old:
        await old.wallets.create_named(["a", "b"])
        await old.fund("a", 1)
        await old.lifecycle.observe()
        await old.store.append([changed("a", "base", 2**70, 4)])
        await old.lifecycle.observe()
        await old.lifecycle.archive(["a"], "sold")
        wallets = await old.wallets.get_all_wallets()
        records = await old.lifecycle.get_all_records()
    copies = msgspec.json.decode(
        msgspec.json.encode(records, enc_hook=str),
        type=list[LifecycleRecord],
        dec_hook=lambda kind, value: kind(value),
        strict=False,
    )
    assert copies == records
    fresh = [msgspec.structs.replace(w, state=PENDING) for w in wallets]
    async with opened(tmp_path / "new.db") as new:
        await new.wallets.import_wallets(fresh)
        for each in copies:
            await new.lifecycle.import_lifecycle_record(each)
        assert await new.lifecycle.get_all_records() == records
        assert await new.wallets.get_all_wallets() == wallets
        told = await new.events("AGENT_WALLET_STATE_CHANGED")
        assert [(e.subject, e.payload["newState"]) for e in told] == [("a", "ARCHIVED")]
        with pytest.raises(LifecycleError, match="final"):
            await new.lifecycle.import_lifecycle_record(
                msgspec.structs.replace(copies[0], state=ACTIVE)
            )
        with pytest.raises(NoWallet):
            await new.lifecycle.import_lifecycle_record(record("nobody", ACTIVE))
        with pytest.raises(StoreError):
            await new.store.put_lifecycle_record(record("nobody", ACTIVE), ())


def test_events_of_a_change_are_told_in_the_words_of_the_specification() -> None:
    from core.events import AgentWalletStateChanged, payload_of

    event: Event = AgentWalletStateChanged(
        timestamp=0, agent_id="a", old_state="ACTIVE", new_state="SUSPENDED", reason="r"
    )
    assert event.TYPE == "AGENT_WALLET_STATE_CHANGED"
    assert set(payload_of(event)) == {"timestamp", "agentId", "oldState", "newState", "reason"}
