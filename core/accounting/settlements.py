"""Payments between us and a peer, as transfers to and from the pair's transit account.

A payment that reduces the receivable came in, one that reduces the payable went out. Under way
it is a pending transfer without time-out: it ends by being completed or failed, never by itself,
since an entry that lapses while money is under way is money paid twice.
"""

from __future__ import annotations

import msgspec

from core.accounting.ids import CODES, Kind, resolution_id, settlement_id
from core.accounting.peers import Peers
from core.accounting.types import (
    Direction,
    Pair,
    PeerAccounts,
    SettlementRefused,
    SettlementResult,
)
from core.ledger import AMOUNT_MAX, Transfer, TransferFlags, TransferStatus

_PENDING = int(TransferFlags.PENDING)
_POST = int(TransferFlags.POST_PENDING_TRANSFER)
_VOID = int(TransferFlags.VOID_PENDING_TRANSFER)


class Settlements:
    """Books payments. Every method may be repeated: a repetition changes nothing and says
    `replayed`. What the ledger does not book raises SettlementRefused, with its status."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def record(
        self, peer: str, token: str, direction: Direction, amount: int, reference: str
    ) -> SettlementResult:
        """Book a payment that has happened, once per `reference`."""
        if not reference:
            raise SettlementRefused(
                f"A settlement of {amount} {token} with peer {peer} needs a reference, such as"
                " the payment's transaction hash: without one it could be booked twice."
            )
        id_ = settlement_id(self._peers.node, peer, token, direction.value, reference)
        return await self._enter(Pair(peer, token), direction, amount, id_, 0)

    async def begin(
        self, peer: str, token: str, direction: Direction, amount: int, transfer_id: int
    ) -> SettlementResult:
        """Hold a payment that is about to be made. `transfer_id` is made of the settlement's key,
        so that a second start, here or elsewhere, is a repetition."""
        return await self._enter(Pair(peer, token), direction, amount, transfer_id, _PENDING)

    async def complete(
        self,
        peer: str,
        token: str,
        direction: Direction,
        pending_id: int,
        amount: int | None = None,
    ) -> SettlementResult:
        """Book a payment under way: all of it, or a smaller amount if less was paid."""
        accounts = await self._open(Pair(peer, token))
        whole = AMOUNT_MAX if amount is None else amount
        row = self._row(accounts, direction, whole, resolution_id(pending_id, "complete"))
        return await self._book(accounts.pair, direction, row, _POST, pending_id)

    async def fail(
        self, peer: str, token: str, direction: Direction, pending_id: int
    ) -> SettlementResult:
        """Take back a payment under way that was not made."""
        accounts = await self._open(Pair(peer, token))
        row = self._row(accounts, direction, 0, resolution_id(pending_id, "fail"))
        return await self._book(accounts.pair, direction, row, _VOID, pending_id)

    async def _enter(
        self, pair: Pair, direction: Direction, amount: int, id_: int, flags: int
    ) -> SettlementResult:
        accounts = await self._open(pair)
        row = self._row(accounts, direction, amount, id_)
        return await self._book(pair, direction, row, flags, 0)

    async def _open(self, pair: Pair) -> PeerAccounts:
        [accounts] = await self._peers.open([pair])
        return accounts

    def _row(self, accounts: PeerAccounts, direction: Direction, amount: int, id_: int) -> Transfer:
        came_in = direction is Direction.RECEIVABLE
        return Transfer(
            id=id_,
            debit_account_id=accounts.transit if came_in else accounts.credit,
            credit_account_id=accounts.debit if came_in else accounts.transit,
            amount=amount,
            ledger=accounts.ledger,
            code=CODES[Kind.TRANSIT],
        )

    async def _book(
        self, pair: Pair, direction: Direction, row: Transfer, flags: int, pending_id: int
    ) -> SettlementResult:
        if not 0 <= row.amount <= AMOUNT_MAX:
            raise SettlementRefused(
                f"A settlement of {row.amount} {pair.token} with peer {pair.peer} cannot be"
                " booked: amounts are 0 to 2^128 - 1."
            )
        row = msgspec.structs.replace(row, flags=flags, pending_id=pending_id)
        # A payment frees headroom; a lowered limit takes it before a packet can.
        sweeps = await self._peers.lines.sweeps(self._peers.waiting([pair]))
        results = await self._peers.ledger.create_transfers([row, *sweeps])
        status = results[0].status
        if status not in (TransferStatus.CREATED, TransferStatus.EXISTS):
            amount = "" if row.amount in (0, AMOUNT_MAX) and pending_id else f" of {row.amount}"
            raise SettlementRefused(
                f"The {direction} settlement{amount} {pair.token} with peer {pair.peer} was not"
                f" booked: {status.name.lower().replace('_', ' ')}.",
                status,
            )
        replayed = status is TransferStatus.EXISTS
        if not replayed:
            self._peers.touched.add([pair])
        return SettlementResult(row.id, pair.peer, pair.token, direction, replayed)
