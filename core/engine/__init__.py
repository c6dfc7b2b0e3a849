"""The composition root: settings in, running services out; the one place that knows every room.

`connect` is how everything gets an EngineApi: the engine of the data directory if one runs,
else one of our own.
"""

from __future__ import annotations

from core.engine.connect import connect
from core.engine.engine import Engine, EngineMode

__all__ = ["Engine", "EngineMode", "connect"]
