"""Which ledger number a token or asset has: the ledger itself remembers.

A name's opening account carries its number, so the order of the settings may change. A number
is claimed by an account whose id is made of the number and whose mark is made of the name: of
two processes that want one number for two names, the ledger refuses one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.accounting.batches import ensure_accounts, lookup_accounts
from core.accounting.chart import account_row, claim_row
from core.accounting.ids import Kind, account_id, token_mark
from core.ledger import AccountStatus, Ledger

TOKENS_FIRST = 1
CUSTODY_FIRST = 1_000_001
_WINDOW = 64  # numbers looked at in one request


class LedgerNumbers:
    """Numbers of names, from `first` up, and the node's own accounts for each name: one of each
    of `kinds`, the opening account among them."""

    def __init__(self, ledger: Ledger, node: str, first: int, kinds: Sequence[Kind]) -> None:
        self._ledger = ledger
        self._node = node
        self._first = first
        self._kinds = kinds
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
        found = await self._find(new)
        await self._take(found)
        for name in new:
            if name in found:
                continue
            claimed = await self._claim(name)
            # Another process may have claimed another number for the same name: the opening
            # account, of which there is one, decides.
            opening = account_row(self._node, "", name, Kind.OPENING, claimed)
            await self._ledger.create_accounts([opening])
            await self._take(await self._find([name]))

    def account_id(self, name: str, kind: Kind) -> int:
        """The node's own account of that kind for a name."""
        return account_id(self._node, "", name, kind)

    async def _find(self, names: Sequence[str]) -> dict[str, int]:
        """The numbers of names that have one."""
        ids = {name: self.account_id(name, Kind.OPENING) for name in names}
        rows = await lookup_accounts(self._ledger, list(ids.values()))
        return {name: rows[id_].ledger for name, id_ in ids.items() if id_ in rows}

    async def _take(self, numbers: Mapping[str, int]) -> None:
        """Make what is missing of these names' accounts, and remember their numbers."""
        rows = [claim_row(self._node, name, number) for name, number in numbers.items()]
        owners = list(numbers)
        for name, number in numbers.items():
            rows += [account_row(self._node, "", name, kind, number) for kind in self._kinds]
            owners += [name] * len(self._kinds)
        await ensure_accounts(self._ledger, rows, owners)
        self._numbers |= numbers

    async def _claim(self, name: str) -> int:
        """The lowest number that is free, or was claimed for this name before."""
        number = self._first
        while True:
            window = [claim_row(self._node, name, n) for n in range(number, number + _WINDOW)]
            rows = await lookup_accounts(self._ledger, [claim.id for claim in window])
            for claim in window:
                if claim.id in rows and rows[claim.id].user_data_64 != token_mark(name):
                    continue
                [result] = await self._ledger.create_accounts([claim])
                if result.status in (AccountStatus.CREATED, AccountStatus.EXISTS):
                    return claim.ledger
            number += _WINDOW
