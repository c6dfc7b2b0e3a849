"""A restore measured: 10,000 wallets from an archive to a proven generation, beside the derivation
of their addresses alone, which no restore can do without. A wallet is an agent's: an address and a
balance on each of an EVM chain, XRPL and TRON.

CPU time of the process, so that a machine that is shared tells the same. `python -m
tests.bench.bench_restore`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from core.backup.catalogue import Catalogue
from core.backup.header import BackupType
from core.backup.keyring import KeyRing
from core.backup.keys import make_slots, new_key
from core.backup.making import Snapshot, make
from core.backup.records import (
    AgentEntry,
    AnyRecord,
    AssetEntry,
    Balance,
    ChainEntry,
    DerivationBranch,
    Lifecycle,
    Seed,
    Wallet,
    Whole,
)
from core.backup.staging import KEEP, stage, unlock_chain
from core.config import Settings
from core.model import ChainKind, Secret
from core.wallets import vault_file
from core.wallets.accounts import Accounts, derive_accounts
from core.wallets.derivation import Deriver
from core.wallets.secrets import Password
from core.wallets.seed import Seed as MasterSeed
from tests.bench.figures import Figure, report

NOW = 1_780_000_000_000
WORDS = Secret("test " * 11 + "junk")
PASSWORD = Secret("correct horse battery staple treasury")
CHAINS = (
    ("base", ChainKind.EVM, "ETH"),
    ("tron", ChainKind.TRON, "TRX"),
    ("xrpl", ChainKind.XRPL, "XRP"),
)
ROUNDS = 3


def run(wallets: int = 10_000) -> list[Figure]:
    """Seconds of CPU of a restore, and how many times those of deriving its addresses."""
    seed = MasterSeed.from_words(WORDS)
    accounts = derive_accounts(seed)
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder)
        records = list(
            fleet(wallets, accounts, vault_file.seal(seed, Password(PASSWORD), None, NOW))
        )
        key = new_key()
        ring = KeyRing("bench", key, make_slots(key, "bench", Password(PASSWORD)))
        snapshot = Snapshot(records, wallets * len(CHAINS), accounts.fingerprint)
        made = make(spool, snapshot, ring, Catalogue(), BackupType.FULL, NOW)

        def derive() -> None:
            deriver = Deriver(accounts)
            for number in range(wallets):
                for kind in ChainKind:
                    deriver.derive(kind, number)

        rounds = iter(range(100))

        def restore() -> None:
            target = spool / f"restore-{next(rounds)}"
            target.mkdir()
            chain = unlock_chain([made.path], PASSWORD)
            staged = stage(chain, target, None, Settings(), KEEP, lambda *_: None)
            assert staged.proven.addresses == wallets * len(CHAINS)
            assert staged.unproven == ""

        # In turns: what else the machine does falls on both.
        pairs = [(_cpu(derive), _cpu(restore)) for _ in range(ROUNDS)]
    alone, whole = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(whole / alone for alone, whole in pairs)
    count = f"{wallets:,} wallets"
    return [
        Figure(f"addresses derived, {count}", alone * 1000, "ms of CPU"),
        Figure(
            f"restore, {count}, every address derived again", whole * 1000,
            "ms of CPU with KDF twice, database, checks", "derivation alone", ratio,
            goal="<= 1.6 times, < 5 s", met=ratio <= 1.6 and whole < 5,
        ),
    ]  # fmt: skip


def fleet(wallets: int, accounts: Accounts, ciphertext: bytes) -> Iterator[AnyRecord]:
    """An installation in the order of an archive: an address and three balances a wallet."""
    yield Seed(fingerprint=accounts.fingerprint, ciphertext=ciphertext)
    for key in sorted(accounts.keys, key=lambda k: (k.kind.value, k.template)):
        yield DerivationBranch(
            chain_kind=key.kind.value, template=key.template, xpub=key.xpub,
            next_index=Whole(wallets),
        )  # fmt: skip
    for chain, kind, _ in CHAINS:
        yield ChainEntry(name=chain, chain_kind=kind.value)
    for chain, _, symbol in CHAINS:
        yield AssetEntry(chain=chain, symbol=symbol, name=symbol, decimals=Whole(18))
    names = [f"agent-{number:05d}" for number in range(wallets)]
    for name in names:
        yield AgentEntry(agent=name, state="ACTIVE", watch_only=False, created_ms=Whole(NOW))
    deriver = Deriver(accounts)
    for number, name in enumerate(names):
        for chain, kind, _ in CHAINS:
            at = deriver.derive(kind, number)
            yield Wallet(agent=name, chain=chain, address=at.address, derivation_path=at.path)
    for name in names:
        yield Lifecycle(agent=name, state="ACTIVE", since_ms=Whole(NOW))
    for number, name in enumerate(names):
        for chain, _, symbol in CHAINS:
            yield Balance(
                agent=name, chain=chain, symbol=symbol, amount=Whole(number * 10**15),
                checked_ms=Whole(NOW), changed_ms=Whole(NOW), block=Whole(30_000_000),
            )  # fmt: skip


def _cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    report(run())
