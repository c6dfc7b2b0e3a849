"""Balances of EVM chains: the scanner, the ladder of read techniques, the reader."""

from __future__ import annotations

from core.chains.evm.reader import ChainSetUpError, EvmReader

__all__ = ["ChainSetUpError", "EvmReader"]
