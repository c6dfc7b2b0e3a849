"""What a desk was told at its start: one frozen value that everything on screen may read.

The command line fills it from config and flags; nothing here reads a file or the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

PERIOD_S = 1.0
"""Seconds between two pictures unless told otherwise."""
SLOW_PERIOD_S = 5.0
"""The same with `--slow` and `--safe`."""


class DeskOptions(msgspec.Struct, frozen=True):
    """How this desk looks and what it may do; the engine is not concerned by any of it."""

    read_only: bool = False
    """No command is ever given to the engine and no key for one is bound."""
    safe: bool = False
    """For bad lines and old terminals: ANSI colours, ASCII graphs, a picture every 5 s."""
    slow: bool = False
    """A picture every 5 s (0.2 Hz)."""
    refresh_s: float = PERIOD_S
    """Seconds between two pictures, unless slow or safe."""
    mouse: bool = True
    """Whether the terminal is asked to report the mouse."""
    bell: bool = True
    """Whether the terminal's bell rings when an alert that is a problem opens."""
    theme: str = ""
    """A theme's name; empty takes the one kept from last time, else the dark one."""
    environment: str = ""
    """The operator's word for this deployment; "production" gets a red frame. Empty: as the
    engine says."""
    demo: bool = False
    """The engine is simulated, and the screen says so from its first paint."""
    hint: str = ""
    """What opens the backups, where that is no secret: the demo's password."""
    keymap: Mapping[str, str] = MappingProxyType({})
    """Binding id to key or comma-separated keys, from `[keys]`."""
    filter: str = ""
    """The fleet's filter at the start."""
    explorers: Mapping[str, str] = MappingProxyType({})
    """Chain name to the URL of an address page with `{address}` in it."""
    state_dir: Path | None = None
    """Where columns, sort and theme are kept between runs; None keeps nothing."""
    log_path: Path | None = None
    """Where a crash is written in full; its path is what the operator is shown."""

    @property
    def period_s(self) -> float:
        """Seconds between two pictures at the start."""
        return SLOW_PERIOD_S if self.slow or self.safe else self.refresh_s

    @property
    def start_theme(self) -> str:
        """The theme to begin with when none was kept."""
        return self.theme or ("bursar-ansi" if self.safe else "bursar-dark")
