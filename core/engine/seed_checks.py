"""What `bursar doctor` and `bursar seed status` say of the seed, without its password.

Present, whole, private; the account keys beside it its own and as the settings say; and every
derived address of the registry found again under them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from core.config import Settings
from core.engine.founding import vault_of
from core.engine.verdicts import Check, Verdict
from core.model import BursarError
from core.store.directory import DataDirectory
from core.store.protocol import StoreError
from core.store.sqlite import SqliteStore
from core.wallets.accounts import Accounts, follows
from core.wallets.agents import claims_of
from core.wallets.derivation import Deriver, check_claims
from core.wallets.vault import NoSeedError, SeedVault
from core.wallets.vault_file import VaultHeader

_RESTORE = "Keep the file as it is and restore a backup, or import the words elsewhere and compare."
_UNLOCK = "Run `bursar seed unlock` once; it needs the password."


async def seed_checks(settings: Settings) -> list[Check]:
    """The vault, its account keys, the addresses. Changes nothing."""
    directory = DataDirectory(settings.data_path)
    try:
        if not directory.exists():
            return [Check("seed", Verdict.NOTE, "no data directory yet")]
        vault = vault_of(settings, directory)
        header = await asyncio.to_thread(vault.header)
    except NoSeedError:
        return [Check("seed", Verdict.NOTE, "none: watch-only", "`bursar seed create` makes one.")]
    except StoreError:
        return []  # the data directory's own check says it
    except BursarError as error:
        return [Check("seed", Verdict.BAD, str(error), _RESTORE)]
    checks = [Check("seed", Verdict.GOOD, _named(header))]
    found, accounts = await asyncio.to_thread(_accounts, vault)
    checks.append(found)
    if accounts is not None:
        checks += await _addresses(directory.database, settings, header, accounts)
    return checks


def _named(header: VaultHeader) -> str:
    ways = {"password": "a password", "recovery": "a recovery key"}
    opened = " or ".join(ways[slot.kind] for slot in header.slots)
    return f"{header.fingerprint[:8]}, opened by {opened}"


def _accounts(vault: SeedVault) -> tuple[Check, Accounts | None]:
    try:
        accounts = vault.accounts()
    except BursarError as error:
        return Check("account keys", Verdict.BAD, str(error), _UNLOCK), None
    kinds = ", ".join(f"{key.kind} {key.template}" for key in accounts.keys)
    if not follows(accounts, vault.templates):
        reason = f"[wallets.derivation] names a path that is not derived yet; there are {kinds}"
        return Check("account keys", Verdict.BAD, reason, _UNLOCK), accounts
    return Check("account keys", Verdict.GOOD, kinds), accounts


async def _addresses(
    database: Path, settings: Settings, header: VaultHeader, accounts: Accounts
) -> list[Check]:
    """Every derived address again; one that does not fit was put there by somebody else."""
    store = SqliteStore(database, settings.settlement.node_id)
    try:
        await store.open_read_only()
        wallets = await store.wallets()
        following = await store.next_index(header.fingerprint)
    except StoreError:
        return []  # the database's own check says it
    finally:
        await store.close()
    claims = claims_of(wallets)
    wrong = await check_claims(Deriver(accounts), claims)
    if wrong:
        reason = f"{len(wrong):,} of {len(claims):,} are not this seed's: {wrong[0].reason}"
        advice = "Fund none of them. Somebody changed the database; restore a backup."
        return [Check("derived addresses", Verdict.BAD, reason, advice)]
    said = f"all {len(claims):,} derived again from the account keys; next index {following:,}"
    return [Check("derived addresses", Verdict.GOOD, said)]
