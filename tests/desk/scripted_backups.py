"""The scripted engine's backups: every state of a copy and a chain, jobs that move when a test
says so, and restores that answer as the engine would: proven, or refused with the reason.

`Backups` keeps what it was asked, never the text of a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from core.api import (
    BackupsView,
    BackupView,
    CommandRefusedError,
    CopyView,
    CreateBackup,
    DestinationView,
    DrillBackup,
    EngineLostError,
    JobView,
    Outcome,
    PruneBackups,
    ReconciledView,
    ReconciliationView,
    ReleaseSettlements,
    RestoreChange,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
    RunDueBackups,
    VerifyBackup,
)
from core.model import Amount, Secret

NOW_MS = 1_795_176_251_000  # 2026-11-20T12:04:11Z
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
PASSWORD = "canary-Tr0ub4dor-staple-7391"
NAME = "desk-01"
"""The installation's name, as it must be typed."""
INSTALLATION = "01a19f00-1111-7222-8333-444455556666"
STORED, UPLOADED, PENDING = "stored and read back", "uploaded, not read back", "pending"
SEED = "5f3a-91cc-07de-4b12"
SAFETY = "019e9000-aaaa-7000-8000-00000000beef"
NOT_A_BACKUP = "/srv/notes.txt"
FOLDER = "/mnt/usb"
PLAN = "plan-1"

BackupCommand = (
    CreateBackup | RunDueBackups | VerifyBackup | DrillBackup | PruneBackups | ReleaseSettlements
)
BACKUP_COMMANDS = (
    CreateBackup, RunDueBackups, VerifyBackup, DrillBackup, PruneBackups, ReleaseSettlements,
)  # fmt: skip


def identity(created_ms: int) -> str:
    """An id whose first digits are its millisecond, as UUIDv7 has them."""
    digits = f"{created_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}-7abc-8def-0123456789ab"


def made(
    age_ms: int, *, kind: str = "incremental", chain: int = 2, parent: str = "",
    copies: tuple[CopyView, ...] | None = None, size: int = 212_004, verified: bool = False,
    drilled: bool = False,
) -> BackupView:  # fmt: skip
    """A backup of that age."""
    created_ms = NOW_MS - age_ms
    both = (CopyView("local", STORED, 1), CopyView("s3", STORED, 1))
    found = both if copies is None else copies
    key = identity(created_ms)
    return BackupView(
        key,
        f"wallet-backup-{created_ms}-{key}.bursar",
        kind,
        created_ms,
        size,
        48,
        parent=parent,
        seed_fingerprint=SEED,
        chain=chain,
        copies=found,
        durable_ms=created_ms + 900 if any(c.state == STORED for c in found) else 0,
        verified_ms=created_ms + HOUR_MS if verified else 0,
        drilled_ms=created_ms + 2 * HOUR_MS if drilled else 0,
    )


def stored() -> tuple[BackupView, ...]:
    """A chain of seven, a full before it, a gap, and copies in every state."""
    full = made(6 * DAY_MS + 12 * HOUR_MS, kind="full", chain=1, size=2_104_331, verified=True,
                drilled=True)  # fmt: skip
    chain = [full]
    for day in range(5, -1, -1):
        chain.append(
            made(
                day * DAY_MS + 12 * HOUR_MS,
                chain=len(chain) + 1,
                parent=chain[-1].id,
                verified=day < 2,
            )
        )
    denied = "AccessDenied: s3:PutObject on arn:aws:s3:::treasury"
    chain[2] = msgspec.structs.replace(
        chain[2],
        copies=(
            CopyView("local", STORED, 1),
            CopyView("s3", PENDING, 4, NOW_MS + 11 * MINUTE_MS, denied),
        ),
    )
    chain[5] = msgspec.structs.replace(
        chain[5], copies=(CopyView("local", STORED, 1), CopyView("s3", UPLOADED, 1))
    )
    chain[6] = msgspec.structs.replace(
        chain[6], copies=(CopyView("local", STORED, 1), CopyView("s3", PENDING, 0, NOW_MS))
    )
    older = made(13 * DAY_MS + 12 * HOUR_MS, kind="full", chain=1, size=2_000_118, drilled=True,
                 verified=True)  # fmt: skip
    gap = made(9 * DAY_MS + 12 * HOUR_MS, chain=0, parent=identity(NOW_MS - 10 * DAY_MS))
    return (*reversed(chain), gap, older)


def view() -> BackupsView:
    """A week of backups, two destinations of which one refuses, and a schedule."""
    found = stored()
    return BackupsView(
        installation=INSTALLATION,
        backups=found,
        destinations=(
            DestinationView("local", "/var/backups/bursar"),
            DestinationView("s3", "s3://treasury/bursar", "AccessDenied on PutObject"),
        ),
        slots=("password", "recovery key"),
        jobs=(
            JobView("v1", "verify", "done", NOW_MS - 11 * HOUR_MS, 48, 48, "wallets",
                    NOW_MS - 11 * HOUR_MS, "", "48 wallets in 7 archives decrypt and check"),
        ),
        next_full_ms=NOW_MS + 36 * HOUR_MS,
        next_incremental_ms=NOW_MS + 12 * HOUR_MS,
        next_drill_ms=NOW_MS + 9 * DAY_MS,
        last_ms=NOW_MS - 12 * HOUR_MS,
        last_verified_ms=NOW_MS - 11 * HOUR_MS,
        last_drilled_ms=NOW_MS - 6 * DAY_MS,
    )  # fmt: skip


