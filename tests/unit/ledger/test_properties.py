"""Any sequence of batches: the books balance, time rises, and a reopened ledger is the same."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from core.ledger.codec import decode_effects, encode_effects
from core.ledger.effects import Effects
from core.ledger.fold import fold, trim
from core.ledger.journal import VERSION
from core.ledger.recovery import recover
from core.ledger.state import State
from core.ledger.types import Account, Transfer
from tests.crash.simulated import SimFolder
from tests.crash.workload import Run, described


def trial_balance(state: State) -> int:
    """Debits less credits over all accounts, posted and pending."""
    return sum(
        a.debits_posted + a.debits_pending - a.credits_posted - a.credits_pending
        for a in state.account_order
    )


def amounts_from_transfers(state: State) -> dict[int, tuple[int, int]]:
    """Posted totals worked out anew from the transfers alone."""
    totals = {a.id: [0, 0] for a in state.account_order}
    for t in state.transfer_order:
        if not t.flags & 2 and not t.flags & 8:  # neither pending nor a void
            totals[t.debit_account_id][0] += t.amount
            totals[t.credit_account_id][1] += t.amount
    return {id_: (debits, credits_) for id_, (debits, credits_) in totals.items()}


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 12))
def test_the_books_balance_time_rises_and_a_reopened_ledger_equals_the_closed_one(
    seed: int, steps: int
) -> None:
    run = Run(SimFolder(), random.Random(seed))
    last = 0
    for _ in range(steps):
        run.act()
        state = run.book.state
        assert trial_balance(state) == 0
        for account in state.account_order:
            assert min(account.debits_pending, account.credits_pending) >= 0
            assert (account.debits_posted, account.credits_posted) == amounts_from_transfers(state)[
                account.id
            ]
        assert state.timestamp >= last
        last = state.timestamp
        times = [t.timestamp for t in state.transfer_order]
        assert times == sorted(set(times))
    recovered = recover(run.folder)
    assert recovered is not None
    assert described(recovered.state) == described(run.book.state) == described(run.acked)
    run.journal.seal()
    if recovered.position.sequence:
        fold(run.folder, recovered.position.sequence)
        trim(run.folder)
    folded = recover(run.folder)
    assert folded is not None
    assert folded.was_sealed
    assert described(folded.state) == described(run.book.state)


U128, U64, U32, U16 = (st.integers(0, 2**bits - 1) for bits in (128, 64, 32, 16))
ACCOUNTS = st.builds(
    Account,
    id=U128, debits_pending=U128, debits_posted=U128, credits_pending=U128, credits_posted=U128,
    user_data_128=U128, user_data_64=U64, user_data_32=U32, ledger=U32, code=U16, flags=U16,
    timestamp=U64,
)  # fmt: skip
TRANSFERS = st.builds(
    Transfer,
    id=U128, debit_account_id=U128, credit_account_id=U128, amount=U128, pending_id=U128,
    user_data_128=U128, user_data_64=U64, user_data_32=U32, timeout=U32, ledger=U32, code=U16,
    flags=U16, timestamp=U64,
)  # fmt: skip
EFFECTS = st.builds(
    Effects,
    timestamp=U64,
    accounts=st.lists(ACCOUNTS, max_size=3),
    transfers=st.lists(TRANSFERS, max_size=3),
    burnt=st.lists(U128, max_size=3),
    expired=st.lists(st.tuples(U128, U64), max_size=3),
)


@given(st.lists(EFFECTS, max_size=4))
def test_effects_are_read_back_from_their_bytes(commits: list[Effects]) -> None:
    assert list(decode_effects(memoryview(encode_effects(commits)), VERSION)) == commits
