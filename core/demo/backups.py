"""The demo's backups: a key ring whose password everybody may know, and a busy schedule.

What is backed up is the simulated fleet; the archives, the destination on disk, the restore and
the drill are the real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from core.backup.keyring import FILE_NAME, create_key_ring, new_install_id
from core.demo.cast import PASSWORD
from core.model import Secret
from core.wallets.slots import Argon2Parameters

_CHEAP: Final = Argon2Parameters(memory_kib=8 * 1024, iterations=1, lanes=1)
_LARGE: Final = 1_000


def config_lines(agents: int) -> str:
    """The [backup] section: often enough to be watched, for a large fleet less often."""
    every = 2 if agents <= _LARGE else 30
    return "\n".join(
        [
            "[backup]",
            'full = "0 * * * *"',
            f'incremental = "*/{every} * * * *"',
            'drill = "*/10 * * * *"',
            'jitter = "0s"',
            "keep_last = 12",
            'keep_incrementals = "1d"',
            'keep_fulls = "1d"',
        ]
    )


def give_key(data_dir: Path) -> None:
    """Write the key ring that the demo's engine uses. Blocks. Raises KeySlotError."""
    create_key_ring(data_dir / FILE_NAME, new_install_id(), Secret(PASSWORD), parameters=_CHEAP)
