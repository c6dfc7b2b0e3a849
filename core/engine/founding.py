"""Giving an installation its seed and its backup key, both opened by one password.

Everything is asked and checked before the first file is written. Then come the backup key, the
vault, and (by the caller) the settings; a process killed in between leaves whole files, and the
same steps taken again with the same password go on from there.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from core.backup.configured import key_source
from core.backup.errors import BackupError
from core.backup.keyring import (
    KeyRing,
    create_key_ring,
    new_install_id,
    read_key_file,
    replace_key_ring,
    with_new_slots,
)
from core.backup.keys import unlock
from core.clock import SystemClock
from core.config import Settings
from core.engine.engine import Engine, EngineMode
from core.model import BursarError, Secret
from core.store.directory import DataDirectory
from core.telemetry.audit import AuditLog
from core.wallets import private_files
from core.wallets.passwords import check_password
from core.wallets.secrets import Password, RecoveryKey
from core.wallets.seed import Seed
from core.wallets.vault import FILE_NAME as VAULT_NAME
from core.wallets.vault import SeedPresentError, SeedVault


class FoundingError(BursarError):
    """Seed or backup key cannot be made as asked; nothing was changed."""


class Wanted(NamedTuple):
    """What is to be made. Without `seed` only the backup key; without `password` neither."""

    seed: Seed | None = None
    password: Secret | None = None
    recovery: RecoveryKey | None = None
    imported: bool = False


class Present(NamedTuple):
    """What is there: the seed's fingerprint ("" for none) and whether there is a backup key."""

    fingerprint: str = ""
    has_key: bool = False


def key_path(settings: Settings) -> Path | None:
    """Where the backup key lies; None where a command or a credential gives it."""
    source = key_source(settings)
    return None if source.fixed else source.path


def look(settings: Settings) -> Present:
    """See what is there. Blocks. Raises StoreError, PrivateFileError, VaultDamagedError."""
    directory = DataDirectory(settings.data_path)
    path = key_path(settings)
    has_key = path is None or (path.parent.is_dir() and private_files.exists(path))
    if not directory.exists() or not private_files.exists(directory.generation() / VAULT_NAME):
        return Present("", has_key)
    return Present(vault_of(settings, directory).header().fingerprint, has_key)


async def found(settings: Settings, wanted: Wanted) -> Present:
    """Prepare the data directory and make what is wanted; what is there then. Raises
    FoundingError, SeedPresentError, WeakPasswordError, PrivateFileError, StoreError."""
    if wanted.password is not None:
        await asyncio.to_thread(check_password, wanted.password)
    engine = Engine(settings, mode=EngineMode.COMMAND)
    await engine.start()  # made the directory and the database
    try:
        if wanted.password is not None:
            await _make(settings, wanted, wanted.password, engine.walleting.vault, engine.audit)
    finally:
        await engine.close()
    return await asyncio.to_thread(look, settings)


async def _make(
    settings: Settings, wanted: Wanted, password: Secret, vault: SeedVault, audit: AuditLog
) -> None:
    has_seed = await asyncio.to_thread(vault.exists)
    if has_seed:
        if wanted.seed is not None:
            raise SeedPresentError(f"{vault.path} is there already; it was not touched.")
        await vault.unlock(Password(password))  # one password opens both
    path = key_path(settings)
    is_new = False
    if path is not None:
        is_new = await _make_key(path, password, wanted.recovery, audit)
    if wanted.seed is None:
        return
    action = "seed.import" if wanted.imported else "seed.create"
    subject = f"seed {wanted.seed.fingerprint()[:8]}"
    try:
        await audit.append(
            action, "operator", subject, {"recoveryKey": wanted.recovery is not None}
        )
        await vault.create(wanted.seed, password, wanted.recovery)
    except BaseException:
        if is_new and path is not None and not vault.path.exists():
            with suppress(OSError):  # the reason above is the one to tell
                path.unlink()
        raise


async def _make_key(
    path: Path, password: Secret, recovery: RecoveryKey | None, audit: AuditLog
) -> bool:
    """The backup key, or the one that is there with these openers; whether it is new."""

    def ring_there() -> KeyRing | None:
        if not private_files.exists(path):
            return None
        ring = read_key_file(path)
        unlock(ring.slots, Password(password), ring.install_id, str(path))
        return ring

    try:
        ring = await asyncio.to_thread(ring_there)
    except BackupError as error:
        raise FoundingError(
            f"{error} The password of the seed must be that of the backup key {path}. If no "
            "backup was ever made with that key, move the file away."
        ) from error
    if ring is None:
        await audit.append("backup.key", "operator", path.name)
        await asyncio.to_thread(create_key_ring, path, new_install_id(), password, recovery)
        return True
    if recovery is not None:
        changed = await asyncio.to_thread(with_new_slots, ring, password, recovery)
        await audit.append("backup.rekey", "operator", path.name)
        await asyncio.to_thread(replace_key_ring, path, changed)
    return False


def vault_of(settings: Settings, directory: DataDirectory) -> SeedVault:
    """The vault of the current generation, to look at: no attempt to open it would be counted.
    Raises StoreError."""
    return SeedVault(
        directory.generation(),
        _Forgetful(),
        SystemClock(),
        settings.wallets.derivation.templates(),
    )


class _Forgetful:
    """The memory of a vault that is only looked at: no attempt is ever counted in it."""

    async def recall(self, key: str) -> str | None:
        return None

    async def remember(self, key: str, value: str) -> None:
        return None
