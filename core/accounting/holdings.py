"""A set of holdings for fleets of any size: one small number per agent, a bit per asset in it.

A custody account is known again by its id, which is a hash of names and is made anew when it is
needed; what must be remembered of each of 30,000 holdings is a single bit.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.accounting.custody_types import Holding


class HoldingSet:
    """Holdings that were added; none is ever taken out."""

    def __init__(self) -> None:
        self._bits: dict[tuple[str, str], int] = {}  # chain and asset -> the asset's bit
        self._held: dict[str, int] = {}  # agent -> the bits of what is in the set

    def __contains__(self, holding: Holding) -> bool:
        bit = self._bits.get((holding.chain, holding.asset), 0)
        return bool(self._held.get(holding.agent, 0) & bit)

    def update(self, holdings: Iterable[Holding]) -> None:
        """Add holdings."""
        for agent, chain, asset in holdings:
            bit = self._bits.setdefault((chain, asset), 1 << len(self._bits))
            self._held[agent] = self._held.get(agent, 0) | bit
