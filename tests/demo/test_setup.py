"""What the demo starts with: a configuration that is accepted, wallets, and a past."""

from __future__ import annotations

import tomllib
from pathlib import Path

from core.chains.addresses import parse_address
from core.config import parse_settings
from core.demo.cast import ASSETS, NOT_ACTIVATED
from core.demo.chain import DAY_MS, HOUR_MS
from core.demo.setup import (
    CHAIN_KINDS,
    NEW_ASSETS,
    config_text,
    incidents_at,
    interval_ms,
    seed_store,
    wallets,
)
from core.demo.world import World
from core.engine.compose import configured_assets
from core.model import ChainKind, parse_amount
from core.store.sqlite import SqliteStore
from tests.demo.worlds import START_MS, SetClock, balance, make_world

URLS = {
    "base": ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"),
    "xrpl": ("ws://127.0.0.1:4", "ws://127.0.0.1:5"),
    "tron": ("http://127.0.0.1:6", "http://127.0.0.1:7"),
}


async def open_store(world: World, directory: Path) -> SqliteStore:
    store = SqliteStore(directory / "bursar.db", "demo")
    await store.open()
    await store.put_registry(CHAIN_KINDS, NEW_ASSETS)
    await store.add_wallets(wallets(world), (), world.start_ms)
    return store


def test_the_configuration_passes_every_check_and_carries_limits_and_prices(
    tmp_path: Path,
) -> None:
    world, _ = make_world(5)
    text = config_text(world, URLS, tmp_path / 'a "quoted" folder')
    settings = parse_settings(text, "the demo", {})
    assert settings.data_path == tmp_path / 'a "quoted" folder'
    assert {chain.name: chain.endpoints for chain in settings.chain} == URLS
    assert settings.polling.interval == interval_ms(5) == 2_000
    for configured, ours in zip(settings.asset, ASSETS, strict=True):
        assert configured.contract == ours.contract
        assert configured.price == ours.price
        assert parse_amount(configured.floor or "", ours.decimals) == ours.floor
        assert parse_amount(configured.target or "", ours.decimals) == ours.target
    assert settings.backup.incremental == "*/2 * * * *"
    assert tomllib.loads(text)["ui"]["environment"] == "demo"


def test_every_agent_has_a_wallet_on_every_chain() -> None:
    world, _ = make_world(30)
    rows = wallets(world)
    assert len(rows) == 90
    assert {(row.agent, row.chain) for row in rows} == {
        (agent.id, chain) for agent in world.agents for chain in ("base", "xrpl", "tron")
    }


def test_wallets_and_contracts_are_in_the_form_an_import_would_give_them(tmp_path: Path) -> None:
    world, _ = make_world()
    settings = parse_settings(config_text(world, URLS, tmp_path), "test", {})
    assert configured_assets(settings) == NEW_ASSETS
    kinds = dict(CHAIN_KINDS)
    for wallet in wallets(world):
        assert parse_address(kinds[wallet.chain], wallet.address) == wallet.address
        if kinds[wallet.chain] is ChainKind.EVM:
            assert parse_address(ChainKind.EVM, wallet.address.lower()) == wallet.address


def test_incidents_of_a_moment_have_titles_to_show() -> None:
    world, _ = make_world(5)
    titles = [incident.title for incident in incidents_at(world, START_MS + 130_000)]
    assert any(title.startswith("tron is down") for title in titles)


async def test_the_past_in_the_store_is_what_the_chain_says_of_those_blocks(
    tmp_path: Path,
) -> None:
    world, clock = make_world(30)
    store = await open_store(world, tmp_path)
    try:
        written = await seed_store(store, world, clock.ms)
        registry = await store.registry()
        symbol = {asset.id: asset.symbol for asset in registry.assets}
        number = {agent.id: n for n, agent in enumerate(world.agents)}
        found = 0
        for account in registry.accounts:
            rows = await store.history(account.id, 0, clock.ms)
            found += len(rows)
            asset = symbol[account.asset]
            if asset == "XRP" and number[account.agent] == NOT_ACTIVATED:
                assert [row.amount for row in rows] == [0]
                continue
            assert rows[0].time_ms <= clock.ms - 29 * DAY_MS
            for row in rows:
                assert row.amount == balance(world, number[account.agent], asset, row.time_ms)
        assert found <= written + 180
        assert written > 180 * 10
        for chain, _ in CHAIN_KINDS:
            gaps = await store.gaps(chain, clock.ms - 29 * DAY_MS, clock.ms)
            assert gaps == []
    finally:
        await store.close()


async def test_a_seeded_store_looks_as_if_an_engine_had_read_it_a_moment_ago(
    tmp_path: Path,
) -> None:
    world, clock = make_world(10)
    store = await open_store(world, tmp_path)
    try:
        await seed_store(store, world, clock.ms)
        registry = await store.registry()
        symbol = {asset.id: asset.symbol for asset in registry.assets}
        number = {agent.id: n for n, agent in enumerate(world.agents)}
        accounts = {account.id: account for account in registry.accounts}
        stored = await store.balances()
        assert len(stored) == 60
        for row in stored:
            account = accounts[row.account]
            truth = balance(world, number[account.agent], symbol[account.asset], clock.ms)
            assert row.amount == (truth or 0)
            assert row.mark == ("" if truth is not None else "not activated")
            assert clock.ms - 4_000 <= row.checked_ms <= clock.ms
        lease = await store.claim(
            "base", "engine", now_ms=clock.ms, due_before_ms=clock.ms + 1, lease_ms=1, limit=None
        )
        assert lease is not None
    finally:
        await store.close()


async def test_seeding_again_and_over_a_strangers_account_changes_nothing(tmp_path: Path) -> None:
    world, clock = make_world(3)
    (bigger, _) = make_world(4)
    store = await open_store(bigger, tmp_path)
    try:
        first = await seed_store(store, world, clock.ms)
        before = await store.recent_history(0)
        assert await seed_store(store, world, clock.ms) == first
        assert await store.recent_history(0) == before
        followed = {row.account for row in before}
        registry = await store.registry()
        assert followed == {a.id for a in registry.accounts if a.agent != "agent-0004"}
    finally:
        await store.close()


async def test_a_large_fleet_gets_fewer_points_an_account_but_still_a_month() -> None:
    clock = SetClock()
    world = World(1, 10_000, START_MS, clock)
    grid = world.chain("base").grid(clock.ms - 30 * DAY_MS, clock.ms, 4)
    assert [round((clock.ms - at) / HOUR_MS) for at, _, _ in grid] == [720, 168, 24, 1]
    assert (world.agents[0].id, world.agents[-1].id) == ("agent-0001", "agent-10000")
    assert interval_ms(10_000) == 10_000
