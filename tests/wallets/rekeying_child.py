"""A process that makes a vault and gives it one password after the other until it is killed."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from core.model import Secret
from core.wallets.ciphers import AesGcm, argon2id
from core.wallets.secrets import Password, SecretBytes
from core.wallets.seed import Seed
from tests.wallets.vaults import QUICK, vault_in
from tests.wallets.vectors import ABANDON

PHRASES = (Secret("gravel-omen-canary-tulip-seventh"), Secret("marble-otter-violin-cactus-north"))


async def main(folder: Path) -> None:
    vault = vault_in(folder)
    # The library is loaded when first used: before the clock of the killer runs.
    key = argon2id(SecretBytes(b"warm"), bytes(16), 32, iterations=1, lanes=1, memory_kib=8)
    AesGcm(key)
    print("ready", flush=True)
    await vault.create(Seed.from_words(Secret(ABANDON)), PHRASES[0], parameters=QUICK)
    for old, new in itertools.pairwise(itertools.cycle(PHRASES)):
        await vault.rekey(Password(old), new, parameters=QUICK)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
