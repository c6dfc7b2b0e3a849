"""The same ledger on a TigerBeetle cluster, through the official client.

The client is loaded when the ledger is opened, so nothing here needs it installed. Its two
traps are dealt with in one place, `_request`: a call that is cancelled leaks its packet while
the transfer still applies, so calls are never cancelled, only left; and a call to a missing
server waits for ever, so every call has a time-out of ours. What timed out stays in flight and
is the probe: until it comes back, the cluster counts as lost and callers are told at once.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from core.ledger.protocol import LedgerHealth
from core.ledger.types import (
    BATCH_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    AccountFilterFlags,
    AccountStatus,
    AccountUnknown,
    Balance,
    CreateResult,
    FieldOutOfRange,
    LedgerClosed,
    LedgerError,
    LedgerUnavailable,
    QueryFilter,
    QueryFilterFlags,
    TooManyEvents,
    Transfer,
    TransferFlags,
    TransferStatus,
)
from core.ledger.widths import check_account, check_transfer

_LOG = logging.getLogger(__name__)
_LINKED = int(TransferFlags.LINKED)
_FALLING = int(AccountFilterFlags.REVERSED)
_QUERY_FALLING = int(QueryFilterFlags.REVERSED)
_CLOSE_SECONDS = 5.0

Event = TypeVar("Event", Account, Transfer)
Filter = TypeVar("Filter", AccountFilter, QueryFilter)
# What the client takes and gives has the field names of our types; it is untyped up to the
# functions at the end, which make our types of it.
Rows = list[Any]
Call = Callable[[Sequence[object]], Coroutine[Any, Any, Rows]]


class TigerBeetleLedger:
    """A ledger kept by the cluster `cluster_id` at `replicas` (comma-separated host:port).

    A request that is not answered within `timeout_seconds` raises LedgerUnavailable: what it
    asked for may have been booked, and may be asked for again with the same ids.
    """

    def __init__(self, cluster_id: int, replicas: str, *, timeout_seconds: float = 8.0) -> None:
        self.cluster_id = cluster_id
        self.replicas = replicas
        self._timeout_seconds = timeout_seconds
        self._client: Any = None
        self._too_much: type[Exception] = LedgerError
        self._in_flight: set[asyncio.Task[Rows]] = set()
        self._overdue: set[asyncio.Task[Rows]] = set()
        self._limits = {"create": BATCH_MAX, "lookup": BATCH_MAX, "query": BATCH_MAX}
        self._requests = 0

    @property
    def backend(self) -> str:
        """What it is, as the start-up message says it."""
        return f"TigerBeetle (cluster: {self.cluster_id}, replicas: {self.replicas})"

    def health(self) -> LedgerHealth:
        """How it is, without asking it anything."""
        lost = bool(self._overdue)
        return LedgerHealth(
            backend=self.backend,
            ok=not lost,
            reason=self._no_answer() if lost else "",
            commits=self._requests,
        )

    async def open(self) -> None:
        """Load the client and ask the cluster something. Raises LedgerError if the client is
        not installed or refuses the addresses, LedgerUnavailable if nobody answers."""
        if self._client is not None:
            return
        try:
            module: Any = importlib.import_module("tigerbeetle")
        except ImportError as error:
            raise LedgerError(
                "The TigerBeetle client is not installed; install bursar[tigerbeetle], or take"
                " TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS out of the configuration."
            ) from error
        self._too_much = module.TooMuchDataError
        try:
            self._client = module.ClientAsync(
                cluster_id=self.cluster_id, replica_addresses=self.replicas
            )
        except Exception as error:  # InitError is not exported, NativeError has no base
            raise LedgerError(
                f"The TigerBeetle client refuses the replicas {self.replicas!r}: {error!r}."
                " Write them as host:port, separated by commas."
            ) from error
        try:
            await self._request(self._client.lookup_accounts([1]))
        except LedgerUnavailable:
            await self.close()
            raise

    async def close(self) -> None:
        """Give up what is in flight and let go of the client; a second call does nothing."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()
                await asyncio.gather(*self._in_flight, return_exceptions=True)
        except (TimeoutError, AssertionError) as error:
            _LOG.warning("ledger: the TigerBeetle client did not close in order: %r", error)
        self._overdue.clear()

    # -- verbs

    async def create_accounts(self, batch: Sequence[Account]) -> list[CreateResult[AccountStatus]]:
        """One result per account, in order. A batch larger than the cluster takes is sent in
        parts that end where a chain does."""
        for index, account in enumerate(batch):
            check_account(account, index)
            if account.reserved:
                raise FieldOutOfRange(f"Account {account.id}: the client cannot send `reserved`.")
        rows = await self._create(batch, self._connected().create_accounts)
        return [CreateResult(r.timestamp, AccountStatus(int(r.status))) for r in rows]

    async def create_transfers(
        self, batch: Sequence[Transfer]
    ) -> list[CreateResult[TransferStatus]]:
        """One result per transfer, in order. A batch larger than the cluster takes is sent in
        parts that end where a chain does."""
        for index, transfer in enumerate(batch):
            check_transfer(transfer, index)
        rows = await self._create(batch, self._connected().create_transfers)
        return [CreateResult(r.timestamp, TransferStatus(int(r.status))) for r in rows]

    async def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """The accounts that exist, in the order asked."""
        return [_account(r) for r in await self._look_up(ids, self._connected().lookup_accounts)]

    async def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """The transfers that exist, in the order asked."""
        return [_transfer(r) for r in await self._look_up(ids, self._connected().lookup_transfers)]

    async def get_account_transfers(self, filter: AccountFilter) -> list[Transfer]:
        """Transfers that touched an account, by timestamp."""
        rows = await self._query(filter, self._connected().get_account_transfers, _FALLING)
        return [_transfer(r) for r in rows]

    async def get_account_balances(self, filter: AccountFilter) -> list[AccountBalance]:
        """Balances of a `history` account after each of its transfers."""
        rows = await self._query(filter, self._connected().get_account_balances, _FALLING)
        return [_balance(r) for r in rows]

    async def query_accounts(self, filter: QueryFilter) -> list[Account]:
        """Accounts that match every field set, by timestamp."""
        rows = await self._query(filter, self._connected().query_accounts, _QUERY_FALLING)
        return [_account(r) for r in rows]

    async def query_transfers(self, filter: QueryFilter) -> list[Transfer]:
        """Transfers that match every field set, by timestamp."""
        rows = await self._query(filter, self._connected().query_transfers, _QUERY_FALLING)
        return [_transfer(r) for r in rows]

    async def get_account_balance(self, id: int) -> Balance:
        """Posted debits, credits and credits - debits. Raises AccountUnknown."""
        found = await self.get_accounts_batch([id])
        if id not in found:
            raise AccountUnknown(f"The ledger holds no account {id}; create it before asking.")
        return found[id]

    async def get_accounts_batch(self, ids: Sequence[int]) -> dict[int, Balance]:
        """The same for any number of accounts; those that do not exist are left out."""
        return {
            a.id: Balance(a.debits_posted, a.credits_posted, a.credits_posted - a.debits_posted)
            for a in await self.lookup_accounts(ids)
        }

    # -- requests

    def _connected(self) -> Any:
        if self._client is None:
            raise LedgerClosed(f"{self.backend} is not open.")
        return self._client

    async def _create(self, batch: Sequence[Event], call: Call) -> Rows:
        rows: Rows = []
        while len(rows) < len(batch):
            part = _whole_chains(batch[len(rows) :], self._limits["create"])
            rows += await self._within("create", part, call) or []
        return rows

    async def _look_up(self, ids: Sequence[int], call: Call) -> Rows:
        rows: Rows = []
        asked = 0
        while asked < len(ids):
            part = ids[asked : asked + self._limits["lookup"]]
            found = await self._within("lookup", part, call)
            if found is not None:
                rows += found
                asked += len(part)
        return rows

    async def _query(
        self, f: Filter, call: Callable[[Filter], Coroutine[Any, Any, Rows]], backwards: int
    ) -> Rows:
        """All rows up to the filter's limit, page by page if the cluster's pages are smaller."""
        rows: Rows = []
        wanted = min(f.limit, BATCH_MAX)
        page = msgspec.structs.replace(f, flags=int(f.flags))
        while True:
            size = min(wanted - len(rows), self._limits["query"])
            page = msgspec.structs.replace(page, limit=size)
            try:
                found = await self._request(call(page))
            except self._too_much:
                self._learn("query", size)
                continue
            rows += found
            if not found or len(found) < size or len(rows) >= wanted:
                return rows
            last = found[-1].timestamp
            page = (
                msgspec.structs.replace(page, timestamp_max=last - 1)
                if f.flags & backwards
                else msgspec.structs.replace(page, timestamp_min=last + 1)
            )
            if page.timestamp_max and page.timestamp_min > page.timestamp_max:
                return rows

    async def _within(self, kind: str, part: Sequence[object], call: Call) -> Rows | None:
        """The answer, or None once a smaller limit was learnt: then ask for less."""
        try:
            return await self._request(call(list(part)))
        except self._too_much:
            self._learn(kind, len(part))
            return None

    def _learn(self, kind: str, refused: int) -> None:
        if refused <= 1:
            raise TooManyEvents(f"{self.backend} takes not even one event in a request.")
        self._limits[kind] = refused // 2
        _LOG.info("ledger: %s takes fewer than %d in a %s request", self.backend, refused, kind)

    async def _request(self, call: Coroutine[Any, Any, Rows]) -> Rows:
        if self._overdue:
            call.close()  # never begun
            raise LedgerUnavailable(self._no_answer())
        task = asyncio.create_task(call)
        self._requests += 1
        self._in_flight.add(task)
        task.add_done_callback(self._answered)
        # `wait` cancels nothing, neither when time is up nor when our caller is cancelled.
        done, _ = await asyncio.wait({task}, timeout=self._timeout_seconds)
        if not done:
            self._overdue.add(task)
            raise LedgerUnavailable(self._no_answer())
        error = task.exception()
        if error is None or isinstance(error, self._too_much):
            return task.result()
        raise LedgerUnavailable(
            f"{self.backend} ended the connection: {error}. Restart Bursar; if the client was"
            " evicted, look for too many clients or another release of the cluster."
        ) from error

    def _answered(self, task: asyncio.Task[Rows]) -> None:
        self._in_flight.discard(task)
        self._overdue.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that left will not ask for it

    def _no_answer(self) -> str:
        return (
            f"{self.backend} does not answer within {self._timeout_seconds:g} s. What was asked"
            " may have been booked; ask again with the same ids once the cluster is back."
        )


