"""What a demo is started with: a configuration, wallets, and a past for the charts.

The configuration is text like any operator's, so the engine is composed from it as always;
only the endpoints are simulated. `host_demo` does it all for the command line.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Final

from core.api import EngineApi
from core.clock import SystemClock
from core.demo import backups, traffic
from core.demo.cast import ASSETS, CHAINS, WorldAsset
from core.demo.chain import DAY_MS, WorldChain
from core.demo.incidents import Incident, active
from core.demo.process import RunningDemo, start_demo
from core.demo.world import World
from core.model import Account, ChainKind, Consistency, human
from core.store.protocol import (
    Change,
    HistoryRow,
    Mark,
    NewAsset,
    NewWallet,
    Registry,
    Store,
    Sweep,
)

CHAIN_KINDS: Final[tuple[tuple[str, ChainKind], ...]] = tuple((c.name, c.kind) for c in CHAINS)
NEW_ASSETS: Final = tuple(
    NewAsset(a.chain, a.symbol, a.name, a.decimals, a.contract) for a in ASSETS
)

NODE_ID: Final = "bursar-demo"

_PAST_DAYS: Final = 30
_PAST_ROWS: Final = 80_000  # a past as rich as this allows, whatever the size of the fleet
_ROWS_AT_ONCE: Final = 20_000


def interval_ms(agents: int) -> int:
    """How often a demo reads its chains: a large fleet less often."""
    return 2_000 if agents <= 1_000 else 10_000


def config_text(world: World, urls: dict[str, tuple[str, ...]], data_dir: Path) -> str:
    """The demo's configuration as TOML (see `core.config.parse_settings`)."""
    seconds = interval_ms(world.size) // 1000
    parts = [
        f"data_dir = {_quoted(str(data_dir))}",
        f'[polling]\ninterval = "{seconds}s"',
        '[problems]\nrunway = "2h"\nlag_after = "15s"',
        '[ui]\nenvironment = "demo"',
        traffic.settlement_lines(NODE_ID),
        traffic.config_lines(),
        backups.config_lines(world.size),
    ]
    for plan in CHAINS:
        lines = ["[[chain]]", f"name = {_quoted(plan.name)}", f"kind = {_quoted(plan.kind)}"]
        if plan.kind is ChainKind.EVM:
            lines.append(f"chain_id = {plan.chain_id}")
        listed = ", ".join(_quoted(url) for url in urls[plan.name])
        parts.append("\n".join([*lines, f"endpoints = [{listed}]"]))
    for asset in ASSETS:
        lines = [
            "[[asset]]",
            f"chain = {_quoted(asset.chain)}",
            f"symbol = {_quoted(asset.symbol)}",
            f"name = {_quoted(asset.name)}",
            f"decimals = {asset.decimals}",
            f"floor = {_quoted(human(asset.floor, asset.decimals))}",
            f"target = {_quoted(human(asset.target, asset.decimals))}",
            f"price = {_quoted(asset.price)}",
        ]
        if asset.contract is not None:
            lines.append(f"contract = {_quoted(asset.contract)}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False)


def wallets(world: World) -> tuple[NewWallet, ...]:
    """Every address of the fleet, as it would be imported."""
    return tuple(
        NewWallet(agent.id, chain, address, group=agent.group, tags=agent.tags)
        for agent in world.agents
        for chain, address in agent.addresses.items()
    )


def incidents_at(world: World, at_ms: int) -> tuple[Incident, ...]:
    """What goes wrong at a moment, to be shown as simulated."""
    return active(world.start_ms, at_ms)


async def seed_store(store: Store, world: World, now_ms: int, *, days: int = _PAST_DAYS) -> int:
    """Give a store that knows the fleet its past up to `now_ms`, as if an engine had run until
    then; answers the rows of history written.

    Each row is what the account's balance really was at its block. A large fleet gets fewer
    rows an account, four at least.
    """
    ours = _Ours(world, await store.registry())
    points = min(60, max(4, _PAST_ROWS // max(1, len(ours.accounts))))
    since_ms = now_ms - days * DAY_MS
    grids = {name: chain.grid(since_ms, now_ms, points) for name, chain in world.chains.items()}
    rows: list[HistoryRow] = []
    written = 0
    reached: set[str] = set()
    for index, (account, number, asset) in enumerate(ours.accounts):
        chain = world.chain(asset.chain)
        past = chain.past(number, asset, grids[asset.chain])
        rows += [HistoryRow(account.id, p.time_ms, p.block, p.amount) for p in past]
        if past and asset.chain not in reached:
            # One row at the very end says how far the chain was followed: no gap before now.
            reached.add(asset.chain)
            newest = chain.block_at(now_ms)
            amount = chain.balance(account.address, asset.contract, newest) or 0
            rows.append(HistoryRow(account.id, chain.second_of(newest) * 1000, newest, amount))
        if len(rows) >= _ROWS_AT_ONCE:
            await store.put_history(rows)
            written += len(rows)
            rows = []
        elif index % 64 == 0:
            await asyncio.sleep(0)  # the desk paints meanwhile
    if rows:
        await store.put_history(rows)
    for chain in world.chains.values():
        await _record_last_reading(store, chain, ours, now_ms)
    return written + len(rows)


class _Ours:
    """The accounts of a registry that belong to the world, each with its agent's number and
    its asset; what an operator watches besides is left out."""

    def __init__(self, world: World, registry: Registry) -> None:
        numbers = {agent.id: number for number, agent in enumerate(world.agents)}
        known = {(a.chain, a.symbol): a for a in ASSETS}
        assets = {a.id: known.get((a.chain, a.symbol)) for a in registry.assets}
        self.accounts: list[tuple[Account, int, WorldAsset]] = []
        for account in registry.accounts:
            number, asset = numbers.get(account.agent), assets.get(account.asset)
            if number is not None and asset is not None:
                self.accounts.append((account, number, asset))


async def _record_last_reading(store: Store, chain: WorldChain, ours: _Ours, now_ms: int) -> None:
    """Store the chain's balances as read at the newest block, so that a desk has rows at once
    and trends have something to go on from."""
    block = chain.block(chain.block_at(now_ms))
    lease = await store.claim(
        chain.plan.name, "demo", now_ms=now_ms, due_before_ms=now_ms, lease_ms=60_000, limit=None
    )
    if block is None or lease is None:
        return  # the chain was read before: its accounts are not due
    changes: list[Change] = []
    marks: list[Mark] = []
    for account, _, asset in ours.accounts:
        if asset.chain != chain.plan.name:
            continue
        amount = chain.balance(account.address, asset.contract, block.number)
        changes.append(Change(account.id, amount or 0))
        if amount is None:
            marks.append(Mark(account.id, "not activated", 0))
        if len(changes) % 256 == 0:
            await asyncio.sleep(0)
    sweep = Sweep(
        lease,
        block.time_ms,
        block,
        Consistency.PINNED,
        block.number,
        "",
        0.0,
        changes=changes,
        marks=marks,
    )
    await store.record(sweep, ())


async def host_demo(home: Path, *, agents: int, seed: int) -> tuple[RunningDemo, EngineApi]:
    """Start the servers, fill a new data directory under `home` and start an engine on it.

    The caller closes the engine and stops the demo, in this order. Raises DemoError and what
    `Engine.start` raises; then nothing is left running.
    """
    from core.config import parse_settings
    from core.demo.hosting import HostedEngine
    from core.store.directory import DataDirectory
    from core.store.sqlite import SqliteStore

    start_ms = time.time_ns() // 1_000_000_000 * 1000
    world = World(seed, agents, start_ms, SystemClock())
    directory = DataDirectory(home / "data")
    directory.prepare()

    async def fill() -> None:
        store = SqliteStore(directory.database, NODE_ID, interval_ms=interval_ms(agents))
        await store.open()
        try:
            await store.put_registry(CHAIN_KINDS, NEW_ASSETS)
            # In a thread: ten thousand addresses take a third of a second.
            await store.add_wallets(await asyncio.to_thread(wallets, world), (), start_ms)
            await seed_store(store, world, start_ms)
            await asyncio.to_thread(backups.give_key, directory.path)
        finally:
            await store.close()

    starting = asyncio.create_task(start_demo(seed, agents, start_ms=start_ms), name="demo")
    try:
        await fill()
    except BaseException:
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled() and starting.exception() is None:
            await starting.result().stop()
        raise
    running = await starting
    try:
        text = config_text(world, running.urls, directory.path)
        engine = HostedEngine(parse_settings(text, "the demo's settings", {}), seed)
        await engine.start()
    except BaseException:
        await running.stop()
        raise
    return running, engine
