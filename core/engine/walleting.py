"""The engine's wallets: agents created from the seed, their lives followed, operators' changes.

The wallets room decides, derives and stores; here is who calls it when. An operator's action is
in the audit log before it is done. Creating needs no password; what a restore has not looked at
yet keeps creation held with a reason.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from core.api import ChangeWallets, CommandRefusedError, CreateWallets, JobView, Outcome
from core.balances.versions import ChangeLog, VersionCounter
from core.config import WalletSettings
from core.events import Bus, Json
from core.model import BursarError, Clock, Secret, WalletState
from core.store.protocol import DuplicateWalletError, StoreError
from core.store.wallet_protocol import (
    AgentPresentError,
    AgentWallet,
    StateMovedError,
    WalletStore,
)
from core.telemetry.audit import AuditLog
from core.wallets.accounts import AccountsError, follows
from core.wallets.agents import AgentWallets
from core.wallets.lifecycle import ArchivePolicy, Lifecycle, LifecycleError, Trigger
from core.wallets.secrets import opener
from core.wallets.vault import SeedVault

log = logging.getLogger("bursar.wallets")

MOST_AT_ONCE: Final = 100_000
_OPERATOR: Final = "operator"
_LOOK_S: Final = 1.0
_RETRY_S: Final = 5.0
_ARCHIVE_S: Final = 3600.0
_REFUSED: Final = (AgentPresentError, DuplicateWalletError, StateMovedError)  # though of the store

Moved = Callable[[Sequence[str], WalletState], Awaitable[None]]


class Walleting:
    """`run` is its one task. `changed(read)` is told that agents came or went (and that those who
    came are to be read at once), `moved` that others are in another state."""

    def __init__(
        self,
        settings: WalletSettings,
        generation: Path,
        store: WalletStore,
        bus: Bus,
        clock: Clock,
        counter: VersionCounter,
        audit: AuditLog,
        changed: Callable[[bool], Awaitable[None]],
        moved: Moved,
    ) -> None:
        self.vault = SeedVault(generation, store, clock, settings.derivation.templates())
        self.wallets = AgentWallets(store, self.vault.accounts, clock, bus)
        self.lifecycle = Lifecycle(store, clock, bus)
        self._policy = ArchivePolicy(settings.auto_archive, settings.inactivity_days)
        self._store = store
        self._bus = bus
        self._clock = clock
        self._counter = counter
        self._audit = audit
        self._changed = changed
        self._moved = moved
        self._held = ""
        self._error = ""
        self._jobs: dict[int, JobView] = {}
        self._numbers = itertools.count(1)
        self._log = ChangeLog[str](counter)

    def hold_creation(self, reason: str) -> None:
        """Refuse new agents with this reason; "" lets them be created again."""
        self._held = reason

    # --- the task --------------------------------------------------------------------------

    async def run(self) -> None:
        """Activate who is funded, count what moves, archive who is due; until cancelled."""
        seen: tuple[int, int] | None = None
        archive_at = self._clock.monotonic()
        while True:
            now = self._bus.last, self._counter.value
            try:
                if now != seen:
                    await self._observe()
                    seen = now
                if self._policy.enabled and self._clock.monotonic() >= archive_at:
                    await self._archive_inactive()
                    archive_at = self._clock.monotonic() + _ARCHIVE_S
                self._error = ""
            except (StoreError, LifecycleError) as error:
                if str(error) != self._error:
                    self._error = str(error)
                    log.error("the wallets' lives are not followed: %s", error)
                await self._clock.sleep(_RETRY_S)
            await self._clock.sleep(_LOOK_S)

    async def _observe(self) -> None:
        activated = await self.lifecycle.observe()
        if activated:
            await self._moved(activated, WalletState.ACTIVE)

    async def _archive_inactive(self) -> None:
        archived = await self.lifecycle.archive_inactive(self._policy)
        if archived:
            log.info("%d agents were archived: nothing moved", len(archived))
            await self._changed(False)

    # --- what desks see --------------------------------------------------------------------

    def jobs(self) -> tuple[JobView, ...]:
        """Creations under way."""
        return tuple(self._jobs.values())

    def changed_since(self, version: int) -> tuple[JobView, ...] | None:
        """The same if they changed after `version`, else None."""
        return self.jobs() if self._log.since(version) else None

    # --- what operators ask for ------------------------------------------------------------

    async def create(self, command: CreateWallets) -> Outcome:
        """Create agents. Raises CommandRefusedError, StoreError; then none was."""
        count = len(command.names) or command.count
        if self._held:
            raise CommandRefusedError(f"No agent can be created now: {self._held}")
        if command.names and command.count not in {0, len(command.names)}:
            raise CommandRefusedError("Give a number of agents or their names, not both.")
        if count > MOST_AT_ONCE:
            raise CommandRefusedError(
                f"{count:,} agents at once are too many; create at most {MOST_AT_ONCE:,}."
            )
        await self._refuse_without_seed()
        details: dict[str, Json] = {
            "count": count,
            "prefix": "" if command.names else command.prefix,
            "names": list(command.names),
            "chains": list(command.chains),
            "group": command.group,
            "tags": list(command.tags),
        }
        async with self._audited("wallets.create", f"{count} agents", details):
            created = await self._create(command)
            await self._changed(True)
        names = [wallet.agent for wallet in created]
        addresses = sum(len(wallet.addresses) for wallet in created)
        which = names[0] if count == 1 else f"{names[0]} to {names[-1]}"
        return Outcome(
            f"Created {count:,} agent{'s' * (count != 1)} ({which}) with {addresses:,} "
            f"address{'es' * (addresses != 1)}.",
            count,
            tuple(names),
        )

    async def _create(self, command: CreateWallets) -> list[AgentWallet]:
        number = next(self._numbers)
        job = JobView(command.job or str(number), "wallets", "deriving", self._clock.now_ms())

        def progress(done: int, total: int) -> None:
            stage = "deriving" if done < total else "registering"
            self._tell(
                number,
                msgspec.structs.replace(job, stage=stage, done=done, total=total, unit="addresses"),
            )

        try:
            if command.names:
                return await self.wallets.create_named(
                    command.names,
                    chains=command.chains,
                    group=command.group,
                    tags=command.tags,
                    progress=progress,
                )
            return await self.wallets.create(
                command.count,
                prefix=command.prefix,
                chains=command.chains,
                group=command.group,
                tags=command.tags,
                progress=progress,
            )
        finally:
            self._jobs.pop(number, None)  # none where nothing was derived
            self._log.mark("jobs")

    def _tell(self, number: int, job: JobView) -> None:
        self._jobs[number] = job
        self._log.mark("jobs")

    async def _refuse_without_seed(self) -> None:
        """No index is spent where no address could be derived as the settings say."""

        def look() -> None:
            self.vault.header()
            accounts = self.vault.accounts()
            if not follows(accounts, self.vault.templates):
                raise AccountsError(
                    "[wallets.derivation] names a path whose account key is not derived yet. Run "
                    "`bursar seed unlock` once, or set the path back. Nothing was created."
                )

        try:
            await asyncio.to_thread(look)
        except BursarError as error:
            raise CommandRefusedError(str(error)) from error

    async def change(self, command: ChangeWallets) -> Outcome:
        """Suspend, reactivate or archive agents. Raises CommandRefusedError, StoreError; then
        none was."""
        agents = tuple(dict.fromkeys(command.agents))
        walks = {
            Trigger.SUSPEND.value: (self.lifecycle.suspend, WalletState.SUSPENDED, "Suspended"),
            Trigger.REACTIVATE.value: (
                self.lifecycle.reactivate,
                WalletState.ACTIVE,
                "Reactivated",
            ),
            Trigger.ARCHIVE.value: (self.lifecycle.archive, WalletState.ARCHIVED, "Archived"),
        }
        if command.change not in walks:
            raise CommandRefusedError(f"A change is one of {', '.join(walks)}.")
        if not agents:
            raise CommandRefusedError("Name at least one agent.")
        if not command.reason.strip():
            raise CommandRefusedError("Say why: a reason is needed. Nothing was changed.")
        walk, state, word = walks[command.change]
        subject = agents[0] if len(agents) == 1 else f"{len(agents)} agents"
        details: dict[str, Json] = {"agents": list(agents), "reason": command.reason}
        async with self._audited(f"wallets.{command.change}", subject, details):
            await walk(agents, command.reason)
        if state is WalletState.ARCHIVED:
            await self._changed(False)
        else:
            await self._moved(agents, state)
        which = agents[0] if len(agents) == 1 else f"{len(agents):,} agents"
        return Outcome(f"{word} {which}.", len(agents), agents)

    async def verify_seed(self, words: Secret) -> Outcome:
        """Whether these words are the seed. Raises CommandRefusedError."""
        try:
            name = await self._seed_name()
            is_seed = await self.vault.verify(words)
            result = "they are" if is_seed else "they are not"
            await self._audit.append("seed.verify", _OPERATOR, name, {"result": result})
        except BursarError as error:
            raise CommandRefusedError(str(error)) from error
        if not is_seed:
            raise CommandRefusedError(
                f"These words are a seed, but not the one of this installation ({name})."
            )
        return Outcome(f"These words are the seed of this installation ({name}).", 1)

    async def unlock_seed(self, password: Secret) -> Outcome:
        """Open the vault; missing account keys are derived. Raises CommandRefusedError."""
        try:
            name = await self._seed_name()
            async with self._audited("seed.unlock", name, {}):
                await self.vault.unlock(opener(password))
        except BursarError as error:
            raise CommandRefusedError(str(error)) from error
        return Outcome(f"The vault opens, and the account keys beside it are those of {name}.", 1)

    async def _seed_name(self) -> str:
        header = await asyncio.to_thread(self.vault.header)
        return f"seed {header.fingerprint[:8]}"

    @asynccontextmanager
    async def _audited(
        self, action: str, subject: str, details: Mapping[str, Json]
    ) -> AsyncIterator[None]:
        """Recorded before it is done; what could then not be done is recorded as such. What the
        wallets room refuses is refused to the caller."""
        try:
            await self._audit.append(action, _OPERATOR, subject, details)
            try:
                yield
            except BursarError as error:
                failed: dict[str, Json] = {"error": str(error)}
                await self._audit.append(f"{action}.failed", _OPERATOR, subject, failed)
                raise
        except BursarError as error:
            if isinstance(error, StoreError) and not isinstance(error, _REFUSED):
                raise
            raise CommandRefusedError(str(error)) from error
