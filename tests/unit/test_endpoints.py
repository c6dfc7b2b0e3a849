"""The endpoint pool decides by its table and its clock: order, back-off, waiting, learning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from core.chains.endpoints import Endpoint, EndpointPool, labels
from core.chains.failures import (
    TREATMENT,
    EndpointError,
    FailureKind,
    Remedy,
    of_rpc_error,
    plain,
)
from core.chains.pacing import PROBE_AFTER, ChunkSize, Pacer
from core.chains.protocol import ChainUnreachableError
from core.model import EndpointState
from tests.clock import TestClock, settle

URLS = ("http://first", "http://second")


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def recall(self, key: str) -> str | None:
        return self.kept.get(key)

    async def remember(self, key: str, value: str) -> None:
        self.kept[key] = value


def pool_of(
    clock: TestClock, memory: Memory | None = None, urls: tuple[str, ...] = URLS
) -> EndpointPool[str]:
    return EndpointPool(
        "base", urls, lambda url: url, clock, memory or Memory(), interval_s=30, jitter=lambda: 1.0
    )


def failing(**kinds: EndpointError) -> Callable[[Endpoint[str]], Awaitable[str]]:
    """An operation that fails on the endpoints named ("first", "second")."""

    async def operation(endpoint: Endpoint[str]) -> str:
        error = kinds.get(endpoint.session.removeprefix("http://"))
        if error is not None:
            raise error
        return endpoint.session

    return operation


SERVER = EndpointError(FailureKind.SERVER, "HTTP 503")


def test_every_failure_has_a_treatment() -> None:
    assert set(TREATMENT) == set(FailureKind)


async def test_the_first_usable_endpoint_in_order_serves() -> None:
    pool = pool_of(TestClock())
    assert await pool.run(failing()) == "http://first"
    assert [h.in_use for h in pool.health()] == [True, False]
    assert [h.state for h in pool.health()] == [EndpointState.READY, EndpointState.UNTRIED]


async def test_a_failed_endpoint_backs_off_and_returns_half_open() -> None:
    clock = TestClock()
    pool = pool_of(clock)
    first = pool.endpoints[0]
    assert await pool.run(failing(first=SERVER)) == "http://second"
    assert (first.state, first.usable, first.half_open) == (EndpointState.BACKING_OFF, False, False)
    assert pool.health()[0].retry_at_ms == clock.now_ms() + 1000
    await clock.advance(1)
    assert first.half_open
    assert await pool.run(failing()) == "http://first"
    assert (first.state, first.half_open) == (EndpointState.READY, False)


async def test_back_off_doubles_up_to_twice_the_interval_and_starts_anew_after_success() -> None:
    clock = TestClock()
    pool = pool_of(clock)
    first = pool.endpoints[0]
    waits = []
    for _ in range(8):
        await pool.run(failing(first=SERVER))
        waits.append(round(first.wait_s))
        await clock.advance(first.wait_s)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    await pool.run(failing())
    await pool.run(failing(first=SERVER))
    assert round(first.wait_s) == 1


async def test_jitter_takes_at_most_half_of_the_back_off() -> None:
    clock = TestClock()
    pool: EndpointPool[str] = EndpointPool(
        "base", URLS, lambda url: url, clock, Memory(), jitter=lambda: 0.0
    )
    await pool.run(failing(first=SERVER))
    assert pool.endpoints[0].wait_s == 0.5


async def test_retry_after_decides_instead_of_the_back_off() -> None:
    pool = pool_of(TestClock())
    full = EndpointError(FailureKind.TOO_MANY, "HTTP 429", retry_after_s=17)
    assert await pool.run(failing(first=full)) == "http://second"
    assert pool.endpoints[0].wait_s == pytest.approx(17.1)


async def test_when_all_ask_to_wait_within_the_deadline_the_run_waits() -> None:
    clock = TestClock()
    pool = pool_of(clock)
    asked: list[float] = []

    async def operation(endpoint: Endpoint[str]) -> str:
        asked.append(clock.monotonic())
        if len(asked) <= 6:
            raise EndpointError(FailureKind.TOO_MANY, retry_after_s=3)
        return "served"

    run = asyncio.create_task(pool.run(operation))
    await clock.advance(20)
    assert await run == "served"
    assert asked == pytest.approx([0, 0, 3.1, 3.1, 6.2, 6.2, 9.3], abs=0.01)


async def test_a_wait_beyond_the_deadline_is_not_waited_for() -> None:
    clock = TestClock()
    pool = pool_of(clock)
    full = EndpointError(FailureKind.TOO_MANY, "HTTP 429", retry_after_s=31)
    with pytest.raises(ChainUnreachableError, match=r"next try in 31 s"):
        await pool.run(failing(first=full, second=full))
    assert clock.monotonic() == 0


async def test_after_two_rounds_of_failures_the_message_names_every_reason() -> None:
    clock = TestClock()
    pool = pool_of(clock)
    html = EndpointError(FailureKind.NOT_JSON, "an HTML page")
    run = asyncio.create_task(pool.run(failing(first=SERVER, second=html)))
    await clock.advance(10)
    with pytest.raises(ChainUnreachableError) as raised:
        await run
    assert "chain base: no endpoint answers" in str(raised.value)
    assert "http://first: server error: HTTP 503" in str(raised.value)
    assert "http://second: not JSON-RPC: an HTML page" in str(raised.value)
    assert [h.in_use for h in pool.health()] == [False, False]


async def test_an_endpoint_of_another_chain_is_never_asked_again() -> None:
    clock = TestClock()
    pool = pool_of(clock)
    wrong = EndpointError(FailureKind.WRONG_CHAIN, "chain id 1, expected 8453")
    await pool.run(failing(first=wrong))
    await clock.advance(1e6)
    assert not pool.endpoints[0].usable
    assert await pool.run(failing()) == "http://second"
    assert pool.health()[0].state is EndpointState.REFUSED


async def test_all_refused_ends_at_once() -> None:
    wrong = EndpointError(FailureKind.WRONG_CHAIN, "chain id 1")
    with pytest.raises(ChainUnreachableError, match="refused until restart"):
        await pool_of(TestClock()).run(failing(first=wrong, second=wrong))


async def test_a_chain_without_endpoints_says_what_to_add() -> None:
    with pytest.raises(ChainUnreachableError, match="no endpoint is configured"):
        await pool_of(TestClock(), urls=()).run(failing())


async def test_errors_that_are_not_the_endpoints_pass_through() -> None:
    async def broken(endpoint: Endpoint[str]) -> str:
        raise ZeroDivisionError

    pool = pool_of(TestClock())
    with pytest.raises(ZeroDivisionError):
        await pool.run(broken)
    assert pool.health()[0].state is EndpointState.UNTRIED


async def test_an_operation_that_outlasts_the_deadline_is_a_time_out() -> None:
    async def slow(endpoint: Endpoint[str]) -> str:
        if endpoint.session == "http://first":
            await asyncio.sleep(60)
        return endpoint.session

    pool = pool_of(TestClock())
    assert await pool.run(slow, deadline_s=0.05) == "http://second"
    assert "not finished within" in pool.health()[0].last_error


async def test_health_counts_latencies_and_errors_of_the_last_minutes() -> None:
    clock = TestClock()
    pool = pool_of(clock)
    endpoint = pool.endpoints[0]
    for milliseconds in range(1, 101):
        endpoint.answered(milliseconds / 1000, block=1000 + milliseconds)
    for _ in range(25):
        endpoint.erred(SERVER)
    pool.endpoints[1].block = 1090
    pool.measure_lag()
    first, second = pool.health()
    assert (first.p50_ms, first.p95_ms) == (51, 96)
    assert (first.requests, first.errors, first.error_rate) == (125, 25, 0.2)
    assert (first.block, first.lag, second.lag) == (1100, 0, 10)
    await clock.advance(301)
    later = pool.health()[0]
    assert (later.p50_ms, later.error_rate, later.requests) == (0, 0.0, 125)


async def test_what_was_learnt_outlives_a_restart_without_the_url() -> None:
    clock, memory = TestClock(), Memory()
    url = "https://rpc.example/v3/SECRETKEY0123456789"
    pool = pool_of(clock, memory, (url,))
    await pool.run(failing())
    pool.endpoints[0].rung = "batch"
    pool.endpoints[0].traits["pin"] = "number"
    pool.endpoints[0].chunk("batch", 100, 1000).refused(100)
    await pool.save()
    assert "SECRETKEY" not in json.dumps(memory.kept)
    again = pool_of(clock, memory, (url,))
    await again.load()
    (endpoint,) = again.endpoints
    assert (endpoint.rung, endpoint.traits) == ("batch", {"pin": "number"})
    assert endpoint.chunk("batch", 100, 1000).size == 50
    memory.kept[endpoint.key] = "written by who knows whom"
    fresh = pool_of(clock, memory, (url,))
    await fresh.load()
    assert fresh.endpoints[0].rung == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@rpc.example:8545/", "https://rpc.example:8545"),
        ("https://rpc.example/v3/0123456789abcdef0123456789abcdef", "https://rpc.example/v3/***"),
        ("https://rpc.example/rpc?apikey=abc", "https://rpc.example/rpc?apikey=***"),
        ("wss://rpc.example/ws/v2/aB3xY9kQ2mZ7", "wss://rpc.example/ws/v2/***"),
        ("http://127.0.0.1:1/s3cr3t", "http://127.0.0.1:1/***"),
        ("http://[::1]:8545/ext/bc/C/rpc", "http://[::1]:8545/ext/bc/C/rpc"),
        ("https://mainnet.base.org", "https://mainnet.base.org"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    assert labels([url]) == [shown]


def test_two_keys_at_one_provider_are_two_endpoints() -> None:
    assert labels(["https://h/v2/k3y-1", "https://g", "https://h/v2/k3y-2"]) == [
        "https://h/v2/*** #1",
        "https://g",
        "https://h/v2/*** #2",
    ]


def test_a_chunk_halves_on_refusal_and_grows_by_a_tenth_on_success() -> None:
    chunk = ChunkSize(1000, 5000)
    chunk.succeeded(1000)
    assert chunk.size == 1100
    assert chunk.refused(1100)
    assert chunk.size == 550
    chunk.succeeded(300)  # a small request proves nothing
    assert chunk.size == 550
    chunk.succeeded(550)
    assert chunk.size == 605


def test_a_refused_size_is_approached_but_only_rarely_tried_again() -> None:
    chunk = ChunkSize(1000, 5000)
    chunk.refused(1000)
    for _ in range(PROBE_AFTER - 1):
        chunk.succeeded(chunk.size)
    assert chunk.size == 950
    for _ in range(3):
        chunk.succeeded(chunk.size)
    assert chunk.size > 1000


def test_a_chunk_of_one_cannot_become_smaller() -> None:
    chunk = ChunkSize(2, 10)
    assert chunk.refused(2)
    assert (chunk.size, chunk.refused(1)) == (1, False)
    assert chunk.size == 1


def test_a_chunk_never_outgrows_its_ceiling() -> None:
    chunk = ChunkSize(90, 100)
    for _ in range(10):
        chunk.succeeded(chunk.size)
    assert chunk.size == 100


async def test_the_pacer_lets_a_burst_through_and_then_keeps_the_rate() -> None:
    clock = TestClock()
    pacer = Pacer(clock, 10)
    times: list[float] = []

    async def send() -> None:
        for _ in range(30):
            await pacer.acquire()
            times.append(clock.monotonic())

    task = asyncio.create_task(send())
    await clock.advance(5)
    await task
    assert times[9] == 0
    assert times[10] == pytest.approx(0.1)
    assert times[29] == pytest.approx(2.0)


async def test_no_rate_is_no_waiting() -> None:
    clock = TestClock()
    pacer = Pacer(clock, None)
    for _ in range(1000):
        await pacer.acquire()
    await settle()
    assert clock.sleepers() == 0


# Messages as nodes and providers word them.
WORDED = [
    (3, "execution reverted: locked", FailureKind.REVERTED),
    (-32000, "execution reverted", FailureKind.REVERTED),
    (-32000, "out of gas: gas required exceeds allowance (50000000)", FailureKind.GAS),
    (-32000, "execution aborted (timeout = 5s)", FailureKind.GAS),
    (-32003, "max initcode size exceeded", FailureKind.TOO_LARGE),
    (-32000, "batch too large", FailureKind.TOO_LARGE),
    (-32600, "Batch size too large", FailureKind.TOO_LARGE),
    (-32008, "Response is too big", FailureKind.TOO_LARGE),
    (-32005, "daily request count exceeded, request rate limited", FailureKind.TOO_MANY),
    (-32005, "limit exceeded", FailureKind.TOO_MANY),
    (429, "Your app has exceeded its compute units per second capacity", FailureKind.TOO_MANY),
    (-32000, "header not found", FailureKind.NO_BLOCK),
    (-32000, "missing trie node 5f3e (path )", FailureKind.NO_BLOCK),
    (-32001, "Resource not found", FailureKind.NO_BLOCK),
    (-32602, "BlockOutOfRangeError: block height is 0 but requested was 9", FailureKind.NO_BLOCK),
    (-32000, "hash 0xab is not currently canonical", FailureKind.NO_BLOCK),
    (-32601, "the method eth_call does not exist/is not available", FailureKind.NO_METHOD),
    (-32602, "too many arguments, want at most 2", FailureKind.INVALID),
    (-32000, "invalid api key", FailureKind.UNAUTHORISED),
    (-32603, "something else", FailureKind.RPC),
]


@pytest.mark.parametrize(("code", "message", "kind"), WORDED)
def test_json_rpc_errors_are_told_apart(code: int, message: str, kind: FailureKind) -> None:
    error = of_rpc_error(code, message)
    assert error.kind is kind
    assert message in str(error)
    assert error.code == code


def test_only_what_can_become_smaller_is_split() -> None:
    split = {kind for kind, row in TREATMENT.items() if row.remedy is Remedy.SPLIT}
    assert split == {FailureKind.TOO_LARGE, FailureKind.GAS}
    assert all(TREATMENT[kind].shrinks for kind in split)


def test_foreign_text_becomes_one_printable_line() -> None:
    assert plain("a\x1b[31mb\r\n\tc") == "a [31mb c"
    assert len(plain("x" * 10_000)) == 160
