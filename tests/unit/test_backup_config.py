"""[backup]: what stops the start, in which words, and what the short names stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import ConfigError, Settings, load_settings, masked
from core.config.backup_checks import places

HEAD = 'data_dir = "/var/lib/bursar"\n'


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "bursar.toml"
    path.write_text(HEAD + text)
    return load_settings(str(path), environment or {})


def place(more: str) -> str:
    return f'[[backup.destination]]\nname = "offsite"\n{more}\n'


def test_with_nothing_said_backups_go_to_a_directory_of_the_data_directory(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    backup = settings.backup
    assert [(p.name, p.path) for p in places(settings)] == [("local", "/var/lib/bursar/backups")]
    assert (backup.full, backup.incremental, backup.timezone, backup.require) == (
        "0 0 * * 0", "0 0 * * *", "UTC", "any",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[backup]\nfull = "0 0 31 2 *"', r"\[backup\] full: '0 0 31 2 \*' is no cron expression"),
        ('[backup]\nincremental = "daily"', r"\[backup\] incremental: 'daily' is no cron"),
        ('[backup]\ndrill = ""', r"\[backup\] drill: '' is no cron"),
        ('[backup]\ntimezone = "Mars/Olympus"', r"\[backup\] timezone: 'Mars/Olympus' is no IANA"),
        ('[backup]\njitter = "2d"', r"\[backup\] jitter: must not be longer"),
        ('[backup]\nrequire = "most"', r"\[backup\] require: must be"),
        ("[backup]\nkeep_last = -1", r"\[backup\] keep_last: must be 0"),
        ('[backup]\nkeep_fulls = "1h"', r"\[backup\] keep_fulls: must be 1d"),
        ('[backup]\nkeep_fulls = "7d"', r"keep_fulls: must not be shorter than keep_incrementals"),
        ('[backup]\nkey_file = "ring"', r"\[backup\] key_file: must be an absolute path"),
        ('[backup]\nkey_file = "/r"\npassword_command = "cat /r"', "password_command: give either"),
        ('[backup]\npassword_command = "cat \'r"', r"password_command: cannot be split"),
        ('[backup]\nincremantal = "0 0 * * *"', "did you mean `incremental`"),
        (place(""), r"\[\[backup.destination\]\] number 1 \(offsite\): give either"),
        (place('path = "/a"\nurl = "s3://b"'), "give either `path` or `url`"),
        (place('path = "a"'), r"\(offsite\) path: must be an absolute path"),
        (place('path = "/a"\nregion = "x"'), r"\(offsite\) region: belongs to a `url`"),
        (place('url = "ftp://host/x"'), r"\(offsite\) url: must be s3://bucket"),
        (place('url = "gs://b"\nsse_kms_key = "k"'), "sse_kms_key: belongs to an s3:// url"),
        (place('url = "s3://b"\nendpoint = "store:9000"'), "endpoint: must be an http"),
        (place('url = "s3://b"\nendpoint = "http://u:p@s"'), "endpoint: must not hold"),
        (place('path = "/a"') + place('path = "/b"'), r"number 2 \(offsite\) name: stands twice"),
        (
            place('path = "/a"') + '[[backup.destination]]\nname = "b"\npath = "/a"',
            r"number 2 \(b\): is the same place as offsite",
        ),
        (place('path = "/a"\nkey = "k"'), r"number 1 \(offsite\): unknown key `key`"),
    ],
)
def test_what_cannot_work_stops_the_start_and_names_its_key(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, text)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:c4n4ry@bucket/p",
        "s3://c4n4ry@bucket",
        "s3://bucket?X-Amz-Signature=c4n4ry",
        "gs://bucket#c4n4ry",
        "abfss://container:c4n4ry@account.dfs.core.windows.net",
        "az://container?sig=c4n4ry",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"url: holds credentials") as caught:
        load(tmp_path, place(f'url = "{url}"'))
    assert "c4n4ry" not in str(caught.value)


def test_azure_names_its_account_with_an_at(tmp_path: Path) -> None:
    url = "abfss://container@account.dfs.core.windows.net/p"
    [found] = load(tmp_path, place(f'url = "{url}"')).backup.destination
    assert found.url == url


def test_the_short_names_are_destinations(tmp_path: Path) -> None:
    only_path = places(load(tmp_path, "", {"WALLET_BACKUP_PATH": "/mnt/usb"}))
    assert [(p.name, p.path) for p in only_path] == [("local", "/mnt/usb")]
    only_bucket = places(load(tmp_path, "", {"S3_BUCKET": "b"}))
    assert [(p.name, p.path or p.url, p.region) for p in only_bucket] == [
        ("local", "/var/lib/bursar/backups", ""),
        ("s3", "s3://b", "us-east-1"),
    ]
    environment = {
        "WALLET_BACKUP_PATH": "/mnt/usb",
        "S3_BUCKET": "b",
        "S3_REGION": "eu-north-1",
        "WALLET_BACKUP_PASSWORD": "c4n4ry",
    }
    settings = load(tmp_path, place('path = "/nas"'), environment)
    assert [(p.name, p.region) for p in settings.backup.destination] == [
        ("offsite", ""),
        ("local", ""),
        ("s3", "eu-north-1"),
    ]
    assert "c4n4ry" not in f"{settings!r} {masked(settings)}"


def test_a_destination_is_named_in_the_environment_too(tmp_path: Path) -> None:
    changed = {"BURSAR_BACKUP__DESTINATION__OFFSITE__PATH": "/b", "BURSAR_BACKUP__JITTER": "0s"}
    backup = load(tmp_path, place('path = "/a"'), changed).backup
    assert (backup.destination[0].path, int(backup.jitter)) == ("/b", 0)
