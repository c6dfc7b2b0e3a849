"""The backup key as an engine holds it, and the password and recovery key that open it and the
seed vault alike: set, and changed in both.

The vault is asked first: with a seed there, only what opens it is taken. A change that dies between
the two is finished by giving it again, with the new password as the current one.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from core.api import CommandRefusedError, Outcome
from core.backup.configured import KeySource
from core.backup.errors import BackupError, KeySlotError
from core.backup.keyring import (
    KeyRing,
    RingInMaking,
    begin_key_ring,
    new_install_id,
    replace_key_ring,
    with_new_slots,
)
from core.backup.keys import unlock
from core.backup.rekey import OLD_COPIES
from core.model import BursarError, Clock, Secret
from core.wallets import private_files
from core.wallets.accounts import FILE_NAME as ACCOUNTS_FILE
from core.wallets.passwords import check_password
from core.wallets.secrets import Password, RecoveryKey, opener
from core.wallets.vault import FILE_NAME as SEED_FILE
from core.wallets.vault import SeedVault

log = logging.getLogger("bursar.backup")

NO_KEY = "There is no backup key yet; run `bursar backup setup`."
_AGAIN_MS = 300_000


class HeldKey:
    """The key ring that an engine holds: read again when its file changes, and before it is used.
    A command is run anew now and then as long as it gives none."""

    def __init__(self, source: KeySource, clock: Clock, *, runs_commands: bool) -> None:
        self.source = source
        self.ring: KeyRing | None = None
        self.off = NO_KEY
        self._clock = clock
        self._runs_commands = runs_commands
        self._stamp: tuple[int, ...] = ()
        self._tried_ms = 0

    async def refresh(self) -> bool:
        """Look for a ring that appeared, changed or went; says whether it was looked at."""
        path = self.source.path
        if path is None and not self._runs_commands:
            return False
        now_ms = self._clock.now_ms()
        stamp = await asyncio.to_thread(_stamp_of, path)
        is_again = path is None and self.off and now_ms - self._tried_ms >= _AGAIN_MS
        if self._tried_ms and stamp == self._stamp and not is_again:
            return False
        self._stamp, self._tried_ms = stamp, now_ms
        try:
            await self.read()
        except BackupError as error:
            level = logging.INFO if self.off == NO_KEY else logging.WARNING
            if self._runs_commands:  # else somebody else owns the directory, and says it
                log.log(level, "no backups: %s", error, extra={"component": "backup"})
        return True

    async def read(self) -> KeyRing:
        """The ring as it is now. Raises KeySlotError."""
        try:
            if not await asyncio.to_thread(self.source.exists):
                self.ring = None
                raise KeySlotError(NO_KEY)
            self.ring = await asyncio.to_thread(self.source.read)
        except KeySlotError as error:
            self.off = str(error)
            raise
        self.off = ""
        return self.ring


async def begin(
    source: KeySource, vault: SeedVault, password: Secret, recovery: Secret
) -> RingInMaking:
    """Begin to make the key ring. Raises CommandRefusedError, and then there is none."""
    path = _writable(source)
    if await asyncio.to_thread(source.exists):
        raise CommandRefusedError(
            f"{path} is there already; `bursar backup rekey` changes its password."
        )
    try:
        key = _recovery(recovery)
        if await asyncio.to_thread(vault.exists):
            await vault.unlock(Password(password))
            if key is not None:
                await vault.unlock(key)
        return await asyncio.to_thread(begin_key_ring, path, new_install_id(), password, key)
    except BursarError as error:
        raise CommandRefusedError(str(error)) from error


async def finish(source: KeySource, making: RingInMaking) -> str:
    """Wait for the key ring, and say where it is. Raises CommandRefusedError where it could not
    be written."""
    try:
        ring = await asyncio.to_thread(making.finish)
    except BursarError as error:
        raise CommandRefusedError(str(error)) from error
    return f"Wrote the backup key {source.path}, of installation {ring.install_id}."


async def change(
    source: KeySource, vault: SeedVault, current: Secret, password: Secret, recovery: Secret
) -> Outcome:
    """Another password and recovery key for vault and ring. Raises CommandRefusedError."""
    path = _writable(source)
    try:
        ring = await asyncio.to_thread(source.read)
        key = _recovery(recovery)
        await asyncio.to_thread(check_password, password)
        if await asyncio.to_thread(vault.exists):
            await vault.rekey(opener(current), password, key)
        else:
            await asyncio.to_thread(unlock, ring.slots, opener(current), ring.install_id, str(path))
        after = await asyncio.to_thread(with_new_slots, ring, password, key)
        await asyncio.to_thread(replace_key_ring, path, after)
    except BursarError as error:
        raise CommandRefusedError(str(error)) from error
    ways = "the password and the recovery key" if key else "the password"
    return Outcome(f"New backups are opened by {ways} given now.", 1, (OLD_COPIES,))


def remove_leftovers(source: KeySource, generation: Path) -> None:
    """Remove what writers of the key ring, the seed vault and the account keys left when they were
    killed. Only for the owner of the data directory's lock. Raises PrivateFileError."""
    if source.path is not None and not source.fixed:
        private_files.remove_leftovers(source.path)
    for name in (SEED_FILE, ACCOUNTS_FILE):
        private_files.remove_leftovers(generation / name)


def _recovery(typed: Secret) -> RecoveryKey | None:
    return RecoveryKey.parse(typed) if typed.reveal() else None


def _writable(source: KeySource) -> Path:
    if source.path is None or source.fixed:
        raise CommandRefusedError(
            f"The backup key comes from {source.said}, which Bursar does not write; set [backup] "
            "key_file to a file, and store its content there afterwards."
        )
    return source.path


def _stamp_of(path: Path | None) -> tuple[int, ...]:
    """What changes with a file's content; () where there is none."""
    if path is None:
        return ()
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode
