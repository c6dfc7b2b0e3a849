"""An installation with backups, small and without any chain that answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from core.api import EventQuery, ImportWallets, WalletRow
from core.backup.keyring import KeyRing, create_key_ring
from core.config import Settings, parse_settings
from core.engine import Engine, EngineMode
from core.events import EventRecord
from core.model import Clock, Secret
from tests.backup.installation import CHEAP, INSTALL_ID, PASSWORD

CHAIN = """
[[chain]]
name = "base"
kind = "evm"
endpoints = ["http://127.0.0.1:1"]
[[asset]]
chain = "base"
symbol = "ETH"
decimals = 18
"""


def settings_of(
    folder: Path, more: str = "", environment: Mapping[str, str] | None = None
) -> Settings:
    """Settings whose data directory is in the folder."""
    text = f'data_dir = "{folder / "data"}"\n{CHAIN}{more}'
    return parse_settings(text, "test", environment or {})


def with_key(settings: Settings) -> KeyRing:
    """A key ring where the settings expect it; its password costs little."""
    settings.data_path.mkdir(mode=0o700, exist_ok=True)
    path = settings.data_path / "backup-key.json"
    return create_key_ring(path, INSTALL_ID, Secret(PASSWORD), parameters=CHEAP)


@asynccontextmanager
async def running(
    settings: Settings, mode: EngineMode = EngineMode.COMMAND, clock: Clock | None = None
) -> AsyncIterator[Engine]:
    """An engine, closed at the end."""
    engine = Engine(settings, mode=mode, clock=clock)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def import_agents(engine: Engine, names: Sequence[str]) -> None:
    """Watch-only agents with made-up addresses."""
    rows = [WalletRow(name, "base", f"0x{name.encode().hex():0>40}") for name in names]
    await engine.execute(ImportWallets(tuple(rows)))


async def events(engine: Engine, *types: str) -> list[EventRecord]:
    """Stored events of those types, oldest first."""
    return list(await engine.events(EventQuery(types=types, limit=1000)))
