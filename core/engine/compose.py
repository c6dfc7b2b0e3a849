"""From settings to parts: readers for chains, assets and limits for the registry.

The last checks on settings happen here, where the chains are known: a contract address must be
one of its chain.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from core.chains.addresses import AddressError, parse_address
from core.chains.protocol import ChainReader, EndpointMemory
from core.config import AssetSettings, ChainSettings, ConfigError, Settings
from core.model import Amount, Asset, ChainKind, Clock, parse_amount
from core.store.protocol import Limit, NewAsset, Registry
from core.store.sqlite import SqliteStore

LONGEST_REQUEST_S = 10.0
SHORTEST_REQUEST_S = 0.6


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def build_reader(
    chain: ChainSettings,
    settings: Settings,
    clock: Clock,
    memory: EndpointMemory,
    endpoints: tuple[str, ...] = (),
) -> ChainReader:
    """The reader for a chain, on `endpoints` instead of the configured ones if given."""
    urls = endpoints or chain.endpoints
    interval_s = (chain.interval or settings.polling.interval) / 1000
    pace = chain.requests_per_second or None
    # An endpoint that hangs must leave the next one time to answer within the same interval.
    timeout_s = min(LONGEST_REQUEST_S, max(SHORTEST_REQUEST_S, interval_s / 3))
    if chain.kind is ChainKind.EVM:
        from core.chains.evm import EvmReader

        return EvmReader(
            chain.name,
            urls,
            chain_id=chain.chain_id,
            clock=clock,
            memory=memory,
            interval_s=interval_s,
            requests_per_second=pace,
            timeout_s=timeout_s,
        )
    if chain.kind is ChainKind.XRPL:
        from core.chains.xrpl import XrplReader

        return XrplReader(
            chain.name,
            urls,
            chain_id=chain.chain_id,
            clock=clock,
            memory=memory,
            interval_s=interval_s,
            requests_per_second=pace,
            timeout_s=timeout_s,
        )
    from core.chains.tron import TronReader

    return TronReader(
        chain.name,
        urls,
        chain_id=chain.chain_id,
        clock=clock,
        memory=memory,
        interval_s=interval_s,
        requests_per_second=pace,
        timeout_s=timeout_s,
    )


class ConfiguredStore(SqliteStore):
    """The store, whose registry carries the floors, targets and prices of the settings."""

    def __init__(self, path: Path, settings: Settings) -> None:
        super().__init__(
            path, settings.settlement.node_id, interval_ms=int(settings.polling.interval)
        )
        self._settings = settings

    async def registry(self) -> Registry:
        return with_configured_limits(await super().registry(), self._settings)


def configured_assets(settings: Settings) -> tuple[NewAsset, ...]:
    """Assets as the registry takes them. Raises ConfigError for a contract that is no address."""
    kinds = {chain.name: chain.kind for chain in settings.chain}
    assets = []
    for number, asset in enumerate(settings.asset, start=1):
        contract = asset.contract
        if contract is not None:
            try:
                contract = parse_address(kinds[asset.chain], contract)
            except AddressError as error:
                raise ConfigError(
                    f"{settings.source or 'settings'}: [[asset]] number {number} "
                    f"({asset.symbol}) contract: {error}"
                ) from error
        name = asset.name or asset.symbol
        assets.append(NewAsset(asset.chain, asset.symbol, name, asset.decimals, contract))
    return tuple(assets)


def with_configured_limits(registry: Registry, settings: Settings) -> Registry:
    """The registry with the floors, targets and prices of the settings; limits that an operator
    set while running come after the configured ones and so win."""
    by_identity = {_identity(asset, settings): asset for asset in settings.asset}
    assets = []
    limits: list[Limit] = []
    for asset in registry.assets:
        wanted = by_identity.get((asset.chain, asset.symbol, asset.contract))
        if wanted is None:
            assets.append(asset)
            continue
        floor = _base_units(wanted.floor, asset)
        target = _base_units(wanted.target, asset)
        assets.append(
            msgspec.structs.replace(
                asset,
                floor=None if floor is None else Amount(floor),
                target=None if target is None else Amount(target),
                price=wanted.price,
            )
        )
        for scope, entries in (("group", wanted.groups), ("agent", wanted.agents)):
            limits += [
                Limit(
                    scope,
                    key,
                    asset.id,
                    _base_units(entry.floor, asset),
                    _base_units(entry.target, asset),
                )
                for key, entry in entries.items()
            ]
    return msgspec.structs.replace(
        registry, assets=tuple(assets), limits=(*limits, *registry.limits)
    )


def _identity(asset: AssetSettings, settings: Settings) -> tuple[str, str, str | None]:
    kinds = {chain.name: chain.kind for chain in settings.chain}
    contract = asset.contract
    if contract is not None:
        contract = parse_address(kinds[asset.chain], contract)
    return asset.chain, asset.symbol, contract


def _base_units(text: str | None, asset: Asset) -> int | None:
    return None if text is None else parse_amount(text, asset.decimals)
