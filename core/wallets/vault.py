"""The seed vault: one BIP-39 seed per installation, in `master-seed.enc` of a generation.

Opened by one password or one recovery key, after a growing delay where they were wrong before.
Whoever only creates agents or checks addresses never opens it: the account xpubs lie beside it.
A vault that cannot be read is an error, never an empty place for a new seed.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from core.model import BursarError, ChainKind, Clock, Secret
from core.wallets import private_files
from core.wallets.accounts import (
    DEFAULT_TEMPLATES,
    Accounts,
    NoAccountsError,
    check_accounts,
    derive_accounts,
    follows,
    read_accounts,
    write_accounts,
)
from core.wallets.attempts import Attempts, Memory
from core.wallets.passwords import check_password
from core.wallets.secrets import Opener, Password, RecoveryKey
from core.wallets.seed import Seed
from core.wallets.slots import Argon2Parameters, WrongKeyError
from core.wallets.vault_file import LARGEST, SealedVault, VaultHeader, parse, seal, unseal

FILE_NAME: Final = "master-seed.enc"
_log = logging.getLogger("bursar.wallets.vault")


class NoSeedError(BursarError):
    """There is no seed here: the folder was read and has none."""


class SeedPresentError(BursarError):
    """There is a seed here already; it was not touched."""


class WrongPasswordError(BursarError):
    """The password or recovery key does not open the vault. Nothing was changed."""


class SeedVault:
    """The vault of the generation `folder`. `memory` keeps count of wrong attempts; `templates`
    are the configured paths for new addresses."""

    def __init__(
        self,
        folder: Path,
        memory: Memory,
        clock: Clock,
        templates: Mapping[ChainKind, str] = DEFAULT_TEMPLATES,
    ) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        self._clock = clock
        self.templates = templates
        self._attempts = Attempts(memory, clock)
        self._opening = asyncio.Lock()

    def exists(self) -> bool:
        """Whether there is a vault. Raises PrivateFileError where that cannot be told."""
        return private_files.exists(self.path)

    def header(self) -> VaultHeader:
        """What the file says in clear. Raises NoSeedError, PrivateFileError, VaultDamagedError,
        SlotRefusedError."""
        return self._read().header

    def accounts(self) -> Accounts:
        """The account xpubs beside the vault. Raises NoAccountsError, PrivateFileError, and what
        `header` raises."""
        accounts = read_accounts(self.folder)
        fingerprint = self.header().fingerprint
        if accounts.fingerprint != fingerprint:
            raise NoAccountsError(
                f"The account keys in {self.folder} belong to seed {accounts.fingerprint[:8]}, "
                f"the vault holds {fingerprint[:8]}; run `bursar seed unlock` to derive them again."
            )
        return accounts

    async def create(
        self,
        seed: Seed,
        typed: Secret,
        recovery: RecoveryKey | None = None,
        *,
        parameters: Argon2Parameters | None = None,
    ) -> VaultHeader:
        """Write a new vault and its account keys. Of two at once one succeeds.

        Raises SeedPresentError, WeakPasswordError, DerivationError for a wrong template,
        SlotRefusedError; then nothing was written. PrivateFileError names the file that was not;
        account keys that could not be written come with the next `unlock`.
        """
        return await asyncio.to_thread(self._create, seed, typed, recovery, parameters)

    async def unlock(self, opener: Opener) -> Seed:
        """The seed, for as long as the caller holds it. The account keys beside the vault are
        checked against it; what is missing there, for the templates as configured now included,
        is derived and written.

        Raises WrongPasswordError; TooSoonError, before anything is checked; NoSeedError,
        PrivateFileError, VaultDamagedError, SlotRefusedError; AccountsError where the keys beside
        the vault are not this seed's.
        """
        async with self._opening:
            vault = await asyncio.to_thread(self._read)
            await self._attempts.begin()
            try:
                seed = await asyncio.to_thread(unseal, vault, opener, str(self.path))
            except WrongKeyError as error:
                reason = str(error)
            else:
                await self._attempts.succeeded()
                await asyncio.to_thread(self._check_accounts, seed)
                return seed
        _log.warning("the seed vault was not opened: %s", reason)
        raise WrongPasswordError(f"{reason} {self.path} was not opened and nothing was changed.")

    async def verify(self, typed: Secret) -> bool:
        """Whether these words are the seed of this vault; needs no password and shows nothing.

        Raises SeedError for words that are no seed, and what `header` raises.
        """
        return await asyncio.to_thread(self._verify, typed)

    async def rekey(
        self,
        opener: Opener,
        typed: Secret,
        recovery: RecoveryKey | None = None,
        *,
        parameters: Argon2Parameters | None = None,
    ) -> VaultHeader:
        """Give the same seed a new key, password and recovery key (None: none any more). Copies
        made before keep opening with the old ones. Raises WeakPasswordError and what `unlock`
        raises."""
        await asyncio.to_thread(check_password, typed)
        seed = await self.unlock(opener)
        return await asyncio.to_thread(self._rekey, seed, Password(typed), recovery, parameters)

    # --- in a thread ------------------------------------------------------------------------

    def _read(self) -> SealedVault:
        try:
            content = private_files.read(self.path, LARGEST)
        except private_files.AbsentError as error:
            raise NoSeedError(
                f"{self.folder} holds no seed; this installation is watch-only. Run "
                "`bursar seed create` for a seed, or restore a backup."
            ) from error
        return parse(content, str(self.path))

    def _create(
        self,
        seed: Seed,
        typed: Secret,
        recovery: RecoveryKey | None,
        parameters: Argon2Parameters | None,
    ) -> VaultHeader:
        present = f"{self.path} is there already; it was not touched."
        if self.exists():
            raise SeedPresentError(present)
        check_password(typed)
        accounts = derive_accounts(seed, self.templates)
        content = seal(seed, Password(typed), recovery, self._clock.now_ms(), parameters)
        try:
            private_files.create(self.path, content)
        except FileExistsError as error:
            raise SeedPresentError(present) from error
        # After the vault, so that it is the winner's; a crash in between is mended by `unlock`.
        write_accounts(self.folder, accounts)
        return parse(content, str(self.path)).header

    def _check_accounts(self, seed: Seed) -> None:
        before = None
        try:
            before = self.accounts()
        except NoAccountsError as error:
            _log.warning("the account keys are derived again: %s", error)
        else:
            check_accounts(before, seed)
        if before is None or not follows(before, self.templates):
            write_accounts(self.folder, derive_accounts(seed, self.templates, before))

    def _rekey(
        self,
        seed: Seed,
        password: Password,
        recovery: RecoveryKey | None,
        parameters: Argon2Parameters | None,
    ) -> VaultHeader:
        content = seal(seed, password, recovery, self._clock.now_ms(), parameters)
        private_files.replace(self.path, content)
        return parse(content, str(self.path)).header

    def _verify(self, typed: Secret) -> bool:
        wanted = self.header().fingerprint
        return hmac.compare_digest(Seed.from_words(typed).fingerprint(), wanted)
