"""A vault in a folder of its own, quick to open, and the memory that counts wrong attempts."""

from __future__ import annotations

from pathlib import Path

from core.model import Secret
from core.wallets.secrets import Password
from core.wallets.seed import Seed
from core.wallets.slots import Argon2Parameters
from core.wallets.vault import SeedVault
from tests.clock import TestClock
from tests.wallets.vectors import ABANDON

QUICK = Argon2Parameters(memory_kib=8 * 1024, iterations=1, lanes=1)
TYPED = Secret("gravel-omen-canary-tulip-seventh-Zürich")
PASSWORD = Password(TYPED)
WRONG = Password(Secret("gravel-omen-canary-tulip-seventh-Zurich"))


class KeptMemory:
    """The small memory of a store, in a dict."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def recall(self, key: str) -> str | None:
        return self.texts.get(key)

    async def remember(self, key: str, value: str) -> None:
        self.texts[key] = value


def vault_in(folder: Path, memory: KeptMemory | None = None) -> SeedVault:
    return SeedVault(folder, memory or KeptMemory(), TestClock())


async def made_vault(folder: Path, words: str = ABANDON) -> SeedVault:
    vault = vault_in(folder)
    await vault.create(Seed.from_words(Secret(words)), TYPED, parameters=QUICK)
    return vault


def files_in(folder: Path) -> dict[str, bytes]:
    """Everything that lies there, to see that nothing was written."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
