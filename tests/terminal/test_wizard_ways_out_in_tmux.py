"""The restore wizard in a real terminal over an installation whose chains do not answer: every way
it refuses and every step it is left at, by keys, with nothing changed on the disk; and at the end a
restore whose balances nobody can compare."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from core.api import TagAgents
from core.backup.records import AgentEntry, AnyRecord, AssetEntry, LimitEntry, Wallet
from tests.backup.generations import PASSWORD, records_of
from tests.backup.machines import Machine, back_up
from tests.terminal.test_demo_in_tmux import start
from tests.terminal.tmux import Tmux, terminal
from tests.wallets.vectors import JUNK

SECRET = PASSWORD.reveal()
MISTYPED = "gravel-omen-canary-tulip-mistyped"
BACKUP = r"[0-9a-f]{8}-[0-9a-f-]{27} +"


class InUse(NamedTuple):
    """What a restore would put something else in the place of; what the running engine writes by
    itself is left out."""

    current: str
    files: dict[str, bytes]
    groups: dict[str, str]
    facts: list[AnyRecord]


class Site:
    """A machine with a full and an incremental on a shelf, an incremental whose parent is nowhere
    to be found, and a file that is no backup."""

    def __init__(self, home: Path) -> None:
        self.machine = Machine(home)
        self.shelf = home / "shelf"
        self.alone = home / "alone"
        self.notes = home / "notes.txt"

    async def install(self) -> None:
        """Everything, at rest."""
        await self._backed_up(self.machine, self.shelf)
        with tempfile.TemporaryDirectory() as elsewhere:
            newest = await self._backed_up(Machine(Path(elsewhere)), Path(elsewhere) / "shelf")
            self.alone.mkdir()
            shutil.copy(newest, self.alone)
        self.notes.write_text("# Notes\n")

    async def _backed_up(self, machine: Machine, shelf: Path) -> Path:
        await machine.install(shelf)
        async with machine.engine() as engine:
            await back_up(engine)
            await engine.execute(TagAgents(("agent-00001",), group="night"))
            newest = await back_up(engine, "incremental")
            await engine.execute(TagAgents(("agent-00001",), group="day"))
        return newest

    def in_use(self) -> InUse:
        """As it lies on the disk now."""
        data = self.machine.data
        current = (data / "CURRENT").read_text()
        generation = data / current.strip()
        files = [generation / "master-seed.enc", generation / "accounts.json",
                 data / "backup-key.json", self.machine.config]  # fmt: skip
        records = records_of(generation, self.machine.settings())
        return InUse(
            current,
            {path.name: path.read_bytes() for path in files},
            {r.agent: r.group for r in records if isinstance(r, AgentEntry)},
            [r for r in records if isinstance(r, Wallet | LimitEntry | AssetEntry)],
        )

    def staged(self) -> list[Path]:
        """Generations on trial."""
        return [*self.machine.data.glob("restore-*"), *self.machine.data.glob("gen-*")][1:]

    def files(self) -> Iterator[Path]:
        """All that is there."""
        return (path for path in self.machine.home.rglob("*") if path.is_file())


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("BASE_KEY", "s3cr3t")
    made = Site(home)
    asyncio.run(made.install())
    return made


class Wizard:
    """The desk by keys. No screen that is looked at may show what was typed of a password."""

    def __init__(self, tmux: Tmux) -> None:
        self.tmux = tmux

    def says(self, *words: str, seconds: float = 60.0) -> None:
        """Wait until all of that is said, however its lines are broken."""
        said = self.tmux.until(
            lambda shown: all(each in " ".join(shown.split()) for each in words),
            " and ".join(words), seconds,
        )  # fmt: skip
        assert SECRET not in said
        assert MISTYPED not in said

    def opens(self) -> None:
        """From the list of backups into the wizard."""
        self.tmux.press("R")
        self.lists("full")

    def lists(self, what: str) -> None:
        """Wait for the choice with a backup of that kind."""
        self.tmux.until(
            lambda shown: "[1 pick]" in shown and re.search(BACKUP + what, shown), "backups to pick"
        )

    def looks_at(self, path: Path) -> None:
        """Write a path into the first step's line."""
        self.tmux.press("/")
        self.tmux.until(lambda shown: re.search(r"from +/ *\n", shown), "an empty line")
        self.tmux.type(str(path)[1:])
        self.tmux.press("Enter")

    def types(self, password: str) -> None:
        """Into the second step's line, without sending it."""
        self.says("[2 unlock]")
        self.tmux.type(password)
        self.says("••••")

    def unlocks(self, password: str) -> None:
        """Take the backup under the cursor and give a password."""
        self.tmux.press("Enter")
        self.types(password)
        self.tmux.press("Enter")


