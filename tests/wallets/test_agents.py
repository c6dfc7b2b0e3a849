"""Agents created, imported and looked up in a real database file."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from core.chains.evm.address import checksum
from core.model import ChainKind, NoWallet, Secret, WalletState
from core.store.protocol import DuplicateWalletError, NewWallet
from core.store.wallet_protocol import AgentPresentError, AgentWallet, WalletAddress
from core.wallets.accounts import AccountsError, NoAccountsError, derive_accounts
from core.wallets.agents import AgentWallets, WalletRefusedError
from core.wallets.derivation import Deriver
from core.wallets.seed import Seed
from tests.wallets.fleets import accounts, opened
from tests.wallets.vectors import ABANDON, JUNK

ROOT = Path(__file__).parents[2]
FINGERPRINT = accounts().fingerprint


def database(tmp_path: Path) -> Path:
    return tmp_path / "bursar.db"


async def test_a_created_agent_has_an_address_on_every_chain_and_the_path_of_each(
    tmp_path: Path,
) -> None:
    async with opened(database(tmp_path)) as fleet:
        first, second = await fleet.wallets.create(2, group="blue", tags=("x",))
        own = Deriver(accounts())
        assert (first.agent, second.agent) == ("agent-00000", "agent-00001")
        assert {a.chain: (a.address, a.path) for a in second.addresses} == {
            chain: (own.derive(kind, 1).address, own.derive(kind, 1).path)
            for chain, kind in (
                ("base", ChainKind.EVM),
                ("ethereum", ChainKind.EVM),
                ("xrpl", ChainKind.XRPL),
                ("tron", ChainKind.TRON),
            )
        }
        assert (first.state, first.watch_only, first.index) == (WalletState.PENDING, False, 0)
        assert await fleet.wallets.get_all_wallets() == [first, second]
        registry = await fleet.store.registry()
        assert len(registry.accounts) == 8  # pending agents are polled
        assert registry.agents[0].group == "blue"
        told = await fleet.events("AGENT_REGISTERED")
        assert len(told) == 8
        assert fleet.bus.last == told[-1].seq


async def test_agents_get_only_the_chains_that_were_named(tmp_path: Path) -> None:
    async with opened(database(tmp_path)) as fleet:
        (wallet,) = await fleet.wallets.create_named(["treasurer"], chains=["xrpl"])
        assert [a.chain for a in wallet.addresses] == ["xrpl"]
        assert await fleet.wallets.get_agent_wallet("treasurer") == wallet


def created_by_two_processes(path: Path) -> list[tuple[str, int, str]]:
    """Agent, index and EVM address of 500 agents from each of two processes that began at once."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.wallets.creating_child", str(path), prefix, "500"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for prefix in ("left", "right")
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    lines = [line.split() for c in children for line in c.communicate(timeout=120)[0].splitlines()]
    assert [child.returncode for child in children] == [0, 0]
    return [(agent, int(index), address) for agent, index, address in lines]


async def test_two_processes_at_once_share_no_index_and_no_address(tmp_path: Path) -> None:
    path = database(tmp_path)
    async with opened(path):
        pass
    said = await asyncio.to_thread(created_by_two_processes, path)
    assert len(said) == 1_000
    assert {index for _, index, _ in said} == set(range(1_000))
    assert len({address for _, _, address in said}) == 1_000
    makers = [agent.partition("-")[0] for agent, _, _ in sorted(said, key=lambda s: s[1])]
    assert sum(a != b for a, b in itertools.pairwise(makers)) > 3  # they really took turns

    async with opened(path) as fleet:  # the same after a restart
        wallets = await fleet.wallets.get_all_wallets()
        assert {(w.agent, w.index, w.addresses[0].address) for w in wallets} == set(said)
        assert await fleet.wallets.check_addresses() == []
        (next_one,) = await fleet.wallets.create(1)
        assert next_one.index == 1_000


async def test_every_index_is_reserved_once_and_none_comes_back(tmp_path: Path) -> None:
    async with opened(database(tmp_path)) as fleet:
        assert await fleet.store.next_index(FINGERPRINT) == 0
        assert await fleet.store.take_indices(FINGERPRINT, 3) == 0
        assert await fleet.store.take_indices(FINGERPRINT, 1) == 3
        await fleet.store.skip_indices(FINGERPRINT, 1_000)
        await fleet.store.skip_indices(FINGERPRINT, 10)
        assert await fleet.store.next_index(FINGERPRINT) == 1_000
        assert await fleet.store.take_indices("another seed", 1) == 0
    async with opened(database(tmp_path)) as fleet:
        assert await fleet.store.take_indices(FINGERPRINT, 1) == 1_000


