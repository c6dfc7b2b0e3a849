"""At what level a pair has to settle: most specific setting first, absolute or as a share.

Pure. A share of the credit limit is resolved when it is looked up, so it follows the limit. A
threshold that the limit would never let a balance exceed is refused: it could not trigger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from core.accounting import NO_LIMIT, CreditLimits, Direction
from core.settlement.types import SettlementKey, ThresholdRefused

Level = int | str  # base units of the token, or a share such as "80%"

_SHARE = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?%")
_CLOSE = 20  # within a twentieth of the limit: 5 %


class Sides(StrEnum):
    """Which balances are held to their thresholds."""

    RECEIVABLE = "receivable"
    PAYABLE = "payable"
    BOTH = "both"

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions it stands for."""
        return tuple(Direction) if self is Sides.BOTH else (Direction(self.value),)


class Threshold(msgspec.Struct, frozen=True, gc=False):
    """The levels of one pair, base units: above `at` a settlement is due, it aims for
    `settle_to`, and at or below `rearm` the next crossing counts again. `source` says where
    `at` was set."""

    at: int
    rearm: int
    settle_to: int
    source: str


class Unmonitored(msgspec.Struct, frozen=True, gc=False):
    """Why a pair has no threshold, in words."""

    reason: str


class ThresholdRules(msgspec.Struct, frozen=True):
    """Thresholds as configured: `tokens[peer][token]`, else `peers[peer]`, else `default`; none
    of them means not monitored. `settle_to` and `rearm` are base units, or a share of the
    threshold; `rearm` is the threshold where it is None. Raises ThresholdRefused when made of
    values that are no levels."""

    default: Level | None = None
    peers: dict[str, Level] = {}
    tokens: dict[str, dict[str, Level]] = {}
    settle_to: Level = 0
    rearm: Level | None = None
    direction: Sides = Sides.RECEIVABLE

    def __post_init__(self) -> None:
        for peer, token, level in self.scopes():
            parse(level, scope_name(peer, token))
        parse(self.settle_to, "settle_to")
        if self.rearm is not None:
            parse(self.rearm, "rearm")

    def scopes(self) -> Iterable[tuple[str, str, Level]]:
        """Peer, token and level of every setting; "" is everybody, or every token."""
        if self.default is not None:
            yield "", "", self.default
        for peer, level in self.peers.items():
            yield peer, "", level
        for peer, tokens in self.tokens.items():
            for token, level in tokens.items():
                yield peer, token, level

    def level(self, peer: str, token: str) -> tuple[Level | None, str]:
        """The level that holds for a pair, and the name of its scope."""
        if token in self.tokens.get(peer, {}):
            return self.tokens[peer][token], scope_name(peer, token)
        if peer in self.peers:
            return self.peers[peer], scope_name(peer, "")
        return self.default, scope_name("", "")

    def with_level(self, peer: str, token: str, level: Level | None) -> ThresholdRules:
        """The same rules with one scope set, or with None taken away."""
        if not peer:
            return msgspec.structs.replace(self, default=level)
        if not token:
            return msgspec.structs.replace(self, peers=_with(self.peers, peer, level))
        own = _with(self.tokens.get(peer, {}), token, level)
        return msgspec.structs.replace(self, tokens={**self.tokens, peer: own})

    def resolve(self, key: SettlementKey, limits: CreditLimits) -> Threshold | Unmonitored:
        """The levels of a pair in one direction, or why it has none."""
        if key.direction not in self.direction.directions:
            return Unmonitored(f"{key.direction} balances are not monitored (direction)")
        level, source = self.level(key.peer, key.token)
        if level is None:
            return Unmonitored("no threshold is configured for the token, the peer or by default")
        at = parse(level, source)
        if isinstance(at, Share):
            if key.direction is Direction.PAYABLE:
                return Unmonitored(f"{source} is a share of a credit limit; payables have none")
            limit = limits.of(key.peer, key.token)
            if limit is None:
                return Unmonitored(f"{source} is {at} of a credit limit, and there is no limit")
            at = at.of(limit)
        rearm = at if self.rearm is None else _below(parse(self.rearm, "rearm"), at)
        return Threshold(at, rearm, _below(parse(self.settle_to, "settle_to"), at), source)

    def check(self, limits: CreditLimits) -> tuple[str, ...]:
        """Hold the rules to the credit limits. Answers warnings; raises ThresholdRefused."""
        warnings = []
        for peer, token in self._combinations(limits):
            level, source = self.level(peer, token)
            if level is None:
                continue
            at = parse(level, source)
            limit = limits.of(peer, token)
            if isinstance(at, Share):
                if self.direction is not Sides.RECEIVABLE:
                    raise ThresholdRefused(
                        f"{source} is {at} of a credit limit, but payables have no limit: give"
                        " base units, or direction = receivable."
                    )
                if limit is None:
                    raise ThresholdRefused(
                        f"{source} is {at} of a credit limit, but {_whom(peer, token)} has no"
                        " limit: give base units, or configure a limit."
                    )
                at = at.of(limit)
            self._check_below(at, source)
            if limit is not None and Direction.RECEIVABLE in self.direction.directions:
                if at > limit:
                    raise ThresholdRefused(
                        f"{source} is {at}, above the credit limit {limit} of"
                        f" {_whom(peer, token)}: packets would be refused before a settlement is"
                        " asked for. Lower it, or raise the limit."
                    )
                if at == limit or (limit - at) * _CLOSE < limit:
                    warnings.append(
                        f"{source} is {at}, closer than 5 % to the credit limit {limit} of"
                        f" {_whom(peer, token)}: packets may be refused before a settlement is"
                        " done."
                    )
        return tuple(dict.fromkeys(warnings))

    def _check_below(self, at: int, source: str) -> None:
        rearm = at
        if self.rearm is not None:
            rearm = _scaled(parse(self.rearm, "rearm"), at)
            if rearm > at:
                raise ThresholdRefused(
                    f"rearm is {rearm}, above {source}, which is {at}: it would arm a settlement"
                    " that is due. Give the threshold or less."
                )
        settle_to = _scaled(parse(self.settle_to, "settle_to"), at)
        if settle_to > rearm:
            raise ThresholdRefused(
                f"settle_to is {settle_to}, above {source if rearm == at else 'rearm'}, which is"
                f" {rearm}: a settlement would end where none can be armed again."
            )

    def _combinations(self, limits: CreditLimits) -> list[tuple[str, str]]:
        """Every combination of scopes that settings tell apart; "" stands for any other."""
        peers = {"", *self.peers, *self.tokens, *limits.peers, *limits.tokens}
        return [
            (peer, token)
            for peer in sorted(peers)
            for token in sorted({"", *self.tokens.get(peer, {}), *limits.tokens.get(peer, {})})
        ]


