"""Accounting as a desk shows it: pure translations to and from what `core.api` speaks in."""

from __future__ import annotations

from collections.abc import Iterable

from core.accounting import (
    CODES,
    Finding,
    Kind,
    Packet,
    PeerAccounts,
    PeerBalance,
    Stage,
    Step,
    TrialBalance,
)
from core.api import (
    CommandRefusedError,
    CustodyView,
    LedgerView,
    PacketStep,
    PeerView,
    TransferView,
    TrialView,
)
from core.ledger import LedgerHealth, Transfer, TransferFlags
from core.model import Amount, as_amount

_PENDING = int(TransferFlags.PENDING)
_POST = int(TransferFlags.POST_PENDING_TRANSFER)
_VOID = int(TransferFlags.VOID_PENDING_TRANSFER)
_KINDS = {
    CODES[Kind.DEBIT]: "packet in",
    CODES[Kind.CREDIT]: "packet out",
    CODES[Kind.TRANSIT]: "settlement",
    CODES[Kind.LINE]: "credit line",
    CODES[Kind.OPENING]: "opening",
}


def ledger_view(health: LedgerHealth) -> LedgerView:
    """The backend and its durability."""
    return LedgerView(
        backend=health.backend,
        ok=health.ok,
        reason=health.reason,
        notices=health.notices,
        journal_bytes=health.journal_bytes,
        commits=health.commits,
        syncs=health.syncs,
        last_sync_ms=health.last_sync_ms,
        last_snapshot_ms=health.last_snapshot_ms,
        snapshot_failure=health.snapshot_failure,
    )


def peer_view(balance: PeerBalance) -> PeerView:
    """One pair."""
    return PeerView(
        balance.peer,
        balance.token,
        Amount(balance.receivable),
        Amount(balance.payable),
        Amount(balance.receivable_in_flight),
        Amount(balance.payable_in_flight),
        Amount(balance.receivable_in_transit),
        Amount(balance.payable_in_transit),
        None if balance.limit is None else Amount(balance.limit),
        None if balance.headroom is None else Amount(balance.headroom),
    )


def trial_view(trial: TrialBalance) -> TrialView:
    """One ledger's trial balance."""
    return TrialView(
        trial.ledger,
        trial.name,
        trial.accounts,
        Amount(trial.debits),
        Amount(trial.credits),
        Amount(trial.debits_pending),
        Amount(trial.credits_pending),
        trial.confirmed,
    )


def custody_view(account: int, finding: Finding) -> CustodyView:
    """What reconciling found for one balance of the fleet."""
    return CustodyView(
        account,
        finding.state.value,
        finding.block,
        None if finding.chain_amount is None else as_amount(finding.chain_amount),
        as_amount(finding.ledger_amount),
        None if finding.difference is None else as_amount(finding.difference),
        as_amount(finding.unexplained),
        finding.since,
        finding.booked,
        finding.reason,
    )


def packet_step(step: PacketStep) -> Step:
    """A step as accounting takes it. Raises CommandRefusedError for a stage that is none."""
    try:
        stage = Stage(step.stage)
    except ValueError as error:
        known = ", ".join(s.value for s in Stage)
        raise CommandRefusedError(
            f"Packet {step.id}: there is no stage {step.stage!r} (known: {known})."
        ) from error
    packet = Packet(
        step.id, step.source, step.destination, step.token, step.amount_in, step.amount_out
    )
    return Step(stage, packet, step.timeout_s)


def transfer_views(
    accounts: PeerAccounts, receivable: Iterable[Transfer], payable: Iterable[Transfer]
) -> list[TransferView]:
    """Transfers of a pair's two accounts, newest first."""
    views = [_transfer_view(accounts, t, "receivable") for t in receivable]
    views += [_transfer_view(accounts, t, "payable") for t in payable]
    return sorted(views, key=lambda view: (-view.timestamp_ms, view.id))


def _transfer_view(accounts: PeerAccounts, transfer: Transfer, side: str) -> TransferView:
    """A debit raises what a peer owes us; a credit raises what we owe the peer."""
    raises = (
        transfer.debit_account_id == accounts.debit
        if side == "receivable"
        else transfer.credit_account_id == accounts.credit
    )
    note = ""
    if transfer.flags & _PENDING:
        note = f"lapses after {transfer.timeout} s" if transfer.timeout else "prepared"
    elif transfer.flags & _POST:
        note = "completed"
    elif transfer.flags & _VOID:
        note = "taken back"
    return TransferView(
        timestamp_ms=transfer.timestamp // 1_000_000,
        id=f"{transfer.id:032x}",
        peer=accounts.peer,
        token=accounts.token,
        side=side,
        kind=_KINDS.get(transfer.code, f"code {transfer.code}"),
        amount=Amount(transfer.amount if raises else -transfer.amount),
        pending=bool(transfer.flags & _PENDING),
        note=note,
    )
