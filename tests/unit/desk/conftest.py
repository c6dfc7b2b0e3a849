"""A pilot that waits for the app to be at rest."""

from tests.pilot import pilot_rests

__all__ = ["pilot_rests"]
