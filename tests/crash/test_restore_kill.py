"""A restore killed at a system call that writes: the old state or the new one, never a mixture.

Which calls are tried is said in `tests.crash.system_calls`. What is left is then read, an engine is
started on it, and the restore is made again.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.api import CreateWallets, RestoreRequest
from core.backup.records import AnyRecord, DerivationBranch, LedgerCheckpoint, Setting
from tests.backup.generations import PASSWORD, records_of
from tests.backup.machines import Machine, back_up
from tests.crash.system_calls import Calls, chosen, counted, killing, tracing

ROOT = Path(__file__).parents[2]
SAMPLES = 4

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here"),
    pytest.mark.slow,
]


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "fresh"))
    monkeypatch.setenv("BASE_KEY", "s3cr3t")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An installation with two agents more than its backup has, at rest."""

    async def make() -> Machine:
        made = Machine(tmp_path / "first")
        await made.install(tmp_path / "shelf")
        async with made.engine() as engine:
            await back_up(engine)
            await engine.execute(CreateWallets(count=2, prefix="late"))
        return made

    return asyncio.run(make())


def copied(machine: Machine, to: Path) -> Machine:
    """Another machine like it; the shelf is shared."""
    shutil.copytree(machine.home, to)
    return Machine(to)


def facts(machine: Machine) -> list[AnyRecord]:
    """What CURRENT names, but for what a restore never takes back."""
    generation = machine.data / (machine.data / "CURRENT").read_text().strip()
    moving = (LedgerCheckpoint, Setting, DerivationBranch)
    return [r for r in records_of(generation, machine.settings()) if not isinstance(r, moving)]


def run(
    machine: Machine, *args: str, strace: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*strace, sys.executable, "-m", "tests.crash.restoring_child", str(machine.home), *args],
        cwd=ROOT,
        env=os.environ | machine.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def calls_of(machine: Machine, *args: str) -> dict[str, Calls]:
    """The calls of a restore that is left alone."""
    log = machine.home.parent / "calls"
    done = run(machine, *args, strace=tracing(log))
    assert done.stdout.endswith("done\n"), done.stderr
    return counted(log)


async def restored_again(machine: Machine) -> None:
    """The same once more: the oldest backup, because a safety backup may have come after it."""
    async with machine.engine() as engine:
        backup = (await engine.backups_at("shelf"))[-1].id
        plan = await engine.plan_restore(RestoreRequest("shelf", backup), PASSWORD)
        await engine.apply_restore(plan.id, "node")


def test_a_restore_killed_at_any_call_that_writes_leaves_one_whole_state(
    tmp_path: Path, machine: Machine
) -> None:
    before = facts(machine)
    counts = calls_of(copied(machine, tmp_path / "counted"), "shelf", "node")
    after = facts(Machine(tmp_path / "counted"))
    assert after != before
    shelf = tmp_path / "shelf"
    kept = set(shelf.iterdir())
    seen = {"old": 0, "new": 0}
    for call, calls in sorted(counts.items()):
        for number in chosen(calls, SAMPLES):
            victim = copied(machine, tmp_path / "victim")
            died = run(victim, "shelf", "node", strace=killing(call, number))
            where = f"{call} number {number}"
            left = facts(victim)
            assert left in (before, after), f"a mixture after {where}"
            if "done" not in died.stdout:
                seen["new" if left == after else "old"] += 1
            asyncio.run(restored_again(victim))
            assert facts(victim) == after, f"not restored again after {where}"
            left_over = [path.name for path in victim.data.glob("restore-*")]
            assert not left_over, f"left over after {where}"
            shutil.rmtree(victim.home)
            for path in set(shelf.iterdir()) - kept:  # the next one makes the very same calls
                path.unlink()
    print(f"killed: {seen}, calls: {counts}")
    assert all(seen.values())


def test_a_fresh_machine_killed_after_the_swap_finds_settings_and_key_at_its_next_start(
    tmp_path: Path, machine: Machine
) -> None:
    home = tmp_path / "fresh"
    shelf = str(tmp_path / "shelf")
    (tmp_path / "empty").mkdir()
    counts = calls_of(Machine(home), shelf, "")
    shutil.rmtree(home)
    swapped = 0
    at = [("rename", number) for number in range(1, counts["rename"].total + 1)]
    for call, number in [*at, ("link", counts["link"].total)]:
        victim = Machine(home)
        run(victim, shelf, "", strace=killing(call, number))
        current = victim.data / "CURRENT"
        if current.exists() and "gen-0002" in current.read_text():
            swapped += 1

            async def start(fresh: Machine) -> int:
                async with fresh.engine() as engine:
                    return len((await engine.state()).agents)

            assert asyncio.run(start(victim)) == 6
            assert victim.config.exists()
            assert (victim.data / "backup-key.json").exists()
        shutil.rmtree(home)
    assert swapped > 0


def test_everything_is_on_the_disk_before_current_names_it(
    tmp_path: Path, machine: Machine
) -> None:
    victim = copied(machine, tmp_path / "watched")
    log = tmp_path / "calls"
    traced = "write,pwrite64,ftruncate,fsync,fdatasync,rename,openat"
    done = run(
        victim, "shelf", "node",
        strace=["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(log), "-e", f"trace={traced}"],
    )  # fmt: skip
    assert done.stdout.endswith("done\n"), done.stderr
    dirty: set[str] = set()
    swaps = 0
    for line in log.read_text().splitlines():
        path = re.search(r"\w+\(\d+<([^>]+)>", line)
        if renamed := re.search(r'rename\("([^"]+)", "([^"]+)"\) += 0', line):
            old, new = renamed[1], renamed[2]
            if new.endswith("/CURRENT"):
                swaps += 1
                unsynced = {p for p in dirty if "/gen-0002" in p or p.endswith("CURRENT.tmp")}
                assert not unsynced, f"not on the disk when CURRENT was swapped: {unsynced}"
            dirty = {new + p.removeprefix(old) if p.startswith(old) else p for p in dirty}
            dirty.add(str(Path(new).parent))
        elif path and re.search(r" (write|pwrite64|ftruncate)\(", line):
            dirty.add(path[1])
        elif path and re.search(r" f(data)?sync\(", line):
            dirty.discard(path[1])
    assert swaps == 1
    folder = str(victim.data)
    assert folder not in dirty, "the folder was not synced after the swap"
