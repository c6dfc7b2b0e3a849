"""The whole sequence of one settlement after another, as a process that can be killed anywhere.

Each life does what is left to do and nothing twice: packets have fixed ids, and commands follow
from what the monitor says. `die_at` kills the process (SIGKILL) at that step, where a step is the
moment before or after a write to the ledger or the store.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from core.accounting import AccountManager, Packet, Pair
from core.clock import SystemClock
from core.events import Bus, Event, EventRecord
from core.ledger import (
    Account,
    AccountStatus,
    CreateResult,
    EmbeddedLedger,
    Transfer,
    TransferStatus,
)
from core.settlement import SettlementMonitor, SettlementState, ThresholdRules
from core.store.protocol import SettlementRow
from core.store.sqlite import SqliteStore

FIRST, SECOND = (50, 40, 30, 10), (60, 70)  # two crossings of 100


class Steps:
    """Counts steps, and ends the process at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self.count = 0
        self._die_at = die_at

    def step(self) -> None:
        if self.count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


class MortalLedger(EmbeddedLedger):
    """The ledger, with a step around each write."""

    steps: Steps

    async def create_accounts(self, batch: Sequence[Account]) -> list[CreateResult[AccountStatus]]:
        self.steps.step()
        answer = await super().create_accounts(batch)
        self.steps.step()
        return answer

    async def create_transfers(
        self, batch: Sequence[Transfer]
    ) -> list[CreateResult[TransferStatus]]:
        self.steps.step()
        answer = await super().create_transfers(batch)
        self.steps.step()
        return answer


class MortalStore(SqliteStore):
    """The store, with a step around each settlement it writes."""

    steps: Steps

    async def change_settlements(
        self, changes: Sequence[tuple[SettlementRow, Sequence[Event]]]
    ) -> list[list[EventRecord] | None]:
        self.steps.step()
        answer = await super().change_settlements(changes)
        self.steps.step()
        return answer


async def live(folder: Path, die_at: int | None) -> int:
    """Do what is left; answers the number of steps that took."""
    steps = Steps(die_at)
    store = MortalStore(folder / "bursar.db", "node-a")
    store.steps = steps
    await store.open()
    ledger = MortalLedger(folder / "ledger")
    ledger.steps = steps
    await ledger.open()
    manager = AccountManager(ledger, "node-a", ("USD",))
    await manager.open_accounts([Pair("P", "USD")])
    rules = ThresholdRules(default=100)
    monitor = SettlementMonitor(
        manager, ledger, store, Bus(), SystemClock(), rules, generation="gen-1"
    )
    await monitor.start()
    await packets(manager, "first", FIRST)
    await monitor.sweep()
    await see_through(monitor, 1)
    await packets(manager, "second", SECOND)
    await monitor.sweep()
    await see_through(monitor, 2)
    await monitor.sweep()
    await monitor.stop()
    await ledger.close()
    await store.close()
    return steps.count


async def packets(manager: AccountManager, name: str, amounts: Sequence[int]) -> None:
    """One commit each; those booked in an earlier life are replays."""
    for number, amount in enumerate(amounts):
        packet = Packet(f"{name}-{number}", "P", "Z", "USD", amount, amount)
        [result] = await manager.record_packet_transfers([packet])
        assert not result.refused, result


async def see_through(monitor: SettlementMonitor, epoch: int) -> None:
    """Begin and complete the settlement of an epoch; the second fails once before."""
    while True:
        view = monitor.view("P", "USD")
        if view.epoch > epoch or (view.epoch == epoch and view.state is SettlementState.IDLE):
            return
        assert view.epoch == epoch, view
        if view.state is SettlementState.PENDING:
            await monitor.mark_settlement_in_progress("P", "USD")
        elif epoch == 2 and view.attempt == 0:
            await monitor.mark_settlement_failed("P", "USD", reason="the first try")
        else:
            await monitor.mark_settlement_completed("P", "USD")


def life(folder: Path, die_at: int | None) -> int | None:
    """One life in a process of its own; its number of steps, None if it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        signal.alarm(30)  # a life that gets nowhere fails the test instead of hanging it
        try:
            os.write(writer, str(asyncio.run(live(folder, die_at))).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as told:
        said = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.waitstatus_to_exitcode(status) == 0, f"a life with die_at={die_at} failed"
    return int(said)
