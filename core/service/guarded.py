"""Routes for restores and the seed: on the Unix socket only, never over TCP.

Passwords and words come in a body, become a `Secret` at once and are in no URL, log or answer.
"""

from __future__ import annotations

from aiohttp import web

from core.api import CommandRefusedError, EngineApi
from core.model import Secret
from core.service import wire


def guarded_routes(api: EngineApi) -> list[web.RouteDef]:
    """What is added to the routes of a socket that only the engine's owner can open."""

    async def at(request: web.Request) -> web.Response:
        return _json(list(await api.backups_at(request.query.get("source", ""))))

    async def drill(request: web.Request) -> web.Response:
        body: wire.SecretRequest = wire.decode_secret_request(await request.read())
        return _json(await api.drill(body.target, Secret(body.secret)))

    async def set_up(request: web.Request) -> web.Response:
        body: wire.KeyRequest = wire.decode_key_request(await request.read())
        password, recovery = Secret(body.password), Secret(body.recovery)
        return _json(await api.set_up_backups(password, recovery, create=body.create))

    async def change_password(request: web.Request) -> web.Response:
        body: wire.KeyRequest = wire.decode_key_request(await request.read())
        current, password = Secret(body.current), Secret(body.password)
        return _json(await api.change_password(current, password, Secret(body.recovery)))

    async def plan(request: web.Request) -> web.Response:
        body: wire.SecretRequest = wire.decode_secret_request(await request.read())
        if body.restore is None:
            raise CommandRefusedError("Say which backup to restore.")
        return _json(await api.plan_restore(body.restore, Secret(body.secret)))

    async def apply(request: web.Request) -> web.Response:
        typed = wire.decode_texts(await request.read()).get("typed", "")
        return _json(await api.apply_restore(request.match_info["plan"], typed))

    async def planned(request: web.Request) -> web.Response:
        return _json(await api.planned_restore(request.match_info["plan"]))

    async def discard(request: web.Request) -> web.Response:
        await api.discard_restore(request.match_info["plan"])
        return _json({})

    async def undo(request: web.Request) -> web.Response:
        typed = wire.decode_texts(await request.read()).get("typed", "")
        return _json(await api.undo_restore(typed))

    async def reconciliation(request: web.Request) -> web.Response:
        return _json(await api.reconciliation())

    async def verify_seed(request: web.Request) -> web.Response:
        body: wire.SecretRequest = wire.decode_secret_request(await request.read())
        return _json(await api.verify_seed(Secret(body.secret)))

    async def unlock_seed(request: web.Request) -> web.Response:
        body: wire.SecretRequest = wire.decode_secret_request(await request.read())
        return _json(await api.unlock_seed(Secret(body.secret)))

    return [
        web.get("/v1/backups/at", at),
        web.post("/v1/backups/drill", drill),
        web.post("/v1/backups/key", set_up),
        web.put("/v1/backups/key", change_password),
        web.post("/v1/restore", plan),
        web.get("/v1/restore", reconciliation),
        web.post("/v1/restore/undo", undo),
        web.post("/v1/restore/{plan}/apply", apply),
        web.get("/v1/restore/{plan}", planned),
        web.delete("/v1/restore/{plan}", discard),
        web.post("/v1/seed/verify", verify_seed),
        web.post("/v1/seed/unlock", unlock_seed),
    ]


def _json(value: object) -> web.Response:
    return web.Response(body=wire.encode(value), content_type="application/json")
