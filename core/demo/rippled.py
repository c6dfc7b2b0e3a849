"""A WebSocket server that answers as rippled does, from a `SimulatedChain`.

It knows sockets, subscriptions and how to misbehave as a `FaultPlan` says; what it replies
is written in `rippled_replies`. No admin methods, no transactions submitted.
(Source: XRPL public API methods, api_version 1.)
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Sequence
from typing import Final, Self

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from core.demo.protocol import ActiveFault, Fault, FaultPlan, SimulatedChain
from core.demo.rippled_replies import (
    SLOW_DOWN,
    Command,
    Fees,
    LedgerReplies,
    LinesOf,
    Refused,
    decode,
    failure,
    success,
)
from core.events import Json
from core.model import BlockRef

_WATCH_S: Final = 0.05
_TOO_MANY_BEFORE_CLOSE: Final = 50  # slowDown replies before "threshold exceeded"
_PAGE: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class RippledServer:
    """`async with RippledServer(chain, faults) as server:` listens on `server.url`.

    `page` is the most trust lines in one reply; `requests_per_second` turns it into a public
    server that answers slowDown above that and closes on who goes on.
    """

    def __init__(
        self,
        chain: SimulatedChain,
        faults: FaultPlan,
        *,
        lines: LinesOf | None = None,
        fees: Fees | None = None,
        page: int = 200,
        requests_per_second: int | None = None,
    ) -> None:
        self.fees = fees or Fees()
        self.connections = 0
        self._chain = chain
        self._faults = faults
        self._replies = LedgerReplies(
            chain, faults, lines or (lambda _address, _number: ()), self.fees, page
        )
        self._rate = requests_per_second
        self._recent: list[float] = []
        self._touched: dict[int, tuple[str, ...]] = {}
        self._subscribers: dict[ServerConnection, set[str]] = {}
        self._server: Server | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """ws:// address with the port the system gave."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return f"ws://{host}:{port}"

    @property
    def served(self) -> int:
        """How many account_info and account_lines were answered with a result."""
        return self._replies.served

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 lets the system choose."""
        self._server = await serve(
            self._converse,
            "127.0.0.1",
            port,
            process_request=self._handshake,
            compression=None,
            ping_interval=None,
            max_queue=1024,
            close_timeout=1,
        )
        self._watcher = asyncio.create_task(self._watch(), name="rippled ledger stream")

    async def stop(self) -> None:
        """Close every connection; no task is left."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def touch(self, number: int, addresses: Sequence[str]) -> None:
        """Let the transactions stream name just these for a ledger, one Payment each. Else it
        names every account that was ever asked for and changed."""
        self._touched[number] = tuple(addresses)

    # --- faults -----------------------------------------------------------------------------

    def _handshake(self, connection: ServerConnection, _: Request) -> Response | None:
        fault = self._faults.current()
        if fault is None:
            return None
        if fault.fault is Fault.SERVER_ERROR:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "Server is overloaded\n")
        if fault.fault is Fault.HTML:
            page = connection.respond(http.HTTPStatus.OK, _PAGE.decode())
            page.headers["Content-Type"] = "text/html"
            return page
        return None

    async def _misbehave(
        self, connection: ServerConnection, active: ActiveFault, command: Command, refused: int
    ) -> bool:
        """Act on the fault; True where the request got what it deserved."""
        reads = command.command.startswith("account_")
        match active.fault:
            case Fault.TIMEOUT:
                return True
            case Fault.TOO_MANY if refused >= _TOO_MANY_BEFORE_CLOSE:
                await connection.close(1008, "threshold exceeded")
            case Fault.TOO_MANY:
                await connection.send(failure(command, SLOW_DOWN), text=True)
            case Fault.TOO_LARGE:
                await connection.close(1009, "message too big")
            case Fault.SERVER_ERROR:
                busy = Refused("tooBusy", 9, "The server is too busy to help you now.")
                await connection.send(failure(command, busy), text=True)
            case Fault.HTML:
                await connection.send(_PAGE, text=True)
            case Fault.HALF:
                whole = self._answer(connection, command)
                await connection.send(whole[: len(whole) // 2], text=True)
            case Fault.RESET:
                connection.transport.abort()
            case Fault.RPC_ERROR if reads:
                internal = Refused("internal", 73, "Internal error.")
                await connection.send(failure(command, internal), text=True)
            case _:
                return False
        return True

    def _too_fast(self) -> bool:
        """Count a request against the public limit of one second."""
        if self._rate is None:
            return False
        now = asyncio.get_running_loop().time()
        self._recent = [at for at in self._recent if at > now - 1.0]
        if len(self._recent) >= self._rate:
            return True
        self._recent.append(now)
        return False

    # --- conversation -----------------------------------------------------------------------

    async def _converse(self, connection: ServerConnection) -> None:
        self.connections += 1
        refused = 0
        try:
            while True:
                command = decode(await connection.recv(decode=False))
                active = self._faults.current()
                if active is not None:
                    refused += active.fault is Fault.TOO_MANY
                    if await self._misbehave(connection, active, command, refused):
                        continue
                if self._too_fast():
                    refused += 1
                    if refused > _TOO_MANY_BEFORE_CLOSE:
                        await connection.close(1008, "threshold exceeded")
                        return
                    await connection.send(failure(command, SLOW_DOWN), text=True)
                    continue
                await connection.send(self._answer(connection, command), text=True)
        except ConnectionClosed:
            return
        finally:
            self._subscribers.pop(connection, None)

    def _answer(self, connection: ServerConnection, command: Command) -> bytes:
        if command.command == "subscribe":
            return self._subscribe(connection, command)
        if command.command == "unsubscribe":
            self._subscribers.get(connection, set()).difference_update(command.streams)
            return success(command, {})
        return self._replies.answer(command)

    # --- streams ----------------------------------------------------------------------------

    def _subscribe(self, connection: ServerConnection, command: Command) -> bytes:
        if set(command.streams) - {"ledger", "transactions"}:
            return failure(command, Refused("malformedStream", 43, "Stream malformed."))
        self._subscribers.setdefault(connection, set()).update(command.streams)
        result: dict[str, Json] = {}
        if "ledger" in command.streams:
            closed = self._replies.ledger_closed(self._replies.head(), 0)
            result = {k: v for k, v in closed.items() if k not in ("type", "txn_count")}
        return success(command, result)

    async def _watch(self) -> None:
        """Tell subscribers of each new ledger: it first, then its transactions, as rippled."""
        last = self._replies.head().number
        while True:
            await asyncio.sleep(_WATCH_S)
            head = self._replies.head()
            for number in range(last + 1, head.number + 1):
                ledger = self._chain.block(number)
                if ledger is not None:
                    await self._tell(ledger)
            last = head.number
            for number in [n for n in self._touched if n <= last]:
                del self._touched[number]

    async def _tell(self, ledger: BlockRef) -> None:
        active = self._faults.current()
        if active is not None and active.fault in (Fault.TIMEOUT, Fault.STALE):
            return
        touched: tuple[str, ...] = ()
        if any("transactions" in streams for streams in self._subscribers.values()):
            stated = self._touched.get(ledger.number)
            touched = self._replies.touched(ledger.number) if stated is None else stated
        closed = msgspec.json.encode(self._replies.ledger_closed(ledger, len(touched)))
        moved = [
            msgspec.json.encode(self._replies.transaction(ledger, account)) for account in touched
        ]
        for connection, streams in list(self._subscribers.items()):
            try:
                if "ledger" in streams:
                    await connection.send(closed, text=True)
                if "transactions" in streams:
                    for message in moved:
                        await connection.send(message, text=True)
            except ConnectionClosed:
                self._subscribers.pop(connection, None)
