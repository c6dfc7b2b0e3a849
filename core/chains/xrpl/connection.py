"""One WebSocket to one server: a pump that hands every message to whoever asked for it.

The pump always reads, so that neither a full window nor a stream can block the other side.
Failures of the socket become an `EndpointError` once, and everybody waiting is woken with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)

from core.chains.failures import EndpointError, FailureKind, plain
from core.chains.xrpl.wire import Message, decode, server_error, words_of
from core.model import Clock

# rippled reads ids as 32 bits. From here on they are single calls, below it a sweep's.
FIRST_CALL: Final = 1 << 30

_OPEN_TIMEOUT_S: Final = 5.0
_LARGEST_MESSAGE: Final = 16 * 1024 * 1024
_CLOSE_KINDS: Final = {
    1008: FailureKind.TOO_MANY,  # "threshold exceeded"
    1009: FailureKind.TOO_LARGE,
    1011: FailureKind.SERVER,
    1012: FailureKind.SERVER,
    1013: FailureKind.TOO_MANY,
}


class Connection:
    """An open socket. `on_reply` and `on_stream` are called by the pump and must not wait;
    the events in `wakers` are set when the socket fails.

    `rate` (requests a second, None: no limit) spaces everything sent, without bursts: public
    servers count by the second.
    """

    def __init__(self, socket: ClientConnection, clock: Clock, timeout_s: float) -> None:
        self.error: EndpointError | None = None
        self.rate: float | None = None
        self.on_reply: Callable[[Message], None] | None = None
        self.on_stream: Callable[[Message], None] | None = None
        self.wakers: set[asyncio.Event] = set()
        self.sent = 0
        self.timeout_s = timeout_s
        self._socket = socket
        self._clock = clock
        self._due = 0.0
        self._calls: dict[int, asyncio.Future[Message]] = {}
        self._next_call = FIRST_CALL
        self._pump = asyncio.create_task(self._read(), name="xrpl pump")

    @classmethod
    async def open(cls, url: str, clock: Clock, timeout_s: float) -> Connection:
        """Connect. Raises EndpointError."""
        try:
            socket = await connect(
                url,
                compression=None,  # replies are read once; deflate costs more than it saves
                open_timeout=min(timeout_s, _OPEN_TIMEOUT_S),
                close_timeout=1.0,
                max_size=_LARGEST_MESSAGE,
                max_queue=256,
            )
        except TimeoutError as error:
            raise EndpointError(FailureKind.TIMEOUT, "the WebSocket did not open") from error
        except InvalidStatus as error:
            raise _of_status(error) from error
        except InvalidMessage as error:
            raise EndpointError(FailureKind.NOT_JSON, "no HTTP answer to the handshake") from error
        except (InvalidHandshake, InvalidURI) as error:
            raise EndpointError(FailureKind.NOT_JSON, plain(str(error))) from error
        except OSError as error:
            words = plain(str(error.strerror or error))
            raise EndpointError(FailureKind.UNREACHABLE, words) from error
        return cls(socket, clock, timeout_s)

    @property
    def alive(self) -> bool:
        """Whether it may still be used."""
        return self.error is None

    async def close(self) -> None:
        """Close the socket and end the pump."""
        self._fail(EndpointError(FailureKind.RESET, "closed by Bursar"))
        self._pump.cancel()
        try:
            await self._pump
        except asyncio.CancelledError:
            if not self._pump.cancelled():
                raise
        finally:
            await self._socket.close()

    async def send(self, request: bytes) -> None:
        """Send one request, when its turn has come. Raises EndpointError."""
        if self.rate:
            await self._wait_turn(self.rate)
        if self.error is not None:
            raise self.error
        try:
            await self._socket.send(request, text=True)
        except ConnectionClosed as error:
            raise self._fail(_of_close(error)) from error
        self.sent += 1

    async def ask(self, template: bytes, *values: bytes) -> asyncio.Future[Message]:
        """Send a single call; the future is its reply (any, errors included), or fails."""
        number = self._next_call
        self._next_call = number + 1 if number < 2 * FIRST_CALL - 1 else FIRST_CALL
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._calls[number] = reply
        try:
            await self.send(template % (number, *values))
        except EndpointError:
            self._calls.pop(number, None)
            reply.cancel()
            raise
        return reply

    async def call(self, template: bytes, *values: bytes) -> Message:
        """Send a single call and wait for its good reply. Raises EndpointError."""
        message = await self.settle(await self.ask(template, *values))
        if message.error:
            raise server_error(message) or EndpointError(FailureKind.RPC, words_of(message))
        return message

    async def settle(self, reply: asyncio.Future[Message]) -> Message:
        """Wait for a reply no longer than the time-out. Raises EndpointError."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await reply
        except TimeoutError as error:
            raise self.give_up() from error

    def give_up(self) -> EndpointError:
        """Declare the server silent: nothing more is expected of this socket."""
        words = f"no answer within {self.timeout_s:g} s"
        return self._fail(EndpointError(FailureKind.TIMEOUT, words))

    async def _wait_turn(self, rate: float) -> None:
        now = self._clock.monotonic()
        turn = max(now, self._due)
        self._due = turn + 1.0 / rate
        if turn > now:
            await self._clock.sleep(turn - now)

    async def _read(self) -> None:
        try:
            while True:
                raw = await self._socket.recv(decode=False)
                try:
                    message = decode(raw)
                except msgspec.DecodeError as error:
                    self._fail(_of_garbage(raw, error))
                    return
                number = message.id
                if number is None:
                    if self.on_stream is not None:
                        self.on_stream(message)
                elif number >= FIRST_CALL:
                    reply = self._calls.pop(number, None)
                    if reply is not None and not reply.done():
                        reply.set_result(message)
                elif self.on_reply is not None:
                    self.on_reply(message)
        except ConnectionClosed as error:
            self._fail(_of_close(error))
        except EndpointError as error:
            self._fail(error)
        finally:
            self._fail(EndpointError(FailureKind.RESET, "nobody reads the socket any more"))

    def _fail(self, error: EndpointError) -> EndpointError:
        """Keep the first failure and wake everybody with it."""
        if self.error is None:
            self.error = error
            for reply in self._calls.values():
                if not reply.done():
                    reply.set_exception(error)
                    reply.exception()  # may have nobody waiting any more: that is no news
            self._calls.clear()
            for waker in self.wakers:
                waker.set()
        return self.error


