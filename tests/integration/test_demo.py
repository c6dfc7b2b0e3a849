"""The simulated chains, read by the real readers over loopback, say what the world says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from core.chains.evm import EvmReader
from core.chains.protocol import ChainReader, ChainUnreachableError
from core.chains.tron import TronReader
from core.chains.xrpl import XrplReader
from core.demo.cast import NOT_ACTIVATED
from core.demo.incidents import SCHEDULE, Reorganisation
from core.demo.process import open_servers
from core.demo.world import World
from core.model import Asset, BlockRef, Consistency, EndpointState, Reading, Request
from tests.demo.worlds import START_MS

AGENTS = 40


class TravelClock:
    """Runs like the wall clock, from wherever a test sets it."""

    def __init__(self, now_ms: int) -> None:
        self._from_ms = now_ms
        self._set_at = asyncio.get_running_loop().time()

    def now_ms(self) -> int:
        return self._from_ms + int((asyncio.get_running_loop().time() - self._set_at) * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def travel(self, second: float) -> None:
        """To that second after the start of the incidents."""
        self._from_ms = START_MS + int(second * 1000)
        self._set_at = asyncio.get_running_loop().time()


class Memory:
    """What a reader learnt, for as long as the test runs."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def recall(self, key: str) -> str | None:
        return self.kept.get(key)

    async def remember(self, key: str, value: str) -> None:
        self.kept[key] = value


class Scene:
    """The servers of a world, and a real reader for each chain."""

    def __init__(self, world: World, clock: TravelClock, readers: dict[str, ChainReader]) -> None:
        self.world = world
        self.clock = clock
        self.readers = readers

    def requests(self, chain: str) -> list[Request]:
        assets = [
            Asset(n, chain, a.symbol, a.name, a.decimals, a.contract)
            for n, a in enumerate(self.world.chain(chain).assets)
        ]
        return [
            Request(agent.addresses[chain], asset)
            for agent in self.world.agents
            for asset in assets
        ]

    def truth(self, chain: str, requests: list[Request], block: BlockRef) -> list[int | None]:
        simulated = self.world.chain(chain)
        return [simulated.balance(r.address, r.asset.contract, block.number) for r in requests]


@asynccontextmanager
async def scene(second: float = 0) -> AsyncIterator[Scene]:
    clock = TravelClock(START_MS)
    clock.travel(second)
    world = World(1, AGENTS, START_MS, clock)
    async with AsyncExitStack() as owner:
        urls = (await open_servers(world, owner)).urls
        readers: dict[str, ChainReader] = {
            "base": EvmReader(
                "base",
                urls["base"],
                chain_id=8453,
                clock=clock,
                memory=Memory(),
                interval_s=2.0,
                self_test=False,
            ),
            "xrpl": XrplReader("xrpl", urls["xrpl"], clock=clock, memory=Memory(), interval_s=2.0),
            "tron": TronReader("tron", urls["tron"], clock=clock, memory=Memory(), interval_s=2.0),
        }
        for reader in readers.values():
            await reader.open()
            owner.push_async_callback(reader.close)
        yield Scene(world, clock, readers)


@pytest.mark.parametrize("chain", ["base", "xrpl", "tron"])
async def test_every_balance_read_over_loopback_is_the_worlds(chain: str) -> None:
    async with scene(second=3) as demo:
        requests = demo.requests(chain)
        reading = await demo.readers[chain].read(requests)
        expected = demo.truth(chain, requests, reading.block)
        # An account that is not activated has nothing, and a mark that says so.
        assert list(reading.amounts) == [amount or 0 for amount in expected]
        assert reading.reasons == {}
        if chain == "xrpl":
            assert reading.marks == {NOT_ACTIVATED: "not activated"}
            assert all(reading.reserved[n] > 0 for n in range(AGENTS) if n != NOT_ACTIVATED)


async def test_base_is_read_in_one_call_pinned_to_one_block() -> None:
    async with scene(second=3) as demo:
        requests = demo.requests("base")
        await demo.readers["base"].read(requests)
        again = await demo.readers["base"].read(requests)
        assert again.consistency is Consistency.PINNED
        assert again.requests_sent <= 3
        assert demo.readers["base"].health()[0].rung == "override scanner"


@pytest.mark.parametrize(
    ("chain", "second"), [("base", 16), ("tron", 46), ("xrpl", 276), ("tron", 301), ("base", 326)]
)
async def test_when_the_first_endpoint_fails_the_second_takes_over(chain: str, second: int) -> None:
    async with scene(second) as demo:
        requests = demo.requests(chain)
        reading = await demo.readers[chain].read(requests)
        truth = demo.truth(chain, requests, reading.block)
        assert list(reading.amounts) == [amount or 0 for amount in truth]
        first, second_endpoint, *_ = demo.readers[chain].health()
        assert second_endpoint.in_use
        assert first.state is EndpointState.BACKING_OFF
        assert first.last_error


@pytest.mark.parametrize(("chain", "second"), [("tron", 125), ("base", 232)])
async def test_a_chain_that_is_down_says_what_each_endpoint_did(chain: str, second: int) -> None:
    async with scene(second) as demo:
        with pytest.raises(ChainUnreachableError) as caught:
            await demo.readers[chain].read(demo.requests(chain))
        for endpoint in demo.readers[chain].health():
            assert endpoint.url in str(caught.value)


async def test_a_token_that_reverts_is_unknown_with_its_reason_and_harms_no_other() -> None:
    async with scene(second=175) as demo:
        requests = demo.requests("base")
        reading = await demo.readers["base"].read(requests)
        for index, request in enumerate(requests):
            if request.asset.symbol == "EURC":
                assert reading.amounts[index] is None
                assert "revert" in reading.reasons[index]
            else:
                assert reading.amounts[index] is not None


async def test_a_reorganisation_is_noticed_with_the_block_both_histories_share() -> None:
    fork = next(i for i in SCHEDULE if isinstance(i, Reorganisation))
    async with scene(second=fork.begin - 3) as demo:
        requests = demo.requests("base")
        reader = demo.readers["base"]
        before = await reader.read(requests)
        demo.clock.travel(fork.end - 1.5)
        during = await reader.read(requests)
        demo.clock.travel(fork.end + 1.5)
        after = await reader.read(requests)
        assert (before.forked_below, during.forked_below) == (None, None)
        assert after.forked_below is not None
        assert before.block.number <= after.forked_below < during.block.number
        paid = requests.index(
            next(
                r
                for r in requests
                if r.asset.symbol == "USDC" and r.address == demo.world.agents[0].addresses["base"]
            )
        )
        truth = demo.truth("base", requests, during.block)
        assert _amount(during, paid) == (truth[paid] or 0) + fork.payment


def _amount(reading: Reading, index: int) -> int:
    amount = reading.amounts[index]
    assert amount is not None
    return amount
