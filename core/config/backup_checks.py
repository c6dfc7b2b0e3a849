"""The words of [backup]: schedules, destinations and keys, held to what can work.

Cron expressions and time zones are tried here, where a wrong one stops the start and names its
key; `core.backup.schedule` walks them. Locations never carry credentials.
"""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from core.config.refusal import refuse
from core.config.settings import BackupSettings, DestinationSettings, Settings

DEFAULT_NAME = "local"
S3_SCHEMES = ("s3", "s3a")
URL_SCHEMES = (*S3_SCHEMES, "gs", "az", "azure", "abfs", "abfss")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_DAY_MS = 86_400_000


def check_backup(settings: Settings, origin: str) -> None:
    """Raises ConfigError naming the first key that cannot be used."""
    backup = settings.backup
    try:
        zone_of(backup.timezone)
    except ValueError as error:
        refuse(origin, "[backup] timezone", str(error))
    for key in ("full", "incremental", "drill"):
        try:
            check_cron(getattr(backup, key))
        except ValueError as error:
            refuse(origin, f"[backup] {key}", str(error))
    if backup.jitter > _DAY_MS:
        refuse(origin, "[backup] jitter", "must not be longer than 1d")
    if backup.require not in {"any", "all"}:
        refuse(origin, "[backup] require", 'must be "any" or "all"')
    for key in ("keep_last", "keep_daily", "keep_weekly", "keep_monthly"):
        if getattr(backup, key) < 0:
            refuse(origin, f"[backup] {key}", "must be 0 (no such rule) or more")
    for key in ("keep_incrementals", "keep_fulls"):
        if getattr(backup, key) < _DAY_MS:
            refuse(origin, f"[backup] {key}", "must be 1d or more")
    if backup.keep_fulls < backup.keep_incrementals:
        refuse(origin, "[backup] keep_fulls", "must not be shorter than keep_incrementals")
    _check_keys(backup, origin)
    _check_places(settings, origin)


def places(settings: Settings) -> tuple[DestinationSettings, ...]:
    """The destinations with their paths complete; with none configured, `data_dir/backups`."""
    default = str(settings.data_path / "backups")
    return tuple(
        place
        if place.url
        else msgspec.structs.replace(place, path=str(Path(place.path or default).expanduser()))
        for place in settings.backup.destination or (DestinationSettings(DEFAULT_NAME),)
    )


def check_cron(expression: str) -> None:
    """Raises ValueError for an expression that is none, or that never comes about."""
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        why = f" ({error})" if str(error) else ""
        raise ValueError(
            f"{expression!r} is no cron expression that ever comes about{why}; write five fields "
            "such as '0 0 * * 0'"
        ) from error


def zone_of(name: str) -> tzinfo:
    """An IANA time zone. Raises ValueError. UTC needs no time zone database."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no IANA time zone such as Europe/Berlin") from error


def _check_keys(backup: BackupSettings, origin: str) -> None:
    if backup.key_file and backup.password_command:
        refuse(origin, "[backup] password_command", "give either key_file or password_command")
    if backup.key_file and not Path(backup.key_file).expanduser().is_absolute():
        refuse(origin, "[backup] key_file", "must be an absolute path")
    try:
        words = shlex.split(backup.password_command)
    except ValueError as error:
        refuse(origin, "[backup] password_command", f"cannot be split into words: {error}")
    if backup.password_command and not words:
        refuse(origin, "[backup] password_command", "names no command")


def _check_places(settings: Settings, origin: str) -> None:
    seen: dict[str, str] = {}
    for number, place in enumerate(places(settings), start=1):
        where = f"[[backup.destination]] number {number} ({place.name})"
        if not _NAME.match(place.name):
            refuse(origin, f"{where} name", "use letters, digits, '.', '_' and '-'")
        written = settings.backup.destination[number - 1] if settings.backup.destination else place
        is_bare = not written.path and not written.url
        if (written.path and written.url) or (is_bare and place.name != DEFAULT_NAME):
            refuse(origin, where, "give either `path` or `url`")
        if place.url:
            _check_url(place, origin, where)
        else:
            _check_path(place, origin, where)
        location = place.url.rstrip("/") or place.path
        if place.name in seen.values():
            refuse(origin, f"{where} name", "stands twice")
        if location in seen:
            refuse(origin, where, f"is the same place as {seen[location]}")
        seen[location] = place.name


def _check_path(place: DestinationSettings, origin: str, where: str) -> None:
    for key in ("region", "endpoint", "sse_kms_key", "write_only"):
        if getattr(place, key):
            refuse(origin, f"{where} {key}", "belongs to a `url`")
    # The default is in the data directory, which may be written relative to the shell's.
    if place.name != DEFAULT_NAME and not Path(place.path).is_absolute():
        refuse(origin, f"{where} path", "must be an absolute path")


def _check_url(place: DestinationSettings, origin: str, where: str) -> None:
    try:
        parts = urlsplit(place.url)
    except ValueError:
        refuse(origin, f"{where} url", "is no URL")
    if parts.scheme not in URL_SCHEMES or not parts.netloc:
        refuse(origin, f"{where} url", "must be s3://bucket, gs://bucket or az://container")
    if _carries_secrets(parts):
        refuse(
            origin,
            f"{where} url",
            "holds credentials; take them out, and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or what your provider's SDK reads) in the environment",
        )
    for key in ("region", "endpoint", "sse_kms_key"):
        if getattr(place, key) and parts.scheme not in S3_SCHEMES:
            refuse(origin, f"{where} {key}", "belongs to an s3:// url")
    if place.endpoint:
        endpoint = urlsplit(place.endpoint)
        if endpoint.scheme not in {"http", "https"} or not endpoint.netloc:
            refuse(origin, f"{where} endpoint", "must be an http:// or https:// URL")
        if "@" in endpoint.netloc or endpoint.query:
            refuse(origin, f"{where} endpoint", "must not hold credentials")


def _carries_secrets(parts: SplitResult) -> bool:
    """User info, or a query or fragment (signed URLs carry their signature there). Azure writes
    container@account, which is no secret."""
    user, at, _ = parts.netloc.rpartition("@")
    is_azure = parts.scheme in {"abfs", "abfss"}
    return bool(parts.query or parts.fragment or (at and (":" in user or not is_azure)))
