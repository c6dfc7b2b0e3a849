"""The rows of a whole database, by natural names."""

from __future__ import annotations

from typing import NamedTuple

from core.model import ChainKind, WalletState


class ChainRow(NamedTuple):
    """A chain of the registry."""

    name: str
    kind: ChainKind
    is_active: bool


class AssetRow(NamedTuple):
    """A token on a chain; `contract` is "" for the native coin."""

    chain: str
    symbol: str
    contract: str
    name: str
    decimals: int
    is_active: bool


class AgentRow(NamedTuple):
    """An agent."""

    agent: str
    group: str
    tags: tuple[str, ...]
    state: WalletState
    watch_only: bool
    created_ms: int


class AddressRow(NamedTuple):
    """An agent's address on a chain."""

    agent: str
    chain: str
    address: str
    path: str
    is_active: bool


class VolumeRow(NamedTuple):
    """What moved of one asset; `contract` "" for the native coin."""

    chain: str
    token: str
    contract: str
    transactions: int
    amount: int


class LifecycleRow(NamedTuple):
    """An agent's record; times in ms, 0: never."""

    agent: str
    state: WalletState
    created_ms: int
    activated_ms: int
    last_activity_ms: int
    suspended_ms: int
    archived_ms: int
    reason: str
    transactions: int
    volumes: tuple[VolumeRow, ...]


class BalanceRow(NamedTuple):
    """The last known balance of an account, base units; None: never read."""

    agent: str
    chain: str
    symbol: str
    contract: str
    amount: int | None
    mark: str
    reserved: int
    changed_ms: int
    first_seen_ms: int
    block: int
    checked_ms: int


class LimitRow(NamedTuple):
    """Floor and target that an operator set, base units."""

    scope: str
    name: str
    chain: str
    symbol: str
    contract: str
    floor: int | None
    target: int | None
