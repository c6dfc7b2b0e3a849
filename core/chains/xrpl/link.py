"""What the reader keeps of one endpoint: its socket, what its streams told, its last sweep.

Here it is decided which jobs a reading needs on a server too slow for all of them.
"""

from __future__ import annotations

import asyncio
from typing import Final

from core.chains.xrpl import wire
from core.chains.xrpl.connection import Connection
from core.chains.xrpl.follow import Follower
from core.chains.xrpl.sweep import Sweep
from core.model import BlockRef

_STREAM_PATIENCE_S: Final = 3.0


class Link:
    """The session of an endpoint. `probed` is when its head was last compared with others."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.connection: Connection | None = None
        self.follower = Follower()
        self.probed = float("-inf")
        self._known: Sweep | None = None  # the last complete one over this very connection
        self._cursor = 0
        self._sent = 0

    @property
    def sent(self) -> int:
        """Requests sent over all connections."""
        return self._sent + (self.connection.sent if self.connection else 0)

    async def close(self) -> None:
        """Close the socket; what its stream told is worth nothing without it."""
        if self.connection is not None:
            connection, self.connection = self.connection, None
            self._sent += connection.sent
            await connection.close()
        self._known = None
        self.follower.restart()

    async def begin_touched(
        self, connection: Connection, sweep: Sweep, ledger: BlockRef, spare: int
    ) -> None:
        """Begin at the ledger with the accounts that the transactions stream proves to be
        enough, and `spare` more in turn, so that a stream that lies is found out; with all
        where it proves nothing."""
        plan = sweep.plan
        if self.follower.interest is not plan.positions:
            self.follower.interest = plan.positions
            self._known = None
            self.follower.restart()
            await connection.call(wire.SUBSCRIBE_ALL)
        known = self._known
        if known is None or known.plan is not plan or known.ledger is None:
            sweep.begin(ledger)
            return
        since = known.ledger.number
        touched = await self.follower.touched(since, ledger.number, _STREAM_PATIENCE_S)
        if touched is None:
            self._known = None
            sweep.begin(ledger)
            return
        count = len(plan.addresses)
        step = min(count, spare)
        rolling = {(self._cursor + n) % count for n in range(step)}
        self._cursor = (self._cursor + step) % count
        positions = {plan.positions[address] for address in touched} | rolling
        sweep.carry(known)
        sweep.begin(ledger, plan.jobs_of(positions))
        sweep.unmoved = frozenset(rolling - {plan.positions[address] for address in touched})

    def completed(self, sweep: Sweep) -> bool:
        """Keep a complete sweep to build on. False where an account had moved that the stream
        had not named: the stream is not to be believed, the next reading asks for all."""
        if self.follower.interest is not sweep.plan.positions or sweep.ledger is None:
            return True
        honest = not any(sweep.moved(position) for position in sweep.unmoved)
        self._known = sweep if honest and not sweep.lost and not sweep.reasons else None
        self.follower.forget(sweep.ledger.number)
        return honest
