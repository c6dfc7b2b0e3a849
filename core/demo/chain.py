"""One simulated chain: blocks that follow from the clock, balances that follow from the block.

A `SimulatedChain` for the servers. A block's number gives its second, the second every
account's tick (see `patterns`); all that is kept are small memories of what was computed last.
Who has which pattern is given from outside (`world`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from hashlib import sha256
from typing import Final, NamedTuple

from core.chains.base58 import tron_address, xrpl_address
from core.demo.cast import ASSETS, NOT_ACTIVATED, ChainPlan, WorldAsset
from core.demo.incidents import ROUND_S, SCHEDULE, Reorganisation, TokenFault
from core.demo.patterns import Moment, Pattern, mix, moment_at
from core.model import BlockRef, ChainKind, Clock

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS


def account_hash(seed: int, chain: str, agent: int) -> bytes:
    """Twenty bytes that only this agent on this chain of this world has."""
    return sha256(f"bursar demo {seed} {chain} {agent}".encode()).digest()[:20]


class Point(NamedTuple):
    """A balance as it stood at a block of the past."""

    time_ms: int
    block: int
    amount: int


class _Slot:
    """An account's pattern with the last tick that was asked for."""

    __slots__ = ("amount", "pattern", "tick")

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.tick: int | None = None
        self.amount = 0

    def at(self, moment: Moment) -> int:
        tick = self.pattern.tick(moment)
        if tick != self.tick:
            self.amount = self.pattern.amount(tick)
            self.tick = tick
        return self.amount


class _Block(NamedTuple):
    """What of a block matters to balances: its moment, tokens that revert, and (for a block
    that will be given up) when that is and which reorganisation."""

    moment: Moment
    reverting: frozenset[str | None]
    given_up_ms: int
    fork: Reorganisation | None


