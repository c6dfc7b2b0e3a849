"""TronReader against a java-tron-shaped node: every rung, every special state, every fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.chains.protocol import ChainUnreachableError
from core.chains.tron import TronReader
from core.demo.protocol import Fault
from core.demo.tron_node import TronNode
from core.model import Asset, Consistency, EndpointState, Request, Unknown, Value
from tests.integration.chains.ledgers import (
    TRX,
    USDT,
    USDT_CONTRACT,
    Faults,
    Kept,
    Ledger,
    RealClock,
    tron_account,
)

MAINNET = 728_126_428
COUNT = 120
WALLETS = [tron_account(n) for n in range(COUNT)]
ASKED = [Request(wallet, asset) for wallet in WALLETS for asset in (TRX, USDT)]
TRUTH = [amount for n in range(COUNT) for amount in (1_000_000 + n, 5 * n)]

NO_CONTRACT = Asset(20, "tron", "NIL", "Nothing", 6, contract=tron_account(7000))
HOSTILE_CONTRACT = tron_account(7001)
HOSTILE = Asset(21, "tron", "BAD", "Reverts", 6, contract=HOSTILE_CONTRACT)

RUNGS = [
    pytest.param({}, "multicall3", id="multicall3"),
    pytest.param({"multicall": False}, "batch", id="batch"),
    pytest.param({"jsonrpc": False}, "wallet", id="wallet"),
]


def funded(chain_id: int = MAINNET) -> Ledger:
    ledger = Ledger("tron", chain_id=chain_id)
    ledger.contracts |= {USDT_CONTRACT, HOSTILE_CONTRACT}
    balances: dict[tuple[str, str | None], int | None] = {}
    for n, wallet in enumerate(WALLETS):
        balances[wallet, None] = 1_000_000 + n
        balances[wallet, USDT_CONTRACT] = 5 * n
    ledger.close(balances)
    return ledger


@asynccontextmanager
async def reading_from(
    *nodes: TronNode, interval_s: float = 8.0, timeout_s: float = 1.0, memory: Kept | None = None
) -> AsyncIterator[TronReader]:
    reader = TronReader(
        "tron",
        [node.url for node in nodes],
        RealClock(),
        memory or Kept(),
        chain_id=MAINNET,
        interval_s=interval_s,
        timeout_s=timeout_s,
    )
    await reader.open()
    try:
        yield reader
    finally:
        await reader.close()


@pytest.mark.parametrize(("offers", "rung"), RUNGS)
async def test_each_rung_reads_the_same_truth(offers: dict[str, bool], rung: str) -> None:
    ledger = funded()
    async with TronNode(ledger, Faults(), **offers) as node, reading_from(node) as reader:
        reading = await reader.read(ASKED)
        assert reading.amounts == TRUTH
        assert reading.reasons == {}
        assert reading.block == ledger.head()
        assert reader.health()[0].rung == rung
        ledger.close({(WALLETS[3], None): 99})
        reading = await reader.read(ASKED)
        assert reading.amounts[6] == 99
        assert reading.block == ledger.head()


@pytest.mark.parametrize(("offers", "rung"), RUNGS)
async def test_an_account_without_activation_is_zero_and_marked_on_each_rung(
    offers: dict[str, bool], rung: str
) -> None:
    ledger = funded()
    stranger, poor = tron_account(5000), tron_account(5001)
    ledger.close({(poor, None): 0, (poor, USDT_CONTRACT): 8, (stranger, USDT_CONTRACT): 0})
    asked = [Request(a, t) for a in (stranger, poor) for t in (TRX, USDT)]
    async with TronNode(ledger, Faults(), **offers) as node, reading_from(node) as reader:
        for _ in range(2):
            reading = await reader.read(asked)
            assert [reading[n] for n in range(4)] == [
                Value(0, mark="not activated"), Value(0), Value(0), Value(8)
            ]  # fmt: skip
        ledger.close({(stranger, None): 4})
        assert (await reader.read(asked))[0] == Value(4)


@pytest.mark.parametrize(("offers", "rung"), RUNGS)
async def test_a_hostile_token_harms_only_itself_on_each_rung(
    offers: dict[str, bool], rung: str
) -> None:
    ledger = funded()
    asked = [Request(WALLETS[1], asset) for asset in (TRX, NO_CONTRACT, HOSTILE, USDT)]
    async with TronNode(ledger, Faults(), **offers) as node, reading_from(node) as reader:
        reading = await reader.read([*asked, Request("T" + "x" * 33, TRX)])
        assert reading.amounts == [1_000_001, None, None, 5, None]
        assert reading[1] == Unknown("no contract at the token's address")
        assert reading[2] == Unknown("balanceOf reverted")
        assert "wrong checksum" in reading.reasons[4]
        assert reader.health()[0].rung == rung


async def test_a_reading_in_one_block_says_so_and_one_over_several_says_which() -> None:
    ledger = funded()
    async with TronNode(ledger, Faults()) as node, reading_from(node) as reader:
        reading = await reader.read(ASKED)
        assert reading.consistency is Consistency.SAME_CALL
        assert reading.first_block == reading.block.number == ledger.head().number

        async def move() -> None:
            while True:
                ledger.close()
                await asyncio.sleep(0.002)

        moving = asyncio.create_task(move())
        reading = await reader.read(ASKED)
        moving.cancel()
        assert reading.amounts == TRUTH
        assert reading.consistency is Consistency.SPREAD
        assert reading.first_block < reading.block.number
        assert reading.block == ledger.block(reading.block.number)


async def test_chunks_shrink_when_the_80_ms_do_not_suffice_and_are_remembered() -> None:
    ledger, memory = funded(), Kept()
    async with TronNode(ledger, Faults(), time_limit=40) as node:
        async with reading_from(node, memory=memory) as reader:
            assert (await reader.read(ASKED)).amounts == TRUTH
            health = reader.health()[0]
            assert "CPU timeout" in health.last_error
            assert health.chunk <= 36
            assert health.rung == "multicall3"
        async with reading_from(node, memory=memory) as reader:
            assert (await reader.read(ASKED)).amounts == TRUTH
            assert reader.health()[0].errors == 0, "what was learnt outlives a restart"
            node.time_limit = 6  # the node became slower: one wallet still fits
            assert (await reader.read(ASKED)).amounts == TRUTH
            assert reader.health()[0].chunk <= 3


async def test_a_batch_longer_than_the_node_allows_is_split() -> None:
    ledger = funded()
    node = TronNode(ledger, Faults(), multicall=False, batch_limit=20)
    async with node, reading_from(node) as reader:
        assert (await reader.read(ASKED)).amounts == TRUTH
        health = reader.health()[0]
        assert health.chunk <= 20
        assert "Batch size" in health.last_error


async def test_a_multicall_that_disagrees_with_single_reads_is_not_trusted() -> None:
    ledger = funded()
    async with _Liar(ledger, Faults()) as node, reading_from(node) as reader:
        assert (await reader.read(ASKED)).amounts == TRUTH
        assert reader.health()[0].rung == "batch"


async def test_a_better_rung_that_failed_is_tried_again_after_a_while() -> None:
    ledger, clock = funded(), _Later()
    async with _Liar(ledger, Faults()) as node:
        reader = TronReader("tron", [node.url], clock, Kept())
        await reader.read(ASKED)
        node.lies = False
        await reader.read(ASKED)
        assert reader.health()[0].rung == "batch", "not in every cycle"
        clock.later_s = 700.0
        assert (await reader.read(ASKED)).amounts == TRUTH
        assert reader.health()[0].rung == "multicall3"
        await reader.close()


class _Later(RealClock):
    """The machine's time, put forward."""

    later_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later_s


