"""Watch-only agents from CSV: agent,chain,address[,group][,tags], one address a line.

Pure. Every broken line is named with its reason and then nothing is imported: a list that is
half followed is worse than one that was refused. A header is optional; without one the columns
stand in the order above.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

import msgspec

from core.api import WalletRow
from core.chains.addresses import parse_address
from core.model import BursarError, ChainKind

COLUMNS = ("agent", "chain", "address", "group", "tags")
_NEEDED = COLUMNS[:3]
_LONGEST_NAME = 120


class BrokenLine(msgspec.Struct, frozen=True):
    """Line of the file, counted from 1, and what is wrong with it."""

    line: int
    reason: str


class Watchlist(msgspec.Struct, frozen=True):
    """What a file says. With `errors` there are no `rows`. `lines` are those with an entry."""

    rows: tuple[WalletRow, ...]
    errors: tuple[BrokenLine, ...]
    lines: int


def parse_watchlist(
    text: str,
    kinds: Mapping[str, ChainKind],
    known: Mapping[tuple[str, str], str],
) -> Watchlist:
    """Read a list. `kinds` are the configured chains; `known` the addresses followed already, by
    agent and chain. Addresses come out normalised."""
    checker = _Checker(kinds, known)
    columns: Sequence[str] | None = None
    lines = 0
    for line, fields in _records(text, checker.errors):
        if columns is None:
            columns = _header(fields)
            if columns is not None:
                checker.check_header(line, columns)
                continue
            columns = COLUMNS
        lines += 1
        checker.take(line, fields, columns)
    errors = tuple(sorted(checker.errors, key=lambda broken: broken.line))
    return Watchlist(() if errors else tuple(checker.rows), errors, lines)


def _records(text: str, errors: list[BrokenLine]) -> list[tuple[int, list[str]]]:
    """The fields of each line that has any, with the number of the line it began on. Lines that
    begin with # are comments; a byte-order mark and CRLF are taken as they come."""
    records: list[tuple[int, list[str]]] = []
    lines = io.StringIO(text.removeprefix("\ufeff"), newline=None).readlines()
    plain = ["\n" if line.lstrip().startswith("#") else line for line in lines]
    reader = csv.reader(plain, strict=True, skipinitialspace=True)
    began = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return records
        except csv.Error as error:
            errors.append(BrokenLine(began, f"this is no CSV line: {error}"))
            return records  # quotes that never end leave nothing certain after them
        if any(field.strip() for field in fields):
            records.append((began, [field.strip() for field in fields]))
        began = reader.line_num + 1


def _header(fields: Sequence[str]) -> Sequence[str] | None:
    """The column names if the line is a header: it holds the word for the first column and no
    entry could (an address is never called "address")."""
    names = [field.casefold() for field in fields]
    return names if "agent" in names and "address" in names else None


class _Checker:
    def __init__(
        self,
        kinds: Mapping[str, ChainKind],
        known: Mapping[tuple[str, str], str],
    ) -> None:
        self.rows: list[WalletRow] = []
        self.errors: list[BrokenLine] = []
        self._kinds = kinds
        self._known = known
        self._owners = {(chain, address): agent for (agent, chain), address in known.items()}
        self._pairs: dict[tuple[str, str], int] = {}
        self._addresses: dict[tuple[str, str], int] = {}
        self._groups: dict[str, tuple[str, int]] = {}

    def check_header(self, line: int, columns: Sequence[str]) -> None:
        """Name columns that are missing, unknown or doubled."""
        reasons = [f"column {name!r} is missing" for name in _NEEDED if name not in columns]
        reasons += [
            f"column {name!r} is unknown (known: {', '.join(COLUMNS)})"
            for name in columns
            if name not in COLUMNS
        ]
        reasons += [f"column {name!r} stands twice" for name in COLUMNS if columns.count(name) > 1]
        self.errors += [BrokenLine(line, reason) for reason in reasons]

    def take(self, line: int, fields: Sequence[str], columns: Sequence[str]) -> None:
        """Check one line; it becomes a row or an error."""
        try:
            row = self._row(line, fields, columns)
            self._refuse_duplicates(row)
        except BursarError as error:
            self.errors.append(BrokenLine(line, str(error).rstrip(".")))
        else:
            self.rows.append(row)

    def _row(self, line: int, fields: Sequence[str], columns: Sequence[str]) -> WalletRow:
        if len(fields) > len(columns):
            raise BursarError(f"{len(fields)} fields where {len(columns)} are expected")
        entry = dict(zip(columns, fields, strict=False))
        for name in _NEEDED:
            if not entry.get(name):
                raise BursarError(f"the {name} is missing")
        agent, chain, group = entry["agent"], entry["chain"], entry.get("group", "")
        tags = tuple(dict.fromkeys(filter(None, re.split(r"[;\s]+", entry.get("tags", "")))))
        for what, name in (("agent", agent), ("group", group), *(("tag", tag) for tag in tags)):
            if len(name) > _LONGEST_NAME or not name.isprintable():
                raise BursarError(
                    f"the {what} {name[:40]!r} cannot be used: "
                    f"at most {_LONGEST_NAME} printable characters"
                )
        kind = self._kinds.get(chain)
        if kind is None:
            names = ", ".join(sorted(self._kinds)) or "none is configured"
            raise BursarError(f"there is no chain {chain!r} (known: {names})")
        return WalletRow(agent, chain, parse_address(kind, entry["address"]), group, tags, line)

    def _refuse_duplicates(self, row: WalletRow) -> None:
        pair, place = (row.agent, row.chain), (row.chain, row.address)
        if pair in self._pairs:
            raise BursarError(
                f"agent {row.agent} already has an address on {row.chain} in line "
                f"{self._pairs[pair]}"
            )
        if place in self._addresses:
            raise BursarError(
                f"{row.address} on {row.chain} already stands in line {self._addresses[place]}"
            )
        if pair in self._known:
            raise BursarError(
                f"agent {row.agent} is already followed on {row.chain} at {self._known[pair]}"
            )
        if place in self._owners:
            raise BursarError(
                f"{row.address} on {row.chain} already belongs to agent {self._owners[place]}"
            )
        group, line = self._groups.setdefault(row.agent, (row.group, row.line))
        if row.group != group:
            raise BursarError(
                f"agent {row.agent} is in group {row.group!r} here and in {group!r} in line {line}"
            )
        self._pairs[pair] = self._addresses[place] = row.line
