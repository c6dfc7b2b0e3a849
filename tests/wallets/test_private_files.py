"""Files that belong to one user: what a killed writer leaves is swept, and nothing else."""

from __future__ import annotations

from pathlib import Path

from core.wallets import private_files


def test_only_what_writers_of_this_very_file_left_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "key[1].json"
    private_files.create(path, b"whole")
    left = tmp_path / f".{path.name}.0123456789abcdef.tmp"
    others = [tmp_path / f".key1.json.{'0' * 16}.tmp", tmp_path / f".{path.name}.tmp"]
    for each in (left, *others):
        each.write_bytes(b"half")
    private_files.remove_leftovers(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])
    assert path.read_bytes() == b"whole"
    private_files.remove_leftovers(tmp_path / "not there" / "file")