@pytest.mark.slow
def test_whatever_is_wrong_and_wherever_it_is_left_nothing_changes_before_it_is_applied(
    site: Site,
) -> None:
    before = site.in_use()
    with terminal(160, 50) as tmux:
        wizard = Wizard(tmux)
        start(tmux, site.machine.home, "", BASE_KEY="s3cr3t")
        wizard.says("6 agents")
        tmux.press("4")
        tmux.until(lambda shown: re.search(r"[0-9a-f]{8}-[0-9a-f]{4} +full", shown), "the backups")

        wizard.opens()
        assert not re.search(BACKUP + ".* never", tmux.screen())  # each was verified when made
        tmux.press("Escape")
        wizard.says("R restore")
        wizard.opens()

        wizard.looks_at(site.notes)
        wizard.says("it does not begin with BURSAR", "Write another place and press Enter")
        tmux.press("C-c")  # the line is selected, to be written over
        tmux.until(lambda _: str(site.notes) in tmux.clipboard(), "the path on the clipboard")
        wizard.looks_at(site.alone)
        wizard.says("its chain has a gap: a restore of it will be refused")
        wizard.unlocks(SECRET)
        wizard.says("Fetch that file, or restore an older backup", "Nothing was changed")
        assert site.staged() == []
        tmux.press("Escape")
        wizard.lists("incremental")
        assert site.in_use() == before

        tmux.press("<")
        wizard.lists("full")
        tmux.press("Enter")
        wizard.types(MISTYPED)
        tmux.press("S-Home", "C-c")
        tmux.press("Escape")
        wizard.lists("full")
        assert str(site.notes) in tmux.clipboard()
        tmux.press("Enter")
        wizard.says("[2 unlock]")
        assert "•" not in tmux.screen()  # what was typed is forgotten
        wizard.types(MISTYPED)
        tmux.press("Enter")
        wizard.says("The password is wrong")
        wizard.types(SECRET)
        tmux.press("Enter")
        wizard.says("[3 dry run]", "Nothing was changed yet")
        assert len(site.staged()) == 1
        tmux.press("Escape")
        wizard.says("[1 pick]", "the dry run is dropped: nothing was changed")
        assert site.staged() == []
        assert site.in_use() == before

        to_confirm(wizard)
        tmux.press("Enter")
        wizard.says("[4 confirm]", "type node to apply it")
        tmux.press("Escape")
        wizard.lists("full")
        assert site.staged() == []
        assert site.in_use() == before

        to_confirm(wizard)
        tmux.type("node")
        tmux.until(lambda shown: re.search(r"name +node", shown), "the name is typed")
        tmux.press("Enter")
        wizard.says("[6 reconcile]", "0 match", "0 drift", "4 unknown", seconds=120)
        wizard.says("the chain could not be read")
        after = site.in_use()
        assert after.current != before.current
        assert before.groups | {"agent-00001": "night"} == after.groups
        assert (after.files, after.facts) == (before.files, before.facts)
        tmux.press("Escape")
        wizard.says("R restore")
        tmux.press("q")
        wizard.says("exit=0")
        assert str(site.notes) in tmux.clipboard()
    check_no_secret(site)


def to_confirm(wizard: Wizard) -> None:
    """From the choice to the line for the name."""
    wizard.unlocks(SECRET)
    wizard.says("[3 dry run]", "Nothing was changed yet")
    wizard.tmux.press("Enter")
    wizard.says("[4 confirm]", "type node to apply it")


def check_no_secret(site: Site) -> None:
    """Neither password nor mistyped password nor seed in anything that was left."""
    words = " ".join(JUNK.split()[:3])
    for path in site.files():
        held = path.read_bytes()
        assert not any(each.encode() in held for each in (SECRET, MISTYPED, words)), path