async def test_ten_thousand_agents_are_registered_in_one_go(tmp_path: Path) -> None:
    told: list[int] = []
    async with opened(database(tmp_path)) as fleet:
        await fleet.wallets.create(
            10_000, chains=["base", "xrpl", "tron"], progress=lambda n, _: told.append(n)
        )
        assert told[-1] == 30_000
        assert len((await fleet.store.registry()).accounts) == 30_000


async def test_creating_an_agent_again_is_an_error_and_archived_ones_never_return(
    tmp_path: Path,
) -> None:
    async with opened(database(tmp_path)) as fleet:
        await fleet.wallets.create_named(["a", "b"])
        before = await fleet.wallets.get_all_wallets()
        with pytest.raises(AgentPresentError, match="a exists and is PENDING"):
            await fleet.wallets.create_named(["fresh", "a"])
        await fleet.fund("b", 1)
        await fleet.lifecycle.observe()
        await fleet.lifecycle.archive(["b"])
        with pytest.raises(AgentPresentError, match="not made again") as caught:
            await fleet.wallets.create_named(["b"])
        assert caught.value.agent == "b"
        with pytest.raises(DuplicateWalletError, match="b is archived") as refused:
            await fleet.store.add_wallets(
                [NewWallet(name, "base", f"0x{n:040x}") for n, name in enumerate("cb")], (), 0
            )
        assert refused.value.index == 1
        after = await fleet.wallets.get_all_wallets()
        assert [(w.agent, w.addresses) for w in after] == [(w.agent, w.addresses) for w in before]


async def test_an_archived_wallet_is_imported_archived_and_not_polled(tmp_path: Path) -> None:
    gone = msgspec.structs.replace(
        watched("w", "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"), state=WalletState.ARCHIVED
    )
    async with opened(database(tmp_path)) as fleet:
        await fleet.wallets.import_wallet(gone)
        assert await fleet.wallets.get_all_wallets() == [gone]
        assert (await fleet.store.registry()).accounts == ()


@pytest.mark.parametrize("names", [[], ["a", "a"], [""], [" a"], ["a\n"], ["x" * 121]])
async def test_names_that_cannot_be_used_spend_no_index(tmp_path: Path, names: list[str]) -> None:
    async with opened(database(tmp_path)) as fleet:
        with pytest.raises(WalletRefusedError):
            await fleet.wallets.create_named(names)
        with pytest.raises(WalletRefusedError):
            await fleet.wallets.create(0)
        with pytest.raises(WalletRefusedError, match="no chain 'solana'"):
            await fleet.wallets.create_named(["a"], chains=["solana"])
        assert await fleet.store.next_index(FINGERPRINT) == 0


async def test_without_account_keys_nothing_is_created(tmp_path: Path) -> None:
    def none() -> object:
        raise NoAccountsError("accounts.json is not there")

    async with opened(database(tmp_path)) as fleet:
        watch_only = AgentWallets(fleet.store, none, fleet.clock, fleet.bus)  # type: ignore[arg-type]  # it only raises
        with pytest.raises(AccountsError):
            await watch_only.create(1)
        await watch_only.import_wallet(watched("w", "0x" + "ab" * 20))
        assert await watch_only.check_addresses() == []


def watched(agent: str, address: str, chain: str = "base") -> AgentWallet:
    where = WalletAddress(chain, ChainKind.EVM, address)
    return AgentWallet(agent, (where,), state=WalletState.ACTIVE, watch_only=True, created_ms=5)


async def test_wallets_are_found_by_any_spelling_of_their_address(tmp_path: Path) -> None:
    async with opened(database(tmp_path)) as fleet:
        (wallet,) = await fleet.wallets.create(1)
        by_chain = {a.chain: a.address for a in wallet.addresses}
        find = fleet.wallets.get_wallet_by_address
        for spelling in (
            by_chain["base"],
            checksum(by_chain["base"]),
            f" {by_chain['base'].upper().replace('X', 'x')} ",
            by_chain["xrpl"],
            by_chain["tron"],
        ):
            assert await find(spelling) == wallet
        assert await find(by_chain["base"], "ethereum") == wallet
        for nowhere in ("", "rubbish", by_chain["xrpl"].lower(), "0x" + "00" * 20):
            with pytest.raises(NoWallet):
                await find(nowhere)
        with pytest.raises(NoWallet, match="on tron"):
            await find(by_chain["base"], "tron")
        with pytest.raises(NoWallet, match="nobody"):
            await fleet.wallets.get_agent_wallet("nobody")


