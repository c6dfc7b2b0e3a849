"""Custody: what is recorded explains the chain, and what is not is found, under both policies."""

from __future__ import annotations

import asyncio

import pytest

from core.accounting import (
    ChainReading,
    ChainRules,
    Custody,
    CustodyRefused,
    FindingState,
    Holding,
    Movement,
    Policy,
)
from core.accounting.custody_types import Finding
from core.accounting.ids import Kind, account_id
from core.ledger import AMOUNT_MAX
from tests.accounting.conftest import Books

FINALITY = 10
STRICT = ChainRules(Policy.STRICT, FINALITY)
OBSERVE = ChainRules(Policy.OBSERVE, FINALITY)
BOTH = pytest.mark.parametrize("rules", [STRICT, OBSERVE], ids=["strict", "observe"])
ETHER = 10**18
S = FindingState


def wei(agent: str = "agent") -> Holding:
    return Holding(agent, "base", "ETH")


class Chain:
    """One holding as an endpoint states it, read by custody at a block of our choosing."""

    def __init__(self, custody: Custody, holding: Holding | None = None) -> None:
        self.custody = custody
        self.holding = holding or wei()

    async def says(self, amount: int | None, block: int, reason: str = "") -> Finding:
        reading = ChainReading(self.holding, amount, block, reason)
        [finding] = await self.custody.reconcile([reading])
        return finding

    async def move(self, amount: int, reference: str) -> None:
        await self.custody.record_movement(*self.holding, amount, reference)


async def opened(books: Books, rules: ChainRules, amount: int = 5 * ETHER) -> Chain:
    chain = Chain(books.custody(base=rules))
    finding = await chain.says(amount, 100)
    assert (finding.state, finding.ledger_amount, finding.difference) == (S.OPENED, amount, 0)
    return chain


async def unexplained(books: Books) -> int:
    """What stands on the asset's unexplained account, as base units that came in."""
    id_ = account_id(books.node, "", "base:ETH", Kind.UNEXPLAINED)
    return (await books.ledger.get_account_balance(id_)).balance


async def booked(chain: Chain) -> int:
    return (await chain.custody.positions([chain.holding]))[chain.holding]


async def assert_balanced(custody: Custody) -> None:
    trials = await custody.trial_balance()
    assert trials
    assert all(trial.balanced for trial in trials)


@BOTH
async def test_what_is_recorded_explains_what_the_chain_says(
    books: Books, rules: ChainRules
) -> None:
    chain = await opened(books, rules)
    await chain.move(2 * ETHER, "funding")
    await chain.move(-ETHER, "payment")
    await chain.move(-21_000, "payment gas")
    finding = await chain.says(6 * ETHER - 21_000, 101)
    assert (finding.state, finding.difference) == (S.EQUAL, 0)
    await assert_balanced(chain.custody)


@BOTH
async def test_a_payment_reported_after_its_block_is_pending_and_then_equal(
    books: Books, rules: ChainRules
) -> None:
    chain = await opened(books, rules)
    late = await chain.says(4 * ETHER, 101)
    assert (late.state, late.difference, late.since) == (S.PENDING, -ETHER, 101)
    await chain.move(-ETHER, "payment")
    assert (await chain.says(4 * ETHER, 102)).state is S.EQUAL
    assert (await chain.says(4 * ETHER, 102 + FINALITY)).state is S.EQUAL
    assert await unexplained(books) == 0


@BOTH
async def test_a_payment_reported_before_its_block_is_pending_and_then_equal(
    books: Books, rules: ChainRules
) -> None:
    chain = await opened(books, rules)
    await chain.move(-ETHER, "payment")
    early = await chain.says(5 * ETHER, 101)
    assert (early.state, early.difference) == (S.PENDING, ETHER)
    assert (await chain.says(4 * ETHER, 102)).state is S.EQUAL


