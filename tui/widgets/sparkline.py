"""A balance's recent course in a few glyphs inside a row; a pure function, no widget.

Levels are integers (base units) and are scaled by integer arithmetic between their own least
and greatest. What is not known is a gap, never a low level.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.:-=+*#"
GAP = " "


@lru_cache(maxsize=1024)
def _draw(levels: tuple[int | None, ...], width: int, blocks: str) -> str:
    shown = levels if len(levels) <= width else _resample(levels, width)
    known = [level for level in shown if level is not None]
    if not known:
        return GAP * width
    low, high = min(known), max(known)
    if low == high:
        flat = blocks[0] if low == 0 else blocks[(len(blocks) - 1) // 2]
        return "".join(GAP if level is None else flat for level in shown).rjust(width, GAP)
    top, span = len(blocks) - 1, high - low
    return "".join(
        GAP if level is None else blocks[((level - low) * top * 2 + span) // (span * 2)]
        for level in shown
    ).rjust(width, GAP)


def sparkline(levels: Sequence[int | None], width: int, ascii_only: bool = False) -> str:
    """Exactly `width` cells, the newest level on the right; None is a gap.

    More levels than cells are merged, each cell showing its slice's furthest excursion from
    the end of the slice before, so that a spike survives. A level that never moves is drawn
    half-way up, or at the bottom if it is zero.
    """
    return _draw(tuple(levels), max(0, width), ASCII_BLOCKS if ascii_only else BLOCKS)


def _resample(levels: tuple[int | None, ...], width: int) -> tuple[int | None, ...]:
    merged: list[int | None] = []
    ranked = sorted(level for level in levels if level is not None)
    before = ranked[len(ranked) // 2] if ranked else 0
    for cell in range(width):
        start = cell * len(levels) // width
        end = (cell + 1) * len(levels) // width
        known = [level for level in levels[start:end] if level is not None]
        if not known:
            merged.append(None)
            continue
        distances = [abs(level - before) for level in known]
        merged.append(known[distances.index(max(distances))])
        before = known[-1]
    return tuple(merged)
