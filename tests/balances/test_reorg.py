"""A reorganisation takes back what no longer holds, and only that."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.events import EventRecord
from tests.balances.fleet import Fleet, fleet, running

CHANGED, REVERTED = "AGENT_BALANCE_CHANGED", "AGENT_BALANCE_REVERTED"


def told(events: list[EventRecord]) -> list[tuple[object, ...]]:
    return [
        (e.type.rpartition("_")[2], e.payload["oldBalance"], e.payload["newBalance"])
        for e in events
    ]


async def fork(made: Fleet, below: int, amount: int) -> None:
    """The next reading is of another branch that left the old one above block `below`."""
    made.readers["base"].forked_below = below
    made.put("a", "base", amount)
    await made.cycle()


async def history(made: Fleet) -> list[int]:
    account = made.cache.find("a", "base", "ETH")
    assert account is not None
    rows = await made.store.history(account, 0, made.clock.now_ms())
    return [row.amount for row in rows]


async def test_a_change_that_is_included_again_still_holds(tmp_path: Path) -> None:
    async with fleet(tmp_path, agents=("a",), token=False) as made:
        made.put("a", "base", 100)
        async with running(made):
            made.put("a", "base", 90)
            await made.cycle()
            await fork(made, 101, 90)
            assert made.amount("a", "base", "ETH") == 90
        assert told(await made.events(CHANGED, REVERTED)) == [("CHANGED", "100", "90")]
        assert await history(made) == [100, 90]
        (event,) = await made.events("CHAIN_REORGANISED")
        assert (event.payload["commonBlock"], event.payload["newHead"]) == (101, 103)
        assert event.payload["oldHead"] == 102


async def test_a_change_that_is_gone_is_reverted(tmp_path: Path) -> None:
    async with fleet(tmp_path, agents=("a",), token=False) as made:
        made.put("a", "base", 100)
        async with running(made):
            made.put("a", "base", 90)
            await made.cycle()
            await fork(made, 101, 100)
            assert made.amount("a", "base", "ETH") == 100
        events = await made.events(CHANGED, REVERTED)
        assert told(events) == [("CHANGED", "100", "90"), ("REVERTED", "90", "100")]
        assert events[1].payload["revertedSequence"] == events[0].seq
        assert await history(made) == [100]


async def test_a_change_that_came_out_otherwise_is_reverted_and_told_anew(tmp_path: Path) -> None:
    async with fleet(tmp_path, agents=("a",), token=False) as made:
        made.put("a", "base", 100)
        async with running(made):
            for amount in (90, 80):
                made.put("a", "base", amount)
                await made.cycle()
            await fork(made, 101, 75)
            assert made.amount("a", "base", "ETH") == 75
        assert told(await made.events(CHANGED, REVERTED)) == [
            ("CHANGED", "100", "90"),
            ("CHANGED", "90", "80"),
            ("REVERTED", "80", "90"),
            ("REVERTED", "90", "100"),
            ("CHANGED", "100", "75"),
        ]
        assert await history(made) == [100, 75]


async def test_changes_below_the_fork_stand(tmp_path: Path) -> None:
    async with fleet(tmp_path, agents=("a",), token=False) as made:
        made.put("a", "base", 100)
        async with running(made):
            for amount in (90, 80):
                made.put("a", "base", amount)
                await made.cycle()
            await fork(made, 102, 90)
        assert told(await made.events(CHANGED, REVERTED))[2:] == [("REVERTED", "80", "90")]
        assert await history(made) == [100, 90]


async def test_a_row_unread_on_the_new_branch_keeps_its_figure(tmp_path: Path) -> None:
    async with fleet(tmp_path, agents=("a",), token=False) as made:
        made.put("a", "base", 100)
        async with running(made):
            made.put("a", "base", 90)
            await made.cycle()
            made.fail("a", "base", "timeout")
            await fork(made, 101, 100)
            assert made.amount("a", "base", "ETH") == 90
            made.fail("a", "base", "")
            await made.cycle()
            assert made.amount("a", "base", "ETH") == 100
        assert told(await made.events(CHANGED, REVERTED))[-1][2] == "100"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(0, 4), st.just(2**256 - 1)),
            st.one_of(st.none(), st.integers(1, 3)),  # blocks back the branch forks
            st.booleans(),  # restart before this reading
        ),
        min_size=1,
        max_size=12,
    )
)
async def test_events_replayed_over_the_first_values_give_the_cached_balances(
    steps: list[tuple[int | None, int | None, bool]], tmp_path_factory: object
) -> None:
    path = tmp_path_factory.mktemp("replay")  # type: ignore[attr-defined]
    async with fleet(path, agents=("a",), token=False) as made:
        made.put("a", "base", 3)
        first = 3
        position = 0
        while position < len(steps):
            if position:
                made.compose()
                await made.tracker.load()
            async with running(made):
                while True:
                    amount, back, _ = steps[position]
                    if amount is None:
                        made.fail("a", "base", "timeout")
                    else:
                        made.fail("a", "base", "")
                        made.put("a", "base", amount)
                    if back is not None:
                        made.readers["base"].forked_below = made.readers["base"].block - back
                    await made.cycle()
                    position += 1
                    if position == len(steps) or steps[position][2]:
                        break
            amount = first
            for event in await made.events(CHANGED, REVERTED):
                assert event.payload["oldBalance"] == str(amount)
                amount = int(str(event.payload["newBalance"]))
            assert amount == made.amount("a", "base", "ETH")
            stored = (await made.store.balances())[0]
            assert stored.amount == amount
