"""Backups as the desk arranges them: order, what is wrong, filter, pace of jobs, public form.

Pure. A backup needs somebody where its chain has a gap, or where a copy could not be made; the
pace of a job is measured by this desk's own clock, from the first time it saw the job's stage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from core.api import BackupsView, BackupView, CopyView, JobView, ReconciledView
from core.events import Json, iso_utc
from core.model import Severity
from tui.query import QueryError, matcher, matches_of

READ_BACK = "stored and read back"
UPLOADED = "uploaded, not read back"
SHORT_ID = 13
"""Digits of an id that are its millisecond: two backups of one installation never share it."""
PACED_AFTER_MS = 1_000
"""A job's pace is said once it was watched for this long."""

Predicate = Callable[[BackupView], bool]


class Copy(StrEnum):
    """How a copy stands at its destination."""

    READ_BACK = "read back"
    UPLOADED = "uploaded"
    PENDING = "pending"
    FAILED = "failed"


def copy_state(copy: CopyView) -> Copy:
    """A copy that is not there and has an error failed; it is tried again."""
    if copy.state == READ_BACK:
        return Copy.READ_BACK
    if copy.state == UPLOADED:
        return Copy.UPLOADED
    return Copy.FAILED if copy.error else Copy.PENDING


def severity(backup: BackupView) -> Severity:
    """A problem where it could not be restored from what is known; a warning where a copy is
    missing."""
    states = [copy_state(copy) for copy in backup.copies]
    if not backup.chain or (states and all(state is Copy.FAILED for state in states)):
        return Severity.PROBLEM
    return Severity.WARNING if Copy.FAILED in states else Severity.OK


def short(backup_id: str) -> str:
    """The first digits of an id: its millisecond."""
    return backup_id[:SHORT_ID]


def ordered(found: Iterable[BackupView]) -> list[BackupView]:
    """Newest first."""
    return sorted(found, key=lambda backup: (-backup.created_ms, backup.id))


# --- jobs ----------------------------------------------------------------------------------


def running(view: BackupsView | None, kind: str = "") -> JobView | None:
    """The job under way, of that kind if one is given."""
    jobs = view.jobs if view is not None else ()
    return next((job for job in jobs if not job.ended_ms and job.kind == (kind or job.kind)), None)


def is_failing(view: BackupsView) -> bool:
    """Whether the last backup that was tried came to nothing."""
    ended = [job for job in view.jobs if job.kind == "backup" and job.ended_ms]
    return bool(ended) and bool(max(ended, key=lambda job: job.started_ms).error)


class Pace(NamedTuple):
    """How fast a stage goes, in units a second, and the seconds it still takes."""

    rate: int
    left_s: int


class Paces:
    """Remembers when each running job's stage was first seen, and how far it was then."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], tuple[int, int]] = {}

    def saw(self, jobs: Sequence[JobView], now_ms: int) -> None:
        """Note what is under way; what is not any more is forgotten."""
        keys = {(job.id, job.stage): job.done for job in jobs if not job.ended_ms}
        self._first = {key: self._first.get(key, (now_ms, done)) for key, done in keys.items()}

    def of(self, job: JobView, now_ms: int) -> Pace | None:
        """The pace of a job's stage; None while it cannot be told."""
        at_ms, done = self._first.get((job.id, job.stage), (now_ms, job.done))
        elapsed_ms, more = now_ms - at_ms, job.done - done
        if elapsed_ms < PACED_AFTER_MS or more <= 0 or not job.total:
            return None
        left = max(0, job.total - job.done)
        return Pace(more * 1000 // elapsed_ms, -(-left * elapsed_ms // (more * 1000)))


# --- public form ---------------------------------------------------------------------------


def as_json(backup: BackupView) -> dict[str, Json]:
    """A backup in its public form: times UTC, what never was is null."""
    return {
        "id": backup.id,
        "name": backup.name,
        "type": backup.type,
        "createdAt": _moment(backup.created_ms),
        "size": backup.size,
        "wallets": backup.wallets,
        "parentId": backup.parent or None,
        "seedFingerprint": backup.seed_fingerprint or None,
        "chain": backup.chain,
        "durableAt": _moment(backup.durable_ms),
        "verifiedAt": _moment(backup.verified_ms),
        "drilledAt": _moment(backup.drilled_ms),
        "destinations": [
            {
                "name": copy.destination,
                "state": copy.state,
                "attempts": copy.attempts,
                "nextTryAt": _moment(copy.next_try_ms),
                "error": copy.error or None,
            }
            for copy in backup.copies
        ],
    }


def reconciled_json(row: ReconciledView) -> dict[str, Json]:
    """A balance that does not match after a restore, in its public form."""
    return {
        "agentId": row.agent,
        "chain": row.chain,
        "token": row.token,
        "decimals": row.decimals,
        "state": row.state,
        "expectedBalance": None if row.expected is None else str(int(row.expected)),
        "actualBalance": None if row.actual is None else str(int(row.actual)),
        "block": row.block or None,
        "reason": row.reason or None,
    }


def _moment(time_ms: int) -> str | None:
    return iso_utc(time_ms) if time_ms else None


# --- filter --------------------------------------------------------------------------------

TYPES = ("full", "incremental")
_FIELDS = ("type", "at", "id")
_WORDS: dict[str, Predicate] = {
    "failed": lambda backup: severity(backup) is not Severity.OK,
    "unverified": lambda backup: not backup.verified_ms,
    "undrilled": lambda backup: not backup.drilled_ms,
}


def parse(text: str) -> Predicate:
    """The filter as a predicate: all terms hold. `type:` `at:` (a destination that has it) `id:`
    with alternatives by comma, `failed`, `unverified`, `undrilled`, or any text. Raises
    QueryError."""
    terms = [_signed(match) for match in matches_of(text)]
    return lambda backup: all(term(backup) for term in terms)


def _signed(match: re.Match[str]) -> Predicate:
    term = _term(match)
    return (lambda backup: not term(backup)) if match["minus"] else term


def _term(match: re.Match[str]) -> Predicate:
    position = match.start()
    if match["quoted"] is not None and not match["closed"]:
        raise QueryError("a quote is opened and never closed", position)
    value = (match["quoted"] if match["quoted"] is not None else match["word"]).lower()
    field = (match["field"] or "").lower()
    if not field:
        if not value:
            raise QueryError("a minus needs something behind it", position)
        if match["quoted"] is None and value in _WORDS:
            return _WORDS[value]
        return lambda backup: value in f"{backup.id} {backup.name} {backup.type}".lower()
    if field not in _FIELDS:
        known = ", ".join(_FIELDS)
        raise QueryError(f"no field {match['field']!r}: there are {known}, failed", position)
    words = [word for word in value.split(",") if word]
    if match["op"] not in (":", "=", "!=") or not words:
        raise QueryError(f"{field} is a word: write {field}:value", position)
    term = _word(field, words)
    return (lambda backup: not term(backup)) if match["op"] == "!=" else term


def _word(field: str, words: list[str]) -> Predicate:
    same = matcher(words)
    if field == "type":
        return lambda backup: same(backup.type.lower())
    if field == "id":
        return lambda backup: any(backup.id.lower().startswith(word) for word in words)
    return lambda backup: any(
        same(copy.destination.lower())
        for copy in backup.copies
        if copy_state(copy) in (Copy.READ_BACK, Copy.UPLOADED)
    )
