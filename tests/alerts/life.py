"""A short history of one balance, as a process that can be killed at every step.

Each life goes on where the one before got to, seeing the last observation again, as an engine
does after a crash. A step is the moment before or after a write of alerts or to the audit log.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.alerts import AlertKeeper
from core.events import Bus, Event, EventRecord, Json
from core.store.protocol import AlertRow
from core.store.sqlite import SqliteStore
from core.telemetry.audit import AuditHead, AuditLog
from tests.alerts.scenes import BELOW, balance
from tests.clock import TestClock

AMOUNTS = (500, 99, 101, 99, 200, 50, 119, 120)  # two crossings with hysteresis


class Steps:
    """Counts steps, and ends the process at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self.count = 0
        self._die_at = die_at

    def step(self) -> None:
        if self.count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


class MortalStore(SqliteStore):
    """The store, with a step around each write of alerts."""

    steps: Steps

    async def change_alerts(
        self, changes: Sequence[tuple[AlertRow, Sequence[Event]]]
    ) -> list[list[EventRecord] | None]:
        self.steps.step()
        answer = await super().change_alerts(changes)
        self.steps.step()
        return answer


class MortalAudit(AuditLog):
    """The audit log, with a step around each line."""

    steps: Steps

    async def append(
        self, action: str, actor: str, subject: str, details: Mapping[str, Json] | None = None
    ) -> AuditHead:
        self.steps.step()
        head = await super().append(action, actor, subject, details)
        self.steps.step()
        return head


async def live(folder: Path, die_at: int | None) -> int:
    """See what is left to see and take on each alert; answers the number of steps."""
    steps = Steps(die_at)
    store = MortalStore(folder / "bursar.db", "node-a")
    store.steps = steps
    await store.open()
    audit = MortalAudit(folder / "audit.jsonl", TestClock())
    audit.steps = steps
    keeper = AlertKeeper(store, TestClock(), (BELOW,), audit, Bus())
    await keeper.start()
    place = folder / "place"
    for at in range(int(place.read_text()) if place.exists() else 0, len(AMOUNTS)):
        place.write_text(str(at))  # first, as a balance is stored before it is observed
        await keeper.observe([balance(AMOUNTS[at])])
        for alert in keeper.open_alerts():
            if not alert.acknowledged_ms:
                await keeper.acknowledge(alert.id, "ada", "seen")
    await audit.close()
    await store.close()
    return steps.count


def life(folder: Path, die_at: int | None) -> int | None:
    """One life in a process of its own; its number of steps, None if it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
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
