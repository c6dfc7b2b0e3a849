"""Kill a committing ledger at random instants: `python -m tests.crash.kill_runs --runs 1000`.

A child process commits from sixteen callers at once and tells, over a pipe, of each transfer
once it was acknowledged. The parent sends SIGKILL, reads the ledger back, and counts: what was
acknowledged must be there, what is there must have been sent, and the books must balance.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from core.ledger.embedded import EmbeddedLedger
from core.ledger.files import RealFolder
from core.ledger.recovery import recover
from core.ledger.types import Account, Transfer, TransferFlags, TransferStatus

CALLERS = 16
LIVES = 20  # runs over one directory before a fresh one
_ID = struct.Struct("<Q")


class Tally(NamedTuple):
    """What the kills did."""

    runs: int
    acknowledged: int
    lost: int
    invented: int
    torn: int


def amount_of(id_: int) -> int:
    """Amounts follow from ids, so that one that was never sent would show."""
    return id_ * 2654435761 % 1_000_003


def draft(id_: int, *, linked: bool = False) -> Transfer:
    """The transfer with this id."""
    return Transfer(
        id=id_,
        debit_account_id=1 + id_ % 3,
        credit_account_id=4 + id_ % 3,
        amount=amount_of(id_),
        ledger=1,
        code=1,
        flags=int(TransferFlags.LINKED) if linked else 0,
    )


async def commit_until_killed(directory: Path, run: int, pipe: int) -> None:
    """Sixteen callers, one to three linked transfers or twelve plain ones at a time; snapshots
    now and then."""
    ledger = EmbeddedLedger(directory, snapshot_bytes=20_000, look_seconds=0.02, idle_seconds=0.002)
    await ledger.open()
    await ledger.create_accounts([Account(id=i, ledger=1, code=1) for i in range(1, 7)])

    async def caller(number: int) -> None:
        rng = random.Random(run * 100 + number)
        next_id = (run << 32) + (number << 24) + 1
        while True:
            count = rng.choice([1, 2, 3, 12])
            batch = [draft(next_id + i, linked=i < count - 1 < 3) for i in range(count)]
            next_id += count
            results = await ledger.create_transfers(batch)
            assert all(r.status is TransferStatus.CREATED for r in results)
            os.write(pipe, b"".join(_ID.pack(t.id) for t in batch))
            if rng.random() < 0.02:
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as tasks:
        for number in range(CALLERS):
            tasks.create_task(caller(number))


def kill_runs(runs: int, base: Path, seed: int = 1) -> Tally:
    """That many kills, in fresh directories under `base`."""
    rng = random.Random(seed)
    acked: set[int] = set()
    total = lost = invented = torn = 0
    directory = base
    for run in range(runs):
        if run % LIVES == 0:
            directory = base / f"ledger-{run}"
            acked.clear()
        fresh = _one_life(directory, run, rng.uniform(0.002, 0.06))
        acked |= fresh
        total += len(fresh)
        recovered = recover(RealFolder(directory)) if directory.exists() else None
        found = recovered.state.transfers if recovered else {}
        torn += bool(recovered and recovered.torn)
        lost += len(acked - found.keys())
        sent = {id_ for id_ in found if id_ >> 32 <= run and (id_ >> 24) % 256 < CALLERS}
        invented += len(found) - len(sent)
        for id_ in sent:
            row, wanted = found[id_], draft(id_)
            invented += (row.amount, row.debit_account_id) != (
                wanted.amount,
                wanted.debit_account_id,
            )
        if recovered:
            order = recovered.state.account_order
            debits = sum(a.debits_posted for a in order)
            invented += debits != sum(t.amount for t in found.values())
            invented += debits != sum(a.credits_posted for a in order)
        acked |= found.keys()  # what survived unacknowledged must stay
        if run % LIVES == LIVES - 1:
            # A folding process may still be at work in it.
            shutil.rmtree(directory, ignore_errors=True)
    return Tally(runs, total, lost, invented, torn)


def _one_life(directory: Path, run: int, seconds: float) -> set[int]:
    """Fork a committing child, kill it after a while, return what it said was acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            asyncio.run(commit_until_killed(directory, run, writer))
        finally:
            os._exit(1)
    os.close(writer)
    said = bytearray(os.read(reader, 65536))  # it has begun
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.001))
        said += os.read(reader, 65536) if _readable(reader) else b""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while part := os.read(reader, 65536):
        said += part
    os.close(reader)
    whole = len(said) // _ID.size * _ID.size
    return {id_ for (id_,) in _ID.iter_unpack(said[:whole])}


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def main() -> int:
    """Print what happened; fail if anything was lost or invented."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # every life begins with the last one's unsealed journal
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        tally = kill_runs(options.runs, Path(base), options.seed)
    print(f"{tally} in {time.perf_counter() - began:.1f} s")
    return int(bool(tally.lost or tally.invented) or not tally.acknowledged)


if __name__ == "__main__":
    sys.exit(main())
