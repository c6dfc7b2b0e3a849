"""A scripted engine: EngineApi over a fixed world and a clock that moves when a test says so.

The world is small but has every state a screen must show: three kinds of chains, every
severity, rows never read, rows that stopped being read, a stale chain, an endpoint in back-off,
wide characters, and names that try to be markup or a terminal escape. Nothing in it is random.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from functools import cache

import msgspec

from core.api import (
    AccountTotals,
    AcknowledgeAlert,
    AddressView,
    AlertView,
    AssetTotal,
    BackupsView,
    BackupView,
    BalanceView,
    BookUnexplained,
    ChainState,
    ChangeWallets,
    Command,
    CommandRefusedError,
    CompleteSettlement,
    CreateBackup,
    CustodyView,
    DrillBackup,
    EngineLostError,
    EngineState,
    EventQuery,
    FailSettlement,
    History,
    HistoryPoint,
    ImportTotals,
    ImportWallets,
    LedgerAwayError,
    LedgerView,
    Outcome,
    PacketOutcome,
    PacketStep,
    PeerView,
    PruneBackups,
    ReconciliationView,
    RecordMovements,
    RecordSettlement,
    ReleaseSettlements,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
    RunDueBackups,
    SetLimits,
    SetThreshold,
    SettlementHealth,
    SettlementPairView,
    SilenceAlert,
    StartSettlement,
    StatePatch,
    StoreHealth,
    SyncNow,
    TagAgents,
    TransferView,
    TrialView,
    Update,
    VerifyBackup,
    WalletView,
)
from core.events import EventRecord, Json
from core.model import (
    Agent,
    Amount,
    Asset,
    ChainKind,
    Consistency,
    EndpointHealth,
    EndpointState,
    NoWallet,
    Secret,
    Severity,
    WalletState,
)
from tests.desk import scripted_alerts, scripted_backups, scripted_ledger, scripted_settlement

NOW_MS = 1_795_176_251_000  # 2026-11-20T12:04:11Z
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

HOSTILE_AGENT = "[red]evil[/red]\x1b]52;c;ZXZpbA==\x07\u202egnp"
WIDE_AGENT = "代理-東京-01"

ASSETS = (
    Asset(1, "base", "ETH", "Ether", 18, floor=Amount(10**16), target=Amount(10**17)),
    Asset(
        2,
        "base",
        "USDC",
        "USD Coin",
        6,
        contract="0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        floor=Amount(50_000_000),
        target=Amount(200_000_000),
        price="1.00",
    ),
    Asset(3, "xrpl", "XRP", "XRP", 6, floor=Amount(20_000_000), target=Amount(100_000_000)),
    Asset(4, "tron", "TRX", "TRON", 6),
    Asset(
        5,
        "tron",
        "USDT",
        "Tether USD",
        6,
        contract="TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
        floor=Amount(25_000_000),
        target=Amount(150_000_000),
        price="1.00",
    ),
)
_BY_CHAIN = {"base": (1, 2), "xrpl": (3,), "tron": (4, 5)}


class ManualClock:
    """A clock that stands still until `advance`; sleepers wake in order of their time."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self._start_ms = now_ms
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now_ms(self) -> int:
        return self._start_ms + round(self._elapsed * 1000)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        self._sleepers.append((self._elapsed + seconds, woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        """Let that much time pass, waking every sleeper at its own moment."""
        until = self._elapsed + seconds
        while True:
            due = sorted(((at, e) for at, e in self._sleepers if at <= until), key=lambda s: s[0])
            if not due:
                break
            at, woken = due[0]
            self._sleepers.remove(due[0])
            self._elapsed = max(self._elapsed, at)
            woken.set()
            for _ in range(5):
                await asyncio.sleep(0)
        self._elapsed = until
        for _ in range(5):
            await asyncio.sleep(0)

    async def leap(self, seconds: float) -> None:
        """Let that much time pass at once: a sleeper that was due in it wakes late, and once."""
        self._elapsed += seconds
        await self.advance(0)


def address_of(chain: str, number: int) -> str:
    """A deterministic address in the chain's own shape (not a valid checksum)."""
    digits = f"{(number * 2654435761) % 2**64:016x}"
    if chain == "base":
        return "0x" + (digits * 3)[:40]
    if chain == "xrpl":
        return "r" + (digits.translate(str.maketrans("0l", "pL")) * 3)[:33]
    return "T" + (digits.upper().replace("0", "Y") * 3)[:33]


@cache
def agents() -> tuple[Agent, ...]:
    """Forty-eight agents of three groups; a wide and a hostile name among them."""
    found = []
    for number in range(1, 49):
        name = f"agent-{number:04d}"
        if number == 12:
            name = WIDE_AGENT
        elif number == 13:
            name = HOSTILE_AGENT
        state = {9: WalletState.SUSPENDED, 20: WalletState.PENDING}.get(number)
        found.append(
            Agent(
                name,
                group=("trading", "support", "research")[number % 3],
                tags=("canary",) if number % 10 == 0 else (),
                state=state or WalletState.ACTIVE,
                created_ms=NOW_MS - 40 * 24 * HOUR_MS,
            )
        )
    return tuple(found)


def _ordinary(account: int, agent: Agent, number: int, chain: str, asset: Asset) -> BalanceView:
    unit = 10**asset.decimals
    base = (asset.target or Amount(80 * unit)) * (3 + (number * 7) % 40) // 10
    drift = ((number * 13 + asset.id * 5) % 11 - 5) * base // 400
    moved = number % 3 == 0
    return BalanceView(
        account,
        agent.id,
        chain,
        asset.id,
        address_of(chain, number),
        amount=Amount(base + number * unit // 1000 + number),
        block={"base": 38_412_118, "xrpl": 96_204_771, "tron": 61_204_118}[chain],
        first_seen_ms=NOW_MS - 40 * 24 * HOUR_MS,
        changed_ms=NOW_MS - (4_000 if moved else 26 * MINUTE_MS),
        checked_ms=NOW_MS - (150_000 if chain == "tron" else 4_000),
        floor=asset.floor,
        target=asset.target,
        change_1h=Amount(drift) if moved else Amount(0),
        change_24h=Amount(drift * 9) if moved else Amount(0),
        runway_s=(60 + number * 7) * 3600 if moved and drift < 0 else None,
        runway_sure="fair" if moved and drift < 0 else "",
    )


@cache
def balances() -> tuple[BalanceView, ...]:
    """A row per agent and asset of its chain, with the troubles a desk exists to show."""
    rows: list[BalanceView] = []
    by_id = {asset.id: asset for asset in ASSETS}
    for number, agent in enumerate(agents(), 1):
        for chain in ("base", "tron", "xrpl")[number % 3 : number % 3 + 2]:
            for asset_id in _BY_CHAIN[chain]:
                row = _ordinary(len(rows) + 1, agent, number, chain, by_id[asset_id])
                rows.append(_troubled(row, number))
    return tuple(rows)


def _troubled(row: BalanceView, number: int) -> BalanceView:
    edit = msgspec.structs.replace
    if number == 6 and row.asset == 2:
        return edit(
            row,
            amount=Amount(0),
            change_1h=Amount(-12_400_000),
            runway_s=0,
            runway_sure="good",
            severity=Severity.PROBLEM,
            problem="empty",
        )
    if number == 31 and row.asset == 5:
        return edit(
            row,
            amount=Amount(12_440_000),
            change_1h=Amount(-3_200_000),
            runway_s=13_800,
            runway_sure="good",
            severity=Severity.WARNING,
            problem="below floor 25 USDT",
        )
    if number == 18 and row.asset == 1:  # never read
        return edit(
            row,
            amount=None,
            block=0,
            checked_ms=0,
            changed_ms=0,
            change_1h=None,
            change_24h=None,
            runway_s=None,
            runway_sure="",
            error="execution reverted without a reason",
            error_ms=NOW_MS - 5_000,
            errors=12,
            severity=Severity.PROBLEM,
            problem="never read: execution reverted without a reason",
        )
    if number == 22 and row.asset == 4:  # reads began to fail
        return edit(
            row,
            error="endpoint B: 429 too many requests",
            error_ms=NOW_MS - 20_000,
            errors=3,
            severity=Severity.WARNING,
            problem="not read for 2m: 429 too many requests",
        )
    if number == 24 and row.asset == 2:  # as large as uint256 allows
        return edit(row, amount=Amount(2**256 - 1), change_1h=None, change_24h=None)
    if number == 26 and row.asset == 3:
        return edit(
            row,
            amount=Amount(0),
            mark="not activated",
            change_1h=Amount(0),
            severity=Severity.PROBLEM,
            problem="not activated",
        )
    if row.asset == 3:
        return edit(row, reserved=Amount(1_200_000))
    return row


def chain_states() -> tuple[ChainState, ...]:
    """One live chain per consistency, and a stale one."""
    return (
        ChainState(
            "base",
            ChainKind.EVM,
            "live",
            swept_ms=NOW_MS - 4_000,
            block=38_412_118,
            block_hash="0x" + "5e" * 32,
            block_ms=NOW_MS - 5_000,
            first_block=38_412_118,
            consistency=Consistency.PINNED,
            endpoint="https://mainnet.base.example",
            accounts=64,
            unknown=1,
            changed=6,
            seconds=0.213,
            requests=1,
        ),
        ChainState(
            "xrpl",
            ChainKind.XRPL,
            "live",
            swept_ms=NOW_MS - 4_000,
            block=96_204_771,
            block_hash="5E" * 32,
            block_ms=NOW_MS - 6_000,
            first_block=96_204_771,
            consistency=Consistency.SAME_CALL,
            endpoint="wss://s1.ripple.example",
            accounts=32,
            changed=2,
            seconds=0.402,
            requests=32,
        ),
        ChainState(
            "tron",
            ChainKind.TRON,
            "stale",
            reason="no reading for 2m 30s: endpoint B: 429 too many requests",
            swept_ms=NOW_MS - 150_000,
            block=61_204_118,
            block_hash="0x" + "3a" * 32,
            block_ms=NOW_MS - 152_000,
            first_block=61_204_102,
            consistency=Consistency.SPREAD,
            endpoint="https://tron-a.example",
            accounts=64,
            unknown=2,
            seconds=3.871,
            requests=9,
        ),
    )


def endpoint_healths() -> tuple[EndpointHealth, ...]:
    """Endpoints in every state."""
    return (
        EndpointHealth(
            "base",
            "https://mainnet.base.example",
            EndpointState.READY,
            True,
            "override scanner",
            8192,
            38_412_118,
            0,
            84,
            210,
            1_204,
            2,
            0.0017,
        ),
        EndpointHealth(
            "base",
            "https://base.public.example",
            EndpointState.REFUSED,
            last_error="answers for chain id 1, not 8453",
            last_error_ms=NOW_MS - 3 * HOUR_MS,
            requests=3,
            errors=1,
            error_rate=0.33,
        ),
        EndpointHealth(
            "xrpl",
            "wss://s1.ripple.example",
            EndpointState.READY,
            True,
            "account_info",
            1000,
            96_204_771,
            0,
            61,
            143,
            88_210,
            0,
            0.0,
            note="reserve 1 XRP + 0.2 XRP each",
        ),
        EndpointHealth(
            "tron",
            "https://tron-a.example",
            EndpointState.READY,
            True,
            "multicall3",
            20,
            61_204_118,
            4,
            412,
            1_950,
            740,
            31,
            0.042,
            last_error="read timed out after 10 s",
            last_error_ms=NOW_MS - 42_000,
        ),
        EndpointHealth(
            "tron",
            "https://tron-b.example",
            EndpointState.BACKING_OFF,
            False,
            "single",
            1,
            61_204_070,
            52,
            388,
            920,
            312,
            210,
            0.673,
            last_error="429 too many requests (Retry-After 8 s)",
            last_error_ms=NOW_MS - 4_000,
            retry_at_ms=NOW_MS + 8_000,
        ),
        EndpointHealth("tron", "https://tron-c.example"),
    )


@cache
def totals() -> tuple[AssetTotal, ...]:
    """The sum of every asset over the rows that are known (the absurd one left out)."""
    rows = balances()
    found = []
    for asset in ASSETS:
        known = [r for r in rows if r.asset == asset.id and r.amount is not None]
        summed = sum(r.amount for r in known if r.amount is not None and r.amount < 2**200)
        unknown = sum(1 for r in rows if r.asset == asset.id and r.amount is None)
        found.append(AssetTotal(asset.id, Amount(summed), len(known), unknown))
    return tuple(found)


def stored_events() -> list[EventRecord]:
    """What is in the store when a desk opens: ten minutes of ordinary life and its troubles."""
    found: list[EventRecord] = []

    def add(kind: str, ago_s: int, subject: str, **payload: Json) -> None:
        found.append(
            EventRecord(len(found) + 1, kind, "desk-01", NOW_MS - ago_s * 1000, subject, payload)
        )

    add("ENGINE_STARTED", 3600, "", version="0.1.0", agents=48)
    for i, (old, new) in enumerate(((9, 8), (8, 6), (6, 3), (3, 0))):
        add(
            "AGENT_BALANCE_CHANGED",
            2400 - i * 500,
            "agent-0006",
            agentId="agent-0006",
            chain="base",
            token="USDC",
            contract=ASSETS[1].contract,
            oldBalance=str(old * 3_100_000),
            newBalance=str(new * 3_100_000),
            change=str((new - old) * 3_100_000),
            block=38_412_000 + i,
            decimals=6,
        )
    add(
        "AGENT_BALANCE_CHANGED",
        620,
        HOSTILE_AGENT,
        agentId=HOSTILE_AGENT,
        chain="base",
        token="[blink]FREE[/]\x1b[31m",
        contract="0xdead",
        oldBalance="0",
        newBalance="99",
        change="99",
        block=1,
        decimals=0,
    )
    add(
        "CHAIN_REORGANISED",
        300,
        "base",
        chain="base",
        commonBlock=38_411_990,
        oldHead=38_411_993,
        newHead=38_411_994,
    )
    add(
        "ENDPOINT_STATE_CHANGED",
        154,
        "tron",
        chain="tron",
        endpoint="https://tron-b.example",
        oldState="ready",
        newState="backing off",
        reason="429 too many requests (Retry-After 8 s)",
    )
    add(
        "CHAIN_STATE_CHANGED",
        90,
        "tron",
        chain="tron",
        oldState="live",
        newState="stale",
        reason="no reading for 2m 30s: endpoint B: 429 too many requests",
    )
    add(
        "LIMITS_CHANGED",
        60,
        "trading",
        scope="group",
        key="trading",
        chain="base",
        token="USDC",
        floor="50000000",
        target="200000000",
    )
    add(
        "AGENT_BALANCE_CHANGED",
        4,
        WIDE_AGENT,
        agentId=WIDE_AGENT,
        chain="base",
        token="ETH",
        contract=None,
        oldBalance=str(5 * 10**17),
        newBalance=str(45 * 10**16),
        change=str(-5 * 10**16),
        block=38_412_118,
        decimals=18,
    )
    return found


class ScriptedEngine:
    """EngineApi over the world above. `push`, `emit`, `lose` and `restore` are the script."""

    def __init__(self, clock: ManualClock, *, environment: str = "", demo: bool = False) -> None:
        self.clock = clock
        self.executed: list[Command] = []
        self.refuse: str = ""
        self.reasons: dict[str, str] = {}
        """Why an agent is in the state it is in, by agent."""
        self.closed = False
        self.lost = ""
        self.ended = 0
        """How often the streams were ended because the engine started again."""
        self._instance = "scripted-1"
        self._version = 1
        self._environment = environment
        self._demo = demo
        self._agents = {agent.id: agent for agent in agents()}
        self._rows = {row.account: row for row in balances()}
        self._chains = {chain.name: chain for chain in chain_states()}
        self._endpoints = endpoint_healths()
        self._totals = totals()
        self._store = StoreHealth("sqlite", "/var/lib/bursar/gen-0001/bursar.db", "", 4_218_880)
        self._clients = 0
        self._ledger: LedgerView | None = scripted_ledger.ledger()
        self._peers = {(view.peer, view.token): view for view in scripted_ledger.peers()}
        self._trial = scripted_ledger.trial()
        accounts = {(row.agent, row.asset): row.account for row in self._rows.values()}
        self._custody = {view.account: view for view in scripted_ledger.custody(accounts)}
        self._settlements: dict[tuple[str, str, str], SettlementPairView] = {}
        self._settlement: SettlementHealth | None = None
        self.backup_world: scripted_backups.Backups | None = None
        self._alerts: tuple[AlertView, ...] = ()
        self.booked: dict[tuple[str, str], list[TransferView]] = {}
        """Transfers put on top of the scripted ones, newest first, by peer and token."""
        self._events = stored_events()
        self._patches: list[StatePatch] = []
        self._moved = asyncio.Event()

    # --- the script ------------------------------------------------------------------------

    @property
    def rows(self) -> dict[int, BalanceView]:
        """The balances as the engine has them now, by account."""
        return self._rows

    def row_of(self, agent: str, asset: int) -> BalanceView:
        """The one row of an agent and an asset."""
        return next(r for r in self._rows.values() if r.agent == agent and r.asset == asset)

    def push(
        self,
        *,
        chains: tuple[ChainState, ...] = (),
        balances: tuple[BalanceView, ...] = (),
        agents: tuple[Agent, ...] = (),
        endpoints: tuple[EndpointHealth, ...] | None = None,
        removed: tuple[int, ...] = (),
        store: StoreHealth | None = None,
        clients: int | None = None,
        ledger: LedgerView | None = None,
        peers: tuple[PeerView, ...] = (),
        trial: tuple[TrialView, ...] | None = None,
        custody: tuple[CustodyView, ...] = (),
        settlements: tuple[SettlementPairView, ...] = (),
        settlement: SettlementHealth | None = None,
        backups: BackupsView | None = None,
        alerts: tuple[AlertView, ...] | None = None,
    ) -> None:
        """Change the state and tell every reader."""
        self._version += 1
        self._chains |= {chain.name: chain for chain in chains}
        self._rows |= {row.account: row for row in balances}
        self._agents |= {agent.id: agent for agent in agents}
        self._endpoints = self._endpoints if endpoints is None else endpoints
        self._store = store or self._store
        self._clients = self._clients if clients is None else clients
        self._ledger = ledger or self._ledger
        self._peers |= {(view.peer, view.token): view for view in peers}
        self._trial = self._trial if trial is None else trial
        self._custody |= {view.account: view for view in custody}
        self._settlements |= {(v.peer, v.token, v.direction): v for v in settlements}
        self._settlement = settlement or self._settlement
        self._alerts = self._alerts if alerts is None else alerts
        for account in removed:
            self._rows.pop(account, None)
        self._patches.append(
            StatePatch(
                self._version,
                self.clock.now_ms(),
                chains=chains,
                balances=balances,
                agents=agents,
                endpoints=endpoints,
                removed=removed,
                store=store,
                clients=clients,
                ledger=ledger,
                peers=peers,
                trial=trial,
                custody=custody,
                settlements=settlements,
                settlement=settlement,
                backups=backups,
                alerts=alerts,
            )
        )
        self._wake()

    @property
    def alerts(self) -> tuple[AlertView, ...]:
        """The open alerts, oldest first."""
        return self._alerts

    def alarm(self) -> None:
        """Open an alert of every kind and in every state."""
        accounts = {(row.agent, row.asset): row.account for row in self._rows.values()}
        self.push(alerts=scripted_alerts.alerts(accounts))

    def settle(self) -> None:
        """Begin to watch settlements: every state of them, one of them stuck."""
        self.push(
            peers=scripted_settlement.in_transit(tuple(self._peers.values())),
            settlements=scripted_settlement.settlements(),
            settlement=scripted_settlement.health(),
        )

    def back_up(self, view: BackupsView | None = None) -> scripted_backups.Backups:
        """Begin to serve backups: every state of them, or a view of the test's own."""
        first = view or scripted_backups.view()
        self.backup_world = scripted_backups.Backups(
            first, lambda shown: self.push(backups=shown), self._start_again
        )
        self.push(backups=first)
        return self.backup_world

    def _start_again(self) -> None:
        """Streams end and a new instance begins at once."""
        self.ended += 1
        self.restore()
        self._wake()

    @property
    def _backups(self) -> scripted_backups.Backups:
        self._here()
        if self.backup_world is None:
            raise CommandRefusedError("This engine serves no backups.")
        return self.backup_world

    def empty(self) -> None:
        """A fresh machine (before a desk looks): no agents, no chains, no peers."""
        self.no_peers()
        self._agents.clear()
        self._rows.clear()
        self._chains.clear()
        self._endpoints, self._totals, self._trial = (), (), ()
        self._ledger = None
        self._events.clear()

    def settlement_of(
        self, peer: str, token: str, direction: str = "receivable"
    ) -> SettlementPairView:
        """One row of the board."""
        found = self._settlements.get((peer, token, direction))
        if found is None:
            raise CommandRefusedError(f"no peer {peer} in {token}")
        return found

    def no_peers(self) -> None:
        """A ledger that was never used (before a desk looks)."""
        self._peers.clear()
        self._custody.clear()

    def take_ledger_away(self, reason: str = "fsync: No space left on device") -> None:
        """The ledger stops answering and says why; everything else goes on."""
        assert self._ledger is not None
        self.push(ledger=msgspec.structs.replace(self._ledger, ok=False, reason=reason))

    def _books_here(self) -> None:
        self._here()
        if self._ledger is None or not self._ledger.ok:
            raise LedgerAwayError(
                f"The ledger is away: {self._ledger.reason if self._ledger else 'none'}"
            )

    def emit(self, kind: str, subject: str, **payload: Json) -> EventRecord:
        """Store an event and tell every reader."""
        record = EventRecord(
            len(self._events) + 1, kind, "desk-01", self.clock.now_ms(), subject, payload
        )
        self._events.append(record)
        self._wake()
        return record

    def lose(self, reason: str = "the engine's socket was closed") -> None:
        """Go away: every call and every stream ends by EngineLostError."""
        self.lost = reason
        self._wake()

    def restore(self) -> None:
        """Come back as a new engine over the same store."""
        self.lost = ""
        self._instance += "+"
        self._version = 1
        self._patches.clear()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _here(self) -> None:
        if self.lost:
            raise EngineLostError(self.lost)

    # --- EngineApi -------------------------------------------------------------------------

    async def state(self) -> EngineState:
        self._here()
        return EngineState(
            instance=self._instance,
            version=self._version,
            seq=len(self._events),
            now_ms=self.clock.now_ms(),
            started_ms=NOW_MS - HOUR_MS,
            node_id="desk-01",
            environment=self._environment,
            demo=self._demo,
            interval_ms=30_000,
            chains=tuple(self._chains.values()),
            endpoints=self._endpoints,
            assets=ASSETS,
            agents=tuple(self._agents.values()),
            balances=tuple(self._rows.values()),
            totals=self._totals,
            store=self._store,
            clients=self._clients,
            ledger=self._ledger,
            peers=tuple(self._peers.values()),
            trial=self._trial,
            custody=tuple(self._custody.values()),
            settlements=tuple(self._settlements.values()),
            settlement=self._settlement,
            backups=self.backup_world.view if self.backup_world is not None else None,
            alerts=self._alerts,
        )

    async def updates(self, after_version: int, after_seq: int) -> AsyncIterator[Update]:
        seen = after_seq
        version, life = after_version, self.ended
        while True:
            moved = self._moved
            self._here()
            if life != self.ended:
                raise EngineLostError("the engine starts again")
            for patch in [p for p in self._patches if p.version > version]:
                version = patch.version
                yield patch
            for record in [e for e in self._events if e.seq > seen]:
                seen = record.seq
                yield record
            await moved.wait()

    async def events(self, query: EventQuery) -> Sequence[EventRecord]:
        self._here()
        found = [
            e
            for e in self._events
            if e.seq > query.after_seq
            and (not query.types or e.type in query.types)
            and (not query.subject or e.subject == query.subject)
            and query.since_ms <= e.time_ms
            and (not query.until_ms or e.time_ms < query.until_ms)
            and (
                not query.text or query.text.lower() in f"{e.type} {e.subject} {e.payload}".lower()
            )
        ]
        return found[-query.limit :] if query.newest else found[: query.limit]

    async def history(
        self, agent: str, chain: str, asset: str, start_ms: int, end_ms: int
    ) -> History:
        """A falling saw with a top-up every two hours, from the row's present amount back, and
        one gap of half an hour that ended an hour ago."""
        self._here()
        by_id = {a.id: a for a in ASSETS}
        row = next(
            (
                r
                for r in self._rows.values()
                if r.agent == agent
                and r.chain == chain
                and asset in (by_id[r.asset].symbol, by_id[r.asset].contract)
            ),
            None,
        )
        if row is None:
            raise NoWallet(f"No wallet for agent {agent}")
        points = [
            HistoryPoint(at, Amount(self._then(row, at)), row.block - (NOW_MS - at) // 2000)
            for at in range(start_ms - start_ms % (5 * MINUTE_MS), end_ms, 5 * MINUTE_MS)
            if at >= start_ms and not NOW_MS - 90 * MINUTE_MS <= at < NOW_MS - HOUR_MS
        ]
        if points:
            points[0] = msgspec.structs.replace(points[0], time_ms=start_ms, carried=True)
        gap = (NOW_MS - 90 * MINUTE_MS, NOW_MS - HOUR_MS)
        gaps = (gap,) if start_ms <= gap[0] and gap[1] <= end_ms else ()
        return History(tuple(points), gaps)

    def _then(self, row: BalanceView, at_ms: int) -> int:
        hours = (NOW_MS - at_ms) / HOUR_MS
        unit = max(int(row.amount or 0), 40_000_000) // 100
        saw = (hours + row.account * 0.37) % 2.0
        wave = math.sin(hours / 5 + row.account)
        return int(row.amount or 0) + unit * int(10 * saw + 6 + 6 * wave)

    async def sparklines(
        self, accounts: Sequence[int], start_ms: int, end_ms: int, buckets: int
    ) -> dict[int, tuple[int | None, ...]]:
        self._here()
        step = (end_ms - start_ms) // buckets
        found: dict[int, tuple[int | None, ...]] = {}
        for account in accounts:
            row = self._rows.get(account)
            if row is not None and row.amount is not None:
                found[account] = tuple(
                    self._then(row, start_ms + (i + 1) * step) for i in range(buckets)
                )
        return found

    async def execute(self, command: Command) -> Outcome:
        self._here()
        if self.refuse:
            raise CommandRefusedError(self.refuse)
        self.executed.append(command)
        match command:
            case SyncNow(chains=chains):
                return Outcome(f"read {len(chains or self._chains)} chains", 0)
            case TagAgents():
                return self._tag(command)
            case SetLimits():
                return Outcome(
                    f"limits of {command.asset} set for {command.scope} {command.key}", 1
                )
            case ImportWallets(rows=rows):
                for row in rows:
                    if not row.address:
                        raise CommandRefusedError(f"{row.agent}: an address is missing")
                return Outcome(f"{len(rows)} address registered", len(rows))
            case BookUnexplained():
                return self._explain(command)
            case RecordMovements(movements=movements):
                self._books_here()
                return Outcome(f"Booked {len(movements)} movements", len(movements))
            case ImportTotals(totals=totals):
                self._books_here()
                return Outcome(f"Imported {len(totals)} accounts", len(totals))
            case RecordSettlement():
                self._books_here()
                return Outcome(f"Booked a settlement with peer {command.peer}", 1)
            case SetThreshold(token=""):
                whom = command.peer or "everybody"
                return Outcome(f"The threshold of {whom} is set.", 1, ("closer than 5 %",))
            case StartSettlement() | CompleteSettlement() | FailSettlement() | SetThreshold():
                return self._walk(command)
            case ChangeWallets():
                return self._live(command)
            case CreateBackup() | RunDueBackups() | VerifyBackup() | DrillBackup():
                return self._backups.execute(command)
            case PruneBackups() | ReleaseSettlements():
                return self._backups.execute(command)
            case AcknowledgeAlert() | SilenceAlert():
                self.push(
                    alerts=scripted_alerts.answered(self._alerts, command, self.clock.now_ms())
                )
                return Outcome(f"Alert {command.id} is answered.", 1)
            case _:
                raise CommandRefusedError("The scripted world does not know this command.")

    def _walk(self, command: scripted_settlement.SettlementCommand) -> Outcome:
        self._books_here()
        side = "receivable" if isinstance(command, SetThreshold) else command.direction
        view = self.settlement_of(command.peer, command.token, side)
        after = scripted_settlement.walked(view, command, self.clock.now_ms())
        self.push(settlements=(after,))
        return Outcome(f"{command.token} with {command.peer} is now {after.state}.", 1)

    def _explain(self, command: BookUnexplained) -> Outcome:
        self._books_here()
        by_id = {asset.id: asset for asset in ASSETS}
        row = next(
            r
            for r in self._rows.values()
            if r.agent == command.agent
            and r.chain == command.chain
            and command.asset in (by_id[r.asset].symbol, by_id[r.asset].contract)
        )
        view = self._custody[row.account]
        self.push(custody=(msgspec.structs.replace(view, booked=True, reason=command.reason),))
        return Outcome(f"Booked {view.unexplained} base units as explained.", 1)

    async def packets(self, steps: Sequence[PacketStep]) -> Sequence[PacketOutcome]:
        self._books_here()
        return [PacketOutcome(step.id, step.stage, "created") for step in steps]

    async def transfers(
        self, peer: str, token: str, limit: int, before_ms: int = 0
    ) -> Sequence[TransferView]:
        self._books_here()
        if (peer, token) not in self._peers:
            raise CommandRefusedError(f"There are no accounts of peer {peer} in {token}.")
        found = [*self.booked.get((peer, token), ()), *scripted_ledger.transfers(peer, token)]
        return [t for t in found if not before_ms or t.timestamp_ms < before_ms][:limit]

    async def reconcile(self, agent: str = "") -> Sequence[CustodyView]:
        self._books_here()
        rows = [row for row in self._rows.values() if not agent or row.agent == agent]
        if agent and not rows:
            raise NoWallet(f"No wallet for agent {agent}")
        return [
            self._custody.get(row.account)
            or CustodyView(
                row.account,
                "equal",
                row.block,
                row.amount,
                row.amount or Amount(0),
                Amount(0),
            )
            for row in rows
        ]

    def _live(self, command: ChangeWallets) -> Outcome:
        state = {
            "suspend": WalletState.SUSPENDED,
            "reactivate": WalletState.ACTIVE,
            "archive": WalletState.ARCHIVED,
        }[command.change]
        for name in command.agents:
            old = self._agents[name]
            self.reasons[name] = command.reason
            gone = [r.account for r in self._rows.values() if r.agent == name]
            self.push(
                agents=(msgspec.structs.replace(old, state=state),),
                removed=tuple(gone) if state is WalletState.ARCHIVED else (),
            )
            self.emit(
                "AGENT_WALLET_STATE_CHANGED",
                name,
                oldState=old.state.value,
                newState=state.value,
                reason=command.reason,
            )
        return Outcome(f"{command.change} {', '.join(command.agents)}: done.", len(command.agents))

    def _tag(self, command: TagAgents) -> Outcome:
        changed = []
        for name in command.agents:
            agent = self._agents[name]
            tags = [t for t in agent.tags if t not in command.remove]
            tags += [t for t in command.add if t not in tags]
            group = agent.group if command.group is None else command.group
            changed.append(msgspec.structs.replace(agent, group=group, tags=tuple(tags)))
        self.push(agents=tuple(changed))
        return Outcome(f"{len(changed)} agents tagged", len(changed))

    async def peer_balances(self) -> Sequence[PeerView]:
        self._books_here()
        return tuple(self._peers.values())

    async def trial_balance(self) -> Sequence[TrialView]:
        self._books_here()
        return self._trial

    async def ledger_totals(self) -> Sequence[AccountTotals]:
        self._books_here()
        return [
            AccountTotals("17", Amount(1000), Amount(0)),
            AccountTotals("18", Amount(0), Amount(1000)),
        ]

    async def explain(self, peer: str, token: str, direction: str = "receivable") -> str:
        self._books_here()
        return scripted_settlement.explained(self.settlement_of(peer, token, direction))

    async def backups_at(self, source: str) -> Sequence[BackupView]:
        return self._backups.at(source)

    async def drill(self, backup: str, password: Secret) -> Outcome:
        return self._backups.drill(backup, password)

    async def plan_restore(self, request: RestoreRequest, password: Secret) -> RestorePlan:
        return await self._backups.plan(request, password)

    async def apply_restore(self, plan: str, typed: str) -> RestoreResult:
        return await self._backups.apply(plan, typed, self.clock.now_ms)

    async def planned_restore(self, plan: str) -> RestorePlan:
        return self._backups.planned(plan)

    async def discard_restore(self, plan: str) -> None:
        self._backups.discard(plan)

    async def undo_restore(self, typed: str) -> RestoreResult:
        return self._backups.undo(typed)

    async def reconciliation(self) -> ReconciliationView | None:
        return self._backups.report

    async def wallets(self, agent: str = "") -> Sequence[WalletView]:
        found = [agent] if agent else sorted(self._agents)
        if agent and agent not in self._agents:
            raise NoWallet(f"No wallet for agent {agent}")
        return [self._wallet(self._agents[name]) for name in found]

    def _wallet(self, agent: Agent) -> WalletView:
        rows = [row for row in self._rows.values() if row.agent == agent.id]
        kinds = {chain.name: chain.kind for chain in self._chains.values()}
        coins = {ChainKind.EVM: 60, ChainKind.XRPL: 144, ChainKind.TRON: 195}
        number = sorted(self._agents).index(agent.id)
        places = dict.fromkeys((row.chain, row.address) for row in rows)
        return WalletView(
            agent.id,
            agent.group,
            agent.tags,
            agent.state,
            agent.watch_only,
            agent.created_ms,
            addresses=tuple(
                AddressView(
                    chain,
                    kinds[chain],
                    address,
                    "" if agent.watch_only else f"m/44'/{coins[kinds[chain]]}'/1'/0/{number}",
                )
                for chain, address in places
            ),
            activated_ms=agent.created_ms,
            suspended_ms=NOW_MS - HOUR_MS if agent.state is WalletState.SUSPENDED else 0,
            archived_ms=NOW_MS if agent.state is WalletState.ARCHIVED else 0,
            reason=self.reasons.get(agent.id, ""),
        )

    async def verify_seed(self, words: Secret) -> Outcome:
        raise CommandRefusedError("This engine has no seed.")

    async def set_up_backups(
        self, password: Secret, recovery: Secret, *, create: bool = False
    ) -> Outcome:
        raise CommandRefusedError("Backups are not served yet.")

    async def change_password(self, current: Secret, password: Secret, recovery: Secret) -> Outcome:
        raise CommandRefusedError("Backups are not served yet.")

    async def unlock_seed(self, password: Secret) -> Outcome:
        raise CommandRefusedError("Backups are not served yet.")

    async def close(self) -> None:
        self.closed = True
        self._wake()