def _whole_chains(batch: Sequence[Event], limit: int) -> Sequence[Event]:
    """The longest start of a batch that fits and does not cut a linked chain. Raises
    TooManyEvents if one chain alone does not fit."""
    if len(batch) <= limit:
        return batch
    for size in _ends_of_chains(batch, limit):
        return batch[:size]
    raise TooManyEvents(
        f"A linked chain holds more than the {limit} events that one request takes."
    )


def _ends_of_chains(batch: Sequence[Event], limit: int) -> Iterator[int]:
    return (size for size in range(limit, 0, -1) if not batch[size - 1].flags & _LINKED)


def _account(r: Any) -> Account:
    return Account(
        r.id,
        r.debits_pending,
        r.debits_posted,
        r.credits_pending,
        r.credits_posted,
        r.user_data_128,
        r.user_data_64,
        r.user_data_32,
        r.ledger,
        r.code,
        int(r.flags),
        r.timestamp,
    )


def _transfer(r: Any) -> Transfer:
    return Transfer(
        r.id,
        r.debit_account_id,
        r.credit_account_id,
        r.amount,
        r.pending_id,
        r.user_data_128,
        r.user_data_64,
        r.user_data_32,
        r.timeout,
        r.ledger,
        r.code,
        int(r.flags),
        r.timestamp,
    )


def _balance(r: Any) -> AccountBalance:
    return AccountBalance(
        r.debits_pending, r.debits_posted, r.credits_pending, r.credits_posted, r.timestamp
    )
