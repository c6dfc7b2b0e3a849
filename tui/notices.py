"""What is worth a toast: troubles of a source, once each until it recovers, a few at a time.

Pure: records and states in, notices out. The events screen keeps everything; a toast only
calls the eyes there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from core.api import AlertView, LedgerView, StoreHealth, TrialView
from core.events import EventRecord, Json
from core.model import Severity
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
        self._alert_times: deque[int] = deque(maxlen=MOST)  # events do not take their place
        self._said: set[str] = set()

    def of_events(self, records: Iterable[EventRecord], now_ms: int) -> list[Notice]:
        """Notices for events that just came."""
        found = [self._of_event(record) for record in records]
        return [notice for notice in found if notice is not None and _paced(self._times, now_ms)]

    def of_alerts(self, opened: Sequence[AlertView], now_ms: int) -> list[Notice]:
        """Notices for alerts that just opened, the worst first: one each, one for all where they
        are many, none where a toast told the same already."""
        told = [alert for alert in opened if self._is_untold(alert)]
        found = [_of_many(told)] if len(told) > MOST else [_of_alert(alert) for alert in told]
        return [notice for notice in found if _paced(self._alert_times, now_ms)]

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

    def _is_untold(self, alert: AlertView) -> bool:
        """Whether no toast told the fact yet, and then take it for told: alert and event come
        in either order."""
        facts = _facts(alert)
        is_told = bool(facts) and facts[-1] in self._troubled
        self._troubled.update(facts)
        return not is_told

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
            self._troubled -= {source, f"{source} down"}
            return Notice(name, "live again")
        if state == "starting" or source in self._troubled:
            return None
        self._troubled |= {source, f"{source} down"} if state == "down" else {source}
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


def _paced(times: deque[int], now_ms: int) -> bool:
    if len(times) == MOST and now_ms - times[0] < WINDOW_MS:
        return False
    times.append(now_ms)
    return True


def _facts(alert: AlertView) -> tuple[str, ...]:
    """What the alert says in the names of `_troubled`, the most special last; nothing where no
    other toast could say it."""
    match alert.kind:
        case "chain-stale":
            return (f"chain {_short(alert.about)}",)
        case "chain-down":
            return f"chain {_short(alert.about)}", f"chain {_short(alert.about)} down"
        case "endpoint-down":
            return (f"endpoint {_short(alert.message.partition(' is ')[0])}",)
        case "trial-balance":
            return ("ledger not balanced",)
        case _:
            return ()


def _of_alert(alert: AlertView) -> Notice:
    title = f"{alert.severity.value}: {text.clip(text.safe(alert.rule), 40)}"
    return Notice(title, f"{_short(alert.about)}: {_short(alert.message)}", _level(alert.severity))


def _of_many(opened: Sequence[AlertView]) -> Notice:
    problems = sum(alert.severity is Severity.PROBLEM for alert in opened)
    warnings = len(opened) - problems
    counts = ((problems, "problem"), (warnings, "warning"))
    said = " and ".join(
        f"{text.count(count)} {word}{'s' if count != 1 else ''}" for count, word in counts if count
    )
    worst = Severity.PROBLEM if problems else Severity.WARNING
    return Notice(f"{text.count(len(opened))} alerts", f"{said}: see Events", _level(worst))


def _level(severity: Severity) -> Level:
    return "error" if severity is Severity.PROBLEM else "warning"


def _short(words: str) -> str:
    return text.clip(text.safe(words), 160)


def _words(record: EventRecord, field: str) -> str:
    found: Json = record.payload.get(field)
    return _short(str(found if found is not None else ""))
