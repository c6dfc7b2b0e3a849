from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from core.events import AgentRegistered, AgentTagged, LimitsChanged
from core.model import Agent, Amount, ChainKind, WalletState
from core.store.protocol import (
    DuplicateWalletError,
    Limit,
    NewAsset,
    NewWallet,
    Store,
    StoreError,
)
from core.store.sqlite import SqliteStore
from tests.unit.store.fleet import CHAINS, ETH, NOW, USDC, XRP, cycle, evm_address, register


async def test_the_sqlite_store_is_a_store(store: SqliteStore) -> None:
    typed: Store = store  # mypy holds every signature to the protocol
    assert await typed.last_seq() == 0


async def test_every_address_gets_an_account_for_each_asset_of_its_chain(
    store: SqliteStore,
) -> None:
    await register(store, 2, xrpl=True)
    registry = await store.registry()
    symbols = {asset.id: asset.symbol for asset in registry.assets}
    assert [(a.chain, a.agent, symbols[a.asset]) for a in registry.accounts] == [
        ("base", "agent-0", "ETH"),
        ("base", "agent-0", "USDC"),
        ("base", "agent-1", "ETH"),
        ("base", "agent-1", "USDC"),
        ("xrpl", "agent-0", "XRP"),
        ("xrpl", "agent-1", "XRP"),
    ]
    assert [chain.kind for chain in registry.chains] == [ChainKind.EVM, ChainKind.XRPL]


async def test_an_asset_configured_later_reaches_wallets_registered_before(
    store: SqliteStore,
) -> None:
    await store.put_registry(CHAINS, [ETH])
    await store.add_wallets([NewWallet("a", "base", evm_address(1))], (), NOW)
    await store.put_registry(CHAINS, [ETH, USDC])
    assert len((await store.registry()).accounts) == 2


async def test_what_is_no_longer_configured_rests_and_comes_back_with_its_balances(
    store: SqliteStore,
) -> None:
    await register(store, 1)
    before = (await store.registry()).accounts
    await cycle(store, {account.id: 7 for account in before})
    await store.put_registry(CHAINS, [ETH])
    registry = await store.registry()
    assert [account.id for account in registry.accounts] == [before[0].id]
    assert {a.symbol: a.is_active for a in registry.assets if a.chain == "base"} == {
        "ETH": True,
        "USDC": False,
    }
    assert len(await store.balances()) == 1
    await store.put_registry([("xrpl", ChainKind.XRPL)], [])
    assert (await store.registry()).accounts == ()
    await store.put_registry(CHAINS, [ETH, USDC])
    assert (await store.registry()).accounts == before
    assert [row.amount for row in await store.balances()] == [7, 7]


async def test_a_renamed_symbol_keeps_its_asset_and_a_second_currency_of_an_issuer_is_another(
    store: SqliteStore,
) -> None:
    await register(store, 1)
    before = (await store.registry()).accounts
    renamed = NewAsset("base", "USDC.e", "Bridged", 6, str(USDC.contract).lower())
    issued = [NewAsset("xrpl", code, code, 15, "rIssuer") for code in ("USD", "EUR")]
    await store.put_registry(CHAINS, [ETH, renamed, *issued])
    registry = await store.registry()
    assert registry.accounts == before
    assert {a.symbol for a in registry.assets if a.is_active} == {"ETH", "USDC.e", "USD", "EUR"}


async def test_corrected_decimals_rewrite_the_human_figures(store: SqliteStore, path: Path) -> None:
    await register(store, 1)
    await cycle(store, {1: 10**18, 2: 1_500_000})
    await store.put_registry(CHAINS, [ETH, NewAsset("base", "USDC", "USD", 5, USDC.contract), XRP])
    with sqlite3.connect(path) as other:
        rows = other.execute("SELECT on_chain_balance_human FROM wallet_balances ORDER BY id")
        assert [human for (human,) in rows] == ["1", "15"]


@pytest.mark.parametrize(
    ("chains", "assets", "message"),
    [
        ([("base", ChainKind.XRPL)], [], "registered as evm and configured as xrpl"),
        (CHAINS, [ETH, ETH], "asset ETH of chain base is given twice"),
        (CHAINS, [NewAsset("tron", "TRX", "Tron", 6)], "chain tron is not configured"),
    ],
)
async def test_a_registry_that_contradicts_itself_is_refused_whole(
    store: SqliteStore,
    chains: list[tuple[str, ChainKind]],
    assets: list[NewAsset],
    message: str,
) -> None:
    await register(store, 1)
    before = await store.registry()
    with pytest.raises(StoreError, match=message):
        await store.put_registry(chains, assets)
    assert await store.registry() == before


