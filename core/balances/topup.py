"""Who is below target and by how much, exactly, in base units. Pure."""

from __future__ import annotations

import msgspec

from core.api import EngineState
from core.model import Amount


class TopUp(msgspec.Struct, frozen=True):
    """One balance below its target. Amounts are base units; `balance` is what the owner can
    spend (a chain's reserve left out), and `amount` what is missing to the target."""

    agent: str
    group: str
    chain: str
    address: str
    symbol: str
    contract: str | None
    decimals: int
    balance: Amount
    floor: Amount | None
    target: Amount
    amount: Amount


def topups(state: EngineState, *, group: str = "", chain: str = "") -> tuple[TopUp, ...]:
    """All of them, by chain and asset, then agent; only of one group or chain where named. A
    balance that was never read is unknown and not among them; one whose last reading failed
    counts with its last figure."""
    groups = {agent.id: agent.group for agent in state.agents}
    assets = {asset.id: asset for asset in state.assets}
    found = []
    for row in state.balances:
        asset = assets[row.asset]
        if row.amount is None or row.target is None:
            continue
        if (group and groups.get(row.agent) != group) or (chain and row.chain != chain):
            continue
        spendable = row.amount - row.reserved
        if spendable < row.target:
            found.append(
                TopUp(
                    agent=row.agent,
                    group=groups.get(row.agent, ""),
                    chain=row.chain,
                    address=row.address,
                    symbol=asset.symbol,
                    contract=asset.contract,
                    decimals=asset.decimals,
                    balance=Amount(max(0, spendable)),
                    floor=row.floor,
                    target=row.target,
                    amount=Amount(row.target - spendable),
                )
            )
    return tuple(sorted(found, key=lambda t: (t.chain, t.symbol, t.contract or "", t.agent)))
