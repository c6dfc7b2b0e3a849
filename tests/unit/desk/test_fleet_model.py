"""Rows in order: sorted exactly, filtered, counted, and moved no more than they must."""

from __future__ import annotations

import random
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api import AssetTotal, BalanceView, EngineState, StatePatch
from core.model import Agent, Amount, Severity, WalletState
from tests.desk.fleets import (
    ASSETS,
    NOW_MS,
    StillClock,
    chain_states,
    fleet_model,
    fleet_state,
    moved,
    patch_of,
    view_of,
)
from tui.fleet import FleetModel
from tui.fleet_order import FEW, SLICE, SortKey
from tui.query import QueryError

edit = msgspec.structs.replace


def model_of(*views: BalanceView, clock: StillClock | None = None) -> FleetModel:
    """A model of just these rows, over the usual registry."""
    model = FleetModel(clock or StillClock())
    agents = tuple(Agent(name) for name in dict.fromkeys(view.agent for view in views))
    model.load(edit(fleet_state(0), balances=views, agents=agents, totals=()))
    return model


def test_problems_come_first_and_equals_stand_by_agent() -> None:
    model = fleet_model(500)
    loudness = [model.rows[account].severity for account in model.order]
    ranks = {Severity.PROBLEM: 0, Severity.WARNING: 1, Severity.OK: 2}
    assert [ranks[each] for each in loudness] == sorted(ranks[each] for each in loudness)
    calm = [model.rows[a].agent for a in model.order if model.rows[a].severity is Severity.OK]
    assert calm == sorted(calm)


def test_agents_are_sorted_by_their_numbers_not_their_digits() -> None:
    names = ["agent-10", "agent-9", "Agent-2", "beta"]
    model = model_of(*(edit(view_of(1), account=i, agent=n) for i, n in enumerate(names)))
    model.set_sort(SortKey.AGENT)
    assert [model.rows[a].agent for a in model.order] == ["Agent-2", "agent-9", "agent-10", "beta"]
    model.set_sort(SortKey.AGENT, is_reversed=True)
    assert model.rows[model.order[0]].agent == "beta"


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(ASSETS), st.integers(0, 2**256 - 1) | st.integers(0, 10**7)),
        min_size=1,
        max_size=20,
    )
)
def test_balances_of_any_decimals_are_sorted_exactly(
    rows: list[tuple[msgspec.Struct, int]],
) -> None:
    views = [
        BalanceView(i, f"a-{i}", ASSETS[0].chain, getattr(asset, "id", 0), "0x", Amount(amount))
        for i, (asset, amount) in enumerate(rows)
    ]
    model = model_of(*views)
    model.set_sort(SortKey.BALANCE)
    shown = [Fraction(model.rows[a].amount or 0, 10 ** model.rows[a].decimals) for a in model.order]
    assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("sort", [SortKey.BALANCE, SortKey.CHANGE, SortKey.RUNWAY])
def test_what_is_not_known_comes_last_in_both_directions(sort: SortKey, is_reversed: bool) -> None:
    unknown = edit(view_of(1), amount=None, change_1h=None, runway_s=None)
    others = [edit(view_of(number), runway_s=number) for number in (2, 3, 4)]
    model = model_of(unknown, *others)
    model.set_sort(sort, is_reversed)
    assert model.order[-1] == 1


@pytest.mark.parametrize("sort", list(SortKey))
def test_an_order_kept_by_patches_is_the_order_of_a_fresh_load(sort: SortKey) -> None:
    clock = StillClock()
    kept = fleet_model(300, clock)
    kept.set_sort(sort)
    views = {number: view_of(number) for number in range(1, 301)}
    rng = random.Random(5)
    for _ in range(6):
        changed = [
            edit(
                moved(views[number], rng.randrange(-(10**9), 10**9)),
                severity=rng.choice(list(Severity)),
                runway_s=rng.choice([None, 0, 50, 5_000]),
            )
            for number in rng.sample(range(1, 301), 40)
        ]
        views |= {view.account: view for view in changed}
        kept.apply(patch_of(changed))
        clock.advance(1.1)
        kept.arrange()
    fresh = FleetModel(clock)
    fresh.set_sort(sort)
    fresh.load(edit(fleet_state(300), balances=tuple(views.values())))
    assert kept.order == fresh.order
    assert kept.counts == fresh.counts


