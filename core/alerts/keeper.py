"""AlertKeeper: open alerts as rows of the store, changed by observations and by operators.

Observations come in batches of what changed; each is decided against the alerts in memory, and
only crossings are written, each with its event in one transaction. After a restart the open rows
are read again, so a crossing that was told is not told twice. Operator actions are audited before
they are done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence

import msgspec

from core.alerts.kinds import KINDS
from core.alerts.rules import GONE, decide
from core.alerts.types import Action, AlertRefusedError, Fact, Observation, Rule
from core.api import AlertView
from core.clock import give_way
from core.events import (
    AlertAcknowledged,
    AlertClosed,
    AlertOpened,
    AlertSilenced,
    Bus,
    Event,
    EventRecord,
    Json,
    iso_utc,
)
from core.model import BursarError, Clock, Severity
from core.store.protocol import AlertRow, AlertStore
from core.telemetry.audit import AuditLog

log = logging.getLogger("bursar.alerts")

_STRIDE = 1_000  # observations decided between two turns of the loop, and alerts a transaction
_ROUNDS = 3  # times another writer may be faster
_LONGEST_MESSAGE = 500
_LONGEST_SILENCE_MS = 366 * 86_400_000  # for ever is a rule to be taken out, not a silence

Key = tuple[str, str]  # rule and subject
Change = tuple[AlertRow, Sequence[Event]]


class AlertKeeper:
    """`start` once, then `observe`. `decided` counts decisions taken, `revision` changes of what
    `open_alerts` answers."""

    def __init__(
        self,
        store: AlertStore,
        clock: Clock,
        rules: Iterable[Rule],
        audit: AuditLog,
        bus: Bus,
    ) -> None:
        self.decided = 0
        self.revision = 0
        self._store = store
        self._clock = clock
        self._audit = audit
        self._bus = bus
        self._rules = {rule.name: rule for rule in rules}
        self._by_fact: dict[type[Fact], list[Rule]] = {}
        for rule in self._rules.values():
            self._by_fact.setdefault(KINDS[rule.kind].fact, []).append(rule)
        self._open: dict[Key, AlertRow] = {}
        self._silenced: dict[Key, AlertRow] = {}  # closed, and their silence still ran
        self._last_id = 0
        self._owed: dict[str, Observation] = {}  # seen, and not written because the store failed
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Read the open alerts; those whose rule is configured no more close. Raises
        StoreError."""
        async with self._turn:
            await self._load()
            now_ms = self._clock.now_ms()
            orphans = [
                self._closing(row, "the rule is configured no more", now_ms)
                for row in self._open.values()
                if row.rule not in self._rules or self._rules[row.rule].kind != row.kind
            ]
            for start in range(0, len(orphans), _STRIDE):
                await self._write(orphans[start : start + _STRIDE])

    def open_alerts(self) -> tuple[AlertView, ...]:
        """Every open alert, oldest first."""
        rows = sorted(self._open.values(), key=lambda row: row.id)
        return tuple(view_of(row) for row in rows)

    # --- observations ----------------------------------------------------------------------

    async def observe(
        self, observations: Sequence[Observation], complete: Collection[str] = ()
    ) -> None:
        """Decide what changed; of several observations of one subject the last counts. `complete`
        are families of subjects ("endpoint", "chain", ...) of which the batch has all: an alert
        about one that it lacks closes. Raises StoreError; what could not be written is decided
        again with the next batch."""
        async with self._turn:
            due = {**self._owed, **{seen.subject: seen for seen in observations}}
            for row in self._open.values() if complete else ():
                family = row.subject.partition("/")[0]
                if family in complete and row.subject not in due:
                    due[row.subject] = Observation(row.subject, row.about, None)
            self._owed = {}
            for _ in range(_ROUNDS):
                due = await self._observe(due)
                if not due:
                    return
                await self._load()  # another writer was faster: decide on what stands now
            self._owed = due
            log.error("%d alerts are written by another process too", len(due))

    async def _observe(self, due: dict[str, Observation]) -> dict[str, Observation]:
        """Decide and write; answers those where another writer was faster."""
        todo = list(due.values())
        overtaken: dict[str, Observation] = {}
        for start in range(0, len(todo), _STRIDE):
            part = todo[start : start + _STRIDE]
            changes = [(seen, change) for seen in part for change in self._decide(seen)]
            if not changes:
                await give_way()
                continue
            try:
                written = await self._write([change for _, change in changes])
            except BaseException:
                self._owed = {seen.subject: seen for seen in todo[start:]} | overtaken
                raise
            for (seen, _), is_written in zip(changes, written, strict=True):
                if not is_written:
                    overtaken[seen.subject] = seen
        return overtaken

    def _decide(self, seen: Observation) -> list[Change]:
        now_ms = self._clock.now_ms()
        if seen.fact is None:
            found = (self._open.get((name, seen.subject)) for name in self._rules)
            return [self._closing(row, GONE.words, now_ms) for row in found if row is not None]
        changes = []
        for rule in self._by_fact.get(type(seen.fact), ()):
            alert = self._open.get((rule.name, seen.subject))
            decision = decide(rule, seen, alert)
            self.decided += 1
            if decision.action is Action.OPEN:
                changes.append(self._opening(rule, seen, decision.words, now_ms))
            elif decision.action is Action.CLOSE and alert is not None:
                changes.append(self._closing(alert, decision.words, now_ms))
        return changes

    def _opening(self, rule: Rule, seen: Observation, words: str, now_ms: int) -> Change:
        """A new alert; where its like was silenced and the silence still runs, it is silenced."""
        self._last_id += 1
        severity = KINDS[rule.kind].severity.value
        row = AlertRow(
            id=self._last_id,
            rule=rule.name,
            subject=seen.subject,
            version=1,
            kind=rule.kind.value,
            about=seen.about,
            severity=severity,
            message=words[:_LONGEST_MESSAGE],
            account=seen.account,
            opened_ms=now_ms,
        )
        before = self._silenced.get((rule.name, seen.subject))
        if before is not None and before.silenced_until_ms > now_ms:
            row = msgspec.structs.replace(
                row,
                silenced_until_ms=before.silenced_until_ms,
                silenced_by=before.silenced_by,
                silenced_reason=before.silenced_reason,
            )
        event = AlertOpened(
            timestamp=now_ms,
            alert_id=row.id,
            rule=row.rule,
            kind=row.kind,
            about=row.about,
            severity=severity,
            message=row.message,
            silenced_until=iso_utc(row.silenced_until_ms) if row.silenced_until_ms else "",
        )
        return row, (event,)

    def _closing(self, alert: AlertRow, words: str, now_ms: int) -> Change:
        row = _next(
            alert, closed_ms=max(now_ms, alert.opened_ms), closed_reason=words[:_LONGEST_MESSAGE]
        )
        event = AlertClosed(
            timestamp=now_ms,
            alert_id=row.id,
            rule=row.rule,
            kind=row.kind,
            about=row.about,
            reason=row.closed_reason,
            opened=iso_utc(row.opened_ms),
        )
        return row, (event,)

    # --- operators -------------------------------------------------------------------------

    async def acknowledge(self, alert_id: int, who: str, reason: str) -> AlertView:
        """An operator takes the alert on: it stays open and is loud no more. Raises
        AlertRefusedError, AuditError, StoreError."""
        async with self._turn:
            alert = self._find(alert_id, reason)
            if alert.acknowledged_ms:
                raise AlertRefusedError(
                    f"Alert {alert_id} was acknowledged by {alert.acknowledged_by} already."
                )
            now_ms = self._clock.now_ms()
            row = _next(
                alert, acknowledged_by=who, acknowledged_ms=now_ms, acknowledged_reason=reason
            )
            event = AlertAcknowledged(
                timestamp=now_ms,
                alert_id=row.id,
                rule=row.rule,
                about=row.about,
                operator=who,
                reason=reason,
            )
            return await self._act("alert.acknowledge", who, row, event, {"reason": reason})

    async def silence(
        self, alert_id: int, until_ms: int, reason: str, *, who: str = "operator"
    ) -> AlertView:
        """Silence the alert, and new ones of its rule and subject, until then; 0 ends a silence.
        Raises AlertRefusedError, AuditError, StoreError."""
        async with self._turn:
            alert = self._find(alert_id, reason)
            now_ms = self._clock.now_ms()
            if until_ms and until_ms <= now_ms:
                raise AlertRefusedError(f"Alert {alert_id} can be silenced for the future only.")
            if until_ms > now_ms + _LONGEST_SILENCE_MS:
                raise AlertRefusedError(
                    f"Alert {alert_id} can be silenced for a year at most; silence it again then."
                )
            if not until_ms and not alert.silenced_until_ms:
                raise AlertRefusedError(f"Alert {alert_id} is not silenced.")
            until = iso_utc(until_ms) if until_ms else ""
            row = _next(alert, silenced_until_ms=until_ms, silenced_by=who, silenced_reason=reason)
            event = AlertSilenced(
                timestamp=now_ms,
                alert_id=row.id,
                rule=row.rule,
                about=row.about,
                operator=who,
                until=until,
                reason=reason,
            )
            details: dict[str, Json] = {"until": until, "reason": reason}
            return await self._act("alert.silence", who, row, event, details)

    def _find(self, alert_id: int, reason: str) -> AlertRow:
        if not reason.strip():
            raise AlertRefusedError(f"Say why alert {alert_id} is changed: a reason is needed.")
        if len(reason) > _LONGEST_MESSAGE:
            raise AlertRefusedError(f"The reason is longer than {_LONGEST_MESSAGE} characters.")
        for row in self._open.values():
            if row.id == alert_id:
                return row
        raise AlertRefusedError(f"There is no open alert {alert_id}.")

    async def _act(
        self, action: str, who: str, row: AlertRow, event: Event, details: dict[str, Json]
    ) -> AlertView:
        """Audit first: an action that cannot be recorded is not done. One that was recorded and
        could not be done is recorded as such."""
        subject = f"alert {row.id} ({row.rule}: {row.about})"
        await self._audit.append(action, who, subject, details)
        try:
            (is_written,) = await self._write([(row, (event,))])
            if not is_written:
                await self._load()
                raise AlertRefusedError(f"Alert {row.id} has just changed; look at it again.")
        except BursarError as error:
            await self._audit.append(f"{action}.failed", who, subject, {"error": str(error)})
            raise
        return view_of(row)

    # --- the store -------------------------------------------------------------------------

    async def _load(self) -> None:
        standing = await self._store.alerts(self._clock.now_ms())
        self._open = {(row.rule, row.subject): row for row in standing.open}
        self._silenced = {(row.rule, row.subject): row for row in standing.silenced}
        self._last_id = standing.last_id
        self.revision += 1

    async def _write(self, changes: Sequence[Change]) -> list[bool]:
        """In one transaction; says which were written. Memory follows the disk."""
        answers = await self._store.change_alerts(changes)
        for (row, _), records in zip(changes, answers, strict=True):
            if records is not None:
                self._follow(row, records)
        return [records is not None for records in answers]

    def _follow(self, row: AlertRow, records: Sequence[EventRecord]) -> None:
        key = (row.rule, row.subject)
        self._silenced.pop(key, None)
        if not row.closed_ms:
            self._open[key] = row
        else:
            self._open.pop(key, None)
            if row.silenced_until_ms > row.closed_ms:
                self._silenced[key] = row
        self.revision += 1
        if records:
            self._bus.publish(records[-1].seq)


def view_of(row: AlertRow) -> AlertView:
    """A row as a desk shows it."""
    return AlertView(
        id=row.id,
        rule=row.rule,
        kind=row.kind,
        about=row.about,
        severity=Severity(row.severity),
        message=row.message,
        opened_ms=row.opened_ms,
        account=row.account,
        acknowledged_by=row.acknowledged_by,
        acknowledged_ms=row.acknowledged_ms,
        acknowledged_reason=row.acknowledged_reason,
        silenced_until_ms=row.silenced_until_ms,
        silenced_by=row.silenced_by,
        silenced_reason=row.silenced_reason,
    )


def _next(row: AlertRow, **changes: object) -> AlertRow:
    return msgspec.structs.replace(row, version=row.version + 1, **changes)
