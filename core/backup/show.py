"""A chain in the classic form of a wallet backup, for people and scripts: one JSON object.

Integers are decimal strings; the seed appears as the ciphertext it is kept as.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import msgspec

from core.backup.archive import Sealed
from core.backup.records import AnyRecord, Balance, Lifecycle, Seed, Wallet, encode


def classic_json(sealed: Sealed, records: Iterable[AnyRecord]) -> Iterator[str]:
    """The pieces of the JSON text, streamed: version, timestamp, type, encryptedMasterSeed,
    wallets, lifecycleRecords, balanceSnapshots, checksum. `records` in archive order."""
    header = sealed.header
    head = {
        "version": str(header.version),
        "timestamp": str(header.created_ms),
        "type": header.type.value,
    }
    yield json.dumps(head)[:-1]
    lists: list[tuple[str, type[AnyRecord]]] = [
        ("wallets", Wallet),
        ("lifecycleRecords", Lifecycle),
        ("balanceSnapshots", Balance),
    ]
    seed: dict[str, object] | None = None
    at, is_first = -1, True
    for record in records:
        if isinstance(record, Seed):
            seed = _fields(record)
        place = next((i for i, (_, kind) in enumerate(lists) if isinstance(record, kind)), None)
        if place is None:
            continue
        while at < place:
            yield "" if at < 0 else "]"
            at, is_first = at + 1, True
            yield f', "{lists[at][0]}": ['
        yield ("" if is_first else ", ") + json.dumps(_fields(record))
        is_first = False
    while at < len(lists) - 1:
        yield "" if at < 0 else "]"
        at += 1
        yield f', "{lists[at][0]}": ['
    tail = {"encryptedMasterSeed": seed, "checksum": sealed.sha256}
    yield "], " + json.dumps(tail)[1:] + "\n"


def _fields(record: AnyRecord) -> dict[str, object]:
    fields: dict[str, object] = msgspec.json.decode(encode(record))
    del fields["kind"]
    return fields