def test_a_patch_tells_which_rows_changed_and_no_others() -> None:
    model = fleet_model(50)
    before = {account: row.version for account, row in model.rows.items()}
    assert model.apply(patch_of([moved(view_of(7), 5), moved(view_of(9), 5)])) == {7, 9}
    after = {account: row.version for account, row in model.rows.items()}
    assert {account for account in after if after[account] != before[account]} == {7, 9}
    assert model.rows[7].view.change_1h == 5


def test_the_order_moves_at_most_once_a_second() -> None:
    clock = StillClock()
    model = fleet_model(50, clock)
    model.set_sort(SortKey.BALANCE)
    quiet, other = model.order[20:22]
    model.apply(patch_of([moved(model.rows[quiet].view, 10**30)]))
    assert model.arrange()
    assert model.order[0] == quiet
    model.apply(patch_of([moved(model.rows[other].view, 10**70)]))
    assert not model.arrange()
    clock.advance(0.9)
    assert not model.arrange()
    clock.advance(0.2)
    assert model.arrange()
    assert model.order[0] == other


def test_the_order_rests_while_the_cursor_moves() -> None:
    clock = StillClock()
    model = fleet_model(50, clock)
    model.set_sort(SortKey.BALANCE)
    last = next(a for a in reversed(model.order) if model.rows[a].amount is not None)
    model.apply(patch_of([moved(model.rows[last].view, 10**30)]))
    for _ in range(5):
        model.cursor_moved()
        clock.advance(0.5)
        assert not model.arrange()
    clock.advance(0.6)
    assert model.arrange()
    assert model.order[0] == last


def test_a_change_that_does_not_touch_the_sort_moves_nothing() -> None:
    clock = StillClock()
    model = fleet_model(50, clock)
    before, version = model.order, model.order_version
    model.apply(patch_of([moved(view_of(3), 10**9)]))
    clock.advance(2)
    assert not model.arrange()
    assert model.order is before
    assert model.order_version == version


def test_a_frozen_order_keeps_every_row_in_place_and_puts_new_ones_last() -> None:
    clock = StillClock()
    model = fleet_model(50, clock)
    model.set_frozen(True)
    before = list(model.order)
    quiet = before[-1]
    model.apply(patch_of([edit(model.rows[quiet].view, severity=Severity.PROBLEM), view_of(999)]))
    clock.advance(2)
    assert model.arrange()
    assert model.order == [*before, 999]
    model.set_frozen(False)
    assert model.position(quiet) != len(before) - 1


def test_a_removed_row_leaves_at_once_even_while_the_order_rests() -> None:
    model = fleet_model(50)
    model.cursor_moved()
    gone = model.order[3]
    assert model.apply(StatePatch(2, NOW_MS, removed=(gone,))) == {gone}
    assert not model.arrange()
    assert gone not in model.order
    assert model.position(gone) is None
    assert model.next_problem(gone) in model.order


def test_a_row_enters_and_leaves_a_filter_as_its_balance_moves() -> None:
    clock = StillClock()
    model = fleet_model(60, clock)
    model.set_filter("bal<1 asset:xrp")
    poor = next(a for a, row in model.rows.items() if row.symbol == "XRP" and row.amount)
    assert poor not in model.order
    model.apply(patch_of([edit(model.rows[poor].view, amount=Amount(5))]))
    clock.advance(2)
    assert model.arrange()
    assert poor in model.order
    model.apply(patch_of([edit(model.rows[poor].view, amount=Amount(5 * 10**9))]))
    clock.advance(2)
    assert model.arrange()
    assert poor not in model.order


def test_a_filter_by_age_lets_rows_in_as_time_passes() -> None:
    clock = StillClock()
    model = fleet_model(40, clock)
    model.set_filter("age>4m -chain:tron")
    assert not [a for a in model.order if not model.rows[a].view.error]
    clock.advance(600)
    model.tick()
    assert model.arrange()
    assert {model.rows[a].chain for a in model.order} == {"base", "xrpl", "bsc"}


def test_a_wrong_filter_leaves_the_old_one_standing() -> None:
    model = fleet_model(40)
    model.set_filter("chain:tron")
    before = model.order
    with pytest.raises(QueryError):
        model.set_filter("nonsense:1")
    assert model.order is before
    assert model.query.text == "chain:tron"


