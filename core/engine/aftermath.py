"""What is left to do after a restore: ask the chains about every restored balance, and see that no
new agent gets an address that is funded already.

Goes on where a stop left it, and never holds anything up but the creation of agents. It has chain
readers of its own, because the sync worker's answer one question at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from core.api import ReconciledView, ReconciliationView
from core.backup import reconciling
from core.backup.finishing import INDICES
from core.backup.reconciling import Verdict
from core.chains.protocol import ChainReader, ChainUnreachableError
from core.events import Event, WalletBalanceMismatch
from core.model import Amount, Asset, BursarError, ChainKind, Clock, Request
from core.store.protocol import Registry
from core.store.wallet_protocol import WalletStore
from core.wallets.accounts import Accounts
from core.wallets.derivation import Deriver, batch_derive

log = logging.getLogger("bursar.restore")

AHEAD = 1_000
_SLICE = 250
_AGAIN_S = 30.0
_DETAILS = {"component": "restore"}


class Looked(msgspec.Struct, frozen=True, rename="camel"):
    """How far indices beyond the restored counter were looked at: from `first` to below `next`;
    `funded` are those with a balance on any chain."""

    first: int
    next: int
    funded: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        """Where looking ends: a thousand beyond the last that is in use."""
        return max((self.first, *(index + 1 for index in self.funded))) + AHEAD


class Aftermath:
    """Of the generation in that folder. `readers` builds a chain's reader; `accounts` reads the
    account keys (blocking); `hold` is told why agents cannot be created, "" once they can."""

    def __init__(
        self,
        generation: Path,
        store: WalletStore,
        clock: Clock,
        readers: Mapping[str, Callable[[], ChainReader]],
        accounts: Callable[[], Accounts],
        hold: Callable[[str], None],
        publish: Callable[[Sequence[Event]], Awaitable[None]],
    ) -> None:
        self._generation = generation
        self._store = store
        self._clock = clock
        self._readers = readers
        self._accounts = accounts
        self._hold = hold
        self._publish = publish
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Hold new agents back where indices were not looked at yet. Raises StoreError."""
        if (looked := await self._looked()) is not None:
            self._hold(_waiting(looked, ""))

    async def run(self) -> None:
        """Do what is left, again and again while a chain does not answer; until cancelled."""
        while not await self.once():
            await self._clock.sleep(_AGAIN_S)

    async def once(self) -> bool:
        """One attempt at everything; True when nothing is left."""
        try:
            async with self._turn, AsyncExitStack() as stack:
                opened: dict[str, ChainReader] = {}
                for name, build in self._readers.items():
                    opened[name] = build()
                    stack.push_async_callback(opened[name].close)
                    await opened[name].open()
                has_looked = await self._look_ahead(opened)
                return await self._reconcile(opened) and has_looked
        except BursarError as error:
            log.error("after the restore: %s", error, extra=_DETAILS)
            return False

    # --- balances --------------------------------------------------------------------------

    async def _reconcile(self, readers: Mapping[str, ChainReader]) -> bool:
        if not await asyncio.to_thread(reconciling.is_begun, self._generation):
            return True
        left = await asyncio.to_thread(reconciling.open_chains, self._generation)
        if left:
            registry = await self._store.registry()
            results = await asyncio.gather(
                *(self._reconcile_chain(chain, readers.get(chain), registry) for chain in left)
            )
            return all(results)
        return True

    async def _reconcile_chain(
        self, chain: str, reader: ChainReader | None, registry: Registry
    ) -> bool:
        """Ask one chain for all of its balances at one block; True if every one was read."""
        expected = await asyncio.to_thread(reconciling.still_open, self._generation, chain)
        assets = {asset.id: asset for asset in registry.assets}
        accounts = {a.id: a for a in registry.accounts if a.chain == chain}
        known = [row for row in expected if row.account in accounts]
        actual: list[int | str]
        block = 0
        try:
            if reader is None:
                raise ChainUnreachableError("the chain is not configured here")
            requests = [
                Request(accounts[row.account].address, assets[accounts[row.account].asset])
                for row in known
            ]
            reading = await reader.read(requests)
            block = reading.block.number
            actual = [
                amount if amount is not None else reading.reasons.get(at, "not read")
                for at, amount in enumerate(reading.amounts)
            ]
        except ChainUnreachableError as error:
            actual = [str(error)] * len(known)
        gone = [row for row in expected if row.account not in accounts]
        compared = [
            *reconciling.compare(known, actual, block),
            *reconciling.compare(gone, ["it is not followed any more"] * len(gone), 0),
        ]
        await asyncio.to_thread(
            reconciling.record, self._generation, compared, self._clock.now_ms()
        )
        by_account = {row.account: row.amount for row in expected}
        events: list[Event] = []
        for found in compared:
            if found.verdict is Verdict.DRIFT and found.actual is not None:
                asset = assets[accounts[found.account].asset]
                events.append(
                    WalletBalanceMismatch(
                        timestamp=self._clock.now_ms(),
                        agent_id=accounts[found.account].agent,
                        chain=chain,
                        token=asset.contract or asset.symbol,
                        expected_balance=Amount(by_account[found.account]),
                        actual_balance=Amount(found.actual),
                        block=block,
                    )
                )
        if events:
            await self._publish(events)
        return all(row.verdict is not Verdict.UNKNOWN for row in compared[: len(known)])

    async def view(self) -> ReconciliationView | None:
        """How far it is; None where nothing was restored. Raises StoreError."""
        if not await asyncio.to_thread(reconciling.is_begun, self._generation):
            return None
        standing = await asyncio.to_thread(reconciling.standing, self._generation)
        registry = await self._store.registry()
        accounts = {account.id: account for account in registry.accounts}
        assets = {asset.id: asset for asset in registry.assets}
        rows = []
        for expected, found in standing.differing:
            account = accounts.get(expected.account)
            asset = assets[account.asset] if account else None
            rows.append(
                ReconciledView(
                    agent=account.agent if account else "",
                    chain=account.chain if account else "",
                    token=asset.symbol if asset else "",
                    decimals=asset.decimals if asset else 0,
                    state=found.verdict.value,
                    expected=Amount(expected.amount),
                    actual=None if found.actual is None else Amount(found.actual),
                    block=found.block,
                    reason=found.reason,
                )
            )
        counts = standing.counts
        return ReconciliationView(
            backup=standing.backup,
            started_ms=standing.started_ms,
            matched=counts.get(Verdict.MATCH, 0),
            drifted=counts.get(Verdict.DRIFT, 0),
            unknown=counts.get(Verdict.UNKNOWN, 0),
            pending=counts.get(Verdict.PENDING, 0),
            ended_ms=standing.ended_ms,
            rows=tuple(rows),
        )

    # --- indices ---------------------------------------------------------------------------

    async def _looked(self) -> Looked | None:
        text = await self._store.recall(INDICES)
        return msgspec.json.decode(text, type=Looked) if text else None

    async def _look_ahead(self, readers: Mapping[str, ChainReader]) -> bool:
        looked = await self._looked()
        if looked is None:
            return True
        accounts = await asyncio.to_thread(self._accounts)
        registry = await self._store.registry()
        assets: dict[str, list[Asset]] = {}
        for asset in registry.assets:
            if asset.is_active and asset.chain in readers:
                assets.setdefault(asset.chain, []).append(asset)
        deriver = Deriver(accounts)
        while looked.next < looked.end:
            indices = range(looked.next, min(looked.next + _SLICE, looked.end))
            try:
                funded = await self._funded(deriver, readers, assets, indices)
            except ChainUnreachableError as error:
                self._hold(_waiting(looked, str(error)))
                return False
            looked = Looked(looked.first, indices[-1] + 1, (*looked.funded, *funded))
            await self._store.remember(INDICES, msgspec.json.encode(looked).decode())
            self._hold(_waiting(looked, ""))
        if looked.funded:
            below = max(looked.funded) + 1
            await self._store.skip_indices(accounts.fingerprint, below)
            log.warning(
                "indices %s hold funds and are no agent's in the backup; new agents begin at %d",
                ", ".join(map(str, looked.funded)),
                below,
                extra=_DETAILS,
            )
        await self._store.remember(INDICES, "")
        self._hold("")
        return True

    async def _funded(
        self,
        deriver: Deriver,
        readers: Mapping[str, ChainReader],
        assets: Mapping[str, list[Asset]],
        indices: range,
    ) -> list[int]:
        """Those of the indices that hold anything on any chain. Raises ChainUnreachableError."""
        found: set[int] = set()
        addresses: dict[ChainKind, list[str]] = {}
        for chain, of_chain in assets.items():
            reader = readers[chain]
            if reader.kind not in addresses:
                derived = await batch_derive(deriver, [reader.kind], indices)
                addresses[reader.kind] = [at.address for at in derived]
            requests = [
                Request(address, asset) for address in addresses[reader.kind] for asset in of_chain
            ]
            reading = await reader.read(requests)
            for at, amount in enumerate(reading.amounts):
                if amount is None:
                    raise ChainUnreachableError(
                        f"{chain}: {requests[at].address} was not read: "
                        f"{reading.reasons.get(at, 'no reason given')}"
                    )
                if amount:
                    found.add(indices[at // len(of_chain)])
        return sorted(found)


def _waiting(looked: Looked, trouble: str) -> str:
    """Why agents cannot be created, for the operator."""
    done = looked.next - looked.first
    reason = (
        "after a restore the next addresses are looked at for funds first, so that no agent gets "
        f"one that is in use ({done:,} of {looked.end - looked.first:,} done)."
    )
    return f"{reason} {trouble}" if trouble else reason