async def test_an_address_of_two_agents_on_two_chains_is_asked_about(tmp_path: Path) -> None:
    address = "0x" + "ab" * 20
    async with opened(database(tmp_path)) as fleet:
        await fleet.wallets.import_wallets(
            [watched("one", address), watched("two", address, "ethereum")]
        )
        with pytest.raises(WalletRefusedError, match="one, two"):
            await fleet.wallets.get_wallet_by_address(address)
        assert (await fleet.wallets.get_wallet_by_address(address, "ethereum")).agent == "two"


async def test_agents_from_the_watchlist_are_wallets_like_others(tmp_path: Path) -> None:
    async with opened(database(tmp_path)) as fleet:
        await fleet.store.add_wallets([NewWallet("w", "base", "0x" + "ab" * 20)], (), 9)
        wallet = await fleet.wallets.get_agent_wallet("w")
        assert (wallet.watch_only, wallet.index, wallet.state) == (True, None, WalletState.ACTIVE)
        await fleet.lifecycle.suspend(["w"], "audit")
        assert (await fleet.wallets.get_agent_wallet("w")).state is WalletState.SUSPENDED


async def test_wallets_move_from_one_store_to_another_and_their_indices_are_spent(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "old.db") as old:
        await old.wallets.create(40)
        wallets = await old.wallets.get_all_wallets()
    copies = msgspec.json.decode(msgspec.json.encode(wallets), type=list[AgentWallet])
    async with opened(tmp_path / "new.db") as new:
        await new.wallets.import_wallets(copies[::-1])
        assert await new.wallets.get_all_wallets() == wallets
        (fresh,) = await new.wallets.create(1)
        assert fresh.index == 40


async def test_an_import_with_one_address_of_another_seed_is_refused_whole(tmp_path: Path) -> None:
    foreign = Deriver(derive_accounts(Seed.from_words(Secret(ABANDON)))).derive(ChainKind.EVM, 1)
    own = Deriver(derive_accounts(Seed.from_words(Secret(JUNK)))).derive(ChainKind.EVM, 0)

    def wallet(agent: str, address: str, path: str) -> AgentWallet:
        return AgentWallet(agent, (WalletAddress("base", ChainKind.EVM, address, path),))

    async with opened(database(tmp_path)) as fleet:
        good = wallet("good", own.address, own.path)
        with pytest.raises(WalletRefusedError, match=r"1 of 2 .* not this seed's"):
            await fleet.wallets.import_wallets([good, wallet("bad", foreign.address, foreign.path)])
        with pytest.raises(WalletRefusedError, match="no derivation path"):
            await fleet.wallets.import_wallet(wallet("bad", own.address, ""))
        with pytest.raises(WalletRefusedError, match="no address"):
            await fleet.wallets.import_wallet(AgentWallet("bad", ()))
        with pytest.raises(WalletRefusedError, match="bad"):
            await fleet.wallets.import_wallet(watched("bad", "0x12"))
        assert await fleet.wallets.get_all_wallets() == []
        await fleet.wallets.import_wallet(good)
        with pytest.raises(AgentPresentError):
            await fleet.wallets.import_wallet(good)
        with pytest.raises(DuplicateWalletError):
            await fleet.wallets.import_wallet(msgspec.structs.replace(good, agent="twin"))
        assert [w.agent for w in await fleet.wallets.get_all_wallets()] == ["good"]


async def test_an_address_changed_in_the_database_is_found(tmp_path: Path) -> None:
    import sqlite3

    async with opened(database(tmp_path)) as fleet:
        await fleet.wallets.create(3)
    with sqlite3.connect(database(tmp_path)) as connection:
        connection.execute(
            "UPDATE wallet_addresses SET address = 'rPT1Sjq2YGrBMTttX4GZHjKu9dyfzbpAYe'"
            " WHERE wallet_id = 'agent-00001' AND address LIKE 'r%'"
        )
    connection.close()
    async with opened(database(tmp_path)) as fleet:
        (wrong,) = await fleet.wallets.check_addresses()
        assert wrong.claim.path == "m/44'/144'/1'/0/1"


async def test_addresses_can_be_derived_without_writing_anything(tmp_path: Path) -> None:
    async with opened(database(tmp_path)) as fleet:
        shown = await fleet.wallets.batch_derive(7, 2, [ChainKind.XRPL])
        assert [d.path for d in shown] == ["m/44'/144'/1'/0/7", "m/44'/144'/1'/0/8"]
        assert await fleet.store.next_index(FINGERPRINT) == 0
