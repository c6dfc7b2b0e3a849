"""What the tests of a chain share: a fleet with known balances, a memory, the wall clock."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import NamedTuple

from core.model import Asset, Request
from tests.chain.anvil import Anvil

CHAIN = "anvil"
ETHER = 10**18


class WallClock:
    """The real clock, for these tests talk to real sockets; `ahead_ms` shifts its date."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class KeptMemory:
    """An EndpointMemory in a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def recall(self, key: str) -> str | None:
        return self.kept.get(key)

    async def remember(self, key: str, value: str) -> None:
        self.kept[key] = value


class Fleet(NamedTuple):
    """Wallets, the assets they are read for, and the truth by (wallet, contract)."""

    wallets: list[bytes]
    assets: list[Asset]
    truth: dict[tuple[bytes, str | None], int]

    def requests(self) -> list[Request]:
        """Every wallet for every asset, wallet by wallet."""
        return [Request("0x" + w.hex(), asset) for w in self.wallets for asset in self.assets]

    def amounts(self) -> list[int]:
        """The truth in the order of `requests`."""
        return [self.truth[(w, asset.contract)] for w in self.wallets for asset in self.assets]


def wallet(number: int) -> bytes:
    """A wallet's address, the same for the same number."""
    return hashlib.sha256(f"wallet {number}".encode()).digest()[:20]


def native() -> Asset:
    """The chain's own coin."""
    return Asset(1, CHAIN, "ETH", "Ether", 18)


def token(number: int, address: bytes, decimals: int = 18) -> Asset:
    """A token of the registry."""
    return Asset(number, CHAIN, f"T{number}", f"Token {number}", decimals, "0x" + address.hex())


def make_fleet(anvil: Anvil, wallets: int) -> Fleet:
    """Deploy two tokens and give every wallet balances computed from its number; every tenth
    wallet is empty. Mines a block, so that the state has a block of its own."""
    addresses = [wallet(i) for i in range(wallets)]
    contracts = [anvil.deploy_token(n, n, 10**30) for n in ("USDC", "DAI")]
    truth: dict[tuple[bytes, str | None], int] = {}
    amounts = [0 if i % 10 == 9 else (i + 1) * ETHER // 7 for i in range(wallets)]
    anvil.set_native(dict(zip(addresses, amounts, strict=True)))
    truth |= {(a, None): n for a, n in zip(addresses, amounts, strict=True)}
    for number, contract in enumerate(contracts, 1):
        owned = [0 if i % 10 == 9 else i * 10**6 + number for i in range(wallets)]
        anvil.set_tokens(contract, dict(zip(addresses, owned, strict=True)))
        key = "0x" + contract.hex()
        truth |= {(a, key): n for a, n in zip(addresses, owned, strict=True)}
    anvil.mine()
    assets = [native(), *(token(i, c) for i, c in enumerate(contracts, 2))]
    return Fleet(addresses, assets, truth)
