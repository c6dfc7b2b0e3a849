"""Who and what the demo is made of: chains, tokens, groups of agents, and a few characters.

Tables only. How balances move stands in `patterns`, what goes wrong in `incidents`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.model import ChainKind


class WorldAsset(msgspec.Struct, frozen=True):
    """A token of the demo. `floor`, `target` and `unit` (the least that is ever paid) are base
    units; `target` is also the size of a usual balance. `least` is what an account cannot spend
    (the base reserve on XRPL)."""

    chain: str
    symbol: str
    name: str
    decimals: int
    contract: str | None
    floor: int
    target: int
    unit: int
    price: str
    least: int = 0


class ChainPlan(msgspec.Struct, frozen=True):
    """A simulated chain: block `number` stands at `genesis_s` + (number - `first`) * `block_s`."""

    name: str
    kind: ChainKind
    chain_id: int
    block_s: int
    genesis_s: int
    first: int = 0


CHAINS: Final = (
    ChainPlan("base", ChainKind.EVM, 8453, block_s=2, genesis_s=1_686_789_347),
    ChainPlan("xrpl", ChainKind.XRPL, 0, block_s=4, genesis_s=1_577_836_800, first=52_000_000),
    ChainPlan("tron", ChainKind.TRON, 728_126_428, block_s=3, genesis_s=1_529_891_469),
)

PASSWORD: Final = "a simulated fleet needs no secret"
"""Opens the demo's backups. No secret: it is shown where a password is asked for."""

_USDC: Final = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
_EURC: Final = "0x60a3E35Cc302bFA44Cb288Bc5a4F316Fdb1adb42"
_USDT: Final = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"

ASSETS: Final = (
    WorldAsset("base", "ETH", "Ether", 18, None, 2 * 10**16, 4 * 10**17, 10**9, "3120.00"),
    WorldAsset("base", "USDC", "USD Coin", 6, _USDC, 50 * 10**6, 400 * 10**6, 10**4, "1.00"),
    WorldAsset("base", "EURC", "Euro Coin", 6, _EURC, 25 * 10**6, 250 * 10**6, 10**4, "1.08"),
    WorldAsset("xrpl", "XRP", "XRP", 6, None, 25 * 10**6, 300 * 10**6, 10, "2.35", 10**6),
    WorldAsset("tron", "TRX", "TRON", 6, None, 200 * 10**6, 1500 * 10**6, 10**3, "0.28"),
    WorldAsset("tron", "USDT", "Tether USD", 6, _USDT, 50 * 10**6, 400 * 10**6, 10**4, "1.00"),
)


class Group(msgspec.Struct, frozen=True):
    """A kind of agent: its share of the fleet and of each pattern, in hundredths."""

    name: str
    share: int
    tags: tuple[str, ...]
    burners: int
    traders: int


GROUPS: Final = (
    Group("payments", 40, ("customer-facing",), burners=80, traders=5),
    Group("trading", 20, ("market",), burners=15, traders=75),
    Group("research", 25, ("batch",), burners=40, traders=0),
    Group("support", 15, ("customer-facing",), burners=60, traders=0),
)
REGIONS: Final = ("eu", "ap", "us")  # one for each of `OFFICES`

NOT_ACTIVATED: Final = 4  # agent-0005 never funded its XRPL account
NO_GAS: Final = 8  # agent-0009 ran out of ETH some hours before the start
