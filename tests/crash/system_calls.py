"""Processes killed by strace(1) at a system call that writes: which calls they make, and which of
them are tried. With BURSAR_TEST_EVERY_CALL every one is, else a few of each kind."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "mkdir",
    "unlink",
    "link",
)


class Calls(NamedTuple):
    """How often one thread made a call: up to its process's mark, and altogether."""

    before: int
    total: int


def tracing(log: Path) -> list[str]:
    """To have the calls that write in a log."""
    return ["strace", "-f", "-qq", "-s", "80", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]


def killing(call: str, number: int) -> list[str]:
    """To be killed at that call: the first thread to make it so often dies with all the others."""
    kill = f"inject={call}:signal=SIGKILL:when={number}"
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", kill]


def counted(log: Path, mark: str = "") -> dict[str, Calls]:
    """What was traced, by call: the thread that makes most of it after the process wrote `mark`."""
    counts: dict[tuple[str, str], Calls] = {}
    is_marked = not mark
    for line in log.read_text(errors="replace").splitlines():
        if found := re.match(r"(\d+) +(\w+)\(", line):
            at = (found[2], found[1])
            before, total = counts.get(at, Calls(0, 0))
            counts[at] = Calls(before if is_marked else before + 1, total + 1)
            is_marked = is_marked or f'"{mark}' in line
    most: dict[str, Calls] = {}
    for (call, _), here in counts.items():
        best = most.get(call, Calls(0, 0))
        if here.total - here.before > best.total - best.before:
            most[call] = here
    return most


def chosen(calls: Calls, samples: int) -> list[int]:
    """At which of a thread's calls after the mark to be killed: all, or some, evenly spread."""
    numbers = range(calls.before + 1, calls.total + 1)
    if os.environ.get("BURSAR_TEST_EVERY_CALL") or len(numbers) <= samples:
        return list(numbers)
    return [numbers[len(numbers) * (2 * at + 1) // (2 * samples)] for at in range(samples)]