def fresh() -> BackupsView:
    """A machine on which nothing was set up."""
    return BackupsView(off="No password is set for backups: run `bursar backup setup`.")


def plan(backup: BackupView, *, confirm: str = NAME) -> RestorePlan:
    """A dry run over a target that is not empty (empty, where `confirm` is)."""
    is_empty = not confirm
    return RestorePlan(
        PLAN,
        backup,
        tuple(identity(NOW_MS - n) for n in range(max(1, backup.chain))),
        48,
        132,
        12,
        SEED,
        "the running ledger is whole and is kept" if not is_empty else "the backup's checkpoint",
        (
            RestoreChange("agents", 48 if is_empty else 2, 0, 0 if is_empty else 1,
                          ("agent-0049", "agent-0050", "-agent-0003")),
            RestoreChange("lifecycle records", 60 if is_empty else 0, 0 if is_empty else 7, 0),
            RestoreChange("balances", 96 if is_empty else 0, 0 if is_empty else 31, 0),
        ),
        confirm=confirm,
        newer=() if is_empty else (identity(NOW_MS - 12 * HOUR_MS),),
        warnings=() if is_empty else ("the backup is 36 hours older than the state in use",),
    )  # fmt: skip


def rows() -> tuple[ReconciledView, ...]:
    """Drift on two chains, and a chain that cannot be read."""
    lost = "tron: no endpoint answers (connect timed out)"
    return (
        ReconciledView("agent-0006", "base", "USDC", 6, "drift", Amount(12_400_000), Amount(0),
                       38_412_200),
        ReconciledView("agent-0010", "xrpl", "XRP", 6, "drift", Amount(40_000_000),
                       Amount(41_200_000), 96_204_800),
        ReconciledView("agent-0031", "tron", "USDT", 6, "unknown", Amount(15_640_000), None, 0,
                       lost),
        ReconciledView("agent-0032", "tron", "TRX", 6, "unknown", Amount(80_000_000), None, 0,
                       lost),
    )  # fmt: skip


