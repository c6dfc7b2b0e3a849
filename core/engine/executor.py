"""Carrying out commands: checked by `commands`, written by the store, one writer at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from core.api import (
    AcknowledgeAlert,
    BookUnexplained,
    ChangeWallets,
    Command,
    CommandRefusedError,
    CompleteSettlement,
    CreateBackup,
    CreateWallets,
    DrillBackup,
    FailSettlement,
    ImportTotals,
    ImportWallets,
    Outcome,
    PruneBackups,
    RecordMovements,
    RecordSettlement,
    RekeyBackups,
    ReleaseSettlements,
    RunDueBackups,
    SetLimits,
    SetThreshold,
    SilenceAlert,
    StartSettlement,
    SyncNow,
    TagAgents,
    VerifyBackup,
)
from core.balances.lane import CycleReport
from core.engine.alerting import Alerting
from core.engine.books import Books
from core.engine.commands import agents_to_tag, limit_to_set, wallets_to_add
from core.engine.settling import Settling
from core.events import EventRecord
from core.model import Clock
from core.store.protocol import DuplicateWalletError, Store

if TYPE_CHECKING:
    from core.engine.backing import Backing
    from core.engine.drilling import Drilling
    from core.engine.walleting import Walleting


class Executor:
    """`read_chains` reads chains now; `changed` is told the records of what was written, after
    it was; `release` lets settlements go on that a restore holds."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        chains: Sequence[str],
        read_chains: Callable[[Sequence[str]], Awaitable[Sequence[CycleReport]]],
        changed: Callable[[Sequence[EventRecord]], Awaitable[None]],
        books: Books,
        settling: Settling,
        alerting: Alerting,
        walleting: Walleting,
        backing: Backing,
        drilling: Drilling,
        release: Callable[[str], Awaitable[Outcome]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._chains = chains
        self._read_chains = read_chains
        self._changed = changed
        self._books = books
        self._settling = settling
        self._alerting = alerting
        self._walleting = walleting
        self._backing = backing
        self._drilling = drilling
        self._release = release
        self._writing = asyncio.Lock()

    async def execute(self, command: Command) -> Outcome:
        """Carry out a command. Raises CommandRefusedError and then nothing was changed."""
        try:
            if isinstance(command, SyncNow):
                return await self._sync(command)
            if isinstance(command, AcknowledgeAlert | SilenceAlert):
                return await self._alerting.execute(command)
            if isinstance(
                command, StartSettlement | CompleteSettlement | FailSettlement | SetThreshold
            ):
                await self._books.ready()
                return await self._settling.execute(command)
            if isinstance(command, CreateWallets):
                return await self._walleting.create(command)
            if isinstance(command, ChangeWallets):
                return await self._walleting.change(command)
            if isinstance(command, RecordMovements):
                return await self._books.move(command)
            if isinstance(command, BookUnexplained):
                return await self._books.explain(command)
            if isinstance(command, RecordSettlement):
                return await self._books.settle(command)
            if isinstance(command, ImportTotals):
                return await self._books.start_from(command)
            if isinstance(
                command, CreateBackup | RunDueBackups | VerifyBackup | PruneBackups | RekeyBackups
            ):
                return await self._backing.execute(command)
            if isinstance(command, DrillBackup):
                return await self._drilling.drill(command.id, None)
            if isinstance(command, ReleaseSettlements):
                return await self._release(command.reason)
            async with self._writing:
                if isinstance(command, ImportWallets):
                    return await self._import(command)
                if isinstance(command, TagAgents):
                    return await self._tag(command)
                return await self._limit(command)
        except DuplicateWalletError as error:
            raise CommandRefusedError(str(error)) from error

    async def _sync(self, command: SyncNow) -> Outcome:
        unknown = [name for name in command.chains if name not in self._chains]
        if unknown:
            raise CommandRefusedError(f"There is no chain {unknown[0]!r}.")
        reports = await self._read_chains(command.chains)
        read = sum(report.read for report in reports)
        changed = sum(report.changed for report in reports)
        failed = [f"{report.chain}: {report.error}" for report in reports if report.error]
        message = f"Read {read:,} balances, {changed:,} changed."
        if failed:
            message = f"{message} Not read: {'; '.join(failed)}."
        return Outcome(message, changed, tuple(failed))

    async def _import(self, command: ImportWallets) -> Outcome:
        now_ms = self._clock.now_ms()
        adding = wallets_to_add(command, await self._store.registry(), now_ms)
        records = await self._store.add_wallets(adding.wallets, adding.events, now_ms)
        await self._changed(records)
        count = len(adding.wallets)
        agents = len({wallet.agent for wallet in adding.wallets})
        return Outcome(
            f"Following {count} address{'es' if count != 1 else ''} of {agents} "
            f"agent{'s' if agents != 1 else ''}.",
            count,
        )

    async def _tag(self, command: TagAgents) -> Outcome:
        agents, events = agents_to_tag(command, await self._store.registry(), self._clock.now_ms())
        if agents:
            await self._changed(await self._store.label_agents(agents, events))
        return Outcome(f"Changed {len(agents)} of {len(set(command.agents))} agents.", len(agents))

    async def _limit(self, command: SetLimits) -> Outcome:
        limit, asset, events = limit_to_set(
            command, await self._store.registry(), self._clock.now_ms()
        )
        await self._changed(await self._store.set_limit(limit, events))
        verb = "Cleared" if limit.floor is None and limit.target is None else "Set"
        return Outcome(
            f"{verb} floor and target of {asset.symbol} on {asset.chain} for {limit.scope} "
            f"{limit.key}.",
            1,
        )
