"""The EVM reader measured on anvil: a fleet's cycle beside web3.py and beside an aggregate with a
general ABI codec, behind 100 ms of latency, and as the fleet grows.

`python -m tests.bench.bench_evm [--full]`: web3.py is run on 500 wallets and its time scaled to
the fleet (it is linear: each wallet is its own requests); `--full` runs it on all of them.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import httpx

from core.chains.evm import EvmReader, multicall
from core.chains.evm.address import checksum
from core.model import Reading, Request
from tests.bench.figures import Figure, report
from tests.chain import anvil as node
from tests.chain.anvil import Anvil
from tests.chain.bench import Fleet, KeptMemory, WallClock, make_fleet
from tests.chain.proxy import proxied

AGENTS = 10_000
SAMPLE = 500
CYCLES = 9
IN_FLIGHT = 50
LATENCY_S = 0.1
GROWTH = (1_000, 10_000, 100_000)
AGGREGATED = 4_000  # calls per aggregate: what fits into anvil's 30 million gas

BALANCE_OF = [
    {
        "name": "balanceOf",
        "type": "function",
        "stateMutability": "view",
        "inputs": [{"name": "account", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }
]


class Cost(NamedTuple):
    """Medians over the cycles, in seconds; `cpu_s` is this process alone, not the node."""

    wall_s: float
    cpu_s: float


async def measured(work: Callable[[int], Awaitable[object]], cycles: int = CYCLES) -> Cost:
    """Time `work` so many times, the number of the cycle given to it."""
    walls, cpus = [], []
    for cycle in range(cycles):
        wall, cpu = time.perf_counter(), time.process_time()
        await work(cycle)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Cost(statistics.median(walls), statistics.median(cpus))


def reader_of(url: str) -> EvmReader:
    """A reader as the engine makes it, without the self-test's web3 beside it."""
    return EvmReader(
        "anvil", [url], chain_id=31337, clock=WallClock(), memory=KeptMemory(), self_test=False
    )


async def cycle_cost(anvil: Anvil, url: str, fleet: Fleet, cycles: int = CYCLES) -> Cost:
    """A steady cycle: one wallet in a hundred has changed since the last one, in a new block.

    The change itself is made outside of the measured time; values are held to the truth.
    """
    reader = reader_of(url)
    requests = fleet.requests()
    await reader.read(requests)
    walls, cpus = [], []
    for cycle in range(cycles):
        changed = dict.fromkeys(fleet.wallets[cycle::100], 10**18 + cycle)
        anvil.set_native(changed)
        anvil.mine()
        fleet.truth.update({(w, None): amount for w, amount in changed.items()})
        cost = await measured(lambda _: keep(reader, requests), 1)
        walls.append(cost.wall_s)
        cpus.append(cost.cpu_s)
    _hold(await reader.read(requests), fleet)
    await reader.close()
    return Cost(statistics.median(walls), statistics.median(cpus))


async def keep(reader: EvmReader, requests: Sequence[Request]) -> Reading:
    """One cycle's reading."""
    return await reader.read(requests)


def _hold(reading: Reading, fleet: Fleet) -> None:
    if list(reading.amounts) != fleet.amounts():
        raise AssertionError("the reading does not equal the truth")


async def first_cost(url: str, fleet: Fleet) -> Cost:
    """A first reading: planning, probing and decoding everything, chunks not learnt yet."""

    async def first(_: int) -> None:
        reader = reader_of(url)
        _hold(await reader.read(fleet.requests()), fleet)
        await reader.close()

    return await measured(first, 3)


async def web3_cost(url: str, fleet: Fleet, wallets: int) -> Cost:
    """web3.py as its documentation suggests: asyncio.gather, 50 wallets in flight, one
    get_balance and a balanceOf per token."""
    from web3 import AsyncHTTPProvider, AsyncWeb3

    provider = AsyncHTTPProvider(url)
    web3 = AsyncWeb3(provider)
    owners = [AsyncWeb3.to_checksum_address(w) for w in fleet.wallets[:wallets]]
    tokens = [
        web3.eth.contract(address=AsyncWeb3.to_checksum_address(a.contract), abi=BALANCE_OF)
        for a in fleet.assets
        if a.contract
    ]
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(owner: str) -> list[int]:
        async with gate:
            amounts = [int(await web3.eth.get_balance(AsyncWeb3.to_checksum_address(owner)))]
            amounts += [int(await t.functions.balanceOf(owner).call()) for t in tokens]
            return amounts

    async def everything(_: int) -> None:
        rows = await asyncio.gather(*(one(owner) for owner in owners))
        if [n for row in rows for n in row] != fleet.amounts()[: 3 * wallets]:
            raise AssertionError("web3 does not read the truth")

    cost = await measured(everything, 1)
    await provider.disconnect()
    return cost


