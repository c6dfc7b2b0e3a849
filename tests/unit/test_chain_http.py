"""JSON-RPC over HTTP: each way of failing is an error of its own kind, with words."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from core.chains.chores import Chores
from core.chains.failures import EndpointError, FailureKind
from core.chains.http import JsonRpc, open_client
from tests.clock import TestClock

Answer = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


def response(body: bytes, status: str = "200 OK", *headers: str) -> Answer:
    """A whole HTTP answer; ID in the body becomes the request's id."""

    async def answer(writer: asyncio.StreamWriter, request: bytes) -> None:
        asked = msgspec.json.decode(request)
        number = str(asked["id"] if isinstance(asked, dict) else 0).encode()
        content = body.replace(b"ID", number)
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + content)

    return answer


@asynccontextmanager
async def endpoint(answer: Answer, **options: float) -> AsyncIterator[JsonRpc]:
    """A loopback server that answers every request so, and a client for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await answer(writer, await reader.readexactly(length))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = open_client()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield JsonRpc(url, client, TestClock(), **options)  # type: ignore[arg-type]  # floats for ints are fine here
    finally:
        await client.aclose()
        server.close()


async def failure(answer: Answer, **options: float) -> EndpointError:
    async with endpoint(answer, **options) as rpc:
        with pytest.raises(EndpointError) as raised:
            await rpc.call("eth_chainId", (), str)
    return raised.value


async def test_a_result_is_decoded_strictly() -> None:
    async with endpoint(response(b'{"jsonrpc":"2.0","id":ID,"result":"0x1"}')) as rpc:
        assert await rpc.call("eth_chainId", (), str) == "0x1"
        with pytest.raises(EndpointError, match=r"not JSON-RPC: eth_chainId: Expected `int`"):
            await rpc.call("eth_chainId", (), int)


async def test_a_null_result_is_a_result_and_a_missing_one_is_not() -> None:
    async with endpoint(response(b'{"id":ID,"result":null}')) as rpc:
        assert bytes(await rpc.call_raw("eth_getBlockByHash", ())) == b"null"
    assert "neither result nor error" in str(await failure(response(b'{"id":ID}')))


async def test_gzip_is_understood() -> None:
    body = gzip.compress(b'{"id":1,"result":"0x1"}')
    answer = response(body, "200 OK", "Content-Encoding: gzip")
    async with endpoint(answer) as rpc:
        assert await rpc.call("eth_chainId", (), str) == "0x1"


async def test_an_answer_to_another_request_is_not_taken() -> None:
    error = await failure(response(b'{"id":77,"result":"0x1"}'))
    assert "answered with another id" in str(error)


STATUSES = [
    ("401 Unauthorized", FailureKind.UNAUTHORISED),
    ("403 Forbidden", FailureKind.SERVER),
    ("404 Not Found", FailureKind.NOT_JSON),
    ("413 Payload Too Large", FailureKind.TOO_LARGE),
    ("429 Too Many Requests", FailureKind.TOO_MANY),
    ("500 Internal Server Error", FailureKind.SERVER),
    ("503 Service Unavailable", FailureKind.SERVER),
    ("504 Gateway Timeout", FailureKind.TIMEOUT),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_http_errors_are_told_apart(status: str, kind: FailureKind) -> None:
    error = await failure(response(b"<html>", status))
    assert error.kind is kind
    assert f"HTTP {status}" in str(error)


async def test_a_json_rpc_error_under_an_http_error_speaks() -> None:
    body = b'{"id":ID,"error":{"code":-32000,"message":"out of gas"}}'
    assert (await failure(response(body, "400 Bad Request"))).kind is FailureKind.GAS
    body = b'{"id":ID,"error":{"code":-32005,"message":"slow down, friend"}}'
    error = await failure(response(body, "429 Too Many Requests", "Retry-After: 7"))
    assert (error.kind, error.retry_after_s) == (FailureKind.TOO_MANY, 7.0)
    assert "slow down, friend" in str(error)


async def test_retry_after_as_a_date_is_counted_from_the_clock() -> None:
    at_start = "Thu, 28 May 2026 20:27:10 GMT"  # 30 s after the test clock's start
    error = await failure(response(b"", "429 Too Many Requests", f"Retry-After: {at_start}"))
    assert error.retry_after_s == 30.0
    error = await failure(response(b"", "429 Too Many Requests", "Retry-After: soon"))
    assert error.retry_after_s is None


async def test_errors_that_are_bare_strings_are_understood() -> None:
    error = await failure(response(b'{"id":ID,"error":"rate limited"}'))
    assert error.kind is FailureKind.TOO_MANY


async def test_revert_data_comes_along() -> None:
    body = b'{"id":ID,"error":{"code":3,"message":"execution reverted","data":"0xabcd"}}'
    error = await failure(response(body))
    assert (error.kind, error.payload) == (FailureKind.REVERTED, "0xabcd")


async def test_a_page_half_an_answer_and_nothing_are_told_apart() -> None:
    page = await failure(response(b"  <!DOCTYPE html><html>"))
    half = await failure(response(b'{"id":ID,"result":"0x12'))
    nothing = await failure(response(b""))
    other = await failure(response(b"pong"))
    assert str(page) == "not JSON-RPC: an HTML page"
    assert half.kind is FailureKind.CUT
    assert str(nothing) == "answer cut short: an empty answer"
    assert other.kind is FailureKind.NOT_JSON


async def test_silence_is_a_time_out() -> None:
    async def silent(writer: asyncio.StreamWriter, request: bytes) -> None:
        await asyncio.sleep(0.3)

    error = await failure(silent, timeout_s=0.1)
    assert str(error) == "time-out: no answer within 0.1 s"


async def test_an_answer_that_drips_for_ever_is_a_time_out() -> None:
    async def dripping(writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(20):
            writer.write(b" ")
            await asyncio.sleep(0.03)

    assert (await failure(dripping, timeout_s=0.2)).kind is FailureKind.TIMEOUT


async def test_a_connection_closed_before_and_within_an_answer_are_told_apart() -> None:
    async def nothing(writer: asyncio.StreamWriter, request: bytes) -> None:
        pass

    async def part(writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"id":1')

    assert (await failure(nothing)).kind is FailureKind.RESET
    assert (await failure(part)).kind is FailureKind.CUT


async def test_an_answer_without_end_is_refused_at_the_bound() -> None:
    error = await failure(response(b" " * 100_000), max_bytes=65_536)
    assert str(error) == "too large: an answer of more than 64 KiB"


async def test_nobody_listening_is_unreachable() -> None:
    client = open_client()
    rpc = JsonRpc("http://127.0.0.1:9", client, TestClock())
    with pytest.raises(EndpointError) as raised:
        await rpc.call("eth_chainId", (), str)
    assert raised.value.kind is FailureKind.UNREACHABLE
    await client.aclose()


async def test_a_batch_keeps_order_and_single_failures() -> None:
    body = (
        b'[{"id":3,"result":"0x3"},{"id":1,"result":"0x1"},'
        b'{"id":2,"error":{"code":3,"message":"execution reverted"}}]'
    )
    async with endpoint(response(body)) as rpc:
        first, second, third = await rpc.batch([("a", ()), ("b", ()), ("c", ())])
    assert not isinstance(first, EndpointError)
    assert not isinstance(third, EndpointError)
    assert (bytes(first), bytes(third)) == (b'"0x1"', b'"0x3"')
    assert isinstance(second, EndpointError)
    assert second.kind is FailureKind.REVERTED


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"id":null,"error":{"code":-32600,"message":"batch too large"}}', FailureKind.TOO_LARGE),
        (b'[{"id":null,"error":{"code":-32600,"message":"no batches"}}]', FailureKind.INVALID),
        (b'[{"id":1,"result":"0x1"}]', FailureKind.TOO_LARGE),
        (b'[{"id":1,"result":', FailureKind.CUT),
    ],
)
async def test_a_refused_batch_is_one_error(body: bytes, kind: FailureKind) -> None:
    async with endpoint(response(body)) as rpc:
        with pytest.raises(EndpointError) as raised:
            await rpc.batch([("a", ()), ("b", ())])
    assert raised.value.kind is kind


async def test_work_beside_is_one_of_a_name_and_its_errors_are_not_lost() -> None:
    chores = Chores()
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    async def fail() -> None:
        raise ZeroDivisionError

    assert chores.start("wait", wait())
    assert not chores.start("wait", wait())
    chores.start("fail", fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        chores.reap()
    assert chores.running("wait")
    await chores.close()
    assert not chores.running("wait")
