"""A small installation to back up, its keys, and the steps a test would repeat."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import msgspec

from core.backup.archive import ArchiveWriter, Sealed
from core.backup.catalogue import Catalogue, entry_of
from core.backup.header import BackupType, Header
from core.backup.keyring import KeyRing
from core.backup.keys import make_slots
from core.backup.making import Made, Snapshot, make
from core.backup.records import (
    AgentEntry,
    AnyRecord,
    AssetEntry,
    Balance,
    ChainEntry,
    LedgerCheckpoint,
    Lifecycle,
    LimitEntry,
    Seed,
    Setting,
    Threshold,
    Wallet,
    WalletArchive,
    Whole,
    encode,
    sort_records,
)
from core.model import Secret
from core.wallets.secrets import Password, RecoveryKey, SecretBytes
from core.wallets.slots import Argon2Parameters
from tests.clock import START_MS

PASSWORD = "correct horse battery staple treasury"
INSTALL_ID = "4b1c9a52-0a4e-4a52-9d0e-6f4b3a1f2c77"
CHEAP = Argon2Parameters(memory_kib=8 * 1024, iterations=1, lanes=1)
OPENER = Password(Secret(PASSWORD))
KEY = SecretBytes(bytes(range(32)))
RECOVERY = RecoveryKey(bytes(range(100, 132)))
FINGERPRINT = "a1b2c3d4"


def ring() -> KeyRing:
    """Keys whose password costs a test little."""
    return KeyRing(INSTALL_ID, KEY, make_slots(KEY, INSTALL_ID, OPENER, RECOVERY, CHEAP))


def agent_records(name: str, amount: int = 10**20, checked_ms: int = START_MS) -> list[AnyRecord]:
    """An agent with a wallet and a balance on one chain."""
    return [
        AgentEntry(agent=name, state="ACTIVE", watch_only=False, created_ms=Whole(START_MS)),
        Wallet(agent=name, chain="base", address=f"0x{name.encode().hex():0>40}",
               derivation_path="m/44'/60'/1'/0/0"),
        Lifecycle(agent=name, state="ACTIVE", since_ms=Whole(START_MS)),
        Balance(agent=name, chain="base", symbol="USDC", amount=Whole(amount),
                checked_ms=Whole(checked_ms), block=Whole(checked_ms // 1000)),
    ]  # fmt: skip


def installation(agents: Sequence[str] = ("alpha", "beta", "gamma")) -> list[AnyRecord]:
    """One record of every kind, and some agents."""
    fixed: list[AnyRecord] = [
        Setting(name="polling", value='{"interval":"30s"}'),
        Seed(fingerprint=FINGERPRINT, ciphertext=b"ciphertext of the seed"),
        ChainEntry(name="base", chain_kind="evm"),
        AssetEntry(chain="base", symbol="USDC", contract="0x83", name="USD Coin",
                   decimals=Whole(6)),
        WalletArchive(agent="omega", archived_ms=Whole(START_MS), reason="inactive"),
        LimitEntry(scope="group", name="traders", chain="base", symbol="USDC", floor=Whole(5)),
        Threshold(peer="peer-1", token="USDC", threshold=Whole(2**200)),
        LedgerCheckpoint(sequence=Whole(9), part=Whole(0), parts=Whole(1), content=b"\x00\xff"),
    ]  # fmt: skip
    for name in agents:
        fixed += agent_records(name)
    return sort_records(fixed)


def snapshot(records: Sequence[AnyRecord]) -> Snapshot:
    """Those records as a backup takes them."""
    seed = next((r.fingerprint for r in records if isinstance(r, Seed)), None)
    return Snapshot(records, sum(isinstance(r, Wallet) for r in records), seed)


class Workshop:
    """A folder in which backups are made one upon another, each durable unless said otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ring = ring()
        self.catalogue = Catalogue()
        self.now_ms = START_MS

    def make(
        self,
        records: Sequence[AnyRecord],
        wanted: BackupType = BackupType.INCREMENTAL,
        *,
        durable: bool = True,
    ) -> Made:
        """Seal and enter into the catalogue."""
        self.now_ms += 1000
        made = make(self.folder, snapshot(records), self.ring, self.catalogue, wanted, self.now_ms)
        entry = entry_of(made.sealed, ["disk"])
        if durable:
            entry = msgspec.structs.replace(entry, durable_ms=self.now_ms)
        self.catalogue = self.catalogue.with_entry(entry)
        return made

    def files(self, archive_id: str) -> list[Path]:
        """The files of an archive's chain, full first."""
        return [self.folder / entry.name for entry in self.catalogue.chain_of(archive_id)]


def sealed_bytes(
    records: Sequence[AnyRecord] | None = None, header: Header | None = None
) -> tuple[bytes, Sealed]:
    """A full archive in memory."""
    lines = installation() if records is None else records
    out = io.BytesIO()
    writer = ArchiveWriter(out, header or full_header(snapshot(lines)), KEY)
    for record in lines:
        writer.write(encode(record))
    sealed = writer.finish()
    return out.getvalue(), sealed


def full_header(of: Snapshot) -> Header:
    """A header with fixed salts, so that a test's archive has a fixed length."""
    return Header(
        id="019dfa37-5e00-7abc-8def-0123456789ab",
        install_id=INSTALL_ID,
        type=BackupType.FULL,
        sequence=1,
        created_at="2026-05-28T20:26:40.000Z",
        wallet_count=of.wallet_count,
        seed_fingerprint=of.seed_fingerprint,
        salt="5a" * 32,
        nonce_prefix="07" * 7,
        slots=ring().slots,
    )
