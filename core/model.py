"""Value types every room speaks: ids, amounts, chains, assets, readings.

Nothing here does I/O and nothing here has behaviour beyond validation. Amounts are
integers in base units (wei, drops, sun, token units); a float never holds money.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

MASK = "********"
"""What stands where a secret would."""


class BursarError(Exception):
    """Base of every error Bursar raises on purpose.

    The message says what failed, for which agent, asset, key or file, and what to do.
    """


class NoWallet(BursarError):
    """No such agent, or it has no such balance: `No wallet for agent <id>`."""


class Secret:
    """A text that must not be shown: password, key, token. Only `reveal` gives it away; every
    other way to text (str, repr, format, JSON) gives a mask."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")


class Amount(int):
    """An exact amount in base units, of any size; a decimal string wherever it is JSON."""

    __slots__ = ()


_ZERO = Amount(0)


def as_amount(amount: int) -> Amount:
    """Base units as a view carries them; a fleet has many zeros, and they are one object."""
    return Amount(amount) if amount else _ZERO


def parse_amount(text: str, decimals: int) -> int:
    """A decimal text such as `1250.5` in base units, exactly.

    Raises BursarError when it is no plain non-negative number or is finer than the asset.
    """
    whole, dot, part = text.strip().partition(".")
    digits = whole.replace("_", "").replace(",", "")
    if not (digits.isdecimal() and digits.isascii()) or (dot and not part.isdecimal()):
        raise BursarError(f"{text!r} is not an amount; write a number such as 1250.5.")
    if len(part.rstrip("0")) > decimals:
        raise BursarError(f"{text!r} has more decimals than the asset ({decimals}).")
    return int(digits) * int(10**decimals) + int(part[:decimals].ljust(decimals, "0") or "0")


class Clock(Protocol):
    """Where time comes from, so that tests decide what time it is."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the Unix epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for intervals and time-outs."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long on this clock."""
        ...


class ChainKind(StrEnum):
    """Which reader speaks to a chain."""

    EVM = "evm"
    XRPL = "xrpl"
    TRON = "tron"


class WalletState(StrEnum):
    """Life of an agent's wallet; ARCHIVED is terminal and the only one not polled."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    ARCHIVED = "ARCHIVED"


class Chain(msgspec.Struct, frozen=True):
    """A chain of the registry. `name` is the operator's word for it and unique."""

    id: int
    name: str
    kind: ChainKind
    is_active: bool = True


class Asset(msgspec.Struct, frozen=True):
    """One token on one chain (a row of `asset_on_chain`).

    `contract` is None for the chain's native coin, a contract address on EVM and TRON,
    and the issuer's address on XRPL, where `symbol` is the currency code.
    `floor` and `target` are base units; below the floor an agent is a problem, the target is
    what a top-up brings it to. `price` is a configured unit price as a decimal string.
    """

    id: int
    chain: str
    symbol: str
    name: str
    decimals: int
    contract: str | None = None
    is_active: bool = True
    floor: Amount | None = None
    target: Amount | None = None
    price: str | None = None

    @property
    def is_native(self) -> bool:
        """True for the coin that pays the chain's fees."""
        return self.contract is None


class Account(msgspec.Struct, frozen=True, gc=False):
    """One balance that Bursar follows: an agent's address on a chain, for one asset.

    `id` is the row of `wallet_balances` and names the account everywhere (rows of the desk
    included). `asset` is `Asset.id`.
    """

    id: int
    agent: str
    chain: str
    asset: int
    address: str


class Agent(msgspec.Struct, frozen=True, gc=False):
    """An agent of the registry with what an operator attached to it."""

    id: str
    group: str = ""
    tags: tuple[str, ...] = ()
    state: WalletState = WalletState.ACTIVE
    watch_only: bool = True
    created_ms: int = 0


class BlockRef(msgspec.Struct, frozen=True):
    """A block (EVM, TRON) or validated ledger (XRPL). `hash` is lower-case hex with 0x on EVM
    and TRON, upper-case hex on XRPL; `parent` is "" where the chain did not say."""

    number: int
    hash: str
    time_ms: int
    parent: str = ""


class Value(msgspec.Struct, frozen=True):
    """A balance that a chain stated. `mark` is "" or a word such as "not activated"."""

    amount: int
    mark: str = ""
    reserved: int = 0


class Unknown(msgspec.Struct, frozen=True):
    """A balance that could not be read, and why, in words an operator can act on."""

    reason: str


class Consistency(StrEnum):
    """How far the values of one reading belong together."""

    PINNED = "pinned"  # every chunk at one block hash
    SAME_CALL = "same-call"  # one call, so one block
    SPREAD = "spread"  # several blocks; `Reading.first_block` to `Reading.block`


class Request(msgspec.Struct, frozen=True, gc=False):
    """One balance to be read."""

    address: str
    asset: Asset


class Reading(msgspec.Struct, frozen=True):
    """What a chain said at one block, in the order of the requests.

    `amounts[i]` is None where the read failed, and then `reasons[i]` says why: an error is
    never 0. `marks` and `reserved` are sparse, by index: a state such as "not activated", and
    base units that the chain does not let the owner spend (XRPL reserve).
    `forked_below` is set when a reorganisation was noticed since the last reading: the number
    of the newest block both histories share. Everything above it must be taken back.
    """

    block: BlockRef
    consistency: Consistency
    amounts: Sequence[int | None]
    reasons: dict[int, str] = {}
    marks: dict[int, str] = {}
    reserved: dict[int, int] = {}
    first_block: int = 0
    forked_below: int | None = None
    endpoint: str = ""
    requests_sent: int = 0

    def __getitem__(self, index: int) -> Value | Unknown:
        amount = self.amounts[index]
        if amount is None:
            return Unknown(self.reasons.get(index, "not read"))
        return Value(amount, self.marks.get(index, ""), self.reserved.get(index, 0))


class Severity(StrEnum):
    """How loud a row is; always shown as a word and a glyph, never as colour alone."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class EndpointState(StrEnum):
    """What an endpoint is good for right now."""

    UNTRIED = "untried"
    READY = "ready"
    BACKING_OFF = "backing off"  # failed; tried again at `retry_at_ms`
    REFUSED = "refused"  # wrong chain or unusable: not tried again before a restart


class EndpointHealth(msgspec.Struct, frozen=True):
    """One endpoint as its chain's reader sees it.

    `url` never carries credentials. `rung` is the read technique in use ("override scanner",
    "deployless scanner", "multicall3", "batch", "single", "account_info", ...). Latencies and
    `error_rate` (0 to 1) are over the last few minutes. `lag` is blocks behind the best head.
    """

    chain: str
    url: str
    state: EndpointState = EndpointState.UNTRIED
    in_use: bool = False
    rung: str = ""
    chunk: int = 0
    block: int = 0
    lag: int = 0
    p50_ms: int = 0
    p95_ms: int = 0
    requests: int = 0
    errors: int = 0
    error_rate: float = 0.0
    last_error: str = ""
    last_error_ms: int = 0
    retry_at_ms: int = 0
    note: str = ""


def human(amount: int, decimals: int) -> str:
    """Base units as an exact decimal text: `human(1_500_000, 6)` is "1.5". No float, any size."""
    if decimals == 0:
        return str(amount)
    digits = str(abs(amount)).rjust(decimals + 1, "0")
    part = digits[-decimals:].rstrip("0")
    text = f"{digits[:-decimals]}.{part}" if part else digits[:-decimals]
    return f"-{text}" if amount < 0 else text
