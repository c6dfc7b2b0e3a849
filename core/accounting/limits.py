"""Credit limits: how much a peer may owe us of one token, most specific setting first.

Pure: which limit holds is decided here; that it holds is the ledger's doing (`lines.py`).
"""

from __future__ import annotations

import msgspec

from core.accounting.types import LimitRefused

# How far a credit line without limit is funded: more than any peer can owe, and far enough
# from 2^128 that sums of lines do not overflow.
NO_LIMIT = 2**100


class CreditLimits(msgspec.Struct, frozen=True):
    """Limits in base units of the token; None is no limit. A peer or pair that is not listed
    takes the next wider setting; `ceiling` caps them all, also those without limit."""

    default: int | None = None
    peers: dict[str, int | None] = {}
    tokens: dict[str, dict[str, int | None]] = {}  # by peer, then token
    ceiling: int | None = None

    def __post_init__(self) -> None:
        _check(self.default, "the default credit limit")
        _check(self.ceiling, "the ceiling of all credit limits")
        for peer, limit in self.peers.items():
            _check(limit, f"the credit limit of peer {peer}")
        for peer, tokens in self.tokens.items():
            for token, limit in tokens.items():
                _check(limit, f"the credit limit of peer {peer} in {token}")

    def of(self, peer: str, token: str) -> int | None:
        """What the peer may owe us of the token, base units; None is no limit."""
        limit = self.tokens.get(peer, {}).get(token, self.peers.get(peer, self.default))
        if limit is None or self.ceiling is None:
            return self.ceiling if limit is None else limit
        return min(limit, self.ceiling)


def funding(limit: int | None) -> int:
    """How far the credit line is funded for a limit."""
    return NO_LIMIT if limit is None else limit


def _check(limit: int | None, name: str) -> None:
    if limit is not None and not 0 <= limit < NO_LIMIT:
        raise LimitRefused(
            f"{limit} cannot be {name}: give 0 to 2^100 - 1 base units, or none for no limit."
        )