class _Liar(TronNode):
    """A node on which something else may stand at Multicall3's address."""

    lies = True

    async def start(self, port: int = 0) -> None:
        await super().start(port)
        honest = self._replies._inner

        def inner(to: str, data: str) -> bytes | None:
            if self.lies and data.startswith("4d2301cc"):
                return (77).to_bytes(32)
            return honest(to, data)

        self._replies._inner = inner  # type: ignore[method-assign]  # the contract itself lies


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.TIMEOUT, "time-out: no answer within 1 s"),
        (Fault.TOO_MANY, "too many requests: HTTP 429"),
        (Fault.TOO_LARGE, "too large: HTTP 413"),
        (Fault.SERVER_ERROR, "server error: HTTP 503"),
        (Fault.HTML, "an HTML page"),
        (Fault.HALF, "answer cut short"),
        (Fault.RESET, "connection reset|answer cut short"),
        (Fault.WRONG_CHAIN, "wrong chain: the endpoint is of chain id 728126429"),
        (Fault.RPC_ERROR, "internal error"),
    ],
)
async def test_every_fault_of_the_first_node_is_named_and_the_second_takes_over(
    fault: Fault, says: str
) -> None:
    ledger, faults = funded(), Faults()
    faults.begin(fault)
    async with (
        TronNode(ledger, faults) as first,
        TronNode(ledger, Faults()) as second,
        reading_from(first, second) as reader,
    ):
        reading = await reader.read(ASKED)
        assert reading.amounts == TRUTH
        assert reading.endpoint == second.url
        sick = reader.health()[0]
        assert any(words in sick.last_error for words in says.split("|")), sick.last_error
        wrong = fault is Fault.WRONG_CHAIN
        state = EndpointState.REFUSED if wrong else EndpointState.BACKING_OFF
        assert sick.state is state


