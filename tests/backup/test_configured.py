"""Where the key ring comes from, and destinations as the settings name them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from core.backup.configured import (
    CREDENTIAL,
    build_destination,
    key_source,
    location_of,
    retention_of,
    schedule_of,
)
from core.backup.destinations import LocalDirectory
from core.backup.errors import KeySlotError
from core.backup.keyring import format_key_ring
from core.backup.object_store import ObjectStore
from core.config import Settings, parse_settings
from core.config.backup_checks import places
from tests.backup.installation import KEY, ring


def settings_of(folder: Path, more: str = "") -> Settings:
    return parse_settings(f'data_dir = "{folder}"\n{more}', "test", {})


def written(path: Path, mode: int = 0o600) -> Path:
    path.write_bytes(format_key_ring(ring()))
    path.chmod(mode)
    return path


def test_the_key_file_of_the_data_directory_is_the_default(tmp_path: Path) -> None:
    source = key_source(settings_of(tmp_path), {})
    assert (source.path, source.exists()) == (tmp_path / "backup-key.json", False)
    written(tmp_path / "backup-key.json")
    assert source.read().key == KEY


def test_a_named_file_comes_before_a_credential_and_a_credential_before_the_default(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert key_source(settings_of(tmp_path), environment).path == tmp_path / "backup-key.json"
    written(folder / CREDENTIAL, 0o440)  # as an access list for the service's user shows
    source = key_source(settings_of(tmp_path), environment)
    assert (source.fixed, source.read().key) == (True, KEY)
    named = settings_of(tmp_path, f'[backup]\nkey_file = "{tmp_path}/elsewhere"\n')
    assert key_source(named, environment).path == tmp_path / "elsewhere"


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o600 | 0o004])
def test_a_credential_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    written(tmp_path / CREDENTIAL, mode)
    source = key_source(settings_of(tmp_path), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(KeySlotError, match="not used"):
        source.read()


def command(folder: Path, program: str) -> Settings:
    """Settings whose key ring a program prints."""
    words = shlex.join([sys.executable, "-c", program])
    return settings_of(folder, f"[backup]\npassword_command = '''{words}'''\n")


def test_a_command_prints_the_ring_and_no_shell_reads_its_words(tmp_path: Path) -> None:
    path = written(tmp_path / "ring; touch owned")
    program = f"print(open({str(path)!r}).read())"
    source = key_source(command(tmp_path, program), {})
    assert (source.path, source.exists(), source.read().key) == (None, True, KEY)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit('canary')", "failed with exit code 1"),
        ("print('canary')", "holds no Bursar backup key"),
        ("", "holds no Bursar backup key"),
    ],
)
def test_a_command_that_gives_no_ring_is_named_and_what_it_said_is_not(
    tmp_path: Path, program: str, words: str
) -> None:
    with pytest.raises(KeySlotError, match=words) as caught:
        key_source(command(tmp_path, program), {}).read()
    assert "canary" not in str(caught.value)


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, '[backup]\npassword_command = "/nowhere/key"\n')
    with pytest.raises(KeySlotError, match="/nowhere/key cannot be run"):
        key_source(settings, {}).read()


def test_destinations_are_built_by_their_kind_and_shown_without_secrets(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        '[[backup.destination]]\nname = "local"\n'
        '[[backup.destination]]\nname = "s3"\nurl = "s3://bucket/p"\nsse_kms_key = "arn:key"\n',
    )
    local, cloud = places(settings)
    assert isinstance(build_destination(local), LocalDirectory)
    assert isinstance(build_destination(cloud), ObjectStore)
    assert [location_of(p) for p in (local, cloud)] == [str(tmp_path / "backups"), "s3://bucket/p"]


def test_schedule_and_retention_are_the_settings(tmp_path: Path) -> None:
    text = '[backup]\nfull = "1 1 * * 1"\ntimezone = "Europe/Berlin"\njitter = "7s"\n'
    more = 'keep_last = 3\nkeep_daily = 4\nkeep_incrementals = "2d"\nkeep_fulls = "20d"\n'
    backup = settings_of(tmp_path, text + more).backup
    plan, rules = schedule_of(backup), retention_of(backup)
    assert (plan.full, plan.timezone, plan.jitter_ms) == ("1 1 * * 1", "Europe/Berlin", 7000)
    assert (rules.last, rules.daily, rules.incremental_days, rules.full_days) == (3, 4, 2, 20)
