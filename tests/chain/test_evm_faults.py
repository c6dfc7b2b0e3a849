"""Endpoints fail in every known way in front of a real node: values come from the next endpoint,
reasons are words, and nothing ever becomes 0."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from core.chains.evm import EvmReader
from core.chains.evm.rungs import OverrideScanner
from core.chains.protocol import ChainUnreachableError
from core.demo.protocol import Fault
from core.events import Json
from core.model import EndpointHealth, EndpointState
from tests.chain import anvil as node
from tests.chain.anvil import Anvil
from tests.chain.bench import Fleet, KeptMemory
from tests.chain.proxy import Proxy, RpcRefusal, proxied
from tests.clock import until

MakeReader = Callable[..., EvmReader]

REASONS = {
    Fault.TIMEOUT: "time-out: no answer within 1 s",
    Fault.TOO_MANY: "too many requests: HTTP 429 Too Many Requests",
    Fault.TOO_LARGE: "too large: HTTP 413 Payload Too Large",
    Fault.SERVER_ERROR: "server error: HTTP 503 Unavailable",
    Fault.HTML: "not JSON-RPC: an HTML page",
    Fault.HALF: "answer cut short: the JSON ends after",
    Fault.RESET: "connection reset",
    Fault.RPC_ERROR: "JSON-RPC error: internal error: database is closed (-32000)",
}


@pytest.fixture
async def proxy(anvil: Anvil) -> AsyncIterator[Proxy]:
    """The first endpoint; the node itself is the second."""
    async with proxied(anvil.url) as running:
        yield running


def first_two(reader: EvmReader) -> tuple[EndpointHealth, EndpointHealth]:
    first, second = reader.health()
    return first, second


@pytest.mark.parametrize("fault", REASONS)
async def test_a_failing_endpoint_is_left_for_the_next_and_says_why(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, proxy: Proxy, fault: Fault
) -> None:
    reader = reader_for(proxy.url, anvil.url, timeout_s=1.0)
    requests = fleet.requests()
    await reader.read(requests)
    assert first_two(reader)[0].in_use
    proxy.fault = fault
    reading = await reader.read(requests)
    assert list(reading.amounts) == fleet.amounts()
    assert reading.reasons == {}
    first, second = first_two(reader)
    assert first.state is EndpointState.BACKING_OFF
    assert first.last_error.startswith(REASONS[fault])
    assert first.retry_at_ms > first.last_error_ms > 0
    assert first.errors >= 1
    assert second.in_use
    assert reading.endpoint == second.url


@pytest.mark.parametrize("fault", REASONS)
async def test_with_no_other_endpoint_the_chain_is_unreachable_and_never_zero(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy, fault: Fault
) -> None:
    reader = reader_for(proxy.url, timeout_s=1.0, interval_s=1.5)
    requests = fleet.requests()
    await reader.read(requests)
    proxy.fault = fault
    proxy.retry_after_s = 300
    started = time.monotonic()
    with pytest.raises(ChainUnreachableError) as raised:
        await reader.read(requests)
    assert time.monotonic() - started < 60  # not as long as it was asked to wait
    assert REASONS[fault].split(":")[0] in str(raised.value)
    assert proxy.url in str(raised.value)


@pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.HTML, Fault.HALF, Fault.RESET])
async def test_faults_that_begin_within_a_reading_leave_no_mixture(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, proxy: Proxy, fault: Fault
) -> None:
    """The head is answered, the reads are not."""

    def begin(method: str, params: list[Json]) -> None:
        if method == "eth_getBlockByNumber":
            proxy.fault = fault

    reader = reader_for(proxy.url, anvil.url, timeout_s=1.0)
    requests = fleet.requests()
    await reader.read(requests)
    proxy.rule = begin
    reading = await reader.read(requests)
    assert list(reading.amounts) == fleet.amounts()
    assert first_two(reader)[1].in_use


async def test_an_endpoint_that_recovered_is_taken_up_again(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    reader = reader_for(proxy.url, anvil.url, interval_s=1)
    requests = fleet.requests()[:30]
    proxy.fault = Fault.SERVER_ERROR
    await reader.read(requests)
    assert first_two(reader)[0].state is EndpointState.BACKING_OFF
    tries = proxy.seen.total()
    await reader.read(requests)
    assert proxy.seen.total() == tries  # its time has not come
    proxy.fault = None
    await asyncio.sleep(1.05)  # the first back-off is at most a second
    await reader.read(requests)
    first, _ = first_two(reader)
    assert (first.state, first.in_use) == (EndpointState.READY, True)


async def test_retry_after_is_honoured_before_the_same_endpoint_is_asked_again(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    reader = reader_for(proxy.url)
    requests = fleet.requests()[:30]
    await reader.read(requests)
    proxy.fault = Fault.TOO_MANY
    proxy.retry_after_s = 1

    async def recover() -> None:
        await until(lambda: proxy.seen["eth_getBlockByNumber"] == 2, "one was refused")
        proxy.fault = None

    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recover())
        reading = await reader.read(requests)
    assert time.monotonic() - started >= 1.0
    assert list(reading.amounts) == fleet.amounts()[:30]
    assert proxy.seen["eth_getBlockByNumber"] == 3  # first reading, the refused one, the last


async def test_413_teaches_smaller_chunks_which_a_restart_remembers(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy, memory: KeptMemory
) -> None:
    proxy.largest_body = 6_000  # some 100 wallets beside the scanner's own code
    reader = reader_for(proxy.url)
    requests = fleet.requests()
    reading = await reader.read(requests)
    assert list(reading.amounts) == fleet.amounts()
    (health,) = reader.health()
    assert health.rung == "override scanner"
    assert 60 <= health.chunk < 900
    refused = sum(size > 6_000 for size in proxy.bodies)
    assert 1 <= refused <= 12
    again = reader_for(proxy.url)
    await again.open()
    assert list((await again.read(requests)).amounts) == fleet.amounts()
    assert sum(size > 6_000 for size in proxy.bodies) == refused
    assert len(memory.kept) == 1


async def test_answers_that_are_too_large_teach_smaller_chunks_too(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    proxy.largest_answer = 20_000
    reading = await reader_for(proxy.url).read(fleet.requests())
    assert list(reading.amounts) == fleet.amounts()


async def test_time_outs_teach_smaller_chunks_from_one_reading_to_the_next(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    proxy.silent_above = 6_000
    reader = reader_for(proxy.url, timeout_s=0.3, interval_s=5)
    requests = fleet.requests()
    chunks = []
    for _ in range(4):
        try:
            reading = await reader.read(requests)
            break
        except ChainUnreachableError:
            chunks.append(reader.health()[0].chunk)
    assert list(reading.amounts) == fleet.amounts()
    assert chunks == sorted(chunks, reverse=True)
    assert reader.health()[0].chunk < 900


async def test_too_little_gas_teaches_smaller_chunks(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    def little_gas(method: str, params: list[Json]) -> None:
        if method == "eth_call" and isinstance(params[0], dict):
            params[0].setdefault("gas", hex(1_000_000))

    proxy.rule = little_gas
    reader = reader_for(proxy.url, rungs=[OverrideScanner()])
    reading = await reader.read(fleet.requests())
    assert list(reading.amounts) == fleet.amounts()
    assert reader.health()[0].chunk < 300


async def test_an_endpoint_of_another_chain_is_refused_for_good(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    proxy.fault = Fault.WRONG_CHAIN
    reader = reader_for(proxy.url, anvil.url)
    reading = await reader.read(fleet.requests()[:9])
    assert list(reading.amounts) == fleet.amounts()[:9]
    first, _ = first_two(reader)
    assert first.state is EndpointState.REFUSED
    assert "of chain id 1, expected 31337" in first.last_error
    alone = reader_for(proxy.url)
    with pytest.raises(ChainUnreachableError, match="refused until restart"):
        await alone.read(fleet.requests()[:9])


async def test_a_balancer_that_turns_to_another_chain_is_caught_by_the_scanners_words(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    requests = fleet.requests()[:9]
    reader = reader_for(proxy.url, anvil.url)
    with node.running(anvil.executable, "--chain-id", "5") as other:
        await reader.read(requests)
        assert first_two(reader)[0].in_use
        other.rpc("evm_increaseTime", hex(3600))  # its clock says nothing of this chain
        other.mine(anvil.head() + 5)
        proxy.target = other.url
        reading = await reader.read(requests)
    assert list(reading.amounts) == fleet.amounts()[:9]
    first, _ = first_two(reader)
    assert first.state is EndpointState.REFUSED
    assert "of chain id 5, expected 31337" in first.last_error


async def test_an_endpoint_whose_head_stands_still_is_left(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    requests = fleet.requests()[:9]
    reader = reader_for(proxy.url, anvil.url, stale_after_s=5, interval_s=0.3)
    await reader.read(requests)
    proxy.stuck_at = anvil.head()
    proxy.fault = Fault.STALE
    anvil.rpc("evm_increaseTime", hex(60))
    anvil.mine(4)
    await asyncio.sleep(0.35)
    await reader.read(requests)  # still by the first, whose head is not known to be old yet
    await reader.settled()  # the standby's head was looked at
    first, second = first_two(reader)
    assert (first.lag, second.lag) == (4, 0)
    reading = await reader.read(requests)
    assert reading.block.number == anvil.head()
    first, second = first_two(reader)
    assert second.in_use
    assert first.last_error.startswith("stale head: block")


async def test_a_reading_never_goes_back_to_an_older_block(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    requests = fleet.requests()[:9]
    reader = reader_for(anvil.url, interval_s=0.5)
    await reader.read(requests)
    proxy.stuck_at = anvil.head()
    anvil.mine(2)
    behind = reader_for(proxy.url, interval_s=0.5)
    await behind.read(requests)
    proxy.fault = Fault.STALE
    with pytest.raises(ChainUnreachableError, match="older than the last reading"):
        await behind.read(requests)


async def test_a_method_that_stops_working_costs_the_rung_not_the_endpoint(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    def no_overrides(method: str, params: list[Json]) -> None:
        if len(params) > 2:
            raise RpcRefusal(-32602, "too many arguments, want at most 2")

    requests = fleet.requests()
    reader = reader_for(proxy.url)
    await reader.read(requests)
    proxy.rule = no_overrides
    assert list((await reader.read(requests)).amounts) == fleet.amounts()
    (health,) = reader.health()
    assert (health.rung, health.state) == ("deployless scanner", EndpointState.READY)


async def test_one_internal_error_costs_neither_values_nor_the_rung(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    def broken(method: str, params: list[Json]) -> None:
        if method == "eth_call":
            raise RpcRefusal(-32603, "internal error")

    requests = fleet.requests()
    reader = reader_for(proxy.url, anvil.url)
    await reader.read(requests)
    proxy.rule = broken
    assert list((await reader.read(requests)).amounts) == fleet.amounts()
    first, second = first_two(reader)
    assert (first.rung, first.state) == ("override scanner", EndpointState.BACKING_OFF)
    assert second.in_use


async def test_a_slow_endpoint_finishes_a_reading_that_outlasts_the_interval(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    proxy.delay_s = 0.15
    reader = reader_for(proxy.url, interval_s=0.3)
    reading = await reader.read(fleet.requests())  # chain id, head, probe, values: 0.6 s
    assert list(reading.amounts) == fleet.amounts()


async def test_the_pace_of_requests_is_kept(
    fleet: Fleet, reader_for: MakeReader, proxy: Proxy
) -> None:
    reader = reader_for(proxy.url, requests_per_second=20)
    requests = fleet.requests()[:30]
    started = time.monotonic()
    for _ in range(20):
        await reader.read(requests)
    # A second's worth of burst, then 20 a second.
    assert time.monotonic() - started >= (len(proxy.bodies) - 21) / 20
    assert len(proxy.bodies) > 40


async def test_a_reader_on_nothing_but_websockets_says_what_is_missing(
    reader_for: MakeReader,
) -> None:
    with pytest.raises(Exception, match=r"no http:// or https:// endpoint"):
        reader_for("ws://127.0.0.1:1")


async def test_an_endpoint_that_is_not_there_is_named_with_its_reason(
    fleet: Fleet, reader_for: MakeReader
) -> None:
    reader = reader_for("http://user:secret@127.0.0.1:9/v3/0123456789abcdef0123456789abcdef")
    with pytest.raises(ChainUnreachableError) as raised:
        await reader.read(fleet.requests()[:3])
    assert "http://127.0.0.1:9/v3/***: unreachable" in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_closing_leaves_no_task(anvil: Anvil, fleet: Fleet, reader_for: MakeReader) -> None:
    before = asyncio.all_tasks()
    reader = reader_for(anvil.url, "http://127.0.0.1:9", interval_s=0.3, self_test=True)
    await reader.read(fleet.requests())
    await asyncio.sleep(0.35)
    await reader.read(fleet.requests())
    await reader.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
