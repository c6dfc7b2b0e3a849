"""Credit lines: the ledger itself refuses what goes beyond a limit.

A debit account may not have more debits than credits, and its line credits it by the limit. A
change of the line is a transfer whose id is made of what the line stood at, so of two processes
that read the same state only one moves it: compare and swap, by id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from core.accounting.batches import create_transfers, lookup_accounts
from core.accounting.ids import CODES, Kind, digest_id
from core.accounting.limits import NO_LIMIT, funding
from core.accounting.types import LimitChange, LimitRefused, Pair, PeerAccounts
from core.ledger import Account, Ledger, Transfer, TransferFlags, TransferStatus

_ROUNDS = 16  # times another process may be first before this one gives up
_LOWER = int(TransferFlags.BALANCING_DEBIT)

Targets = Mapping[Pair, tuple[PeerAccounts, int | None]]


def funded(line: Account) -> int:
    """Base units by which a line funds its debit account: the limit in force."""
    return line.debits_posted - line.credits_posted


def free(debit: Account) -> int:
    """Base units the peer may still send: funded, less owed, less in flight."""
    return debit.credits_posted - debit.debits_posted - debit.debits_pending


class _Version(NamedTuple):
    """What a line stood at. Both totals only grow, so no state comes twice."""

    debits: int
    credits: int


def _version(line: Account) -> _Version:
    return _Version(line.debits_posted, line.credits_posted)


def change(accounts: PeerAccounts, line: Account, target: int, attempt: int) -> Transfer | None:
    """The transfer that brings a line to its target, or as far down as is free; None if it is
    there. `attempt` counts transfers that moved nothing since the line last changed."""
    step = target - funded(line)
    if not step:
        return None
    at = _version(line)
    raises = step > 0
    return Transfer(
        id=digest_id("line", f"{line.id:032x}", str(at.debits), str(at.credits), str(attempt)),
        debit_account_id=accounts.line if raises else accounts.debit,
        credit_account_id=accounts.debit if raises else accounts.line,
        amount=abs(step),
        ledger=accounts.ledger,
        code=CODES[Kind.LINE],
        flags=0 if raises else _LOWER,
    )


class CreditLines:
    """Moves lines to their targets, and remembers those that could not yet be lowered."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: set[Pair] = set()

    def waiting(self, pair: Pair) -> bool:
        """Whether the peer owes more than its lowered limit, so that the line is above it."""
        return pair in self._waiting

    async def move(self, targets: Targets) -> dict[Pair, LimitChange]:
        """Bring lines to their targets, or as far down as is free. Raises LimitRefused."""
        moved: dict[Pair, LimitChange] = {}
        open_ = dict(targets)
        seen: dict[Pair, tuple[_Version, int]] = {}
        status: dict[Pair, TransferStatus] = {}
        for _ in range(_ROUNDS):
            rows = await self._rows(open_)
            todo: dict[Pair, Transfer] = {}
            for pair, (accounts, limit) in open_.items():
                debit, line = rows[accounts.debit], rows[accounts.line]
                at = _version(line)
                before, attempt = seen.get(pair, (None, -1))
                seen[pair] = (at, attempt + 1 if at == before else 0)
                transfer = change(accounts, line, funding(limit), seen[pair][1])
                if transfer is None or (transfer.flags & _LOWER and free(debit) <= 0):
                    moved[pair] = self._moved(pair, limit, funded(line))
                else:
                    todo[pair] = transfer
            if not todo:
                return moved
            results = await create_transfers(self._ledger, list(todo.values()))
            status = dict(zip(todo, (r.status for r in results), strict=True))
            open_ = {pair: targets[pair] for pair in todo}
        peer, token = next(iter(open_))
        raise LimitRefused(
            f"The credit limit of peer {peer} in {token} could not be set to"
            f" {funding(open_[Pair(peer, token)][1])}: {status[Pair(peer, token)].name.lower()}."
        )

    async def sweeps(self, targets: Targets) -> list[Transfer]:
        """For waiting pairs: transfers to put behind those that free headroom, in the same
        request, so that no packet can use it in between."""
        waiting = {pair: to for pair, to in targets.items() if pair in self._waiting}
        if not waiting:
            return []
        rows = await self._rows(waiting)
        made = (change(to[0], rows[to[0].line], funding(to[1]), 0) for to in waiting.values())
        return [transfer for transfer in made if transfer is not None]

    async def _rows(self, targets: Targets) -> dict[int, Account]:
        ids = [id_ for accounts, _ in targets.values() for id_ in (accounts.debit, accounts.line)]
        return await lookup_accounts(self._ledger, ids)

    def _moved(self, pair: Pair, limit: int | None, in_force: int) -> LimitChange:
        if in_force > funding(limit):
            self._waiting.add(pair)
        else:
            self._waiting.discard(pair)
        in_force_limit = None if in_force >= NO_LIMIT else in_force
        return LimitChange(pair.peer, pair.token, limit, in_force_limit)
