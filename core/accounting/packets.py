"""Packets as transfers: what a step books, and what the ledger's answer means in words.

Pure. A step is a linked pair of transfers, in and out, that apply together or not at all; their
ids are made of the packet's id, so a step that is repeated books nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from core.accounting.ids import CODES, Kind, packet_transfer_id
from core.accounting.types import PacketResult, PeerAccounts, Stage, Step
from core.ledger import AMOUNT_MAX, Transfer, TransferFlags, TransferStatus

_U32_MAX = 2**32 - 1
_LINKED = int(TransferFlags.LINKED)
_FLAGS = {
    Stage.PREPARE: int(TransferFlags.PENDING),
    Stage.FULFIL: int(TransferFlags.POST_PENDING_TRANSFER),
    Stage.REJECT: int(TransferFlags.VOID_PENDING_TRANSFER),
    Stage.RECORD: 0,
}
# A recorded packet has the id of a prepared one: no packet is booked in both ways.
_ID_STAGE = {stage: stage.value for stage in Stage} | {Stage.RECORD: Stage.PREPARE.value}

CREATED = "created"
EXISTS = "exists"
_TIMEOUT_RESERVED = "timeout_reserved_for_pending_transfer"
OUT_OF_RANGE = "field_out_of_range"
_WORDS = {
    "exceeds_credits": "the peer's credit limit leaves too little headroom",
    "id_already_failed": "it was refused before and stays refused; a retry is a new packet",
    "pending_transfer_not_found": "it was never prepared, or its prepare was refused",
    "pending_transfer_expired": "it lapsed: its time-out passed",
    "pending_transfer_already_posted": "it was fulfilled before",
    "pending_transfer_already_voided": "it was rejected before",
    "pending_transfer_not_pending": "it was recorded in one step and is not pending",
    "ledger_must_not_be_zero": "the token is not configured",
    "id_must_not_be_zero": "the packet has no id",
    "debit_account_id_must_not_be_zero": "the packet does not say which peer sent it",
    "credit_account_id_must_not_be_zero": "the packet does not say which peer it goes to",
    "accounts_must_be_different": "source and destination are the same peer",
    "debit_account_already_closed": "the account of the source is closed",
    "credit_account_already_closed": "the account of the destination is closed",
    OUT_OF_RANGE: "amounts must be 0 to 2^128 - 1 and time-outs 0 to 2^32 - 1 seconds",
}


class Legs(NamedTuple):
    """The two transfers of a step, in the order in which they are sent."""

    incoming: Transfer
    outgoing: Transfer


def fault(step: Step, tokens: frozenset[str]) -> str:
    """The status of a step that need not be sent, as the ledger would name it; "" if it may."""
    packet = step.packet
    checks = (
        (not packet.id, "id_must_not_be_zero"),
        (not packet.source, "debit_account_id_must_not_be_zero"),
        (not packet.destination, "credit_account_id_must_not_be_zero"),
        (packet.source == packet.destination, "accounts_must_be_different"),
        (step.timeout_s and step.stage is not Stage.PREPARE, _TIMEOUT_RESERVED),
        (packet.token not in tokens, "ledger_must_not_be_zero"),
        (not 0 <= packet.amount_in <= AMOUNT_MAX, OUT_OF_RANGE),
        (not 0 <= packet.amount_out <= AMOUNT_MAX, OUT_OF_RANGE),
        (not 0 <= step.timeout_s <= _U32_MAX, OUT_OF_RANGE),
    )
    return next((status for wrong, status in checks if wrong), "")


def legs_of(step: Step, source: PeerAccounts, destination: PeerAccounts) -> Legs:
    """Debit the source's receivable and credit clearing; debit clearing and credit the
    destination's payable."""
    packet, stage = step.packet, step.stage
    amount_in, amount_out = {
        Stage.FULFIL: (AMOUNT_MAX, AMOUNT_MAX),  # the full amount, as it was prepared
        Stage.REJECT: (0, 0),  # the same, for a void
    }.get(stage, (packet.amount_in, packet.amount_out))
    incoming = Transfer(
        id=packet_transfer_id(packet.id, "in", _ID_STAGE[stage]),
        debit_account_id=source.debit,
        credit_account_id=source.clearing,
        amount=amount_in,
        timeout=step.timeout_s,
        ledger=source.ledger,
        code=CODES[Kind.DEBIT],
        flags=_FLAGS[stage] | _LINKED,
    )
    outgoing = Transfer(
        id=packet_transfer_id(packet.id, "out", _ID_STAGE[stage]),
        debit_account_id=source.clearing,
        credit_account_id=destination.credit,
        amount=amount_out,
        timeout=step.timeout_s,
        ledger=source.ledger,
        code=CODES[Kind.CREDIT],
        flags=_FLAGS[stage],
    )
    if stage in (Stage.PREPARE, Stage.RECORD):
        return Legs(incoming, outgoing)
    held = [packet_transfer_id(packet.id, leg, Stage.PREPARE.value) for leg in ("in", "out")]
    return Legs(
        msgspec.structs.replace(incoming, pending_id=held[0]),
        msgspec.structs.replace(outgoing, pending_id=held[1]),
    )


def status_of(incoming: TransferStatus, outgoing: TransferStatus) -> str:
    """What became of the pair: the status of the leg that broke the chain, or `created`."""
    leg = outgoing if incoming is TransferStatus.LINKED_EVENT_FAILED else incoming
    return leg.name.lower()


def replay_status(step: Step, sent: Transfer, booked: Transfer | None) -> str:
    """`exists`, if the outgoing leg that is in the ledger is the one now sent; the incoming leg
    was judged by the ledger, which then does not look at the other."""
    if booked is None:
        return TransferStatus.LINKED_EVENT_FAILED.name.lower()
    if booked.credit_account_id != sent.credit_account_id:
        return TransferStatus.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID.name.lower()
    if step.stage in (Stage.PREPARE, Stage.RECORD) and booked.amount != sent.amount:
        return TransferStatus.EXISTS_WITH_DIFFERENT_AMOUNT.name.lower()
    return EXISTS


def result_of(step: Step, status: str) -> PacketResult:
    """The step's result, with a refusal put into words."""
    packet = step.packet
    if status in (CREATED, EXISTS):
        return PacketResult(packet.id, step.stage, status)
    return PacketResult(
        packet.id,
        step.stage,
        status,
        f"Packet {packet.id!r} from peer {packet.source} ({packet.amount_in} {packet.token}) to"
        f" peer {packet.destination} ({packet.amount_out}): {step.stage} refused,"
        f" {words(status)}.",
    )


def words(status: str) -> str:
    """Why a packet was refused, for a person."""
    if status.startswith("exists_with_different"):
        what = status.removeprefix("exists_with_different_").replace("_", " ")
        return f"its id was used before with a different {what}"
    return _WORDS.get(status, status.replace("_", " "))