class Backups:
    """What stands behind the scripted engine's backups. `push` shows a view to every desk;
    `restart` is what the engine does when another state is put in force."""

    def __init__(
        self, first: BackupsView, push: Callable[[BackupsView], None], restart: Callable[[], None]
    ) -> None:
        self.view = first
        self._push = push
        self._restart = restart
        self.calls: list[str] = []
        self.secrets: list[Secret] = []
        self.requests: list[RestoreRequest] = []
        self.elsewhere: dict[str, tuple[BackupView, ...]] = {FOLDER: stored()[:3]}
        self.confirm = NAME if first.backups else ""
        self.gate: asyncio.Event | None = None
        """Holds a plan or an application back until it is set."""
        self.refuse_apply = ""
        self.lose_apply: bool | None = None
        """None: answers. True: goes away, having applied. False: goes away, not having."""
        self.changes_now: tuple[RestoreChange, ...] = ()
        """What a plan says it would change after it was refused; none: it is gone then."""
        self.staged: dict[str, RestorePlan] = {}
        self.report: ReconciliationView | None = None

    def change(self, **changes: object) -> None:
        """Another view, with these fields."""
        self.view = msgspec.structs.replace(self.view, **changes)
        self._push(self.view)

    def job(self, kind: str, stage: str, done: int = 0, total: int = 0, unit: str = "") -> None:
        """A job of that kind stands there now, and is the only one that runs."""
        ended = tuple(job for job in self.view.jobs if job.ended_ms)
        running = JobView(f"{kind}-1", kind, stage, NOW_MS, done, total, unit)
        self.change(jobs=(running, *ended))

    def end_job(self, kind: str, now_ms: int, *, error: str = "", message: str = "") -> None:
        """The job ends."""
        ended = tuple(job for job in self.view.jobs if job.ended_ms)
        over = JobView(f"{kind}-1", kind, "done", NOW_MS, ended_ms=now_ms, error=error,
                       message=message)  # fmt: skip
        self.change(jobs=(over, *ended))

    # --- what an engine is asked -----------------------------------------------------------

    def execute(self, command: BackupCommand) -> Outcome:
        """Commands that need no secret."""
        match command:
            case CreateBackup(type=kind):
                if self.view.off:
                    raise CommandRefusedError(self.view.off)
                return Outcome(f"Made a {kind} backup of 48 wallets.", 1)
            case RunDueBackups():
                return Outcome("1 copy was sent to s3.", 1)
            case VerifyBackup(id=key):
                if not self._of(key).chain:
                    raise CommandRefusedError(f"{key}: its parent is missing")
                return Outcome(f"{key} decrypts and checks.", 0)
            case DrillBackup(id=key):
                return Outcome(f"{key} restores; 132 addresses are equal.", 0)
            case PruneBackups(dry_run=dry_run):
                known = self.view.backups
                gone = [each for each in known if not each.chain]
                if not dry_run:
                    self.change(backups=tuple(each for each in known if each.chain))
                word = "would be" if dry_run else "were"
                details = tuple(
                    f"keep   {each.name} (daily)" if each.chain else f"delete {each.name}"
                    for each in known
                )
                return Outcome(f"{len(gone)} backups {word} deleted.", len(gone), details)
            case ReleaseSettlements():
                self.change(held=False)
                return Outcome("Settlements go on.", 1)

    def _of(self, key: str) -> BackupView:
        known = (*self.view.backups, *(b for found in self.elsewhere.values() for b in found))
        return next(each for each in known if each.id == key)

    def at(self, source: str) -> tuple[BackupView, ...]:
        """The backups at a place, newest first."""
        self.calls.append(f"look {source}")
        if source in self.elsewhere:
            return self.elsewhere[source]
        if source == "local":
            return self.view.backups
        if source == "s3":
            raise CommandRefusedError("s3: AccessDenied on ListBucket; check the credentials.")
        if source == NOT_A_BACKUP:
            raise CommandRefusedError(f"{source} is not a Bursar backup: it begins with '# No'.")
        raise CommandRefusedError(f"There is no destination, file or folder {source}.")

    def drill(self, backup: str, password: Secret) -> Outcome:
        """With the password the seed is proven too."""
        self.secrets.append(password)
        if password.reveal() != PASSWORD:
            raise CommandRefusedError("The password does not open this backup.")
        return Outcome(f"{backup} restores; the seed is proven.", 0)

    async def plan(self, request: RestoreRequest, password: Secret) -> RestorePlan:
        """Staged and proven, or refused."""
        self.calls.append("plan")
        self.requests.append(request)
        self.secrets.append(password)
        if self.gate is not None:
            await self.gate.wait()
        backup = self._of(request.backup)
        if not backup.chain:
            parent = identity(NOW_MS - 10 * DAY_MS)
            raise CommandRefusedError(
                f"Backup {backup.id} needs its parent {parent}, which is at no destination."
            )
        if password.reveal() != PASSWORD:
            raise CommandRefusedError(
                "Neither the password nor the recovery key opens this backup. Try again in 2 s."
            )
        self.staged[PLAN] = plan(backup, confirm=self.confirm)
        return self.staged[PLAN]

    def planned(self, key: str) -> RestorePlan:
        """The plan as it stands."""
        self.calls.append(f"planned {key}")
        if key not in self.staged:
            raise CommandRefusedError("That plan is gone; make the dry run again.")
        return self.staged[key]

    async def apply(self, key: str, typed: str, now_ms: Callable[[], int]) -> RestoreResult:
        """In force, or refused, or nobody knows."""
        self.calls.append(f"apply {typed}")
        if key not in self.staged or typed != self.confirm:
            raise CommandRefusedError("That is not what must be typed.")
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse_apply:
            staged = self.staged.pop(key)
            if self.changes_now:
                self.staged[key] = msgspec.structs.replace(staged, changes=self.changes_now)
            raise CommandRefusedError(self.refuse_apply)
        self.staged.clear()
        if self.lose_apply is not False:
            self.report = ReconciliationView(self.view.backups[0].id if self.view.backups else "",
                                             now_ms(), pending=96)  # fmt: skip
            self.view = msgspec.structs.replace(self.view, held=True, undo="gen-0001", off="",
                                                installation=INSTALLATION)  # fmt: skip
        self._restart()
        if self.lose_apply is not None:
            raise EngineLostError("the engine's socket was closed")
        safety = SAFETY if self.confirm else ""
        return RestoreResult("gen-0002", "gen-0001", safety, 48, "48 wallets are restored.")

    def discard(self, key: str) -> None:
        """Dropped, or not there."""
        self.calls.append(f"discard {key}")
        self.staged.pop(key, None)

    def undo(self, typed: str) -> RestoreResult:
        """Back to the generation before."""
        self.calls.append(f"undo {typed}")
        if typed != NAME or not self.view.undo:
            raise CommandRefusedError("That is not the installation's name.")
        self.view = msgspec.structs.replace(self.view, undo="", held=False)
        self._restart()
        return RestoreResult("gen-0001", "gen-0002", "", 48, "The state before is back.")

    def compare(self, matched: int, *, ended_ms: int = 0, found: int = 4) -> None:
        """The comparison with the chains goes on."""
        assert self.report is not None
        seen = rows()[:found]
        drifted = sum(row.state == "drift" for row in seen)
        self.report = msgspec.structs.replace(
            self.report,
            matched=matched,
            drifted=drifted,
            unknown=len(seen) - drifted,
            pending=96 - matched - len(seen) if not ended_ms else 0,
            ended_ms=ended_ms,
            rows=seen,
        )
