"""SIGKILL at random instants; `python -m tests.crash.kill_runs` does it a thousand times."""

from __future__ import annotations

import subprocess
import sys


def test_a_killed_ledger_holds_all_it_acknowledged_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.kill_runs", "--runs", "24"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost=0, invented=0" in done.stdout
