"""The simulated EVM node answers like a real one, and misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from core.chains.evm import scanner
from core.demo.evm_node import EvmNode
from core.demo.incidents import SCHEDULE, Reorganisation
from core.demo.protocol import ActiveFault, Fault
from core.demo.world import World
from tests.demo.worlds import START_MS, SetClock, asset, make_world

USDC = str(asset("USDC").contract)
EURC = str(asset("EURC").contract)


class SetFault:
    """The fault a test asks for."""

    def __init__(self) -> None:
        self.active: ActiveFault | None = None

    def current(self) -> ActiveFault | None:
        return self.active


class Bench:
    """A node over a world, and a client that knows nothing of either."""

    def __init__(self, world: World, clock: SetClock, **options: Any) -> None:
        self.world = world
        self.clock = clock
        self.chain = world.chain("base")
        self.faults = SetFault()
        self.node = EvmNode(self.chain, self.faults, **options)
        self.client = httpx.AsyncClient(timeout=30.0)

    async def post(self, body: object) -> httpx.Response:
        return await self.client.post(self.node.url, json=body)

    async def rpc(self, method: str, *params: object) -> Any:
        """The reply object of one call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return (await self.post(body)).json()

    async def result(self, method: str, *params: object) -> Any:
        reply = await self.rpc(method, *params)
        assert "error" not in reply, reply
        return reply["result"]

    def address(self, agent: int) -> str:
        return self.world.agents[agent].addresses["base"]

    def fault(self, fault: Fault, **more: int) -> None:
        self.faults.active = ActiveFault(fault, **more)


async def _bench(**options: Any) -> AsyncIterator[Bench]:
    world, clock = make_world(30)
    bench = Bench(world, clock, **options)
    async with bench.node, bench.client:
        yield bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async for made in _bench():
        yield made


@pytest.fixture
async def plain_bench() -> AsyncIterator[Bench]:
    async for made in _bench(overrides=False, deployless=False, batch_limit=2):
        yield made


def balance_of(address: str) -> str:
    return "0x70a08231" + address[2:].lower().rjust(64, "0")


async def test_chain_id_head_and_blocks_are_the_worlds(bench: Bench) -> None:
    head = bench.chain.head()
    assert await bench.result("eth_chainId") == hex(8453)
    assert await bench.result("eth_blockNumber") == hex(head.number)
    block = await bench.result("eth_getBlockByNumber", "latest", False)
    assert (block["hash"], block["parentHash"]) == (head.hash, head.parent)
    assert int(block["timestamp"], 16) * 1000 == head.time_ms
    assert await bench.result("eth_getBlockByHash", head.hash, False) == block
    assert await bench.result("eth_getBlockByNumber", hex(head.number + 1), False) is None
    safe = await bench.result("eth_getBlockByNumber", "safe", False)
    assert int(safe["number"], 16) < head.number


async def test_native_and_token_balances_are_the_worlds_at_the_block_asked_for(
    bench: Bench,
) -> None:
    old = bench.chain.block(bench.chain.head().number - 40_000)
    assert old is not None
    for at in (old, bench.chain.head()):
        for pin in (hex(at.number), {"blockHash": at.hash, "requireCanonical": True}):
            native = await bench.result("eth_getBalance", bench.address(3), pin)
            assert int(native, 16) == bench.chain.balance(bench.address(3), None, at.number)
            call = {"to": USDC, "data": balance_of(bench.address(3))}
            word = await bench.result("eth_call", call, pin)
            assert len(word) == 66
            assert int(word, 16) == bench.chain.balance(bench.address(3), USDC, at.number)


async def test_code_stands_at_tokens_only(bench: Bench) -> None:
    assert len(await bench.result("eth_getCode", USDC, "latest")) > 2
    assert await bench.result("eth_getCode", bench.address(0), "latest") == "0x"
    call = {"to": bench.address(1), "data": balance_of(bench.address(0))}
    assert await bench.result("eth_call", call, "latest") == "0x"


