"""One reading on one endpoint: slices sent a few at a time, split where refused, failed reads
explained one by one.

Everything here is for one block; which block, and what comes after a failed endpoint, is the
reader's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from core.chains.evm.ladder import check
from core.chains.evm.node import EvmNode, hex_bytes
from core.chains.evm.plan import Group, Plan
from core.chains.evm.rungs import SINGLE_GAS, Answer, Rung, Slice, balance_call
from core.chains.evm.scanner import (
    BURNT,
    GAS_CAP,
    NO_CONTRACT,
    REVERTED,
    SHORT,
    SKIPPED,
    WORD,
    BlockWords,
    encode_call,
    status_words,
)
from core.chains.failures import EndpointError, FailureKind, Remedy
from core.model import BlockRef

SINGLES_PER_TOKEN = 8  # re-reads per token and cycle; if one of them succeeds, all are re-read
SINGLES_OF_A_BURNER = 2
SINGLES_IN_FLIGHT = 8

_Marked = tuple[int, bytes, bytes, int]  # request, wallet, token, status


class Sweep:
    """Reads a plan at a block through a rung. After `run`, `failed` says which requests have no
    value and why, `found` holds values that only a single read gave."""

    def __init__(
        self, node: EvmNode, rung: Rung, plan: Plan, block: BlockRef, chain_id: int | None
    ) -> None:
        self.node = node
        self.rung = rung
        self.plan = plan
        self.block = block
        self.chain_id = chain_id
        self.seen: set[BlockWords] = set()
        self.calls = 0
        self.failed: dict[int, str] = {}
        self.found: dict[int, int] = {}
        self._marked: list[_Marked] = []
        self._chunk = node.endpoint.chunk(rung.name, rung.start, rung.ceiling)
        self._at = node.at(block)
        self._gate = asyncio.Semaphore(rung.in_flight)
        self._codeless: set[bytes] = set()

    async def run(self) -> None:
        """Read everything. Raises EndpointError if a slice could not be read."""
        async with asyncio.TaskGroup() as tasks:
            for group in self.plan.groups:
                self._launch(tasks, group, 0, len(group.wallets))
        await self._explain()

    def _launch(self, tasks: asyncio.TaskGroup, group: Group, start: int, stop: int) -> None:
        """Start slices of equal size, none larger than the chunk learnt so far."""
        fits = max(1, self._chunk.size // group.width)
        pieces = -(-(stop - start) // fits)
        size = -(-(stop - start) // pieces)
        for first in range(start, stop, size):
            tasks.create_task(self._piece(tasks, group, first, min(first + size, stop)))

    async def _piece(self, tasks: asyncio.TaskGroup, group: Group, start: int, stop: int) -> None:
        async with self._gate:
            count = stop - start
            if count > 1 and count * group.width > self._chunk.size:
                self._launch(tasks, group, start, stop)  # learnt smaller while this one waited
                return
            part = _slice(group, start, stop)
            try:
                answer = await self._read(part)
            except EndpointError as error:
                treatment = error.treatment
                shrunk = treatment.shrinks and self._chunk.refused(part.reads)
                if treatment.remedy is not Remedy.SPLIT or not shrunk:
                    raise
                if count > 1:
                    self._launch(tasks, group, start, stop)
                    return
                answer = await self._read(part)
            else:
                self._chunk.succeeded(part.reads)
            self._take(group, start, part, answer)

    async def _read(self, part: Slice) -> Answer:
        """Read a slice; where reads have no gas limit of their own, without the tokens known to
        burn all of it, and if the gas did not suffice, after looking for such."""
        if self.rung.capped:
            self.calls += 1
            return await self.rung.read(self.node, part, self._at)
        try:
            return await self._read_without_burners(part)
        except EndpointError as error:
            if error.kind is not FailureKind.GAS or not await self._find_burners(part):
                raise
        return await self._read_without_burners(part)

    async def _read_without_burners(self, part: Slice) -> Answer:
        self.calls += 1
        good = [token for token in part.tokens if token not in self.node.burners]
        if len(good) == len(part.tokens):
            return await self.rung.read(self.node, part, self._at)
        answer = await self.rung.read(self.node, Slice(part.wallets, good, part.payload), self._at)
        return _widen(answer, part, good)

    async def _find_burners(self, part: Slice) -> bool:
        """Read each token once for the slice's first wallet; True if new burners were found."""
        found = False
        for token in part.tokens:
            if token in self.node.burners:
                continue
            outcome = await self._single(part.wallets[0], token)
            if isinstance(outcome, EndpointError) and outcome.kind is FailureKind.GAS:
                self.node.burners.add(token)
                found = True
        return found

    def _take(self, group: Group, start: int, part: Slice, answer: Answer) -> None:
        if answer.block is not None:
            check(answer.block, self.block, self.chain_id, self.node.pin)
            self.seen.add(answer.block)
        group.take(start, answer.words)
        tokens = len(part.tokens)
        if answer.statuses.count(0) == len(answer.statuses):
            return
        for index, status in enumerate(answer.statuses):
            if status:
                wallet, column = divmod(index, tokens)
                if status == BURNT and not self.rung.capped:
                    self.node.burners.add(part.tokens[column])
                position = group.positions[(start + wallet) * group.width + column + 1]
                if position >= 0:
                    marked = (position, part.wallets[wallet], part.tokens[column], status)
                    self._marked.append(marked)

    async def _explain(self) -> None:
        """Re-read what came back marked. A token that fails for a whole fleet is re-read for a
        few wallets only: thousands of single reads each cycle would be paid for nothing new.
        But as soon as one of them has a value, the mark was unjust and all are re-read."""
        by_token: dict[bytes, list[_Marked]] = {}
        for marked in self._marked:
            self.failed[marked[0]] = status_words(marked[3], GAS_CAP)
            by_token.setdefault(marked[2], []).append(marked)
        for reads in by_token.values():
            burner = any(status in (BURNT, SKIPPED) for *_, status in reads)
            count = SINGLES_OF_A_BURNER if burner else SINGLES_PER_TOKEN
            if await self._reread(reads[:count]):
                await self._reread(reads[count:])
            elif not self.rung.capped:
                self._infer(reads[:count], reads[count:])

    def _infer(self, reread: Sequence[_Marked], others: Sequence[_Marked]) -> None:
        """Give the reads that were left out the reason of one with the same mark: only the
        scanner's own marks tell a missing contract from an empty answer, or gas from a revert."""
        by_status = {status: self.failed[index] for index, _, _, status in reread}
        for index, _, _, status in others:
            self.failed[index] = by_status.get(status, self.failed[index])

    async def _reread(self, reads: Sequence[_Marked]) -> bool:
        """Read singly; True if any has a value."""
        gate = asyncio.Semaphore(SINGLES_IN_FLIGHT)
        before = len(self.found)

        async def one(index: int, wallet: bytes, token: bytes) -> None:
            async with gate:
                outcome = await self._single(wallet, token)
                if isinstance(outcome, int):
                    self.found[index] = outcome
                    del self.failed[index]
                    self.node.burners.discard(token)
                else:
                    self.failed[index] = await self._reason(token, outcome)

        async with asyncio.TaskGroup() as tasks:
            for index, wallet, token, _ in reads:
                tasks.create_task(one(index, wallet, token))
        return len(self.found) > before

    async def _single(self, wallet: bytes, token: bytes) -> int | bytes | EndpointError:
        """One `balanceOf` on its own: a value, too few bytes, or how the call failed."""
        try:
            result = await self.node.call_bytes(balance_call(wallet, token), self._at)
        except EndpointError as error:
            if error.kind in (FailureKind.REVERTED, FailureKind.GAS, FailureKind.RPC):
                return error
            raise
        return int.from_bytes(result[:WORD], "big") if len(result) >= WORD else result

    async def _reason(self, token: bytes, outcome: bytes | EndpointError) -> str:
        if isinstance(outcome, EndpointError):
            if outcome.kind is FailureKind.GAS:
                return status_words(BURNT, SINGLE_GAS)
            if outcome.kind is FailureKind.REVERTED:
                return status_words(REVERTED)
            return f"balanceOf failed: {outcome}"
        if not outcome and token not in self._codeless:
            params = ("0x" + token.hex(), self._at)
            if not hex_bytes(await self.node.ask_raw("eth_getCode", params), "eth_getCode"):
                self._codeless.add(token)
        if token in self._codeless:
            return status_words(NO_CONTRACT)
        return status_words(SHORT + len(outcome))


