"""Machines with an installation each, as an operator has them: a home, a data directory, settings.

`Machine.engine` opens the real engine; nothing in it is replaced. Backups go to a folder that all
of them can see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from core.api import CreateBackup, RestorePlan, RestoreRequest
from core.backup.keyring import create_key_ring
from core.config import Settings, load_settings, parse_settings
from core.engine import Engine, EngineMode
from core.model import Secret
from tests.backup.generations import CONFIG, PASSWORD, QUICK, make_generation

INSTALL = "4b1c9a52-0a4e-4a52-9d0e-6f4b3a1f2c77"


class Machine:
    """A home directory; `environ` is what a program there sees."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / ".local/share/bursar"
        self.environ = {"HOME": str(home), "BASE_KEY": "s3cr3t"}

    @property
    def config(self) -> Path:
        return self.home / ".config/bursar/bursar.toml"

    def settings(self) -> Settings:
        """As a program there reads them: the file if there is one, else nothing."""
        if self.config.exists():
            settings = load_settings(str(self.config), self.environ)
        else:
            settings = parse_settings("", "nothing", self.environ)
        return msgspec.structs.replace(settings, data_dir=str(self.data))

    async def install(self, backups: Path, agents: int = 5, config: str = CONFIG) -> None:
        """Give it an installation with a seed, agents and a ledger, and a backup key."""
        self.config.parent.mkdir(parents=True)
        place = f'\n[[backup.destination]]\nname = "shelf"\npath = "{backups}"\n'
        self.config.write_text(config + place, encoding="utf-8")
        self.data.mkdir(mode=0o700, parents=True)
        await make_generation(self.data / "gen-0001", agents)
        (self.data / "CURRENT").write_text("gen-0001\n")
        create_key_ring(self.data / "backup-key.json", INSTALL, PASSWORD, parameters=QUICK)

    @asynccontextmanager
    async def engine(self, mode: EngineMode = EngineMode.COMMAND) -> AsyncIterator[Engine]:
        """The engine of its data directory, closed in the end."""
        engine = Engine(self.settings(), mode=mode)
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


async def back_up(engine: Engine, kind: str = "full") -> Path:
    """A backup of it; the file on the shelf."""
    await engine.execute(CreateBackup(kind))
    state = await engine.state()
    assert state.backups is not None
    newest = state.backups.backups[0]
    return Path(state.backups.destinations[0].location) / newest.name


async def planned(engine: Engine, source: Path | str, password: Secret = PASSWORD) -> RestorePlan:
    """A dry run of the newest backup there."""
    return await engine.plan_restore(RestoreRequest(str(source)), password)
