"""The last steps before a generation is put in force, with nobody writing any more.

Everything here is written into the staged generation and made durable; the one in use is only
read. What a fresh machine lacks (a settings file, the backup key) lies in the generation too, and
`settle_in` puts it in its place at the next start: so that the swap of CURRENT decides all of it.
All of it blocks: call it in a thread.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from core.backup import reconciling
from core.backup.configured import key_source
from core.backup.errors import BackupError
from core.backup.installation import DATABASE_FILE, LEDGER_FOLDER
from core.backup.keyring import KeyRing, format_key_ring, parse_key_ring, write_key_ring
from core.backup.staging import sync_tree
from core.config import Settings
from core.events import Event
from core.ledger.check import check
from core.ledger.files import RealFolder
from core.settlement.monitor import HELD_KEY
from core.store.directory import PREVIOUS
from core.store.whole import continue_from
from core.wallets import private_files

APPLIED = "restore"
INDICES = "restore.indices"
SETTINGS_FILE = "settings.toml"
KEY_FILE = "backup-key.json"
_LARGEST = 1024 * 1024


class Applied(msgspec.Struct, frozen=True, rename="camel"):
    """What the database of a restored generation remembers of the restore. `ledger` says that the
    running ledger was carried over; `undo` that it was the way back."""

    backup: str
    previous: str
    safety_backup: str
    applied_ms: int
    wallets: int
    ledger: bool
    undo: bool = False


class Fresh(msgspec.Struct, frozen=True):
    """What a machine without settings or backup key gets from the backup; None: it has its own."""

    settings: str | None = None
    ring: KeyRing | None = None


def finish(
    generation: Path,
    before: Path,
    applied: Applied,
    *,
    memory: Mapping[str, str],
    events: tuple[Event, ...],
    node_id: str,
    fresh: Fresh,
) -> None:
    """Make a staged generation ready to be adopted after `before`, whose store and ledger are
    closed. Raises StoreError, BackupError, OSError; then it is to be thrown away."""
    continue_from(
        generation / DATABASE_FILE,
        before / DATABASE_FILE,
        keeps_ledger=applied.ledger,
        memory={APPLIED: msgspec.json.encode(applied).decode(), HELD_KEY: "1", **memory},
        events=events,
        node_id=node_id,
    )
    if applied.ledger:
        _carry_over(before / LEDGER_FOLDER, generation / LEDGER_FOLDER)
    reconciling.begin(generation, generation / DATABASE_FILE, applied.backup, applied.applied_ms)
    _write(generation / PREVIOUS, f"{applied.previous}\n".encode())
    if fresh.settings is not None:
        _write(generation / SETTINGS_FILE, fresh.settings.encode())
    if fresh.ring is not None:
        _write(generation / KEY_FILE, format_key_ring(fresh.ring))
    sync_tree(generation)


def copy_back(previous: Path, generation: Path, *, without_ledger: bool) -> None:
    """Stage the way back: a copy of an older generation, so that the original stays as it is."""
    left = [PREVIOUS, SETTINGS_FILE, KEY_FILE, reconciling.FILE_NAME]
    if without_ledger:
        left.append(LEDGER_FOLDER)
    shutil.copytree(previous, generation, ignore=shutil.ignore_patterns(*left))
    generation.chmod(0o700)


def settle_in(generation: Path, settings: Settings, config: Path) -> bool:
    """Give a fresh machine what its backup brought: the settings under `config`, where no file was
    found, and the backup key. Answers whether there are settings to be read now. Raises
    PrivateFileError, KeySlotError, OSError."""
    text = _read(generation / SETTINGS_FILE)
    if text is not None and not settings.source:
        config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # a start that was killed here had come as far
            private_files.create(config, text)
        return True
    if (ring := _read(generation / KEY_FILE)) is not None:
        source = key_source(settings)
        if source.path is not None and not source.fixed and not source.exists():
            write_key_ring(source.path, parse_key_ring(ring, str(generation / KEY_FILE)))
    for name in (SETTINGS_FILE, KEY_FILE):
        (generation / name).unlink(missing_ok=True)
    return False


def _carry_over(running: Path, restored: Path) -> None:
    """Copy the closed ledger, and see that what arrived is whole."""
    shutil.rmtree(restored, ignore_errors=True)
    shutil.copytree(running, restored)
    restored.chmod(0o700)
    report = check(RealFolder(restored))
    if report.damage:
        first = report.damage[0]
        raise BackupError(
            f"The running ledger cannot be kept: {first.file} at byte {first.offset}: "
            f"{first.what}. Restore with the backup's checkpoint instead."
        )


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read(path: Path) -> bytes | None:
    try:
        return private_files.read(path, _LARGEST)
    except private_files.AbsentError:
        return None
