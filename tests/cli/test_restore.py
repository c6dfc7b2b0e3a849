"""`bursar backup restore` as scripts run it: in a home of its own, with nothing but a file."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.backup.generations import PASSWORD
from tests.backup.machines import Machine, back_up
from tests.cli.shell import Done

LIMIT_S = 90.0


class Shell:
    """Commands of one machine; the password lies in a file beside its home."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.home.mkdir(parents=True, exist_ok=True)
        self.password = machine.home / "password"
        self.password.write_text(PASSWORD.reveal() + "\n")
        self.password.chmod(0o600)

    async def run(self, *args: str, stdin: str = "") -> Done:
        """Run a command to its end."""
        kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG"}}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tui.cli", *args,
            cwd=self.machine.home,
            env=kept | self.machine.environ | {
                "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "dumb"
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), LIMIT_S)
        assert process.returncode is not None
        assert "Traceback" not in err.decode(), err.decode()
        return Done(process.returncode, out.decode(), err.decode())

    async def restore(self, *args: str) -> Done:
        """A restore with the password of the file."""
        return await self.run("backup", "restore", *args, "--password-file", str(self.password))


@pytest.fixture
async def shelf(tmp_path: Path) -> Path:
    """A folder with a backup of a machine that is gone."""
    first = Machine(tmp_path / "first")
    await first.install(tmp_path / "shelf")
    async with first.engine() as engine:
        await back_up(engine)
    return tmp_path / "shelf"


async def test_a_fresh_machine_is_restored_by_one_command(tmp_path: Path, shelf: Path) -> None:
    shell = Shell(Machine(tmp_path / "fresh"))
    dry = await shell.restore(str(shelf), "--dry-run", "--json")
    assert dry.code == 0
    assert dry.json()["plan"]["addresses"] == 20
    assert not shell.machine.config.exists()
    done = await shell.restore(str(shelf), "--yes", "--json")
    assert done.code == 3  # no chain answers here: nothing could be compared
    found = done.json()
    assert found["result"]["wallets"] == 21
    assert found["reconciliation"]["unknown"] == 4
    again = await shell.run("wallets", "list", "--json")
    assert "agent-00000" in again.out
    settlements = await shell.run("settlements", "release", "--reason", "looked at all")
    assert (settlements.code, settlements.out) == (0, "Settlements go on.\n")


async def test_what_is_there_needs_a_flag_and_its_name(tmp_path: Path, shelf: Path) -> None:
    shell = Shell(Machine(tmp_path / "fresh"))
    assert (await shell.restore(str(shelf), "--yes")).code == 3
    refused = await shell.restore("shelf")
    assert refused.code == 2
    assert "Give --replace" in refused.err
    unnamed = await shell.restore("shelf", "--replace")
    assert unnamed.code == 2
    assert "--name" in unnamed.err
    wrong = await shell.restore("shelf", "--replace", "--name", "other")
    assert wrong.code == 1
    assert "Type the installation's name" in wrong.err
    assert (await shell.restore("shelf", "--replace", "--name", "node")).code == 3
    undone = await shell.run("backup", "restore", "--undo", "--name", "node")
    assert undone.code == 0
    assert "Went back" in undone.out


async def test_a_password_comes_from_a_pipe_and_a_wrong_one_changes_nothing(
    tmp_path: Path, shelf: Path
) -> None:
    shell = Shell(Machine(tmp_path / "fresh"))
    wrong = await shell.run("backup", "restore", str(shelf), stdin="some other long phrase\n")
    assert wrong.code == 1
    assert "was not opened" in wrong.err
    assert not list(shell.machine.data.glob("gen-0002*"))
    right = await shell.run(
        "backup", "restore", str(shelf), "--dry-run", stdin=PASSWORD.reveal() + "\n"
    )
    assert right.code == 0


async def test_a_drill_tells_what_it_proved(tmp_path: Path, shelf: Path) -> None:
    shell = Shell(Machine(tmp_path / "first"))
    plain = await shell.run("backup", "drill")
    assert plain.code == 0
    assert "20 addresses derived again and equal" in plain.out
    assert "no password was given" in plain.out
    proven = await shell.run("backup", "drill", "--password-file", str(shell.password), "--json")
    assert proven.json()["message"].endswith("the seed opens.")


async def test_wrong_use_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    shell = Shell(Machine(tmp_path / "fresh"))
    for args in ([], ["x", "--undo"], ["x", "--ledger", "mine"]):
        assert (await shell.run("backup", "restore", *args)).code == 2
