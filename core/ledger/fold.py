"""Fold a snapshot and the segments after it into a newer snapshot; trim what two cover.

`fold` runs in a process of its own (`python -m core.ledger.fold DIRECTORY SEQUENCE`) while the
ledger goes on committing to a later segment, or in a thread when the ledger closes. It never
sees the live book: what it reads is what a restart would read. It removes nothing, because the
process may outlive its engine; `trim` is for whoever holds the folder.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

from core.ledger.files import Folder, RealFolder
from core.ledger.recovery import recover, segments_of, snapshots_of
from core.ledger.snapshot import Snapshot, sequence_of, snapshot_name, write_snapshot
from core.ledger.types import LedgerError


def fold(folder: Folder, upto: int) -> int:
    """Write the snapshot after record `upto`; return its size in bytes. Raises LedgerDamaged,
    LedgerError and OSError."""
    recovered = recover(folder, upto)
    if recovered is None or recovered.position.sequence != upto:
        raise LedgerError(f"{folder.where('')} does not hold record {upto}; nothing was folded.")
    position = recovered.position
    return write_snapshot(
        folder, Snapshot(position.identity, upto, position.chain, recovered.state)
    )


def trim(folder: Folder) -> None:
    """Keep the newest two snapshots and the journal after the older of them: should the newer
    one be damaged, the older and the journal still give the whole ledger."""
    names = folder.names()
    snapshots = snapshots_of(names)
    if len(snapshots) < 2:
        return
    kept = sequence_of(snapshots[-2])
    segments = segments_of(names)
    covered = [name for name, following in pairwise(segments) if sequence_of(following) <= kept + 1]
    unfinished = [
        name
        for name in names
        if name.startswith("snapshot-")
        and name.endswith(".tmp")
        and sequence_of(name) <= sequence_of(snapshots[-1])
    ]
    for name in snapshots[:-2] + covered + unfinished:
        folder.remove(name)
    folder.sync()


def main(arguments: list[str]) -> int:
    """Command line of the process; prints the size, or the reason on standard error."""
    directory, upto = Path(arguments[0]), int(arguments[1])
    try:
        print(fold(RealFolder(directory), upto))
    except (LedgerError, OSError) as error:
        print(f"{directory / snapshot_name(upto)}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
