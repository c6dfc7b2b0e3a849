"""The door to a ledger: the verbs both backends answer, and how they say how they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from core.ledger.types import (
    Account,
    AccountBalance,
    AccountFilter,
    AccountStatus,
    Balance,
    CreateResult,
    QueryFilter,
    Transfer,
    TransferStatus,
)


class LedgerHealth(msgspec.Struct, frozen=True):
    """What the status bar shows of a ledger. `reason` says why `ok` is False; times are ms
    since the epoch, 0 for never; the journal's figures are 0 on a cluster."""

    backend: str
    ok: bool = True
    reason: str = ""
    notices: tuple[str, ...] = ()
    journal_bytes: int = 0
    commits: int = 0
    syncs: int = 0
    last_sync_ms: int = 0
    last_snapshot_ms: int = 0
    snapshot_failure: str = ""


class Ledger(Protocol):
    """TigerBeetle's verbs, asynchronous. A refused event is a status in its result; what is
    raised is a LedgerError. A reply is given only once what it was computed from is durable."""

    @property
    def backend(self) -> str:
        """What it is, as the start-up message says it: `embedded ledger (journal: ...)`."""
        ...

    def health(self) -> LedgerHealth:
        """How it is, without asking it anything."""
        ...

    async def open(self) -> None:
        """Make it ready. Raises LedgerDamaged, LedgerInUse, LedgerUnavailable."""
        ...

    async def close(self) -> None:
        """Let go of it in good order; a second call does nothing."""
        ...

    async def create_accounts(self, batch: Sequence[Account]) -> list[CreateResult[AccountStatus]]:
        """One result per account, in order; at most 8,189."""
        ...

    async def create_transfers(
        self, batch: Sequence[Transfer]
    ) -> list[CreateResult[TransferStatus]]:
        """One result per transfer, in order; at most 8,189."""
        ...

    async def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """The accounts that exist, in the order asked."""
        ...

    async def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """The transfers that exist, in the order asked."""
        ...

    async def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """Transfers that touched an account, by timestamp."""
        ...

    async def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """Balances of a `history` account after each of its transfers."""
        ...

    async def query_accounts(self, filter: QueryFilter) -> list[Account]:
        """Accounts that match every field set, by timestamp."""
        ...

    async def query_transfers(self, filter: QueryFilter) -> list[Transfer]:
        """Transfers that match every field set, by timestamp."""
        ...

    async def get_account_balance(self, id: int) -> Balance:
        """Posted debits, credits and credits - debits. Raises AccountUnknown."""
        ...

    async def get_accounts_batch(self, ids: Sequence[int]) -> dict[int, Balance]:
        """The same for any number of accounts; those that do not exist are left out."""
        ...
