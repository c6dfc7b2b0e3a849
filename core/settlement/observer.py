"""Looks at balances and decides what that means for settlements.

The row is taken before the balance is read and written only if it is still the same, so a
balance that was overtaken by a settlement triggers nothing. Balances of any number of pairs come
from one look-up; where that fails, halves of it are tried until the failing pair stands alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from core.accounting import AccountManager, CreditLimits, Direction, Pair, PeerBalance
from core.accounting.batches import chunks
from core.ledger import BATCH_MAX, LedgerClosed, LedgerStopped, LedgerUnavailable
from core.model import Clock
from core.settlement import rows as happenings
from core.settlement.records import STRIDE, Records
from core.settlement.rows import Change, Node, key_of, state_of
from core.settlement.states import Cause, SettlementState, walk
from core.settlement.thresholds import Threshold, ThresholdRules, Unmonitored
from core.settlement.types import SettlementKey
from core.store.protocol import SettlementRow

log = logging.getLogger("bursar.settlement")

_DOWN = (LedgerClosed, LedgerStopped, LedgerUnavailable)
_ROUNDS = 5  # times another process may be faster before the next sweep takes over
_PAIRS = BATCH_MAX // 3  # a balance is made of three accounts


def observe(due: int, threshold: Threshold | Unmonitored) -> Cause | None:
    """What a balance says: above its threshold, back at or below the re-arm level, or between."""
    if isinstance(threshold, Unmonitored):
        return Cause.BACK
    if due > threshold.at:
        return Cause.EXCEEDED
    return Cause.BACK if due <= threshold.rearm else None


def due_of(balance: PeerBalance, direction: Direction) -> int:
    """What a threshold is compared with: posted less in transit, base units."""
    return balance.receivable_due if direction is Direction.RECEIVABLE else balance.payable_due


class Observer:
    """`balances` holds what was last read and `trouble` why a pair could not be; `failures`
    counts such readings; `on_trigger` is called for each key that triggered."""

    def __init__(
        self,
        manager: AccountManager,
        records: Records,
        clock: Clock,
        node: Node,
        rules: ThresholdRules,
    ) -> None:
        self.balances: dict[Pair, PeerBalance] = {}
        self.trouble: dict[Pair, str] = {}
        self.failures = 0
        self.held = False
        """Balances are looked at and nothing triggers."""
        self.on_trigger: Callable[[SettlementKey], None] = lambda key: None
        self._manager = manager
        self._records = records
        self._clock = clock
        self._node = node
        self._rules = rules
        self._resolved: dict[SettlementKey, Threshold | Unmonitored] = {}
        self._limits: CreditLimits | None = None
        self._sides: dict[Pair, tuple[SettlementKey, ...]] = {}

    @property
    def rules(self) -> ThresholdRules:
        """The thresholds in force."""
        return self._rules

    @rules.setter
    def rules(self, rules: ThresholdRules) -> None:
        self._rules = rules
        self._resolved.clear()

    def threshold(self, key: SettlementKey) -> Threshold | Unmonitored:
        """The levels of a key now; limits may have changed meanwhile."""
        if self._manager.limits is not self._limits:
            self._limits = self._manager.limits
            self._resolved.clear()
        found = self._resolved.get(key)
        if found is None:
            found = self._resolved[key] = self._rules.resolve(key, self._limits)
        return found

    def keys(self, pairs: Iterable[Pair]) -> list[SettlementKey]:
        """The keys of pairs that have a threshold, or a settlement that is not done."""
        return [
            key
            for pair in pairs
            for key in self._both(pair)
            if not self._records[key].armed or isinstance(self.threshold(key), Threshold)
        ]

    def _both(self, pair: Pair) -> tuple[SettlementKey, ...]:
        both = self._sides.get(pair)
        if both is None:
            both = tuple(SettlementKey(pair.peer, pair.token, side) for side in Direction)
            self._sides[pair] = both
        return both

    async def look(self, pairs: Collection[Pair]) -> None:
        """Read the balances of these pairs and act on them, as many at a time as one look-up
        answers for. What cannot be read is noted; raises StoreError where what was decided
        cannot be written."""
        for chunk in chunks(tuple(pairs), _PAIRS):
            await self._look(self.keys(chunk))
            await asyncio.sleep(0)

    async def _look(self, keys: list[SettlementKey]) -> None:
        for _ in range(_ROUNDS):
            seen = {key: self._records[key] for key in keys}
            wanted = list(dict.fromkeys(key.pair for key in keys))
            balances = await self.read(wanted)
            changes = []
            for number, (key, row) in enumerate(seen.items(), start=1):
                if number % STRIDE == 0:
                    await asyncio.sleep(0)
                balance = balances.get(key.pair)
                if balance is not None and (change := self._decide(key, row, balance)) is not None:
                    changes.append(change)
            won = await self._records.change(changes)
            keys = []
            for change, done in zip(changes, won, strict=True):
                key = key_of(change.row)
                if not done:
                    keys.append(key)
                elif not change.row.armed:
                    self.on_trigger(key)
            if not keys:
                return

    async def read(self, pairs: Sequence[Pair]) -> dict[Pair, PeerBalance]:
        """The balances that can be read; of the others it is noted why."""
        if not pairs:
            return {}
        try:
            found = await self._manager.get_account_balances(pairs)
        except _DOWN as error:
            self._note(pairs, error)
            return {}
        except Exception as error:  # one peer's failure must not hide the others
            log.debug("a look-up of %d balances failed", len(pairs), exc_info=True)
            if len(pairs) == 1:
                self._note(pairs, error)
                return {}
            half = len(pairs) // 2
            return await self.read(pairs[:half]) | await self.read(pairs[half:])
        read = dict(zip(pairs, found, strict=True))
        self.balances |= read
        if self.trouble:
            for pair in pairs:
                self.trouble.pop(pair, None)
        return read

    def _decide(
        self, key: SettlementKey, row: SettlementRow, balance: PeerBalance
    ) -> Change | None:
        if row.amount is not None:
            return None  # a payment is meant or under way: the ledger says how that ends
        threshold = self.threshold(key)
        due = due_of(balance, key.direction)
        cause = observe(due, threshold)
        if cause is None or walk(state_of(row), cause) is None:
            log.debug("%s at %d: stays %s", key, due, row.told)
            return None
        now_ms = self._clock.now_ms()
        if cause is Cause.EXCEEDED and self.held:
            return None  # it is still above when they are released
        if cause is Cause.EXCEEDED and isinstance(threshold, Threshold):
            return happenings.triggered(row, self._node, due, threshold, now_ms)
        reason = (
            threshold.reason
            if isinstance(threshold, Unmonitored)
            else f"{due} is at or below {threshold.rearm}"
        )
        return happenings.went_back(row, reason, now_ms)

    def _note(self, pairs: Sequence[Pair], error: Exception) -> None:
        self.failures += 1
        words = str(error) or type(error).__name__
        name = f"{pairs[0].token} with peer {pairs[0].peer}" if len(pairs) == 1 else "the ledger"
        if any(self.trouble.get(pair) != words for pair in pairs):
            log.error("balance of %s cannot be read: %s", name, words, exc_info=error)
        self.trouble |= dict.fromkeys(pairs, words)


def is_stuck(row: SettlementRow, now_ms: int, stuck_after_ms: int) -> bool:
    """Whether a payment under way is older than it should be."""
    return state_of(row) is SettlementState.IN_PROGRESS and now_ms - row.changed_ms > stuck_after_ms