class Share(msgspec.Struct, frozen=True, gc=False):
    """A share in hundredths of a percent."""

    hundredths: int

    def of(self, whole: int) -> int:
        """That share of an amount, rounded down."""
        return whole * self.hundredths // 10_000

    def __str__(self) -> str:
        return f"{self.hundredths / 100:g}%"


def parse(level: Level, name: str) -> int | Share:
    """A level as configured. Raises ThresholdRefused."""
    if isinstance(level, str):
        found = _SHARE.fullmatch(level.strip())
        if found is not None:
            return Share(int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0")))
        if level.strip().isdecimal() and level.isascii():
            level = int(level)
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level < NO_LIMIT:
        raise ThresholdRefused(
            f"{level!r} cannot be {name}: give base units, 0 to 2^100 - 1, or a share such as"
            ' "80%".'
        )
    return level


def scope_name(peer: str, token: str) -> str:
    """What a threshold is called in messages."""
    if not peer:
        return "the default threshold"
    return f"the threshold of peer {peer}" + (f" in {token}" if token else "")


def _whom(peer: str, token: str) -> str:
    named = f"peer {peer}" if peer else "a peer not named"
    return f"{named} in {token}" if token else named


def _scaled(level: int | Share, whole: int) -> int:
    return level.of(whole) if isinstance(level, Share) else level


def _below(level: int | Share, at: int) -> int:
    """A level that follows a threshold down where that was lowered with its limit."""
    return min(_scaled(level, at), at)


def _with(levels: dict[str, Level], name: str, level: Level | None) -> dict[str, Level]:
    rest = {known: value for known, value in levels.items() if known != name}
    return rest if level is None else {**rest, name: level}
