"""Posted totals as plain JSON, for other programs and for starting a new ledger from them.

The form is an array of `["<account id>", {"debits_posted": "...", "credits_posted": "..."}]`,
every integer a decimal string. It carries no transfers, no pending amounts and no burnt ids: a
ledger that starts from it books each total against an opening account, and what the ids mean is
the caller's knowledge (`known`). Ids nobody knows are kept, on a ledger of their own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from core.ledger.memory import Book
from core.ledger.protocol import Ledger
from core.ledger.types import (
    AMOUNT_MAX,
    BATCH_MAX,
    Account,
    AccountStatus,
    LedgerError,
    QueryFilter,
    Transfer,
    TransferStatus,
)
from core.model import Clock

FOREIGN_LEDGER = 2**32 - 1  # where accounts that nobody knows are kept
FOREIGN_CODE = 900
OPENING_CODE = 700

Row = TypeVar("Row", Account, Transfer)


class InterchangeError(LedgerError):
    """A file is not in the interchange form, or its totals cannot be booked."""


class Totals(msgspec.Struct, frozen=True):
    """Posted totals of one account, base units."""

    id: int
    debits_posted: int
    credits_posted: int


class Opening(msgspec.Struct, frozen=True):
    """What a ledger must hold to start from given totals, and the ids that were not matched."""

    accounts: list[Account]
    transfers: list[Transfer]
    foreign: list[int]


def render(totals: Iterable[Totals]) -> bytes:
    """The interchange form, one account per line."""
    lines = [
        msgspec.json.encode(
            [
                str(t.id),
                {"debits_posted": str(t.debits_posted), "credits_posted": str(t.credits_posted)},
            ]
        )
        for t in totals
    ]
    return b"[" + b",".join(b"\n" + line for line in lines) + b"\n]\n"


def parse(where: str, content: bytes) -> list[Totals]:
    """The inverse of `render`. Raises InterchangeError naming `where` and the entry."""
    try:
        rows = msgspec.json.decode(content, type=list[tuple[str, dict[str, str]]])
    except msgspec.MsgspecError as error:
        raise InterchangeError(f"{where} is not a ledger snapshot: {error}.") from error
    found: dict[int, Totals] = {}
    for number, (id_, sums) in enumerate(rows, start=1):
        if sums.keys() != {"debits_posted", "credits_posted"}:
            raise InterchangeError(
                f"{where}, entry {number}: expected debits_posted and credits_posted,"
                f" found {', '.join(sorted(sums)) or 'nothing'}."
            )
        totals = Totals(
            *(
                _number(where, number, text)
                for text in (id_, sums["debits_posted"], sums["credits_posted"])
            )
        )
        if not 0 < totals.id < AMOUNT_MAX or totals.id in found:
            raise InterchangeError(f"{where}, entry {number}: {id_} is no id, or stands twice.")
        found[totals.id] = totals
    return list(found.values())


def write_file(path: Path, totals: Iterable[Totals]) -> None:
    """Replace a file durably; blocks. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("wb") as file:
        file.write(render(totals))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


async def totals_of(ledger: Ledger) -> list[Totals]:
    """Posted totals of every account, oldest first."""
    totals: list[Totals] = []
    after = 0
    while page := await ledger.query_accounts(QueryFilter(timestamp_min=after, limit=BATCH_MAX)):
        totals += [Totals(a.id, a.debits_posted, a.credits_posted) for a in page]
        after = page[-1].timestamp + 1
    return totals


