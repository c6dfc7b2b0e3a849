"""An EngineApi offered to other processes: HTTP over a Unix socket.

Every route is one call of the protocol. `/v1/updates` is the stream a desk lives on (patches
and events), `/v1/events` the one for scripts (events alone, resumed by Last-Event-ID). Who may
connect is decided by the file system: the socket is 0600 in a 0700 directory.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from core.api import (
    CommandRefusedError,
    EngineApi,
    EventQuery,
    LedgerAwayError,
    StatePatch,
    Update,
)
from core.events import EventRecord
from core.model import BursarError, NoWallet
from core.service import wire
from core.service.guarded import guarded_routes

log = logging.getLogger("bursar.service")

# A Unix socket's address is at most 107 bytes on Linux, 103 on macOS.
_LONGEST_PATH = 100
_KEEP_ALIVE_S = 15.0


class ServiceError(BursarError):
    """The socket cannot be served; the message says why and what to do."""


class Server:
    """Serves one engine on one socket. `start` and `stop` once each."""

    def __init__(
        self, api: EngineApi, socket: Path, on_clients: Callable[[int], None] = lambda count: None
    ) -> None:
        self._api = api
        self._socket = socket
        self._on_clients = on_clients
        self._clients = 0
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises ServiceError."""
        if len(os.fsencode(self._socket)) > _LONGEST_PATH:
            raise ServiceError(
                f"The socket path {self._socket} is too long for this system; "
                "choose a data_dir with a shorter path."
            )
        app = web.Application(middlewares=[_faults], client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/health/live", self._live),
                web.get("/v1/state", self._state),
                web.get("/v1/updates", self._updates),
                web.get("/v1/events", self._events),
                web.get("/v1/balances", self._balances),
                web.get("/v1/history", self._history),
                web.post("/v1/sparklines", self._sparklines),
                web.post("/v1/commands", self._commands),
                web.post("/v1/packets", self._packets),
                web.get("/v1/ledger/accounts", self._accounts),
                web.get("/v1/ledger/trial-balance", self._trial),
                web.get("/v1/ledger/transfers", self._transfers),
                web.get("/v1/ledger/totals", self._totals),
                web.post("/v1/ledger/reconcile", self._reconcile),
                web.get("/v1/settlements", self._settlements),
                web.get("/v1/settlements/explain", self._explain),
                web.get("/v1/backups", self._backups),
                web.get("/v1/wallets", self._wallets),
                *guarded_routes(self._api),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        # Only the lock's owner comes here, so a socket left behind belongs to nobody.
        self._socket.unlink(missing_ok=True)
        previous = os.umask(0o177)
        try:
            await web.UnixSite(self._runner, str(self._socket)).start()
        except OSError as error:
            raise ServiceError(f"Cannot listen on {self._socket}: {error}") from error
        finally:
            os.umask(previous)

    @property
    def clients(self) -> int:
        """Streams that are followed now."""
        return self._clients

    async def stop(self) -> None:
        """End every stream, close every connection, remove the socket."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._socket.unlink(missing_ok=True)

    # --- routes ----------------------------------------------------------------------------

    async def _health(self, request: web.Request) -> web.Response:
        state = await self._api.state()
        down = [chain.name for chain in state.chains if chain.state in {"down", "stale"}]
        ledger = state.ledger
        away = ledger.reason or "away" if ledger is not None and not ledger.ok else ""
        body = {
            "status": "degraded" if down or state.store.error or away else "ok",
            "instance": state.instance,
            "chains": {chain.name: chain.state for chain in state.chains},
            "store": state.store.error or "ok",
            "ledger": away or "ok",
            "sequence": state.seq,
        }
        return _json(body)

    async def _live(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _state(self, request: web.Request) -> web.Response:
        return _json(await self._api.state())

    async def _balances(self, request: web.Request) -> web.Response:
        query = request.query
        rows = wire.balance_rows(
            await self._api.state(),
            agent=query.get("agent", ""),
            chain=query.get("chain", ""),
            asset=query.get("asset", ""),
        )
        return _json(rows)

    async def _history(self, request: web.Request) -> web.Response:
        query = request.query
        history = await self._api.history(
            query.get("agent", ""),
            query.get("chain", ""),
            query.get("asset", ""),
            _number(query.get("start", "0"), "start"),
            _number(query.get("end", "0"), "end"),
        )
        return _json(history)

    async def _sparklines(self, request: web.Request) -> web.Response:
        wanted = wire.decode_sparkline_request(await request.read())
        lines = await self._api.sparklines(
            wanted.accounts, wanted.start_ms, wanted.end_ms, wanted.buckets
        )
        return _json(lines)

    async def _commands(self, request: web.Request) -> web.Response:
        command = wire.decode_command(await request.read())
        return _json(await self._api.execute(command))

    async def _packets(self, request: web.Request) -> web.Response:
        return _json(list(await self._api.packets(wire.decode_steps(await request.read()))))

    async def _accounts(self, request: web.Request) -> web.Response:
        return _json(list(await self._api.peer_balances()))

    async def _trial(self, request: web.Request) -> web.Response:
        return _json(list(await self._api.trial_balance()))

    async def _totals(self, request: web.Request) -> web.Response:
        return _json(list(await self._api.ledger_totals()))

    async def _transfers(self, request: web.Request) -> web.Response:
        query = request.query
        found = await self._api.transfers(
            query.get("peer", ""),
            query.get("token", ""),
            min(_number(query.get("limit", "100"), "limit"), 8_189),
            _number(query.get("before", "0"), "before"),
        )
        return _json(list(found))

    async def _settlements(self, request: web.Request) -> web.Response:
        return _json((await self._api.state()).settlements)

    async def _explain(self, request: web.Request) -> web.Response:
        query = request.query
        told = await self._api.explain(
            query.get("peer", ""), query.get("token", ""), query.get("direction", "receivable")
        )
        return _json({"explanation": told})

    async def _backups(self, request: web.Request) -> web.Response:
        return _json((await self._api.state()).backups)

    async def _wallets(self, request: web.Request) -> web.Response:
        return _json(list(await self._api.wallets(request.query.get("agent", ""))))

    async def _reconcile(self, request: web.Request) -> web.Response:
        return _json(list(await self._api.reconcile(request.query.get("agent", ""))))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        resume = request.headers.get("Last-Event-ID", query.get("after", "0"))
        after = _number(resume, "after")
        if "text/event-stream" in request.headers.get("Accept", ""):
            version = (await self._api.state()).version
            return await self._stream(request, self._api.updates(version, after), patches=False)
        found = await self._api.events(
            EventQuery(
                after_seq=after,
                limit=min(_number(query.get("limit", "500"), "limit"), 10_000),
                newest=query.get("newest", "") in {"1", "true"},
                types=tuple(t for t in query.get("types", "").split(",") if t),
                subject=query.get("subject", ""),
                text=query.get("text", ""),
                since_ms=_number(query.get("since", "0"), "since"),
                until_ms=_number(query.get("until", "0"), "until"),
            )
        )
        if query.get("form") == "records":
            return _json(list(found))
        return _json([record.as_json() for record in found])

    async def _updates(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        same = query.get("instance") == (await self._api.state()).instance
        version = _number(query.get("version", "0"), "version") if same else 0
        seq = _number(query.get("seq", "0"), "seq")
        self._count_client(+1)
        try:
            return await self._stream(request, self._api.updates(version, seq), patches=True)
        finally:
            self._count_client(-1)

    def _count_client(self, step: int) -> None:
        self._clients += step
        self._on_clients(self._clients)

    async def _stream(
        self, request: web.Request, updates: AsyncIterator[Update], *, patches: bool
    ) -> web.StreamResponse:
        """Server-sent events until the reader leaves or the server stops."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        lines: asyncio.Queue[bytes] = asyncio.Queue(maxsize=256)

        async def fill() -> None:
            async for update in updates:
                if patches or not isinstance(update, StatePatch):
                    await lines.put(_frame(update, public=not patches))

        filler = asyncio.create_task(fill(), name="service.stream")
        stopping = asyncio.create_task(self._stopping.wait(), name="service.stopping")
        try:
            while not stopping.done() and not filler.done():
                taking = asyncio.create_task(lines.get())
                done, _ = await asyncio.wait(
                    {taking, stopping, filler},
                    timeout=_KEEP_ALIVE_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if taking in done:
                    await response.write(taking.result())
                    continue
                taking.cancel()
                if not done:
                    await response.write(b": alive\n\n")
        except ConnectionResetError:
            log.debug("a reader left", extra={"component": "service"})
        finally:
            for task in (filler, stopping):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        return response


def _frame(update: Update, *, public: bool) -> bytes:
    """One server-sent event; only events carry an id, so only they move Last-Event-ID."""
    if isinstance(update, EventRecord):
        body = wire.encode(update.as_json() if public else update)
        return b"id: %d\nevent: event\ndata: %s\n\n" % (update.seq, body)
    return b"event: patch\ndata: %s\n\n" % wire.encode(update)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(value), content_type="application/json", status=status)


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise wire.WireError(f"`{name}` must be a non-negative number, not {text[:40]!r}.")
    return int(text)


@web.middleware
async def _faults(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors on purpose become a Fault with its message; others are logged and named as such."""
    try:
        return await handler(request)
    except CommandRefusedError as error:
        return _json(wire.Fault("refused", str(error)), 409)
    except LedgerAwayError as error:
        return _json(wire.Fault("ledger-away", str(error)), 503)
    except NoWallet as error:
        return _json(wire.Fault("no-wallet", str(error)), 404)
    except wire.WireError as error:
        return _json(wire.Fault("bad-request", str(error)), 400)
    except BursarError as error:
        log.error("%s failed: %s", request.path, error, extra={"component": "service"})
        return _json(wire.Fault("failed", str(error)), 500)