async def aggregate_cost(url: str, fleet: Fleet) -> Cost:
    """The way of multicall.py (banteg): a call object per read, everything encoded and decoded
    by eth_abi, large aggregates at once; over a bare HTTP client, which is kind to it."""
    from eth_abi.abi import decode, encode

    target = checksum("0x" + multicall.ADDRESS.hex())

    async def everything(_: int) -> None:
        calls: list[tuple[str, bool, bytes]] = []
        for wallet in fleet.wallets:
            owner = encode(["address"], [wallet])
            calls.append((target, True, multicall.GET_ETH_BALANCE + owner))
            for asset in fleet.assets[1:]:
                calls.append((str(asset.contract), True, multicall.BALANCE_OF + owner))

        async def aggregate(first: int) -> list[int]:
            part = calls[first : first + AGGREGATED]
            payload = multicall.AGGREGATE3 + encode(["(address,bool,bytes)[]"], [part])
            params = [{"to": target, "data": "0x" + payload.hex()}, "latest"]
            body = {"jsonrpc": "2.0", "id": first, "method": "eth_call", "params": params}
            answer = (await client.post(url, json=body)).json()["result"]
            (results,) = decode(["(bool,bytes)[]"], bytes.fromhex(answer[2:]))
            return [int(decode(["uint256"], word)[0]) for _, word in results]

        async with httpx.AsyncClient(timeout=60) as client:
            parts = await asyncio.gather(*(aggregate(i) for i in range(0, len(calls), AGGREGATED)))
        if [n for part in parts for n in part] != fleet.amounts():
            raise AssertionError("the aggregate does not read the truth")

    return await measured(everything, 3)


async def latency_figure(anvil: Anvil, fleet: Fleet) -> Figure:
    """A cycle behind 100 ms per request: how much longer than through the same proxy without
    latency, counted in round trips."""
    async with proxied(anvil.url) as proxy:
        near = await cycle_cost(anvil, proxy.url, fleet, 5)
        proxy.delay_s = LATENCY_S
        cycle = await cycle_cost(anvil, proxy.url, fleet, 5)
    trips = (cycle.wall_s - near.wall_s) / LATENCY_S
    return Figure(
        f"EVM cycle, {AGENTS:,} agents x 3, 100 ms per request",
        cycle.wall_s * 1000,
        "ms",
        f"{near.wall_s * 1000:.0f} ms without latency",
        trips,
        "<= 3 round trips of waiting",
        trips <= 3,
    )


async def beside_others(anvil: Anvil, full: bool) -> list[Figure]:
    """The cycle beside the other two, on one fleet."""
    fleet = make_fleet(anvil, AGENTS)
    code = anvil.multicall3()
    if code is None:
        raise RuntimeError("this anvil does not carry Multicall3's code")
    anvil.set_code(multicall.ADDRESS, code)
    first = await first_cost(anvil.url, fleet)
    wallets = AGENTS if full else SAMPLE
    web3 = await web3_cost(anvil.url, fleet, wallets)
    web3_s = web3.wall_s * AGENTS / wallets
    aggregate = await aggregate_cost(anvil.url, fleet)
    cycle = await cycle_cost(anvil, anvil.url, fleet)
    scaled = "" if full else f", run on {SAMPLE} wallets and scaled"
    name = f"EVM cycle, {AGENTS:,} agents x 3"
    return [
        Figure(
            name,
            cycle.wall_s * 1000,
            "ms",
            f"web3.py gather, {IN_FLIGHT} in flight: {web3_s:.1f} s{scaled}",
            web3_s / cycle.wall_s,
            ">= 500 times faster",
            web3_s / cycle.wall_s >= 500,
        ),
        Figure(
            f"{name}, beside an aggregate",
            cycle.wall_s * 1000,
            "ms",
            f"aggregate3 with eth_abi: {aggregate.wall_s * 1000:.0f} ms",
            aggregate.wall_s / cycle.wall_s,
            ">= 8 times faster",
            aggregate.wall_s / cycle.wall_s >= 8,
        ),
        Figure(f"{name}, client CPU", cycle.cpu_s * 1000, "ms CPU"),
        Figure(f"{name}, first reading", first.wall_s * 1000, "ms"),
        await latency_figure(anvil, fleet),
    ]


async def growth(anvil: Anvil) -> list[Figure]:
    """Client CPU per agent at each size of fleet, beside the smallest one's."""
    figures: list[Figure] = []
    least: float | None = None
    for agents in GROWTH:
        fleet = make_fleet(anvil, agents)
        cost = await cycle_cost(anvil, anvil.url, fleet, CYCLES if agents < 50_000 else 3)
        each_us = cost.cpu_s / agents * 1e6
        least = least or each_us
        figures.append(
            Figure(
                f"EVM cycle, CPU per agent at {agents:,} agents",
                each_us,
                "us",
                f"{least:.2f} us at {GROWTH[0]:,} agents",
                each_us / least,
                "does not rise",
                each_us / least <= 1.1,
            )
        )
    return figures


def run(full: bool = False) -> list[Figure]:
    """All figures of the EVM reader."""
    executable = node.find()
    if executable is None:
        raise RuntimeError(node.MISSING)
    with node.running(executable) as anvil:
        figures = asyncio.run(beside_others(anvil, full))
    with node.running(executable) as anvil:
        figures += asyncio.run(growth(anvil))
    return figures


if __name__ == "__main__":
    report(run(full="--full" in sys.argv))
