"""How the command line prints: a table for people, JSON or CSV for programs, one place for each.

Tables go through rich only when standard output is a terminal; piped output is plain text. Text
from chains and files is printed without control characters and never as markup.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from core.events import Json
from core.service.wire import encode
from tui.text import safe

if TYPE_CHECKING:
    from core.engine.verdicts import Check


class Form(StrEnum):
    """The shape of what is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def form_of(*, as_json: bool, as_csv: bool = False) -> Form:
    """The form that the flags ask for; JSON wins."""
    if as_json:
        return Form.JSON
    return Form.CSV if as_csv else Form.TABLE


def write_json(value: object) -> None:
    """One JSON document and a newline on standard output."""
    sys.stdout.write(encode(value).decode() + "\n")


def write_csv(rows: Sequence[Mapping[str, Json]], columns: Sequence[str]) -> None:
    """A header and the rows, RFC 4180; nulls are empty cells."""
    sys.stdout.write(csv_text(rows, columns))


def csv_text(rows: Sequence[Mapping[str, Json]], columns: Sequence[str]) -> str:
    """The same as text. Cells a spreadsheet would run as a formula are prefixed with `'`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return out.getvalue()


def _cell(value: Json) -> str:
    text = "" if value is None else str(value)
    is_formula = text[:1] in {"=", "+", "@", "\t"} or (text[:1] == "-" and not _is_number(text))
    return f"'{text}" if is_formula else text


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdecimal()


def write_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    empty: str = "Nothing to show.",
) -> None:
    """Aligned columns; `right` names those aligned to the right."""
    if not rows:
        say(empty)
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(safe(cell) for cell in row) + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    Console(highlight=False, markup=False).print(table)


def say_checks(checks: Sequence[Check]) -> None:
    """What was looked at, a line each, with what to do under it."""
    signs = {"good": "ok  ", "note": "note", "bad": "BAD "}
    for check in checks:
        say(f"{signs[check.verdict]}  {check.name}: {check.finding}")
        if check.advice:
            say(f"      {check.advice}")


def say(line: str) -> None:
    """One line for people on standard output."""
    sys.stdout.write(f"{safe(line)}\n")


def warn(line: str) -> None:
    """One line for people on standard error."""
    sys.stderr.write(f"{safe(line)}\n")


def write_file(path: Path, text: str) -> None:
    """Write a new file readable by its owner only; an existing one is replaced."""
    import os

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
