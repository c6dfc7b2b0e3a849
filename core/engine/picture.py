"""What a desk sees of an engine: the whole state, and what changed since a version of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from core.api import BackupsView, EngineState, StatePatch
from core.balances.loading import build, rebuild
from core.engine.books import NO_BOOKS
from core.engine.settling import NO_SETTLEMENTS

if TYPE_CHECKING:
    from core.engine.live import Live


async def state(live: Live, *, demo: bool) -> EngineState:
    """Everything as it stands now."""
    await build(live.cache)
    own, settings = live.own, live.settings
    books = own.books.all() if own else NO_BOOKS
    board = own.settling.all() if own else NO_SETTLEMENTS
    return EngineState(
        instance=live.instance,
        version=live.counter.value,
        seq=live.bus.last,
        now_ms=live.clock.now_ms(),
        started_ms=live.started_ms,
        node_id=settings.settlement.node_id,
        environment=settings.ui.environment,
        demo=demo,
        interval_ms=int(settings.polling.interval),
        chains=live.cache.chain_states(),
        endpoints=live.cache.endpoints(),
        assets=tuple(live.roster.assets.values()),
        agents=tuple(live.roster.agents.values()),
        balances=live.cache.views(),
        totals=live.cache.totals(),
        store=live.health(),
        clients=live.clients,
        ledger=books.ledger,
        peers=books.peers,
        trial=books.trial or (),
        custody=books.custody,
        settlements=board.rows,
        settlement=board.health,
        alerts=own.alerting.all() if own else (),
        jobs=own.walleting.jobs() if own else (),
        backups=_with_restore(live, live.backing.all()),
    )


async def patch(live: Live, version: int) -> StatePatch:
    """What changed after a version. A whole fleet may have: its views are made in slices."""
    await (rebuild(live.cache) if version else build(live.cache))
    own = live.own
    changes = live.cache.changed_since(version)
    health = live.health_log.since(version)
    agents, assets = live.roster.changed_since(version)
    books = own.books.changed_since(version) if own else NO_BOOKS
    board = own.settling.changed_since(version) if own else NO_SETTLEMENTS
    backups = live.backing.changed_since(version)
    return StatePatch(
        version=live.counter.value,
        now_ms=live.clock.now_ms(),
        chains=changes.chains,
        endpoints=changes.endpoints,
        assets=assets,
        agents=agents,
        balances=changes.balances,
        removed=changes.removed,
        totals=changes.totals,
        store=live.health() if "store" in health else None,
        clients=live.clients if "clients" in health else None,
        ledger=books.ledger,
        peers=books.peers,
        trial=books.trial,
        custody=books.custody,
        settlements=board.rows,
        settlement=board.health,
        alerts=own.alerting.changed_since(version) if own else None,
        jobs=own.walleting.changed_since(version) if own else None,
        backups=_with_restore(live, backups) if backups is not None else None,
    )


def _with_restore(live: Live, view: BackupsView) -> BackupsView:
    held = live.own is not None and live.own.settling.held
    return msgspec.structs.replace(view, held=held, undo=live.undo)
