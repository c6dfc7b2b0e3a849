"""Whatever is asked of accounting, in whatever order: the books balance and agree with a model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.accounting import (
    AccountManager,
    CreditLimits,
    Direction,
    Packet,
    Pair,
    SettlementRefused,
    Stage,
    Step,
)
from core.accounting.ids import digest_id
from core.accounting.trial import Trial
from core.ledger import Account, Book, LedgerHealth, QueryFilter
from tests.unit.ledger.worlds import AsyncBook, ManualClock

PEERS = ("P", "Q", "R")


class OpenBook(AsyncBook):
    """The bare book as a ledger: what is asked here needs no disk, and thousands of them do."""

    backend = "book"

    def health(self) -> LedgerHealth:
        return LedgerHealth(self.backend)

    async def open(self) -> None: ...

    async def close(self) -> None: ...


@dataclass
class Expected:
    """What the accounts must stand at, by arithmetic of our own."""

    receivable: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PEERS, 0))
    payable: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PEERS, 0))
    held: dict[str, tuple[Packet, float]] = field(default_factory=dict)
    paying: dict[int, tuple[str, Direction, int]] = field(default_factory=dict)

    def lapse(self, now: float) -> None:
        self.held = {id_: (p, until) for id_, (p, until) in self.held.items() if until > now}

    def book(self, packet: Packet) -> None:
        self.receivable[packet.source] += packet.amount_in
        self.payable[packet.destination] += packet.amount_out

    def pay(self, peer: str, direction: Direction, amount: int) -> None:
        owed = self.receivable if direction is Direction.RECEIVABLE else self.payable
        owed[peer] -= amount


packet_numbers = st.integers(0, 5)
ACTIONS = st.one_of(
    st.tuples(
        st.just("step"),
        st.sampled_from(Stage),
        packet_numbers,
        st.sampled_from(PEERS),
        st.sampled_from(PEERS),
        st.integers(-1, 90),
        st.integers(0, 90),
    ),
    st.tuples(st.just("begin"), st.sampled_from(PEERS), st.sampled_from(Direction), packet_numbers),
    st.tuples(st.just("end"), packet_numbers, st.integers(-1, 60)),
    st.tuples(st.just("limit"), st.one_of(st.none(), st.integers(0, 200))),
    st.tuples(st.just("wait"), st.integers(1, 40)),
    st.tuples(st.just("restart")),
)


async def run(actions: list[tuple[object, ...]]) -> None:
    clock = ManualClock()
    ledger = OpenBook(Book(clock))
    limits = CreditLimits(150)
    manager = AccountManager(ledger, "node", ("USD",), limits)
    model = Expected()
    for action in actions:
        match action:
            case ("step", Stage() as stage, int(n), str(p), str(q), int(a), int(b)):
                await step(
                    manager,
                    model,
                    clock,
                    Step(
                        stage,
                        Packet(f"packet-{n}", p, q, "USD", a, b),
                        30 if stage is Stage.PREPARE else 0,
                    ),
                )
            case ("begin", str(peer), Direction() as direction, int(n)):
                await begin(manager, model, peer, direction, n)
            case ("end", int(n), int(amount)):
                await end(manager, model, n, amount)
            case ("limit", limit):
                assert limit is None or isinstance(limit, int)
                limits = CreditLimits(limit)
                await manager.set_limits(limits)
            case ("wait", int(seconds)):
                clock.advance(seconds + 0.0015)  # never exactly when something lapses
                model.lapse(clock.monotonic())
            case _:
                manager = AccountManager(ledger, "node", ("USD",), limits)
        await check(manager, model, ledger)


async def step(
    manager: AccountManager, model: Expected, clock: ManualClock, given_step: Step
) -> None:
    [result] = await manager.commit([given_step])
    packet = given_step.packet
    if not result.booked:
        return
    if given_step.stage is Stage.PREPARE:
        model.held[packet.id] = (packet, clock.monotonic() + given_step.timeout_s)
    elif given_step.stage is Stage.RECORD:
        model.book(packet)
    else:
        held, _ = model.held.pop(packet.id)  # only what is held can be fulfilled or rejected
        if given_step.stage is Stage.FULFIL:
            model.book(held)


async def begin(
    manager: AccountManager, model: Expected, peer: str, direction: Direction, number: int
) -> None:
    id_ = digest_id("payment", str(number))
    try:
        result = await manager.settlements.begin(peer, "USD", direction, 40 + number, id_)
    except SettlementRefused:
        return
    if not result.replayed:
        model.paying[id_] = (peer, direction, 40 + number)


async def end(manager: AccountManager, model: Expected, number: int, amount: int) -> None:
    id_ = digest_id("payment", str(number))
    peer, direction, begun = model.paying.get(id_, ("P", Direction.RECEIVABLE, 0))
    try:
        if amount < 0:
            result = await manager.settlements.fail(peer, "USD", direction, id_)
        else:
            result = await manager.settlements.complete(peer, "USD", direction, id_, amount)
    except SettlementRefused:
        return
    if not result.replayed:
        del model.paying[id_]
        if amount >= 0:
            assert amount <= begun
            model.pay(peer, direction, amount)


async def check(manager: AccountManager, model: Expected, ledger: OpenBook) -> None:
    balances = await manager.get_account_balances([Pair(peer, "USD") for peer in PEERS])
    for balance in balances:
        peer = balance.peer
        assert balance.receivable == model.receivable[peer]
        assert balance.payable == model.payable[peer]
        held = [packet for packet, _ in model.held.values()]
        assert balance.receivable_in_flight == sum(p.amount_in for p in held if p.source == peer)
        assert balance.payable_in_flight == sum(p.amount_out for p in held if p.destination == peer)
        under_way = [
            sum(amount for p, d, amount in model.paying.values() if (p, d) == (peer, direction))
            for direction in Direction
        ]
        assert [balance.receivable_in_transit, balance.payable_in_transit] == under_way
        owed = balance.receivable + balance.receivable_in_flight
        if balance.limit is not None and Pair(peer, "USD") in manager.pairs:
            assert owed <= balance.limit
        if balance.headroom is not None and balance.target is not None:
            assert balance.headroom == max(
                0,
                min(balance.target, balance.limit if balance.limit is not None else balance.target)
                - owed,
            )
    [trial] = await manager.trial_balance()
    assert (trial.difference, trial.pending_difference) == (0, 0)
    everything = await ledger.query_accounts(QueryFilter(limit=8_000))
    assert trial.accounts == len(everything)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=40))
def test_any_sequence_keeps_the_books_balanced_and_as_the_model_says(
    actions: list[tuple[object, ...]],
) -> None:
    asyncio.run(run(actions))


class Lopsided(OpenBook):
    """A ledger that lost one side of a transfer, as a damaged one might."""

    missing = 0

    async def lookup_accounts(self, ids: object) -> list[Account]:
        assert isinstance(ids, list | tuple)
        rows = await super().lookup_accounts(ids)
        return [
            Account(id=r.id, ledger=1, debits_posted=r.debits_posted + self.missing) for r in rows
        ]


async def test_a_ledger_that_does_not_balance_is_reported() -> None:
    ledger = Lopsided(Book(ManualClock()))
    await ledger.create_accounts([Account(id=1, ledger=1, code=1), Account(id=2, ledger=1, code=1)])
    [even] = await Trial(ledger).read({"USD": 1})
    assert even.balanced
    ledger.missing = 3
    [odd] = await Trial(ledger).read({"USD": 1})
    assert (odd.difference, odd.balanced, odd.confirmed) == (6, False, True)


async def test_a_difference_that_comes_of_reading_a_moving_ledger_is_not_confirmed() -> None:
    class Moving(Lopsided):
        async def lookup_accounts(self, ids: object) -> list[Account]:
            self.missing += 1
            return await super().lookup_accounts(ids)

    ledger = Moving(Book(ManualClock()))
    await ledger.create_accounts([Account(id=1, ledger=1, code=1)])
    [moving] = await Trial(ledger).read({"USD": 1})
    assert not moving.confirmed
