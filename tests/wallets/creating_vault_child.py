"""A process that makes one vault and says how it went: 0, or 3 with the error in words."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from core.wallets.private_files import PrivateFileError
from tests.wallets.vaults import made_vault

if __name__ == "__main__":
    try:
        asyncio.run(made_vault(Path(sys.argv[1])))
    except PrivateFileError as error:
        print(error)
        sys.exit(3)