def _of_close(error: ConnectionClosed) -> EndpointError:
    if error.rcvd is None:
        return EndpointError(FailureKind.RESET, "the connection broke without a close frame")
    kind = _CLOSE_KINDS.get(error.rcvd.code, FailureKind.RESET)
    words = plain(f"closed with {error.rcvd.code} {error.rcvd.reason}".strip())
    return EndpointError(kind, words)


def _of_status(error: InvalidStatus) -> EndpointError:
    status = error.response.status_code
    words = f"HTTP {status} instead of a WebSocket"
    if status in (401, 403):
        return EndpointError(FailureKind.UNAUTHORISED, words)
    if status == 429:
        after = error.response.headers.get("Retry-After", "")
        seconds = float(after) if after.isdigit() else None
        return EndpointError(FailureKind.TOO_MANY, words, retry_after_s=seconds)
    kind = FailureKind.SERVER if status >= 500 else FailureKind.NOT_JSON
    return EndpointError(kind, words)


def _of_garbage(raw: bytes, error: msgspec.DecodeError) -> EndpointError:
    start = raw.lstrip()[:1]
    if start == b"{" and "truncated" in str(error):
        return EndpointError(FailureKind.CUT, f"the JSON ends after {len(raw)} bytes")
    if start == b"<":
        return EndpointError(FailureKind.NOT_JSON, "an HTML page")
    return EndpointError(FailureKind.NOT_JSON, plain(str(error)))
