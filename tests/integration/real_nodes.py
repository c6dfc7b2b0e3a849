"""A fleet on servers that are real at the socket, and the whole engine over them.

anvil is the EVM chain, the rippled-shaped server the XRP ledger; both have a truth of their own
that the engine's balances are held to: receipts, single reads with web3, the ledger's blocks.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from core.api import EngineState, EventQuery, ImportWallets, SyncNow, WalletRow
from core.chains.evm.address import checksum
from core.config import Settings, parse_settings
from core.engine import Engine
from core.events import EventRecord, Json
from core.model import Asset
from tests.chain import anvil as node
from tests.chain.anvil import DEPLOYER, Anvil
from tests.chain.bench import CHAIN, Fleet
from tests.integration.chains.ledgers import xrpl_account

CHANGED, REVERTED = "AGENT_BALANCE_CHANGED", "AGENT_BALANCE_REVERTED"
BALANCE_OF = [
    {
        "name": "balanceOf",
        "type": "function",
        "stateMutability": "view",
        "inputs": [{"name": "account", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }
]

Key = tuple[str, str, str]
"""Agent, chain, symbol."""


@contextmanager
def own_anvil() -> Iterator[Anvil]:
    """A node of the test's own; skips where there is none, fails in CI."""
    executable = node.find()
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail(node.MISSING)
        pytest.skip(node.MISSING)
    with node.running(executable) as running:
        yield running


def agent_name(number: int) -> str:
    """An agent's id."""
    return f"agent-{number:05}"


def settings_of(
    folder: Path,
    evm: Sequence[str],
    assets: Sequence[Asset],
    xrpl: str = "",
    *,
    interval: str = "60s",
) -> Settings:
    """Settings in which readings are asked for: the interval is far off."""
    text = config_of(folder, evm, assets, xrpl, interval=interval)
    return parse_settings(text, "a test's settings", {})


def config_of(
    folder: Path, evm: Sequence[str], assets: Sequence[Asset], xrpl: str = "", *, interval: str
) -> str:
    """A configuration as an operator writes it, its data under `folder`."""
    urls = ", ".join(f'"{url}"' for url in evm)
    parts = [
        f'data_dir = "{folder / "data"}"',
        f'[polling]\ninterval = "{interval}"\npush = false',
        f'[[chain]]\nname = "{CHAIN}"\nkind = "evm"\nchain_id = 31337\nendpoints = [{urls}]',
    ]
    for asset in assets:
        lines = ["[[asset]]", f'chain = "{CHAIN}"', f'symbol = "{asset.symbol}"']
        lines.append(f"decimals = {asset.decimals}")
        if asset.contract is not None:
            lines.append(f'contract = "{asset.contract}"')
        parts.append("\n".join(lines))
    if xrpl:
        parts.append(f'[[chain]]\nname = "xrpl"\nkind = "xrpl"\nendpoints = ["{xrpl}"]')
        parts.append('[[asset]]\nchain = "xrpl"\nsymbol = "XRP"\ndecimals = 6')
    return "\n".join(parts) + "\n"


@asynccontextmanager
async def engine_on(settings: Settings) -> AsyncIterator[Engine]:
    """The whole engine, started and closed."""
    engine = Engine(settings)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def follow(engine: Engine, fleet: Fleet, *, xrpl: bool = True) -> None:
    """Register the fleet as an operator's import does."""
    rows = [
        WalletRow(agent_name(n), CHAIN, "0x" + wallet.hex())
        for n, wallet in enumerate(fleet.wallets)
    ]
    if xrpl:
        rows += [
            WalletRow(agent_name(n), "xrpl", xrpl_account(n)) for n in range(len(fleet.wallets))
        ]
    await engine.execute(ImportWallets(tuple(rows)))


async def cycle(engine: Engine, *chains: str) -> EngineState:
    """One cycle of these chains (all, if none is named), and the state after it."""
    await engine.execute(SyncNow(chains))
    return await engine.state()


def amounts_of(state: EngineState) -> dict[Key, int | None]:
    """Every balance of the state."""
    symbols = {asset.id: asset.symbol for asset in state.assets}
    return {
        (row.agent, row.chain, symbols[row.asset]): None if row.amount is None else int(row.amount)
        for row in state.balances
    }


async def events_of(engine: Engine, *types: str, after: int = 0) -> list[EventRecord]:
    """Stored events of these types."""
    return list(await engine.events(EventQuery(after_seq=after, limit=100_000, types=types)))


