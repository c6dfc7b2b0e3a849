"""Proof that a generation's addresses are its seed's: every one is derived again and compared.

The account keys (xpubs) give the addresses and need no password; that the keys are the seed's is
proven where a password or a recovery key opens the vault. All of it blocks: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from core.backup.errors import BackupError
from core.backup.installation import DATABASE_FILE
from core.model import BursarError, ChainKind
from core.store.whole import WholeReader
from core.wallets import private_files
from core.wallets.accounts import check_accounts, read_accounts
from core.wallets.derivation import Claim, Deriver, mismatch_of
from core.wallets.secrets import Opener
from core.wallets.slots import WrongKeyError
from core.wallets.vault import FILE_NAME as SEED_FILE
from core.wallets.vault_file import LARGEST, parse, unseal

_STEP = 500
_NAMED = 3


class WrongAddressesError(BackupError):
    """Addresses in a backup are not those of its seed: nothing of it may be used."""


class Proven(msgspec.Struct, frozen=True):
    """`addresses` were derived again and are right; `watch_only` have no seed here to be of."""

    addresses: int
    watch_only: int


def prove_addresses(generation: Path, note: Callable[[int, int], None]) -> Proven:
    """Derive every address of the generation again. `note` is told how many of how many were
    looked at. Raises WrongAddressesError naming the first, StoreError, NoAccountsError."""
    derived = watch_only = 0
    wrong: list[str] = []
    deriver: Deriver | None = None
    right: tuple[Claim, ...] = ()
    with WholeReader(generation / DATABASE_FILE) as reader:
        kinds = {chain.name: chain.kind for chain in reader.chains()}
        total = reader.address_count()
        for number, row in enumerate(reader.addresses(), 1):
            if not row.path:
                watch_only += 1
            else:
                if deriver is None:
                    deriver = Deriver(read_accounts(generation))
                claim = Claim(kinds[row.chain], row.address, row.path)
                # The chains of one kind share an address, and come one after another.
                mismatch = None if claim in right else mismatch_of(deriver, claim)
                if mismatch is None:
                    derived += 1
                    right = (claim, *right[: len(ChainKind) - 1])
                else:
                    wrong.append(f"{row.agent} on {row.chain}: {mismatch.reason}")
            if number % _STEP == 0:
                note(number, total)
        note(total, total)
    if wrong:
        raise WrongAddressesError(
            f"{len(wrong)} of {total} addresses are not the seed's: {'; '.join(wrong[:_NAMED])}"
            f"{'; ...' if len(wrong) > _NAMED else ''}. Nothing of this backup was used."
        )
    return Proven(derived, watch_only)


def prove_seed(generation: Path, opener: Opener) -> str:
    """Open the generation's vault and see that the account keys are its seed's. Answers "" or, in
    words, why that could not be proven: no seed, or another password than the vault's. Raises
    WrongAddressesError for keys of another seed, VaultDamagedError, NoAccountsError."""
    path = generation / SEED_FILE
    if not private_files.exists(path):
        return "there is no seed in it"
    try:
        seed = unseal(parse(private_files.read(path, LARGEST), str(path)), opener, str(path))
    except WrongKeyError:
        return "its vault has another password or recovery key than the backup"
    try:
        check_accounts(read_accounts(generation), seed)
    except BursarError as error:
        raise WrongAddressesError(f"The account keys are not the seed's: {error}") from error
    return ""
