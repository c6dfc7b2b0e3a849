"""The audit log: what operators did, in a chain of hashes that shows where it was touched.

One JSON object a line. Each line carries the hash of the one before and ends with its own:
SHA-256 over its bytes up to that point. So every byte is covered, and the first line that does
not fit can be named. Lines cut off the end leave no gap: who keeps the head (`AuditLog.head`)
elsewhere finds that too. The file is never rotated; one thread owns it, and a line is on disk
(fsync) before `append` returns.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from core.events import Json, iso_utc
from core.model import BursarError, Clock

log = logging.getLogger("bursar.telemetry")

FIRST_HASH = "0" * 64  # what the first line follows
_LINE = re.compile(
    rb'(\{"number":([1-9][0-9]*),.*,"previous":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}'
)
_TAIL_STEP = 64 * 1024


class AuditError(BursarError):
    """The audit log cannot be written or read; what was to be recorded must not be done."""


class AuditHead(msgspec.Struct, frozen=True):
    """The last line: its number (from 1; 0 in an empty log) and its hash."""

    number: int = 0
    hash: str = FIRST_HASH


class AuditCheck(msgspec.Struct, frozen=True):
    """What verifying found: `head` is the last line that holds, `broken_line` the number of the
    first line of the file that does not (None: all hold), and `reason` why."""

    head: AuditHead
    broken_line: int | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Every line holds."""
        return self.broken_line is None


class AuditLog:
    """Appends operator actions to `path` (0600, created when first needed)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._head: AuditHead | None = None
        self._fd = -1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._turn = threading.Lock()  # `head` is read outside the thread

    @property
    def head(self) -> AuditHead | None:
        """The last line, None before the log was opened."""
        with self._turn:
            return self._head

    async def append(
        self, action: str, actor: str, subject: str, details: Mapping[str, Json] | None = None
    ) -> AuditHead:
        """Record an action; on disk when this returns. Raises AuditError, and then the log is as
        it was. Where the caller is cancelled it may be recorded or not."""
        fields: dict[str, Json] = {
            "timestamp": iso_utc(self._clock.now_ms()),
            "action": action,
            "actor": actor,
            "subject": subject,
            "details": dict(details or {}),
        }
        return await asyncio.wrap_future(self._thread.submit(self._append, fields))

    async def close(self) -> None:
        """Wait for what is being written, and close the file."""
        await asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown(wait=False)

    # --- in the thread ---------------------------------------------------------------------

    def _append(self, fields: Mapping[str, Json]) -> AuditHead:
        try:
            if self._fd < 0:
                self._open()
            head = self._head or AuditHead()
            line, following = encode_line(head, fields)
            self._write(line)
        except OSError as error:
            self._close()
            raise AuditError(
                f"{self.path}: the action cannot be recorded and was not done: {error}"
            ) from error
        with self._turn:
            self._head = following
        return following

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        is_new = not self.path.exists()
        self._fd = os.open(self.path, flags, 0o600)
        os.fchmod(self._fd, 0o600)
        if is_new:
            _sync_directory(self.path.parent)
        last, torn = _last_line(self._fd)
        if torn:
            self._set_aside(torn)
        head = AuditHead()
        if last:
            found = _LINE.fullmatch(last)
            if found is None or not _own_hash_holds(found):
                self._close()
                raise AuditError(
                    f"{self.path}: the last line was touched, so nothing is added to it; run"
                    " `bursar audit verify`, keep the file as evidence and move it away"
                )
            head = AuditHead(int(found[2]), found[4].decode())
        with self._turn:
            self._head = head

    def _set_aside(self, torn: bytes) -> None:
        """Move what stands after the last whole line to another file. A crash leaves such a piece
        of an action that was never done; a hand may leave one too, so it is not thrown away."""
        aside = self.path.with_name(f"{self.path.name}.torn")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(aside, flags, 0o600)
        try:
            os.write(fd, torn + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        os.ftruncate(self._fd, os.fstat(self._fd).st_size - len(torn))
        os.fsync(self._fd)
        log.warning("%s: an unfinished last line was moved to %s", self.path, aside)

    def _write(self, line: bytes) -> None:
        """Whole and on disk, or not at all."""
        size = os.fstat(self._fd).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._fd, memoryview(line)[written:])
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def encode_line(head: AuditHead, fields: Mapping[str, Json]) -> tuple[bytes, AuditHead]:
    """The line (with its end) that follows `head`, and the head it makes."""
    number = head.number + 1
    body = msgspec.json.encode({"number": number, **fields, "previous": head.hash})[:-1]
    own = hashlib.sha256(body).hexdigest()
    return body + b',"hash":"' + own.encode() + b'"}\n', AuditHead(number, own)


def verify(path: Path, expected: AuditHead | None = None) -> AuditCheck:
    """Read the whole log and name the first line that does not hold. `expected` is a head noted
    earlier: a log that does not contain it was cut off or written anew. A log that does not exist
    is an empty one. Raises AuditError where the file cannot be read."""
    head = AuditHead()
    met = expected is None or expected.number == 0
    try:
        with path.open("rb") as file:
            for place, line in enumerate(file, start=1):
                reason, head = _follow(head, line)
                if reason:
                    return AuditCheck(head, place, reason)
                met = met or head == expected
    except FileNotFoundError:
        pass
    except OSError as error:
        raise AuditError(f"{path}: cannot be read: {error}") from error
    if not met and expected is not None:
        number = min(expected.number, head.number + 1)
        return AuditCheck(head, number, f"line {expected.number} is not the one noted earlier")
    return AuditCheck(head)


def _follow(head: AuditHead, line: bytes) -> tuple[str, AuditHead]:
    """Why `line` cannot follow `head` ("" if it does), and the head that then stands."""
    if not line.endswith(b"\n"):
        return "it does not end", head
    found = _LINE.fullmatch(line[:-1])
    if found is None:
        return "it is no line of an audit log", head
    if not _own_hash_holds(found):
        return "it was changed: its hash does not fit", head
    if int(found[2]) != head.number + 1:
        return f"it is numbered {int(found[2])} and follows {head.number}", head
    if found[3].decode() != head.hash:
        return "it does not follow the line before: that one was changed or taken out", head
    return "", AuditHead(head.number + 1, found[4].decode())


def _own_hash_holds(found: re.Match[bytes]) -> bool:
    return hashlib.sha256(found[1]).hexdigest().encode() == found[4]


def _last_line(fd: int) -> tuple[bytes, bytes]:
    """The last whole line without its end, and what stands after it."""
    start, tail = os.fstat(fd).st_size, b""
    while start > 0 and tail.count(b"\n") < 2:
        step = min(_TAIL_STEP, start)
        start -= step
        tail = os.pread(fd, step, start) + tail
    whole, newline, torn = tail.rpartition(b"\n")
    return (whole.rpartition(b"\n")[2] if newline else b""), torn


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
