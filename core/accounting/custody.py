"""Custody: what the chains should hold, and how that compares with what they say.

Every holding has an account; its first reading is an opening entry, and from then on only what
is recorded moves it. So what a chain says beyond that is somebody's forgotten payment, a leak, or
an endpoint that lies. Differences are judged in `differences.py`; this room reads no chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from core.accounting.batches import (
    chunks,
    create_transfers,
    ensure_accounts,
    lookup_accounts,
    lookup_transfers,
)
from core.accounting.chart import TOKEN_KINDS, account_row
from core.accounting.custody_types import (
    ChainReading,
    ChainRules,
    Finding,
    FindingState,
    Holding,
    Movement,
    MovementResult,
    Policy,
)
from core.accounting.differences import Differences
from core.accounting.holdings import HoldingSet
from core.accounting.ids import (
    CODES,
    Kind,
    account_id,
    asset_name,
    custody_transfer_id,
)
from core.accounting.numbers import CUSTODY_FIRST, LedgerNumbers
from core.accounting.packets import words
from core.accounting.trial import Trial, TrialBalance
from core.accounting.types import CustodyRefused
from core.clock import give_way
from core.ledger import AMOUNT_MAX, Account, Ledger, Transfer, TransferStatus

_TOO_LARGE = "the amount is beyond 2^128 - 1 base units, which no ledger account can hold"
_CREATED = TransferStatus.CREATED
_READINGS = 1_000  # compared before others get a turn of the loop


class Custody:
    """The custody accounts of one node in one ledger, which the caller opens and closes.

    `rules` are per chain; `default` is for chains not named. How long a difference has stood is
    remembered here, not in the ledger: after a start it is pending for one window again. Errors
    of the ledger itself (LedgerError) pass through every method.
    """

    def __init__(
        self,
        ledger: Ledger,
        node_id: str,
        rules: Mapping[str, ChainRules] | None = None,
        default: ChainRules | None = None,
    ) -> None:
        self.node_id = node_id
        self._ledger = ledger
        self._rules = dict(rules or {})
        self._default = default or ChainRules()
        self._numbers = LedgerNumbers(
            ledger, node_id, CUSTODY_FIRST, (*TOKEN_KINDS, Kind.UNEXPLAINED)
        )
        self._trial = Trial(ledger)
        self._opened = HoldingSet()
        self._differences: dict[Holding, Differences] = {}
        self._unexplained: dict[Holding, Finding] = {}  # see `unexplained`
        self._turn = asyncio.Lock()  # one reconciliation at a time

    def rules_of(self, chain: str) -> ChainRules:
        """How a chain is reconciled."""
        return self._rules.get(chain, self._default)

    # -- movements

    async def record_movement(
        self, agent: str, chain: str, asset: str, amount: int, reference: str
    ) -> MovementResult:
        """Book what a caller knows of, once per `reference`: above 0 what came in, below 0 what
        went out, gas included. Raises CustodyRefused."""
        movement = Movement(Holding(agent, chain, asset), amount, reference)
        [result] = await self.record_movements([movement])
        if result.refused:
            raise CustodyRefused(result.message)
        return result

    async def record_movements(self, movements: Sequence[Movement]) -> list[MovementResult]:
        """Book any number of movements; one result each, and a refused one books nothing."""
        await self._recall({movement.holding for movement in movements})
        statuses = [self._fault(movement) for movement in movements]
        sound = [index for index, status in enumerate(statuses) if not status]
        rows = [self._movement_row(movements[index]) for index in sound]
        results = await create_transfers(self._ledger, rows)
        for index, result in zip(sound, results, strict=True):
            statuses[index] = result.status.name.lower()
        return [
            _movement_result(movement, status)
            for movement, status in zip(movements, statuses, strict=True)
        ]

    def _fault(self, movement: Movement) -> str:
        if not movement.reference:
            return "id_must_not_be_zero"
        if abs(movement.amount) > AMOUNT_MAX:
            return "field_out_of_range"
        # Not sent: the ledger would refuse the reference for ever, and the first reading is near.
        return "" if movement.holding in self._opened else "debit_account_not_found"

    def _movement_row(self, movement: Movement) -> Transfer:
        account = self._account_id(movement.holding)
        id_ = custody_transfer_id(account, "movement", movement.reference)
        return self._row(id_, movement.holding, Kind.CLEARING, movement.amount, 0)

    # -- reconciliation

    async def reconcile(self, readings: Sequence[ChainReading]) -> list[Finding]:
        """Compare readings with what is booked; one finding each, in order. All readings of an
        agent on a chain must be of one block. A holding read for the first time is opened.

        Raises CustodyRefused.
        """
        _check_blocks(readings)
        async with self._turn:
            findings: list[Finding] = []
            for part in chunks(readings, _READINGS):
                findings += await self._reconcile(part)
                await give_way()
            return findings

    async def _reconcile(self, readings: Sequence[ChainReading]) -> list[Finding]:
        holdings = [reading.holding for reading in readings]
        await self._recall(holdings)
        found = await self._open([r for r in readings if r.holding not in self._opened])
        old = [reading for reading in readings if reading.holding not in found]
        booked = await self._amounts([reading.holding for reading in old])
        for reading in old:
            found[reading.holding] = self._compare(reading, booked[reading.holding])
        await self._observe(found, booked)
        self._remember(found)
        return [found[holding] for holding in holdings]

    def _remember(self, found: Mapping[Holding, Finding]) -> None:
        for holding, finding in found.items():
            if finding.state is FindingState.UNEXPLAINED:
                self._unexplained[holding] = finding
            else:
                self._unexplained.pop(holding, None)

    def _compare(self, reading: ChainReading, account: Account) -> Finding:
        holding, block = reading.holding, reading.block
        booked = account.debits_posted - account.credits_posted
        finding = Finding(holding, FindingState.EQUAL, block, reading.amount, booked)
        if reading.amount is None:
            return _with(finding, FindingState.UNREAD, reason=reading.reason or "not read")
        if not 0 <= reading.amount <= AMOUNT_MAX:
            return _with(finding, FindingState.TOO_LARGE, reason=_TOO_LARGE)
        difference = reading.amount - booked
        seen = self._differences.setdefault(holding, Differences())
        seen.see(block, difference)
        finding = msgspec.structs.replace(finding, difference=difference, since=seen.since)
        if not difference:
            del self._differences[holding]
            return finding
        standing = seen.standing(block, self.rules_of(holding.chain).finality)
        if not standing:
            return _with(finding, FindingState.PENDING)
        return _with(finding, FindingState.UNEXPLAINED, unexplained=standing)

    async def _observe(self, found: dict[Holding, Finding], booked: dict[Holding, Account]) -> None:
        """Book what is unexplained on chains that are only observed."""
        todo = [
            (finding, booked[holding])
            for holding, finding in found.items()
            if finding.state is FindingState.UNEXPLAINED
            and self.rules_of(holding.chain).policy is Policy.OBSERVE
        ]
        for finding in await self._explain(todo, ""):
            found[finding.holding] = finding

    async def book_unexplained(self, agent: str, chain: str, asset: str, reason: str) -> Finding:
        """Book what the last reconciliation left unexplained, for a reason that the caller keeps
        in its audit log. Raises CustodyRefused if there is nothing unexplained (any more)."""
        holding = Holding(agent, chain, asset)
        if not reason.strip():
            raise CustodyRefused(f"{holding}: give a reason for booking what is unexplained.")
        async with self._turn:
            finding = self._unexplained.get(holding)
            if finding is None or finding.booked:
                raise CustodyRefused(
                    f"{holding}: nothing is unexplained; reconcile it to see how it stands."
                )
            booked = await self._amounts([holding])
            now = booked[holding].debits_posted - booked[holding].credits_posted
            if now != finding.ledger_amount:
                raise CustodyRefused(
                    f"{holding}: movements were booked since {finding.unexplained} was found"
                    " unexplained; reconcile it again."
                )
            [done] = await self._explain([(finding, booked[holding])], reason)
            if not done.booked:
                raise CustodyRefused(
                    f"{holding}: {finding.unexplained} was not booked: {done.reason}."
                )
            self._unexplained[holding] = done
            return done

    async def _explain(self, todo: Sequence[tuple[Finding, Account]], reason: str) -> list[Finding]:
        """Book findings to the unexplained accounts. The id is made of what the custody account
        stood at, so of two processes that found the same only one books it."""
        rows = []
        for finding, account in todo:
            at = f"{account.debits_posted}|{account.credits_posted}"
            id_ = custody_transfer_id(account.id, "unexplained", at)
            rows.append(
                self._row(
                    id_, finding.holding, Kind.UNEXPLAINED, finding.unexplained, finding.block
                )
            )
        results = await create_transfers(self._ledger, rows)
        done: list[Finding] = []
        for (finding, _), result in zip(todo, results, strict=True):
            if result.status is _CREATED:
                self._differences[finding.holding].settle(finding.unexplained)
                done.append(msgspec.structs.replace(finding, booked=True, reason=reason))
            elif result.status.name.startswith("OVERFLOWS"):
                done.append(_with(finding, FindingState.TOO_LARGE, reason=_TOO_LARGE))
            else:  # somebody else booked first; the next reading compares with what that made
                why = words(result.status.name.lower())
                done.append(msgspec.structs.replace(finding, reason=why))
        return done

    # -- accounts

    async def positions(self, holdings: Sequence[Holding]) -> dict[Holding, int]:
        """What is booked for holdings, base units; those never read are left out."""
        await self._recall(holdings)
        rows = await self._amounts(holdings)
        return {h: row.debits_posted - row.credits_posted for h, row in rows.items()}

    @property
    def unexplained(self) -> dict[Holding, Finding]:
        """The last finding of each holding that its last reconciliation left unexplained, or
        explained at that very moment (`booked`); a copy."""
        return dict(self._unexplained)

    async def trial_balance(self) -> list[TrialBalance]:
        """One per asset met so far."""
        return await self._trial.read(self._numbers.known)

    async def _recall(self, holdings: Iterable[Holding]) -> None:
        """Find out which holdings were opened earlier, or by another process."""
        new = [h for h in dict.fromkeys(holdings) if h not in self._opened]
        ids = {h: self._opening_id(h) for h in new}
        rows = await lookup_transfers(self._ledger, list(ids.values()))
        opened = [holding for holding in new if ids[holding] in rows]
        await self._numbers.open([_asset(holding) for holding in opened])
        self._opened.update(opened)

    async def _open(self, readings: Sequence[ChainReading]) -> dict[Holding, Finding]:
        """Book opening entries; findings of the holdings that were not opened before."""
        found: dict[Holding, Finding] = {}
        fresh: dict[Holding, ChainReading] = {}
        for reading in readings:
            finding = self._compare_unopened(reading)
            if finding is not None:
                found[reading.holding] = finding
            else:
                fresh[reading.holding] = reading
        await self._numbers.open([_asset(holding) for holding in fresh])
        accounts = [
            account_row(self.node_id, h.agent, _asset(h), Kind.CUSTODY, self._numbers[_asset(h)])
            for h in fresh
        ]
        await ensure_accounts(self._ledger, accounts, [str(holding) for holding in fresh])
        rows = [
            self._row(self._opening_id(h), h, Kind.OPENING, reading.amount or 0, reading.block)
            for h, reading in fresh.items()
        ]
        results = await create_transfers(self._ledger, rows)
        for (holding, reading), result in zip(fresh.items(), results, strict=True):
            finding = Finding(
                holding, FindingState.OPENED, reading.block, reading.amount, reading.amount or 0, 0
            )
            if result.status.name.startswith("OVERFLOWS"):
                found[holding] = _with(
                    finding, FindingState.TOO_LARGE, ledger_amount=0, reason=_TOO_LARGE
                )
                continue
            self._opened.update([holding])
            if result.status is _CREATED:
                found[holding] = finding
        return found

    def _compare_unopened(self, reading: ChainReading) -> Finding | None:
        """The finding of a reading that cannot open its holding; None if it can."""
        holding, block, amount = reading.holding, reading.block, reading.amount
        finding = Finding(holding, FindingState.UNREAD, block, amount)
        if amount is None:
            return _with(finding, FindingState.UNREAD, reason=reading.reason or "not read")
        if not 0 <= amount <= AMOUNT_MAX:
            return _with(finding, FindingState.TOO_LARGE, reason=_TOO_LARGE)
        return None

    async def _amounts(self, holdings: Sequence[Holding]) -> dict[Holding, Account]:
        ids = {h: self._account_id(h) for h in holdings if h in self._opened}
        rows = await lookup_accounts(self._ledger, list(ids.values()))
        return {holding: rows[id_] for holding, id_ in ids.items() if id_ in rows}

    def _account_id(self, holding: Holding) -> int:
        return account_id(self.node_id, holding.agent, _asset(holding), Kind.CUSTODY)

    def _opening_id(self, holding: Holding) -> int:
        return custody_transfer_id(self._account_id(holding), "opening", "")

    def _row(self, id_: int, holding: Holding, against: Kind, amount: int, block: int) -> Transfer:
        """Debit custody by what came in, or credit it by what went out."""
        own = self._account_id(holding)
        other = self._numbers.account_id(_asset(holding), against)
        return Transfer(
            id=id_,
            debit_account_id=own if amount >= 0 else other,
            credit_account_id=other if amount >= 0 else own,
            amount=abs(amount),
            user_data_64=block,
            ledger=self._numbers[_asset(holding)],
            code=CODES[Kind.CUSTODY if against is Kind.CLEARING else against],
        )


def _asset(holding: Holding) -> str:
    return asset_name(holding.chain, holding.asset)


def _with(
    finding: Finding,
    state: FindingState,
    *,
    reason: str = "",
    unexplained: int = 0,
    ledger_amount: int | None = None,
) -> Finding:
    booked = finding.ledger_amount if ledger_amount is None else ledger_amount
    return msgspec.structs.replace(
        finding, state=state, reason=reason, unexplained=unexplained, ledger_amount=booked
    )


def _check_blocks(readings: Sequence[ChainReading]) -> None:
    blocks: dict[tuple[str, str], int] = {}
    for reading in readings:
        holding = reading.holding
        block = blocks.setdefault((holding.agent, holding.chain), reading.block)
        if block != reading.block:
            raise CustodyRefused(
                f"Readings of {holding.agent} on {holding.chain} are of blocks {block} and"
                f" {reading.block}; read all of them at one block."
            )


def _movement_result(movement: Movement, status: str) -> MovementResult:
    if status in ("created", "exists"):
        return MovementResult(movement, status)
    why = {
        "id_must_not_be_zero": "it has no reference, so it could be booked twice",
        "debit_account_not_found": "the chain has not been read yet; record it after that",
        "field_out_of_range": _TOO_LARGE,
    }.get(status, words(status))
    return MovementResult(
        movement,
        status,
        f"{movement.holding}: movement {movement.reference!r} of {movement.amount} was not"
        f" booked: {why}.",
    )
