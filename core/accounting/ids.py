"""Deterministic ids: which account belongs to whom, and which transfer stands for what.

An id is a hash of names, so two processes on one cluster mean the same account without asking
each other, and a retry is the same transfer. Separators inside a name are escaped: no two lists
of names share an id.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

from core.ledger import AMOUNT_MAX

_MARKS_KEPT = 1_024  # a mark stands in every account of its owner or token, as one int
_IDS_KEPT = 512  # an account is asked for some five times in the one batch that concerns it


class Kind(StrEnum):
    """What an account is for; the last part of its name."""

    DEBIT = "debit"  # receivable: what the peer owes us
    CREDIT = "credit"  # payable: what we owe the peer
    CUSTODY = "custody"  # what an agent holds of one asset on one chain
    CLEARING = "clearing"  # where both legs of a packet meet; keeps the spread
    TRANSIT = "transit"  # settlements, under way (pending) and done (posted)
    LINE = "line"  # the credit line that funds a debit account
    OPENING = "opening"  # balances that were there before the ledger
    UNEXPLAINED = "unexplained"  # what the chain says and nobody recorded
    NUMBER = "number"  # claims a ledger number for one token or asset; never moves


CODES = {
    Kind.DEBIT: 100,
    Kind.CREDIT: 200,
    Kind.CUSTODY: 300,
    Kind.CLEARING: 400,
    Kind.TRANSIT: 500,
    Kind.LINE: 600,
    Kind.OPENING: 700,
    Kind.UNEXPLAINED: 800,
    Kind.NUMBER: 700,
}


def _hash16(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:16], "big")


def digest_id(*parts: str, digest: Callable[[str], int] = _hash16) -> int:
    """The 128-bit id of a list of names: the first 16 bytes, big-endian, of SHA-256 over the
    parts joined by `|` in UTF-8, `|` and `\\` inside a part escaped with `\\`. 0 and 2^128-1 are
    not legal ids: then `|1`, `|2`, ... is appended until the id is legal."""
    text = "|".join(parts)
    if "\\" in text or text.count("|") >= len(parts):
        text = "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)
    id_, attempt = digest(text), 0
    while not 0 < id_ < AMOUNT_MAX:
        attempt += 1
        id_ = digest(f"{text}|{attempt}")
    return id_


@lru_cache(maxsize=_IDS_KEPT)
def account_id(node: str, peer: str, token: str, kind: Kind) -> int:
    """The account of `kind` for a peer (or agent; "" for the node's own) and a token."""
    return digest_id(node, peer, token, kind.value)


@lru_cache(maxsize=_MARKS_KEPT)
def owner_mark(node: str, peer: str) -> int:
    """`user_data_128`: 8 bytes of SHA-256 of the node, then 8 of the peer."""
    return int.from_bytes(sha256(node.encode()).digest()[:8] + sha256(peer.encode()).digest()[:8])


@lru_cache(maxsize=_MARKS_KEPT)
def token_mark(token: str) -> int:
    """`user_data_64`: 8 bytes of SHA-256 of the token."""
    return int.from_bytes(sha256(token.encode()).digest()[:8])


def side_mark(kind: Kind) -> int:
    """`user_data_32`: 1 for what we owe a peer, else 0."""
    return 1 if kind is Kind.CREDIT else 0


@lru_cache(maxsize=_MARKS_KEPT)
def asset_name(chain: str, asset: str) -> str:
    """An asset of a chain as the token part of an id: `chain:asset`, a `:` inside escaped."""
    return ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in (chain, asset))


def packet_transfer_id(packet_id: str, leg: str, stage: str) -> int:
    """The transfer of one leg (`in`, `out`) of a packet at one stage of its life."""
    return digest_id(packet_id, leg, stage)


def settlement_id(node: str, peer: str, token: str, direction: str, reference: str) -> int:
    """The transfer that books one payment between us and a peer, by the payer's reference."""
    return digest_id(node, peer, token, "settlement", direction, reference)


def resolution_id(pending_id: int, how: str) -> int:
    """The transfer that posts or voids a pending settlement: at most one of each."""
    return digest_id(f"{pending_id:032x}", "settlement", how, "resolution")


def custody_transfer_id(custody_id: int, what: str, reference: str) -> int:
    """A transfer that changes what is booked for one custody account."""
    return digest_id(f"{custody_id:032x}", what, reference, "custody transfer")
