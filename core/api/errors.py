"""What an engine answers instead of what was asked for."""

from __future__ import annotations

from core.model import BursarError


class CommandRefusedError(BursarError):
    """A command was wrong or not possible; nothing was changed."""


class LedgerAwayError(BursarError):
    """The ledger cannot answer now; the message says why. Everything else goes on."""


class EngineLostError(BursarError):
    """The engine behind an attached desk went away; try `state` again later."""
