"""What an engine's process keeps of memory that is free."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

DROPS_LARGE_BLOCKS = """
from pathlib import Path
from core.engine.heap import keep_little

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

assert keep_little()
bytes(40_000_000)  # from here on glibc would keep blocks of this size, if it were left to itself
before = resident()
blocks = [bytearray(b"x" * 200_000) for _ in range(200)]
held = resident()
del blocks[:-1]  # the one above all others stays
print(held - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_large_blocks_go_back_to_the_system_when_they_are_dropped() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", DROPS_LARGE_BLOCKS], capture_output=True, text=True, check=True
    )
    held, kept = map(int, answer.stdout.split())
    assert held > 35_000_000
    assert kept < 5_000_000
