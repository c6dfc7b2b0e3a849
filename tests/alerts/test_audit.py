"""The audit log: every touched byte is found, and a crash breaks no chain."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import Json
from core.telemetry.audit import (
    AuditError,
    AuditHead,
    AuditLog,
    encode_line,
    verify,
)
from tests.clock import TestClock


async def written(path: Path, count: int = 3) -> list[AuditHead]:
    log = AuditLog(path, TestClock())
    heads = [
        await log.append("alert.silence", "ada", f"alert {n}", {"reason": 'said "no"\n', "n": n})
        for n in range(count)
    ]
    await log.close()
    return heads


def chain(fields: list[dict[str, Json]]) -> bytes:
    head, lines = AuditHead(), b""
    for each in fields:
        line, head = encode_line(head, each)
        lines += line
    return lines


async def test_lines_are_json_of_who_did_what_when_and_private(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    heads = await written(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert lines[1] == {
        "number": 2,
        "timestamp": "2026-05-28T20:26:40.000Z",
        "action": "alert.silence",
        "actor": "ada",
        "subject": "alert 1",
        "details": {"reason": 'said "no"\n', "n": 1},
        "previous": heads[0].hash,
        "hash": heads[1].hash,
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert verify(path).head == heads[-1]


async def test_every_byte_flipped_is_found_and_its_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await written(path, 2)
    whole = path.read_bytes()
    touched = tmp_path / "touched.jsonl"
    line = 1
    for place, byte in enumerate(whole):
        for flip in (0x01, 0x20, 0x80, 0xFF):  # 0x20 changes the case of a letter
            changed = whole[:place] + bytes((byte ^ flip,)) + whole[place + 1 :]
            touched.write_bytes(changed)
            check = verify(touched)
            assert check.broken_line == line, (place, flip, check)
            assert check.head.number == line - 1
        line += byte == ord("\n")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["action", "details", "hash_", "x"]),
            st.text() | st.dictionaries(st.sampled_from(["previous", "hash", "number"]), st.text()),
            min_size=1,
        ),
        min_size=2,
        max_size=6,
    ),
    st.data(),
)
def test_lines_taken_out_put_twice_or_exchanged_are_found(
    tmp_path_factory: pytest.TempPathFactory, fields: list[dict[str, Json]], drawn: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    lines = chain(fields).splitlines(keepends=True) if fields else []
    path.write_bytes(b"".join(lines))
    assert verify(path).ok
    at = drawn.draw(st.integers(0, len(lines) - 2))
    for broken, place in (
        (lines[:at] + lines[at + 1 :], at),
        (lines[: at + 1] + lines[at:], at + 1),
        ([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]], at),
    ):
        path.write_bytes(b"".join(broken))
        assert verify(path).broken_line == place + 1


def test_a_line_written_anew_with_a_hash_that_fits_it_is_found_at_the_next(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    first, one = encode_line(AuditHead(), {"action": "a"})
    _, two = encode_line(one, {"action": "b"})
    third, _ = encode_line(two, {"action": "c"})
    forged, _ = encode_line(one, {"action": "x"})
    path.write_bytes(first + forged + third)
    check = verify(path)
    assert (check.broken_line, check.head.number) == (3, 2)
    assert "does not follow the line before" in check.reason
    skipped, _ = encode_line(AuditHead(5, one.hash), {"action": "b"})
    path.write_bytes(first + skipped)
    assert verify(path).reason == "it is numbered 6 and follows 1"


async def test_a_log_written_anew_or_cut_off_is_found_by_a_head_that_was_noted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    heads = await written(path)
    for noted in (AuditHead(), *heads):
        assert verify(path, noted).ok
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify(path).ok  # by itself it cannot be seen
    assert verify(path, heads[1]).ok
    assert verify(path, heads[2]).broken_line == 3
    path.write_bytes(chain([{"action": "other"}] * 3))
    assert verify(path).ok
    assert verify(path, heads[1]).broken_line == 2


async def test_another_life_goes_on_with_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await written(path, 2)
    heads = await written(path, 2)
    assert [head.number for head in heads] == [3, 4]
    assert verify(path).head == heads[-1]


async def test_an_unfinished_line_is_set_aside_and_the_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await written(path, 2)
    with path.open("ab") as file:
        file.write(b'{"number":3,"timest')
    assert verify(path).broken_line == 3
    await written(path, 1)
    assert verify(path).ok
    assert verify(path).head.number == 3
    assert (tmp_path / "audit.jsonl.torn").read_bytes() == b'{"number":3,"timest\n'


async def test_nothing_is_added_to_a_last_line_that_was_touched(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    await written(path, 2)
    touched = path.read_bytes().replace(b'"ada","subject":"alert 1"', b'"eve","subject":"alert 1"')
    path.write_bytes(touched)
    with pytest.raises(AuditError, match="was touched"):
        await written(path, 1)
    assert path.read_bytes() == touched


_FULL_DISK = """
import asyncio, pathlib, resource, signal, sys
from core.telemetry.audit import AuditError, AuditLog
from tests.clock import TestClock

async def append() -> None:
    path = pathlib.Path(sys.argv[1])
    size = path.stat().st_size
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20))
    log = AuditLog(path, TestClock())
    try:
        await log.append("two", "ada", "", {})
    except AuditError as error:
        print(path.stat().st_size - size, error)
    await log.close()

asyncio.run(append())
"""


async def test_a_full_disk_leaves_no_half_line_and_the_next_action_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    heads = await written(path, 1)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _FULL_DISK, str(path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith(f"0 {path}: the action cannot be recorded and was not done")
    assert verify(path).head == heads[0]
    assert [head.number for head in await written(path, 1)] == [2]


async def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match="was not done"):
        await written(tmp_path / "audit.jsonl", 1)
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert verify(tmp_path / "none").head.number == 0
    assert verify(tmp_path / "none", AuditHead(3, "a" * 64)).broken_line == 1
    with pytest.raises(AuditError, match="cannot be read"):
        verify(tmp_path)