def test_problems_only_comes_on_top_of_a_filter() -> None:
    model = fleet_model(400)
    model.set_filter("chain:base")
    model.set_problems_only(True)
    shown = [model.rows[account] for account in model.order]
    assert shown
    assert all(row.chain == "base" and row.severity is not Severity.OK for row in shown)


def test_next_problem_goes_round_both_ends() -> None:
    model = fleet_model(400)
    model.set_sort(SortKey.AGENT)
    problems = [a for a in model.order if model.rows[a].severity is not Severity.OK]
    assert model.next_problem(None) == problems[0]
    assert model.next_problem(None, -1) == problems[-1]
    assert model.next_problem(problems[-1]) == problems[0]
    assert model.next_problem(problems[0], -1) == problems[-1]
    assert model_of(view_of(1)).next_problem(1) is None


def test_an_agent_counts_once_by_its_worst_row() -> None:
    first = edit(view_of(1), agent="a", severity=Severity.WARNING)
    second = edit(view_of(2), agent="a", severity=Severity.PROBLEM)
    model = model_of(first, second, edit(view_of(3), agent="b"))
    assert model.counts == (2, 1, 0, 1)
    model.apply(patch_of([edit(second, severity=Severity.OK)]))
    assert model.counts == (2, 1, 1, 0)
    model.apply(StatePatch(3, NOW_MS, removed=(1,)))
    assert model.counts == (2, 2, 0, 0)


def test_totals_of_one_symbol_are_added_exactly_over_chains_and_decimals() -> None:
    model = fleet_model(0)
    model.apply(
        StatePatch(
            2,
            NOW_MS,
            totals=(
                AssetTotal(2, Amount(1_500_000), 1, 2),
                AssetTotal(5, Amount(2 * 10**18 + 1), 1, 1),
            ),
        )
    )
    assert model.totals() == [("USDC", 18, 3_500_000_000_000_000_001, 3)]


def test_new_words_about_an_agent_reach_its_rows_and_the_filter() -> None:
    clock = StillClock()
    model = fleet_model(40, clock)
    model.set_filter("tag:fresh")
    assert not model.order
    agent = edit(model.agents["agent-0003"], tags=("fresh",), state=WalletState.SUSPENDED)
    dirty = model.apply(StatePatch(2, NOW_MS, agents=(agent,)))
    clock.advance(2)
    model.arrange()
    assert {model.rows[a].agent for a in dirty} == {"agent-0003"}
    assert set(model.order) == dirty
    assert "suspended" in model.rows[model.order[0]].search


def test_a_sweep_of_a_chain_makes_its_rows_fresh_without_touching_them() -> None:
    clock = StillClock()
    model = fleet_model(40, clock)
    row = next(row for row in model.rows.values() if row.chain == "tron" and not row.view.error)
    version = row.version
    assert row.is_stale(NOW_MS)
    assert "tron stale 2m: 429 from every endpoint" in row.reason(NOW_MS)
    tron = edit(chain_states()[2], state="live", reason="", swept_ms=NOW_MS)
    assert model.apply(StatePatch(2, NOW_MS, chains=(tron,))) == set()
    assert not row.is_stale(NOW_MS)
    assert row.version == version
    assert row.reason(NOW_MS) == ""


def test_a_failed_read_stays_old_whatever_the_chain_does() -> None:
    failed = edit(view_of(1), chain="base", error="429", checked_ms=NOW_MS - 150_000)
    row = model_of(failed).rows[1]
    assert row.is_stale(NOW_MS)
    assert row.checked_ms == NOW_MS - 150_000
    assert "last read 2m ago: 429" in row.reason(NOW_MS)


def test_a_row_before_its_registry_entry_shows_raw_units() -> None:
    model = fleet_model(0)
    model.apply(patch_of([edit(view_of(1), asset=77)]))
    assert model.rows[1].symbol == "#77"
    assert model.rows[1].decimals == 0


@given(st.lists(st.integers(1, 40), unique=True), st.lists(st.integers(1, 40), unique=True))
def test_position_is_always_the_place_in_the_order(gone: list[int], changed: list[int]) -> None:
    clock = StillClock()
    model = fleet_model(40, clock)
    model.set_sort(SortKey.CHANGE)
    model.apply(patch_of([moved(view_of(number), number * 10**9) for number in changed]))
    model.apply(StatePatch(3, NOW_MS, removed=tuple(gone)))
    clock.advance(2)
    model.arrange()
    assert sorted(model.order) == sorted(model.rows)
    assert [model.position(account) for account in model.order] == list(range(len(model.order)))


