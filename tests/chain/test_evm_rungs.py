"""Every rung of the ladder gives what single reads give, and a hostile token harms only itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.chains.evm import EvmReader, multicall
from core.chains.evm import rungs as techniques
from core.chains.evm.node import EvmNode
from core.chains.evm.rungs import Batch, Multicall3, Rung, ladder
from core.chains.evm.selftest import Sample, compare
from core.events import Json
from core.model import BlockRef, Consistency, Request, Unknown, Value
from tests.chain import tokens
from tests.chain.anvil import Anvil
from tests.chain.bench import Fleet, WallClock, native, token, wallet
from tests.chain.proxy import RpcRefusal, proxied

MakeReader = Callable[..., EvmReader]
NAMES = [rung.name for rung in ladder()]


@pytest.fixture(scope="session")
def multicall3(anvil: Anvil) -> bytes:
    """Multicall3's own code at its own address."""
    code = anvil.multicall3()
    assert code is not None, "this anvil does not carry Multicall3's code"
    anvil.set_code(multicall.ADDRESS, code)
    return code


def named(name: str) -> Rung:
    return next(rung for rung in ladder() if rung.name == name)


def singly(anvil: Anvil, fleet: Fleet) -> list[int]:
    """Every value by a single read of its own."""
    calls: list[tuple[str, list[Json]]] = []
    for owner in fleet.wallets:
        for asset in fleet.assets:
            if asset.contract is None:
                calls.append(("eth_getBalance", ["0x" + owner.hex(), "latest"]))
            else:
                call = techniques.balance_call(owner, bytes.fromhex(asset.contract[2:]))
                calls.append(("eth_call", [dict(call), "latest"]))
    return [int(str(answer), 16) for answer in anvil.rpc_many(calls)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("multicall3")
async def test_every_rung_equals_single_reads_for_every_wallet(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, name: str
) -> None:
    reader = reader_for(anvil.url, rungs=[named(name)])
    requests = fleet.requests()
    for _ in range(2):  # the second reading goes by the remembered plan and rung
        reading = await reader.read(requests)
        assert list(reading.amounts) == singly(anvil, fleet) == fleet.amounts()
        assert reading.consistency is Consistency.PINNED
        assert reading.block.number == anvil.head()
        assert reading.reasons == {}
    assert reader.health()[0].rung == name


HOSTILE: dict[str, tuple[bytes, str]] = {
    "reverts": (tokens.REVERTS, "balanceOf reverted"),
    "reverts with words": (tokens.REVERTS_WITH_WORDS, "balanceOf reverted"),
    "returns nothing": (tokens.RETURNS_NOTHING, "balanceOf returned 0 bytes instead of 32"),
    "returns 31 bytes": (tokens.RETURNS_31_BYTES, "balanceOf returned 31 bytes instead of 32"),
    "burns all gas": (tokens.BURNS_ALL_GAS, "balanceOf ran out of gas"),
    "is no contract": (b"", "no contract at the token's address"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("multicall3")
async def test_hostile_tokens_are_unknown_with_their_reason_and_harm_nobody_else(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, name: str
) -> None:
    bad = [token(20 + i, bytes([0xD0 + i]) * 20) for i in range(len(HOSTILE))]
    for asset, (code, _) in zip(bad, HOSTILE.values(), strict=True):
        assert asset.contract is not None
        anvil.set_code(bytes.fromhex(asset.contract[2:]), code)
    anvil.mine()
    wallets = fleet.wallets[:12]
    assets = [fleet.assets[0], bad[4], fleet.assets[1], *bad[:4], bad[5], fleet.assets[2]]
    requests = [Request("0x" + w.hex(), asset) for w in wallets for asset in assets]
    reader = reader_for(anvil.url, rungs=[named(name)])
    for _ in range(2):
        reading = await reader.read(requests)
        expected = {a.id: words for a, (_, words) in zip(bad, HOSTILE.values(), strict=True)}
        for index, request in enumerate(requests):
            result = reading[index]
            if request.asset.id in expected:
                assert isinstance(result, Unknown)
                skipped = "token skipped" in result.reason and request.asset is bad[4]
                assert skipped or result.reason.startswith(expected[request.asset.id])
            else:
                owner = bytes.fromhex(request.address[2:])
                assert result == Value(fleet.truth[(owner, request.asset.contract)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("multicall3")
async def test_the_largest_number_and_zero_are_values(
    anvil: Anvil, reader_for: MakeReader, name: str
) -> None:
    largest, zero = bytes([0xE0]) * 20, bytes([0xE1]) * 20
    anvil.set_code(largest, tokens.LARGEST)
    anvil.set_code(zero, tokens.ZERO)
    assets = [token(30, largest, decimals=0), token(31, zero, decimals=77)]
    requests = [Request("0x" + wallet(i).hex(), a) for i in range(40) for a in assets]
    reading = await reader_for(anvil.url, rungs=[named(name)]).read(requests)
    assert list(reading.amounts) == [2**256 - 1, 0] * 40
    assert reading.reasons == {}


async def test_a_token_that_burns_all_gas_costs_a_large_fleet_two_requests_more(
    anvil: Anvil, reader_for: MakeReader
) -> None:
    good, burner = bytes([0xE6]) * 20, bytes([0xE7]) * 20
    anvil.set_code(good, tokens.FROM_ADDRESS)
    anvil.set_code(burner, tokens.BURNS_ALL_GAS)
    assets = [token(34, burner), token(35, good)]
    wallets = [wallet(i) for i in range(1_500)]
    requests = [Request("0x" + w.hex(), a) for w in wallets for a in assets]
    reader = reader_for(anvil.url)
    await reader.read(requests)
    reading = await reader.read(requests)
    assert reading.requests_sent == 2 + 2  # head and scan; two wallets' reads of the burner
    assert list(reading.amounts[1::2]) == [int.from_bytes(w[-2:], "big") for w in wallets]
    assert set(reading.amounts[0::2]) == {None}
    assert all("ran out of gas" in reason for reason in reading.reasons.values())


async def test_a_token_dearer_than_the_cap_is_still_read(
    anvil: Anvil, reader_for: MakeReader
) -> None:
    dear = bytes([0xE2]) * 20
    anvil.set_code(dear, tokens.DEAR)
    requests = [Request("0x" + wallet(i).hex(), token(32, dear)) for i in range(30)]
    reading = await reader_for(anvil.url).read(requests)
    assert list(reading.amounts) == [9] * 30
    assert reading.reasons == {}


async def test_a_token_that_fails_for_some_wallets_is_read_for_the_others(
    anvil: Anvil, reader_for: MakeReader
) -> None:
    fickle = bytes([0xE3]) * 20
    anvil.set_code(fickle, tokens.REVERTS_FOR_SOME)
    wallets = [wallet(i) for i in range(60)]
    requests = [Request("0x" + w.hex(), token(33, fickle)) for w in wallets]
    reading = await reader_for(anvil.url).read(requests)
    odd = [w[-1] & 1 for w in wallets]
    assert list(reading.amounts) == [None if o else 7 for o in odd]
    assert set(reading.reasons.values()) == {"balanceOf reverted"}


async def test_wrong_addresses_are_unknown_with_words_and_harm_nobody_else(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader
) -> None:
    good = fleet.requests()[0]
    checksum_broken = Request("0xF39fd6e51aad88F6F4ce6aB8827279cffFb92266", native())
    requests = [Request("nonsense", native()), good, checksum_broken, good]
    reading = await reader_for(anvil.url).read(requests)
    assert reading.amounts[1] == reading.amounts[3] == fleet.truth[(fleet.wallets[0], None)]
    assert "no EVM address" in reading.reasons[0]
    assert "wrong checksum" in reading.reasons[2]
    assert set(reading.reasons) == {0, 2}


async def test_wallets_with_different_assets_are_read_together(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader
) -> None:
    requests = [r for i, r in enumerate(fleet.requests()) if (i * 7) % 5 < 3]
    requests += requests[5:9]  # asked twice
    requests.reverse()
    reading = await reader_for(anvil.url).read(requests)
    expected = [fleet.truth[(bytes.fromhex(r.address[2:]), r.asset.contract)] for r in requests]
    assert list(reading.amounts) == expected


async def test_nothing_asked_is_nothing_read(anvil: Anvil, reader_for: MakeReader) -> None:
    reading = await reader_for(anvil.url).read([])
    assert list(reading.amounts) == []
    assert reading.block.number == anvil.head()


async def test_an_earlier_block_is_read_as_it_was(anvil: Anvil, reader_for: MakeReader) -> None:
    owner = bytes([0xE4]) * 20
    anvil.set_native({owner: 111})
    first = anvil.mine()
    anvil.mine()  # setting a balance changes the head's state, not only what follows
    anvil.set_native({owner: 222})
    anvil.mine()
    requests = [Request("0x" + owner.hex(), native())]
    reader = reader_for(anvil.url)
    now = await reader.read(requests)
    by_number = await reader.read(requests, at=BlockRef(first, "", 0))
    assert (now[0], by_number[0]) == (Value(222), Value(111))
    assert by_number.block.number == first
    assert (await reader.read(requests, at=by_number.block))[0] == Value(111)
    assert by_number.forked_below is None


def no_overrides(method: str, params: list[Json]) -> None:
    if method == "eth_call" and len(params) > 2:
        raise RpcRefusal(-32602, "too many arguments, want at most 2")


def no_creation(method: str, params: list[Json]) -> None:
    no_overrides(method, params)
    if method == "eth_call" and isinstance(params[0], dict) and "to" not in params[0]:
        raise RpcRefusal(-32602, "missing field `to`")


def no_multicall(method: str, params: list[Json]) -> None:
    no_creation(method, params)
    if method == "eth_getCode":
        raise RpcRefusal(-32601, "the method eth_getCode does not exist/is not available")


@pytest.mark.parametrize(
    ("rule", "batches", "rung"),
    [
        (None, True, "override scanner"),
        (no_overrides, True, "deployless scanner"),
        (no_creation, True, "multicall3"),
        (no_multicall, True, "batch"),
        (no_multicall, False, "single"),
    ],
)
@pytest.mark.usefixtures("multicall3")
async def test_the_best_rung_an_endpoint_allows_is_found_and_remembered(
    anvil: Anvil,
    fleet: Fleet,
    reader_for: MakeReader,
    rule: Callable[[str, list[Json]], None] | None,
    batches: bool,
    rung: str,
) -> None:
    requests = fleet.requests()[:60]
    async with proxied(anvil.url) as proxy:
        proxy.rule = rule
        proxy.accepts_batches = batches
        first = reader_for(proxy.url)
        reading = await first.read(requests)
        assert list(reading.amounts) == fleet.amounts()[:60]
        assert first.health()[0].rung == rung
        again = reader_for(proxy.url)  # a restart: the memory is the same
        await again.open()
        probes = len(proxy.bodies)
        assert (await again.read(requests)).amounts == reading.amounts
        chain_head_probe_read = 4 + (rung == "multicall3") + 62 * (rung == "single")
        assert len(proxy.bodies) - probes <= chain_head_probe_read
        assert again.health()[0].rung == rung


@pytest.mark.usefixtures("multicall3")
async def test_a_remembered_rung_is_probed_anew_after_a_week(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader
) -> None:
    requests = fleet.requests()[:9]
    clock = WallClock()
    async with proxied(anvil.url) as proxy:
        proxy.rule = no_creation
        await reader_for(proxy.url, clock=clock).read(requests)
        proxy.rule = None  # the node was upgraded
        for days, rung in ((6, "multicall3"), (8, "override scanner")):
            clock.ahead_ms = days * 24 * 3600 * 1000
            reader = reader_for(proxy.url, clock=clock)
            await reader.open()
            await reader.read(requests)
            assert reader.health()[0].rung == rung


async def test_foreign_code_at_multicalls_address_is_not_trusted(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader
) -> None:
    impostor = bytes([0xE5]) * 20
    anvil.set_code(impostor, tokens.LARGEST)
    batch = Batch("batch", 100, 1_000, 4)
    reader = reader_for(anvil.url, rungs=[Multicall3(impostor), batch])
    reading = await reader.read(fleet.requests()[:9])
    assert list(reading.amounts) == fleet.amounts()[:9]
    assert reader.health()[0].rung == "batch"


def only(pin: str) -> Callable[[str, list[Json]], None]:
    """A node that takes no block parameter better than `pin`."""

    def rule(method: str, params: list[Json]) -> None:
        if method not in ("eth_call", "eth_getBalance"):
            return
        if isinstance(params[1], dict) or (pin == "latest" and params[1] != "latest"):
            raise RpcRefusal(-32602, "invalid argument 1: cannot unmarshal block")

    return rule


@pytest.mark.parametrize("pin", ["number", "latest"])
async def test_without_block_words_the_block_is_looked_at_again_afterwards(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, pin: str
) -> None:
    async with proxied(anvil.url) as proxy:
        proxy.rule = only(pin)
        reader = reader_for(proxy.url, rungs=[named("batch")])
        reading = await reader.read(fleet.requests())
        assert list(reading.amounts) == fleet.amounts()
        assert reading.block.number == reading.first_block == anvil.head()
        expected = Consistency.PINNED if pin == "number" else Consistency.SPREAD
        assert reading.consistency is expected


async def test_blocks_that_pass_during_a_sweep_at_the_latest_are_a_spread(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader
) -> None:
    refuse = only("latest")

    def moving(method: str, params: list[Json]) -> None:
        refuse(method, params)
        if method == "eth_call":
            anvil.mine()

    async with proxied(anvil.url) as proxy:
        proxy.rule = refuse
        reader = reader_for(proxy.url)
        before = await reader.read(fleet.requests())
        proxy.rule = moving
        proxy.largest_body = 8_000  # several slices
        reading = await reader.read(fleet.requests())
    assert reading.consistency is Consistency.SPREAD
    assert before.block.number < reading.first_block < reading.block.number
    assert list(reading.amounts) == fleet.amounts()


@pytest.mark.parametrize("pin", ["number", "latest"])
async def test_without_pins_by_hash_the_block_words_prove_the_block(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader, pin: str
) -> None:

    async with proxied(anvil.url) as proxy:
        proxy.rule = only(pin)
        reading = await reader_for(proxy.url).read(fleet.requests())
    assert list(reading.amounts) == fleet.amounts()
    assert reading.block.number == anvil.head()
    expected = Consistency.PINNED if pin == "number" else Consistency.SAME_CALL
    assert reading.consistency is expected


async def test_a_rung_is_tested_against_web3_after_it_served(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader
) -> None:
    reader = reader_for(anvil.url, self_test=True)
    await reader.read(fleet.requests())
    await reader.settled()
    assert "9 values agree with single reads" in reader.health()[0].note


async def test_a_rung_that_lies_is_dropped_and_everything_read_again(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader
) -> None:
    class Lying(Batch):
        """Reads right and reports one unit too much, as a broken fork's node might."""

        async def read(
            self, node: EvmNode, part: techniques.Slice, at: object
        ) -> techniques.Answer:
            answer = await super().read(node, part, at)
            last = (answer.words[-1] + 1) % 256
            return answer._replace(words=answer.words[:-1] + bytes([last]))

    lying = Lying("lying batch", 100, 1_000, 4)
    requests = fleet.requests()[:3]
    reader = reader_for(anvil.url, self_test=True, rungs=[lying, *ladder()])
    assert list((await reader.read(requests)).amounts) != fleet.amounts()[:3]
    await reader.settled()
    assert "disagrees with single reads" in reader.health()[0].note
    assert list((await reader.read(requests)).amounts) == fleet.amounts()[:3]
    assert reader.health()[0].rung == "override scanner"


async def test_a_self_test_tells_agreement_difference_and_no_verdict_apart(
    anvil: Anvil, fleet: Fleet
) -> None:
    def samples(more: int) -> list[Sample]:
        owner = fleet.wallets[5]
        return [
            Sample("0x" + owner.hex(), a.contract, str(fleet.truth[(owner, a.contract)] + more))
            for a in fleet.assets
        ]

    number = anvil.head()
    header = anvil.rpc("eth_getBlockByNumber", hex(number), False)
    assert isinstance(header, dict)
    block = BlockRef(number, str(header["hash"]), 0)
    replaced = BlockRef(number, "0x" + "ab" * 32, 0)
    assert (await compare(anvil.url, samples(0), block, 5)).passed is True
    differs = await compare(anvil.url, samples(1), block, 5)
    assert differs.passed is False
    assert "the native balance: read" in differs.words
    assert (await compare(anvil.url, samples(1), replaced, 5)).passed is None
    dead = await compare("http://127.0.0.1:9", samples(0), block, 5)
    assert dead.passed is None
    assert dead.words.startswith("self-test not possible: ")


async def test_proxy_counts_what_a_reading_says_it_sent(
    anvil: Anvil, fleet: Fleet, reader_for: MakeReader
) -> None:
    async with proxied(anvil.url) as proxy:
        reader = reader_for(proxy.url)
        for _ in range(3):
            before = len(proxy.bodies)
            reading = await reader.read(fleet.requests())
            assert reading.requests_sent == len(proxy.bodies) - before
        assert reading.requests_sent == 2  # the head, and everything else
