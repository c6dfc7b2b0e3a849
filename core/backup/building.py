"""Records as an installation again: a new generation, whole or not there.

The way back of `core.backup.installation`. The folder is made here and belongs to nobody until
CURRENT names it; what fails leaves it to be removed. Proving that the addresses are the seed's is
`core.backup.proof`. All of it blocks: call it in one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from core.backup.errors import ChainError
from core.backup.files import sync_folder
from core.backup.installation import DATABASE_FILE, LEDGER_FOLDER
from core.backup.records import (
    KIND_NAMES,
    AgentEntry,
    AnyRecord,
    AssetEntry,
    Balance,
    ChainEntry,
    DerivationBranch,
    LedgerCheckpoint,
    Lifecycle,
    LimitEntry,
    PairName,
    Record,
    Seed,
    Setting,
    Settlement,
    Threshold,
    Wallet,
    WalletArchive,
)
from core.ledger.checkpoint import write_checkpoint
from core.model import ChainKind, WalletState
from core.store.protocol import SettlementRow, StoredThreshold
from core.store.whole import (
    AddressRow,
    AgentRow,
    AssetRow,
    BalanceRow,
    ChainRow,
    LifecycleRow,
    LimitRow,
    VolumeRow,
    WholeWriter,
)
from core.wallets import private_files
from core.wallets.accounts import AccountKey, Accounts, write_accounts
from core.wallets.vault import FILE_NAME as SEED_FILE
from core.wallets.vault_file import parse

R = TypeVar("R", bound=Record)
Note = Callable[[str, int], None]


class Built(msgspec.Struct, frozen=True):
    """What a generation was built of. `settings` are the sections of the configuration as JSON;
    `counts` go by kind of record; `checkpoint` is the ledger's last record, None without one."""

    settings: dict[str, str]
    counts: dict[str, int]
    fingerprint: str | None
    accounts: Accounts | None
    checkpoint: int | None


def build_installation(
    records: Iterable[AnyRecord],
    generation: Path,
    *,
    ledger: bool = True,
    note: Note | None = None,
) -> Built:
    """Make the folder `generation` of records in their order, durable when this returns.

    Without `ledger` the checkpoint is left aside. `note` is told the kind under way and how many
    of it are done. Raises StoreError, LedgerError, ChainError, PrivateFileError, OSError.
    """
    generation.mkdir(mode=0o700)
    with WholeWriter(generation / DATABASE_FILE) as writer:
        built = _Builder(generation, writer, ledger, note or _silent).build(records)
        writer.finish()
    sync_folder(generation)
    sync_folder(generation.parent)
    return built


