"""Random commits on a book, and a shadow that holds what was acknowledged."""

from __future__ import annotations

import random

from core.ledger.effects import Effects
from core.ledger.files import Folder
from core.ledger.fold import fold, trim
from core.ledger.journal import Journal
from core.ledger.memory import Book
from core.ledger.recovery import Recovered, recover
from core.ledger.state import State
from core.ledger.types import AMOUNT_MAX, Account, AccountFlags, Transfer, TransferFlags
from tests.unit.ledger.worlds import ManualClock

F = TransferFlags
ACCOUNTS = [
    Account(id=i, ledger=1, code=1, flags=int(flags))
    for i, flags in enumerate(
        (0, 0, AccountFlags.HISTORY, AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS), start=1
    )
]
IDENTITY = b"simulated ledger"


def described(state: State) -> object:
    """Everything a state holds, as values that compare."""
    return (
        state.timestamp,
        [(a.row(), list(a.transfers), list(a.history or [])) for a in state.account_order],
        list(state.transfer_order),
        list(state.transfers.values()),
        dict(state.pending),
        set(state.burnt),
        state.next_due(),
    )


def random_batch(rng: random.Random, book: Book, size: int) -> list[Transfer]:
    """Valid and invalid transfers of every kind, chains included."""
    pending = list(book.state.pending)
    batch = []
    for _ in range(size):
        id_ = rng.randint(1, 60) if rng.random() < 0.2 else rng.getrandbits(40) + 100
        flags = rng.choice([0, 0, 0, F.PENDING, F.PENDING, F.LINKED, F.BALANCING_DEBIT])
        if pending and rng.random() < 0.3:
            flags = rng.choice([F.POST_PENDING_TRANSFER, F.VOID_PENDING_TRANSFER])
            amount = AMOUNT_MAX if flags is F.POST_PENDING_TRANSFER else 0
            batch.append(
                Transfer(id=id_, pending_id=rng.choice(pending), amount=amount, flags=int(flags))
            )
            continue
        batch.append(
            Transfer(
                id=id_,
                debit_account_id=rng.randint(1, 5),
                credit_account_id=rng.randint(1, 5),
                amount=rng.randint(0, 50),
                ledger=1,
                code=1,
                timeout=rng.choice([0, 1, 5]) if flags & F.PENDING else 0,
                flags=int(flags),
            )
        )
    return batch


def plain_batch(rng: random.Random) -> list[Transfer]:
    """Enough valid transfers without flags to be booked and written as a run."""
    wide = rng.random() < 0.2
    return [
        Transfer(
            id=rng.getrandbits(100) + 1,
            debit_account_id=1,
            credit_account_id=2,
            amount=rng.getrandbits(70 if wide else 40),
            user_data_64=rng.getrandbits(64) if wide else 0,
            ledger=1,
            code=rng.randint(1, 2) if wide else 1,
        )
        for _ in range(rng.randint(8, 12))
    ]


class Run:
    """A book whose commits go to a journal in `folder`; what was acknowledged is in `acked`."""

    def __init__(self, folder: Folder, rng: random.Random) -> None:
        self.rng = rng
        self.clock = ManualClock()
        self.acked = State()
        self.in_flight: list[Effects] = []
        self.begin(folder)

    def begin(self, folder: Folder) -> None:
        """Start, or start again after a stop."""
        self.folder = folder
        recovered = recover(folder)
        if recovered is None:
            self.book = Book(self.clock)
            self.journal = Journal.create(folder, IDENTITY)
            return
        self.journal = Journal(folder, recovered.position)
        self.journal.resume(
            recovered.unsealed, was_sealed=recovered.was_sealed, version=recovered.version
        )
        self.book = Book(self.clock, recovered.state)

    def commit(self) -> None:
        """One record of one to three requests, acknowledged once it is synced."""
        group: list[Effects] = []
        self.clock.advance(self.rng.choice([0, 0, 0.001, 1]))
        for _ in range(self.rng.choice([1, 1, 3])):
            lapsed = self.book.expire()
            if lapsed is not None:
                group.append(lapsed)
            if not self.book.state.accounts:
                group.append(self.book.commit_accounts(ACCOUNTS).effects)
            if self.rng.random() < 0.25:
                batch = plain_batch(self.rng)
            else:
                batch = random_batch(self.rng, self.book, self.rng.choice([1, 2, 6]))
            group.append(self.book.commit_transfers(batch).effects)
        self.in_flight = group
        self.journal.append(group)
        for effects in group:
            self.acked.apply(effects)
        self.in_flight = []

    def act(self) -> None:
        """Mostly commit; now and then seal, or rotate and fold a snapshot."""
        choice = self.rng.random()
        if choice < 0.8:
            self.commit()
        elif choice < 0.9:
            self.journal.seal()
        else:
            upto = self.journal.rotate()
            if upto:
                fold(self.folder, upto)
                trim(self.folder)

    def settle(self, recovered: Recovered | None) -> bool:
        """Whether a recovery found all that was acknowledged and nothing that was not sent;
        then what was in flight and survived counts as acknowledged."""
        found = recovered.state if recovered else State()
        if self.in_flight and found.timestamp == self.in_flight[-1].timestamp:
            for effects in self.in_flight:
                self.acked.apply(effects)
        self.in_flight = []
        return described(found) == described(self.acked)
