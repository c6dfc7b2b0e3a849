"""The sparkline made tall: polylines on a grid of dots in, lines of filled columns out.

For a chart that stands beside something else all day: drawn in a tenth of a millisecond, and it
brings no library of 8 MB into a desk that only watches its fleet (see `plot` for lines).
"""

from __future__ import annotations

from collections.abc import Sequence

from tui.widgets.plot import Polyline
from tui.widgets.sparkline import ASCII_BLOCKS, BLOCKS, GAP

_EIGHTHS = len(BLOCKS)


def dots(width: int, height: int, ascii_only: bool = False) -> tuple[int, int]:
    """How many dots lie in so many cells: a column and eight heights to each."""
    return width, _EIGHTHS * height


def raster(
    lines: Sequence[Polyline], width: int, height: int, ascii_only: bool = False
) -> tuple[str, ...]:
    """The polylines as `height` strings of exactly `width` glyphs, top line first, filled from
    their dots downwards. Dots are in the grid of `dots(width, height)`, a polyline's in order of
    columns; of several in one column the one farthest from where the line came from is shown."""
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    tops = _tops(lines, width)
    return tuple(
        "".join(
            GAP if top is None or top < floor else blocks[min(top - floor, _EIGHTHS - 1)]
            for top in tops
        )
        for floor in range(_EIGHTHS * (height - 1), -1, -_EIGHTHS)
    )


def _tops(lines: Sequence[Polyline], width: int) -> list[int | None]:
    """The highest dot that is filled in each column; None in a gap between two lines."""
    tops: list[int | None] = [None] * width
    for line in lines:
        if not line:
            continue
        inside: dict[int, list[int]] = {}
        for column, dot in line:
            inside.setdefault(column, []).append(dot)
        standing = line[0][1]
        for column in range(line[0][0], line[-1][0] + 1):
            met = inside.get(column, [standing])
            far = [abs(dot - standing) for dot in met]
            tops[column] = met[far.index(max(far))]
            standing = met[-1]
    return tops
