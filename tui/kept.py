"""What a desk remembers between runs: the fleet's columns. A small JSON file, nothing secret.

A file that cannot be read or written is no reason to stop: the desk starts with what it has by
default, and says once that it could not keep a choice.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

FILE = "desk.json"


class Kept(msgspec.Struct, frozen=True):
    """The remembered choices; empty means none was made."""

    columns: tuple[str, ...] = ()


def load(folder: Path | None) -> Kept:
    """What was kept, or nothing where there is no readable file."""
    if folder is None:
        return Kept()
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return Kept()


def save(folder: Path, kept: Kept) -> None:
    """Replace the file in one step. Raises OSError."""
    fresh = folder / f"{FILE}.new"
    fresh.write_bytes(msgspec.json.encode(kept))
    fresh.replace(folder / FILE)
