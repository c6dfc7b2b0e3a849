"""How the frozen vectors came to be; run again only for a new version of the format.

`python -m tests.backup.make_vectors FOLDER` writes a full, an incremental upon it, the records
they add up to and `vectors.json` with every way to open them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from core.backup.header import BackupType
from core.backup.keyring import KeyRing
from core.backup.keys import make_slots
from core.backup.records import Balance, Wallet, encode, sort_records
from core.backup.verify import RestoredChain
from tests.backup.installation import (
    INSTALL_ID,
    KEY,
    OPENER,
    PASSWORD,
    RECOVERY,
    Workshop,
    agent_records,
    installation,
)


class Vectors(msgspec.Struct, frozen=True, rename="camel"):
    """The files, in the order of the chain, and everything they can be opened with."""

    password: str
    recovery_key: str
    backup_key: str
    files: list[str]
    sha256: list[str]
    content_sha256: list[str] = msgspec.field(name="contentSha256")


def main(folder: Path) -> None:
    """Write the vectors into an empty folder."""
    folder.mkdir()
    workshop = Workshop(folder)
    slots = make_slots(KEY, INSTALL_ID, OPENER, RECOVERY)
    workshop.ring = KeyRing(INSTALL_ID, KEY, slots)  # at the real cost, not a test's
    before = installation(("alpha", "beta", "gämma \u2603"))
    full = workshop.make(before, BackupType.FULL)
    after = [
        record
        for record in before
        if not (isinstance(record, Balance | Wallet) and record.agent == "beta")
    ]
    after = sort_records([*after, *agent_records("delta", 2**255)])
    child = workshop.make(after)
    with RestoredChain([full.path, child.path], KEY) as chain:
        lines = [encode(record) for record in chain.records()]
    (folder / "records.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    vectors = Vectors(
        PASSWORD,
        RECOVERY.text().reveal(),
        KEY.reveal().hex(),
        [full.path.name, child.path.name],
        [full.sealed.sha256, child.sealed.sha256],
        [full.sealed.content_sha256, child.sealed.content_sha256],
    )
    encoded = msgspec.json.format(msgspec.json.encode(vectors), indent=2)
    (folder / "vectors.json").write_bytes(encoded + b"\n")
    for state in folder.glob("*.state"):
        state.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
