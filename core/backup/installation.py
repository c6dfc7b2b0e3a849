"""An installation as records: everything of a generation, read at one moment beside its engine.

`core.backup.building` is the way back. The ledger is looked at first and the database after it, so
that whatever the ledger holds has its names in the database. All of it blocks, and belongs in one
thread: read in `with`, and in order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from core.backup.making import Snapshot
from core.backup.records import (
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
    Seed,
    Setting,
    Settlement,
    Threshold,
    Volume,
    Wallet,
    WalletArchive,
    Whole,
    whole,
)
from core.config import Settings, portable
from core.ledger.checkpoint import Checkpoint
from core.ledger.types import LedgerDamaged
from core.model import WalletState
from core.store.protocol import SettlementRow, StoredThreshold
from core.store.whole import AgentRow, BalanceRow, LifecycleRow, WholeReader
from core.wallets import private_files
from core.wallets.accounts import Accounts, read_accounts
from core.wallets.vault import FILE_NAME as SEED_FILE
from core.wallets.vault_file import LARGEST, parse

log = logging.getLogger("bursar.backup")

DATABASE_FILE = "bursar.db"
LEDGER_FOLDER = "ledger"
_PART_BYTES = 1024 * 1024


@contextmanager
def read_installation(
    generation: Path, settings: Settings, *, ledger: bool = True
) -> Iterator[Snapshot]:
    """Everything that the generation in that folder holds; without `ledger`, all but that. A ledger
    that is damaged is left out, loudly: the rest must not go without a backup for it.

    Raises StoreError, PrivateFileError, VaultDamagedError, NoAccountsError, OSError.
    """
    folder = _ledger_of(generation, settings) if ledger else None
    with ExitStack() as stack:
        try:
            checkpoint = stack.enter_context(Checkpoint(folder))
        except LedgerDamaged as error:
            log.error("the ledger is left out of the backup: %s", error)
            checkpoint = stack.enter_context(Checkpoint(None))
        reader = stack.enter_context(WholeReader(generation / DATABASE_FILE))
        seed, accounts = _seed(generation)
        yield Snapshot(
            _records(reader, checkpoint, settings, seed, accounts),
            reader.address_count(),
            seed.fingerprint if seed else None,
            reader.row_count(),
        )


def _ledger_of(generation: Path, settings: Settings) -> Path | None:
    """The folder of the embedded ledger; where a cluster keeps the books there is none."""
    return (
        None if settings.ledger.tigerbeetle.cluster_id is not None else generation / LEDGER_FOLDER
    )


def _seed(generation: Path) -> tuple[Seed | None, Accounts | None]:
    path = generation / SEED_FILE
    try:
        content = private_files.read(path, LARGEST)
    except private_files.AbsentError:
        return None, None  # watch-only
    fingerprint = parse(content, str(path)).header.fingerprint
    return Seed(fingerprint=fingerprint, ciphertext=content), read_accounts(generation)


def _records(
    reader: WholeReader,
    checkpoint: Checkpoint,
    settings: Settings,
    seed: Seed | None,
    accounts: Accounts | None,
) -> Iterator[AnyRecord]:
    yield from setting_records(settings)
    if seed is not None:
        yield seed
    if accounts is not None:
        yield from _branches(accounts, reader.next_index(accounts.fingerprint))
    for chain in reader.chains():
        yield ChainEntry(name=chain.name, chain_kind=chain.kind.value, is_active=chain.is_active)
    for asset in reader.assets():
        yield AssetEntry(
            chain=asset.chain,
            symbol=asset.symbol,
            contract=asset.contract,
            name=asset.name,
            decimals=Whole(asset.decimals),
            is_active=asset.is_active,
        )
    archived = []
    for agent in reader.agents():
        if agent.state is WalletState.ARCHIVED:
            archived.append(agent.agent)
        yield _agent(agent)
    for address in reader.addresses():
        yield Wallet(
            agent=address.agent,
            chain=address.chain,
            address=address.address,
            derivation_path=address.path,
            is_active=address.is_active,
        )
    ends: dict[str, LifecycleRow] = {}
    for life in reader.lifecycles():
        if life.state is WalletState.ARCHIVED:
            ends[life.agent] = life._replace(volumes=())
        yield _lifecycle(life)
    for name in archived:
        yield _archive(ends[name], reader.balances(name))
    for balance in reader.balances():
        yield _balance(balance)
    for limit in reader.limits():
        yield LimitEntry(
            scope=limit.scope,
            name=limit.name,
            chain=limit.chain,
            symbol=limit.symbol,
            contract=limit.contract,
            floor=_whole(limit.floor),
            target=_whole(limit.target),
        )
    for threshold in reader.thresholds():
        yield _threshold(threshold)
    parts = -(-checkpoint.size // _PART_BYTES)
    for number, content in enumerate(checkpoint.content(_PART_BYTES)):
        yield LedgerCheckpoint(
            sequence=Whole(checkpoint.sequence),
            part=Whole(number),
            parts=Whole(parts),
            content=content,
        )
    for peer, token in reader.pairs():
        yield PairName(peer=peer, token=token)
    for settlement in reader.settlements():
        yield _settlement(settlement)


def setting_records(settings: Settings) -> list[Setting]:
    """The settings' sections without their secrets, in order."""
    sections = portable(settings)
    return [
        Setting(name=name, value=msgspec.json.encode(sections[name], order="sorted").decode())
        for name in sorted(sections)
    ]


