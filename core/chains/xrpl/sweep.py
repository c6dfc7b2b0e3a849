"""What a reading asks of the ledger, and what has been answered of it so far.

A `Plan` turns requests into jobs once: one account_info per address, however many assets are
read there, and one walk over its trust lines. A `Sweep` fills in the answers at one ledger; it
survives the connection it began on, so that another one only asks for the rest. No I/O here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from core.chains.failures import EndpointError, FailureKind
from core.chains.xrpl.wire import (
    Line,
    Message,
    Reserves,
    account_info,
    account_lines,
    base_units,
    currency_code,
    server_error,
    words_of,
)
from core.model import BlockRef, BursarError, Request

NOT_ACTIVATED = "not activated"
NO_TRUST_LINE = "no trust line"
FROZEN = "frozen"

_ABSENT = -1  # in `Sweep.drops`: the account is not in the ledger
_ASK_AGAIN = 1  # how often a single account's error is asked again before it stands
_ALL_FAIL = 20  # errors without one answer: it is the server, not the accounts


class Issued(msgspec.Struct, frozen=True):
    """An issued balance wanted: where it goes, and which line it is."""

    index: int
    currency: str
    issuer: str
    decimals: int


class Walk(msgspec.Struct, frozen=True):
    """The trust lines of one account; `peer` narrows it where one issuer is enough."""

    account: int
    peer: bytes
    wanted: tuple[Issued, ...]


class Plan:
    """The jobs for a sequence of requests. Jobs below `len(infos)` are account_info by position
    in `infos`, those from there on are walks."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.start = 0  # the job to begin with: where a sweep that was put off stopped
        self.addresses: list[bytes] = []
        self.positions: dict[str, int] = {}
        self.infos: list[int] = []  # positions of addresses
        self.natives: list[tuple[int, int]] = []  # request index, position
        self.refused: dict[int, str] = {}
        self.walks: list[Walk] = []
        wanted: dict[int, list[Issued]] = {}
        asked: set[int] = set()
        for index, request in enumerate(requests):
            address = request.address
            # Anything else could not stand in a request as it is; a bad checksum is for the server.
            if not (address.isascii() and address.isalnum()):
                self.refused[index] = f"{address!r} is no XRPL address"
                continue
            position = self.positions.setdefault(address, len(self.addresses))
            if position == len(self.addresses):
                self.addresses.append(address.encode())
            asset = request.asset
            if asset.contract is None:
                self.natives.append((index, position))
                if position not in asked:
                    asked.add(position)
                    self.infos.append(position)
                continue
            if asset.contract == address:
                self.refused[index] = "an issuer holds nothing of its own currency"
                continue
            try:
                currency = currency_code(asset.symbol)
            except BursarError as error:
                self.refused[index] = str(error)
                continue
            issued = Issued(index, currency, asset.contract, asset.decimals)
            wanted.setdefault(position, []).append(issued)
        for position, lines in wanted.items():
            issuers = {line.issuer for line in lines}
            peer = next(iter(issuers)) if len(issuers) == 1 else ""
            self.walks.append(Walk(position, peer.encode(), tuple(lines)))

    @property
    def jobs(self) -> int:
        """How many there are."""
        return len(self.infos) + len(self.walks)

    def jobs_of(self, positions: Iterable[int]) -> list[int]:
        """The jobs that concern these addresses."""
        chosen = set(positions)
        first = len(self.infos)
        return [job for job, position in enumerate(self.infos) if position in chosen] + [
            first + number for number, walk in enumerate(self.walks) if walk.account in chosen
        ]


