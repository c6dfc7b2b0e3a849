"""A small registered fleet in a real database file, and one cycle of a worker as one call."""

from __future__ import annotations

from collections.abc import Sequence

from core.events import AgentBalanceChanged, Event, EventRecord
from core.model import Amount, BlockRef, ChainKind, Consistency
from core.store.protocol import Change, Failure, Lease, Mark, NewAsset, NewWallet, Sweep
from core.store.sqlite import SqliteStore

NOW = 1_800_000_000_000
INTERVAL = 30_000
LEASE = 120_000

ETH = NewAsset("base", "ETH", "Ether", 18)
USDC = NewAsset("base", "USDC", "USD Coin", 6, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")
XRP = NewAsset("xrpl", "XRP", "XRP", 6)
CHAINS = (("base", ChainKind.EVM), ("xrpl", ChainKind.XRPL))


def evm_address(number: int) -> str:
    return f"0x{number:040x}"


async def register(store: SqliteStore, agents: int, *, xrpl: bool = False) -> None:
    """`agents` agents with ETH and USDC on base and, if asked, XRP."""
    await store.put_registry(CHAINS, (ETH, USDC, XRP))
    wallets = [NewWallet(f"agent-{i}", "base", evm_address(i)) for i in range(agents)]
    if xrpl:
        wallets += [NewWallet(f"agent-{i}", "xrpl", f"rAddress{i}") for i in range(agents)]
    await store.add_wallets(wallets, (), NOW - 1)


async def claim(
    store: SqliteStore,
    *,
    worker: str = "w",
    now_ms: int = NOW,
    chain: str = "base",
    limit: int | None = None,
    lease_ms: int = LEASE,
) -> Lease | None:
    return await store.claim(
        chain,
        worker,
        now_ms=now_ms,
        due_before_ms=now_ms - INTERVAL // 2,
        lease_ms=lease_ms,
        limit=limit,
    )


async def leased(store: SqliteStore, **how: object) -> Lease:
    lease = await claim(store, **how)  # type: ignore[arg-type]  # passed on as given
    assert lease is not None
    return lease


def sweep(
    lease: Lease,
    amounts: dict[int, int] | None = None,
    *,
    time_ms: int = NOW,
    block: int = 100,
    failures: dict[int, str] | None = None,
    marks: Sequence[Mark] = (),
    forked_below: int | None = None,
) -> Sweep:
    return Sweep(
        lease=lease,
        time_ms=time_ms,
        block=BlockRef(block, f"0x{block:064x}", time_ms),
        consistency=Consistency.PINNED,
        first_block=block,
        endpoint="http://node",
        seconds=0.25,
        changes=[Change(account, amount) for account, amount in (amounts or {}).items()],
        marks=marks,
        failures=[Failure(account, reason) for account, reason in (failures or {}).items()],
        forked_below=forked_below,
    )


async def cycle(
    store: SqliteStore,
    amounts: dict[int, int] | None = None,
    *,
    time_ms: int = NOW,
    block: int = 100,
    failures: dict[int, str] | None = None,
    marks: Sequence[Mark] = (),
    forked_below: int | None = None,
    events: Sequence[Event] = (),
) -> list[EventRecord]:
    """Claim the chain `base` and record what is given for it."""
    lease = await leased(store, now_ms=time_ms)
    reading = sweep(
        lease,
        amounts,
        time_ms=time_ms,
        block=block,
        failures=failures,
        marks=marks,
        forked_below=forked_below,
    )
    return await store.record(reading, events)


def changed(
    agent: str, old: int, new: int, *, block: int = 100, time_ms: int = NOW, chain: str = "base"
) -> AgentBalanceChanged:
    return AgentBalanceChanged(
        timestamp=time_ms,
        agent_id=agent,
        chain=chain,
        token="ETH",
        contract=None,
        old_balance=Amount(old),
        new_balance=Amount(new),
        change=Amount(new - old),
        block=block,
        decimals=18,
    )
