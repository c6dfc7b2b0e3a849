"""AccountManager: what peers owe us and what we owe them, on any ledger.

Every pair of peer and token has a receivable and a payable account and those that balance them,
made when first needed. Decisions are the ledger's: limits, replays and races are judged inside
its commit, and this class only words the question and the answer. It knows no chain.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from core.accounting import packets as rules
from core.accounting.batches import chunks, lookup_accounts, lookup_transfers
from core.accounting.chart import ChartEntry, chart_of
from core.accounting.ids import Kind, account_id
from core.accounting.limits import NO_LIMIT, CreditLimits, funding
from core.accounting.lines import funded
from core.accounting.packets import Legs
from core.accounting.peers import Peers
from core.accounting.settlements import Settlements
from core.accounting.touched import TouchedReader
from core.accounting.trial import Trial, TrialBalance
from core.accounting.types import (
    Direction,
    LimitChange,
    LimitCheck,
    Packet,
    PacketResult,
    Pair,
    PeerAccounts,
    PeerBalance,
    SettlementResult,
    Stage,
    Step,
)
from core.ledger import Account, Ledger

# Steps per request to the ledger: two transfers each. It takes four times as many, but the loop
# would stand still for as long as they take to judge.
_STEPS = 1_024
_NO_ACCOUNT = Account()

log = logging.getLogger("bursar.accounting")


class AccountManager:
    """Accounts of one node in one ledger, which the caller opens and closes.

    `tokens` are the names of units packets may be in; their ledger numbers are 1, 2, ... in the
    order in which they were first met, and stay theirs. Errors of the ledger itself
    (LedgerError) pass through every method. Settlements that take time are at `settlements`.
    """

    def __init__(
        self,
        ledger: Ledger,
        node_id: str,
        tokens: Sequence[str],
        limits: CreditLimits | None = None,
    ) -> None:
        self.node_id = node_id
        self._ledger = ledger
        self._peers = Peers(ledger, node_id, tokens, limits or CreditLimits())
        self._trial = Trial(ledger)
        self.settlements = Settlements(self._peers)

    # -- accounts

    @property
    def tokens(self) -> tuple[str, ...]:
        """The configured tokens, in order."""
        return self._peers.tokens

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs opened here, in that order. The ledger keeps hashes, not names: whoever
        starts a manager names the pairs it knew before to `open_accounts`."""
        return tuple(self._peers.accounts)

    async def open(self) -> None:
        """Claim the tokens' ledger numbers, in the order of the settings."""
        await self._peers.open_tokens()

    async def open_accounts(self, pairs: Iterable[Pair]) -> list[PeerAccounts]:
        """Make the accounts that are missing and fund their credit lines; any number at once.

        Raises UnknownToken, AccountMismatch, LimitRefused.
        """
        return await self._peers.open(pairs)

    async def chart(self, pairs: Iterable[Pair] | None = None) -> dict[int, ChartEntry]:
        """By id, the accounts of the tokens and of `pairs` (default: those opened here)."""
        await self.open()
        return chart_of(
            self.node_id, self._peers.numbers.known, self.pairs if pairs is None else pairs
        )

    def touched(self) -> TouchedReader:
        """A reader of the pairs that commits touch from now on; close it when done."""
        return self._peers.touched.reader()

    # -- packets

    async def commit(self, steps: Sequence[Step]) -> list[PacketResult]:
        """Take steps of packets, in order; up to 1,024 are one request to the ledger. One result
        per step; a refused step books nothing and the others go on."""
        tokens = frozenset(self.tokens)
        statuses = [rules.fault(step, tokens) for step in steps]
        sound = [index for index, status in enumerate(statuses) if not status]
        for chunk in chunks(sound, _STEPS):
            booked = await self._commit([steps[index] for index in chunk])
            for index, status in zip(chunk, booked, strict=True):
                statuses[index] = status
        return [rules.result_of(step, status) for step, status in zip(steps, statuses, strict=True)]

    async def prepare(self, packets: Sequence[Packet], timeout_s: int) -> list[PacketResult]:
        """Hold both amounts of each packet until it is fulfilled, rejected or `timeout_s` seconds
        have passed (0: for ever)."""
        return await self.commit([Step(Stage.PREPARE, packet, timeout_s) for packet in packets])

    async def fulfil(self, packets: Sequence[Packet]) -> list[PacketResult]:
        """Book what was prepared."""
        return await self.commit([Step(Stage.FULFIL, packet) for packet in packets])

    async def reject(self, packets: Sequence[Packet]) -> list[PacketResult]:
        """Let go of what was prepared."""
        return await self.commit([Step(Stage.REJECT, packet) for packet in packets])

    async def record_packet_transfers(self, packets: Sequence[Packet]) -> list[PacketResult]:
        """Book finished packets in one step."""
        return await self.commit([Step(Stage.RECORD, packet) for packet in packets])

    async def _commit(self, steps: Sequence[Step]) -> list[str]:
        ends = [
            (Pair(s.packet.source, s.packet.token), Pair(s.packet.destination, s.packet.token))
            for s in steps
        ]
        pairs = list(dict.fromkeys(pair for end in ends for pair in end))
        await self._peers.open(pairs)
        # Headroom that lapsed packets freed belongs to a lowered limit, not to the next packet.
        waiting = self._peers.waiting(pairs)
        if waiting:
            await self._peers.lines.move(waiting)
        accounts = self._peers.accounts
        legs = [
            rules.legs_of(step, accounts[source], accounts[destination])
            for step, (source, destination) in zip(steps, ends, strict=True)
        ]
        rows = [transfer for pair in legs for transfer in pair]
        rejected = {e[0] for s, e in zip(steps, ends, strict=True) if s.stage is Stage.REJECT}
        sweeps = await self._peers.lines.sweeps(self._peers.waiting(rejected))
        results = await self._ledger.create_transfers([*rows, *sweeps])
        statuses = [
            rules.status_of(results[i].status, results[i + 1].status)
            for i in range(0, len(rows), 2)
        ]
        await self._judge_replays(steps, legs, statuses)
        self._peers.touched.add(
            pair
            for end, status in zip(ends, statuses, strict=True)
            if status == rules.CREATED
            for pair in end
        )
        return statuses

    async def _judge_replays(
        self, steps: Sequence[Step], legs: Sequence[Legs], statuses: list[str]
    ) -> None:
        """Hold the outgoing legs of repeated steps to what was booked."""
        replays = [index for index, status in enumerate(statuses) if status == rules.EXISTS]
        if replays:
            booked = await lookup_transfers(
                self._ledger, [legs[index].outgoing.id for index in replays]
            )
            for index in replays:
                sent = legs[index].outgoing
                statuses[index] = rules.replay_status(steps[index], sent, booked.get(sent.id))
                log.debug("packet %s came again: %s", steps[index].packet.id, statuses[index])

    # -- settlements

    async def record_settlement(
        self, peer: str, token: str, direction: Direction, amount: int, reference: str
    ) -> SettlementResult:
        """Book a payment that has happened: it reduces the receivable (the peer paid us) or the
        payable (we paid). `reference` is the payment's own, such as a transaction hash: a second
        call with it books nothing. More than is owed stands as a prepayment, below zero.

        Raises SettlementRefused, UnknownToken.
        """
        return await self.settlements.record(peer, token, direction, amount, reference)

    # -- limits

    @property
    def limits(self) -> CreditLimits:
        """The limits as configured; what the ledger enforces is in each balance."""
        return self._peers.limits

    async def set_limits(self, limits: CreditLimits) -> list[LimitChange]:
        """Take new limits, and move the credit lines of all open pairs to them."""
        self._peers.limits = limits
        return await self._peers.apply_limits()

    async def apply_limits(self) -> list[LimitChange]:
        """Move every credit line to its limit, or as far down as is free. A line that is not yet
        there follows with each payment and packet; this takes up what lapsed meanwhile."""
        return await self._peers.apply_limits()

    async def check_credit_limit(self, peer: str, token: str, amount: int) -> LimitCheck:
        """Whether a packet of `amount` from the peer would pass now; books nothing. Raises
        UnknownToken."""
        balance = await self.get_account_balance(peer, token)
        room = NO_LIMIT if balance.headroom is None else balance.headroom
        return LimitCheck(peer, token, amount, 0 <= amount <= room, balance.limit, balance.headroom)

    async def would_exceed_credit_limit(self, peer: str, token: str, amount: int) -> bool:
        """The same question, turned round."""
        return not (await self.check_credit_limit(peer, token, amount)).allowed

    # -- balances

    async def get_account_balance(self, peer: str, token: str) -> PeerBalance:
        """Receivable, payable and net of a pair; zeros for a peer never seen. Raises
        UnknownToken."""
        return (await self.get_account_balances([Pair(peer, token)]))[0]

    async def get_account_balances(self, pairs: Sequence[Pair]) -> list[PeerBalance]:
        """The balances of any number of pairs, in order, from one look-up. Raises UnknownToken."""
        ids: list[tuple[int, int, int]] = []
        for pair in pairs:
            self._peers.check_token(pair.token)
            known = self._peers.accounts.get(pair)
            if known is not None:
                ids.append((known.debit, known.credit, known.line))
            else:
                debit, credit, line = (
                    account_id(self.node_id, pair.peer, pair.token, kind)
                    for kind in (Kind.DEBIT, Kind.CREDIT, Kind.LINE)
                )
                ids.append((debit, credit, line))
        rows = await lookup_accounts(self._ledger, [id_ for three in ids for id_ in three])
        return [
            self._balance(pair, *(rows.get(id_, _NO_ACCOUNT) for id_ in three))
            for pair, three in zip(pairs, ids, strict=True)
        ]

    def _balance(self, pair: Pair, debit: Account, credit: Account, line: Account) -> PeerBalance:
        target = self._peers.limits.of(*pair)
        wanted = funding(target)
        # A pair not opened here is funded when it is; one above a lowered limit is cut to it
        # before its next packet is judged.
        in_force = funded(line) if pair in self._peers.accounts else wanted
        usable = min(in_force, wanted)
        receivable = debit.debits_posted - debit.credits_posted + funded(line)
        return PeerBalance(
            pair.peer,
            pair.token,
            receivable=receivable,
            payable=credit.credits_posted - credit.debits_posted,
            receivable_in_flight=debit.debits_pending,
            payable_in_flight=credit.credits_pending,
            receivable_in_transit=debit.credits_pending,
            payable_in_transit=credit.debits_pending,
            limit=None if in_force >= NO_LIMIT else in_force,
            target=target,
            headroom=None
            if usable >= NO_LIMIT
            else max(0, usable - receivable - debit.debits_pending),
        )

    async def trial_balance(self) -> list[TrialBalance]:
        """One per token: debits and credits over every account of its ledger."""
        await self.open()
        return await self._trial.read({token: self._peers.numbers[token] for token in self.tokens})
