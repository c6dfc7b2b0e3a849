"""ENOSPC and EIO at each write and sync: the ledger stops, says so, and reopens whole."""

from __future__ import annotations

import errno
import random

import pytest

from core.ledger import (
    Account,
    EmbeddedLedger,
    LedgerError,
    LedgerStopped,
    Transfer,
    TransferStatus,
)
from tests.crash.simulated import SimFolder
from tests.unit.ledger.worlds import ManualClock


def fail_at(folder: SimFolder, step: int, code: int) -> None:
    """Let one operation fail, and every one after it, as a full or broken disk does."""
    left = step

    def before_step(kind: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(code, "No space left on device" if code == errno.ENOSPC else "I/O error")

    folder.before_step = before_step
    folder.rng = random.Random(step)


async def live(folder: SimFolder) -> tuple[set[int], str, bool]:
    """Open, commit six transfers with a seal and a snapshot between, close: the ids that were
    acknowledged, why it stopped ("" if it did not), and whether a snapshot was asked and made."""
    ledger = EmbeddedLedger("simulated", ManualClock(), folder=folder, idle_seconds=0.001)
    acked: set[int] = set()
    try:
        await ledger.open()
    except LedgerError as error:
        return acked, str(error), False
    stopped = ""
    try:
        await ledger.create_accounts([Account(id=i, ledger=1, code=1) for i in (1, 2)])
        for id_ in range(1, 7):
            row = Transfer(
                id=id_, debit_account_id=1, credit_account_id=2, amount=id_, ledger=1, code=1
            )
            [result] = await ledger.create_transfers([row])
            assert result.status in (TransferStatus.CREATED, TransferStatus.EXISTS)
            acked.add(id_)
            if id_ == 3:
                await ledger.snapshot()
    except LedgerStopped as error:
        stopped = str(error)
        for _ in range(2):
            with pytest.raises(LedgerStopped):
                await ledger.lookup_accounts([1])
            with pytest.raises(LedgerStopped):
                await ledger.create_transfers([])
        assert not ledger.health().ok
        assert ledger.health().reason == stopped
    await ledger.close()
    return acked, stopped, bool(ledger.health().snapshot_failure)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
async def test_a_failing_disk_stops_the_ledger_at_any_step_and_loses_nothing(code: int) -> None:
    stops = snapshot_failures = 0
    for step in range(200):
        folder = SimFolder()
        fail_at(folder, step, code)
        acked, stopped, snapshot_failed = await live(folder)
        stops += bool(stopped)
        snapshot_failures += snapshot_failed
        if stopped:
            assert "No space left" in stopped or "I/O error" in stopped
        folder.before_step = lambda kind: None
        ledger = EmbeddedLedger("simulated", ManualClock(), folder=folder)
        await ledger.open()
        found = await ledger.lookup_transfers(list(range(1, 7)))
        assert {t.id for t in found} >= acked
        assert len(found) <= len(acked) + 1
        if accounts := await ledger.lookup_accounts([1]):
            assert accounts[0].debits_posted == sum(t.amount for t in found)
        await ledger.close()
        # The disk is well again: the same life goes to its end.
        again, reason, _ = await live(folder)
        assert (again, reason) == (set(range(1, 7)), "")
        if not stopped and not snapshot_failed and step > 40:
            break
    assert stops > 15
    assert snapshot_failures > 3
