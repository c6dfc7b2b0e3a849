"""The life of an agent's wallet: a table of states, one walker, and who walks it.

Funding and inactivity are noticed from what the store already holds: pending agents with a
balance, and the balance changes in the outbox, counted exactly once. Every change of state is one
transaction with its event. What is polled follows from the state and is the store's to know.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from core.events import (
    AgentBalanceChanged,
    AgentBalanceReverted,
    AgentWalletStateChanged,
    Bus,
    Event,
    EventRecord,
)
from core.model import BursarError, Clock, NoWallet, WalletState
from core.store.wallet_protocol import (
    Activity,
    LifecycleRecord,
    StateChange,
    StateMovedError,
    WalletStore,
)

READER: Final = "lifecycle"
_BATCH: Final = 2_000
_LONGEST_REASON: Final = 200
_DAY_MS: Final = 86_400_000
_CHANGES: Final = (AgentBalanceChanged.TYPE, AgentBalanceReverted.TYPE)
_log = logging.getLogger("bursar.wallets.lifecycle")


class LifecycleError(BursarError):
    """A change of state that the table does not have; nothing was changed."""


class Trigger(StrEnum):
    """What may move a wallet from one state to another."""

    FUNDED = "funded"
    SUSPEND = "suspend"
    REACTIVATE = "reactivate"
    ARCHIVE = "archive"


# The whole life of a wallet. A wallet is born PENDING and becomes ACTIVE when a chain first states
# a balance above nothing; it never goes back, whatever is spent. An operator takes an agent out of
# service and back (SUSPENDED still has its balances read). ARCHIVED is for good: nothing leads out
# of it and nothing is read any more, so that a name never means two wallets. A PENDING wallet
# cannot be archived: somebody may be sending to its address right now, and nobody would see it.
TRANSITIONS: Final[Mapping[WalletState, Mapping[Trigger, WalletState]]] = MappingProxyType(
    {
        WalletState.PENDING: {
            Trigger.FUNDED: WalletState.ACTIVE,
        },
        WalletState.ACTIVE: {
            Trigger.SUSPEND: WalletState.SUSPENDED,
            Trigger.ARCHIVE: WalletState.ARCHIVED,
        },
        WalletState.SUSPENDED: {
            Trigger.REACTIVATE: WalletState.ACTIVE,
            Trigger.ARCHIVE: WalletState.ARCHIVED,
        },
        WalletState.ARCHIVED: {},
    }
)


def step(agent: str, state: WalletState, trigger: Trigger) -> WalletState:
    """The state that `trigger` leads to. Raises LifecycleError where the table has none."""
    exits = TRANSITIONS[state]
    if trigger not in exits:
        possible = ", ".join(exits) or "nothing: that is final"
        raise LifecycleError(
            f"{agent} is {state}: `{trigger}` is not possible, only {possible}. "
            "Nothing was changed."
        )
    return exits[trigger]


class ArchivePolicy(msgspec.Struct, frozen=True):
    """Whether agents that nothing moved for `inactivity_days` are archived by themselves."""

    enabled: bool = False
    inactivity_days: int = 90


def inactive(
    records: Sequence[LifecycleRecord], policy: ArchivePolicy, now_ms: int
) -> tuple[str, ...]:
    """The agents that are due for the archive: nothing moved and nobody touched their state for
    the time. Those that may not be archived yet are left out."""
    if not policy.enabled:
        return ()
    before_ms = now_ms - policy.inactivity_days * _DAY_MS
    return tuple(
        record.agent
        for record in records
        if Trigger.ARCHIVE in TRANSITIONS[record.state] and _last_sign_ms(record) < before_ms
    )


def activity_of(record: EventRecord) -> Activity | None:
    """What an event adds to an agent's record; None for one that is no balance change. One that
    was taken back is taken off again."""
    if record.type not in _CHANGES:
        return None
    event = msgspec.convert(record.payload, _Moved)
    moved = abs(int(event.change))
    is_taken_back = record.type == AgentBalanceReverted.TYPE
    return Activity(
        agent=event.agent_id,
        chain=event.chain,
        token=event.token,
        contract=event.contract,
        time_ms=0 if is_taken_back else record.time_ms,
        transactions=-1 if is_taken_back else 1,
        amount=-moved if is_taken_back else moved,
    )


class Lifecycle:
    """Walks the table for operators and for what happens on the chains."""

    def __init__(self, store: WalletStore, clock: Clock, bus: Bus) -> None:
        self._store = store
        self._clock = clock
        self._bus = bus

    async def suspend(self, agents: Sequence[str], reason: str = "") -> None:
        """Take agents out of service, all or none. Raises NoWallet, LifecycleError, StoreError."""
        await self._change(agents, Trigger.SUSPEND, reason)

    async def reactivate(self, agents: Sequence[str], reason: str = "") -> None:
        """Put suspended agents back, all or none. Raises as `suspend`."""
        await self._change(agents, Trigger.REACTIVATE, reason)

    async def archive(self, agents: Sequence[str], reason: str = "") -> None:
        """Archive agents for good, all or none. Raises as `suspend`."""
        await self._change(agents, Trigger.ARCHIVE, reason)

    async def observe(self) -> tuple[str, ...]:
        """Count what moved since the last call and activate who was funded; the agents that
        became ACTIVE. Raises StoreError."""
        while await self._count_activity():
            pass
        while pending := await self._store.funded_pending():
            try:
                await self._change(pending, Trigger.FUNDED, "first funded")
            except (LifecycleError, StateMovedError) as error:
                _log.info("another engine activated first, looking again: %s", error)
            else:
                return tuple(pending)
        return ()

    async def archive_inactive(self, policy: ArchivePolicy) -> tuple[str, ...]:
        """Archive who is due; those agents. Raises StoreError."""
        if not policy.enabled:
            return ()
        records = await self._store.lifecycle_records()
        due = inactive(records, policy, self._clock.now_ms())
        await self._change(due, Trigger.ARCHIVE, f"inactive for {policy.inactivity_days} days")
        return due

    async def get_all_records(self) -> list[LifecycleRecord]:
        """Every agent's record, by name."""
        return await self._store.lifecycle_records()

    async def import_lifecycle_record(self, record: LifecycleRecord) -> None:
        """Write a record from elsewhere over an agent's own, its state included. Raises NoWallet,
        StoreError, and LifecycleError where an archived agent would come back."""
        present = await self._record(record.agent)
        if present.state is WalletState.ARCHIVED is not record.state:
            raise LifecycleError(
                f"{record.agent} is ARCHIVED, which is final; its record was not replaced."
            )
        events = []
        if present.state is not record.state:
            events.append(self._event(record.agent, present.state, record.state, "imported"))
        self._publish(await self._store.put_lifecycle_record(record, events))

    async def _change(self, agents: Sequence[str], trigger: Trigger, reason: str) -> None:
        if len(reason) > _LONGEST_REASON or not reason.isprintable():
            raise LifecycleError(
                f"A reason is at most {_LONGEST_REASON} printable characters; nothing was changed."
            )
        now_ms = self._clock.now_ms()
        changes = [
            StateChange(agent, record.state, step(agent, record.state, trigger), now_ms, reason)
            for agent, record in (await self._records(agents)).items()
        ]
        if not changes:
            return
        events = [self._event(c.agent, c.old, c.new, reason) for c in changes]
        self._publish(await self._store.change_states(changes, events))
        for change in changes:
            _log.info(
                "%s: %s to %s", change.agent, change.old, change.new, extra={"agent": change.agent}
            )

    async def _records(self, agents: Sequence[str]) -> dict[str, LifecycleRecord]:
        if len(agents) == 1:
            return {agents[0]: await self._record(agents[0])}
        known = {record.agent: record for record in await self._store.lifecycle_records()}
        unknown = next((agent for agent in agents if agent not in known), None)
        if unknown is not None:
            raise NoWallet(f"No wallet for agent {unknown}; nothing was changed.")
        return {agent: known[agent] for agent in agents}

    async def _record(self, agent: str) -> LifecycleRecord:
        record = await self._store.lifecycle_record(agent)
        if record is None:
            raise NoWallet(f"No wallet for agent {agent}; nothing was changed.")
        return record

    async def _count_activity(self) -> bool:
        """One batch of the outbox; whether there may be more."""
        after = await self._store.cursor(READER)
        newest = await self._store.last_seq()
        records = await self._store.find_events(after_seq=after, limit=_BATCH, types=_CHANGES)
        is_full = len(records) == _BATCH
        seq = records[-1].seq if is_full else max([newest, *(r.seq for r in records[-1:])])
        if seq == after:
            return False
        activities = [a for a in map(activity_of, records) if a is not None]
        counted = await self._store.record_activity(activities, READER, after, seq)
        return is_full or not counted

    def _event(self, agent: str, old: WalletState, new: WalletState, reason: str) -> Event:
        return AgentWalletStateChanged(
            timestamp=self._clock.now_ms(),
            agent_id=agent,
            old_state=old.value,
            new_state=new.value,
            reason=reason,
        )

    def _publish(self, records: Sequence[EventRecord]) -> None:
        if records:
            self._bus.publish(records[-1].seq)


class _Moved(msgspec.Struct, frozen=True, rename="camel"):
    """The payload of a balance change as the outbox keeps it, as far as it is needed here."""

    agent_id: str
    chain: str
    token: str
    contract: str | None
    change: str


def _last_sign_ms(record: LifecycleRecord) -> int:
    return max(record.created_ms, record.activated_ms, record.last_activity_ms, record.suspended_ms)
