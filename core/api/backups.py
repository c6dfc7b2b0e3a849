"""Backups and restores as an engine shows them. Times are ms since the epoch, 0: never."""

from __future__ import annotations

import msgspec

from core.model import Amount


class CopyView(msgspec.Struct, frozen=True, gc=False):
    """A backup at one destination. `state` is "pending", "stored and read back" or "uploaded, not
    read back"; `error` is why the last of `attempts` failed."""

    destination: str
    state: str
    attempts: int = 0
    next_try_ms: int = 0
    error: str = ""


class BackupView(msgspec.Struct, frozen=True, gc=False):
    """One archive. `type` is "full" or "incremental"; `size` in bytes. `durable_ms`: when enough
    destinations had it; `verified_ms` and `drilled_ms`: when it was last proven to open, and to
    restore. `chain` counts the archives a restore of it needs, 0 where one of them is missing."""

    id: str
    name: str
    type: str
    created_ms: int
    size: int
    wallets: int
    parent: str = ""
    seed_fingerprint: str = ""
    chain: int = 1
    copies: tuple[CopyView, ...] = ()
    durable_ms: int = 0
    verified_ms: int = 0
    drilled_ms: int = 0


class DestinationView(msgspec.Struct, frozen=True, gc=False):
    """A place for backups; `location` is a path or URL without credentials. `error` is why it
    could last not be used."""

    name: str
    location: str
    error: str = ""


class JobView(msgspec.Struct, frozen=True, gc=False):
    """Long work under way, or the last of its kind. `kind` is backup, verify, drill, prune, rekey,
    restore or wallets; `stage` is in words. `total` 0: not known. Ended: `ended_ms`, and `error`
    "" or why it failed; `message` says what came of it."""

    id: str
    kind: str
    stage: str
    started_ms: int
    done: int = 0
    total: int = 0
    unit: str = ""
    ended_ms: int = 0
    error: str = ""
    message: str = ""


class BackupsView(msgspec.Struct, frozen=True):
    """All about backups. `off` says why none can be made ("" where they can). `trouble` is what
    keeps a scheduled one from being made, or is overdue, in words. `installation` is the id
    that its archives carry. `slots` are the ways to unlock
    new backups, in words. `held` says that settlements wait for an operator after a restore;
    `undo` names the generation that `undo_restore` would go back to."""

    off: str = ""
    trouble: str = ""
    installation: str = ""
    require: str = "any"
    backups: tuple[BackupView, ...] = ()
    destinations: tuple[DestinationView, ...] = ()
    slots: tuple[str, ...] = ()
    jobs: tuple[JobView, ...] = ()
    next_full_ms: int = 0
    next_incremental_ms: int = 0
    next_drill_ms: int = 0
    last_ms: int = 0
    last_verified_ms: int = 0
    last_drilled_ms: int = 0
    held: bool = False
    undo: str = ""


class RestoreRequest(msgspec.Struct, frozen=True):
    """What to restore. `source` is a destination's name, or the path of a backup file or of a
    folder with backups; `backup` an id, "" for the newest there. `ledger` is "keep" (the running
    ledger where it is whole, else the checkpoint) or "checkpoint"."""

    source: str
    backup: str = ""
    ledger: str = "keep"


class RestoreChange(msgspec.Struct, frozen=True, gc=False):
    """One kind of record in the dry run, counted: what the restore adds, changes and removes
    beside the present state; `examples` names a few."""

    kind: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    examples: tuple[str, ...] = ()


class RestorePlan(msgspec.Struct, frozen=True):
    """A restore that is staged and proven, and not applied. `addresses` were derived again and
    compared. `confirm` is the text that must be typed to apply it, "" where the target is empty.
    `newer` are known backups that are newer than this one; `warnings` are for the operator."""

    id: str
    backup: BackupView
    chain: tuple[str, ...]
    wallets: int
    addresses: int
    watch_only: int
    seed_fingerprint: str
    ledger: str
    changes: tuple[RestoreChange, ...]
    confirm: str = ""
    newer: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class RestoreResult(msgspec.Struct, frozen=True):
    """A restore that was applied: the generation now in use, the one before (for undo) and the
    safety backup made of it ("" where there was nothing to save)."""

    generation: str
    previous: str
    safety_backup: str
    wallets: int
    message: str


class ReconciledView(msgspec.Struct, frozen=True, gc=False):
    """One balance after a restore: `state` is match, drift or unknown; `reason` says why it is
    unknown. `block` is the block or ledger it was read at."""

    agent: str
    chain: str
    token: str
    decimals: int
    state: str
    expected: Amount | None = None
    actual: Amount | None = None
    block: int = 0
    reason: str = ""


class ReconciliationView(msgspec.Struct, frozen=True):
    """How the restored balances compare with the chains so far. `rows` holds what does not match;
    `pending` balances were not looked at yet."""

    backup: str
    started_ms: int
    matched: int = 0
    drifted: int = 0
    unknown: int = 0
    pending: int = 0
    ended_ms: int = 0
    rows: tuple[ReconciledView, ...] = ()
