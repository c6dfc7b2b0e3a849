"""The log: one JSON object a line, rotated, readable by its owner only, free of secrets.

stdlib logging with a queue in front of the file, so that no record is ever written on the event
loop. Secrets are kept out by type: a `Secret` prints as a mask wherever it ends up. Tracebacks
carry source lines and never the values of variables.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
import traceback
from pathlib import Path
from types import TracebackType

import msgspec

from core.events import Json, iso_utc
from core.telemetry.rotation import RotatedFile

FIELDS = ("component", "agent", "chain", "endpoint", "duration_ms")
_MAX_QUEUED = 10_000


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, the known fields that were given
    as `extra`, and for an exception its kind, message and stack."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; line ends inside a message are escaped by JSON."""
        line: dict[str, Json] = {
            "timestamp": iso_utc(int(record.created * 1000)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line["component"] = record.name.removeprefix("bursar.")
        for field in FIELDS:
            value = getattr(record, field, None)
            if value is not None:
                line[field] = value if isinstance(value, int | float) else str(value)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1])
        return msgspec.json.encode(line).decode()


def _exception(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error, capture_locals=False)
    return "".join(told.format())


class _FileHandler(logging.Handler):
    """Runs in the listener's thread. A disk that fails is told once on standard error."""

    def __init__(self, file: RotatedFile) -> None:
        super().__init__()
        self._file = file
        self._failing = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.append(self.format(record).encode() + b"\n")
            self._failing = False
        except OSError as error:
            self._file.close()
            if not self._failing:
                self._failing = True
                print(
                    f"bursar: {self._file.path}: the log is not written: {error}", file=sys.stderr
                )

    def close(self) -> None:
        self._file.close()
        super().close()


class _QueueHandler(logging.handlers.QueueHandler):
    """Passes records on without waiting; counts those that find the queue full."""

    def __init__(self, records: queue.Queue[object]) -> None:
        super().__init__(records)
        self.lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # The message is put together here: its arguments may change before the thread gets it.
        record.msg, record.args = record.getMessage(), None
        return record

    def handleError(self, record: logging.LogRecord) -> None:
        self.lost += 1


class LogFile:
    """Logging of this process into a file, from entering to leaving the context."""

    def __init__(
        self,
        path: Path,
        *,
        level: str = "info",
        rotate_bytes: int = 64 * 1024 * 1024,
        keep_files: int = 5,
    ) -> None:
        """`level` is debug, info, warning or error. Raises ValueError for another word."""
        levels = logging.getLevelNamesMapping()
        if level.upper() not in levels:
            raise ValueError(f"{level!r} is no log level; use debug, info, warning or error")
        self._level = levels[level.upper()]
        handler = _FileHandler(RotatedFile(path, rotate_bytes=rotate_bytes, keep_files=keep_files))
        handler.setFormatter(JsonFormatter())
        self._file_handler = handler
        records: queue.Queue[object] = queue.Queue(_MAX_QUEUED)
        self._queue_handler = _QueueHandler(records)
        self._listener = logging.handlers.QueueListener(records, handler)
        self._logger = logging.getLogger("bursar")
        self._before = (self._logger.level, self._logger.propagate)

    def __enter__(self) -> LogFile:
        self._before = (self._logger.level, self._logger.propagate)
        self._listener.start()
        self._logger.setLevel(self._level)
        self._logger.propagate = False  # never onto a terminal that a desk draws on
        self._logger.addHandler(self._queue_handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._logger.removeHandler(self._queue_handler)
        level, self._logger.propagate = self._before
        self._logger.setLevel(level)
        self._listener.stop()
        self._file_handler.close()

    @property
    def lost(self) -> int:
        """Records dropped because the disk was slower than the log."""
        return self._queue_handler.lost
