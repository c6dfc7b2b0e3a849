"""One measured figure, and how all of them are told: a line each, and one file of results.

A bench module offers `run() -> list[Figure]` (or is awaited by its own `run`); nothing here
decides whether a test passes. Results of other modules in the file stay.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec

RESULTS = Path(__file__).with_name("results.json")


class Figure(msgspec.Struct, frozen=True):
    """`value` in `unit`, `beside` what it was measured against, `ratio` of the two where that is
    the figure that counts, `goal` in words, `met` None where there is no goal."""

    name: str
    value: float
    unit: str
    beside: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


class Results(msgspec.Struct):
    """The machine they were measured on, and the figures by name."""

    machine: str
    figures: dict[str, Figure]


def report(figures: Sequence[Figure], path: Path = RESULTS) -> None:
    """Print a line per figure and merge them into the results file by name."""
    for figure in figures:
        print(line(figure))
    known: dict[str, Figure] = {}
    if path.exists():
        known = msgspec.json.decode(path.read_bytes(), type=Results).figures
    known |= {figure.name: figure for figure in figures}
    machine = f"{platform.machine()} {platform.system()} {platform.release()}, "
    machine += f"Python {platform.python_version()}"
    encoded = msgspec.json.encode(Results(machine, dict(sorted(known.items()))))
    path.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")


def line(figure: Figure) -> str:
    """One figure as a line of text."""
    parts = [f"{figure.name}: {figure.value:,.4g} {figure.unit}"]
    if figure.beside:
        parts.append(f"beside {figure.beside}")
    if figure.ratio is not None:
        parts.append(f"ratio {figure.ratio:,.4g}")
    if figure.goal:
        parts.append(f"goal {figure.goal}")
    if figure.met is not None:
        parts.append("met" if figure.met else "NOT MET")
    return "  ·  ".join(parts)
