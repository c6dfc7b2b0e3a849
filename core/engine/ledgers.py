"""From settings to a ledger: which backend, with which limits, and what reconciling means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.accounting import ChainRules, CreditLimits, Policy
from core.config import CustodySettings, LedgerSettings
from core.engine.ledger_io import ledger_folder
from core.ledger import EmbeddedLedger, Ledger, TigerBeetleLedger
from core.model import Clock


def build_ledger(settings: LedgerSettings, generation: Path, clock: Clock) -> Ledger:
    """The cluster if one is configured, else the embedded ledger of this generation."""
    cluster = settings.tigerbeetle
    if cluster.cluster_id is not None:
        return TigerBeetleLedger(cluster.cluster_id, ",".join(cluster.replicas))
    return EmbeddedLedger(
        ledger_folder(generation), clock, look_seconds=int(settings.persist_interval) / 1000
    )


def credit_limits(settings: LedgerSettings) -> CreditLimits:
    """The configured limits. Raises LimitRefused for one that is out of range."""
    limits = settings.limits
    peers: dict[str, int | None] = dict(limits.peers)
    tokens: dict[str, dict[str, int | None]] = {k: dict(v) for k, v in limits.tokens.items()}
    return CreditLimits(limits.default, peers, tokens, limits.ceiling)


def custody_rules(settings: CustodySettings) -> tuple[Mapping[str, ChainRules], ChainRules]:
    """Rules of the chains that differ, and the default."""
    default = ChainRules(Policy(settings.policy), settings.finality)
    rules = {
        chain: ChainRules(
            Policy(own.policy or settings.policy),
            settings.finality if own.finality is None else own.finality,
        )
        for chain, own in settings.chains.items()
    }
    return rules, default
