"""The making of backups killed at a system call that writes: what was there before still restores,
nothing half passes for a backup, and the next run puts in order what is left.

Which calls are tried is said in `tests.crash.system_calls`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.api import BackupView, CreateBackup, CreateWallets, RunDueBackups
from core.backup.archive import open_archive
from core.backup.catalogue import CatalogueFolder
from core.backup.keyring import KeyRing, read_key_file
from core.backup.verify import verify
from core.engine import Engine
from core.model import Secret
from core.wallets.seed import Seed
from tests.backup.generations import PASSWORD
from tests.backup.machines import Machine, back_up
from tests.crash.system_calls import chosen, counted, killing, tracing
from tests.wallets.vectors import JUNK

ROOT = Path(__file__).parents[2]
RING = "backup-key.json"

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_KEY", "s3cr3t")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


class Site:
    """A machine and the shelf that its backups go to, each a copy of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machine = Machine(folder / "home")
        self.shelf = folder / "shelf"
        self.state = self.machine.data / "backup-state"

    def copied(self, to: Path) -> Site:
        """Another like it."""
        shutil.copytree(self.folder, to)
        copy = Site(to)
        config = copy.machine.config
        config.write_text(config.read_text().replace(str(self.shelf), str(copy.shelf)))
        return copy

    def run(self, what: str, strace: Sequence[str]) -> str:
        """What the process said until it ended or was killed."""
        done = subprocess.run(
            [*strace, sys.executable, "-m", "tests.crash.backing_child",
             str(self.machine.home), what],
            cwd=ROOT,
            env=os.environ | self.machine.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )  # fmt: skip
        return done.stdout

    def ring(self) -> KeyRing:
        """The key ring on the disk."""
        return read_key_file(self.machine.data / RING)

    def archives(self) -> list[Path]:
        """What passes for a backup on the shelf."""
        return sorted(self.shelf.glob("wallet-backup-*.bursar"))

    def files(self) -> Iterator[Path]:
        """All that backups have to do with, whoever left it."""
        for top in (self.state, self.shelf):
            yield from (path for path in top.rglob("*") if path.is_file())
        yield from (path for path in self.machine.data.iterdir() if path.is_file())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An installation with a full and an incremental, and an agent more than they have."""
    site = Site(tmp_path / "first")

    async def make() -> None:
        await site.machine.install(site.shelf)
        async with site.machine.engine() as engine:
            await back_up(engine)
            await engine.execute(CreateWallets(count=1, prefix="early"))
            await back_up(engine, "incremental")
            await engine.execute(CreateWallets(count=1, prefix="late"))

    asyncio.run(make())
    return site


def check_what_is_left(site: Site) -> None:
    """Whatever passes for a backup is one, and what the catalogue says is there is there."""
    for path in site.archives():
        with path.open("rb") as file:
            verify(open_archive(file, path.name, site.ring().key))
    catalogue, problems = CatalogueFolder(site.state / "catalogue").load()
    assert problems == []
    stored = {e.name for e in catalogue if any(copy.is_there for copy in e.copies.values())}
    assert stored <= {path.name for path in site.archives()}


def check_no_secret(site: Site) -> None:
    """Neither password nor seed nor backup key in any file but the key ring."""
    seed = Seed.from_words(Secret(JUNK)).entropy.reveal()
    ring = site.machine.data / RING
    secrets = [PASSWORD.reveal().encode(), JUNK.encode(), seed, seed.hex().encode()]
    if ring.exists():
        key = site.ring().key.reveal()
        secrets += [key, key.hex().encode()]
    for path in site.files():
        held = path.read_bytes()
        assert path == ring or not any(secret in held for secret in secrets), path


def check_order(site: Site, backups: Sequence[BackupView]) -> None:
    """Catalogue, shelf and spool agree, and there is nothing else."""
    assert {path.name for path in site.archives()} == {backup.name for backup in backups}
    assert all(copy.state == "stored and read back" for backup in backups for copy in backup.copies)
    names = {path.name for path in site.files()}
    expected = {f"{backup.name}{end}" for backup in backups for end in ("", ".json")}
    expected |= {f"{backup.id}.json" for backup in backups} | {f"{backups[0].id}.state"}
    expected |= {"memory.json", RING, "CURRENT", "engine.lock"}
    rubbish = {name for name in names - expected if not name.startswith(("audit", "bursar.db"))}
    assert not rubbish
    assert not [path for path in site.state.glob("*-*") if path.is_dir()]


async def backups_of(engine: Engine) -> Sequence[BackupView]:
    """All backups, newest first."""
    view = (await engine.state()).backups
    assert view is not None
    return view.backups


async def run_again(site: Site, *, proven: str = "") -> None:
    """The next run: the backup `proven` restores as before the kill, new ones are made, and the
    newest restores too, seed and addresses proven each time."""
    async with site.machine.engine() as engine:
        if proven:
            await engine.drill(proven, PASSWORD)
        await engine.execute(RunDueBackups())
        await engine.execute(CreateBackup("incremental"))
        await engine.execute(CreateBackup("full"))
        await engine.drill("", PASSWORD)
        check_order(site, await backups_of(engine))


def test_a_backup_killed_while_it_is_made_harms_no_other_and_the_next_run_tidies_up(
    tmp_path: Path, site: Site
) -> None:
    log = tmp_path / "calls"
    assert site.copied(tmp_path / "counted").run("chain", tracing(log)).endswith("made\n")
    before = {path.name for path in site.archives()}
    newest = max(before).removeprefix("wallet-backup-").partition("-")[2].removesuffix(".bursar")
    calls = counted(log, "making")
    killed = 0
    for call in sorted(calls):
        for number in chosen(calls[call], 1):
            victim = site.copied(tmp_path / "victim")
            killed += "made" not in victim.run("chain", killing(call, number))
            assert {path.name for path in victim.archives()} >= before
            check_what_is_left(victim)
            check_no_secret(victim)
            asyncio.run(run_again(victim, proven=newest))
            shutil.rmtree(victim.folder)
    print(f"killed {killed} times, calls: {calls}")
    assert killed > 3


def test_a_setup_killed_while_it_makes_the_first_backup_is_finished_by_the_next_run(
    tmp_path: Path, site: Site
) -> None:
    (site.machine.data / RING).unlink()
    shutil.rmtree(site.state)
    shutil.rmtree(site.shelf)
    log = tmp_path / "calls"
    assert site.copied(tmp_path / "counted").run("first", tracing(log)).endswith("made\n")
    calls = counted(log, "making")
    seen = {"without a ring": 0, "with one": 0}

    async def set_up(victim: Site) -> None:
        async with victim.machine.engine() as engine:
            await engine.set_up_backups(PASSWORD, Secret(""))

    for call in sorted(calls):
        for number in chosen(calls[call], 1):
            victim = site.copied(tmp_path / "victim")
            said = victim.run("first", killing(call, number))
            has_ring = (victim.machine.data / RING).exists()
            seen["with one" if has_ring else "without a ring"] += "made" not in said
            if not has_ring:
                assert victim.archives() == []
                asyncio.run(set_up(victim))
            check_what_is_left(victim)
            asyncio.run(run_again(victim))
            check_no_secret(victim)
            shutil.rmtree(victim.folder)
    print(f"killed: {seen}, calls: {calls}")
    assert all(seen.values())
