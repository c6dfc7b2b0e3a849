"""One walk through a restore: from a place with backups to the comparison with the chains.

The wizard's screen draws what stands here and calls one method per step. Nothing is in force
before `apply`; a plan that is left behind, even one that is still being made, is dropped. An
engine that goes away while it applies is asked afterwards which state it came back on.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from core.api import (
    BackupView,
    EngineLostError,
    ReconciliationView,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
)
from core.model import BursarError, Secret
from tui.session import Phase, Session

ASK_AGAIN_S = 0.5
"""Between two looks whether a lost engine is back."""
LEDGERS = ("keep", "checkpoint")


class Step(IntEnum):
    """The six steps, in their order."""

    PICK = 1
    UNLOCK = 2
    DRY_RUN = 3
    CONFIRM = 4
    APPLY = 5
    RECONCILE = 6


class _Traces(NamedTuple):
    """What a restore that was applied changes, as this desk can see it."""

    undo: str
    reconciled: tuple[str, int]


class Restoring:
    """The walk. `told` is called after every change."""

    def __init__(self, session: Session, told: Callable[[], None]) -> None:
        self._session = session
        self._told = told
        self._looks = 0
        self._walks = 0
        self._left = False
        self._asking = False
        self._before = _Traces("", ("", 0))
        self.step = Step.PICK
        self.source = ""
        self.found: tuple[BackupView, ...] = ()
        self.backup: BackupView | None = None
        self.ledger = LEDGERS[0]
        self.plan: RestorePlan | None = None
        self.result: RestoreResult | None = None
        self.report: ReconciliationView | None = None
        self.busy = ""
        """What is waited for, in words."""
        self.error = ""
        """Why the step did not go on."""
        self.lost = False
        """The engine went away while it applied."""

    @property
    def is_held(self) -> bool:
        """Whether it cannot be left: a restore is being put in force."""
        return self.step is Step.APPLY and bool(self.busy) and not self.lost

    async def look(self, source: str) -> None:
        """List the backups at a place; the newest look counts."""
        self._looks += 1
        mine = self._looks
        self.source, self.found, self.error = source, (), ""
        self.busy = "looking for backups"
        self._told()
        found: tuple[BackupView, ...] = ()
        error = ""
        try:
            found = tuple(await self._session.api.backups_at(source))
        except BursarError as refusal:
            error = str(refusal)
        if mine == self._looks and self.step is Step.PICK:
            self.found, self.error, self.busy = found, error, ""
            self._told()

    def choose(self, backup: BackupView) -> None:
        """Take a backup: it is to be unlocked."""
        self.backup, self.error, self.busy = backup, "", ""
        self.step = Step.UNLOCK
        self._told()

    def change_ledger(self) -> None:
        """Keep the running ledger where it is whole, or take the backup's checkpoint."""
        self.ledger = LEDGERS[1 - LEDGERS.index(self.ledger)]
        self._told()

    async def make_plan(self, password: Secret) -> None:
        """Stage and prove the backup; nothing in use changes."""
        if self.backup is None or self.busy:
            return
        self.error, self.busy = "", "opening the backup"
        self._told()
        mine = self._walks
        request = RestoreRequest(self.source, self.backup.id, self.ledger)
        try:
            plan = await self._session.api.plan_restore(request, password)
        except BursarError as error:
            if mine == self._walks:
                self.busy, self.error = "", str(error)
                self._told()
            return
        if mine != self._walks:
            await self._drop(plan.id)
            return
        self.plan, self.step, self.busy = plan, Step.DRY_RUN, ""
        self._session.staged = plan.id
        self._told()

    def confirm(self) -> None:
        """The dry run was read: it is to be confirmed."""
        self.step, self.error = Step.CONFIRM, ""
        self._told()

    async def apply(self, typed: str) -> None:
        """Put the plan in force. Where that fails the old state is whole and in use."""
        plan = self.plan
        if plan is None or self.step is not Step.CONFIRM:
            return
        self.step, self.error, self.busy = Step.APPLY, "", "putting the restored state in force"
        self._session.restarting = "the engine starts again on the restored state"
        self._told()
        self._before = await self._traces()
        try:
            self.result = await self._session.api.apply_restore(plan.id, typed)
        except EngineLostError as error:
            if not await self._came_back_restored(str(error)):
                return
        except BursarError as error:
            self._session.restarting = ""
            self.plan = await self._as_it_stands(plan.id)
            self.error, self.busy = str(error), ""
            self._told()
            return
        self._session.staged = ""
        self.step, self.busy, self.plan = Step.RECONCILE, "", None
        await self.reconcile()

    async def reconcile(self) -> None:
        """Ask how far the comparison with the chains is; one question at a time."""
        if self._asking:
            return
        self._asking = True
        try:
            report = await self._session.api.reconciliation()
            # That of an earlier restore is none of this one's.
            self.report = None if _mark(report) == self._before.reconciled else report
            self.error = ""
        except EngineLostError:
            return  # it starts again; the link says so
        except BursarError as error:
            self.error = str(error)
        finally:
            self._asking = False
        self._told()

    def begin_again(self) -> None:
        """After a refusal: look at what would change now, where the plan still stands; else unlock
        once more for another dry run."""
        self.step = Step.UNLOCK if self.plan is None else Step.DRY_RUN
        self.error, self.busy, self.lost = "", "", False
        self._told()

    async def _as_it_stands(self, plan: str) -> RestorePlan | None:
        try:
            return await self._session.api.planned_restore(plan)
        except BursarError:  # gone, or with the engine: why it was refused is said already
            await self._drop(plan)
            return None

    async def back(self) -> bool:
        """To the choice of a backup, and from there out: then it answers True. What was planned
        is dropped, also a plan that is still being made; what is put in force is not left."""
        if self.is_held:
            return False
        self._walks += 1
        plan, is_over = self.plan, self.step in (Step.PICK, Step.RECONCILE) or self.lost
        self.plan, self.backup, self.busy, self.error = None, None, "", ""
        if plan is not None and not self.lost:
            await self._drop(plan.id)
        if is_over:
            self._left = True
        else:
            self.step = Step.PICK
            self._told()
        return is_over

    async def _drop(self, plan: str) -> None:
        if self._session.staged == plan:
            self._session.staged = ""
        try:
            await self._session.api.discard_restore(plan)
        except EngineLostError:
            return  # it took the plan along

    async def _traces(self) -> _Traces:
        view = self._session.backups
        try:
            report = await self._session.api.reconciliation()
        except BursarError:
            report = None  # it will say so again when the table is asked for
        return _Traces(view.undo if view is not None else "", _mark(report))

    async def _came_back_restored(self, reason: str) -> bool:
        """Wait for the engine, then tell by what it knows whether the restore was made."""
        self.lost, self.busy = True, f"{reason}; waiting for the engine to come back"
        self._told()
        while not self._left:
            await self._session.clock.sleep(ASK_AGAIN_S)
            if self._session.link.phase is not Phase.LIVE:
                continue
            self.lost = False
            if await self._traces() != self._before:
                return True
            self.error = f"{reason}. The engine is back on the state before: nothing was restored"
            self.busy, self.plan, self._session.staged = "", None, ""
            self._told()
            return False
        return False


def _mark(report: ReconciliationView | None) -> tuple[str, int]:
    return (report.backup, report.started_ms) if report is not None else ("", 0)
