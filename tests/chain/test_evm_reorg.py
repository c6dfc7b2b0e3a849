"""Reorganisations of a real node are noticed, heads are pushed, and one block holds a fleet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing

import pytest

from core.chains.evm import EvmReader
from core.chains.protocol import ChainUnreachableError
from core.model import BlockRef, Consistency, EndpointState, Request, Value
from tests.chain import anvil as node
from tests.chain.anvil import DEPLOYER, Anvil
from tests.chain.bench import make_fleet, native
from tests.chain.proxy import proxied
from tests.clock import until

MakeReader = Callable[..., EvmReader]
OWNER = bytes([0xF1]) * 20


@pytest.fixture
def own_anvil(anvil: Anvil) -> Iterator[Anvil]:
    """A node of the test's own, whose history it may rewrite."""
    with node.running(anvil.executable) as running:
        yield running


def pay(anvil: Anvil, wei: int) -> int:
    """Send native coin to OWNER in a transaction; the block's number."""
    anvil.rpc(
        "eth_sendTransaction",
        {"from": DEPLOYER, "to": "0x" + OWNER.hex(), "value": hex(wei)},
    )
    anvil.mine()
    return anvil.head()


async def test_a_reorganisation_is_noticed_with_the_newest_block_that_still_stands(
    own_anvil: Anvil, reader_for: MakeReader
) -> None:
    requests = [Request("0x" + OWNER.hex(), native())]
    reader = reader_for(own_anvil.url)
    own_anvil.mine(5)
    standing = (await reader.read(requests)).block
    for wei in (100, 200):
        pay(own_anvil, wei)
        reading = await reader.read(requests)
        assert reading.forked_below is None
    assert reading[0] == Value(300)
    own_anvil.rpc("anvil_reorg", own_anvil.head() - standing.number, [])
    reading = await reader.read(requests)
    assert reading.forked_below == standing.number
    assert reading[0] == Value(0)
    pay(own_anvil, 50)
    after = await reader.read(requests)
    assert (after[0], after.forked_below) == (Value(50), None)


async def test_a_reorganisation_behind_newer_blocks_is_noticed(
    own_anvil: Anvil, reader_for: MakeReader
) -> None:
    requests = [Request("0x" + OWNER.hex(), native())]
    reader = reader_for(own_anvil.url)
    own_anvil.mine(3)
    blocks: list[BlockRef] = []
    for _ in range(6):
        own_anvil.mine(2)
        blocks.append((await reader.read(requests)).block)
    own_anvil.rpc("anvil_reorg", own_anvil.head() - blocks[2].number - 1, [])
    own_anvil.mine(9)
    assert (await reader.read(requests)).forked_below == blocks[2].number


async def test_a_chain_that_went_back_is_believed_after_a_while(
    own_anvil: Anvil, reader_for: MakeReader
) -> None:
    requests = [Request("0x" + OWNER.hex(), native())]
    reader = reader_for(own_anvil.url, interval_s=8)
    snapshot = own_anvil.rpc("evm_snapshot")
    back_to = own_anvil.head()
    await reader.read(requests)
    pay(own_anvil, 100)
    assert (await reader.read(requests))[0] == Value(100)
    own_anvil.rpc("evm_revert", snapshot)
    with pytest.raises(ChainUnreachableError, match="older than the last reading"):
        await reader.read(requests)
    reading = await reader.read(requests)
    assert (reading[0], reading.forked_below) == (Value(0), back_to)


@pytest.fixture
async def heads_of(
    own_anvil: Anvil, reader_for: MakeReader
) -> AsyncIterator[tuple[EvmReader, asyncio.Queue[BlockRef]]]:
    """A reader with a WebSocket endpoint and the heads it was given."""
    reader = reader_for(own_anvil.url, own_anvil.url.replace("http", "ws"))
    heads: asyncio.Queue[BlockRef] = asyncio.Queue()

    async def follow() -> None:
        async with aclosing(reader.heads()) as feed:
            async for head in feed:
                heads.put_nowait(head)

    task = asyncio.create_task(follow())
    yield reader, heads
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_new_heads_are_pushed_over_websocket(
    own_anvil: Anvil, heads_of: tuple[EvmReader, asyncio.Queue[BlockRef]]
) -> None:
    reader, heads = heads_of
    await until(lambda: reader.health()[1].requests == 1, "subscribed")
    number = own_anvil.mine()
    head = await asyncio.wait_for(heads.get(), 60)
    assert head.number == number
    assert head.time_ms > 1_600_000_000_000
    health = reader.health()[1]
    assert (health.rung, health.state, health.block) == ("newHeads", EndpointState.READY, number)
    assert health.in_use


async def test_without_a_websocket_endpoint_heads_end_at_once(
    anvil: Anvil, reader_for: MakeReader
) -> None:
    assert [head async for head in reader_for(anvil.url).heads()] == []


def subscribed(reader: EvmReader) -> int:
    """How often the push endpoint accepted a subscription."""
    health = reader.health()[1]
    return health.requests - health.errors


async def test_a_broken_push_connection_comes_back(
    own_anvil: Anvil, reader_for: MakeReader
) -> None:
    port = own_anvil.url.rsplit(":", 1)[1]
    pipes: list[asyncio.StreamWriter] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", int(port))
        pipes.extend((writer, back))

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while piece := await source.read(65536):
                    sink.write(piece)
            except ConnectionError:
                pass
            sink.close()

        await asyncio.gather(copy(reader, back), copy(there, writer))

    server = await asyncio.start_server(pipe, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    reader = reader_for(own_anvil.url, url)
    seen: list[int] = []
    async with server, aclosing(reader.heads()) as feed:
        for round_ in range(2):

            async def mine_when_subscribed(times: int = round_ + 1) -> int:
                await until(lambda: subscribed(reader) == times, "subscribed")
                return own_anvil.mine()

            async with asyncio.TaskGroup() as tasks:
                mined = tasks.create_task(mine_when_subscribed())
                seen.append((await asyncio.wait_for(anext(feed), 60)).number)
            assert seen[round_] == mined.result()
            for writer in pipes:
                writer.transport.abort()
            pipes.clear()
    assert reader.health()[1].errors == 1


@pytest.mark.slow
async def test_ten_thousand_wallets_by_three_assets_in_ten_requests_at_one_block(
    anvil: Anvil, reader_for: MakeReader
) -> None:
    with node.running(anvil.executable) as own:
        fleet = make_fleet(own, wallets=10_000)
        requests = fleet.requests()
        async with proxied(own.url) as proxy:
            reader = reader_for(proxy.url)
            for _ in range(3):
                before = len(proxy.bodies)
                reading = await reader.read(requests)
                assert len(proxy.bodies) - before == reading.requests_sent <= 10
                assert reading.consistency is Consistency.PINNED
                assert list(reading.amounts) == fleet.amounts()
            header = own.rpc("eth_getBlockByNumber", hex(reading.block.number), False)
            assert isinstance(header, dict)
            assert reading.block.hash == header["hash"]


async def test_a_change_of_one_balance_among_thousands_is_the_only_difference(
    own_anvil: Anvil, reader_for: MakeReader
) -> None:
    fleet = make_fleet(own_anvil, wallets=3_000)
    requests = fleet.requests()
    reader = reader_for(own_anvil.url)
    before = (await reader.read(requests)).amounts
    own_anvil.set_native({fleet.wallets[1234]: 42})
    own_anvil.mine()
    after = (await reader.read(requests)).amounts
    differing = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert differing == [1234 * 3]
    assert after[1234 * 3] == 42
