"""Movements of custody from CSV: agent,chain,asset,amount,reference, one movement a line.

Pure. Amounts are decimal, as people write them, and signed: funding above 0; payments, gas and
sweeps below. Every broken line is named with its reason and then nothing is booked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import msgspec

from core.api import CommandRefusedError, MovementRow
from core.engine.commands import find_asset
from core.model import Amount, Asset, BursarError, parse_amount

COLUMNS = ("agent", "chain", "asset", "amount", "reference")


class BrokenMovement(msgspec.Struct, frozen=True):
    """Line of the file, counted from 1, and what is wrong with it."""

    line: int
    reason: str


def parse_movements(
    text: str, assets: Sequence[Asset]
) -> tuple[list[MovementRow], list[BrokenMovement]]:
    """The movements of a file, or what is broken in it. A header is optional; lines that begin
    with # are comments."""
    rows: list[MovementRow] = []
    errors: list[BrokenMovement] = []
    places: dict[tuple[str, str, str, str], int] = {}
    lines = io.StringIO(text.removeprefix("\ufeff"), newline=None).readlines()
    plain = ["\n" if line.lstrip().startswith("#") else line for line in lines]
    reader = csv.reader(plain, strict=True, skipinitialspace=True)
    began, is_first = 1, True
    while True:
        try:
            fields = [field.strip() for field in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            errors.append(BrokenMovement(began, f"this is no CSV line: {error}"))
            break  # quotes that never end leave nothing certain after them
        line, began = began, reader.line_num + 1
        if not any(fields):
            continue
        is_header = is_first and tuple(field.casefold() for field in fields) == COLUMNS
        is_first = False
        if is_header:
            continue
        try:
            row = _movement(fields, assets)
            key = (row.agent, row.chain, row.asset, row.reference)
            if key in places:
                raise BursarError(
                    f"reference {row.reference!r} of {row.agent} already stands in line "
                    f"{places[key]}; give each movement its own"
                )
        except BursarError as error:
            errors.append(BrokenMovement(line, str(error).rstrip(".")))
        else:
            places[key] = line
            rows.append(row)
    return ([] if errors else rows), errors


def _movement(fields: Sequence[str], assets: Sequence[Asset]) -> MovementRow:
    if len(fields) != len(COLUMNS):
        raise BursarError(f"{len(fields)} fields where {len(COLUMNS)} are expected")
    for name, field in zip(COLUMNS, fields, strict=True):
        if not field:
            raise BursarError(f"the {name} is missing")
    agent, chain, name, amount, reference = fields
    asset = find_asset(assets, chain, name)
    if asset is None:
        raise CommandRefusedError(f"there is no asset {name} on a chain {chain}")
    size = parse_amount(amount.removeprefix("-").removeprefix("+"), asset.decimals)
    signed = -size if amount.startswith("-") else size
    return MovementRow(agent, chain, name, Amount(signed), reference)
