"""The whole picture a desk starts from, and the patches that keep it true."""

from __future__ import annotations

import msgspec

from core.api.backups import BackupsView, JobView
from core.api.balances import AlertView, AssetTotal, BalanceView, ChainState, StoreHealth
from core.api.books import (
    CustodyView,
    LedgerView,
    PeerView,
    SettlementHealth,
    SettlementPairView,
    TrialView,
)
from core.events import EventRecord
from core.model import Agent, Asset, EndpointHealth


class EngineState(msgspec.Struct, frozen=True):
    """Everything a desk starts from. `instance` is new at every start of an engine; `version`
    counts state changes within it; `seq` is the newest event in the store; `jobs` are creations of
    wallets under way."""

    instance: str
    version: int
    seq: int
    now_ms: int
    started_ms: int
    node_id: str
    environment: str
    demo: bool
    interval_ms: int
    chains: tuple[ChainState, ...]
    endpoints: tuple[EndpointHealth, ...]
    assets: tuple[Asset, ...]
    agents: tuple[Agent, ...]
    balances: tuple[BalanceView, ...]
    totals: tuple[AssetTotal, ...]
    store: StoreHealth
    clients: int = 0
    ledger: LedgerView | None = None
    peers: tuple[PeerView, ...] = ()
    trial: tuple[TrialView, ...] = ()
    custody: tuple[CustodyView, ...] = ()
    settlements: tuple[SettlementPairView, ...] = ()
    settlement: SettlementHealth | None = None
    alerts: tuple[AlertView, ...] = ()
    backups: BackupsView | None = None
    jobs: tuple[JobView, ...] = ()


class StatePatch(msgspec.Struct, frozen=True, tag="patch"):
    """What changed since `version` - 1 or earlier: replace by key (chain name, asset id, agent
    id, account id, peer and token). `endpoints`, `totals`, `trial` and `jobs` are whole or None.
    `removed` are account ids. `custody` has only what does not simply agree: a view that is
    "equal" takes an earlier one back."""

    version: int
    now_ms: int
    chains: tuple[ChainState, ...] = ()
    endpoints: tuple[EndpointHealth, ...] | None = None
    assets: tuple[Asset, ...] = ()
    agents: tuple[Agent, ...] = ()
    balances: tuple[BalanceView, ...] = ()
    removed: tuple[int, ...] = ()
    totals: tuple[AssetTotal, ...] | None = None
    store: StoreHealth | None = None
    clients: int | None = None
    ledger: LedgerView | None = None
    peers: tuple[PeerView, ...] = ()
    trial: tuple[TrialView, ...] | None = None
    custody: tuple[CustodyView, ...] = ()
    settlements: tuple[SettlementPairView, ...] = ()
    settlement: SettlementHealth | None = None
    alerts: tuple[AlertView, ...] | None = None
    backups: BackupsView | None = None
    jobs: tuple[JobView, ...] | None = None


Update = StatePatch | EventRecord
