"""The headless half of Bursar: a treasury engine that knows no screen."""

import sys

# httpx imports a command line of its own (click, pygments, rich) wherever click is installed:
# 50 ms and a screen library nobody asked for. None makes that one import fail, as httpx expects.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is what blocks it