def plan_opening(
    totals: Sequence[Totals],
    known: Mapping[int, Account],
    opening_of: Callable[[int], Account],
) -> Opening:
    """What to create and book. `known` are the accounts that the configuration explains, by id;
    `opening_of(ledger)` is the account that balances a ledger's opening entries, and where it
    stands among the totals itself it is left out: its total follows from the others.

    Credits are booked before debits, so that an account whose debits may not exceed its credits
    can take both.
    """
    accounts: dict[int, Account] = {}
    credits_: list[Transfer] = []
    debits: list[Transfer] = []
    foreign: list[int] = []
    ledgers = {known[t.id].ledger for t in totals if t.id in known} | {FOREIGN_LEDGER}
    openings = {opening_of(ledger).id for ledger in ledgers}
    for t in totals:
        if t.id in openings:
            continue
        account = known.get(t.id)
        if account is None:
            account = Account(id=t.id, ledger=FOREIGN_LEDGER, code=FOREIGN_CODE)
            foreign.append(t.id)
        opening = opening_of(account.ledger)
        accounts.setdefault(opening.id, opening)
        accounts[account.id] = account
        if t.credits_posted:
            credits_.append(_entry(t.id, "credit", opening, account, t.credits_posted))
        if t.debits_posted:
            debits.append(_entry(t.id, "debit", account, opening, t.debits_posted))
    return Opening(list(accounts.values()), credits_ + debits, foreign)


async def may_start(ledger: Ledger, opening: Opening) -> bool:
    """Whether nothing was booked yet, or only a part of this opening (a start that was broken
    off and is now finished). Accounts that nothing moved do not count. An entry is told by its
    id and by whose it is: a ledger of its own may have used the id for something else."""
    planned = {(t.id, t.user_data_128) for t in opening.transfers}
    held = after = 0
    while page := await ledger.query_transfers(QueryFilter(timestamp_min=after, limit=BATCH_MAX)):
        if any((t.id, t.user_data_128) not in planned for t in page):
            return False
        held += len(page)
        after = page[-1].timestamp + 1
    return not held or held < len(planned)


async def start_from(ledger: Ledger, opening: Opening, clock: Clock) -> None:
    """Book an opening into an empty ledger. It is tried on a book in memory first, so that a
    file that cannot be booked changes nothing. Raises InterchangeError."""
    if not await may_start(ledger, opening):
        raise InterchangeError(
            "The ledger already holds transfers; only an empty one can start from a file."
        )
    trial = Book(clock)
    for part in _parts(opening.accounts):
        _all_taken(part, [r.status for r in trial.create_accounts(part)])
    for moves in _parts(opening.transfers):
        _all_taken(moves, [r.status for r in trial.create_transfers(moves)])
    for part in _parts(opening.accounts):
        _all_taken(part, [r.status for r in await ledger.create_accounts(part)])
    for moves in _parts(opening.transfers):
        _all_taken(moves, [r.status for r in await ledger.create_transfers(moves)])


def _parts(rows: list[Row]) -> list[list[Row]]:
    return [rows[at : at + BATCH_MAX] for at in range(0, len(rows), BATCH_MAX)]


def _all_taken(
    rows: Sequence[Account | Transfer], statuses: Sequence[AccountStatus | TransferStatus]
) -> None:
    for row, status in zip(rows, statuses, strict=True):
        if status.name in ("CREATED", "EXISTS"):
            continue
        what = f"account {row.id}"
        if isinstance(row, Transfer):
            what = f"{row.amount} for account {row.user_data_128}"
        raise InterchangeError(f"The opening of {what} is refused: {status.name.lower()}.")


def _entry(id_: int, side: str, debit: Account, credit: Account, amount: int) -> Transfer:
    digest = hashlib.sha256(f"opening|{id_}|{side}".encode()).digest()
    return Transfer(
        id=int.from_bytes(digest[:16], "big"),
        debit_account_id=debit.id,
        credit_account_id=credit.id,
        amount=amount,
        user_data_128=id_,
        ledger=debit.ledger,
        code=OPENING_CODE,
    )


def _number(where: str, entry: int, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > AMOUNT_MAX:
        raise InterchangeError(
            f"{where}, entry {entry}: {text[:50]!r} is not a whole number below 2^128."
        )
    return int(text)
