"""JSON-RPC over HTTP: one POST, one typed answer or one typed error.

Every way in which HTTP and JSON-RPC can fail leaves here as an `EndpointError` with words. Who
is asked next, and how often, is decided in `endpoints`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
import msgspec

from core.chains.failures import EndpointError, FailureKind, of_rpc_error, plain
from core.model import Clock
from core.telemetry.trust import trust

T = TypeVar("T")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0

_BY_STATUS: dict[int, FailureKind] = {
    401: FailureKind.UNAUTHORISED,
    404: FailureKind.NOT_JSON,
    405: FailureKind.NOT_JSON,
    408: FailureKind.TIMEOUT,
    413: FailureKind.TOO_LARGE,
    429: FailureKind.TOO_MANY,
    504: FailureKind.TIMEOUT,
}


class Reply(msgspec.Struct):
    """A JSON-RPC 2.0 response object; `error` stays raw because some providers send a string."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class RpcErrorBody(msgspec.Struct):
    """The error object of JSON-RPC 2.0."""

    code: int = 0
    message: str = ""
    data: msgspec.Raw = msgspec.Raw()


_one = msgspec.json.Decoder(Reply)
_many = msgspec.json.Decoder(list[Reply])
_error = msgspec.json.Decoder(RpcErrorBody)
_encode = msgspec.json.Encoder().encode


def open_client(*urls: str) -> httpx.AsyncClient:
    """A client for all endpoints of a chain: kept connections, no redirects, gzip answers.

    Environment proxies are honoured; TLS is verified. Time-outs are set per request.
    """
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # they log whole URLs, keys included
    return httpx.AsyncClient(
        verify=trust(urls),
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=120),
        follow_redirects=False,
        headers={"Content-Type": "application/json", "Accept-Encoding": "gzip"},
    )