async def test_gas_nobody_recorded_is_unexplained_until_an_operator_books_it(books: Books) -> None:
    chain = await opened(books, STRICT)
    await chain.move(-ETHER, "payment")
    short = 4 * ETHER - 21_000
    assert (await chain.says(short, 101)).state is S.PENDING
    assert (await chain.says(short, 100 + FINALITY)).state is S.PENDING
    for block in (101 + FINALITY, 500):
        finding = await chain.says(short, block)
        assert (finding.state, finding.unexplained) == (S.UNEXPLAINED, -21_000)
        assert (finding.block, finding.since, finding.booked) == (block, 101, False)
    assert await unexplained(books) == 0
    done = await chain.custody.book_unexplained(*chain.holding, "gas of the payment")
    assert (done.booked, done.unexplained, done.reason) == (True, -21_000, "gas of the payment")
    assert await unexplained(books) == -21_000
    assert (await chain.says(short, 501)).state is S.EQUAL
    with pytest.raises(CustodyRefused, match="nothing is unexplained"):
        await chain.custody.book_unexplained(*chain.holding, "once more")
    await assert_balanced(chain.custody)


async def test_gas_nobody_recorded_is_booked_where_a_chain_is_only_observed(books: Books) -> None:
    chain = await opened(books, OBSERVE)
    short = 5 * ETHER - 21_000
    assert (await chain.says(short, 101)).state is S.PENDING
    finding = await chain.says(short, 101 + FINALITY)
    assert (finding.state, finding.unexplained, finding.booked) == (S.UNEXPLAINED, -21_000, True)
    assert await unexplained(books) == -21_000
    assert await booked(chain) == short
    assert (await chain.says(short, 102 + FINALITY)).state is S.EQUAL
    await assert_balanced(chain.custody)


@BOTH
async def test_a_payment_that_was_reorganised_away_is_found(
    books: Books, rules: ChainRules
) -> None:
    chain = await opened(books, rules)
    await chain.move(-ETHER, "payment")
    assert (await chain.says(4 * ETHER, 105)).state is S.EQUAL
    gone = await chain.says(5 * ETHER, 104)
    assert (gone.state, gone.difference, gone.since) == (S.PENDING, ETHER, 104)
    assert (await chain.says(5 * ETHER, 103 + FINALITY)).state is S.PENDING
    finding = await chain.says(5 * ETHER, 104 + FINALITY)
    assert (finding.state, finding.unexplained) == (S.UNEXPLAINED, ETHER)
    assert finding.booked is (rules is OBSERVE)


@BOTH
async def test_a_payment_that_moved_to_another_block_is_never_unexplained(
    books: Books, rules: ChainRules
) -> None:
    chain = await opened(books, rules)
    await chain.move(-ETHER, "payment")
    states = [
        (await chain.says(amount, block)).state
        for amount, block in ((4 * ETHER, 105), (5 * ETHER, 104), (4 * ETHER, 109))
    ]
    assert states == [S.EQUAL, S.PENDING, S.EQUAL]
    assert (await chain.says(4 * ETHER, 300)).state is S.EQUAL


@BOTH
async def test_an_endpoint_that_lies_by_one_wei_is_noticed(books: Books, rules: ChainRules) -> None:
    chain = await opened(books, rules)
    assert (await chain.says(5 * ETHER + 1, 101)).difference == 1
    finding = await chain.says(5 * ETHER + 1, 101 + FINALITY)
    assert (finding.state, finding.unexplained) == (S.UNEXPLAINED, 1)
    assert finding.booked is (rules is OBSERVE)


async def test_a_lie_that_was_booked_is_taken_back_when_the_endpoint_is_honest(
    books: Books,
) -> None:
    chain = await opened(books, OBSERVE)
    await chain.says(5 * ETHER + 1, 101)
    await chain.says(5 * ETHER + 1, 111)
    assert await unexplained(books) == 1
    assert (await chain.says(5 * ETHER, 112)).state is S.PENDING
    finding = await chain.says(5 * ETHER, 112 + FINALITY)
    assert (finding.unexplained, finding.booked) == (-1, True)
    assert await unexplained(books) == 0


