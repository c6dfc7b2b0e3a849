"""How many workers share the tests, and in which order they take the files up."""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path

import pytest

COMMANDS = 10
"""A test of the command line starts a process per command: it takes as long as so many others."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor: the tests wait for servers, processes and time as long as they
    compute."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test come first, then those that take long as a whole: a worker that
    begins a long file when the others are done is waited for by all (xdist's `loadfile` hands
    whole files out, in this order under `--no-loadscope-reorder`)."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    weights: Counter[Path] = Counter()
    for item in items:
        weights[item.path] += COMMANDS if item.path.parent.name == "cli" else 1
    items.sort(key=lambda item: (item.path not in slow, -weights[item.path]))


def pytest_collection_finish() -> None:
    """What was imported stays to the end: no full collection need walk it. Python would make one
    for nearly every desk that is opened; a quarter of them frees as much."""
    gc.collect()
    gc.freeze()
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 4 * old)
