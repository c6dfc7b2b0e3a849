"""What came of backups, in words and as events."""

from __future__ import annotations

from core.api import Outcome
from core.backup.catalogue import Entry
from core.backup.header import BackupType
from core.backup.maker import Delivered
from core.backup.proving import Proof
from core.backup.retention import Verdict
from core.events import BackupCreated


def told(delivered: Delivered) -> Outcome:
    """What came of a backup in words; details say which destinations lack it."""
    entry = delivered.entry
    there = [name for name, copy in entry.copies.items() if copy.is_there]
    words = "full" if entry.type is BackupType.FULL else "incremental"
    note = f" It is a full because {delivered.note}." if delivered.note else ""
    message = (
        f"Made {words} backup {entry.id}: {entry.wallet_count:,} wallets, {entry.size:,} bytes, "
        f"at {', '.join(there) or 'no destination yet'}.{note}"
    )
    return Outcome(message, 1, delivered.missing())


def proven(entry: Entry, proof: Proof) -> str:
    """What a verification found."""
    count = len(proof.chain)
    return (
        f"Backup {entry.id} opens: {entry.wallet_count:,} wallets, {proof.sound} "
        f"{'copies' if proof.sound != 1 else 'copy'} of {count} "
        f"{'archives' if count != 1 else 'archive'} decrypted and checked."
    )


def verdict_lines(verdicts: list[Verdict]) -> tuple[str, ...]:
    """What a dry run of retention shows, a line an archive."""
    return tuple(
        f"keep   {verdict.entry.name} ({verdict.reasons[0]})"
        if verdict.stays
        else f"delete {verdict.entry.name}"
        for verdict in verdicts
    )


def created(entry: Entry, now_ms: int) -> BackupCreated:
    """The event of a backup that became durable."""
    there = tuple(name for name, copy in entry.copies.items() if copy.is_there)
    return BackupCreated(
        timestamp=now_ms,
        backup_id=entry.id,
        backup_type=entry.type.value,
        parent_id=entry.parent_id,
        size=entry.size,
        wallets=entry.wallet_count,
        sha256=entry.sha256,
        destinations=there,
        missing=tuple(name for name in entry.copies if name not in there),
        verified=bool(entry.verified_ms),
    )
