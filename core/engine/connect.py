"""How anything gets an EngineApi for a data directory: attach to its engine, or host one.

Between two processes that start at once the lock decides; the loser attaches. A command of
another process may hold the lock for a moment without serving, so there is some patience.
"""

from __future__ import annotations

import asyncio
import time

from core.api import EngineApi, EngineLostError
from core.config import Settings
from core.engine.engine import Engine, EngineMode
from core.store.directory import DataDirectory, DirectoryInUseError

PATIENCE_S = 15.0


async def connect(settings: Settings, mode: EngineMode) -> EngineApi:
    """The running engine, else a new one in that mode. Raises what `Engine.start` raises, and
    EngineLostError when an engine owns the directory but does not answer."""
    directory = DataDirectory(settings.data_path)
    patience_ends = time.monotonic() + PATIENCE_S
    while True:
        if directory.is_owned():
            client = await _attach(directory)
            if client is not None:
                return client
            if mode is EngineMode.READ:
                return await _host(settings, mode)
        else:
            try:
                return await _host(settings, mode)
            except DirectoryInUseError:
                pass  # another process was faster: attach to it
        if time.monotonic() > patience_ends:
            raise EngineLostError(
                f"An engine owns {directory.path} but does not answer on {directory.socket}. "
                "Look at its log; if it hangs, stop its process."
            )
        await asyncio.sleep(0.1)


async def _host(settings: Settings, mode: EngineMode) -> EngineApi:
    engine = Engine(settings, mode=mode)
    await engine.start()
    return engine


async def _attach(directory: DataDirectory) -> EngineApi | None:
    """A client if somebody answers on the socket."""
    from core.service.client import EngineClient

    if not directory.socket.exists():
        return None
    client = EngineClient(directory.socket)
    try:
        await client.ping()
    except EngineLostError:
        await client.close()
        return None
    return client
