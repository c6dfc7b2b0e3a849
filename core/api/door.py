"""The protocol between an engine and everything that shows or commands it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from core.api.backups import (
    BackupView,
    ReconciliationView,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
)
from core.api.balances import EventQuery, History
from core.api.books import AccountTotals, CustodyView, PeerView, TransferView, TrialView
from core.api.commands import Command, Outcome, PacketOutcome, PacketStep
from core.api.state import EngineState, Update
from core.api.wallets import WalletView
from core.events import EventRecord
from core.model import Secret


class EngineApi(Protocol):
    """What a desk, the command line and the socket may ask of an engine."""

    async def state(self) -> EngineState:
        """Everything as it stands now. Raises EngineLostError."""
        ...

    def updates(self, after_version: int, after_seq: int) -> AsyncIterator[Update]:
        """Patches newer than `after_version` (coalesced, at most four a second) and every event
        with a sequence above `after_seq`, once and in order. Ends only by EngineLostError or
        when the engine stops. A version of another instance counts as 0: a patch with all."""
        ...

    async def events(self, query: EventQuery) -> Sequence[EventRecord]:
        """Stored events."""
        ...

    async def history(
        self, agent: str, chain: str, asset: str, start_ms: int, end_ms: int
    ) -> History:
        """One account's history; `asset` is a symbol or a contract. Raises NoWallet."""
        ...

    async def sparklines(
        self, accounts: Sequence[int], start_ms: int, end_ms: int, buckets: int
    ) -> dict[int, tuple[int | None, ...]]:
        """Per account the balance at the end of each of `buckets` equal slices (None: unknown)."""
        ...

    async def execute(self, command: Command) -> Outcome:
        """Carry out a command. Raises CommandRefusedError and then nothing was changed."""
        ...

    async def packets(self, steps: Sequence[PacketStep]) -> Sequence[PacketOutcome]:
        """Book packets, in order; one outcome per step, given once they are durable. Raises
        LedgerAwayError."""
        ...

    async def transfers(
        self, peer: str, token: str, limit: int, before_ms: int = 0
    ) -> Sequence[TransferView]:
        """The newest transfers of a pair (before that time, if given), newest first. Raises
        LedgerAwayError."""
        ...

    async def peer_balances(self) -> Sequence[PeerView]:
        """What stands between us and every known peer, in each token, as of now. Raises
        LedgerAwayError."""
        ...

    async def trial_balance(self) -> Sequence[TrialView]:
        """The trial balance of every ledger number, taken now. Raises LedgerAwayError."""
        ...

    async def ledger_totals(self) -> Sequence[AccountTotals]:
        """Posted totals of every account of the ledger, all of one moment. Raises
        LedgerAwayError."""
        ...

    async def explain(self, peer: str, token: str, direction: str = "receivable") -> str:
        """Why a pair is or is not settling, in words. Raises LedgerAwayError."""
        ...

    async def reconcile(self, agent: str = "") -> Sequence[CustodyView]:
        """Compare chain and ledger for an agent (all, if empty), as last read. Raises NoWallet,
        LedgerAwayError."""
        ...

    async def backups_at(self, source: str) -> Sequence[BackupView]:
        """The backups at a destination of that name, in a folder or in a file, newest first.
        Raises CommandRefusedError."""
        ...

    async def drill(self, backup: str, password: Secret) -> Outcome:
        """As the command DrillBackup; with the password the seed is proven too. Raises
        CommandRefusedError."""
        ...

    async def set_up_backups(
        self, password: Secret, recovery: Secret, *, create: bool = False
    ) -> Outcome:
        """Make the backup key, opened by the password and, if one is given, the recovery key;
        where there is a seed they must be its vault's. With `create` a first full backup is made
        at once; where that fails the details say so, and the key stays. Raises
        CommandRefusedError."""
        ...

    async def change_password(self, current: Secret, password: Secret, recovery: Secret) -> Outcome:
        """Give seed vault and backup key another password and recovery key (an empty one: none
        any more). `current` is the password or recovery key now. Backups that exist keep their
        own until RekeyBackups. Raises CommandRefusedError."""
        ...

    async def plan_restore(self, request: RestoreRequest, password: Secret) -> RestorePlan:
        """Fetch, decrypt and prove a backup, derive every address again, and build the generation
        it would become; nothing in use changes. A password or a recovery key opens it. Progress
        is told by the restore job of `BackupsView.jobs`. Raises CommandRefusedError."""
        ...

    async def apply_restore(self, plan: str, typed: str) -> RestoreResult:
        """Put a plan in force: `typed` must be its `confirm`. Until this answers or a failure, the
        old state is whole and in use. The engine starts again on the restored state: streams end,
        `state` has a new instance. Raises CommandRefusedError."""
        ...

    async def planned_restore(self, plan: str) -> RestorePlan:
        """A plan as it stands. Where applying it was refused because the present state had changed
        since, it says what would change now, and may be confirmed again. Raises
        CommandRefusedError where it is gone."""
        ...

    async def discard_restore(self, plan: str) -> None:
        """Drop a plan; one that is not there is no error."""
        ...

    async def undo_restore(self, typed: str) -> RestoreResult:
        """Go back to the generation before the last restore; `typed` must be the installation's
        name. Raises CommandRefusedError."""
        ...

    async def reconciliation(self) -> ReconciliationView | None:
        """How the balances of the last restore compare with the chains; None: no restore."""
        ...

    async def wallets(self, agent: str = "") -> Sequence[WalletView]:
        """The wallet of an agent (all, if empty), archived ones included, by name. Raises
        NoWallet."""
        ...

    async def verify_seed(self, words: Secret) -> Outcome:
        """Whether these words are the seed of this installation. Raises CommandRefusedError."""
        ...

    async def unlock_seed(self, password: Secret) -> Outcome:
        """Open the seed vault once, with the password or the recovery key, and write the account
        keys that are missing beside it. Raises CommandRefusedError."""
        ...

    async def close(self) -> None:
        """Stop (the engine) or detach (a client)."""
        ...
