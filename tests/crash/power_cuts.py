"""Cut the power at random instants, many times: `python -m tests.crash.power_cuts --runs 20000`.

`--without-sync` is the control: the same simulator with fsync taken out must lose something, or
the runs that lose nothing would prove nothing.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import NamedTuple

from core.ledger.recovery import recover
from core.ledger.types import LedgerDamaged
from tests.crash.simulated import PowerCut, SimFolder
from tests.crash.workload import Run


class Tally(NamedTuple):
    """What a number of power cuts did."""

    cuts: int
    lost: int
    refused: int
    torn: int


def cut_power(runs: int, *, seed: int = 1, syncs: bool = True) -> Tally:
    """That many cuts, three in the life of each ledger."""
    cuts = lost = refused = torn = 0
    while cuts < runs:
        rng = random.Random(seed * 1_000_003 + cuts)
        folder = SimFolder(syncs=syncs)
        run: Run | None = None
        for _ in range(3):
            cuts += 1
            _arm(folder, rng, rng.randint(0, 30))
            try:
                if run is None:
                    run = Run(folder, rng)
                else:
                    run.begin(folder)
                while True:
                    run.act()
            except PowerCut:
                folder = folder.after_power_cut(rng)
            try:
                recovered = recover(folder)
            except LedgerDamaged:
                refused += 1
                break
            torn += bool(recovered and recovered.torn)
            if run is not None and not run.settle(recovered):
                lost += 1
                break
    return Tally(cuts, lost, refused, torn)


def _arm(folder: SimFolder, rng: random.Random, steps: int) -> None:
    left = steps

    def before_step(kind: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise PowerCut

    folder.before_step = before_step
    folder.rng = rng


def main() -> int:
    """Print what happened; fail if anything was lost with syncs, or nothing without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-sync", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    tally = cut_power(options.runs, seed=options.seed, syncs=not options.without_sync)
    print(f"{tally} in {time.perf_counter() - began:.1f} s")
    failed = tally.lost + tally.refused
    return int(not failed if options.without_sync else bool(failed))


if __name__ == "__main__":
    sys.exit(main())
