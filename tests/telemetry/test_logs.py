"""The log is JSON lines, private, free of secrets, and never written on the caller's thread."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import stat
from pathlib import Path

import msgspec
import pytest

from core.model import Secret
from core.telemetry.logs import LogFile

log = logging.getLogger("bursar.sync")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_one_object_with_the_known_fields(tmp_path: Path) -> None:
    path = tmp_path / "bursar.log"
    with LogFile(path):
        log.info("read %d\nbalances", 3, extra={"chain": "base", "duration_ms": 12, "other": 1})
        log.debug("not at this level")
    (line,) = lines(path)
    assert line.pop("timestamp")
    assert line == {
        "level": "INFO",
        "logger": "bursar.sync",
        "message": "read 3\nbalances",
        "component": "sync",
        "chain": "base",
        "duration_ms": 12,
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_secret_is_masked_wherever_it_ends_up(tmp_path: Path) -> None:
    path = tmp_path / "bursar.log"
    secret = Secret("hunter2-hunter2")
    with LogFile(path, level="debug"):
        log.info("password %s, %r, %s", secret, [secret], {"p": secret}, extra={"agent": secret})
        log.info(f"{secret} {secret!r} {secret:>30}")
        try:
            raise ValueError(secret)
        except ValueError:
            log.exception("failed with %s", secret)
    assert "hunter2" not in path.read_text()
    assert len(lines(path)) == 3
    assert secret.reveal() == "hunter2-hunter2"


def test_a_secret_cannot_be_serialised() -> None:
    secret = Secret("hunter2-hunter2")
    for way in (pickle.dumps, copy.deepcopy, msgspec.json.encode, json.dumps):
        with pytest.raises(TypeError):
            way(secret)


def test_an_exception_comes_with_its_stack_and_without_locals(tmp_path: Path) -> None:
    path = tmp_path / "bursar.log"
    mnemonic = " ".join(["abandon"] * 12)
    with LogFile(path):
        try:
            raise RuntimeError(f"{len(mnemonic)} letters are too many")
        except RuntimeError:
            log.exception("it failed")
    (line,) = lines(path)
    assert "test_logs.py" in str(line["exception"])
    assert "abandon abandon" not in path.read_text()


def test_leaving_writes_what_is_queued_and_restores_the_logger(tmp_path: Path) -> None:
    path = tmp_path / "bursar.log"
    logger = logging.getLogger("bursar")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with LogFile(path, rotate_bytes=50_000, keep_files=10) as file:
        for number in range(2_000):
            log.info("line %d", number)
    assert file.lost == 0
    written = [line for name in sorted(tmp_path.iterdir()) for line in lines(name)]
    assert len(written) == 2_000
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_a_word_that_is_no_level_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'loud' is no log level"):
        LogFile(tmp_path / "bursar.log", level="loud")


def test_a_disk_that_fails_is_told_once_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LogFile(tmp_path / "missing" / "bursar.log"):
        log.info("one")
        log.info("two")
    assert capsys.readouterr().err.count("the log is not written") == 1