@BOTH
async def test_a_leak_beneath_busy_traffic_is_found_at_its_size(
    books: Books, rules: ChainRules
) -> None:
    chain = await opened(books, rules)
    under_way = [0, 50, 20, 70, 0, 30]
    findings = [
        await chain.says(5 * ETHER - 1_000 - noise, 101 + 2 * turn)
        for turn, noise in enumerate(under_way)
    ]
    assert [f.state for f in findings] == [S.PENDING] * 5 + [S.UNEXPLAINED]
    assert findings[-1].unexplained == -1_000
    assert findings[-1].difference == -1_030


@BOTH
async def test_traffic_that_leans_both_ways_is_pending_for_as_long_as_it_takes(
    books: Books, rules: ChainRules
) -> None:
    chain = await opened(books, rules)
    for turn in range(30):
        finding = await chain.says(5 * ETHER + (7 if turn % 2 else -7), 101 + turn)
        assert finding.state is S.PENDING


async def test_ten_agents_are_each_classified_in_one_reconciliation(books: Books) -> None:
    custody = books.custody(base=STRICT)
    agents = [wei(f"agent-{number}") for number in range(10)]
    await custody.reconcile([ChainReading(h, ETHER, 100) for h in agents])
    for holding in agents[:4]:
        await custody.record_movement(*holding, -1_000, "payment")
    await custody.record_movement(*agents[4], 500, "funding not yet in a block")
    now = [ETHER - 1_000] * 3 + [ETHER] + [ETHER] * 3 + [ETHER - 21_000, ETHER + 1, ETHER]
    early = await custody.reconcile(
        [ChainReading(h, a, 101) for h, a in zip(agents, now, strict=True)]
    )
    assert [f.state for f in early] == [S.EQUAL] * 3 + [S.PENDING] * 2 + [S.EQUAL] * 2 + [
        S.PENDING
    ] * 2 + [S.EQUAL]
    now[4] += 500
    readings: list[ChainReading] = [
        ChainReading(h, a, 101 + FINALITY) for h, a in zip(agents, now, strict=True)
    ]
    readings[9] = ChainReading(agents[9], None, 101 + FINALITY, "execution reverted")
    late = await custody.reconcile(readings)
    assert [(f.state, f.unexplained) for f in late] == [
        (S.EQUAL, 0),
        (S.EQUAL, 0),
        (S.EQUAL, 0),
        (S.UNEXPLAINED, 1_000),  # booked, and reorganised away
        (S.EQUAL, 0),
        (S.EQUAL, 0),
        (S.EQUAL, 0),
        (S.UNEXPLAINED, -21_000),  # gas
        (S.UNEXPLAINED, 1),  # a lie
        (S.UNREAD, 0),
    ]
    assert late[9].reason == "execution reverted"
    # What agrees or is pending is not kept: of a large fleet that is nearly everything.
    assert custody.unexplained == {f.holding: f for f in late if f.state is S.UNEXPLAINED}


async def test_a_fleet_is_reconciled_in_one_call_and_in_order(books: Books) -> None:
    custody = books.custody(base=STRICT)
    fleet = [wei(f"agent-{number}") for number in range(2_500)]
    opened = await custody.reconcile([ChainReading(h, n, 1) for n, h in enumerate(fleet)])
    assert {f.state for f in opened} == {S.OPENED}
    late = books.custody(base=STRICT)
    found = await late.reconcile([ChainReading(h, n + n % 2, 2) for n, h in enumerate(fleet)])
    assert [f.holding for f in found] == fleet
    assert [f.state for f in found[:4]] == [S.EQUAL, S.PENDING] * 2
    assert await late.positions(fleet) == {h: n for n, h in enumerate(fleet)}
    [trial] = await late.trial_balance()
    assert trial.balanced


