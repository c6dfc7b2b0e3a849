"""Other key slots for an archive that exists; its chunks, id and content hash stay.

Children keep fitting, because they name the content without the slots. What cannot be done is
taking a password back: whoever holds an old copy opens it with the old password.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from core.backup.archive import Sealed, measure, open_archive
from core.backup.errors import BackupError
from core.backup.files import create_exclusive, sync_folder
from core.backup.header import read_head, seal_header
from core.backup.keys import check_slots
from core.wallets.secrets import SecretBytes
from core.wallets.slots import Slot

OLD_COPIES = (
    "Copies made before keep the old password, wherever they are. If the old password is known to "
    "somebody else, new slots do not help: move the funds to a new seed."
)


class Rekeyed(msgspec.Struct, frozen=True):
    """The copy with new slots: its whole-file checksum is new, its content's is not. `notice` is
    to be shown to the operator."""

    sealed: Sealed
    path: Path
    notice: str = OLD_COPIES


def rekey(source: Path, target: Path, key: SecretBytes, slots: Sequence[Slot]) -> Rekeyed:
    """Write `source` to the new file `target` with other slots, each wrapping the same `key`.

    Everything is verified first. Raises WrongKeyError, DamagedArchiveError, BackupError; then
    there is no target.
    """
    check_slots(slots)
    created = False
    try:
        with source.open("rb") as reading:
            before = open_archive(reading, source.name, key).verify()
            header = msgspec.structs.replace(before.header, slots=tuple(slots))
            raw, _ = seal_header(header, key)
            reading.seek(0)
            reading.seek(read_head(reading, source.name).size)
            with create_exclusive(target) as writing:
                created = True
                writing.write(raw)
                shutil.copyfileobj(reading, writing, 1024 * 1024)
                writing.flush()
                os.fsync(writing.fileno())
                after = measure(writing, target.name)
        if after.content_sha256 != before.content_sha256:
            raise BackupError(f"{source} changed while its slots were rewritten; try again.")
        sync_folder(target.parent)
    except BaseException as error:
        if created:
            target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BackupError(f"{target} cannot be written: {error.strerror or error}.") from error
        raise
    return Rekeyed(msgspec.structs.replace(after, lines=before.lines), target)
