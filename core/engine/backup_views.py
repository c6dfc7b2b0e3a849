"""Backups as desks see them: pure functions from the catalogue to views."""

from __future__ import annotations

from collections.abc import Iterable

from core.api import BackupView, CopyView
from core.backup.catalogue import Catalogue, Entry

_SLOT_WORDS = {"password": "password", "recovery": "recovery key"}


def backup_views(catalogue: Catalogue) -> tuple[BackupView, ...]:
    """Every archive, newest first."""
    lengths = _chain_lengths(catalogue)
    return tuple(backup_view(entry, lengths[entry.id]) for entry in catalogue)


def backup_view(entry: Entry, chain: int) -> BackupView:
    """One archive; `chain` counts what a restore of it needs, 0: something is missing."""
    return BackupView(
        id=entry.id,
        name=entry.name,
        type=entry.type.value,
        created_ms=entry.created_ms,
        size=entry.size,
        wallets=entry.wallet_count,
        parent=entry.parent_id or "",
        seed_fingerprint=entry.seed_fingerprint or "",
        chain=chain,
        copies=tuple(
            CopyView(name, copy.state.value, copy.attempts, copy.next_try_ms, copy.error)
            for name, copy in entry.copies.items()
        ),
        durable_ms=entry.durable_ms,
        verified_ms=entry.verified_ms,
        drilled_ms=entry.drilled_ms,
    )


def slot_words(kinds: Iterable[str]) -> tuple[str, ...]:
    """The ways to unlock, in words."""
    return tuple(_SLOT_WORDS[kind] for kind in kinds)


def _chain_lengths(catalogue: Catalogue) -> dict[str, int]:
    """How many archives the chain of each has, 0 where one is missing; a parent comes before."""
    lengths: dict[str, int] = {}
    for entry in reversed(list(catalogue)):
        if entry.parent_id is None:
            lengths[entry.id] = 1
        else:
            above = lengths.get(entry.parent_id, 0)
            lengths[entry.id] = above + 1 if above else 0
    return lengths
