"""A real generation in a folder: a seed in its vault, a fleet in a store, a ledger beside it."""

from __future__ import annotations

from pathlib import Path

from core.backup.building import Built, build_installation
from core.backup.installation import read_installation
from core.backup.records import AnyRecord
from core.config import Settings, load_settings
from core.ledger import Account, EmbeddedLedger, Transfer
from core.model import Amount, Secret, WalletState
from core.store.protocol import Limit, NewWallet, SettlementRow, StoredThreshold
from core.store.wallet_protocol import LifecycleRecord, Volume
from core.wallets.seed import Seed
from core.wallets.slots import Argon2Parameters
from core.wallets.vault import SeedVault
from tests.clock import START_MS, TestClock
from tests.wallets.fleets import as_clock, opened
from tests.wallets.vaults import KeptMemory
from tests.wallets.vectors import JUNK

PASSWORD = Secret("gravel-omen-canary-tulip-seventh-tent")
WATCHED = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"
QUICK = Argon2Parameters(memory_kib=8 * 1024, iterations=1, lanes=1)
CONFIG = """
[settlement]
node_id = "node"

[polling]
interval = "7s"

[[chain]]
name = "base"
kind = "evm"
endpoints = ["http://127.0.0.1:1/${BASE_KEY}", "http://user:word@127.0.0.1:2"]

[[chain]]
name = "ethereum"
kind = "evm"
endpoints = ["http://127.0.0.1:3"]

[[chain]]
name = "xrpl"
kind = "xrpl"
endpoints = ["ws://127.0.0.1:4"]

[[chain]]
name = "tron"
kind = "tron"
endpoints = ["http://127.0.0.1:5"]

[[asset]]
chain = "base"
symbol = "ETH"
name = "Ether"
decimals = 18

[asset.groups."night shift"]
floor = "0.5"

[ledger]
tokens = ["USD"]

[ledger.limits]
default = 1000000

[settlement.thresholds]
default = "80%"
"""


def settings(folder: Path) -> Settings:
    """The settings of the installation, from a file."""
    path = folder / "bursar.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return load_settings(str(path), {"BASE_KEY": "s3cr3t-s3cr3t-s3cr3t", "HOME": str(folder)})


async def make_generation(generation: Path, agents: int = 5) -> None:
    """Everything a backup holds, at least one of each kind."""
    generation.mkdir(mode=0o700, parents=True)
    clock = TestClock()
    vault = SeedVault(generation, KeptMemory(), as_clock(clock))
    await vault.create(Seed.from_words(Secret(JUNK)), PASSWORD, parameters=QUICK)
    async with opened(generation / "bursar.db") as fleet:
        made = await fleet.wallets.create(agents, group="traders", tags=("b", "a"))
        for at, wallet in enumerate(made):
            await fleet.fund(wallet.agent, 10**20 + at, "base", block=7 + at)
        watched = NewWallet("watched", "xrpl", WATCHED, watch_only=True)
        await fleet.store.add_wallets([watched], (), START_MS)
        last = made[-1].agent
        await fleet.store.put_lifecycle_record(
            LifecycleRecord(
                last, WalletState.ARCHIVED, START_MS, START_MS + 1, START_MS + 2, START_MS + 3,
                START_MS + 4, "closed", 3, (Volume("base", "ETH", None, 3, Amount(10**30)),),
            ),
            (),
        )  # fmt: skip
        registry = await fleet.store.registry()
        asset = next(a.id for a in registry.assets if a.chain == "base")
        await fleet.store.set_limit(Limit("group", "traders", asset, 5, 10**25), ())
        await fleet.store.set_threshold(StoredThreshold("peer-1", "USD", "80%"), ())
        await fleet.store.set_threshold(StoredThreshold("peer-2", "USD", "1000"), ())
        await fleet.store.change_settlements(
            [
                (SettlementRow("peer-2", "USD", "payable", 1, 3, 2, False, "IN_PROGRESS", "0af1",
                               10**25, "operator", True, 0, START_MS, "asked", 7, 10**24), ()),
            ]
        )  # fmt: skip
        await fleet.store.add_pairs([("peer-1", "USD"), ("peer-2", "USD")])
    await book(generation, 4)


async def book(generation: Path, transfers: int, first: int = 1) -> None:
    """That many transfers in the generation's ledger, a record each."""
    ledger = EmbeddedLedger(generation / "ledger")
    await ledger.open()
    try:
        await ledger.create_accounts([Account(id=n, ledger=1, code=100) for n in (1, 2)])
        for number in range(first, first + transfers):
            await ledger.create_transfers(
                [Transfer(id=number, debit_account_id=1, credit_account_id=2, amount=number,
                          ledger=1, code=1)]
            )  # fmt: skip
    finally:
        await ledger.close()


def records_of(generation: Path, of: Settings) -> list[AnyRecord]:
    """Everything in the generation."""
    with read_installation(generation, of) as snapshot:
        return list(snapshot.records)


def rebuilt(records: list[AnyRecord], generation: Path) -> Built:
    """A generation of those records."""
    return build_installation(iter(records), generation)
