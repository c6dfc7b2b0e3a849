"""Wallets as an engine shows them: addresses with their paths, and the life of their agent.

Times are ms since the epoch, 0: never.
"""

from __future__ import annotations

import msgspec

from core.model import Amount, ChainKind, WalletState


class AddressView(msgspec.Struct, frozen=True, gc=False):
    """An agent's address on one chain; `path` is "" where it was not derived from the seed."""

    chain: str
    kind: ChainKind
    address: str
    path: str = ""


class VolumeView(msgspec.Struct, frozen=True, gc=False):
    """What moved in one asset: how many changes, and the sum of their sizes in base units."""

    chain: str
    token: str
    contract: str | None
    transactions: int
    amount: Amount


class WalletView(msgspec.Struct, frozen=True):
    """One agent's wallet, archived or not. `activated_ms` and `suspended_ms` are the last of
    their kind; `reason` is that of the last change of state."""

    agent: str
    group: str
    tags: tuple[str, ...]
    state: WalletState
    watch_only: bool
    created_ms: int
    addresses: tuple[AddressView, ...] = ()
    activated_ms: int = 0
    last_activity_ms: int = 0
    suspended_ms: int = 0
    archived_ms: int = 0
    reason: str = ""
    transactions: int = 0
    volumes: tuple[VolumeView, ...] = ()