async def test_unknown_blocks_methods_and_wrong_parameters_get_geths_errors(bench: Bench) -> None:
    head = bench.chain.head()
    unknown = {"blockHash": "0x" + "ab" * 32, "requireCanonical": True}
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (-32000, "eth_getBalance", (bench.address(0), unknown)),
        (-32000, "eth_getBalance", (bench.address(0), hex(head.number + 5))),
        (-32601, "debug_traceBlock", ()),
        (-32602, "eth_getBalance", ()),
        (-32602, "eth_getBalance", ("0x12", "latest")),
        (-32602, "eth_getBalance", (bench.address(0), "newest")),
        (-32602, "eth_call", ("nonsense", "latest")),
        (-32602, "eth_call", ({"to": USDC, "data": "0xzz"}, "latest")),
        (3, "eth_call", ({"to": USDC, "data": "0x18160ddd"}, "latest")),
    ]
    for code, method, params in cases:
        reply = await bench.rpc(method, *params)
        assert reply["error"]["code"] == code, (method, params, reply)
        assert reply["error"]["message"]


async def test_a_batch_answers_each_call_and_an_error_harms_only_its_own(bench: Bench) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 7, "method": "eth_blockNumber", "params": []},
        {"jsonrpc": "2.0", "id": 8, "method": "eth_nothing", "params": []},
        {"jsonrpc": "2.0", "id": 9, "method": "eth_chainId"},
        5,
    ]
    replies = (await bench.post(batch)).json()
    assert [reply["id"] for reply in replies] == [7, 8, 9, None]
    assert ["error" in reply for reply in replies] == [False, True, False, True]
    assert (await bench.post([])).json()["error"]["code"] == -32600
    garbage = await bench.client.post(bench.node.url, content=b"{nonsense")
    assert garbage.json()["error"]["code"] == -32700


