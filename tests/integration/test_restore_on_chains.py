"""A fresh machine restored from a file and a password, and held to real chains afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from core.api import CommandRefusedError, CreateWallets, EventQuery, SyncNow
from core.demo.rippled import RippledServer
from core.engine import EngineMode
from core.model import ChainKind
from core.wallets.accounts import read_accounts
from core.wallets.derivation import Deriver
from tests.backup.machines import Machine, back_up, planned
from tests.chain.anvil import Anvil
from tests.integration.chains.ledgers import Faults, Ledger
from tests.integration.real_nodes import own_anvil

pytestmark = pytest.mark.anvil

CONFIG = """
[settlement]
node_id = "node"

[polling]
interval = "2s"

[[chain]]
name = "base"
kind = "evm"
endpoints = ["{evm}"]

[[chain]]
name = "xrpl"
kind = "xrpl"
endpoints = ["{xrpl}"]

[[asset]]
chain = "base"
symbol = "ETH"
name = "Ether"
decimals = 18

[[asset]]
chain = "xrpl"
symbol = "XRP"
name = "XRP"
decimals = 6

[ledger]
tokens = ["USD"]
"""
FUNDED_LATER = 15


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "fresh"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def pay(anvil: Anvil, address: str, amount: int) -> None:
    anvil.set_native({bytes.fromhex(address.removeprefix("0x")): amount})
    anvil.rpc("anvil_mine", "0x1")


def addresses(machine: Machine, chain: str) -> dict[str, str]:
    with sqlite3.connect(machine.data / "gen-0001/bursar.db") as db:
        return dict(
            db.execute(
                "SELECT d.wallet_id, d.address FROM wallet_addresses d"
                " JOIN chains c ON c.id = d.chain_id WHERE c.name = ?",
                (chain,),
            )
        )


async def installed(folder: Path, anvil: Anvil, xrpl: str) -> tuple[Machine, Path]:
    """A machine whose agents' balances were read from these chains, and its backup."""
    machine = Machine(folder / "first")
    await machine.install(folder / "shelf", config=CONFIG.format(evm=anvil.url, xrpl=xrpl))
    for number, address in enumerate(addresses(machine, "base").values()):
        pay(anvil, address, 10**18 + number)
    async with machine.engine() as engine:
        await engine.execute(SyncNow())
        return machine, await back_up(engine)


async def test_a_restored_fleet_is_reconciled_and_new_addresses_are_looked_at(
    tmp_path: Path,
) -> None:
    with own_anvil() as anvil:
        async with RippledServer(Ledger(), Faults()) as server:
            first, file = await installed(tmp_path, anvil, server.url)
            moved = addresses(first, "base")["agent-00001"]
            pay(anvil, moved, 7)
            deriver = Deriver(read_accounts(first.data / "gen-0001"))
            pay(anvil, deriver.derive(ChainKind.EVM, FUNDED_LATER).address, 1)

            fresh = Machine(tmp_path / "fresh")
            async with fresh.engine() as engine:
                plan = await planned(engine, file)
                await engine.apply_restore(plan.id, "")
                with pytest.raises(CommandRefusedError, match="looked at for funds"):
                    await engine.execute(CreateWallets(count=1))
                view = await engine.reconciliation()
                assert view is not None
                # Four agents live on both chains, one more is only watched on XRPL: its account
                # and theirs there were never funded, which is a balance of 0 and matches.
                assert (view.matched, view.drifted, view.unknown, view.pending) == (8, 1, 0, 0)
                [row] = view.rows
                assert (row.agent, row.token, row.state) == ("agent-00001", "ETH", "drift")
                assert (row.expected, row.actual) == (10**18 + 1, 7)
                assert row.block > 0
                [told] = await engine.events(EventQuery(types=("WALLET_BALANCE_MISMATCH",)))
                assert {
                    key: told.payload[key]
                    for key in ("agentId", "chain", "token", "expectedBalance", "actualBalance")
                } == {
                    "agentId": "agent-00001",
                    "chain": "base",
                    "token": "ETH",
                    "expectedBalance": str(10**18 + 1),
                    "actualBalance": "7",
                }
                made = await engine.execute(CreateWallets(count=1))
                assert made.details == (f"agent-{FUNDED_LATER + 1:05}",)


async def test_a_chain_that_is_away_is_unknown_and_asked_again_later(tmp_path: Path) -> None:
    with own_anvil() as anvil:
        async with RippledServer(Ledger(), Faults()) as server:
            _, file = await installed(tmp_path, anvil, server.url)
        fresh = Machine(tmp_path / "fresh")
        async with fresh.engine(EngineMode.FULL) as engine:
            plan = await planned(engine, file)
            await engine.apply_restore(plan.id, "")
            deadline = asyncio.get_running_loop().time() + 60
            while not (view := await engine.reconciliation()) or not view.ended_ms:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.1)
            assert view.pending == 0
            assert view.unknown == 5
            assert {row.chain for row in view.rows} == {"xrpl"}
            assert all(row.reason for row in view.rows)
            # A desk that comes now finds the fleet all the same.
            assert len((await engine.state()).agents) == 6