class Sweep:
    """The answers to a plan at one ledger, as far as they are in.

    `take` is called for every reply and may find that the server as a whole failed, or does not
    have the ledger; it then says so in `trouble` and the job stays to be done.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger: BlockRef | None = None
        self.reserves: Reserves | None = None
        self.trouble: EndpointError | None = None
        self.todo: deque[int] = deque()
        self.flying: set[int] = set()
        self.drops: list[int | None] = [None] * len(plan.addresses)
        self.owners: list[int] = [0] * len(plan.addresses)
        self.issued: dict[int, int] = {}
        self.marks: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        self.unmoved: frozenset[int] = frozenset()  # positions expected to hold what they held
        self.lost: dict[int, str] = {}  # position of an address: why it was not read
        self.answered = 0
        self._before: list[int | None] = []
        self._jobs: Sequence[int] = ()
        self._hash = b""
        self._hash_text = ""
        self._markers: dict[int, bytes] = {}
        self._tries: dict[int, int] = {}

    def begin(self, ledger: BlockRef, jobs: Sequence[int] | None = None) -> None:
        """Start at `ledger`, forgetting answers for another one; `jobs` if not all are needed."""
        self.ledger = ledger
        self._hash_text = ledger.hash
        self._hash = ledger.hash.encode()
        self.reserves = None
        self.trouble = None
        self._jobs = range(self.plan.jobs) if jobs is None else jobs
        self.todo = deque(self._jobs)
        if jobs is None:
            self.todo.rotate(-self.plan.start)
        self.flying.clear()
        self.reasons.clear()
        self.lost.clear()
        self.answered = 0
        self.unmoved = frozenset()
        self._markers.clear()
        self._tries.clear()

    def carry(self, known: Sweep) -> None:
        """Start from what an earlier sweep of the same plan found."""
        self.drops = known.drops.copy()
        self.owners = known.owners.copy()
        self.issued = known.issued.copy()
        self.marks = known.marks.copy()
        self._before = known.drops

    def moved(self, position: int) -> bool:
        """Whether an address holds other XRP than in the sweep this one started from."""
        return bool(self._before) and self._before[position] != self.drops[position]

    @property
    def finished(self) -> bool:
        """Whether every job was answered, well or with a lasting error."""
        return not self.todo and not self.flying

    def next_request(self, base: int) -> bytes:
        """Take the next job up; its request, with `base` + job as id."""
        job = self.todo.popleft()
        self.flying.add(job)
        plan = self.plan
        walk_number = job - len(plan.infos)
        if walk_number < 0:
            return account_info(base + job, plan.addresses[plan.infos[job]], self._hash)
        walk = plan.walks[walk_number]
        marker = self._markers.get(job, b"")
        return account_lines(
            base + job, plan.addresses[walk.account], self._hash, walk.peer, marker
        )

    def interrupted(self) -> None:
        """The connection is gone: what was under way is to be asked again. Pages of a walk
        already taken stay taken, because the marker belongs to the ledger."""
        self.trouble = None
        if self.answered:
            self.todo.extendleft(self.flying)
            self.flying.clear()
        elif self.ledger is not None:  # also what failed here alone: another server may know it
            self.begin(self.ledger, self._jobs)

    def abandon(self, reason: str) -> None:
        """Nobody can answer the rest: it is unknown, and why."""
        self.interrupted()
        self.put_off(reason)

    def put_off(self, reason: str) -> None:
        """Leave what was not asked yet to the next sweep of the plan, which begins there."""
        if self.todo:
            self.plan.start = self.todo[0]
        while self.todo:
            self._give_up(self.todo.popleft(), reason)

    def take(self, job: int, message: Message) -> None:
        """File the reply to a job. Raises EndpointError where it contradicts the question."""
        if job not in self.flying:
            return  # an answer to a question given up before
        self.flying.discard(job)
        result = message.result
        if message.error or result is None:
            self._refused(job, message)
            return
        if result.ledger_hash and result.ledger_hash != self._hash_text:
            words = f"asked for ledger {self._hash_text[:12]}…, told of {result.ledger_hash[:12]}…"
            raise EndpointError(FailureKind.INCONSISTENT, words)
        if job >= len(self.plan.infos):
            self._page(job, result.lines or [], bytes(result.marker))
            return
        root = result.account_data
        if root is None or not (root.balance.isascii() and root.balance.isdecimal()):
            self._failed(job, "account_info: no balance in the answer")
            return
        position = self.plan.infos[job]
        self.drops[position] = int(root.balance)
        self.owners[position] = root.owner_count
        self.answered += 1

    def _page(self, job: int, lines: list[Line], marker: bytes) -> None:
        walk = self.plan.walks[job - len(self.plan.infos)]
        if job not in self._markers:  # the first page: forget what an earlier reading had
            for wanted in walk.wanted:
                self.issued.pop(wanted.index, None)
                self.marks.pop(wanted.index, None)
        open_lines = 0
        for wanted in walk.wanted:
            if wanted.index in self.issued or wanted.index in self.reasons:
                continue
            for line in lines:
                if line.currency == wanted.currency and line.account == wanted.issuer:
                    try:
                        self.issued[wanted.index] = base_units(line.balance, wanted.decimals)
                    except BursarError as error:
                        self.reasons[wanted.index] = str(error)
                    if line.freeze_peer:
                        self.marks[wanted.index] = FROZEN
                    break
            else:
                open_lines += 1
        if open_lines and marker and marker != b"null":
            if self._markers.get(job) == marker:
                self._failed(job, "account_lines: the same page again")
                return
            self._markers[job] = marker
            self.todo.appendleft(job)
            return
        for wanted in walk.wanted:
            if wanted.index not in self.issued and wanted.index not in self.reasons:
                self.issued[wanted.index] = 0
                self.marks[wanted.index] = NO_TRUST_LINE
        self.answered += 1

    def _refused(self, job: int, message: Message) -> None:
        if message.error == "actNotFound":
            self.answered += 1
            walk_number = job - len(self.plan.infos)
            if walk_number < 0:
                self.drops[self.plan.infos[job]] = _ABSENT
                return
            for line in self.plan.walks[walk_number].wanted:
                self.issued[line.index] = 0
                self.marks[line.index] = NOT_ACTIVATED
            return
        trouble = server_error(message)
        if trouble is not None:
            self.todo.appendleft(job)
            self.trouble = self.trouble or trouble
            return
        self._failed(job, words_of(message) or "the answer holds no result")

    def _failed(self, job: int, reason: str) -> None:
        """An error about this account alone: ask once more, then let it stand."""
        tries = self._tries.get(job, 0)
        self._tries[job] = tries + 1
        if tries < _ASK_AGAIN:
            self._markers.pop(job, None)
            self.todo.append(job)
        else:
            self._give_up(job, reason)
        if not self.answered and (len(self._tries) >= _ALL_FAIL or self.finished):
            self.trouble = self.trouble or EndpointError(FailureKind.RPC, reason)

    def _give_up(self, job: int, reason: str) -> None:
        first = len(self.plan.infos)
        if job < first:
            self.lost[self.plan.infos[job]] = reason
            return
        for line in self.plan.walks[job - first].wanted:
            self.reasons[line.index] = reason

    def outcome(
        self,
    ) -> tuple[list[int | None], dict[int, str], dict[int, str], dict[int, int]]:
        """Amounts, reasons, marks and reserved drops in the order of the requests."""
        plan = self.plan
        amounts: list[int | None] = [None] * len(plan.requests)
        reasons = self.reasons | plan.refused
        marks = dict(self.marks)
        reserved: dict[int, int] = {}
        reserves = self.reserves
        for index, position in plan.natives:
            drops = self.drops[position]
            if drops is None or position in self.lost:
                reasons[index] = self.lost.get(position, "not read")
            elif drops == _ABSENT:
                amounts[index] = 0
                marks[index] = NOT_ACTIVATED
            else:
                amounts[index] = drops
                if reserves is not None:
                    held = reserves.base + self.owners[position] * reserves.increment
                    reserved[index] = min(drops, held)
        for index, amount in self.issued.items():
            if index not in reasons:
                amounts[index] = amount
        for index in reasons:
            marks.pop(index, None)
        return amounts, reasons, marks, reserved
