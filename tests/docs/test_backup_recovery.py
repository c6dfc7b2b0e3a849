"""The operators' page on backups, walked from its top to its end: every command in it is run."""

from __future__ import annotations

import asyncio
import configparser
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from core.config import load_settings
from core.engine import Engine, EngineMode
from core.model import Secret
from core.wallets.seed import Seed
from tests.cli.shell import Home, base_config, base_node, csv_of, small_world
from tests.wallets.vectors import JUNK

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operators" / "backup-recovery.md"
PASSWORD = "orbit-lantern-copper-maple-drift-quilt-seven"
OTHER = "violin-thunder-basil-anchor-meadow-frost-nine"
# What a person would type, by the command that asks for it.
TYPED = (
    ("rekey", f"{PASSWORD}\n{OTHER}\n"),
    ("drill --password", f"{PASSWORD}\n"),
    ("backup setup", f"{PASSWORD}\n"),
    ("backup restore --undo", ""),
    ("backup restore", f"{PASSWORD}\n"),
    ("open_backup.py", f"{PASSWORD}\n"),
)


def commands() -> list[str]:
    """Every line of every block that is marked as shell."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


class Operator:
    """Types the page's commands at a shell."""

    def __init__(self, home: Home) -> None:
        self.home = home
        programs = home.path / "bin"
        programs.mkdir()
        for name, what in (("bursar", "-m tui.cli "), ("python3", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {what}"$@"\n')
            (programs / name).chmod(0o755)
        (home.path / "docs").symlink_to(ROOT / "docs")

    async def type(self, command: str, typed: str = "") -> tuple[int, str, str]:
        """Exit code, output and errors."""
        path = f"{self.home.path / 'bin'}:{os.environ['PATH']}"
        environment = self.home.environment(PATH=path, PYTHONPATH=str(ROOT))
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command,
            cwd=self.home.path, env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(typed.encode()), 120)
        assert process.returncode is not None
        assert "Traceback" not in err.decode(), err.decode()
        return process.returncode, out.decode(), err.decode()

    async def backups(self) -> list[dict[str, Any]]:
        _, out, _ = await self.type("bursar backup list --json")
        listed: list[dict[str, Any]] = json.loads(out)
        return listed


async def found(home: Home) -> None:
    """An installation with a seed, whose vault the page's password opens."""
    engine = Engine(load_settings(str(home.config), {}), mode=EngineMode.COMMAND)
    await engine.start()
    await engine.walleting.vault.create(Seed.from_words(Secret(JUNK)), Secret(PASSWORD))
    await engine.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    world, _ = small_world()
    home = Home(tmp_path)
    operator = Operator(home)
    (tmp_path / "agents.csv").write_text(csv_of(world))
    async with base_node(world) as node:
        home.write_config(base_config(node.url, more='[settlement]\nnode_id = "here"\n'))
        await found(home)
        assert (await operator.type("bursar wallets import agents.csv"))[0] == 0
        assert (await operator.type("bursar wallets create 2 --prefix own"))[0] == 0
        assert (await operator.type("bursar sync"))[0] == 0
        for command in commands():
            if command.startswith("bursar --config restored.toml init"):
                shutil.copytree(home.data / "backups", tmp_path / "rescued")
            rows = await operator.backups() if re.search(r"\b(ID|FULL)\b", command) else []
            line = command.replace(" ID", f" {rows[0]['id']}" if rows else "")
            if "FULL" in line:
                full = next(row for row in rows if row["type"] == "full")
                line = line.replace("FULL", str(home.data / "backups" / full["name"]))
            typed = next((text for part, text in TYPED if part in line), "")
            code, out, err = await operator.type(line.replace("NODE", "here"), typed)
            assert code == 0, f"{command}: exit {code}\n{out}\n{err}"
            if "restored.toml init" in command:
                settings = tmp_path / "restored.toml"
                text = settings.read_text().split("[settlement]")[0]
                more = '[settlement]\nnode_id = "there"\n'
                settings.write_text(text + base_config(node.url, more=more))
            if "backup reconciliation" in command:
                assert "0 drifted, 0 unknown" in out
        restored = await operator.type("bursar --config restored.toml wallets list --json")
        agents = {row["agent"] for row in json.loads(restored[1])}
        assert agents == {*(agent.id for agent in world.agents), "own-00000", "own-00001"}
    assert len((tmp_path / "records.ndjson").read_text().splitlines()) > 10
    assert len(json.loads((tmp_path / "backup.json").read_text())["wallets"]) == 7


def test_the_page_runs_every_command_about_backups() -> None:
    from tui.cli.backups import app

    told = " ".join(commands())
    names = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert {name for name in names if f"backup {name}" not in told} == set()


def test_the_units_of_the_page_are_whole() -> None:
    [block] = re.findall(r"^```ini\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    service, timer = re.split(r"^# /etc.*\.timer\n", block, flags=re.MULTILINE)
    units = []
    for text in (service, timer):
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(text)
        units.append(unit)
    assert units[0]["Service"]["ExecStart"].endswith("backup run-due")
    assert units[0]["Service"]["SuccessExitStatus"] == "3"
    assert units[0]["Service"]["LoadCredential"].startswith("bursar-backup-key:")
    assert units[1]["Timer"]["Persistent"] == "true"
    assert set(units[0].sections()) == {"Unit", "Service"}
    assert set(units[1].sections()) == {"Unit", "Timer", "Install"}
