"""The chart of accounts: what an account of each kind looks like, and whose an id is.

Pure. The ledger keeps hashes, so whose an id is can only be told for names that are given:
`chart_of` answers it for the settings' tokens and the peers that are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from core.accounting.ids import CODES, Kind, account_id, owner_mark, side_mark, token_mark
from core.accounting.types import Pair
from core.ledger import Account, AccountFlags

_CAPPED = int(AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
PEER_KINDS = (Kind.DEBIT, Kind.CREDIT, Kind.TRANSIT, Kind.LINE)
TOKEN_KINDS = (Kind.OPENING, Kind.CLEARING)


class ChartEntry(msgspec.Struct, frozen=True, gc=False):
    """An account and whose it is. `owner` is a peer or an agent, "" for the node's own; `token`
    is a token, or `chain:asset`."""

    kind: Kind
    owner: str
    token: str
    account: Account


def account_row(node: str, owner: str, token: str, kind: Kind, number: int) -> Account:
    """The account of `kind` in ledger `number`, as it is created."""
    return Account(
        id=account_id(node, owner, token, kind),
        user_data_128=owner_mark(node, owner),
        user_data_64=token_mark(token),
        user_data_32=side_mark(kind),
        ledger=number,
        code=CODES[kind],
        flags=_CAPPED if kind is Kind.DEBIT else 0,
    )


def claim_row(node: str, name: str, number: int) -> Account:
    """The account that claims a ledger number for a name: its id is the number's, its mark the
    name's."""
    return Account(
        id=account_id(node, "", str(number), Kind.NUMBER),
        user_data_128=owner_mark(node, ""),
        user_data_64=token_mark(name),
        ledger=number,
        code=CODES[Kind.NUMBER],
    )


def chart_of(node: str, numbers: Mapping[str, int], pairs: Iterable[Pair]) -> dict[int, ChartEntry]:
    """By id, every account that tokens with these ledger numbers and these pairs have; pairs of
    other tokens have none."""
    entries: list[ChartEntry] = []
    for token, number in numbers.items():
        entries.append(ChartEntry(Kind.NUMBER, "", token, claim_row(node, token, number)))
        for kind in TOKEN_KINDS:
            row = account_row(node, "", token, kind, number)
            entries.append(ChartEntry(kind, "", token, row))
    for peer, token in pairs:
        if token in numbers:
            for kind in PEER_KINDS:
                row = account_row(node, peer, token, kind, numbers[token])
                entries.append(ChartEntry(kind, peer, token, row))
    return {entry.account.id: entry for entry in entries}