class _Builder:
    def __init__(self, generation: Path, writer: WholeWriter, ledger: bool, note: Note) -> None:
        self._generation = generation
        self._writer = writer
        self._ledger = ledger
        self._note = note
        self._counts = dict.fromkeys(KIND_NAMES, 0)
        self._records: Iterator[AnyRecord]
        self._ahead: AnyRecord | None = None

    def build(self, records: Iterable[AnyRecord]) -> Built:
        self._records = iter(records)
        self._ahead = next(self._records, None)
        settings = {record.name: record.value for record in self._each(Setting)}
        fingerprint = self._seed()
        accounts = self._accounts(fingerprint)
        writer = self._writer
        writer.put_chains(
            ChainRow(r.name, ChainKind(r.chain_kind), r.is_active) for r in self._each(ChainEntry)
        )
        writer.put_assets(
            AssetRow(r.chain, r.symbol, r.contract, r.name, int(r.decimals), r.is_active)
            for r in self._each(AssetEntry)
        )
        writer.put_agents(map(_agent, self._each(AgentEntry)))
        writer.put_addresses(
            AddressRow(r.agent, r.chain, r.address, r.derivation_path, r.is_active)
            for r in self._each(Wallet)
        )
        writer.put_lifecycles(map(_lifecycle, self._each(Lifecycle)))
        for _ in self._each(WalletArchive):
            pass  # agents, lifecycle and balances say the same; this is for people and scripts
        writer.put_balances(map(_balance, self._each(Balance)))
        writer.put_limits(map(_limit, self._each(LimitEntry)))
        writer.put_thresholds(
            StoredThreshold(r.peer, r.token, r.level or str(int(r.threshold or 0)))
            for r in self._each(Threshold)
        )
        checkpoint = self._checkpoint()
        writer.put_pairs((r.peer, r.token) for r in self._each(PairName))
        writer.put_settlements(map(_settlement, self._each(Settlement)))
        if self._ahead is not None:
            raise ChainError("The backup's records are out of order.")
        counts = {kind: count for kind, count in self._counts.items() if count}
        return Built(settings, counts, fingerprint, accounts, checkpoint)

    def _each(self, kind: type[R]) -> Iterator[R]:
        name, count = KIND_NAMES[kind.RANK], 0
        while isinstance(self._ahead, kind):
            yield self._ahead
            count += 1
            if count % 1_000 == 0:
                self._note(name, count)
            self._ahead = next(self._records, None)
        self._counts[name] = count
        self._note(name, count)

    def _seed(self) -> str | None:
        fingerprint = None
        for record in self._each(Seed):
            path = self._generation / SEED_FILE
            if parse(record.ciphertext, str(path)).header.fingerprint != record.fingerprint:
                raise ChainError("The seed's ciphertext and its fingerprint do not go together.")
            private_files.create(path, record.ciphertext)
            fingerprint = record.fingerprint
        return fingerprint

    def _accounts(self, fingerprint: str | None) -> Accounts | None:
        # Of one kind the last stands for new addresses.
        kinds = list(ChainKind)
        branches = sorted(
            self._each(DerivationBranch),
            key=lambda b: (b.is_current, kinds.index(ChainKind(b.chain_kind))),
        )
        if fingerprint is None or not branches:
            if branches:
                raise ChainError("The backup has account keys and no seed that they are of.")
            return None
        accounts = Accounts(
            fingerprint,
            tuple(AccountKey(ChainKind(b.chain_kind), b.template, b.xpub) for b in branches),
        )
        write_accounts(self._generation, accounts)
        self._writer.put_next_index(fingerprint, max(int(b.next_index) for b in branches))
        return accounts

    def _checkpoint(self) -> int | None:
        if not isinstance(self._ahead, LedgerCheckpoint):
            self._counts[KIND_NAMES[LedgerCheckpoint.RANK]] = 0
            return None
        said = int(self._ahead.sequence)
        content = (record.content for record in self._each(LedgerCheckpoint))
        if not self._ledger:
            for _ in content:
                pass
            return said
        found = write_checkpoint(self._generation / LEDGER_FOLDER, content)
        if found != said:
            raise ChainError(
                f"The ledger checkpoint says that it ends with record {said}, not with {found}."
            )
        return said


def _agent(record: AgentEntry) -> AgentRow:
    return AgentRow(
        record.agent,
        record.group,
        record.tags,
        WalletState(record.state),
        record.watch_only,
        int(record.created_ms),
    )


def _lifecycle(record: Lifecycle) -> LifecycleRow:
    return LifecycleRow(
        record.agent,
        WalletState(record.state),
        0,
        int(record.activated_ms),
        int(record.last_activity_ms),
        int(record.suspended_ms),
        int(record.archived_ms),
        record.reason,
        int(record.transactions),
        tuple(
            VolumeRow(v.chain, v.symbol, v.contract, int(v.transactions), int(v.amount))
            for v in record.volumes
        ),
    )


def _balance(record: Balance) -> BalanceRow:
    return BalanceRow(
        record.agent,
        record.chain,
        record.symbol,
        record.contract,
        None if record.amount is None else int(record.amount),
        record.mark,
        int(record.reserved),
        int(record.changed_ms),
        int(record.first_seen_ms),
        int(record.block),
        int(record.checked_ms),
    )


def _limit(record: LimitEntry) -> LimitRow:
    return LimitRow(
        record.scope,
        record.name,
        record.chain,
        record.symbol,
        record.contract,
        None if record.floor is None else int(record.floor),
        None if record.target is None else int(record.target),
    )


def _settlement(record: Settlement) -> SettlementRow:
    return SettlementRow(
        peer=record.peer,
        token=record.token,
        direction=record.direction,
        version=int(record.version),
        epoch=int(record.epoch),
        attempt=int(record.attempt),
        armed=record.armed,
        told=record.told,
        key=record.idempotency_key,
        amount=None if record.amount is None else int(record.amount),
        begun_by=record.begun_by,
        delivered=record.delivered,
        retry_ms=int(record.retry_ms),
        changed_ms=int(record.changed_ms),
        reason=record.reason,
        settled_ms=int(record.settled_ms),
        settled_amount=None if record.settled_amount is None else int(record.settled_amount),
    )


def _silent(kind: str, count: int) -> None:
    """Nobody wants to know."""
