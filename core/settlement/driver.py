"""Gives required settlements to the engine, one task per settlement, and takes its answers.

What has to be done follows from the rows alone, so after a crash it goes on: pending ones are
begun when they are due, and those begun here and not yet taken are given again.
"""

from __future__ import annotations

import asyncio
import logging

from core.model import BursarError, Clock
from core.settlement.actions import Actions
from core.settlement.engines import SettlementEngine
from core.settlement.records import Records
from core.settlement.rows import Node, state_of
from core.settlement.states import SettlementState
from core.settlement.types import (
    Answer,
    SettlementError,
    SettlementKey,
    SettlementOrder,
    Verdict,
)
from core.store.protocol import SettlementRow

log = logging.getLogger("bursar.settlement")


class Driver:
    """`trouble` says per key what stands in the way of the engine."""

    def __init__(
        self, engine: SettlementEngine, actions: Actions, records: Records, clock: Clock, node: Node
    ) -> None:
        self.trouble: dict[SettlementKey, str] = {}
        self.held = False
        """Nothing is given to the engine."""
        self._engine = engine
        self._actions = actions
        self._records = records
        self._clock = clock
        self._node = node
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[SettlementKey, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Own the tasks until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._tasks.clear()

    def wake(self, key: SettlementKey) -> None:
        """See whether something is to be done there, if nobody is at it."""
        if self.held or self._group is None or not self._engine.begins or key in self._tasks:
            return
        task = self._group.create_task(self._drive(key), name="settlement")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def drop(self, key: SettlementKey) -> None:
        """Stop asking the engine: the settlement ended otherwise."""
        task = self._tasks.get(key)
        if task is not None and task is not asyncio.current_task():
            del self._tasks[key]
            task.cancel()
        self.trouble.pop(key, None)

    def _ended(self, key: SettlementKey, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]

    async def _drive(self, key: SettlementKey) -> None:
        try:
            while await self._step(key):
                pass
        except BursarError as error:  # the next sweep wakes it again
            self._note(key, str(error))
        except Exception as error:
            log.exception("the %s engine failed at %s", self._engine.name, key)
            self.trouble[key] = f"the {self._engine.name} engine failed: {error}"

    async def _step(self, key: SettlementKey) -> bool:
        """Do what is next; False when nothing is."""
        row = self._records[key]
        if state_of(row) is SettlementState.PENDING:
            wait_ms = row.retry_ms - self._clock.now_ms()
            if wait_ms > 0:
                await self._clock.sleep(wait_ms / 1000)
            else:
                await self._actions.begin(key, None, self._engine.name, row.key)
            return True
        if row.armed or row.begun_by != self._engine.name or row.delivered or row.amount is None:
            return False
        order = SettlementOrder(
            self._node.id, *key, amount=row.amount, key=row.key, attempt=row.attempt
        )
        verdict = await self._engine.settle(order, lambda words: self._note(key, words))
        await self._take(key, row, verdict)
        return True

    async def _take(self, key: SettlementKey, row: SettlementRow, verdict: Verdict) -> None:
        if verdict.answer is Answer.FAILED:
            reason = verdict.reason or f"the {self._engine.name} engine said so"
            await self._actions.fail(key, reason, row.key)
            return
        if verdict.answer is Answer.COMPLETED:
            try:
                await self._actions.complete(key, verdict.amount, row.key)
            except SettlementError as error:
                # Money moved that cannot be booked as told: it stays under way for an operator.
                self._note(key, str(error))
            else:
                return
        await self._actions.delivered(row)

    def _note(self, key: SettlementKey, words: str) -> None:
        if words and words != self.trouble.get(key):
            log.warning("settlement of %s: %s", key, words)
        if words:
            self.trouble[key] = words
        else:
            self.trouble.pop(key, None)
