"""Writes what `make bench` measured into the table of docs/performance.md."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.bench.figures import RESULTS, Figure, Results

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table, by name."""
    lines = [
        "| what | measured | beside | ratio | goal | met |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for figure in sorted(figures, key=lambda f: f.name):
        value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.3g}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3g}"
        met = {True: "yes", False: "**no**", None: ""}[figure.met]
        cells = (figure.name, f"{value} {figure.unit}", figure.beside, ratio, figure.goal, met)
        lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Replace what stands between the marks."""
    results = msgspec.json.decode(RESULTS.read_bytes(), type=Results)
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    body = f"\n\nMachine: {results.machine}.\n\n{table(list(results.figures.values()))}\n\n"
    PAGE.write_text(f"{head}{BEGIN}{body}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
