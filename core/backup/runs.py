"""Records on their way into an archive, in runs of one kind.

What is done for every record (its place, its line, its digest) is done for a thousand at a time:
the order of an archive puts records of a kind together, and a loop inside a library call costs a
fraction of one out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice, pairwise
from operator import lt
from typing import cast

import msgspec

from core.backup.errors import RecordError
from core.backup.records import (
    KIND_NAMES,
    AnyRecord,
    LedgerCheckpoint,
    Record,
    digests,
    encode_all,
)

_MOST = 1000
_kind_of = cast("Callable[[AnyRecord], type[Record]]", type)


class Run(msgspec.Struct, frozen=True):
    """Some records of one kind, in order: `keys` and `digests` are theirs, one each, `text` their
    lines, each with its line feed."""

    kind: type[Record]
    records: list[AnyRecord]
    keys: list[tuple[str, ...]]
    text: bytes
    digests: list[bytes]


def runs(records: Iterable[AnyRecord], name: str) -> Iterator[Run]:
    """All the records, in runs. Raises RecordError where one does not stand after the one before
    it: out of order, or twice."""
    rank = -1
    for kind, group in groupby(records, _kind_of):
        if rank >= kind.RANK:
            raise _misplaced(name, kind, next(group).key())
        rank = kind.RANK
        last: list[tuple[str, ...]] = []
        # A part of a checkpoint is a mebibyte by itself.
        most = 1 if kind is LedgerCheckpoint else _MOST
        while some := list(islice(group, most)):
            keys = [record.key() for record in some]
            _check_order(name, kind, last + keys)
            last = keys[-1:]
            text = encode_all(some)
            yield Run(kind, some, keys, text, digests(kind, text.splitlines()))


def _check_order(name: str, kind: type[Record], keys: list[tuple[str, ...]]) -> None:
    if not all(map(lt, keys, keys[1:])):
        wrong = next(after for key, after in pairwise(keys) if not key < after)
        raise _misplaced(name, kind, wrong)


def _misplaced(name: str, kind: type[Record], key: tuple[str, ...]) -> RecordError:
    return RecordError(
        f"{name}: {KIND_NAMES[kind.RANK]} {'/'.join(key)} does not stand after the record before "
        "it."
    )
