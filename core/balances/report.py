"""A difference as the store records it and as events tell it; reorganisations included.

Pure: a reading's difference goes in, rows to write and events to publish come out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from core.balances.book import ChainBook, Difference, Plan
from core.events import AgentBalanceChanged, AgentBalanceReverted, Event, EventRecord
from core.model import Amount, Asset, Reading
from core.store.protocol import Change, Failure, Mark

# agent, symbol, contract (None: native) -> account of the chain at hand
Find = Callable[[str, str, str | None], int | None]


class Retaken(NamedTuple):
    """What a reorganisation did: the difference as it stands on the new branch, the events that
    take the old branch back, and per row the time from which its past was undone."""

    difference: Difference
    events: list[Event]
    since_ms: dict[int, int]


def rows_to_write(
    book: ChainBook, difference: Difference
) -> tuple[list[Change], list[Mark], list[Failure]]:
    """The difference by account, as `core.store.protocol.Sweep` carries it."""
    accounts = book.accounts
    return (
        [Change(accounts[row].id, amount) for row, _, amount in difference.replacements],
        [Mark(accounts[row].id, mark, reserved) for row, mark, reserved in difference.remarks],
        [Failure(accounts[row].id, reason) for row, reason in difference.faults],
    )


def changed_events(
    book: ChainBook, assets: Mapping[int, Asset], difference: Difference, block: int, time_ms: int
) -> list[Event]:
    """One AGENT_BALANCE_CHANGED per amount that differs from the one told before. The first
    reading of an account is no change."""
    events: list[Event] = []
    for row, told, amount in difference.replacements:
        if told is None or told == amount:
            continue
        account = book.accounts[row]
        asset = assets[account.asset]
        events.append(
            AgentBalanceChanged(
                timestamp=time_ms,
                agent_id=account.agent,
                chain=account.chain,
                token=asset.symbol,
                contract=asset.contract,
                old_balance=Amount(told),
                new_balance=Amount(amount),
                change=Amount(amount - told),
                block=block,
                decimals=asset.decimals,
            )
        )
    return events


def retake(
    book: ChainBook,
    plan: Plan,
    reading: Reading,
    difference: Difference,
    above: Sequence[EventRecord],
    find: Find,
    time_ms: int,
) -> Retaken:
    """Take back what was told of blocks that are gone: `above` are those changes, ascending.

    A change whose amount stands on the new branch too still holds. Any other is reverted, newest
    first, down to the balance standing at the fork; the difference then starts from there. Rows
    that the reading does not cover keep their last figure: their next reading is compared with
    it, as the store does."""
    told_events: dict[int, list[EventRecord]] = {}
    for record in above:
        payload = record.payload
        account = find(str(payload["agentId"]), str(payload["token"]), _contract(record))
        if account is not None:
            told_events.setdefault(book.row_of[account], []).append(record)
    replaced = {r.row: r for r in difference.replacements}
    failed = {row for row, _ in difference.faults}
    read = {book.row_of[a] for a in plan.accounts if a in book.row_of} - failed
    events: list[Event] = []
    since_ms: dict[int, int] = {}
    for row, records in told_events.items():
        if row not in read or row not in replaced:
            continue
        base = int(str(records[0].payload["oldBalance"]))
        events.extend(_reverted(r, reading.block.number, time_ms) for r in reversed(records))
        replaced[row] = replaced[row]._replace(told=base)
        since_ms[row] = records[0].time_ms
    return Retaken(difference._replace(replacements=list(replaced.values())), events, since_ms)


def _reverted(record: EventRecord, block: int, time_ms: int) -> AgentBalanceReverted:
    payload = record.payload
    old, new = int(str(payload["newBalance"])), int(str(payload["oldBalance"]))
    return AgentBalanceReverted(
        timestamp=time_ms,
        agent_id=str(payload["agentId"]),
        chain=str(payload["chain"]),
        token=str(payload["token"]),
        contract=_contract(record),
        old_balance=Amount(old),
        new_balance=Amount(new),
        change=Amount(new - old),
        block=block,
        decimals=int(str(payload["decimals"])),
        reverted_sequence=record.seq,
    )


def _contract(record: EventRecord) -> str | None:
    contract = record.payload["contract"]
    return None if contract is None else str(contract)
