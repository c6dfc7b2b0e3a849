"""The follower says which accounts moved only where it saw every transaction of every ledger."""

from __future__ import annotations

import msgspec

from core.chains.xrpl.follow import Follower
from core.chains.xrpl.wire import Message, decode

FLEET = {"rA": 0, "rB": 1, "rC": 2}


def closed(number: int, transactions: int) -> Message:
    return Message(
        type="ledgerClosed", ledger_index=number, ledger_hash="AB" * 32, txn_count=transactions
    )


def node(kind: str, entry: str, fields: dict[str, object]) -> dict[str, object]:
    name = "NewFields" if kind == "CreatedNode" else "FinalFields"
    return {kind: {"LedgerEntryType": entry, name: fields}}


def transaction(number: int, *nodes: dict[str, object], validated: bool = True) -> Message:
    return decode(
        msgspec.json.encode(
            {
                "type": "transaction",
                "ledger_index": number,
                "validated": validated,
                "meta": {"AffectedNodes": list(nodes)},
            }
        )
    )


def root(account: str, kind: str = "ModifiedNode") -> dict[str, object]:
    return node(kind, "AccountRoot", {"Account": account, "Balance": "5"})


async def test_a_ledger_counts_only_when_all_its_transactions_came() -> None:
    follower = Follower(FLEET)
    follower.take(closed(10, 2))
    follower.take(transaction(10, root("rA")))
    assert await follower.touched(9, 10, 0.01) is None
    follower.take(transaction(10, root("rB")))
    assert await follower.touched(9, 10, 0.01) == {"rA", "rB"}


async def test_every_way_of_touching_an_account_is_seen() -> None:
    follower = Follower(FLEET | {"rD": 3})
    follower.take(closed(10, 4))
    follower.take(transaction(10, root("rA", "CreatedNode")))
    follower.take(transaction(10, root("rB", "DeletedNode")))
    line: dict[str, object] = {"HighLimit": {"issuer": "rC"}, "LowLimit": {"issuer": "rStranger"}}
    follower.take(transaction(10, node("ModifiedNode", "RippleState", line)))
    follower.take(transaction(10, node("ModifiedNode", "Offer", {"Account": "rD"})))
    assert await follower.touched(9, 10, 0.01) == {"rA", "rB", "rC"}


async def test_a_gap_between_ledgers_ends_all_trust_in_what_was_before() -> None:
    follower = Follower(FLEET)
    follower.take(closed(10, 0))
    follower.take(closed(12, 0))
    assert await follower.touched(9, 12, 0.01) is None
    assert await follower.touched(10, 12, 0.01) is None
    assert await follower.touched(11, 12, 0.01) == set()


async def test_what_began_before_the_subscription_is_not_covered() -> None:
    follower = Follower(FLEET)
    follower.take(closed(10, 0))
    assert await follower.touched(8, 10, 0.01) is None
    assert await follower.touched(9, 10, 0.01) == set()


async def test_only_ledgers_between_the_readings_count() -> None:
    follower = Follower(FLEET)
    for number, account in ((10, "rA"), (11, "rB"), (12, "rC")):
        follower.take(closed(number, 1))
        follower.take(transaction(number, root(account)))
    assert await follower.touched(10, 11, 0.01) == {"rB"}
    follower.forget(11)
    assert await follower.touched(11, 12, 0.01) == {"rC"}


async def test_a_transaction_that_is_not_validated_or_not_understood_proves_nothing() -> None:
    follower = Follower(FLEET)
    follower.take(closed(10, 1))
    follower.take(transaction(10, root("rA"), validated=False))
    assert await follower.touched(9, 10, 0.01) is None
    odd = Message(
        type="transaction",
        ledger_index=10,
        validated=True,
        meta=msgspec.Raw(b'{"AffectedNodes":7}'),
    )
    follower.take(odd)
    assert await follower.touched(9, 10, 0.01) is None
