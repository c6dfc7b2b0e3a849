"""From the [backup] settings to parts: where the key ring comes from, destinations, rules.

A key ring is read when it is needed and not before: whoever changes it need not restart an engine.
Reading one blocks (a command may run); call it in a thread.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from core.backup.destinations import Destination, LocalDirectory
from core.backup.errors import KeySlotError
from core.backup.keyring import (
    FILE_NAME,
    KeyRing,
    parse_key_ring,
    read_credential,
    read_key_file,
)
from core.backup.object_store import ObjectStore
from core.backup.retention import Retention
from core.backup.schedule import Schedule
from core.config import BackupSettings, DestinationSettings, Settings
from core.config.backup_checks import S3_SCHEMES

CREDENTIAL = "bursar-backup-key"
_COMMAND_LIMIT_S = 30.0
_DEFAULT_REGION = "us-east-1"
_DAY_MS = 86_400_000


class KeySource(msgspec.Struct, frozen=True):
    """Where the key ring is: a file that Bursar may write (`path`), or a `command`; `said` is it
    in words. `fixed`: the file belongs to somebody else (systemd) and is only read."""

    said: str
    path: Path | None = None
    command: tuple[str, ...] = ()
    fixed: bool = False

    def exists(self) -> bool:
        """Whether there is anything to read; a command is believed to have it."""
        return self.path is None or os.path.lexists(self.path)

    def read(self) -> KeyRing:
        """The ring. Blocks. Raises KeySlotError."""
        if self.path is not None:
            return read_credential(self.path) if self.fixed else read_key_file(self.path)
        return parse_key_ring(_printed_by(self.command), self.said)


def key_source(settings: Settings, environ: Mapping[str, str] = os.environ) -> KeySource:
    """`key_file`, `password_command`, the systemd credential, `data_dir/backup-key.json`: the
    first of them that is there or was asked for."""
    backup = settings.backup
    if backup.key_file:
        path = Path(backup.key_file).expanduser()
        return KeySource(str(path), path)
    if backup.password_command:
        command = tuple(shlex.split(backup.password_command))
        return KeySource(f"password_command ({command[0]})", command=command)
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        path = Path(folder) / CREDENTIAL
        if os.path.lexists(path):
            return KeySource(f"the systemd credential {CREDENTIAL}", path, fixed=True)
    path = settings.data_path / FILE_NAME
    return KeySource(str(path), path)


def _printed_by(command: tuple[str, ...]) -> bytes:
    """What a command prints. What it says on standard error is not repeated: it may be secret."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_LIMIT_S,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise KeySlotError(
            f"[backup] password_command: {command[0]} cannot be run: {error.strerror}."
        ) from error
    except subprocess.TimeoutExpired:
        # Without the cause, which holds what the command printed so far.
        reason = f"{command[0]} printed no key ring in {_COMMAND_LIMIT_S:.0f} s"
    else:
        if done.returncode == 0:
            return done.stdout
        reason = f"{command[0]} failed with exit code {done.returncode}"
    raise KeySlotError(f"[backup] password_command: {reason}; run it by hand.")


def build_destination(place: DestinationSettings) -> Destination:
    """Raises DestinationError."""
    if place.path:
        return LocalDirectory(place.name, Path(place.path))
    options: dict[str, str] = {}
    if urlsplit(place.url).scheme in S3_SCHEMES:
        options["region"] = place.region or os.environ.get("AWS_REGION") or _DEFAULT_REGION
        if place.endpoint:
            options["endpoint"] = place.endpoint
        if place.sse_kms_key:
            options |= {"server_side_encryption": "aws:kms", "sse_kms_key_id": place.sse_kms_key}
    return ObjectStore(
        place.name,
        place.url,
        options,
        write_only=place.write_only,
        allow_http=place.endpoint.startswith("http://"),
    )


def location_of(place: DestinationSettings) -> str:
    """Path or URL, which never carry credentials."""
    return place.path or place.url


def schedule_of(backup: BackupSettings) -> Schedule:
    """When backups are due."""
    return Schedule(backup.full, backup.incremental, backup.timezone, int(backup.jitter))


def retention_of(backup: BackupSettings) -> Retention:
    """How long they stay."""
    return Retention(
        backup.keep_last,
        backup.keep_daily,
        backup.keep_weekly,
        backup.keep_monthly,
        incremental_days=int(backup.keep_incrementals) // _DAY_MS,
        full_days=int(backup.keep_fulls) // _DAY_MS,
    )