def _branches(accounts: Accounts, next_index: int) -> list[DerivationBranch]:
    branches = [
        DerivationBranch(
            chain_kind=key.kind.value,
            template=key.template,
            xpub=key.xpub,
            next_index=Whole(next_index),
            is_current=accounts.current(key.kind) == key,
        )
        for key in accounts.keys
    ]
    return sorted(branches, key=DerivationBranch.key)


def _agent(row: AgentRow) -> AgentEntry:
    return AgentEntry(
        agent=row.agent,
        group=row.group,
        tags=row.tags,
        state=row.state.value,
        watch_only=row.watch_only,
        created_ms=Whole(row.created_ms),
    )


def _lifecycle(row: LifecycleRow) -> Lifecycle:
    entered = {
        WalletState.ACTIVE: row.activated_ms,
        WalletState.SUSPENDED: row.suspended_ms,
        WalletState.ARCHIVED: row.archived_ms,
    }
    return Lifecycle(
        agent=row.agent,
        state=row.state.value,
        since_ms=Whole(entered.get(row.state) or row.created_ms),
        activated_ms=Whole(row.activated_ms),
        last_activity_ms=Whole(row.last_activity_ms),
        suspended_ms=Whole(row.suspended_ms),
        archived_ms=Whole(row.archived_ms),
        transactions=Whole(row.transactions),
        volumes=tuple(
            Volume(v.chain, v.token, v.contract, whole(v.amount), Whole(v.transactions))
            for v in row.volumes
        ),
        reason=row.reason,
    )


def _archive(row: LifecycleRow, balances: Iterator[BalanceRow]) -> WalletArchive:
    """An archived agent is not read any more: its last balances are those it was archived with."""
    return WalletArchive(
        agent=row.agent,
        archived_ms=Whole(row.archived_ms),
        reason=row.reason,
        balances=tuple(
            Volume(b.chain, b.symbol, b.contract, whole(b.amount))
            for b in balances
            if b.amount is not None
        ),
    )


def _balance(row: BalanceRow) -> Balance:
    return Balance(
        agent=row.agent,
        chain=row.chain,
        symbol=row.symbol,
        contract=row.contract,
        amount=_whole(row.amount),
        mark=row.mark,
        reserved=whole(row.reserved),
        changed_ms=Whole(row.changed_ms),
        first_seen_ms=Whole(row.first_seen_ms),
        block=Whole(row.block),
        checked_ms=Whole(row.checked_ms),
    )


def _threshold(row: StoredThreshold) -> Threshold:
    is_amount = row.level.isdecimal()
    return Threshold(
        peer=row.peer,
        token=row.token,
        threshold=whole(int(row.level)) if is_amount else None,
        level="" if is_amount else row.level,
    )


def _settlement(row: SettlementRow) -> Settlement:
    return Settlement(
        peer=row.peer,
        token=row.token,
        direction=row.direction,
        version=Whole(row.version),
        epoch=Whole(row.epoch),
        attempt=Whole(row.attempt),
        armed=row.armed,
        told=row.told,
        idempotency_key=row.key,
        amount=_whole(row.amount),
        begun_by=row.begun_by,
        delivered=row.delivered,
        retry_ms=Whole(row.retry_ms),
        changed_ms=Whole(row.changed_ms),
        reason=row.reason,
        settled_ms=Whole(row.settled_ms),
        settled_amount=_whole(row.settled_amount),
    )


def _whole(amount: int | None) -> Whole | None:
    return None if amount is None else whole(amount)