async def test_retry_after_is_waited_for_and_then_the_node_is_used_again() -> None:
    ledger, faults = funded(), Faults()
    async with TronNode(ledger, faults) as node, reading_from(node) as reader:
        await reader.read(ASKED)
        faults.begin(Fault.TOO_MANY)  # Retry-After: 1
        asyncio.get_running_loop().call_later(0.3, faults.end)
        clock = RealClock()
        started = clock.monotonic()
        assert (await reader.read(ASKED)).amounts == TRUTH
        assert clock.monotonic() - started >= 1.0


async def test_a_node_whose_head_stands_still_is_left_for_one_that_moves() -> None:
    ledger, faults = funded(), Faults()
    stuck = ledger.close(age_s=120)
    async with (
        TronNode(ledger, faults) as first,
        TronNode(ledger, Faults()) as second,
        reading_from(first, second, interval_s=0.5) as reader,
    ):
        faults.begin(Fault.STALE, stuck_at=stuck.number)
        assert (await reader.read(ASKED)).endpoint == first.url
        ledger.close({(WALLETS[0], None): 1})
        endpoint = ""
        for _ in range(10):
            await asyncio.sleep(0.3)  # the standby's head is looked at between readings
            reading = await reader.read(ASKED)
            endpoint = reading.endpoint
            if endpoint == second.url:
                break
        assert endpoint == second.url
        assert reading.amounts[0] == 1
        assert "stale head" in reader.health()[0].last_error


async def test_where_no_node_answers_every_one_is_named_with_its_reason() -> None:
    ledger, html, busy = funded(), Faults(), Faults()
    html.begin(Fault.HTML)
    busy.begin(Fault.SERVER_ERROR)
    async with (
        TronNode(ledger, html) as first,
        TronNode(ledger, busy) as second,
        reading_from(first, second, interval_s=0.5) as reader,
    ):
        with pytest.raises(ChainUnreachableError, match=r"HTML page.*HTTP 503"):
            await reader.read(ASKED)


async def test_an_earlier_block_cannot_be_read_and_is_unknown_not_the_newest_state() -> None:
    ledger = funded()
    earlier = ledger.head()
    async with TronNode(ledger, Faults()) as node, reading_from(node) as reader:
        assert (await reader.read(ASKED, at=earlier)).amounts == TRUTH, "it is the newest"
        ledger.close({(WALLETS[0], None): 1})
        reading = await reader.read(ASKED, at=earlier)
        assert list(reading.amounts) == [None] * len(ASKED)
        assert "only their newest state" in reading.reasons[0]


async def test_a_configured_jsonrpc_url_means_the_same_node() -> None:
    ledger = funded()
    async with TronNode(ledger, Faults()) as node:
        reader = TronReader("tron", [f"{node.url}/jsonrpc/"], RealClock(), Kept())
        assert (await reader.read(ASKED)).amounts == TRUTH
        assert [head async for head in reader.heads()] == []
        await reader.close()


async def test_after_close_no_task_is_left() -> None:
    before = asyncio.all_tasks()
    async with TronNode(funded(), Faults()) as node, reading_from(node) as reader:
        await reader.read(ASKED)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
