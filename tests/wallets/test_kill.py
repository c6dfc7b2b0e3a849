"""A process killed while it writes the vault: the file is absent or whole, never in between."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.wallets.secrets import Password
from core.wallets.seed import Seed
from core.wallets.vault import WrongPasswordError
from tests.wallets.rekeying_child import PHRASES
from tests.wallets.vaults import vault_in

ROOT = Path(__file__).parents[2]
ABANDONED = bytes(16)


def killed_after(seconds: float, folder: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.wallets.rekeying_child", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
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


@pytest.mark.parametrize("milliseconds", [1, 150, 450, 800, 1_003, 1_217])
def test_a_vault_killed_while_written_is_absent_or_opens(tmp_path: Path, milliseconds: int) -> None:
    import asyncio

    killed_after(milliseconds / 1000, tmp_path)
    if not vault_in(tmp_path).exists():
        assert milliseconds < 1_000, "nothing was ever written"
        return
    seed = asyncio.run(opened_by_either(tmp_path))
    assert seed is not None
    assert seed.entropy.reveal() == ABANDONED
    assert vault_in(tmp_path).accounts().fingerprint == seed.fingerprint()
