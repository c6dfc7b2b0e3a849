"""Wallets as the store keeps them, made into what a desk is shown."""

from __future__ import annotations

from core.api import AddressView, VolumeView, WalletView
from core.model import NoWallet
from core.store.wallet_protocol import AgentWallet, LifecycleRecord, WalletStore


async def wallet_views(store: WalletStore, agent: str = "") -> list[WalletView]:
    """The wallet of an agent (all, if empty), by name. Raises NoWallet, StoreError."""
    if not agent:
        records = {record.agent: record for record in await store.lifecycle_records()}
        wallets = await store.wallets()
        # One created between the two reads has no record yet; the next look finds it.
        return [_view(w, records[w.agent]) for w in wallets if w.agent in records]
    wallet = await store.wallet(agent)
    record = await store.lifecycle_record(agent)
    if wallet is None or record is None:
        raise NoWallet(f"No wallet for agent {agent}")
    return [_view(wallet, record)]


def _view(wallet: AgentWallet, record: LifecycleRecord) -> WalletView:
    return WalletView(
        agent=wallet.agent,
        group=wallet.group,
        tags=wallet.tags,
        state=record.state,
        watch_only=wallet.watch_only,
        created_ms=wallet.created_ms,
        addresses=tuple(AddressView(a.chain, a.kind, a.address, a.path) for a in wallet.addresses),
        activated_ms=record.activated_ms,
        last_activity_ms=record.last_activity_ms,
        suspended_ms=record.suspended_ms,
        archived_ms=record.archived_ms,
        reason=record.reason,
        transactions=record.transactions,
        volumes=tuple(
            VolumeView(v.chain, v.token, v.contract, v.transactions, v.amount)
            for v in record.volumes
        ),
    )
