"""A process killed while it writes the vault: the file is absent or whole, never in between."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.wallets.secrets import Password
from core.wallets.seed import Seed
from core.wallets.vault import WrongPasswordError
from tests.wallets.rekeying_child import PHRASES
from tests.wallets.vaults import PASSWORD, made_vault, vault_in

ROOT = Path(__file__).parents[2]
ABANDONED = bytes(16)


def killed_after(seconds: float, folder: Path, *, since: Callable[[], bool] = lambda: True) -> None:
    """Kill the child so many seconds after that holds."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.wallets.rekeying_child", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    while not since():
        assert child.poll() is None, "it ended by itself"
        time.sleep(0.001)
    time.sleep(seconds)
    assert child.poll() is None, "it ended by itself"
    child.kill()
    child.communicate()


async def opened_by_either(folder: Path) -> Seed | None:
    for phrase in PHRASES:
        try:
            return await vault_in(folder).unlock(Password(phrase))
        except WrongPasswordError:
            continue
    return None


@pytest.mark.parametrize("milliseconds", [1, 150, 450])
def test_a_vault_killed_while_first_written_is_absent_or_opens(
    tmp_path: Path, milliseconds: int
) -> None:
    killed_after(milliseconds / 1000, tmp_path)
    if vault_in(tmp_path).exists():
        opens(tmp_path)


@pytest.mark.parametrize("milliseconds", [1, 203, 417])
def test_a_vault_killed_while_written_again_opens(tmp_path: Path, milliseconds: int) -> None:
    killed_after(milliseconds / 1000, tmp_path, since=vault_in(tmp_path).exists)
    opens(tmp_path)


def opens(tmp_path: Path) -> None:
    """Hold that the vault gives its seed out by one of its passwords."""
    seed = asyncio.run(opened_by_either(tmp_path))
    assert seed is not None
    assert seed.entropy.reveal() == ABANDONED
    assert vault_in(tmp_path).accounts().fingerprint == seed.fingerprint()


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")


def made_under_strace(folder: Path, injected: str) -> subprocess.CompletedProcess[str]:
    """Make a vault while the kernel does as `injected` says (strace(1), "inject")."""
    folder.mkdir()
    return subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={injected}",
         sys.executable, "-B", "-m", "tests.wallets.creating_vault_child", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip


@needs_strace
@pytest.mark.parametrize("call", ["fsync", "link", "unlink", "rename"])
def test_a_vault_killed_at_any_writing_system_call_is_absent_or_whole(
    tmp_path: Path, call: str
) -> None:
    for count in itertools.count(1):
        folder = tmp_path / str(count)
        done = made_under_strace(folder, f"{call}:signal=SIGKILL:when={count}")
        vault = vault_in(folder)
        if not vault.exists():
            asyncio.run(made_vault(folder))  # a second try succeeds
        seed = asyncio.run(vault.unlock(PASSWORD))  # and lost account keys come back
        assert seed.entropy.reveal() == ABANDONED
        assert vault.accounts().fingerprint == seed.fingerprint()
        if done.returncode == 0:
            break
    assert count > 1, "nothing was ever killed"


@needs_strace
@pytest.mark.parametrize(
    ("injected", "words"),
    [
        ("fsync:error=EIO:when=1", "Input/output error; nothing was changed"),
        ("link:error=ENOSPC:when=1", "No space left on device; nothing was changed"),
        ("fsync:error=EIO:when=2", "cannot be synced"),
        ("rename:error=ENOSPC:when=1", "accounts.json cannot be written"),
    ],
)
def test_a_disk_that_fails_is_named_and_leaves_no_half_file(
    tmp_path: Path, injected: str, words: str
) -> None:
    folder = tmp_path / "gen"
    done = made_under_strace(folder, injected)
    assert done.returncode == 3, done.stderr
    assert words in done.stdout
    assert {path.name for path in folder.iterdir()} <= {"master-seed.enc", "accounts.json"}
    if vault_in(folder).exists():
        seed = asyncio.run(vault_in(folder).unlock(PASSWORD))
        assert seed.entropy.reveal() == ABANDONED
