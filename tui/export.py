"""What is shown, as a file: rows as JSON or CSV, in the order of the screen.

The fleet's fields are those of `bursar balances --json`, so that a script reads either; amounts
are exact decimal strings in base units, beside them the same figure in the asset's own unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from core.events import Json, iso_utc
from core.model import BursarError
from tui import text
from tui.fleet_row import FleetRow

FORMS = (".csv", ".json")


class ExportError(BursarError):
    """A file that cannot be written; the message says why and what to do."""


def row_json(row: FleetRow) -> dict[str, Json]:
    """One row in its public form. Unknown figures are null, never 0."""
    view, asset = row.view, row.asset
    return {
        "agentId": view.agent,
        "group": row.group,
        "tags": ",".join(row.tags),
        "state": row.state.value,
        "chain": view.chain,
        "address": view.address,
        "token": asset.symbol,
        "contract": asset.contract,
        "decimals": asset.decimals,
        "balance": _whole(view.amount),
        "balanceHuman": None if view.amount is None else text.plain(view.amount, asset.decimals),
        "reserved": str(int(view.reserved)),
        "mark": view.mark or None,
        "block": view.block or None,
        "checkedAt": iso_utc(row.checked_ms) if row.checked_ms else None,
        "changedAt": iso_utc(view.changed_ms) if view.changed_ms else None,
        "severity": view.severity.value,
        "problem": view.problem or None,
        "error": view.error or None,
        "floor": _whole(view.floor),
        "target": _whole(view.target),
        "change1h": _whole(view.change_1h),
        "change24h": _whole(view.change_24h),
        "runwaySeconds": view.runway_s,
    }


def _whole(amount: int | None) -> str | None:
    return None if amount is None else str(int(amount))


def check_path(words: str) -> Path:
    """The file to write. Raises ExportError where it may not be one."""
    if not words:
        raise ExportError("write the name of a file ending in .csv or .json")
    path = Path(words).expanduser()
    if path.suffix.lower() not in FORMS:
        raise ExportError(f"{text.safe(path.name)}: the name must end in .csv or .json")
    if path.exists():
        raise ExportError(f"{text.safe(str(path))} is there already: choose another name")
    if not path.parent.is_dir():
        raise ExportError(f"{text.safe(str(path.parent))} is no directory")
    return path


def render(rows: Iterable[FleetRow], suffix: str) -> str:
    """The file's text, for `.csv` or `.json`."""
    return render_fields([row_json(row) for row in rows], suffix)


def render_fields(found: Sequence[dict[str, Json]], suffix: str) -> str:
    """The same for anything in its public form."""
    if suffix.lower() == ".json":
        return msgspec.json.format(msgspec.json.encode(list(found)), indent=1).decode() + "\n"
    from tui.cli.output import csv_text

    return csv_text(list(found), list(found[0]) if found else [])


def write(path: Path, content: str) -> None:
    """Create the file, readable by its owner alone; never replaces one. Raises ExportError."""
    import os

    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
    except OSError as error:
        raise ExportError(f"{text.safe(str(path))}: {error.strerror}") from error
