"""What the ledger says of a payment: not there, under way, posted or voided.

An attempt's pending transfer, and the two that could end it, have ids made of its key; one
look-up answers for any number of attempts, from any process, after any crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from core.accounting.batches import lookup_transfers
from core.accounting.ids import resolution_id
from core.ledger import Ledger
from core.settlement.types import transfer_id
from core.store.protocol import SettlementRow


class Phase(Enum):
    """Where the pending transfer of an attempt stands."""

    ABSENT = "absent"
    UNDER_WAY = "under way"
    POSTED = "posted"
    VOIDED = "voided"


class Payment(NamedTuple):
    """Phase and amount, base units: what was posted where it was, else what is held."""

    phase: Phase
    amount: int = 0


async def payments(ledger: Ledger, rows: Sequence[SettlementRow]) -> list[Payment]:
    """The payment of each row's present attempt, in order. An attempt whose amount was never
    written down was never begun, and is not asked for."""
    wanted = []
    for row in rows:
        if row.amount is not None:
            pending = transfer_id(row.key, row.attempt)
            wanted += [pending, resolution_id(pending, "complete"), resolution_id(pending, "fail")]
    found = await lookup_transfers(ledger, wanted)
    answers = []
    for row in rows:
        pending = transfer_id(row.key, row.attempt)
        if row.amount is None or pending not in found:
            answers.append(Payment(Phase.ABSENT))
        elif (posted := found.get(resolution_id(pending, "complete"))) is not None:
            answers.append(Payment(Phase.POSTED, posted.amount))
        elif resolution_id(pending, "fail") in found:
            answers.append(Payment(Phase.VOIDED, found[pending].amount))
        else:
            answers.append(Payment(Phase.UNDER_WAY, found[pending].amount))
    return answers
