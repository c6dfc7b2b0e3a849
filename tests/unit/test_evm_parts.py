"""The pure parts of the EVM reader: addresses, plans, the multicall codec, the ring of heads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from core.chains.evm import multicall, push
from core.chains.evm.address import checksum, keccak256, normalise, to_bytes
from core.chains.evm.heads import HeadRing, Verdict
from core.chains.evm.ladder import check
from core.chains.evm.plan import Plan
from core.chains.evm.push import HeadFeed
from core.chains.evm.scanner import BlockWords
from core.chains.failures import EndpointError, FailureKind
from core.chains.protocol import AddressError
from core.model import Asset, BlockRef, EndpointState, Request
from tests.clock import TestClock, until

# From EIP-55 itself.
CHECKSUMMED = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
]


@pytest.mark.parametrize("address", CHECKSUMMED)
def test_checksums_are_those_of_eip_55(address: str) -> None:
    assert checksum(address.lower()) == address
    assert checksum(address.upper().replace("0X", "0x")) == address
    assert normalise(f" {address}\n") == address
    assert normalise(address.lower()) == address
    assert to_bytes(address).hex() == address[2:].lower()


@given(st.binary(min_size=20, max_size=20), st.integers(0, 39))
def test_a_letter_in_the_wrong_case_is_noticed(raw: bytes, at: int) -> None:
    good = checksum("0x" + raw.hex())
    assert normalise(good) == normalise("0x" + raw.hex()) == good
    assert to_bytes(good) == to_bytes("0x" + raw.hex()) == raw
    broken = good[: at + 2] + good[at + 2].swapcase() + good[at + 3 :]
    if broken != good and broken[2:] not in (broken[2:].lower(), broken[2:].upper()):
        with pytest.raises(AddressError, match="wrong checksum"):
            normalise(broken)


@pytest.mark.parametrize(
    "text", ["", "0x", "0x12", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "x" * 99]
)
def test_what_is_no_address_is_refused_in_words(text: str) -> None:
    with pytest.raises(AddressError, match="is no EVM address: expected 0x and 40"):
        normalise(text)
    with pytest.raises(AddressError):
        checksum(text)


NATIVE = Asset(1, "base", "ETH", "Ether", 18)
TOKENS = [Asset(2 + i, "base", f"T{i}", f"T{i}", 6, f"0x{0xC0 + i:040x}") for i in range(6)]
ASSETS = [NATIVE, *TOKENS]


def value_of(wallet: bytes, token: bytes | None) -> int:
    """A number that only this pair has."""
    return int.from_bytes(keccak256(wallet + (token or b"")), "big")


def carry_out(plan: Plan) -> list[int | None]:
    """Answer a plan's groups as a node would, in uneven slices."""
    for group in plan.groups:
        for first in range(0, len(group.wallets), 7):
            words = [
                value_of(wallet, token).to_bytes(32, "big")
                for wallet in group.wallets[first : first + 7]
                for token in (None, *group.tokens)
            ]
            group.take(first, b"".join(words))
    return plan.amounts(plan.unreadable, {})


pairs = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=150)


@given(pairs)
def test_every_request_gets_its_own_value_however_requests_are_mixed(
    chosen: list[tuple[int, int]],
) -> None:
    requests = [Request(f"0x{wallet:040x}", ASSETS[asset]) for wallet, asset in chosen]
    plan = Plan(requests)
    expected = [
        value_of(
            bytes.fromhex(r.address[2:]),
            bytes.fromhex(r.asset.contract[2:]) if r.asset.contract else None,
        )
        for r in requests
    ]
    assert carry_out(plan) == expected
    assert carry_out(plan) == expected  # again, from what is kept


def test_an_address_is_the_same_wallet_with_its_checksum_and_without() -> None:
    address, contract = CHECKSUMMED[:2]
    as_written = Asset(2, "base", "T", "T", 6, contract)
    lower = Asset(2, "base", "T", "T", 6, contract.lower())
    plan = Plan([Request(address, as_written), Request(address.lower(), lower)])
    assert plan.unreadable == {}
    assert plan.copies == [(1, 0)]
    assert carry_out(plan) == [value_of(to_bytes(address), to_bytes(contract))] * 2


def test_a_fleet_of_equal_agents_is_one_group_in_order() -> None:
    requests = [Request(f"0x{w:040x}", a) for w in range(50) for a in ASSETS[:3]]
    plan = Plan(requests)
    (group,) = plan.groups
    assert group.positions == range(len(group.values))
    assert plan.reads == 150