class WorldChain:
    """One chain of the world: a `SimulatedChain`."""

    _REMEMBERED: Final = 4096  # blocks found by hash; about an hour and more

    def __init__(
        self,
        plan: ChainPlan,
        *,
        seed: int,
        size: int,
        start_ms: int,
        clock: Clock,
        pattern: Callable[[int, WorldAsset], Pattern],
    ) -> None:
        self.plan = plan
        self._seed = seed
        self._size = size
        self._start_ms = start_ms
        self._clock = clock
        self._pattern = pattern
        self.assets = tuple(a for a in ASSETS if a.chain == plan.name)
        self._by_contract = {self._key(a.contract): a for a in self.assets}
        self._contracts = frozenset(c for c in self._by_contract if c is not None)
        self._slots: dict[str | None, list[_Slot | None]] = {
            contract: [None] * self._size for contract in self._by_contract
        }
        self._blocks: dict[int, _Block] = {}
        self._hashes: dict[str, int] = {}

    # blocks

    @property
    def chain_id(self) -> int:
        """EIP-155 id; the network id on XRPL."""
        return self.plan.chain_id

    def block_at(self, time_ms: int) -> int:
        """The number of the newest block at that time."""
        plan = self.plan
        return plan.first + (time_ms // 1000 - plan.genesis_s) // plan.block_s

    def second_of(self, number: int) -> int:
        """When a block was made, seconds since the epoch."""
        return self.plan.genesis_s + (number - self.plan.first) * self.plan.block_s

    def head(self) -> BlockRef:
        """The newest block on the world's clock."""
        now_ms = self._clock.now_ms()
        return self._ref(self.block_at(now_ms), now_ms)

    def block(self, number: int) -> BlockRef | None:
        """A block of the present history; None in the future and before the first."""
        now_ms = self._clock.now_ms()
        if not self.plan.first <= number <= self.block_at(now_ms):
            return None
        return self._ref(number, now_ms)

    def block_by_hash(self, block_hash: str) -> BlockRef | None:
        """The same by hash: the last few thousand blocks, and none that was given up."""
        wanted = self._spelt(block_hash)
        number = self._hashes.get(wanted)
        if number is None:
            head = self.block_at(self._clock.now_ms())
            for candidate in range(head, max(self.plan.first, head - self._REMEMBERED), -1):
                self.block(candidate)
            number = self._hashes.get(wanted)
        ref = None if number is None else self.block(number)
        return ref if ref is not None and ref.hash == wanted else None

    def _ref(self, number: int, now_ms: int) -> BlockRef:
        own, parent = self._hash(number, now_ms), self._hash(number - 1, now_ms)
        if len(self._hashes) > 4 * self._REMEMBERED:
            self._hashes.clear()
        self._hashes[own] = number
        return BlockRef(number, own, self.second_of(number) * 1000, parent)

    def _hash(self, number: int, now_ms: int) -> str:
        branch = "fork" if now_ms < self._facts(number).given_up_ms else ""
        text = f"{self._seed} {self.plan.name} {number} {branch}"
        digest = sha256(text.encode()).hexdigest()
        if self.plan.kind is ChainKind.TRON:  # whose block ids begin with the number
            digest = f"{number:016x}{digest[16:]}"
        return self._spelt(digest)

    def _spelt(self, block_hash: str) -> str:
        if self.plan.kind is ChainKind.XRPL:
            return block_hash.upper()
        return "0x" + block_hash.lower().removeprefix("0x")

    def _facts(self, number: int) -> _Block:
        facts = self._blocks.get(number)
        if facts is None:
            if len(self._blocks) > 256:
                self._blocks.clear()
            facts = self._blocks[number] = self._find_facts(number)
        return facts

    def _find_facts(self, number: int) -> _Block:
        second = self.second_of(number)
        since = second - self._start_ms // 1000
        reverting: set[str | None] = set()
        given_up_ms, fork = 0, None
        for incident in SCHEDULE if since >= 0 else ():
            in_round = since % ROUND_S
            if incident.chain != self.plan.name or not incident.begin <= in_round < incident.end:
                continue
            if isinstance(incident, TokenFault):
                reverting |= {
                    self._key(a.contract) for a in self.assets if a.symbol == incident.symbol
                }
            elif isinstance(incident, Reorganisation):
                given_up_ms, fork = (second - in_round + incident.end) * 1000, incident
        return _Block(moment_at(second), frozenset(reverting), given_up_ms, fork)

    # balances

    def balance(self, address: str, contract: str | None, number: int) -> int | None:
        """Base units at a block. None: no such token, a token that reverts just then, or an
        XRPL account that nobody activated. Strangers on EVM and TRON have nothing."""
        facts = self._blocks.get(number) or self._facts(number)
        contract = self._key(contract)
        slots = self._slots.get(contract)
        if slots is None or contract in facts.reverting:
            return None
        agent = self._numbers.get(self._key(address))
        if agent is None:
            return None if self.plan.kind is ChainKind.XRPL else 0
        slot = slots[agent]
        if slot is None:
            slot = slots[agent] = _Slot(self._pattern(agent, self._by_contract[contract]))
        amount = slot.at(facts.moment)
        fork = facts.fork
        if (
            fork is not None
            and agent % fork.every == 0
            and self._by_contract[contract].symbol == fork.symbol
            and self._clock.now_ms() < facts.given_up_ms
        ):
            amount += fork.payment
        return amount

    def owner_count(self, address: str, number: int) -> int:
        """XRPL: ledger objects the account owns (trust lines, offers); 0 elsewhere."""
        agent = self._numbers.get(self._key(address))
        if agent is None or self.plan.kind is not ChainKind.XRPL:
            return 0
        return mix(self._seed, agent) % 4

    def is_contract(self, address: str) -> bool:
        """Whether the address is one of this chain's tokens."""
        return self._key(address) in self._contracts

    def past(self, agent: int, asset: WorldAsset, grid: Grid) -> list[Point]:
        """The account's balance at the grid's blocks, equal neighbours left out."""
        if self.plan.kind is ChainKind.XRPL and agent == NOT_ACTIVATED:
            return []
        slot = _Slot(self._pattern(agent, asset))
        points: list[Point] = []
        last = -1
        for time_ms, number, moment in grid:
            amount = slot.at(moment)
            if amount != last:
                points.append(Point(time_ms, number, amount))
                last = amount
        return points

    def grid(self, since_ms: int, until_ms: int, points: int = 60) -> Grid:
        """Blocks to sample a past at: dense in the last hour, sparse beyond a week."""
        numbers = sorted({self.block_at(at) for at in sample_times(since_ms, until_ms, points)})
        seconds = ((self.second_of(n), n) for n in numbers)
        return [(second * 1000, n, moment_at(second)) for second, n in seconds]

    # addresses

    def written(self, agent: int) -> str:
        """An agent's address as people of this chain write it (checksummed)."""
        account = account_hash(self._seed, self.plan.name, agent)
        if self.plan.kind is ChainKind.XRPL:
            return xrpl_address(account)
        if self.plan.kind is ChainKind.TRON:
            return tron_address(account)
        from core.chains.evm.address import checksum  # a server only compares: no Keccak there

        return checksum("0x" + account.hex())

    @cached_property
    def _numbers(self) -> dict[str | None, int]:
        """Agents by address; XRPL's without the account that was never activated."""
        plan = self.plan
        if plan.kind is ChainKind.EVM:
            return {
                "0x" + account_hash(self._seed, plan.name, n).hex(): n for n in range(self._size)
            }
        numbers: dict[str | None, int] = {self.written(n): n for n in range(self._size)}
        if plan.kind is ChainKind.XRPL and self._size > NOT_ACTIVATED:
            del numbers[self.written(NOT_ACTIVATED)]
        return numbers

    def _key(self, address: str | None) -> str | None:
        """An address in the one spelling that look-ups use."""
        if address is None or self.plan.kind is not ChainKind.EVM:
            return address
        return address.lower()


Grid = list[tuple[int, int, Moment]]

# Shares of a past's points by age: (younger than, hundredths of the points).
_DENSITY: Final = ((HOUR_MS, 18), (DAY_MS, 22), (7 * DAY_MS, 30), (30 * DAY_MS, 30))


def sample_times(since_ms: int, until_ms: int, points: int = 60) -> Iterator[int]:
    """Times of a past in `since_ms` to `until_ms`, newest first, at most about `points` over 30
    days. The newest lies a little before `until_ms`, where live readings begin."""
    youngest = 0
    for oldest, share in _DENSITY:
        count = max(1, points * share // 100)
        for step in range(count):
            at = until_ms - youngest - (oldest - youngest) * (step + 1) // count
            if at >= since_ms:
                yield at
        youngest = oldest