async def test_a_movement_is_booked_once_per_reference(books: Books) -> None:
    chain = await opened(books, STRICT, 1_000)
    custody = chain.custody
    assert (await custody.record_movement(*chain.holding, -10, "tx")).booked
    assert (await custody.record_movement(*chain.holding, -10, "tx")).replayed
    assert (await books.custody().record_movement(*chain.holding, -10, "tx")).replayed
    for amount in (-11, 10):
        with pytest.raises(CustodyRefused, match=f"agent, ETH on base: movement 'tx' of {amount}"):
            await custody.record_movement(*chain.holding, amount, "tx")
    assert await booked(chain) == 990


async def test_movements_in_bulk_are_told_one_by_one(books: Books) -> None:
    chain = await opened(books, STRICT, 1_000)
    results = await chain.custody.record_movements(
        [
            Movement(wei(), 5, "a"),
            Movement(wei(), 5, ""),
            Movement(wei("stranger"), 5, "a"),
            Movement(wei(), AMOUNT_MAX + 1, "b"),
            Movement(wei(), 7, "c"),
        ]
    )
    assert [r.status for r in results] == [
        "created",
        "id_must_not_be_zero",
        "debit_account_not_found",
        "field_out_of_range",
        "created",
    ]
    assert "could be booked twice" in results[1].message
    assert "stranger, ETH on base" in results[2].message
    assert await booked(chain) == 1_012


async def test_a_movement_refused_before_the_first_reading_passes_after_it(books: Books) -> None:
    chain = Chain(books.custody(base=STRICT))
    with pytest.raises(CustodyRefused, match="has not been read yet"):
        await chain.move(5, "tx")
    await chain.says(100, 1)
    await chain.move(5, "tx")
    assert await booked(chain) == 105


async def test_the_opening_is_booked_once_whoever_reads_first(books: Books) -> None:
    one, other = (Chain(books.custody(base=STRICT)) for _ in range(2))
    first, second = await asyncio.gather(one.says(100, 1), other.says(103, 2))
    assert sorted((first.state, second.state)) == sorted((S.OPENED, S.PENDING))
    assert await booked(one) in (100, 103)
    again = await Chain(books.custody(base=STRICT)).says(await booked(one), 3)
    assert again.state is S.EQUAL


async def test_a_holding_can_be_opened_at_nothing(books: Books) -> None:
    chain = await opened(books, STRICT, 0)
    assert (await chain.says(0, 101)).state is S.EQUAL
    assert (await chain.says(9, 102)).difference == 9


