"""The accounts of peers: made when first needed, for any number of pairs at once.

Opening is idempotent, here and between processes: ids are hashes of names, and a credit line is
funded by compare and swap. The ledger keeps hashes, not names, so names live with the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from core.accounting.batches import ensure_accounts
from core.accounting.chart import PEER_KINDS, TOKEN_KINDS, account_row
from core.accounting.ids import Kind, account_id
from core.accounting.limits import CreditLimits
from core.accounting.lines import CreditLines, Targets
from core.accounting.numbers import TOKENS_FIRST, LedgerNumbers
from core.accounting.touched import Touched
from core.accounting.types import AccountingError, LimitChange, Pair, PeerAccounts, UnknownToken
from core.ledger import Ledger


class Peers:
    """Pairs that are open, their limits, and the signal that says which were touched."""

    def __init__(
        self, ledger: Ledger, node: str, tokens: Sequence[str], limits: CreditLimits
    ) -> None:
        self.ledger = ledger
        self.node = node
        self.tokens = tuple(dict.fromkeys(tokens))
        self.limits = limits
        self.numbers = LedgerNumbers(ledger, node, TOKENS_FIRST, TOKEN_KINDS)
        self.lines = CreditLines(ledger)
        self.touched = Touched()
        self.accounts: dict[Pair, PeerAccounts] = {}
        self._opening = asyncio.Lock()

    def check_token(self, token: str) -> None:
        """Raises UnknownToken."""
        if token not in self.tokens:
            raise UnknownToken(token, self.tokens)

    async def open_tokens(self) -> None:
        """Claim the tokens' ledger numbers, in the order of the settings."""
        async with self._opening:
            await self.numbers.open(self.tokens)

    async def open(self, pairs: Iterable[Pair]) -> list[PeerAccounts]:
        """Make what is missing of the pairs' accounts, and fund their credit lines.

        Raises UnknownToken, AccountMismatch, LimitRefused.
        """
        wanted = list(pairs)
        if not all(pair in self.accounts for pair in wanted):
            async with self._opening:
                await self._open_missing(wanted)
        return [self.accounts[pair] for pair in wanted]

    async def _open_missing(self, wanted: Sequence[Pair]) -> None:
        missing = [pair for pair in dict.fromkeys(wanted) if pair not in self.accounts]
        for pair in missing:
            self.check_token(pair.token)
            if not pair.peer:
                raise AccountingError(f"A peer without a name cannot hold {pair.token}.")
        if not missing:
            return
        await self.numbers.open(self.tokens)
        made = {pair: self._ids(pair) for pair in missing}
        rows = [
            account_row(self.node, peer, token, kind, accounts.ledger)
            for (peer, token), accounts in made.items()
            for kind in PEER_KINDS
        ]
        owners = [f"peer {pair.peer}, {pair.token}" for pair in made for _ in PEER_KINDS]
        await ensure_accounts(self.ledger, rows, owners)
        await self.lines.move(
            {pair: (accounts, self.limits.of(*pair)) for pair, accounts in made.items()}
        )
        self.accounts |= made
        self.touched.add(missing)

    def targets(self, pairs: Iterable[Pair]) -> Targets:
        """Accounts and configured limits of open pairs."""
        return {pair: (self.accounts[pair], self.limits.of(*pair)) for pair in pairs}

    def waiting(self, pairs: Iterable[Pair]) -> Targets:
        """The same for those among them whose credit line is still above a lowered limit."""
        return self.targets(pair for pair in pairs if self.lines.waiting(pair))

    async def apply_limits(self) -> list[LimitChange]:
        """Move every open pair's credit line to its limit, or as far down as is free."""
        moved = await self.lines.move(self.targets(self.accounts))
        self.touched.add(moved)
        return list(moved.values())

    def _ids(self, pair: Pair) -> PeerAccounts:
        debit, credit, transit, line = (
            account_id(self.node, pair.peer, pair.token, kind) for kind in PEER_KINDS
        )
        return PeerAccounts(
            peer=pair.peer,
            token=pair.token,
            ledger=self.numbers[pair.token],
            debit=debit,
            credit=credit,
            transit=transit,
            line=line,
            clearing=self.numbers.account_id(pair.token, Kind.CLEARING),
        )
