"""XrplReader when servers fail: a sweep goes on where it was, elsewhere if need be, and an error
is never a zero."""

from __future__ import annotations

import asyncio

import pytest

from core.chains.protocol import ChainUnreachableError
from core.chains.xrpl import XrplReader
from core.demo.protocol import Fault
from core.demo.rippled import RippledServer
from core.model import EndpointState, Reading, Request, Unknown
from tests.integration.chains.ledgers import XRP, Faults, Kept, Ledger, RealClock, xrpl_account

COUNT = 500
ASKED = [Request(xrpl_account(n), XRP) for n in range(COUNT)]
TRUTH = [2_000_000 + n for n in range(COUNT)]


def funded() -> Ledger:
    ledger = Ledger()
    ledger.close({(xrpl_account(n), None): drops for n, drops in enumerate(TRUTH)})
    return ledger


def reader_of(*urls: str, timeout_s: float = 5.0, interval_s: float = 6.0) -> XrplReader:
    return XrplReader("xrpl", urls, RealClock(), Kept(), timeout_s=timeout_s, interval_s=interval_s)


async def test_a_reset_in_mid_stream_costs_only_the_unanswered_rest() -> None:
    ledger, faults = funded(), Faults()
    async with RippledServer(ledger, faults) as server:
        reader = reader_of(server.url)
        faults.begin(Fault.RESET, after=200, over=lambda: server.connections == 2)
        reading = await reader.read(ASKED)
        assert reading.amounts == TRUTH
        assert server.connections == 2
        assert server.served < COUNT + 20, "what was answered before the reset is not asked again"
        health = reader.health()[0]
        assert health.errors == 1
        assert "connection reset" in health.last_error
        await reader.close()


async def test_a_sweep_begun_on_one_server_is_finished_at_the_same_ledger_on_another() -> None:
    ledger, faults = funded(), Faults()
    async with RippledServer(ledger, faults) as first, RippledServer(ledger, Faults()) as second:
        reader = reader_of(first.url, second.url)
        faults.begin(Fault.RESET, after=300)
        began = ledger.head()
        reading = await reader.read(ASKED)
        assert reading.amounts == TRUTH
        assert reading.block.hash == began.hash
        assert reading.endpoint == second.url
        assert first.served + second.served < COUNT + 20
        assert second.served > 0
        await reader.close()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.TIMEOUT, "time-out"),
        (Fault.TOO_MANY, "too many requests: slowDown"),
        (Fault.TOO_LARGE, "too large: closed with 1009"),
        (Fault.SERVER_ERROR, "HTTP 503 instead of a WebSocket"),
        (Fault.HTML, "not JSON-RPC"),
        (Fault.HALF, "answer cut short"),
        (Fault.RESET, "connection reset"),
        (Fault.WRONG_CHAIN, "wrong chain: network id 21339, expected 21338"),
        (Fault.RPC_ERROR, "internal: Internal error"),
    ],
)
async def test_every_fault_of_the_first_server_is_named_and_the_second_takes_over(
    fault: Fault, says: str
) -> None:
    ledger, faults = funded(), Faults()
    async with RippledServer(ledger, faults) as first, RippledServer(ledger, Faults()) as second:
        reader = XrplReader(
            "xrpl",
            (first.url, second.url),
            RealClock(),
            Kept(),
            chain_id=21_338,
            timeout_s=1.0 if fault is Fault.TIMEOUT else 5.0,
            interval_s=6.0,
        )
        faults.begin(fault)
        reading = await reader.read(ASKED)
        assert reading.amounts == TRUTH
        assert reading.endpoint == second.url
        sick, well = reader.health()
        assert says in sick.last_error
        refused = EndpointState.REFUSED if fault is Fault.WRONG_CHAIN else EndpointState.BACKING_OFF
        assert sick.state is refused
        assert (well.state, well.in_use) == (EndpointState.READY, True)
        await reader.close()


@pytest.mark.parametrize(
    "fault", [Fault.TOO_MANY, Fault.SERVER_ERROR, Fault.HTML, Fault.HALF, Fault.RPC_ERROR]
)
async def test_where_nothing_could_be_read_the_reader_says_so_and_recovers(fault: Fault) -> None:
    ledger, faults = funded(), Faults()
    async with RippledServer(ledger, faults) as server:
        reader = reader_of(server.url, interval_s=1.0)
        faults.begin(fault)
        with pytest.raises(ChainUnreachableError, match="chain xrpl: no endpoint answers"):
            await reader.read(ASKED)
        faults.end()
        reading: Reading | None = None
        while reading is None or reading.reasons:
            try:
                reading = await reader.read(ASKED)
            except ChainUnreachableError:
                await asyncio.sleep(0.3)  # its back-off lies beyond the interval
        assert reading.amounts == TRUTH
        await reader.close()


async def test_what_was_read_before_every_server_failed_stands_and_the_rest_is_unknown() -> None:
    ledger, faults = funded(), Faults()
    async with RippledServer(ledger, faults) as server:
        reader = reader_of(server.url, interval_s=1.5, timeout_s=1.0)
        faults.begin(Fault.TIMEOUT, after=300)
        reading = await reader.read(ASKED)
        known = [n for n, amount in enumerate(reading.amounts) if amount is not None]
        assert 50 < len(known) < 300
        assert all(reading.amounts[n] == TRUTH[n] for n in known)
        assert len(reading.reasons) == COUNT - len(known)
        lost = reading[COUNT - 1]
        assert isinstance(lost, Unknown)
        assert "time-out" in lost.reason
        await reader.close()