def test_loading_again_replaces_everything_and_keeps_what_the_operator_chose() -> None:
    model = fleet_model(40)
    model.set_sort(SortKey.AGENT)
    model.set_filter("chain:base")
    state: EngineState = fleet_state(10)
    model.load(state)
    assert len(model.rows) == 10
    assert {model.rows[a].chain for a in model.order} == {"base"}
    assert model.sort is SortKey.AGENT
    assert model.counts.agents == 5


def test_a_large_change_is_looked_at_in_slices_and_moved_at_once() -> None:
    clock = StillClock()
    model = fleet_model(3 * SLICE, clock)
    model.set_sort(SortKey.BALANCE)
    before, chance = list(model.order), random.Random(5)
    views = [moved(row.view, chance.randrange(10**30)) for row in model.rows.values()]
    model.apply(patch_of(views))
    slices = 0
    for _ in model.arranging():
        slices += 1
        assert model.order == before
    assert slices == 3
    fresh = model_of(*views)
    fresh.set_sort(SortKey.BALANCE)
    assert [model.rows[a].amount for a in model.order] == [
        fresh.rows[a].amount for a in fresh.order
    ]


@pytest.mark.parametrize("changed", [1, FEW, FEW + 1])
def test_few_rows_and_many_come_into_the_same_places(changed: int) -> None:
    clock, chance = StillClock(), random.Random(changed)
    model = fleet_model(2 * FEW, clock)
    model.set_sort(SortKey.CHANGE)
    for account in chance.sample(list(model.rows), changed):
        view = model.rows[account].view
        model.apply(patch_of([edit(view, change_1h=Amount(chance.randrange(-9, 9)))]))
    assert model.arrange()
    kept = list(model.order)
    model.set_sort(SortKey.CHANGE)  # all keys made and all rows sorted anew
    assert kept == model.order


def test_a_cursor_that_moves_between_two_slices_puts_the_move_off() -> None:
    clock = StillClock()
    model = fleet_model(2 * SLICE, clock)
    model.set_sort(SortKey.BALANCE)
    last = next(a for a in reversed(model.order) if model.rows[a].amount is not None)
    before = model.order
    model.apply(patch_of([moved(model.rows[last].view, 10**30)]))
    arranging = model.arranging()
    next(arranging)
    model.cursor_moved()
    assert list(arranging) == []
    assert model.order is before
    clock.advance(1.1)
    assert model.arrange()
    assert model.order[0] == last


@pytest.mark.parametrize("meanwhile", ["sort", "filter", "freeze", "removal"])
def test_what_an_operator_does_between_two_slices_stands(meanwhile: str) -> None:
    clock = StillClock()
    model = fleet_model(2 * SLICE, clock)
    model.set_filter("-chain:tron")
    moving = model.order[7]
    model.apply(patch_of([edit(model.rows[moving].view, severity=Severity.PROBLEM)]))
    arranging = model.arranging()
    next(arranging)
    match meanwhile:
        case "sort":
            model.set_sort(SortKey.AGENT)
        case "filter":
            model.set_filter("chain:tron")
        case "freeze":
            model.set_frozen(True)
        case "removal":
            model.apply(StatePatch(3, NOW_MS, removed=(moving,)))
    stands = list(model.order)
    list(arranging)
    if meanwhile == "freeze":
        assert model.order == stands
        model.set_frozen(False)
    fresh = FleetModel(clock)
    fresh.set_filter(model.query.text)
    fresh.set_sort(model.sort)
    views = tuple(row.view for row in model.rows.values())
    fresh.load(edit(fleet_state(2 * SLICE), balances=views))
    assert model.order == fresh.order


def test_ages_are_as_of_the_tick_until_the_next_one() -> None:
    clock = StillClock()
    model = fleet_model(10, clock)
    row = next(row for row in model.rows.values() if row.chain == "base" and not row.view.error)
    assert not row.is_stale(model.now_ms)
    clock.advance(600)
    assert not row.is_stale(model.now_ms)
    model.tick()
    assert row.is_stale(model.now_ms)