def _slice(group: Group, start: int, stop: int) -> Slice:
    """Wallets start to stop of a group; the scanner's calldata is kept with the group."""
    wallets = group.wallets[start:stop]

    def payload() -> str:
        key = (start, stop)
        if key not in group.calls:
            if len(group.calls) > 64:  # slices of chunk sizes that are no longer used
                group.calls.clear()
            group.calls[key] = encode_call(wallets, group.tokens).hex()
        return group.calls[key]

    return Slice(wallets, group.tokens, payload)


def _widen(answer: Answer, part: Slice, good: Sequence[bytes]) -> Answer:
    """An answer for some of the slice's tokens, as one for all: the others are marked."""
    columns = {token: column for column, token in enumerate(good)}
    words: list[bytes] = []
    statuses = bytearray()
    width = len(good) + 1
    for wallet in range(len(part.wallets)):
        base = wallet * width
        words.append(answer.words[base * WORD : (base + 1) * WORD])
        for token in part.tokens:
            column = columns.get(token)
            if column is None:
                words.append(bytes(WORD))
                statuses.append(SKIPPED)
                continue
            at = (base + column + 1) * WORD
            words.append(answer.words[at : at + WORD])
            statuses.append(answer.statuses[wallet * len(good) + column])
    return Answer(answer.block, b"".join(words), bytes(statuses))
