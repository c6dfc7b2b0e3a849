"""What every chain reader offers, what it needs from outside, and the room's own errors.

A reader owns its endpoints: failover, pacing and learned chunk sizes happen below this door.
Above it there is one question, `read`, and one answer, a `Reading` at one block.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from core.model import BlockRef, BursarError, ChainKind, EndpointHealth, Reading, Request


class ChainUnreachableError(BursarError):
    """No endpoint of the chain answered usably; the message lists each with its reason."""


class AddressError(BursarError):
    """A text is no address of the chain; the message quotes it and says what is wrong."""


class ChainReader(Protocol):
    """One chain, read in batches. `read` may be called again only after it returned."""

    @property
    def name(self) -> str:
        """The chain's name in the registry."""
        ...

    @property
    def kind(self) -> ChainKind:
        """EVM, XRPL or TRON."""
        ...

    async def open(self) -> None:
        """Prepare connections; does not wait for an endpoint to answer."""
        ...

    async def close(self) -> None:
        """Close every connection; no task is left."""
        ...

    async def read(self, requests: Sequence[Request], at: BlockRef | None = None) -> Reading:
        """Read all requests at one block (the head, or `at`).

        The same sequence object given again lets the reader reuse its plan. Single failures
        are `None` with a reason in the Reading; raises ChainUnreachableError only when nothing
        could be read at all.
        """
        ...

    def health(self) -> tuple[EndpointHealth, ...]:
        """Every endpoint, in configured order."""
        ...

    def heads(self) -> AsyncIterator[BlockRef]:
        """New heads as the chain pushes them, where an endpoint offers push; else ends at once.
        Push only wakes a scan; the scan stays the truth."""
        ...


class EndpointMemory(Protocol):
    """Where a reader keeps what it learned of an endpoint (rung, chunk sizes) over restarts.

    Keys are short strings that hold no credentials; values are small JSON texts.
    """

    async def recall(self, key: str) -> str | None:
        """The text kept under `key`, None if there is none."""
        ...

    async def remember(self, key: str, value: str) -> None:
        """Keep `value` under `key`, replacing what was there."""
        ...