def token_events(events: Sequence[EventRecord]) -> dict[Key, tuple[int, int, int]]:
    """(old, new, change) by account; fails where an account has two."""
    told: dict[Key, tuple[int, int, int]] = {}
    for event in events:
        said = event.payload
        key = (str(said["agentId"]), str(said["chain"]), str(said["token"]))
        assert key not in told, f"told twice: {key}"
        told[key] = (
            int(str(said["oldBalance"])),
            int(str(said["newBalance"])),
            int(str(said["change"])),
        )
    return told


class Truth:
    """What every account of the fleet holds, kept by whoever moves money on the chains."""

    def __init__(self, anvil: Anvil, fleet: Fleet) -> None:
        self._anvil = anvil
        self._fleet = fleet
        self._symbols = {asset.contract: asset.symbol for asset in fleet.assets}
        self._agents = {wallet: agent_name(n) for n, wallet in enumerate(fleet.wallets)}
        self.amounts: dict[Key, int] = {
            (self._agents[wallet], CHAIN, self._symbols[contract]): amount
            for (wallet, contract), amount in fleet.truth.items()
        }
        self.blocks: list[int] = []

    def pay(self, sender: int | None, to: int, amount: int, contract: str | None = None) -> None:
        """A transaction from an agent (None: from outside the fleet) to another, mined; its fee
        is taken from the receipt."""
        source = None if sender is None else self._fleet.wallets[sender]
        target = self._fleet.wallets[to]
        call: dict[str, Json] = {"from": DEPLOYER if source is None else "0x" + source.hex()}
        if contract is None:
            call |= {"to": "0x" + target.hex(), "value": hex(amount), "gas": hex(21_000)}
        else:
            words = (bytes(12) + target + amount.to_bytes(32, "big")).hex()
            call |= {"to": contract, "data": "0xa9059cbb" + words, "gas": hex(100_000)}
        if source is not None:
            self._anvil.rpc("anvil_impersonateAccount", "0x" + source.hex())
        receipt = self._mined(self._anvil.rpc("eth_sendTransaction", call))
        assert receipt["status"] == "0x1", receipt
        self.blocks.append(int(str(receipt["blockNumber"]), 16))
        symbol = self._symbols[contract]
        self.amounts[self._agents[target], CHAIN, symbol] += amount
        if source is not None:
            agent = self._agents[source]
            fee = int(str(receipt["gasUsed"]), 16) * int(str(receipt["effectiveGasPrice"]), 16)
            self.amounts[agent, CHAIN, symbol] -= amount
            self.amounts[agent, CHAIN, self._symbols[None]] -= fee

    def _mined(self, transaction: Json) -> dict[str, Json]:
        deadline = time.monotonic() + 60
        while True:
            receipt = self._anvil.rpc("eth_getTransactionReceipt", transaction)
            if isinstance(receipt, dict):
                return receipt
            assert time.monotonic() < deadline, "a transaction was not mined"
            time.sleep(0.01)


def single_reads(
    url: str, fleet: Fleet, wallets: Sequence[bytes], block: int
) -> dict[tuple[bytes, str | None], int]:
    """One request per balance with web3 at a block: the slow way nobody doubts."""
    from web3 import HTTPProvider, Web3

    web3 = Web3(HTTPProvider(url))
    found: dict[tuple[bytes, str | None], int] = {}
    for asset in fleet.assets:
        token = (
            web3.eth.contract(address=web3.to_checksum_address(asset.contract), abi=BALANCE_OF)
            if asset.contract
            else None
        )
        for wallet in wallets:
            owner = web3.to_checksum_address(checksum("0x" + wallet.hex()))
            if token is None:
                found[wallet, None] = web3.eth.get_balance(owner, block)
            else:
                call = token.functions.balanceOf(owner)
                found[wallet, asset.contract] = call.call(block_identifier=block)
    return found


async def hold_to_single_reads(
    state: EngineState, anvil: Anvil, fleet: Fleet, numbers: Sequence[int]
) -> None:
    """The balances of these agents equal single reads with web3 at the block of the reading."""
    block = next(chain.block for chain in state.chains if chain.name == CHAIN)
    wallets = [fleet.wallets[number] for number in numbers]
    singles = await asyncio.to_thread(single_reads, anvil.url, fleet, wallets, block)
    symbols = {asset.contract: asset.symbol for asset in fleet.assets}
    shown = amounts_of(state)
    for number, wallet in zip(numbers, wallets, strict=True):
        for contract, symbol in symbols.items():
            assert shown[agent_name(number), CHAIN, symbol] == singles[wallet, contract]
