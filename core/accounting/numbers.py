"""Which ledger number a token or asset has: the ledger itself remembers.

A name's opening account carries its number, so the order of the settings may change. A number
is claimed by an account whose id is made of the number and whose mark is made of the name: of
two processes that want one number for two names, the ledger refuses one.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.accounting.batches import ensure_accounts, lookup_accounts
from core.accounting.ids import CODES, Kind, account_id, owner_mark, side_mark, token_mark
from core.ledger import Account, AccountStatus, Ledger

TOKENS_FIRST = 1
CUSTODY_FIRST = 1_000_001
_WINDOW = 64  # numbers looked at in one request


class LedgerNumbers:
    """Numbers of names, from `first` up, and the node's own accounts for each name: `kinds`
    beside the opening account."""

    def __init__(self, ledger: Ledger, node: str, first: int, kinds: Sequence[Kind]) -> None:
        self._ledger = ledger
        self._node = node
        self._first = first
        self._kinds = (Kind.OPENING, *kinds)
        self._numbers: dict[str, int] = {}

    @property
    def known(self) -> dict[str, int]:
        """Names and numbers met so far; a copy."""
        return dict(self._numbers)

    def __getitem__(self, name: str) -> int:
        """The number of a name that was opened."""
        return self._numbers[name]

    async def open(self, names: Sequence[str]) -> None:
        """Find or claim the numbers of names, and make their accounts. Raises AccountMismatch."""
        new = [name for name in dict.fromkeys(names) if name not in self._numbers]
        if not new:
            return
        ids = {name: self.account_id(name, Kind.OPENING) for name in new}
        for name in new:
            rows = await lookup_accounts(self._ledger, [ids[name]])
            if ids[name] not in rows:
                claimed = await self._claim(name)
                # Another process may have claimed another number for the same name: the opening
                # account, of which there is one, decides.
                await self._ledger.create_accounts([self._account(name, Kind.OPENING, claimed)])
                rows = await lookup_accounts(self._ledger, [ids[name]])
            number = rows[ids[name]].ledger
            accounts = [self._account(name, kind, number) for kind in self._kinds]
            await ensure_accounts(self._ledger, accounts, [name] * len(accounts))
            self._numbers[name] = number

    def account_id(self, name: str, kind: Kind) -> int:
        """The node's own account of that kind for a name."""
        return account_id(self._node, "", name, kind)

    def _account(self, name: str, kind: Kind, number: int) -> Account:
        return Account(
            id=self.account_id(name, kind),
            user_data_128=owner_mark(self._node, ""),
            user_data_64=token_mark(name),
            user_data_32=side_mark(kind),
            ledger=number,
            code=CODES[kind],
        )

    async def _claim(self, name: str) -> int:
        """The lowest number that is free, or was claimed for this name before."""
        number = self._first
        while True:
            window = range(number, number + _WINDOW)
            claims = {n: account_id(self._node, "", str(n), Kind.NUMBER) for n in window}
            rows = await lookup_accounts(self._ledger, list(claims.values()))
            for number in window:
                row = rows.get(claims[number])
                if row is not None and row.user_data_64 != token_mark(name):
                    continue
                claim = Account(
                    id=claims[number],
                    user_data_128=owner_mark(self._node, ""),
                    user_data_64=token_mark(name),
                    ledger=number,
                    code=CODES[Kind.NUMBER],
                )
                [result] = await self._ledger.create_accounts([claim])
                if result.status in (AccountStatus.CREATED, AccountStatus.EXISTS):
                    return number
            number = window.stop