async def test_the_scanner_runs_by_override_and_deployless_with_equal_results(
    bench: Bench,
) -> None:
    wallets = [bytes.fromhex(bench.address(n)[2:]) for n in range(30)]
    tokens = [bytes.fromhex(USDC[2:]), bytes.fromhex(EURC[2:])]
    payload = scanner.encode_call(wallets, tokens)
    head = bench.chain.head()
    pin = {"blockHash": head.hash, "requireCanonical": True}
    code = "0x" + scanner.BYTECODE.hex()
    called = await bench.result(
        "eth_call",
        {"to": scanner.SCANNER_ADDRESS, "data": "0x" + payload.hex()},
        pin,
        {scanner.SCANNER_ADDRESS: {"code": code}},
    )
    reverted = await bench.rpc("eth_call", {"data": code + payload.hex()}, pin)
    assert reverted["error"]["code"] == 3
    assert reverted["error"]["data"] == called
    split = scanner.decode_result(bytes.fromhex(called[2:]), 30, 2)
    assert split.block == (8453, head.number, head.time_ms // 1000, head.parent)
    assert set(split.statuses) == {0}
    words = [split.words[at : at + 32] for at in range(0, len(split.words), 32)]
    expected = [
        bench.chain.balance(bench.address(n), contract, head.number)
        for n in range(30)
        for contract in (None, USDC, EURC)
    ]
    assert [int.from_bytes(word, "big") for word in words] == expected


async def test_a_reverting_token_is_marked_in_the_scan_and_reverts_when_called(
    bench: Bench,
) -> None:
    bench.clock.ms = START_MS + 180_000
    stranger = bytes([7]) * 20
    tokens = [bytes.fromhex(USDC[2:]), bytes.fromhex(EURC[2:]), stranger]
    payload = scanner.encode_call([bytes.fromhex(bench.address(0)[2:])], tokens)
    code = "0x" + scanner.BYTECODE.hex()
    reply = await bench.rpc("eth_call", {"data": code + payload.hex()}, "latest")
    split = scanner.decode_result(bytes.fromhex(reply["error"]["data"][2:]), 1, 3)
    assert list(split.statuses) == [0, scanner.REVERTED, scanner.NO_CONTRACT]
    single = await bench.rpc(
        "eth_call", {"to": EURC, "data": balance_of(bench.address(0))}, "latest"
    )
    assert single["error"]["code"] == 3


async def test_a_node_without_overrides_creation_code_or_large_batches_says_so(
    plain_bench: Bench,
) -> None:
    code = "0x" + scanner.BYTECODE.hex()
    call = {"to": scanner.SCANNER_ADDRESS, "data": "0x" + scanner.encode_call([]).hex()}
    refused = await plain_bench.rpc(
        "eth_call", call, "latest", {scanner.SCANNER_ADDRESS: {"code": code}}
    )
    assert refused["error"]["code"] == -32602
    created = await plain_bench.rpc("eth_call", {"data": code + call["data"][2:]}, "latest")
    assert created["error"]["code"] == -32000
    batch = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId", "params": []} for n in range(3)]
    assert (await plain_bench.post(batch)).json()["error"]["message"] == "batch too large"


async def test_a_block_given_up_is_no_longer_found_by_its_hash(bench: Bench) -> None:
    fork = next(i for i in SCHEDULE if isinstance(i, Reorganisation))
    bench.clock.ms = START_MS + fork.end * 1000 - 1
    seen = await bench.result("eth_getBlockByNumber", "latest", False)
    pin = {"blockHash": seen["hash"], "requireCanonical": True}
    await bench.result("eth_getBalance", bench.address(0), pin)
    bench.clock.ms = START_MS + fork.end * 1000
    reply = await bench.rpc("eth_getBalance", bench.address(0), pin)
    assert "not found" in reply["error"]["message"]
    now = await bench.result("eth_getBlockByNumber", seen["number"], False)
    assert now["hash"] != seen["hash"]


async def test_too_many_requests_says_when_to_come_back(bench: Bench) -> None:
    bench.fault(Fault.TOO_MANY, retry_after_s=7)
    answer = await bench.post({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


async def test_too_large_refuses_large_requests_only(bench: Bench) -> None:
    bench.fault(Fault.TOO_LARGE)
    assert await bench.result("eth_chainId") == hex(8453)
    answer = await bench.client.post(bench.node.url, content=b" " * 5000)
    assert answer.status_code == 413


async def test_server_errors_and_a_gateways_page_are_no_json(bench: Bench) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    bench.fault(Fault.SERVER_ERROR)
    assert (await bench.post(call)).status_code == 503
    bench.fault(Fault.HTML)
    page = await bench.post(call)
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.text.startswith("<html>")


@pytest.mark.parametrize("fault", [Fault.HALF, Fault.RESET])
async def test_an_answer_cut_or_reset_is_a_transport_error(bench: Bench, fault: Fault) -> None:
    bench.fault(fault)
    with pytest.raises(httpx.TransportError) as caught:
        await bench.rpc("eth_chainId")
    expected = httpx.RemoteProtocolError if fault is Fault.HALF else httpx.ReadError
    assert isinstance(caught.value, expected)


async def test_a_node_that_hangs_never_answers_and_still_stops_at_once(bench: Bench) -> None:
    bench.fault(Fault.TIMEOUT)
    with pytest.raises(httpx.ReadTimeout):
        await bench.client.post(bench.node.url, json={}, timeout=0.2)
    async with asyncio.TaskGroup() as group:
        hanging = group.create_task(_outcome(bench))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(20):  # less than its caller would wait
            await bench.node.stop()
    assert hanging.result()


async def _outcome(bench: Bench) -> str:
    try:
        return str((await bench.post({})).status_code)
    except httpx.TransportError as error:
        return type(error).__name__


async def test_a_node_of_another_chain_says_so_everywhere(bench: Bench) -> None:
    bench.fault(Fault.WRONG_CHAIN)
    assert await bench.result("eth_chainId") == hex(8454)
    data = "0x" + (scanner.BYTECODE + scanner.encode_call([])).hex()
    reply = await bench.rpc("eth_call", {"data": data}, "latest")
    split = scanner.decode_result(bytes.fromhex(reply["error"]["data"][2:]), 0, 0)
    assert split.block.chain_id == 8454


async def test_a_stale_node_knows_nothing_above_its_head(bench: Bench) -> None:
    head = bench.chain.head()
    bench.fault(Fault.STALE, stuck_at=head.number - 10)
    assert await bench.result("eth_blockNumber") == hex(head.number - 10)
    assert await bench.result("eth_getBlockByNumber", hex(head.number), False) is None
    assert await bench.result("eth_getBlockByHash", head.hash, False) is None
    reply = await bench.rpc("eth_getBalance", bench.address(0), {"blockHash": head.hash})
    assert reply["error"]["code"] == -32000
    latest = await bench.result("eth_getBalance", bench.address(0), "latest")
    assert int(latest, 16) == bench.chain.balance(bench.address(0), None, head.number - 10)


async def test_a_node_that_lost_its_state_still_names_its_head(bench: Bench) -> None:
    bench.fault(Fault.RPC_ERROR)
    assert await bench.result("eth_blockNumber") == hex(bench.chain.head().number)
    call = {"to": USDC, "data": balance_of(bench.address(0))}
    for reply in (
        await bench.rpc("eth_getBalance", bench.address(0), "latest"),
        await bench.rpc("eth_call", call, "latest"),
    ):
        assert "missing trie node" in reply["error"]["message"]