async def test_a_difference_is_booked_once_by_two_processes(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = [Chain(books.custody(base=OBSERVE)) for _ in range(2)]
    for chain in chains:
        await chain.says(100, 100)
        await chain.says(90, 101)
    books.hold_until(2, monkeypatch)
    findings = await asyncio.gather(*(chain.says(90, 120 + n) for n, chain in enumerate(chains)))
    assert [f.state for f in findings] == [S.UNEXPLAINED] * 2
    assert sum(f.booked for f in findings) == 1
    assert await booked(chains[0]) == 90
    assert [(await chain.says(90, 122)).state for chain in chains] == [S.EQUAL, S.EQUAL]


async def test_a_failed_read_is_never_nothing(books: Books) -> None:
    chain = Chain(books.custody(base=OBSERVE))
    unread = await chain.says(None, 99, "connection refused")
    assert (unread.state, unread.reason, unread.difference) == (
        S.UNREAD,
        "connection refused",
        None,
    )
    assert (await chain.says(100, 100)).state is S.OPENED
    for block in (101, 300):
        assert (await chain.says(None, block)).state is S.UNREAD
    assert await booked(chain) == 100
    assert (await chain.says(100, 301)).state is S.EQUAL


async def test_an_amount_no_ledger_account_can_hold_is_a_state_of_its_own(books: Books) -> None:
    chain = Chain(books.custody(base=OBSERVE))
    finding = await chain.says(2**256 - 1, 100)
    assert (finding.state, finding.chain_amount) == (S.TOO_LARGE, 2**256 - 1)
    assert "2^128 - 1" in finding.reason
    assert (await chain.says(AMOUNT_MAX, 101)).state is S.OPENED
    assert (await chain.says(AMOUNT_MAX + 1, 102)).state is S.TOO_LARGE
    assert (await chain.says(AMOUNT_MAX, 103)).state is S.EQUAL
    with pytest.raises(CustodyRefused, match="overflows"):
        await chain.move(1, "one too many")


async def test_sums_that_no_longer_fit_are_too_large_and_not_booked(books: Books) -> None:
    chain = Chain(books.custody(base=OBSERVE))
    await chain.says(AMOUNT_MAX, 100)
    await chain.move(-10, "out")
    await chain.says(AMOUNT_MAX, 101)  # 10 came in, beyond what was ever debited
    finding = await chain.says(AMOUNT_MAX, 101 + FINALITY * 10)
    assert (finding.state, finding.booked) == (S.TOO_LARGE, False)
    other = Chain(chain.custody, wei("other"))
    assert (await other.says(20, 500)).state is S.TOO_LARGE  # the asset's opening account is full


async def test_readings_of_two_blocks_are_not_one_reconciliation(books: Books) -> None:
    custody = books.custody()
    mixed = [
        ChainReading(Holding("agent", "base", "ETH"), 1, 10),
        ChainReading(Holding("agent", "base", "USDC"), 1, 11),
    ]
    with pytest.raises(CustodyRefused, match="agent on base are of blocks 10 and 11"):
        await custody.reconcile(mixed)
    apart = [mixed[0], ChainReading(Holding("agent", "xrpl", "XRP"), 1, 11)]
    assert [f.state for f in await custody.reconcile(apart)] == [S.OPENED] * 2


async def test_an_operator_gives_a_reason_for_what_still_stands(books: Books) -> None:
    chain = await opened(books, STRICT, 1_000)
    await chain.says(900, 101)
    await chain.says(900, 101 + FINALITY)
    with pytest.raises(CustodyRefused, match="give a reason"):
        await chain.custody.book_unexplained(*chain.holding, "  ")
    await chain.move(-100, "found it")
    with pytest.raises(CustodyRefused, match="movements were booked since"):
        await chain.custody.book_unexplained(*chain.holding, "gas")
    assert (await chain.says(900, 102 + FINALITY)).state is S.EQUAL
    assert await booked(chain) == 900


async def test_each_asset_of_a_chain_has_a_ledger_of_its_own(books: Books) -> None:
    custody = books.custody()
    names = ["ETH", "USDC", "0x0000000000000000000000000000000000000001"]
    await custody.reconcile([ChainReading(Holding("a", "base", n), 5, 1) for n in names])
    trials = await custody.trial_balance()
    assert [t.name for t in trials] == [f"base:{name}" for name in names]
    assert [t.ledger for t in trials] == [1_000_001, 1_000_002, 1_000_003]
    assert all(t.balanced for t in trials)
    restarted = books.custody()
    await restarted.reconcile([ChainReading(Holding("a", "base", names[1]), 5, 2)])
    assert [t.ledger for t in await restarted.trial_balance()] == [1_000_002]


async def test_accounts_of_peers_and_of_agents_share_a_ledger_and_nothing_else(
    books: Books,
) -> None:
    manager = books.manager()
    await manager.record_packet_transfers([books.packet("P", "Q", 1000, 990)])
    chain = await opened(books, OBSERVE)
    assert (await manager.get_account_balance("P", "USD")).receivable == 1000
    assert all(trial.balanced for trial in await manager.trial_balance())
    await assert_balanced(chain.custody)
