"""The store on SQLite: every method of the protocol as one transaction over one file.

Here is only which statements make up a method; the statements live by subject in registry,
balances, history, settlements, alerts and events, the threads and the errors in connection. One
engine owns the file, so a lease is a row per chain. Files are 0600.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from core.events import Event, EventRecord
from core.model import Agent, ChainKind
from core.store import alerts as alerting
from core.store import balances as current
from core.store import events as outbox
from core.store import history as past
from core.store import registry as registered
from core.store import settlements as settling
from core.store import wallets as owned
from core.store.connection import Database, files_of
from core.store.protocol import (
    AlertRow,
    Failure,
    HistoryRow,
    Lease,
    Limit,
    NewAsset,
    NewWallet,
    Registry,
    SettlementRow,
    StandingAlerts,
    StoredBalance,
    StoredThreshold,
    Sweep,
)
from core.store.wallet_protocol import Activity, AgentWallet, LifecycleRecord, StateChange

_GAP_INTERVALS = 3


class SqliteStore:
    """A `core.store.protocol.Store` and `wallet_protocol.WalletStore` in the file at `path`.

    `node_id` is written into every event. `interval_ms` is the time between readings, which
    says how long a silence is a gap. `busy_ms` is how long another process's write is waited
    for. What the methods do is said in the protocol.
    """

    def __init__(
        self,
        path: Path | str,
        node_id: str,
        *,
        interval_ms: int = 30_000,
        busy_ms: int = 5_000,
    ) -> None:
        self.path = Path(path)
        self._node_id = node_id
        self._interval_ms = interval_ms
        self._database = Database(self.path, busy_ms=busy_ms)
        self._whole_chains: current.WholeChains = {}

    async def open_read_only(self) -> None:
        """Open an existing database to migrate nothing and write nothing, beside a running
        engine or without one. Raises StoreError, also from every method that writes."""
        await self._database.open_read_only()

    async def open(self) -> None:
        self._whole_chains.clear()
        await self._database.open()

    async def close(self) -> None:
        await self._database.close()

    async def size_bytes(self) -> int:
        def measure(_: sqlite3.Connection) -> int:
            return sum(file.stat().st_size for file in files_of(self.path) if file.exists())

        return await self._database.read("measure the database", measure)

    # registry

    async def put_registry(
        self, chains: Sequence[tuple[str, ChainKind]], assets: Sequence[NewAsset]
    ) -> None:
        await self._database.write(
            "write chains and assets", lambda db: registered.put_registry(db, chains, assets)
        )

    async def registry(self) -> Registry:
        return await self._database.read_all("read the registry", registered.registry)

    async def add_wallets(
        self, wallets: Sequence[NewWallet], events: Sequence[Event], now_ms: int
    ) -> list[EventRecord]:
        return await self._write_fact(
            "register wallets", lambda db: registered.add_wallets(db, wallets, now_ms), events
        )

    async def label_agents(
        self, agents: Sequence[Agent], events: Sequence[Event]
    ) -> list[EventRecord]:
        return await self._write_fact(
            "label agents", lambda db: registered.label_agents(db, agents), events
        )

    async def set_limit(self, limit: Limit, events: Sequence[Event]) -> list[EventRecord]:
        return await self._write_fact(
            f"set a limit of {limit.scope} {limit.key}",
            lambda db: registered.set_limit(db, limit),
            events,
        )

    # wallets

    async def take_indices(self, fingerprint: str, count: int) -> int:
        return await self._database.write(
            "reserve derivation indices", lambda db: owned.take_indices(db, fingerprint, count)
        )

    async def skip_indices(self, fingerprint: str, below: int) -> None:
        await self._database.write(
            "skip derivation indices", lambda db: owned.skip_indices(db, fingerprint, below)
        )

    async def next_index(self, fingerprint: str) -> int:
        return await self._database.read(
            "read derivation indices", lambda db: owned.next_index(db, fingerprint)
        )

    async def create_wallets(
        self, wallets: Sequence[AgentWallet], events: Sequence[Event]
    ) -> list[EventRecord]:
        return await self._write_fact(
            "create wallets", lambda db: owned.create_wallets(db, wallets), events
        )

    async def wallets(self) -> list[AgentWallet]:
        return await self._database.read("read wallets", owned.wallets)

    async def wallet(self, agent: str) -> AgentWallet | None:
        return await self._database.read("read a wallet", lambda db: owned.wallet(db, agent))

    async def wallets_by_address(self, address: str, folded: str) -> list[AgentWallet]:
        return await self._database.read(
            "read wallets", lambda db: owned.wallets_by_address(db, address, folded)
        )

    async def lifecycle_records(self) -> list[LifecycleRecord]:
        return await self._database.read("read lifecycle records", owned.lifecycle_records)

    async def lifecycle_record(self, agent: str) -> LifecycleRecord | None:
        return await self._database.read(
            "read a lifecycle record", lambda db: owned.lifecycle_record(db, agent)
        )

    async def put_lifecycle_record(
        self, record: LifecycleRecord, events: Sequence[Event]
    ) -> list[EventRecord]:
        return await self._write_fact(
            "write a lifecycle record", lambda db: owned.put_lifecycle_record(db, record), events
        )

    async def change_states(
        self, changes: Sequence[StateChange], events: Sequence[Event]
    ) -> list[EventRecord]:
        return await self._write_fact(
            "change wallet states", lambda db: owned.change_states(db, changes), events
        )

    async def record_activity(
        self, activities: Sequence[Activity], reader: str, after_seq: int, seq: int
    ) -> bool:
        return await self._database.write(
            "record activity",
            lambda db: owned.record_activity(db, activities, reader, after_seq, seq),
        )

    async def funded_pending(self) -> list[str]:
        return await self._database.read("read pending wallets", owned.funded_pending)

    # balances

    async def balances(self) -> list[StoredBalance]:
        return await self._database.read_all("read balances", current.balances)

    async def claim(
        self,
        chain: str,
        worker: str,
        *,
        now_ms: int,
        due_before_ms: int,
        lease_ms: int,
        limit: int | None,
    ) -> Lease | None:
        return await self._database.write(
            f"lease chain {chain}",
            lambda db: current.claim(
                db,
                self._whole_chains,
                chain,
                worker,
                now_ms=now_ms,
                due_before_ms=due_before_ms,
                lease_ms=lease_ms,
                limit=limit,
            ),
        )

    async def record(self, sweep: Sweep, events: Sequence[Event]) -> list[EventRecord]:
        return await self._write_fact(
            f"record a reading of chain {sweep.lease.chain}",
            lambda db: current.record(db, sweep),
            events,
        )

    async def release(
        self, lease: Lease, failures: Sequence[Failure], events: Sequence[Event], now_ms: int
    ) -> list[EventRecord]:
        return await self._write_fact(
            f"release chain {lease.chain}",
            lambda db: current.release(db, lease, failures, now_ms),
            events,
        )

    # history

    async def history(self, account: int, start_ms: int, end_ms: int) -> list[HistoryRow]:
        return await self._database.read(
            "read history", lambda db: past.history(db, account, start_ms, end_ms)
        )

    async def recent_history(self, since_ms: int) -> list[HistoryRow]:
        return await self._database.read(
            "read history", lambda db: past.recent_history(db, since_ms)
        )

    async def put_history(self, rows: Sequence[HistoryRow]) -> None:
        await self._database.write("import history", lambda db: past.put_history(db, rows))

    async def gaps(self, chain: str, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        longest_ms = _GAP_INTERVALS * self._interval_ms
        return await self._database.read(
            "read polls", lambda db: past.gaps(db, chain, start_ms, end_ms, longest_ms)
        )

    async def prune(
        self,
        *,
        history_before_ms: int,
        thin_before_ms: int,
        events_before_ms: int,
        polls_before_ms: int,
    ) -> int:
        return await self._database.write(
            "prune",
            lambda db: (
                past.prune_history(db, history_before_ms, thin_before_ms)
                + outbox.prune_events(db, events_before_ms)
                + alerting.prune_alerts(db, events_before_ms)
                + past.prune_polls(db, polls_before_ms)
            ),
        )

    # events

    async def append(self, events: Sequence[Event]) -> list[EventRecord]:
        return await self._write_fact("store events", lambda db: None, events)

    async def last_seq(self) -> int:
        return await self._database.read("read events", outbox.last_seq)

    async def events_after(self, seq: int, limit: int) -> list[EventRecord]:
        return await self.find_events(after_seq=seq, limit=limit)

    async def find_events(
        self,
        *,
        after_seq: int = 0,
        limit: int = 500,
        newest: bool = False,
        types: Sequence[str] = (),
        subject: str = "",
        text: str = "",
        since_ms: int = 0,
        until_ms: int = 0,
    ) -> list[EventRecord]:
        return await self._database.read(
            "read events",
            lambda db: outbox.find_events(
                db,
                after_seq=after_seq,
                limit=limit,
                newest=newest,
                types=types,
                subject=subject,
                text=text,
                since_ms=since_ms,
                until_ms=until_ms,
            ),
        )

    async def balance_events_above(self, chain: str, block: int) -> list[EventRecord]:
        return await self._database.read(
            "read events", lambda db: outbox.balance_events_above(db, chain, block)
        )

    async def cursor(self, reader: str) -> int:
        return await self._database.read("read a cursor", lambda db: outbox.cursor(db, reader))

    async def set_cursor(self, reader: str, seq: int) -> None:
        await self._database.write("write a cursor", lambda db: outbox.set_cursor(db, reader, seq))

    # names of the ledger's pairs

    async def pairs(self) -> list[tuple[str, str]]:
        return await self._database.read("read the pairs", outbox.pairs)

    async def add_pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        await self._database.write("write the pairs", lambda db: outbox.add_pairs(db, pairs))

    # settlements

    async def settlements(
        self, only: Sequence[tuple[str, str, str]] | None = None
    ) -> list[SettlementRow]:
        return await self._database.read(
            "read settlements", lambda db: settling.settlements(db, only)
        )

    async def change_settlements(
        self, changes: Sequence[tuple[SettlementRow, Sequence[Event]]]
    ) -> list[list[EventRecord] | None]:
        def write(db: sqlite3.Connection) -> list[list[EventRecord] | None]:
            return [
                outbox.insert_events(db, self._node_id, events)
                if settling.change_settlement(db, row)
                else None
                for row, events in changes
            ]

        return await self._database.write("write settlements", write)

    async def thresholds(self) -> list[StoredThreshold]:
        return await self._database.read("read settlement thresholds", settling.thresholds)

    async def set_threshold(
        self, threshold: StoredThreshold, events: Sequence[Event]
    ) -> list[EventRecord]:
        return await self._write_fact(
            "set a settlement threshold",
            lambda db: settling.set_threshold(db, threshold),
            events,
        )

    # alerts

    async def alerts(self, now_ms: int) -> StandingAlerts:
        return await self._database.read("read alerts", lambda db: alerting.alerts(db, now_ms))

    async def change_alerts(
        self, changes: Sequence[tuple[AlertRow, Sequence[Event]]]
    ) -> list[list[EventRecord] | None]:
        def write(db: sqlite3.Connection) -> list[list[EventRecord] | None]:
            return [
                outbox.insert_events(db, self._node_id, events)
                if alerting.change_alert(db, row)
                else None
                for row, events in changes
            ]

        return await self._database.write("write alerts", write)

    # small memory

    async def recall(self, key: str) -> str | None:
        return await self._database.read("read memory", lambda db: outbox.recall(db, key))

    async def remember(self, key: str, value: str) -> None:
        await self._database.write("write memory", lambda db: outbox.remember(db, key, value))

    async def _write_fact(
        self, what: str, write: Callable[[sqlite3.Connection], None], events: Sequence[Event]
    ) -> list[EventRecord]:
        """A fact and the events that report it, in one transaction."""

        def both(db: sqlite3.Connection) -> list[EventRecord]:
            write(db)
            return outbox.insert_events(db, self._node_id, events)

        return await self._database.write(what, both)
