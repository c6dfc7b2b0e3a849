"""Checks that need more than a type: ranges, references, duplicates, endpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from core.config.alert_checks import check_alerts, check_webhooks
from core.config.backup_checks import check_backup
from core.config.masking import mask_url
from core.config.refusal import refuse
from core.config.settings import AssetSettings, ChainSettings, Settings
from core.model import BursarError, ChainKind, parse_amount

EVM_DEFAULT = "http://localhost:8545"
XRPL_DEFAULT = "wss://s.altnet.rippletest.net:51233"

_SCHEMES: dict[ChainKind, tuple[str, ...]] = {
    ChainKind.EVM: ("http://", "https://", "ws://", "wss://"),
    ChainKind.XRPL: ("ws://", "wss://"),
    ChainKind.TRON: ("http://", "https://"),
}
# Hardened steps need a private key, so the index, derived from a public one, comes after them.
_PATH = re.compile(r"m(?:/[0-9]+'?)*/[0-9]+'(?:/[0-9]+)*/\{index\}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")


def check(settings: Settings, origin: str, environ: Mapping[str, str]) -> Settings:
    polling = settings.polling
    if not 1000 <= polling.interval <= 86_400_000:
        refuse(origin, "[polling] interval", "must be between 1s and 1d")
    if polling.lease < polling.interval:
        refuse(origin, "[polling] lease", "must not be shorter than interval")
    if polling.batch < 0:
        refuse(origin, "[polling] batch", "must be 0 (the whole fleet) or more")
    if not 250 <= settings.ui.refresh <= 5000:
        refuse(origin, "[ui] refresh", "must be between 250ms and 5s")
    if settings.history.thin_after > settings.history.keep:
        refuse(origin, "[history] thin_after", "must not be longer than keep")
    if settings.problems.unread_intervals < 2:
        refuse(origin, "[problems] unread_intervals", "must be 2 or more")
    if settings.log.level.lower() not in {"debug", "info", "warning", "error"}:
        refuse(origin, "[log] level", "must be debug, info, warning or error")
    _check_wallets(settings, origin)
    _check_ledger(settings, origin)
    _check_settlement(settings, origin, environ)
    chains = _check_chains(settings, origin, environ)
    _check_assets(settings, origin)
    check_alerts(settings, origin)
    check_webhooks(settings, origin, environ)
    check_backup(settings, origin)
    return msgspec.structs.replace(settings, chain=chains)


def _check_wallets(settings: Settings, origin: str) -> None:
    if settings.wallets.inactivity_days < 1:
        refuse(origin, "[wallets] inactivity_days", "must be 1 or more")
    for kind, path in settings.wallets.derivation.templates().items():
        steps = [int(step) for step in re.findall(r"\d+", path)]
        if not _PATH.fullmatch(path) or max(steps) >= 2**31:
            refuse(
                origin,
                f"[wallets.derivation] {kind}",
                f"{path!r} must be a path with a hardened step that ends in an index that is not, "
                "such as m/44'/60'/1'/0/{index}",
            )


def _check_ledger(settings: Settings, origin: str) -> None:
    ledger, custody = settings.ledger, settings.custody
    cluster = ledger.tigerbeetle
    if (cluster.cluster_id is None) != (not cluster.replicas):
        missing = "cluster_id" if cluster.cluster_id is None else "replicas"
        refuse(
            origin,
            f"[ledger.tigerbeetle] {missing}",
            "is missing; a cluster needs both cluster_id and replicas "
            "(TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS)",
        )
    if len(set(ledger.tokens)) != len(ledger.tokens):
        refuse(origin, "[ledger] tokens", "a token stands twice")
    for token in ledger.tokens:
        if not token or len(token) > 40 or not token.isprintable():
            refuse(origin, "[ledger] tokens", "a token is 1 to 40 printable characters")
    if ledger.persist_interval < 1000:
        refuse(origin, "[ledger] persist_interval", "must be 1s or more")
    named = {"": custody.policy} | {k: v.policy or "observe" for k, v in custody.chains.items()}
    for chain, policy in named.items():
        where = f"[custody{f'.chains.{chain}' if chain else ''}] policy"
        if policy not in {"observe", "strict"}:
            refuse(origin, where, f'must be "observe" or "strict", not {policy!r}')
        if chain and chain not in {known.name for known in settings.chain}:
            refuse(origin, f"[custody.chains.{chain}]", f"there is no [[chain]] named `{chain}`")
    finalities = [custody.finality, *(c.finality or 0 for c in custody.chains.values())]
    if min(finalities) < 0:
        refuse(origin, "[custody] finality", "must be 0 or more blocks")


def _check_settlement(settings: Settings, origin: str, environ: Mapping[str, str]) -> None:
    settlement = settings.settlement
    if settlement.direction not in {"receivable", "payable", "both"}:
        refuse(origin, "[settlement] direction", "must be receivable, payable or both")
    if settlement.engine not in {"manual", "webhook"}:
        refuse(origin, "[settlement] engine", 'must be "manual" or "webhook"')
    if settlement.engine == "webhook":
        if not settlement.webhook_url.startswith(("https://", "http://")):
            refuse(origin, "[settlement] webhook_url", "must be an http:// or https:// URL")
        if not environ.get(settlement.webhook_secret_env):
            refuse(
                origin,
                "[settlement] webhook_secret_env",
                "must name an environment variable that holds the signing secret",
            )


def _check_chains(
    settings: Settings, origin: str, environ: Mapping[str, str]
) -> tuple[ChainSettings, ...]:
    names: set[str] = set()
    checked = []
    for number, chain in enumerate(settings.chain, start=1):
        where = f"[[chain]] number {number} ({chain.name})"
        if not _PLAIN_NAME.match(chain.name):
            refuse(origin, f"{where} name", "use letters, digits, '.', '_' and '-'")
        if chain.name in names:
            refuse(origin, f"{where} name", "stands twice")
        names.add(chain.name)
        if chain.requests_per_second < 0:
            refuse(origin, f"{where} requests_per_second", "must be 0 or more")
        if chain.interval is not None and not 1000 <= chain.interval <= settings.polling.lease:
            refuse(origin, f"{where} interval", "must be between 1s and [polling] lease")
        urls = chain.endpoints or _default_endpoints(settings, chain, origin, where, environ)
        expanded = tuple(_expand(url, origin, f"{where} endpoints", environ) for url in urls)
        allowed = _SCHEMES[chain.kind]
        for url in expanded:
            if not url.startswith(allowed):
                refuse(
                    origin,
                    f"{where} endpoints",
                    f"{mask_url(url)} must start with {' or '.join(allowed)}",
                )
        checked.append(msgspec.structs.replace(chain, endpoints=expanded))
    return tuple(checked)


def _default_endpoints(
    settings: Settings,
    chain: ChainSettings,
    origin: str,
    where: str,
    environ: Mapping[str, str],
) -> tuple[str, ...]:
    """EVM_RPC_URL or XRPL_RPC_URL, for the one chain of that kind that names no endpoints."""
    bare = [c for c in settings.chain if c.kind is chain.kind and not c.endpoints]
    if chain.kind is ChainKind.TRON or len(bare) > 1:
        refuse(origin, f"{where} endpoints", "name at least one URL")
    if chain.kind is ChainKind.EVM:
        return (environ.get("EVM_RPC_URL") or EVM_DEFAULT,)
    return (environ.get("XRPL_RPC_URL") or XRPL_DEFAULT,)


def _expand(url: str, origin: str, where: str, environ: Mapping[str, str]) -> str:
    def replace(found: re.Match[str]) -> str:
        value = environ.get(found[1])
        if not value:
            refuse(origin, where, f"the environment variable {found[1]} is not set")
        return value

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", replace, url)


def _check_assets(settings: Settings, origin: str) -> None:
    chains = {chain.name for chain in settings.chain}
    seen: set[tuple[str, str]] = set()
    for number, asset in enumerate(settings.asset, start=1):
        where = f"[[asset]] number {number} ({asset.symbol})"
        if asset.chain not in chains:
            refuse(origin, f"{where} chain", f"there is no [[chain]] named `{asset.chain}`")
        if not asset.symbol or len(asset.symbol) > 40 or not asset.symbol.isprintable():
            refuse(origin, f"{where} symbol", "must be 1 to 40 printable characters")
        if not 0 <= asset.decimals <= 77:
            refuse(origin, f"{where} decimals", "must be between 0 and 77")
        identity = (asset.chain, (asset.contract or "").lower() and _identity(asset))
        if identity in seen:
            what = f"contract {asset.contract}" if asset.contract else "a native coin"
            refuse(origin, where, f"{what} of chain `{asset.chain}` stands twice")
        seen.add(identity)
        scopes = [("", asset.floor, asset.target)]
        scopes += [(f" groups.{k}", v.floor, v.target) for k, v in asset.groups.items()]
        scopes += [(f" agents.{k}", v.floor, v.target) for k, v in asset.agents.items()]
        for scope, floor, target in scopes:
            amounts = {}
            for key, text in (("floor", floor), ("target", target)):
                if text is None:
                    continue
                try:
                    amounts[key] = parse_amount(text, asset.decimals)
                except BursarError as error:
                    refuse(origin, f"{where}{scope} {key}", str(error).rstrip("."))
            if len(amounts) == 2 and amounts["target"] < amounts["floor"]:
                refuse(origin, f"{where}{scope} target", "must not be below the floor")
        if asset.price is not None and not re.fullmatch(r"\d+(\.\d+)?", asset.price):
            refuse(origin, f"{where} price", f"{asset.price!r} is not a decimal number")


def _identity(asset: AssetSettings) -> str:
    """XRPL issued currencies share an issuer, so the currency belongs to what is unique."""
    return f"{(asset.contract or '').lower()}/{asset.symbol}"
