"""The ledger as files: totals out and in, a check of its journal, and the move to a cluster.

The interchange form has ids and no names, so what a file means is told here by the settings and
the registry; what they do not know is kept as foreign accounts and listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from core.accounting import AccountManager, Holding, Kind, Pair, account_id
from core.accounting.batches import lookup_accounts
from core.accounting.chart import TOKEN_KINDS, account_row, chart_of
from core.accounting.ids import CODES, asset_name, custody_transfer_id
from core.accounting.numbers import CUSTODY_FIRST, LedgerNumbers
from core.config import Settings
from core.ledger import (
    BATCH_MAX,
    Account,
    Book,
    Ledger,
    LedgerError,
    QueryFilter,
    Transfer,
)
from core.ledger.check import Report, check
from core.ledger.files import RealFolder
from core.ledger.interchange import (
    FOREIGN_LEDGER,
    InterchangeError,
    Opening,
    Totals,
    may_start,
    plan_opening,
    start_from,
)
from core.ledger.migration import MigrationRefused, MigrationReport, migrate, refuse_pending
from core.ledger.recovery import recover
from core.ledger.state import State
from core.model import Clock

_PASSES = 20
CUSTODY_KINDS = (*TOKEN_KINDS, Kind.UNEXPLAINED)


class Started(msgspec.Struct, frozen=True):
    """What a ledger started from: how many accounts, which pairs and holdings were matched, and
    the ids that nobody knows."""

    accounts: int
    pairs: tuple[Pair, ...]
    holdings: int
    foreign: tuple[int, ...]

    def sentence(self) -> str:
        """For the operator."""
        return (
            f"{self.accounts:,} accounts: {len(self.pairs):,} pairs of a peer and a token and "
            f"{self.holdings:,} balances of agents are known, {len(self.foreign):,} ids are not "
            "and were kept as foreign accounts."
        )


def ledger_folder(generation: Path) -> Path:
    """Where a generation keeps its embedded ledger."""
    return generation / "ledger"


# --- totals --------------------------------------------------------------------------------


async def posted_totals(ledger: Ledger) -> list[Totals]:
    """Posted totals of every account, oldest first, all of one moment: debits equal credits.
    Raises InterchangeError where the ledger moves too fast for that."""
    ids = [row.id for row in await _all_accounts(ledger, 0)]
    for _ in range(_PASSES):
        # The embedded ledger answers these look-ups without a turn of the loop in between.
        rows = await lookup_accounts(ledger, ids)
        totals = [Totals(id_, rows[id_].debits_posted, rows[id_].credits_posted) for id_ in ids]
        if sum(t.debits_posted for t in totals) == sum(t.credits_posted for t in totals):
            return totals
        ids += [row.id for row in await _all_accounts(ledger, len(ids))]
    raise InterchangeError(
        f"The ledger moved during each of {_PASSES} readings, so its totals do not belong to one "
        "moment; export it while fewer packets pass."
    )


async def _all_accounts(ledger: Ledger, known: int) -> list[Account]:
    """Accounts by age, without the oldest `known`."""
    found: list[Account] = []
    after = 0
    while page := await ledger.query_accounts(QueryFilter(timestamp_min=after, limit=BATCH_MAX)):
        found += page
        after = page[-1].timestamp + 1
    return found[known:]


async def foreign_ids(ledger: Ledger) -> frozenset[int]:
    """The accounts that came with a file and belong to nobody known."""
    found: set[int] = set()
    after = 0
    while page := await ledger.query_accounts(
        QueryFilter(ledger=FOREIGN_LEDGER, timestamp_min=after, limit=BATCH_MAX)
    ):
        found.update(row.id for row in page if row.code != CODES[Kind.OPENING])
        after = page[-1].timestamp + 1
    return frozenset(found)


# --- starting from a file ------------------------------------------------------------------


def configured_pairs(settings: Settings, peers: Iterable[str] = ()) -> set[Pair]:
    """Every peer that thresholds, limits or `peers` name, in every token of the ledger."""
    limits, thresholds = settings.ledger.limits, settings.settlement.thresholds
    named = {*peers, *limits.peers, *limits.tokens, *thresholds.peers, *thresholds.tokens}
    return {Pair(peer, token) for peer in named for token in settings.ledger.tokens}


async def holds_transfers(ledger: Ledger) -> bool:
    """Whether anything but opening entries stands first in it: then no file is looked at."""
    first = await ledger.query_transfers(QueryFilter(limit=1))
    return bool(first) and first[0].code != CODES[Kind.OPENING]


async def begin_from(
    ledger: Ledger,
    manager: AccountManager,
    totals: Sequence[Totals],
    pairs: Iterable[Pair],
    holdings: Iterable[Holding],
    clock: Clock,
) -> Started | None:
    """Book totals into a ledger that is open and empty; None if it is not empty. Raises
    InterchangeError, and then nothing was booked."""
    node = manager.node_id
    await manager.open()
    chart = await manager.chart(())
    tokens = {e.token: e.account.ledger for e in chart.values() if e.kind is Kind.OPENING}
    by_asset: dict[str, list[Holding]] = {}
    for holding in holdings:
        by_asset.setdefault(asset_name(holding.chain, holding.asset), []).append(holding)
    there = {t.id for t in totals}
    known_assets = [name for name in by_asset if account_id(node, "", name, Kind.OPENING) in there]
    numbers = LedgerNumbers(ledger, node, CUSTODY_FIRST, CUSTODY_KINDS)
    await numbers.open(known_assets)
    plan = await asyncio.to_thread(_plan, node, totals, tokens, set(pairs), numbers.known, by_asset)
    opening, matched_pairs, matched_holdings = plan
    if not await may_start(ledger, opening):
        return None
    await start_from(ledger, opening, clock)
    return Started(
        len(totals), tuple(sorted(matched_pairs)), matched_holdings, tuple(opening.foreign)
    )


def _plan(
    node: str,
    totals: Sequence[Totals],
    tokens: Mapping[str, int],
    pairs: set[Pair],
    assets: Mapping[str, int],
    by_asset: Mapping[str, Sequence[Holding]],
) -> tuple[Opening, set[Pair], int]:
    """What to book, and which pairs and how many holdings it is for. Pure; hashes a lot."""
    there = {t.id for t in totals}
    chart = chart_of(node, tokens, pairs)
    known = {id_: entry.account for id_, entry in chart.items()}
    matched = {
        Pair(entry.owner, entry.token)
        for id_, entry in chart.items()
        if id_ in there and entry.kind is Kind.DEBIT
    }
    openings = {number: token for token, number in {**tokens, **assets}.items()}
    custody: list[Account] = []
    for name, number in assets.items():
        known |= {id_: e.account for id_, e in chart_of(node, {name: number}, ()).items()}
        unexplained = account_row(node, "", name, Kind.UNEXPLAINED, number)
        known[unexplained.id] = unexplained
        for holding in by_asset[name]:
            row = account_row(node, holding.agent, name, Kind.CUSTODY, number)
            if row.id in there:
                known[row.id] = row
                custody.append(row)

    def opening_of(number: int) -> Account:
        # No token has an empty name, so the foreign ledger's opening account is nobody else's.
        return account_row(node, "", openings.get(number, ""), Kind.OPENING, number)

    opening = plan_opening(totals, known, opening_of)
    # That a holding was opened is a transfer of a certain id; without it the next reading would
    # be booked as its opening once more.
    marks = [
        Transfer(
            id=custody_transfer_id(row.id, "opening", ""),
            debit_account_id=row.id,
            credit_account_id=opening_of(row.ledger).id,
            user_data_128=row.id,  # an opening that a reading booked has 0 there
            ledger=row.ledger,
            code=CODES[Kind.OPENING],
        )
        for row in custody
    ]
    opening = msgspec.structs.replace(opening, transfers=[*opening.transfers, *marks])
    return opening, matched, len(custody)


# --- files of the embedded ledger ----------------------------------------------------------


def check_files(directory: Path) -> Report | None:
    """Read journal and snapshots to their end and change nothing; None where no ledger is.
    Safe beside a running engine. Raises OSError."""
    return check(RealFolder(directory)) if directory.is_dir() else None


async def migrate_files(directory: Path, target: Ledger, clock: Clock) -> MigrationReport:
    """Carry the embedded ledger in a directory over to another one. The caller holds the data
    directory, so that nothing is booked meanwhile. Raises MigrationRefused before the target is
    asked anything, LedgerInUse, LedgerDamaged, and what the target raises."""
    folder = RealFolder(directory)
    if not await asyncio.to_thread(directory.is_dir):  # to lock it would make it
        raise MigrationRefused(f"{directory} holds no ledger; there is nothing to carry over.")
    folder.lock()
    try:
        source = await asyncio.to_thread(_state_of, folder, clock)
        refuse_pending(source)
        await target.open()
        try:
            return await migrate(source, target)
        finally:
            await target.close()
    except OSError as error:
        raise LedgerError(f"{directory} cannot be read: {error.strerror or error}.") from error
    finally:
        folder.unlock()


def _state_of(folder: RealFolder, clock: Clock) -> State:
    recovered = recover(folder)
    if recovered is None:
        raise MigrationRefused(f"{folder.where('')} holds no ledger; there is nothing to carry.")
    book = Book(clock, recovered.state)
    book.expire()  # what lapsed while nothing ran is not pending any more
    return book.state
