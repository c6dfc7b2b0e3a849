"""Where an empty ledger starts from, and what is left for the next one: a file of plain totals.

With `[ledger] snapshot_path` an empty ledger starts from that file, and it is written at close; an
import does the same for totals that an operator hands in. What the ids mean is in `ledger_io`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from core.accounting import AccountManager, Kind, Pair, account_id
from core.accounting.batches import lookup_accounts
from core.api import AccountTotals
from core.balances.cache import BalanceCache
from core.config import Settings
from core.engine.custody_watch import holding_of
from core.engine.ledger_io import (
    Started,
    begin_from,
    configured_pairs,
    holds_transfers,
    posted_totals,
)
from core.ledger import Ledger, LedgerError
from core.ledger.interchange import InterchangeError, Totals, parse, write_file
from core.model import Clock

log = logging.getLogger("bursar.ledger")

_NOTICE_IDS = 20  # foreign ids named on the desk; the log has all
_LINE_IDS = 100


class Origin:
    """The start of one ledger, which the caller opens and closes."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        manager: AccountManager,
        cache: BalanceCache,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._manager = manager
        self._cache = cache
        self._clock = clock
        path = settings.ledger.snapshot_path
        self._path = Path(path).expanduser() if path else None
        self.notices: tuple[str, ...] = ()
        """What an operator should know of the start."""

    async def start_from_file(self, known: Iterable[Pair]) -> None:
        """Let an empty ledger start from the file of the settings, if there is one. Raises
        InterchangeError, and then the file is left as it is."""
        path = self._path
        if path is None or await holds_transfers(self._ledger):
            return
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            return
        except OSError as error:
            raise InterchangeError(f"{path} cannot be read: {error.strerror}.") from error
        totals = await asyncio.to_thread(parse, str(path), content)
        started = await self._start(totals, known, ())
        if started is not None:
            self._note(started, f"started from {path}")

    async def start_from(
        self, totals: Iterable[AccountTotals], known: Iterable[Pair], peers: Sequence[str]
    ) -> Started | None:
        """Let the empty ledger start from these totals; None if it is not empty. Raises
        InterchangeError, and then nothing was booked."""
        started = await self._start(_checked(totals), known, peers)
        if started is not None:
            self._note(started, "started from an import")
        return started

    async def _start(
        self, totals: Sequence[Totals], known: Iterable[Pair], peers: Sequence[str]
    ) -> Started | None:
        pairs = {pair for pair in known if pair.token in self._manager.tokens}
        pairs |= configured_pairs(self._settings, peers)
        holdings = [
            holding_of(row.agent, self._cache.assets[row.asset]) for row in self._cache.views()
        ]
        return await begin_from(self._ledger, self._manager, totals, pairs, holdings, self._clock)

    def _note(self, started: Started, how: str) -> None:
        message = f"{how} with {started.sentence()}"
        log.log(logging.WARNING if started.foreign else logging.INFO, "ledger: %s", message)
        ids = [str(id_) for id_ in started.foreign]
        for at in range(0, len(ids), _LINE_IDS):
            log.warning("ledger: ids of nobody known: %s", ", ".join(ids[at : at + _LINE_IDS]))
        more = ", ..." if len(ids) > _NOTICE_IDS else ""
        self.notices = (f"{message} {', '.join(ids[:_NOTICE_IDS])}{more}".strip(),)

    async def named_here(self) -> set[Pair]:
        """The pairs named in the settings that have accounts in the ledger: their names need
        not be lost with the database."""
        node = self._manager.node_id
        ids = {
            account_id(node, pair.peer, pair.token, Kind.DEBIT): pair
            for pair in configured_pairs(self._settings)
        }
        return {ids[id_] for id_ in await lookup_accounts(self._ledger, list(ids))}

    async def leave_file(self) -> None:
        """Write the file of the settings, if one is named. A failure is logged."""
        if self._path is None:
            return
        try:
            totals = await posted_totals(self._ledger)
            await asyncio.to_thread(write_file, self._path, totals)
        except (LedgerError, OSError) as error:
            log.error("%s was not written: %s", self._path, error)


def _checked(rows: Iterable[AccountTotals]) -> list[Totals]:
    """Held to the rules of a file. Raises InterchangeError."""
    entries = [
        (
            row.id,
            {
                "debits_posted": str(int(row.debits_posted)),
                "credits_posted": str(int(row.credits_posted)),
            },
        )
        for row in rows
    ]
    return parse("The import", msgspec.json.encode(entries))
