"""The growing delay after wrong passwords, remembered across restarts.

A delay and never a lock: whoever holds the file alone meets only the KDF, and an operator must
not be shut out by somebody else's typing. An attempt is counted before it is checked, so that a
process killed in between gains nothing.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from core.model import BursarError, Clock

KEY: Final = "vault.attempts"
_LONGEST_S: Final = 300
_FREE: Final = 1  # one typing error costs nothing


class TooSoonError(BursarError):
    """The delay after wrong passwords is not over. Nothing was checked."""

    def __init__(self, message: str, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Memory(Protocol):
    """The small memory of a `core.store.protocol.Store`."""

    async def recall(self, key: str) -> str | None:
        """A text kept under `key`."""
        ...

    async def remember(self, key: str, value: str) -> None:
        """Keep a text under `key`."""
        ...


class _Failed(msgspec.Struct, frozen=True):
    """Attempts in a row that did not open anything, and when the last was begun."""

    count: int = 0
    last_ms: int = 0


class Attempts:
    """Counts attempts in `memory`; `key` tells vaults and backups apart."""

    def __init__(self, memory: Memory, clock: Clock, key: str = KEY) -> None:
        self._memory = memory
        self._clock = clock
        self._key = key

    async def begin(self) -> None:
        """Count one more attempt, before anything is checked. Raises TooSoonError."""
        failed = await self._failed()
        now_ms = self._clock.now_ms()
        delay_ms = delay_s(failed.count) * 1000
        # A clock that was set back must not make the wait longer than the delay itself.
        left_ms = min(failed.last_ms + delay_ms - now_ms, delay_ms)
        if left_ms > 0:
            wait_s = -(-left_ms // 1000)
            raise TooSoonError(
                f"{failed.count} wrong attempts in a row: wait {wait_s} s before the next.", wait_s
            )
        await self._keep(_Failed(failed.count + 1, now_ms))

    async def succeeded(self) -> None:
        """Forget the failures."""
        await self._keep(_Failed())

    async def _failed(self) -> _Failed:
        text = await self._memory.recall(self._key)
        return _Failed() if text is None else msgspec.json.decode(text, type=_Failed)

    async def _keep(self, failed: _Failed) -> None:
        await self._memory.remember(self._key, msgspec.json.encode(failed).decode())


def delay_s(failures: int) -> int:
    """Seconds to wait after that many failures in a row: 0, 0, 1, 2, 4, ... 300."""
    if failures <= _FREE:
        return 0
    return min(1 << min(failures - _FREE - 1, 16), _LONGEST_S)