def test_a_token_of_few_wallets_does_not_burden_all() -> None:
    requests = [Request(f"0x{w:040x}", NATIVE) for w in range(5_000)]
    requests += [Request(f"0x{w:040x}", token) for w in range(3) for token in TOKENS]
    assert Plan(requests).reads < 5_200


def test_a_failed_request_and_its_copies_are_none() -> None:
    requests = [Request("0x" + "11" * 20, NATIVE), Request("0x" + "22" * 20, NATIVE)]
    plan = Plan([*requests, requests[0]])
    carry_out(plan)
    amounts = plan.amounts([0], {})
    assert (amounts[0], amounts[2]) == (None, None)
    amounts = plan.amounts([], {0: 7})
    assert (amounts[0], amounts[2]) == (7, 7)
    assert amounts[1] is not None


def test_only_stretches_that_differ_are_decoded_again() -> None:
    requests = [Request(f"0x{w:040x}", NATIVE) for w in range(1_000)]
    plan = Plan(requests)
    (group,) = plan.groups
    words = [i.to_bytes(32, "big") for i in range(1_000)]
    group.take(0, b"".join(words))
    kept = list(group.values)
    words[500] = (10**30).to_bytes(32, "big")
    group.take(0, b"".join(words))
    renewed = [i for i, (a, b) in enumerate(zip(kept, group.values, strict=True)) if a is not b]
    assert group.values[500] == 10**30
    assert {i for i in renewed if i > 256} <= set(range(480, 512))


def test_selectors_are_the_hashes_of_their_signatures() -> None:
    signatures = {
        "aggregate3((address,bool,bytes)[])": multicall.AGGREGATE3,
        "getEthBalance(address)": multicall.GET_ETH_BALANCE,
        "balanceOf(address)": multicall.BALANCE_OF,
        "getChainId()": multicall.BLOCK_CALLS[0],
        "getBlockNumber()": multicall.BLOCK_CALLS[1],
        "getCurrentBlockTimestamp()": multicall.BLOCK_CALLS[2],
        "getLastBlockHash()": multicall.BLOCK_CALLS[3],
    }
    for signature, selector in signatures.items():
        assert keccak256(signature.encode())[:4] == selector


def test_the_hand_codec_agrees_with_eth_abi() -> None:
    from eth_abi.abi import decode, encode

    wallets, tokens = [bytes([i]) * 20 for i in range(5)], [bytes([0xA0 + i]) * 20 for i in (0, 1)]
    payload = multicall.encode(wallets, tokens)
    (calls,) = decode(["(address,bool,bytes)[]"], payload[4:])
    assert len(calls) == 4 + 5 * 3
    assert calls[4] == (
        "0x" + multicall.ADDRESS.hex(),
        True,
        multicall.GET_ETH_BALANCE + bytes(12) + wallets[0],
    )
    assert calls[-1][2] == multicall.BALANCE_OF + bytes(12) + wallets[4]
    results = [(True, n.to_bytes(32, "big")) for n in (31337, 8, 1000, 7)]
    results += [(True, n.to_bytes(32, "big")) for n in range(15)]
    results[5] = (False, b"")
    results[6] = (True, b"\x01" * 31)
    results[8] = (True, bytes(31) + b"\x09" + b"more")
    answer = encode(["(bool,bytes)[]"], [results])
    block, words, statuses = multicall.decode(answer, 5, 2)
    assert (block.chain_id, block.number, block.time_s) == (31337, 8, 1000)
    assert list(statuses) == [1, 32 + 31, 0, 0, 0, 0, 0, 0, 0, 0]
    assert int.from_bytes(words[4 * 32 : 5 * 32], "big") == 9
    assert words[32:96] == bytes(64)
    for size in range(0, len(answer), 16):
        with pytest.raises(multicall.MulticallLayoutError):
            multicall.decode(answer[:size], 5, 2)


WORDS = BlockWords(8453, 100, 5_000, "0x" + "aa" * 32)
HEADER = BlockRef(100, "0x" + "bb" * 32, 5_000_000, "0x" + "aa" * 32)


def test_block_words_that_agree_prove_the_block() -> None:
    check(WORDS, HEADER, 8453, "hash")
    check(WORDS._replace(parent="0x" + "00" * 32), HEADER, 8453, "hash")  # node did not know it
    # A rollup that answers with another chain's block number.
    check(WORDS._replace(number=7, parent="0x" + "cc" * 32), HEADER, 8453, "number")
    check(WORDS._replace(time_s=6_000), HEADER, None, "latest")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (WORDS._replace(chain_id=1), FailureKind.WRONG_CHAIN),
        (WORDS._replace(time_s=4_988), FailureKind.INCONSISTENT),
        (WORDS._replace(parent="0x" + "cc" * 32), FailureKind.INCONSISTENT),
    ],
)
def test_block_words_that_differ_tell_on_the_node(words: BlockWords, kind: FailureKind) -> None:
    with pytest.raises(EndpointError) as raised:
        check(words, HEADER, 8453, "hash")
    assert raised.value.kind is kind


