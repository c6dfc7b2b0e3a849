"""A home for what runs on a terminal, with a path short enough for a socket in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder of this test alone; pytest's own may be too deep for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="bursar-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
