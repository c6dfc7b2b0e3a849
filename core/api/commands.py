"""What an operator or a program may ask an engine to do."""

from __future__ import annotations

import msgspec

from core.api.books import AccountTotals
from core.model import Amount


class SyncNow(msgspec.Struct, frozen=True, tag="sync"):
    """Read these chains (all, if empty) now, due or not; answers when they were read."""

    chains: tuple[str, ...] = ()


class WalletRow(msgspec.Struct, frozen=True):
    """One address to follow, as an operator gave it. `line` is where it stood in a file."""

    agent: str
    chain: str
    address: str
    group: str = ""
    tags: tuple[str, ...] = ()
    line: int = 0


class ImportWallets(msgspec.Struct, frozen=True, tag="import"):
    """Register watch-only addresses, all or none."""

    rows: tuple[WalletRow, ...]


class TagAgents(msgspec.Struct, frozen=True, tag="tag"):
    """Set the group (None: keep) and add or remove tags of existing agents, all or none."""

    agents: tuple[str, ...]
    group: str | None = None
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class SetLimits(msgspec.Struct, frozen=True, tag="limits"):
    """Floor and target (base units; None clears) of an asset for a "group" or an "agent"."""

    scope: str
    key: str
    chain: str
    asset: str  # symbol or contract
    floor: Amount | None = None
    target: Amount | None = None


class MovementRow(msgspec.Struct, frozen=True):
    """One movement of an agent's balance; `reference` names it for ever."""

    agent: str
    chain: str
    asset: str  # symbol or contract
    amount: Amount
    reference: str


class RecordMovements(msgspec.Struct, frozen=True, tag="movements"):
    """Book what callers know of on-chain custody: funding above 0; payments, gas, sweeps below."""

    movements: tuple[MovementRow, ...]


class BookUnexplained(msgspec.Struct, frozen=True, tag="explain-custody"):
    """Book an unexplained difference of one balance, with an operator's reason."""

    agent: str
    chain: str
    asset: str
    reason: str


class ImportTotals(msgspec.Struct, frozen=True, tag="ledger-import"):
    """Start the empty ledger from these totals. `peers` are known beside those that the settings
    name; ids of nobody known are kept as foreign accounts."""

    totals: tuple[AccountTotals, ...]
    peers: tuple[str, ...] = ()


class RecordSettlement(msgspec.Struct, frozen=True, tag="settlement"):
    """Book a payment that has happened: `direction` is "receivable" (the peer paid us) or
    "payable" (we paid). `reference` is the payment's own; a second one with it books nothing."""

    peer: str
    token: str
    direction: str
    amount: Amount
    reference: str


class AcknowledgeAlert(msgspec.Struct, frozen=True, tag="alert-ack"):
    """Take an open alert on; it stays open and is loud no more."""

    id: int
    reason: str


class SilenceAlert(msgspec.Struct, frozen=True, tag="alert-silence"):
    """Silence an alert, and new ones of its rule and subject, until then; 0 ends a silence."""

    id: int
    until_ms: int
    reason: str


class StartSettlement(msgspec.Struct, frozen=True, tag="settlement-start"):
    """A payment has begun: of `amount` base units, or (None) of what is due above `settle_to`."""

    peer: str
    token: str
    direction: str = "receivable"
    amount: Amount | None = None


class CompleteSettlement(msgspec.Struct, frozen=True, tag="settlement-done"):
    """The payment under way arrived: all of it, or the smaller `amount`. `key`, where given, must
    be that of the settlement meant."""

    peer: str
    token: str
    direction: str = "receivable"
    amount: Amount | None = None
    key: str = ""


class FailSettlement(msgspec.Struct, frozen=True, tag="settlement-failed"):
    """The payment under way was not made; it is asked for again under the same key."""

    peer: str
    token: str
    reason: str
    direction: str = "receivable"
    key: str = ""


class SetThreshold(msgspec.Struct, frozen=True, tag="threshold"):
    """Set the threshold of a pair, of a peer (token "") or the default (both ""). `level` is base
    units or a share of the credit limit such as "80%"; "" goes back to what is configured."""

    peer: str
    token: str
    level: str
    reason: str = ""


class CreateWallets(msgspec.Struct, frozen=True, tag="wallets-create"):
    """Create agents with addresses derived from the seed: `count` numbered ones after `prefix`, or
    those of `names`. No chain means every one that is followed. `job` is a name of the caller's
    choice, under which `EngineState.jobs` tells the progress."""

    count: int = 0
    prefix: str = "agent"
    names: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    group: str = ""
    tags: tuple[str, ...] = ()
    job: str = ""


class ChangeWallets(msgspec.Struct, frozen=True, tag="wallets-change"):
    """Suspend, reactivate or archive agents, all or none. `change` is one of the three words."""

    agents: tuple[str, ...]
    change: str
    reason: str


class CreateBackup(msgspec.Struct, frozen=True, tag="backup"):
    """Make a backup now and send it to every destination. `type` is "full" or "incremental"."""

    # "type" is the tag of every command on the wire.
    type: str = msgspec.field(default="full", name="backup_type")


class RunDueBackups(msgspec.Struct, frozen=True, tag="backup-due"):
    """Make what the schedule asks for now, and try again what could not be sent."""


class VerifyBackup(msgspec.Struct, frozen=True, tag="backup-verify"):
    """Fetch a backup (the newest, if `id` is empty), decrypt and check all of it."""

    id: str = ""


class DrillBackup(msgspec.Struct, frozen=True, tag="backup-drill"):
    """Restore a backup (the newest, if `id` is empty) into a scratch folder and prove it."""

    id: str = ""


class PruneBackups(msgspec.Struct, frozen=True, tag="backup-prune"):
    """Delete the backups that no rule of retention keeps; `dry_run` only says which."""

    dry_run: bool = True


class RekeyBackups(msgspec.Struct, frozen=True, tag="backup-rekey"):
    """Give the backups that exist the key slots of the key ring as it is now."""


class ReleaseSettlements(msgspec.Struct, frozen=True, tag="settlement-release"):
    """Let settlements go on that a restore holds."""

    reason: str = ""


Command = (
    SyncNow
    | ImportWallets
    | TagAgents
    | SetLimits
    | RecordMovements
    | BookUnexplained
    | ImportTotals
    | RecordSettlement
    | StartSettlement
    | CompleteSettlement
    | FailSettlement
    | SetThreshold
    | AcknowledgeAlert
    | SilenceAlert
    | CreateWallets
    | ChangeWallets
    | CreateBackup
    | RunDueBackups
    | VerifyBackup
    | DrillBackup
    | PruneBackups
    | RekeyBackups
    | ReleaseSettlements
)


class PacketStep(msgspec.Struct, frozen=True):
    """One stage of one packet that `source` sent us and we forward to `destination`. `stage` is
    prepare, fulfil, reject or record; `timeout_s` is for a prepare (0: it never lapses)."""

    stage: str
    id: str
    source: str
    destination: str
    token: str
    amount_in: Amount
    amount_out: Amount
    timeout_s: int = 0


class PacketOutcome(msgspec.Struct, frozen=True):
    """What became of a step: the ledger's name of it (`created`, `exists`, `exceeds_credits`,
    ...) and, where it was refused, why in words."""

    id: str
    stage: str
    status: str
    message: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What a command did, in one sentence, with details a line each."""

    message: str
    changed: int = 0
    details: tuple[str, ...] = ()