@asynccontextmanager
async def pushing(*messages: str) -> AsyncIterator[HeadFeed]:
    """A feed from a WebSocket server that says so to every subscriber and then falls silent."""

    async def serve(socket: ServerConnection) -> None:
        await socket.recv()
        for message in messages:
            await socket.send(message)
        await socket.wait_closed()

    async with serve_websocket(serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield HeadFeed("base", [f"ws://127.0.0.1:{port}"], TestClock())


SUBSCRIBED = '{"jsonrpc":"2.0","id":1,"result":"0x1"}'
REFUSED = '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no notifications here"}}'


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ((SUBSCRIBED,), "time-out: no head for 0 s"),
        ((REFUSED,), "method not supported: newHeads:"),
        ((SUBSCRIBED, "<html>"), "not JSON-RPC"),
        ((SUBSCRIBED, '{"params":{"result":{"number":"0x1"}}}'), "not JSON-RPC"),
    ],
)
async def test_a_push_endpoint_that_fails_backs_off_and_says_why(
    messages: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "FIRST_SILENCE_S", 0.2)
    async with pushing(*messages) as feed, aclosing(feed.heads()) as heads:
        waiting = asyncio.ensure_future(anext(heads))
        (health,) = feed.health().values()

        def backing_off() -> bool:
            nonlocal health
            (health,) = feed.health().values()
            return health.state is EndpointState.BACKING_OFF

        await until(backing_off, "back-off")
        assert health.last_error.startswith(reason)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


def block(number: int, fork: str = "a") -> BlockRef:
    return BlockRef(number, f"{fork}{number}", number * 1000, f"{fork}{number - 1}")


def chain(*, forked_at: int, fork: str = "b") -> Callable[[int], Awaitable[BlockRef | None]]:
    """A node whose history is `a` up to and including `forked_at` and another one above."""

    async def block_at(number: int) -> BlockRef | None:
        return block(number) if number <= forked_at else block(number, fork)

    return block_at


async def untouched(number: int) -> BlockRef | None:
    raise AssertionError("the node need not be asked")


async def test_a_first_a_same_and_a_next_head_follow_without_asking() -> None:
    ring = HeadRing()
    assert await ring.judge(block(5), untouched) is Verdict.FOLLOWS
    ring.add(block(5))
    assert await ring.judge(block(5), untouched) is Verdict.FOLLOWS
    assert await ring.judge(block(6), untouched) is Verdict.FOLLOWS


async def test_a_later_head_follows_if_the_last_one_still_stands() -> None:
    ring = HeadRing()
    ring.add(block(5))
    assert await ring.judge(block(9), chain(forked_at=5)) is Verdict.FOLLOWS
    assert await ring.judge(block(9, "b"), chain(forked_at=4)) == 4


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=40, unique=True),
    st.integers(0, 200),
    st.integers(0, 30),
)
async def test_the_newest_standing_block_is_found(
    read_at: list[int], forked_at: int, ahead: int
) -> None:
    read_at.sort()
    ring = HeadRing()
    for number in read_at:
        ring.add(block(number))
    head_number = max(forked_at, 1) + ahead
    head = block(head_number) if head_number <= forked_at else block(head_number, "b")
    verdict = await ring.judge(head, chain(forked_at=forked_at))
    standing = [number for number in read_at if number <= min(forked_at, head_number)]
    if forked_at >= read_at[-1]:
        assert verdict is Verdict.FOLLOWS or (
            verdict is Verdict.BEHIND and head_number < read_at[-1]
        )
    elif all(number in standing for number in read_at if number <= head_number):
        # Nothing that was read lies on the other side of the fork and below the new head.
        assert verdict is (Verdict.BEHIND if head_number < read_at[-1] else standing[-1])
    else:
        assert verdict == (standing[-1] if standing else read_at[0] - 1)


def test_the_ring_forgets_what_a_fork_replaced() -> None:
    ring = HeadRing(size=3)
    for number in (1, 2, 3, 4, 5):
        ring.add(block(number))
    ring.cut(3)
    assert ring.newest == block(3)
    ring.add(block(3, "b"))
    assert ring.newest == block(3, "b")
    ring.cut(0)
    assert ring.newest is None
