"""What is worth a toast: troubles of a source, once each until it recovers, a few at a time.

Pure: records and states in, notices out. The events screen keeps everything; a toast only
calls the eyes there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from core.api import LedgerView, StoreHealth, TrialView
from core.events import EventRecord, Json
from tui import ledger_words, text
from tui.session import Link, Phase

MOST = 3
"""Toasts within `WINDOW_MS` at most; further ones are left to the list of events."""
WINDOW_MS = 10_000

Level = Literal["information", "warning", "error"]


class Notice(NamedTuple):
    """One toast, in printable words."""

    title: str
    words: str
    severity: Level = "information"


class Notices:
    """Decides which facts become toasts. Remembers which sources are in trouble."""

    def __init__(self) -> None:
        self._troubled: set[str] = set()
        self._times: deque[int] = deque(maxlen=MOST)
        self._said: set[str] = set()

    def of_events(self, records: Iterable[EventRecord], now_ms: int) -> list[Notice]:
        """Notices for events that just came."""
        found = [self._of_event(record) for record in records]
        return [notice for notice in found if notice is not None and self._paced(now_ms)]

    def of_link(self, before: Link, link: Link, restarting: str = "") -> list[Notice]:
        """Notices for a change of the connection; `restarting` says why it was to be lost."""
        if link.phase is Phase.LOST and before.phase is not Phase.LOST and restarting:
            return [Notice("", restarting)]
        if link.phase is Phase.LOST and before.phase is not Phase.LOST:
            return [
                Notice(
                    "engine lost",
                    f"{text.safe(link.reason)}. The last picture stays; trying again.",
                    "error",
                )
            ]
        if link.phase is Phase.LIVE and before.phase is Phase.LOST:
            return [Notice("", "the engine is back")]
        return []

    def of_store(self, store: StoreHealth | None) -> list[Notice]:
        """Notices for the store's health."""
        if store is None or not store.error:
            self._troubled.discard("store")
            return []
        if "store" in self._troubled:
            return []
        self._troubled.add("store")
        return [Notice("the store does not keep facts", text.safe(store.error), "error")]

    def of_ledger(self, ledger: LedgerView | None, trial: Sequence[TrialView]) -> list[Notice]:
        """Notices for a ledger that goes away, loses its balance, or is well again."""
        found = ledger_words.standing(ledger, trial)
        if ledger is None or found is None or found.said == "no snapshot":
            return []
        if not found.said:
            was_away = "ledger away" in self._troubled
            self._troubled -= {"ledger away", "ledger not balanced"}
            return [Notice("", "the ledger is back")] if was_away else []
        source = f"ledger {found.said}"
        if source in self._troubled:
            return []
        self._troubled.add(source)
        if found.said == "away":
            said = f"{text.clip(text.safe(ledger.reason), 160)}. Everything else goes on."
            return [Notice("the ledger is away", said, "error")]
        wrong = [view for view in trial if view.confirmed and not view.balanced]
        return [Notice("trial balance not zero", ledger_words.unbalanced(wrong[0]), "error")]

    def once(self, key: str, say: Callable[[], None]) -> None:
        """Call `say` the first time `key` is seen."""
        if key not in self._said:
            self._said.add(key)
            say()

    def _paced(self, now_ms: int) -> bool:
        if len(self._times) == MOST and now_ms - self._times[0] < WINDOW_MS:
            return False
        self._times.append(now_ms)
        return True

    def _of_event(self, record: EventRecord) -> Notice | None:
        if record.type == "CHAIN_STATE_CHANGED":
            return self._of_chain(record)
        if record.type == "ENDPOINT_STATE_CHANGED":
            return self._of_endpoint(record)
        return None

    def _of_chain(self, record: EventRecord) -> Notice | None:
        name, state = _words(record, "chain"), _words(record, "newState")
        source = f"chain {name}"
        if state == "live":
            if source not in self._troubled:
                return None
            self._troubled.discard(source)
            return Notice(name, "live again")
        if state == "starting" or source in self._troubled:
            return None
        self._troubled.add(source)
        level: Level = "error" if state == "down" else "warning"
        return Notice(f"{name} {state}", _words(record, "reason"), level)

    def _of_endpoint(self, record: EventRecord) -> Notice | None:
        where, state = _words(record, "endpoint"), _words(record, "newState")
        source = f"endpoint {where}"
        if state == "ready":
            self._troubled.discard(source)
            return None
        if state == "untried" or source in self._troubled:
            return None
        self._troubled.add(source)
        said = f"{where} {state}: {_words(record, 'reason')}"
        return Notice(f"{_words(record, 'chain')} endpoint", said, "warning")


def _words(record: EventRecord, field: str) -> str:
    found: Json = record.payload.get(field)
    return text.clip(text.safe(str(found if found is not None else "")), 160)
