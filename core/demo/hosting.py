"""The demo's engine: the ordinary one, with simulated peers that come and go with it."""

from __future__ import annotations

from core.clock import SystemClock
from core.config import Settings
from core.demo.traffic import PAYS_AFTER_S, Peers, outcome_of
from core.engine import Engine
from core.settlement import SimulatedEngine


class HostedEngine(Engine):
    """An engine of the demo. Its peers send from `start` on and are stopped before it closes."""

    def __init__(self, settings: Settings, seed: int) -> None:
        simulated = SimulatedEngine(SystemClock(), PAYS_AFTER_S, outcome_of)
        super().__init__(settings, demo=True, settlement_engine=simulated)
        self._seed = seed
        self._peers: Peers | None = None

    async def start(self) -> None:
        """As every engine; then the peers begin."""
        await super().start()
        self._peers = Peers(self, self._seed, SystemClock())

    async def close(self) -> None:
        """The peers first, for they speak to the engine. What had ended them is raised."""
        peers, self._peers = self._peers, None
        try:
            if peers is not None:
                await peers.stop()
        finally:
            await super().close()