class JsonRpc:
    """One endpoint's JSON-RPC over a shared client."""

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        clock: Clock,
        *,
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._client = client
        self._clock = clock
        self._max_bytes = max_bytes
        self._id = 0

    async def call(
        self, method: str, params: object, result: type[T], *, timeout_s: float | None = None
    ) -> T:
        """Call `method` and decode its result strictly as `result`. Raises EndpointError."""
        raw = await self.call_raw(method, params, timeout_s=timeout_s)
        return decoded(raw, result, method)

    async def call_raw(
        self, method: str, params: object, *, timeout_s: float | None = None
    ) -> msgspec.Raw:
        """Call `method`; the result's JSON text, undecoded (it may be megabytes of hex)."""
        self._id += 1
        asked = self._id
        body = _encode({"jsonrpc": "2.0", "id": asked, "method": method, "params": params})
        answer = await self.post(body, timeout_s=timeout_s)
        try:
            reply = _one.decode(answer)
        except msgspec.DecodeError as error:
            raise _not_json(answer, error) from error
        _raise_error(reply)
        if reply.id != asked:
            raise EndpointError(FailureKind.NOT_JSON, f"{method} was answered with another id")
        if not bytes(reply.result):
            raise EndpointError(FailureKind.NOT_JSON, f"{method}: neither result nor error")
        return reply.result

    async def batch(
        self, calls: Sequence[tuple[str, object]], *, timeout_s: float | None = None
    ) -> list[msgspec.Raw | EndpointError]:
        """Several calls in one POST, answers in the order of the calls.

        One failing call is an EndpointError in its place; the others stand. Raises EndpointError
        where the batch as a whole was refused or an answer is missing.
        """
        first = self._id + 1
        self._id += len(calls)
        body = _encode(
            [
                {"jsonrpc": "2.0", "id": first + i, "method": method, "params": params}
                for i, (method, params) in enumerate(calls)
            ]
        )
        answer = await self.post(body, timeout_s=timeout_s)
        try:
            if not answer.lstrip().startswith(b"["):
                _raise_error(_one.decode(answer))
                raise EndpointError(FailureKind.INVALID, "a batch was answered with one object")
            replies = _many.decode(answer)
        except msgspec.DecodeError as error:
            raise _not_json(answer, error) from error
        by_id = {reply.id: reply for reply in replies}
        results: list[msgspec.Raw | EndpointError] = []
        for number in range(first, first + len(calls)):
            reply = by_id.get(number)
            if reply is None:
                if len(replies) == 1:
                    _raise_error(replies[0])  # a whole batch refused with id null, in a list
                raise EndpointError(
                    FailureKind.TOO_LARGE, f"{len(replies)} answers to a batch of {len(calls)}"
                )
            try:
                _raise_error(reply)
                results.append(reply.result)
            except EndpointError as error:
                results.append(error)
        return results

    async def post(self, body: bytes, *, timeout_s: float | None = None) -> bytes:
        """POST a JSON body; the answer's bytes once the HTTP status is good."""
        limit = self.timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit):
                return await self._post(body, limit)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise EndpointError(FailureKind.TIMEOUT, f"no answer within {limit:g} s") from error
        except (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol) as error:
            words = plain(str(error)) or "could not connect"
            raise EndpointError(FailureKind.UNREACHABLE, words) from error
        except httpx.RemoteProtocolError as error:
            words = plain(str(error))
            kind = FailureKind.CUT if "message body" in words else FailureKind.RESET
            raise EndpointError(kind, words) from error
        except httpx.DecodingError as error:
            raise EndpointError(FailureKind.CUT, "the compressed answer is broken") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = plain(str(error)) or "the connection broke"
            raise EndpointError(FailureKind.RESET, words) from error

    async def _post(self, body: bytes, limit: float) -> bytes:
        timeout = httpx.Timeout(limit, connect=min(limit, CONNECT_TIMEOUT_S))
        async with self._client.stream("POST", self.url, content=body, timeout=timeout) as response:
            parts: list[bytes] = []
            size = 0
            async for part in response.aiter_bytes():
                size += len(part)
                if size > self._max_bytes:
                    words = f"an answer of more than {self._max_bytes // 1024} KiB"
                    raise EndpointError(FailureKind.TOO_LARGE, words)
                parts.append(part)
            answer = b"".join(parts)
            if response.status_code != 200:
                raise self._of_status(response, answer)
            return answer

    def _of_status(self, response: httpx.Response, answer: bytes) -> EndpointError:
        status = response.status_code
        kind = _BY_STATUS.get(status, FailureKind.SERVER)
        words = plain(f"HTTP {status} {response.reason_phrase}")
        code: int | None = None
        payload = ""
        try:
            _raise_error(_one.decode(answer))
        except msgspec.DecodeError:
            pass  # a page, not a reply: the status alone speaks
        except EndpointError as told:
            # A JSON-RPC error under an HTTP error: its words are the more precise ones.
            words, code, payload = told.words, told.code, told.payload
            if status not in _BY_STATUS and told.kind is not FailureKind.RPC:
                kind = told.kind
        retry_after_s = self._retry_after(response.headers.get("Retry-After"))
        return EndpointError(kind, words, retry_after_s=retry_after_s, code=code, payload=payload)

    def _retry_after(self, header: str | None) -> float | None:
        """Seconds, from either form of RFC 9110 section 10.2.3; None where absent or broken."""
        if header is None:
            return None
        if header.strip().isdigit():
            return float(header)
        try:
            due = parsedate_to_datetime(header)
        except ValueError:
            return None
        return max(0.0, due.timestamp() - self._clock.now_ms() / 1000)


def decoded(raw: msgspec.Raw, result: type[T], method: str) -> T:
    """A result's JSON as `result`, strictly. Raises EndpointError(NOT_JSON)."""
    try:
        return msgspec.json.decode(raw, type=result)
    except msgspec.DecodeError as error:
        raise EndpointError(FailureKind.NOT_JSON, f"{method}: {plain(str(error))}") from error


def _raise_error(reply: Reply) -> None:
    """Raise the reply's error, classified, if it is one."""
    text = bytes(reply.error)
    if not text or text == b"null":
        return
    try:
        body = _error.decode(text)
    except msgspec.DecodeError:
        raise of_rpc_error(0, text.decode(errors="replace")) from None
    payload = ""
    if bytes(body.data).startswith(b'"'):
        payload = msgspec.json.decode(body.data, type=str)
    raise of_rpc_error(body.code, body.message, payload)


def _not_json(answer: bytes, error: msgspec.DecodeError) -> EndpointError:
    """What a body that is no JSON-RPC reply is: a page, half an answer, or something else."""
    start = answer.lstrip()[:1]
    if start in (b"{", b"[") and "truncated" in str(error):
        return EndpointError(FailureKind.CUT, f"the JSON ends after {len(answer)} bytes")
    if not start:
        return EndpointError(FailureKind.CUT, "an empty answer")
    if start == b"<":
        return EndpointError(FailureKind.NOT_JSON, "an HTML page")
    return EndpointError(FailureKind.NOT_JSON, plain(str(error)))
