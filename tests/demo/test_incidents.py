"""Within one round of the schedule every state of the screen comes up."""

from __future__ import annotations

from core.demo.cast import ASSETS, CHAINS
from core.demo.incidents import (
    ROUND_S,
    SCHEDULE,
    BalanceScript,
    EndpointFault,
    ScheduledFaults,
    active,
    endpoint_fault,
    second_of_round,
)
from core.demo.protocol import Fault
from core.model import Severity
from tests.demo.worlds import START_MS, asset, balance, make_world

ENDPOINTS = {"base": 3, "xrpl": 2, "tron": 2}


LAG_AFTER_S = 120  # as core.balances.view.ProblemRules


def expected_chain_state(chain: str, second: int) -> str:
    """What an operator should see: live while one endpoint is well, and for a while after all
    heads stopped; then lagging; stale where all that can be used hangs (and down as soon as the
    reader gives up on it); else down."""
    faults = {_fault(chain, n, second) for n in range(ENDPOINTS[chain])} - {Fault.WRONG_CHAIN}
    if faults & {None, Fault.TOO_LARGE}:
        return "live"
    if faults == {Fault.STALE}:
        incidents = [endpoint_fault(chain, n, second) for n in range(ENDPOINTS[chain])]
        began = max(i.begin for i in incidents if i is not None)
        return "lagging" if second - began > LAG_AFTER_S else "live"
    return "stale" if faults == {Fault.TIMEOUT} else "down"


def _fault(chain: str, endpoint: int, second: int) -> Fault | None:
    incident = endpoint_fault(chain, endpoint, second)
    return None if incident is None else incident.fault


def severity(amount: int | None, floor: int) -> Severity:
    if amount == 0:
        return Severity.PROBLEM
    return Severity.WARNING if amount is not None and amount < floor else Severity.OK


def test_chains_are_live_lagging_stale_and_down_within_a_round() -> None:
    states = {
        name: [expected_chain_state(name, second) for second in range(ROUND_S)]
        for name in ENDPOINTS
    }
    assert {state for seen in states.values() for state in seen} == {
        "live",
        "lagging",
        "stale",
        "down",
    }
    for seen in states.values():
        assert seen[0] == "live"
        assert seen.count("live") > ROUND_S * 3 // 4


def test_all_chains_are_well_at_first_and_one_fails_within_half_a_minute() -> None:
    for chain, count in ENDPOINTS.items():
        for second in range(15):
            faults = [_fault(chain, n, second) for n in range(count)]
            assert faults[:2] == [None, None]
    assert _fault("base", 0, 20) is Fault.TOO_MANY
    assert _fault("base", 1, 20) is None


def test_every_fault_a_server_knows_is_shown_once() -> None:
    shown = {i.fault for i in SCHEDULE if isinstance(i, EndpointFault)}
    assert shown == set(Fault)


def test_an_agent_is_well_warned_of_and_a_problem_within_a_round() -> None:
    world, _ = make_world(50)
    usdc = asset("USDC")
    seen = [
        severity(balance(world, 6, "USDC", START_MS + second * 1000), usdc.floor)
        for second in range(0, ROUND_S, 2)
    ]
    assert set(seen) == set(Severity)


def test_both_directions_of_a_script_are_seen_a_drain_and_a_refill() -> None:
    scripts = [i for i in SCHEDULE if isinstance(i, BalanceScript)]
    symbols = {a.symbol for a in ASSETS}
    chains = {c.name for c in CHAINS}
    for script in scripts:
        assert script.symbol in symbols
        assert script.chain in chains
        times = [at for at, _ in script.frames]
        assert times[0] == 0
        assert times == sorted(times)
        assert times[-1] < ROUND_S
    assert any(0 in (share for _, share in s.frames) for s in scripts)
    assert any(s.frames[0][1] < 100 < max(share for _, share in s.frames) for s in scripts)


def test_incidents_end_within_their_round_and_name_endpoints_that_exist() -> None:
    for incident in SCHEDULE:
        assert 0 <= incident.begin < incident.end <= ROUND_S
        assert incident.title
        if isinstance(incident, EndpointFault):
            assert max(incident.endpoints) < ENDPOINTS[incident.chain]


def test_the_schedule_repeats_and_does_not_reach_into_the_past() -> None:
    assert second_of_round(START_MS, START_MS - 1) is None
    assert active(START_MS, START_MS - 1) == ()
    assert active(START_MS, START_MS + 20_000) == active(
        START_MS, START_MS + 20_000 + 5 * ROUND_S * 1000
    )
    titles = [i.title for i in active(START_MS, START_MS + 20_000)]
    assert any("429" in title for title in titles)


def test_an_endpoint_that_stands_still_stays_at_the_block_where_it_stopped() -> None:
    world, clock = make_world(10)
    xrpl = world.chain("xrpl")
    plan = ScheduledFaults("xrpl", 1, START_MS, clock, xrpl.block_at)
    still = next(i for i in SCHEDULE if isinstance(i, EndpointFault) and i.fault is Fault.STALE)
    clock.ms = START_MS + still.begin * 1000 + 1
    stopped = plan.current()
    assert stopped is not None
    assert stopped.stuck_at == xrpl.head().number
    clock.ms = START_MS + still.end * 1000 - 1
    later = plan.current()
    assert later == stopped
    assert xrpl.head().number > stopped.stuck_at + 5
    clock.ms = START_MS + still.end * 1000
    assert plan.current() is None


def test_before_the_start_every_endpoint_is_well() -> None:
    world, clock = make_world(10)
    clock.ms = START_MS - 1
    plan = ScheduledFaults("base", 2, START_MS, clock, world.chain("base").block_at)
    assert plan.current() is None
