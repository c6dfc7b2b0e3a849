"""The filter language of the fleet: `chain:base state:active bal<10 runway<1h -tag:test text`.

Pure: text in, a predicate over rows out, or an error that names its place. Terms are joined by
"and"; a value may list alternatives by comma and use `*`; `-` turns a term round; quotes keep
blanks together. A figure that is not known satisfies no comparison: unknown is never 0.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from typing import NamedTuple, Protocol

from core.model import BursarError, Severity, WalletState


class QueryError(BursarError):
    """A filter that cannot be understood. `position` is the offset of the offending term."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.position = position


class QueryRow(Protocol):
    """What a predicate may ask of a row. `search` is everything textual of it, lower-case.
    Durations are ms or s as named; amounts are base units."""

    @property
    def agent(self) -> str: ...
    @property
    def chain(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def contract(self) -> str | None: ...
    @property
    def address(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def state(self) -> WalletState: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def decimals(self) -> int: ...
    @property
    def amount(self) -> int | None: ...
    @property
    def change_1h(self) -> int | None: ...
    @property
    def change_24h(self) -> int | None: ...
    @property
    def runway_s(self) -> int | None: ...
    @property
    def checked_ms(self) -> int: ...
    @property
    def search(self) -> str: ...


Predicate = Callable[[QueryRow, int], bool]
"""A row and the present (ms since the epoch) to whether the row is shown."""


class Query(NamedTuple):
    """A parsed filter. `timely` says that its answer can change by time alone."""

    text: str
    matches: Predicate
    timely: bool = False

    def __bool__(self) -> bool:
        """False for the empty filter, which shows everything."""
        return bool(self.text)


WORD_FIELDS = ("agent", "chain", "asset", "state", "group", "tag", "severity", "address")
"""Fields compared as words: `field:value`."""

AMOUNT_FIELDS = ("bal", "change", "change24h")
"""Fields compared as amounts in the asset's own unit: `bal<10`, `change<0`."""

TIME_FIELDS = ("runway", "age")
"""Fields compared as spans: `runway<1h`, `age>2m30s`."""

_ALIASES = {"balance": "bal", "token": "asset", "symbol": "asset", "tags": "tag", "sev": "severity"}
TERM = re.compile(
    r"(?P<minus>-?)(?:(?P<field>[A-Za-z]\w*)(?P<op><=|>=|!=|<|>|=|:))?"
    r'(?:"(?P<quoted>[^"]*)(?P<closed>"?)|(?P<word>\S*))'
)
OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
}
NUMBER = re.compile(r"[+-]?(?:\d[\d,_]*(?:\.\d+)?|\.\d+)$")
_SPAN = re.compile(r"(\d+)(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SEVERITY_WORDS = {"ok": "ok", "warning": "warning", "warn": "warning", "problem": "problem"}
_FOREVER_MS = 1 << 62


def parse(text: str) -> Query:
    """The filter as a predicate. Raises QueryError with the place of what is wrong."""
    terms: list[Predicate] = []
    timely = False
    for match in matches_of(text):
        term = _term(match, match.start())
        terms.append(_negated(term) if match["minus"] else term)
        timely = timely or _field(match) == "age"
    return Query(" ".join(text.split()), _all(terms), timely)


def matches_of(text: str) -> Iterator[re.Match[str]]:
    """The filter's terms: groups `minus`, `field`, `op`, and `quoted` (`closed`) or `word`."""
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position >= len(text):
            return
        match = TERM.match(text, position)
        assert match is not None  # every part of the pattern may be empty
        yield match
        position = match.end()


def _term(match: re.Match[str], position: int) -> Predicate:
    if match["quoted"] is not None and not match["closed"]:
        raise QueryError("a quote is opened and never closed", position)
    value = match["quoted"] if match["quoted"] is not None else match["word"]
    field = _field(match)
    if not field:
        if match["quoted"] is None and value.lower() in ("!", "!problem", "!problems"):
            return lambda row, now: row.severity is not Severity.OK
        if not value:
            raise QueryError("a minus needs something behind it", position)
        needle = value.lower()
        return lambda row, now: needle in row.search
    sign = match["op"]
    if field in WORD_FIELDS:
        if sign not in (":", "=", "!="):
            raise QueryError(f"{field} is a word: write {field}:value, not {field}{sign}", position)
        word = _word_term(field, value, position)
        return _negated(word) if sign == "!=" else word
    if field in AMOUNT_FIELDS:
        return _amount_term(field, OPERATORS[sign], value, position)
    if field in TIME_FIELDS:
        return _time_term(field, OPERATORS[sign], value, position)
    known = ", ".join((*WORD_FIELDS, *AMOUNT_FIELDS, *TIME_FIELDS))
    raise QueryError(f"no field {match['field']!r}: there are {known}", position)


def _field(match: re.Match[str]) -> str:
    name = (match["field"] or "").lower()
    return _ALIASES.get(name, name)


def _word_term(field: str, value: str, position: int) -> Predicate:
    if not value:
        raise QueryError(f"{field}: needs a value behind it", position)
    words = [word for word in value.lower().split(",") if word]
    if field == "severity":
        unknown = [word for word in words if word not in _SEVERITY_WORDS]
        if unknown:
            raise QueryError(f"no severity {unknown[0]!r}: ok, warning or problem", position)
        wanted = {Severity(_SEVERITY_WORDS[word]) for word in words}
        return lambda row, now: row.severity in wanted
    if field == "state":
        states = {state for state in WalletState if matcher(words)(state.value.lower())}
        if not states:
            known = ", ".join(state.value.lower() for state in WalletState)
            raise QueryError(f"no state {value!r}: {known}", position)
        return lambda row, now: row.state in states
    same = matcher(words)
    if field == "agent":
        return lambda row, now: same(row.agent.lower())
    if field == "chain":
        return lambda row, now: same(row.chain.lower())
    if field == "group":
        return lambda row, now: same(row.group.lower())
    if field == "tag":
        return lambda row, now: any(same(tag.lower()) for tag in row.tags)
    if field == "address":
        return lambda row, now: same(row.address.lower())
    return lambda row, now: same(row.symbol.lower()) or same((row.contract or "").lower())


def matcher(words: Sequence[str]) -> Callable[[str], bool]:
    """Equality with any of the words; `*` stands for anything."""
    if not any("*" in word for word in words):
        return frozenset(words).__contains__
    literal = [word.replace("[", "[[]").replace("?", "[?]") for word in words]
    pattern = re.compile("|".join(translate(word) for word in literal))
    return lambda text: pattern.match(text) is not None


def _amount_term(
    field: str, compare: Callable[[int, int], bool], value: str, position: int
) -> Predicate:
    """Compares `a / 10^decimals` with `n / 10^scale` as integers, multiplied crosswise."""
    if not NUMBER.match(value):
        raise QueryError(f"{value!r} is no amount: write {field}<10 or {field}>=1.5", position)
    whole, _, fraction = re.sub("[,_]", "", value).partition(".")
    sign = -1 if whole.startswith("-") else 1
    numerator = sign * int(whole.lstrip("+-") + fraction)
    scale: int = 10 ** len(fraction)
    bounds: dict[int, int] = {}

    def holds(amount: int | None, decimals: int) -> bool:
        if amount is None:
            return False
        bound = bounds.get(decimals)
        if bound is None:
            bound = bounds[decimals] = numerator * 10**decimals
        return compare(amount * scale, bound)

    if field == "bal":
        return lambda row, now: holds(row.amount, row.decimals)
    if field == "change":
        return lambda row, now: holds(row.change_1h, row.decimals)
    return lambda row, now: holds(row.change_24h, row.decimals)


def _time_term(
    field: str, compare: Callable[[int, int], bool], value: str, position: int
) -> Predicate:
    span_ms = _span_ms(field, value, position)
    if field == "age":

        def age_holds(row: QueryRow, now: int) -> bool:
            checked = row.checked_ms
            return compare(now - checked if checked else _FOREVER_MS, span_ms)

        return age_holds

    def runway_holds(row: QueryRow, now: int) -> bool:
        if row.amount is None:
            return False
        seconds = row.runway_s
        return compare(_FOREVER_MS if seconds is None else seconds * 1000, span_ms)

    return runway_holds


def _span_ms(field: str, value: str, position: int) -> int:
    parts = _SPAN.findall(value.lower())
    if not parts or "".join(number + unit for number, unit in parts) != value.lower():
        raise QueryError(
            f"{value!r} is no span of time: write {field}<90s, {field}<1h30m or {field}>2d",
            position,
        )
    return sum(int(number) * _SECONDS[unit] for number, unit in parts) * 1000


def _negated(term: Predicate) -> Predicate:
    return lambda row, now: not term(row, now)


def _all(terms: Sequence[Predicate]) -> Predicate:
    if not terms:
        return lambda row, now: True
    if len(terms) == 1:
        return terms[0]
    both = tuple(terms)

    def holds(row: QueryRow, now: int) -> bool:
        for term in both:  # noqa: SIM110 - a plain loop is twice as fast as all() of a generator
            if not term(row, now):
                return False
        return True

    return holds
