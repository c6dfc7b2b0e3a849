"""Every way an endpoint fails, and what is done about it: a table, not a chain of ifs.

A transport turns what went wrong into an `EndpointError` with a `FailureKind` and words; the
pool and the readers look up the remedy. Which JSON-RPC error is which kind is data too.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from core.model import BursarError


class FailureKind(StrEnum):
    """What went wrong, in the word that starts its message."""

    TIMEOUT = "time-out"
    UNREACHABLE = "unreachable"  # DNS, TCP or TLS did not come up
    RESET = "connection reset"
    CUT = "answer cut short"
    NOT_JSON = "not JSON-RPC"  # a gateway's page, or another service altogether
    SERVER = "server error"
    TOO_MANY = "too many requests"
    TOO_LARGE = "too large"  # request, answer, batch or creation code
    GAS = "out of gas"
    NO_METHOD = "method not supported"
    NO_BLOCK = "block not known"
    INVALID = "parameters refused"
    REVERTED = "reverted"
    RPC = "JSON-RPC error"  # any other
    UNAUTHORISED = "not authorised"
    WRONG_CHAIN = "wrong chain"
    STALE = "stale head"
    INCONSISTENT = "contradicts itself"  # e.g. a balancer's backends disagree about the block


class Remedy(StrEnum):
    """What to do next."""

    SPLIT = "split"  # ask the same endpoint again for less; if it cannot be less: ROTATE
    ROTATE = "rotate"  # leave it to its back-off, go to the next endpoint
    WAIT = "wait"  # it is well but full: not before Retry-After; the next one meanwhile
    REFUSE = "refuse"  # never again before a restart: configuration is wrong


class Treatment(NamedTuple):
    """A row of the table. `shrinks`: the chunk that failed was too large, learn it."""

    remedy: Remedy
    shrinks: bool = False


TREATMENT: dict[FailureKind, Treatment] = {
    FailureKind.TIMEOUT: Treatment(Remedy.ROTATE, shrinks=True),
    FailureKind.UNREACHABLE: Treatment(Remedy.ROTATE),
    FailureKind.RESET: Treatment(Remedy.ROTATE),
    FailureKind.CUT: Treatment(Remedy.ROTATE),
    FailureKind.NOT_JSON: Treatment(Remedy.ROTATE),
    FailureKind.SERVER: Treatment(Remedy.ROTATE),
    FailureKind.TOO_MANY: Treatment(Remedy.WAIT),
    FailureKind.TOO_LARGE: Treatment(Remedy.SPLIT, shrinks=True),
    FailureKind.GAS: Treatment(Remedy.SPLIT, shrinks=True),
    FailureKind.NO_METHOD: Treatment(Remedy.ROTATE),
    FailureKind.NO_BLOCK: Treatment(Remedy.ROTATE),
    FailureKind.INVALID: Treatment(Remedy.ROTATE),
    FailureKind.REVERTED: Treatment(Remedy.ROTATE),
    FailureKind.RPC: Treatment(Remedy.ROTATE),
    FailureKind.UNAUTHORISED: Treatment(Remedy.REFUSE),
    FailureKind.WRONG_CHAIN: Treatment(Remedy.REFUSE),
    FailureKind.STALE: Treatment(Remedy.ROTATE),
    FailureKind.INCONSISTENT: Treatment(Remedy.ROTATE),
}


class EndpointError(BursarError):
    """One request to one endpoint failed.

    `retry_after_s` is what the endpoint itself asked for. `code` and `payload` are the
    JSON-RPC error's code and its `data` where that is a string (revert data, "0x..." hex).
    """

    def __init__(
        self,
        kind: FailureKind,
        words: str = "",
        *,
        retry_after_s: float | None = None,
        code: int | None = None,
        payload: str = "",
    ) -> None:
        super().__init__(f"{kind.value}: {words}" if words else kind.value)
        self.kind = kind
        self.words = words
        self.retry_after_s = retry_after_s
        self.code = code
        self.payload = payload

    @property
    def treatment(self) -> Treatment:
        """The row of `TREATMENT` for this failure."""
        return TREATMENT[self.kind]


# First match wins. Sources: geth core/vm/errors.go, rpc/errors.go and eth/gasestimator; Erigon
# rpchelper; anvil's RpcError; messages of hosted providers as quoted in public issue threads.
_BY_WORDS: tuple[tuple[re.Pattern[str], FailureKind], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (
            r"initcode size|contract ?size ?limit|max code size|returndata|return data (is )?too"
            r"|(response|request|content|payload|batch|body)\W*(size|length)?\W*(is )?"
            r"(too (large|big|many|long)|exceed|limit)|too many (items|calls|elements)"
            r"|more than \d+ (requests|calls|items)",
            FailureKind.TOO_LARGE,
        ),
        (
            r"too many requests|rate.?limit|limit exceeded|capacity|throughput|slow ?down|quota",
            FailureKind.TOO_MANY,
        ),
        (
            r"out of gas|outofgas|gas (limit|cap|required|exhausted|too low)|exceeds.*gas"
            r"|not enough gas|execution (aborted|timeout)|evm timeout|cpu time"
            r"|time ?limit|timed? ?out",
            FailureKind.GAS,
        ),
        (
            r"(header|block|state|ledger).*(not found|unavailable|not available|unknown|pruned"
            r"|out ?of ?range)|unknown block|blockoutofrange|missing trie node"
            r"|historical state|not canonical|hash .*canonical",
            FailureKind.NO_BLOCK,
        ),
        (
            r"method.*(not (found|supported|available|allowed)|does ?n.t exist|does not exist)"
            r"|not supported|unsupported",
            FailureKind.NO_METHOD,
        ),
        (r"revert", FailureKind.REVERTED),
        (r"unauthori[sz]ed|invalid api key|api key", FailureKind.UNAUTHORISED),
        (
            r"too many arguments|invalid (argument|param)|cannot unmarshal|missing value",
            FailureKind.INVALID,
        ),
    )
)

_BY_CODE: dict[int, FailureKind] = {
    3: FailureKind.REVERTED,
    429: FailureKind.TOO_MANY,
    -32005: FailureKind.TOO_MANY,
    -32600: FailureKind.INVALID,
    -32601: FailureKind.NO_METHOD,
    -32602: FailureKind.INVALID,
    -32001: FailureKind.NO_BLOCK,
}


def of_rpc_error(code: int, message: str, payload: str = "") -> EndpointError:
    """Classify a JSON-RPC error object: its code where that is telling, then its words."""
    kind = FailureKind.REVERTED if code == 3 else None
    if kind is None and payload.startswith("0x") and "revert" in message[:1000].lower():
        kind = FailureKind.REVERTED
    if kind is None:
        start = message[:1000]  # a node may put a whole result into its message
        kind = next((kind for pattern, kind in _BY_WORDS if pattern.search(start)), None)
    if kind is None:
        kind = _BY_CODE.get(code, FailureKind.RPC)
    return EndpointError(kind, f"{plain(message)} ({code})", code=code, payload=payload)


def plain(text: str, limit: int = 160) -> str:
    """Foreign text as one printable line of bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 2]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
