"""Frozen archives still open: with Bursar, and with the stand-alone opener in a bare process."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from core.backup.archive import measure, open_with
from core.backup.header import Header
from core.backup.records import KIND_NAMES, encode, position
from core.backup.verify import RestoredChain, verify
from core.model import Secret
from core.wallets.secrets import Password, RecoveryKey, SecretBytes
from core.wallets.slots import Argon2Parameters, Slot
from tests.backup.installation import Workshop, installation
from tests.backup.make_vectors import Vectors

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).with_name("vectors")
OPENER = ROOT / "docs" / "open_backup.py"
VECTORS = msgspec.json.decode((FOLDER / "vectors.json").read_bytes(), type=Vectors)
RECORDS = (FOLDER / "records.ndjson").read_bytes()
FILES = [FOLDER / name for name in VECTORS.files]


def run_opener(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Isolated (-I): neither this directory nor Bursar is on its path."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'core', 'tui', 'msgspec', 'obstore', 'web3'}:\n"
        "            raise ImportError(f'{name} is not for the stand-alone opener')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", code, str(OPENER), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_frozen_archives_have_their_frozen_hashes_and_records() -> None:
    for path, sha256, content in zip(FILES, VECTORS.sha256, VECTORS.content_sha256, strict=True):
        with path.open("rb") as file:
            measured = measure(file, path.name)
            assert (measured.sha256, measured.content_sha256) == (sha256, content)
            archive, key = open_with(file, path.name, Password(Secret(VECTORS.password)))
            assert key == SecretBytes(bytes.fromhex(VECTORS.backup_key))
            verify(archive, sha256)
            recovery = RecoveryKey.parse(Secret(VECTORS.recovery_key))
            assert open_with(file, path.name, recovery)[1] == key
    with RestoredChain(FILES, key) as chain:
        lines = [encode(record) for record in chain.records()]
    assert b"\n".join(lines) + b"\n" == RECORDS


@pytest.mark.parametrize(
    ("way", "secret"),
    [((), VECTORS.password), (("--recovery-key",), VECTORS.recovery_key)],
)
def test_the_opener_writes_the_records_of_a_chain(
    way: tuple[str, ...], secret: str, tmp_path: Path
) -> None:
    out = tmp_path / "records"
    done = run_opener(*FILES, "--out", out, "--password-stdin", *way, stdin=f"{secret}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert out.read_bytes() == RECORDS
    assert out.stat().st_mode & 0o777 == 0o600


def test_the_opener_shows_a_header_without_a_password() -> None:
    done = run_opener(FILES[1])
    assert done.returncode == 0
    assert '"type": "incremental"' in done.stdout


def test_the_opener_refuses_what_bursar_refuses_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "records"
    flipped = tmp_path / FILES[0].name
    raw = bytearray(FILES[0].read_bytes())
    raw[-20] ^= 1
    flipped.write_bytes(raw)
    slot = tmp_path / "slot.bursar"
    slot.write_bytes(FILES[0].read_bytes().replace(b'"memoryKib":65536', b'"memoryKib":99999999'))
    for files, password, message in (
        ([FILES[0]], "wrong", "does not open"),
        ([flipped], VECTORS.password, "Backup checksum validation failed"),
        ([FILES[1]], VECTORS.password, "give that file before it"),
        (FILES[::-1], VECTORS.password, "give that file before it"),
        ([OPENER], VECTORS.password, "no Bursar backup"),
        ([slot], VECTORS.password, ""),
    ):
        done = run_opener(*files, "--out", out, "--password-stdin", stdin=f"{password}\n")
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not out.exists()


def test_the_opener_opens_what_bursar_writes_today(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    names = [f"agent-{number}" for number in range(40)]
    workshop.make(installation(names))
    for changed in range(1, 7):
        made = workshop.make(installation(names[changed:]))
    files = workshop.files(made.sealed.header.id)
    assert len(files) == 7
    out = tmp_path / "records"
    done = run_opener(*files, "--out", out, "--password-stdin", stdin=f"{VECTORS.password}\n")
    assert (done.returncode, done.stderr) == (0, "")
    expected = [encode(record) for record in installation(names[6:])]
    assert out.read_bytes().splitlines() == expected


def test_the_published_format_names_every_field_and_kind() -> None:
    text = (ROOT / "docs" / "backup-format.md").read_text()
    names = [*Header.__struct_encode_fields__, *Slot.__struct_encode_fields__, *KIND_NAMES,
             *Argon2Parameters.__struct_encode_fields__]  # fmt: skip
    assert [name for name in names if name not in text] == []


def test_the_opener_orders_records_as_bursar_does() -> None:
    opener = runpy.run_path(str(OPENER))
    assert tuple(opener["RANKS"]) == KIND_NAMES
    for record in installation():
        where = position(record)
        assert opener["place"](json.loads(encode(record))) == (where.rank, where.key)
