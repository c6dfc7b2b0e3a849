"""The trial balance: in every ledger, what was debited is what was credited.

A large ledger takes several requests to read and moves meanwhile, so a difference is only
believed when it stands still: a true one does, one that comes of reading does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from core.accounting.batches import chunks
from core.clock import give_way
from core.ledger import BATCH_MAX, Ledger, QueryFilter

_PASSES = 5
# Accounts read between two turns of the loop: about two milliseconds of it, where a whole batch
# takes eight and a key passes the loop five times.
_SLICE = 2_000


class TrialBalance(msgspec.Struct, frozen=True, gc=False):
    """Sums over all accounts of one ledger, base units, pending beside posted. `confirmed` is
    False when the sums did not agree and changed with every reading."""

    ledger: int
    name: str
    accounts: int
    debits: int
    credits: int
    debits_pending: int
    credits_pending: int
    confirmed: bool = True

    @property
    def difference(self) -> int:
        """Posted debits less credits; must be 0."""
        return self.debits - self.credits

    @property
    def pending_difference(self) -> int:
        """Pending debits less credits; must be 0."""
        return self.debits_pending - self.credits_pending

    @property
    def balanced(self) -> bool:
        """Both differences are 0."""
        return not self.difference and not self.pending_difference


class Trial:
    """Reads trial balances; remembers which accounts a ledger has, since they never go."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._ids: dict[int, list[int]] = {}
        self._newest: dict[int, int] = {}  # timestamp of the newest account known, by ledger

    async def read(self, numbers: Mapping[str, int]) -> list[TrialBalance]:
        """One trial balance per name and ledger number, in that order."""
        return [await self._of(name, number) for name, number in numbers.items()]

    async def _of(self, name: str, number: int) -> TrialBalance:
        before: TrialBalance | None = None
        now = await self._pass(name, number)
        for _ in range(_PASSES - 1):
            settled = before is not None and (
                (before.difference, before.pending_difference)
                == (now.difference, now.pending_difference)
            )
            if now.balanced or settled:
                return now
            before, now = now, await self._pass(name, number)
        return now if now.balanced else msgspec.structs.replace(now, confirmed=False)

    async def _pass(self, name: str, number: int) -> TrialBalance:
        await self._find(number)
        accounts = debits = credits = debits_pending = credits_pending = 0
        for part in chunks(self._ids[number], _SLICE):
            rows = await self._ledger.lookup_accounts(part)
            accounts += len(rows)
            for row in rows:
                debits += row.debits_posted
                credits += row.credits_posted
                debits_pending += row.debits_pending
                credits_pending += row.credits_pending
            await give_way()  # a large ledger is no reason for the loop to wait
        return TrialBalance(
            number, name, accounts, debits, credits, debits_pending, credits_pending
        )

    async def _find(self, number: int) -> None:
        """Learn the accounts that were made since the last reading."""
        ids = self._ids.setdefault(number, [])
        while True:
            after = self._newest.get(number, 0) + 1
            page = await self._ledger.query_accounts(
                QueryFilter(ledger=number, timestamp_min=after, limit=BATCH_MAX)
            )
            ids += [row.id for row in page]
            if page:
                self._newest[number] = page[-1].timestamp
            if len(page) < BATCH_MAX:
                return