async def test_a_ledger_unknown_to_the_next_server_is_taken_anew_as_a_whole() -> None:
    ahead, behind, faults = funded(), funded(), Faults()
    mark = (xrpl_account(0), None)
    ahead.close({mark: 7})
    behind.close({mark: 8})
    behind.close({mark: 9})  # of another history: the first server's hash is not in it
    async with RippledServer(_Other(ahead), faults) as first, RippledServer(behind, Faults()) as b:
        reader = reader_of(first.url, b.url)
        faults.begin(Fault.RESET, after=300)
        reading = await reader.read(ASKED)
        assert reading.amounts == [9, *TRUTH[1:]]
        assert reading.block.hash == behind.head().hash
        assert b.served == COUNT
        await reader.close()


class _Other(Ledger):
    """The same balances under other hashes."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__("other")
        account = xrpl_account
        number = ledger.head().number
        self.close(
            {(account(n), None): ledger.balance(account(n), None, number) for n in range(COUNT)}
        )


async def test_a_server_whose_ledger_stands_still_is_left_for_one_that_moves() -> None:
    ledger, faults = funded(), Faults()
    async with RippledServer(ledger, faults) as first, RippledServer(ledger, Faults()) as second:
        reader = reader_of(first.url, second.url)
        stuck = ledger.close(age_s=90)
        assert (await reader.read(ASKED)).endpoint == first.url
        faults.begin(Fault.STALE, stuck_at=stuck.number)
        for _ in range(6):
            ledger.close()
        ledger.close({(xrpl_account(0), None): 1})
        first_again = reader_of(first.url, second.url)  # without memory of earlier heads
        reading = await first_again.read(ASKED)
        assert reading.amounts[0] == 1
        assert reading.endpoint == second.url
        assert "stale head: its ledger is" in first_again.health()[0].last_error
        await first_again.close()
        await reader.close()


async def test_one_server_with_an_old_ledger_is_still_read_where_nobody_has_a_newer_one() -> None:
    ledger = funded()
    ledger.close(age_s=600)
    async with RippledServer(ledger, Faults()) as first, RippledServer(ledger, Faults()) as second:
        reader = reader_of(first.url, second.url)
        reading = await reader.read(ASKED)
        assert reading.amounts == TRUTH
        await reader.close()


async def test_a_reading_never_goes_back_to_an_older_ledger() -> None:
    ledger, faults = funded(), Faults()
    old = ledger.head()
    ledger.close({(xrpl_account(0), None): 1})
    async with RippledServer(ledger, faults) as server:
        reader = reader_of(server.url, interval_s=0.8)
        assert (await reader.read(ASKED)).amounts[0] == 1
        faults.begin(Fault.STALE, stuck_at=old.number)
        with pytest.raises(ChainUnreachableError, match="stale head"):
            await reader.read(ASKED)
        await reader.close()


async def test_a_server_of_another_network_is_refused_for_good() -> None:
    ledger, stranger = funded(), Ledger(chain_id=1)
    async with (
        RippledServer(stranger, Faults()) as first,
        RippledServer(ledger, Faults()) as second,
    ):
        urls = (first.url, second.url)
        reader = XrplReader("xrpl", urls, RealClock(), Kept(), chain_id=21_338)
        for _ in range(2):
            assert (await reader.read(ASKED)).amounts == TRUTH
        assert reader.health()[0].state is EndpointState.REFUSED
        assert first.connections == 1, "it is not tried again"
        await reader.close()


async def test_an_error_about_one_account_is_unknown_and_never_zero() -> None:
    ledger = funded()
    async with RippledServer(_Moody(ledger), Faults()) as server:
        reader = reader_of(server.url)
        reading = await reader.read(ASKED)
        assert reading[3] == Unknown("account_info: no balance in the answer")
        assert list(reading.amounts).count(None) == 1
        assert reader.health()[0].state is EndpointState.READY
        await reader.close()


class _Moody(Ledger):
    """A ledger in which one account's balance is no amount."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        accounts = [xrpl_account(n) for n in range(COUNT)]
        self.close({(a, None): ledger.balance(a, None, ledger.head().number) for a in accounts})

    def balance(self, address: str, contract: str | None, number: int) -> int | None:
        drops = super().balance(address, contract, number)
        return -5 if address == xrpl_account(3) else drops


async def test_nobody_listening_is_reported_with_the_address() -> None:
    reader = reader_of("ws://127.0.0.1:1", interval_s=0.5)
    with pytest.raises(ChainUnreachableError, match=r"ws://127\.0\.0\.1:1: unreachable"):
        await reader.read(ASKED)
    await reader.close()


async def test_a_server_that_is_full_for_a_while_is_not_slow_for_ever() -> None:
    ledger, faults = funded(), Faults()
    async with RippledServer(ledger, faults) as server:
        reader = reader_of(server.url)
        faults.begin(Fault.TOO_MANY)
        asyncio.get_running_loop().call_later(0.4, faults.end)
        assert (await reader.read(ASKED)).amounts == TRUTH
        clock = RealClock()
        started = clock.monotonic()
        assert (await reader.read(ASKED)).amounts == TRUTH
        assert clock.monotonic() - started < 30.0, "at a learnt pace it would take minutes"
        await reader.close()
