"""A chain written down by hand, faults by hand, and the small things a reader needs beside.

`Ledger` is a `SimulatedChain` whose blocks a test makes one at a time; nothing moves by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from hashlib import sha256

from core.chains.base58 import tron_address, xrpl_address
from core.demo.protocol import ActiveFault, Fault
from core.model import Asset, BlockRef

XRP = Asset(1, "xrpl", "XRP", "XRP", 6)
TRX = Asset(2, "tron", "TRX", "TRON", 6)
USDT_CONTRACT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
USDT = Asset(3, "tron", "USDT", "Tether USD", 6, contract=USDT_CONTRACT)


def xrpl_account(number: int) -> str:
    """A valid classic address for each number."""
    return xrpl_address(sha256(b"xrpl %d" % number).digest()[:20])


def tron_account(number: int) -> str:
    """A valid TRON address for each number."""
    return tron_address(sha256(b"tron %d" % number).digest()[:20])


class RealClock:
    """The machine's time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Kept:
    """An EndpointMemory in a dictionary."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def recall(self, key: str) -> str | None:
        return self.texts.get(key)

    async def remember(self, key: str, value: str) -> None:
        self.texts[key] = value


class Faults:
    """A FaultPlan that a test sets."""

    def __init__(self) -> None:
        self.now: ActiveFault | None = None
        self._after = 0
        self._over: Callable[[], bool] = lambda: False

    def begin(
        self,
        fault: Fault,
        *,
        after: int = 0,
        over: Callable[[], bool] = lambda: False,
        stuck_at: int = 0,
    ) -> None:
        """Show `fault` after about `after` looks at the plan (a server looks once or twice per
        request, and by itself) until it is `over`."""
        self.now = ActiveFault(fault, retry_after_s=1, stuck_at=stuck_at)
        self._after, self._over = after, over

    def end(self) -> None:
        """Be well again."""
        self.now = None

    def current(self) -> ActiveFault | None:
        if self.now is None:
            return None
        if self._after > 0:
            self._after -= 1
            return None
        if self._over():
            self.now = None
        return self.now


class Ledger:
    """Balances by block, each block holding only what changed in it.

    `style` is "xrpl" (upper-case hashes) or "tron" (0x hashes that begin with the number).
    """

    def __init__(self, style: str = "xrpl", *, chain_id: int = 21_338, first: int = 1000) -> None:
        self._style = style
        self._chain_id = chain_id
        self._first = first
        self._changes: list[dict[tuple[str, str | None], int | None]] = []
        self._refs: list[BlockRef] = []
        self._owned: dict[str, int] = {}
        self.contracts: set[str] = set()
        self.close()

    def close(
        self, changes: dict[tuple[str, str | None], int | None] | None = None, *, age_s: float = 0
    ) -> BlockRef:
        """Make the next block, `age_s` old, with these balances from then on (None: gone)."""
        number = self._first + len(self._refs)
        digest = sha256(f"{self._style} {number}".encode()).hexdigest()
        tron = f"0x{number:016x}{digest[16:]}"
        block_hash = tron if self._style == "tron" else digest.upper()
        parent = self._refs[-1].hash if self._refs else ""
        time_ms = (int(time.time() - age_s)) * 1000
        self._refs.append(BlockRef(number, block_hash, time_ms, parent))
        self._changes.append(dict(changes or {}))
        return self._refs[-1]

    def own(self, address: str, objects: int) -> None:
        """Let an account own ledger objects."""
        self._owned[address] = objects

    @property
    def chain_id(self) -> int:
        return self._chain_id

    def head(self) -> BlockRef:
        return self._refs[-1]

    def block(self, number: int) -> BlockRef | None:
        place = number - self._first
        return self._refs[place] if 0 <= place < len(self._refs) else None

    def block_by_hash(self, block_hash: str) -> BlockRef | None:
        return next((ref for ref in reversed(self._refs) if ref.hash == block_hash), None)

    def balance(self, address: str, contract: str | None, number: int) -> int | None:
        key = (address, contract)
        for changes in reversed(self._changes[: number - self._first + 1]):
            if key in changes:
                return changes[key]
        return None

    def owner_count(self, address: str, number: int) -> int:
        return self._owned.get(address, 0)

    def is_contract(self, address: str) -> bool:
        return address in self.contracts
