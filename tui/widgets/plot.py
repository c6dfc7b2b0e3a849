"""The one module that knows plotext: polylines on a grid of dots in, lines of glyphs out.

Axes, labels and colours are the widgets' own; plotext turns connected dots into braille or
ASCII cells. It has a single figure in the process, so this is for the UI thread only, and it is
imported at the first drawing: it costs a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Sequence

Polyline = Sequence[tuple[int, int]]
"""Connected dots (x, y), y upwards from 0."""


def dots(width: int, height: int, ascii_only: bool = False) -> tuple[int, int]:
    """How many dots lie in so many cells: 2 by 4 to a braille cell, one to an ASCII cell."""
    return (width, height) if ascii_only else (2 * width, 4 * height)


def raster(
    lines: Sequence[Polyline], width: int, height: int, ascii_only: bool = False
) -> tuple[str, ...]:
    """The polylines as `height` strings of exactly `width` glyphs, top line first.

    Dots are in the grid of `dots(width, height)`; each polyline is connected within itself and
    not to the next.
    """
    blank = " " * width
    drawn = [line for line in lines if line]
    if not drawn or width < 1 or height < 1:
        return (blank,) * max(0, height)
    import plotext  # type: ignore[import-untyped]  # it ships no types

    columns, rows = dots(width, height, ascii_only)
    figure = plotext.figure
    figure.clear()
    plotext.terminal.limit(False, False)
    figure.plot_size(width, height)
    figure.axes(False)
    figure.ruler((0, 1), (0, 1)).frequency(0)
    figure.ruler(0, 0).lim(0, max(1, columns - 1))
    figure.ruler(1, 0).lim(0, max(1, rows - 1))
    marker = "*" if ascii_only else "braille"
    for line in drawn:
        signal = figure.signal([x for x, _ in line], [y for _, y in line], marker=marker)
        figure.draw(signal.density("full").lines())
    glyphs: str = figure.build().string(colorless=True)
    shown = [row.ljust(width)[:width] for row in glyphs.split("\n")[:height]]
    return tuple(shown + [blank] * (height - len(shown)))