async def test_wallets_are_registered_with_their_agents_and_events(store: SqliteStore) -> None:
    await store.put_registry(CHAINS, (ETH, XRP))
    event = AgentRegistered(timestamp=NOW, agent_id="a", chain="base", address=evm_address(1))
    records = await store.add_wallets(
        [
            NewWallet("a", "base", evm_address(1), tags=("x",)),
            NewWallet("a", "xrpl", "rA", group="blue", tags=("y", "x"), watch_only=False),
        ],
        [event],
        NOW,
    )
    assert [(r.seq, r.type, r.subject, r.node_id) for r in records] == [
        (1, "AGENT_REGISTERED", "a", "node-1")
    ]
    assert (await store.registry()).agents == (
        Agent("a", "blue", ("x", "y"), WalletState.ACTIVE, watch_only=False, created_ms=NOW),
    )


@pytest.mark.parametrize(
    ("wallet", "message"),
    [
        (NewWallet("new", "base", evm_address(0xABC).upper().replace("X", "x")), "agent-2748"),
        (NewWallet("agent-1", "base", evm_address(99_999)), "agent-1 already has the address"),
    ],
)
async def test_a_duplicate_is_named_by_its_row_and_nothing_is_registered(
    store: SqliteStore, wallet: NewWallet, message: str
) -> None:
    await register(store, 2_749)
    before = await store.registry()
    with pytest.raises(DuplicateWalletError, match=message) as caught:
        await store.add_wallets(
            [NewWallet("fresh", "base", evm_address(88_888)), wallet],
            [AgentRegistered(timestamp=NOW, agent_id="fresh", chain="base", address="")],
            NOW,
        )
    assert caught.value.index == 1
    assert await store.registry() == before
    assert await store.last_seq() == 0


async def test_base58_addresses_that_differ_in_case_are_different(store: SqliteStore) -> None:
    await register(store, 0)
    await store.add_wallets(
        [NewWallet("a", "xrpl", "rAbc"), NewWallet("b", "xrpl", "rABC")], (), NOW
    )
    assert len((await store.registry()).accounts) == 2


async def test_a_wallet_on_an_unknown_chain_is_refused(store: SqliteStore) -> None:
    await register(store, 0)
    with pytest.raises(StoreError, match=r"chain solana is not configured; known are base, xrpl"):
        await store.add_wallets([NewWallet("a", "solana", "x")], (), NOW)
    assert (await store.registry()).agents == ()


async def test_labels_are_written_for_all_or_none(store: SqliteStore) -> None:
    await register(store, 1)
    event = AgentTagged(timestamp=NOW, agent_id="agent-0", group="g", tags=("t", "u"))
    (record,) = await store.label_agents([Agent("agent-0", "g", ("t", "u"))], [event])
    assert record.payload["tags"] == ["t", "u"]
    with pytest.raises(StoreError, match="agent ghost is not registered"):
        await store.label_agents([Agent("agent-0", "other"), Agent("ghost")], [event])
    (agent,) = (await store.registry()).agents
    assert (agent.group, agent.tags) == ("g", ("t", "u"))
    assert await store.last_seq() == 1


async def test_a_limit_is_set_replaced_and_removed(store: SqliteStore) -> None:
    await register(store, 1)
    event = LimitsChanged(
        timestamp=NOW,
        scope="group",
        key="g",
        chain="base",
        token="ETH",
        floor=Amount(1),
        target=None,
    )
    huge = 2**256 - 1
    await store.set_limit(Limit("group", "g", 1, 5, None), [event])
    await store.set_limit(Limit("group", "g", 1, 6, huge), [])
    assert (await store.registry()).limits == (Limit("group", "g", 1, 6, huge),)
    await store.set_limit(Limit("group", "g", 1, None, None), [])
    assert (await store.registry()).limits == ()
    assert await store.last_seq() == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE wallets SET state = 'ARCHIVED' WHERE wallet_id = 'agent-0'",
        "UPDATE wallet_addresses SET is_active = 0 WHERE wallet_id = 'agent-0'",
    ],
)
async def test_an_agent_archived_by_anyone_is_followed_no_longer(
    store: SqliteStore, path: Path, change: str
) -> None:
    await register(store, 2)
    with sqlite3.connect(path) as other:
        other.execute(change)
    registry = await store.registry()
    assert {account.agent for account in registry.accounts} == {"agent-1"}
    assert len(registry.agents) == 2
    lease = await store.claim("base", "w", now_ms=NOW, due_before_ms=NOW, lease_ms=1, limit=None)
    assert lease is not None
    assert set(lease.accounts) == {account.id for account in registry.accounts}
    assert lease.whole
