"""The ladder: five ways to read the same words, best first.

Each rung turns wallets x tokens into the scanner's words and statuses, whatever it asks the
node. Which rung an endpoint gets, and how much it is asked at once, is decided in `ladder` and
`reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from core.chains.evm import multicall
from core.chains.evm.address import keccak256
from core.chains.evm.node import EvmNode, hex_bytes
from core.chains.evm.scanner import (
    BURNT,
    BYTECODE,
    REVERTED,
    SCANNER_ADDRESS,
    SHORT,
    WORD,
    BlockWords,
    ScanLayoutError,
    decode_result,
    encode_call,
)
from core.chains.failures import EndpointError, FailureKind
from core.chains.http import decoded

SINGLE_GAS = 5_000_000  # of a read on its own: fifty times the scanner's cap

_CODE = "0x" + BYTECODE.hex()
_OVERRIDE = {SCANNER_ADDRESS: {"code": _CODE}}


class Answer(NamedTuple):
    """What a rung read: the scanner's layout. `block` is None where the rung cannot know."""

    block: BlockWords | None
    words: bytes
    statuses: bytes


class Slice(NamedTuple):
    """Wallets and tokens of one request; `payload` is the scanner's calldata in hex, made when
    first needed and kept by the plan."""

    wallets: Sequence[bytes]
    tokens: Sequence[bytes]
    payload: Callable[[], str]

    @property
    def reads(self) -> int:
        """Words asked for."""
        return len(self.wallets) * (len(self.tokens) + 1)


def slice_of(wallets: Sequence[bytes], tokens: Sequence[bytes]) -> Slice:
    """A slice outside of any plan."""
    return Slice(wallets, tokens, lambda: encode_call(wallets, tokens).hex())


class Rung(Protocol):
    """One technique. Sizes are words per request; `capped` says whether each token read has a
    gas limit of its own."""

    name: str
    start: int
    ceiling: int
    capped: bool
    in_flight: int

    async def ready(self, node: EvmNode) -> None:
        """Check what the rung needs of the chain. Raises EndpointError."""
        ...

    async def read(self, node: EvmNode, part: Slice, at: object) -> Answer:
        """Read a slice at a block parameter. Raises EndpointError."""
        ...


class OverrideScanner:
    """The scanner as code that one `eth_call` puts at an address for itself."""

    name = "override scanner"
    start = 15_000  # 43 million gas; geth allows 50 by default
    ceiling = 60_000
    capped = True
    in_flight = 4

    async def ready(self, node: EvmNode) -> None:
        """Nothing is needed but the third parameter of eth_call."""

    async def read(self, node: EvmNode, part: Slice, at: object) -> Answer:
        """One eth_call with a state override."""
        call = {"to": SCANNER_ADDRESS, "data": "0x" + part.payload()}
        try:
            result = await node.call_bytes(call, at, _OVERRIDE)
        except EndpointError as error:
            raise _starved(error) from error
        return _scanned(result, part)


class DeploylessScanner:
    """The scanner as creation code that reverts with its result."""

    name = "deployless scanner"
    start = 7_200  # 2,400 wallets x 3: creation code is limited to 49,152 bytes (EIP-3860)
    ceiling = 48_000
    capped = True
    in_flight = 4

    async def ready(self, node: EvmNode) -> None:
        """Nothing is needed but eth_call."""

    async def read(self, node: EvmNode, part: Slice, at: object) -> Answer:
        """One eth_call without `to`; the answer is the revert's data."""
        try:
            await node.call_bytes({"data": _CODE + part.payload()}, at)
        except EndpointError as error:
            if error.kind is not FailureKind.REVERTED or len(error.payload) <= 2:
                raise _starved(error) from error
            try:
                result = bytes.fromhex(error.payload[2:])
            except ValueError:
                raise EndpointError(FailureKind.NOT_JSON, "revert data is no hex") from error
            return _scanned(result, part)
        raise EndpointError(FailureKind.NO_METHOD, "the node does not run creation code")


class Multicall3:
    """`aggregate3` of the Multicall3 contract, if the code there is the known one."""

    name = "multicall3"
    start = 1_500
    ceiling = 12_000
    capped = False
    in_flight = 4

    def __init__(self, address: bytes = multicall.ADDRESS) -> None:
        self.address = address

    async def ready(self, node: EvmNode) -> None:
        """Compare the contract's code with the known runtime code."""
        address = "0x" + self.address.hex()
        code = hex_bytes(await node.ask_raw("eth_getCode", (address, "latest")), "eth_getCode")
        if not code:
            raise EndpointError(FailureKind.NO_METHOD, "Multicall3 is not deployed on this chain")
        if keccak256(code).hex() != multicall.CODE_HASH:
            raise EndpointError(FailureKind.NO_METHOD, f"foreign code at Multicall3's {address}")

    async def read(self, node: EvmNode, part: Slice, at: object) -> Answer:
        """One eth_call to the contract."""
        payload = multicall.encode(part.wallets, part.tokens, self.address)
        call = {"to": "0x" + self.address.hex(), "data": "0x" + payload.hex()}
        try:
            result = await node.call_bytes(call, at)
        except EndpointError as error:
            raise _starved(error) from error
        try:
            return Answer(*multicall.decode(result, len(part.wallets), len(part.tokens)))
        except multicall.MulticallLayoutError as error:
            raise EndpointError(FailureKind.GAS, str(error)) from error


class Batch:
    """`eth_getBalance` and `eth_call` for each word, in JSON-RPC batches or singly."""

    capped = False

    def __init__(self, name: str, start: int, ceiling: int, in_flight: int) -> None:
        self.name = name
        self.start = start
        self.ceiling = ceiling
        self.in_flight = in_flight

    async def ready(self, node: EvmNode) -> None:
        """Nothing is needed."""

    async def read(self, node: EvmNode, part: Slice, at: object) -> Answer:
        """Ask for every word, at most the learnt size per request."""
        calls: list[tuple[str, object]] = []
        for wallet in part.wallets:
            calls.append(("eth_getBalance", ("0x" + wallet.hex(), at)))
            calls += [("eth_call", (balance_call(wallet, token), at)) for token in part.tokens]
        size = node.endpoint.chunk(self.name, self.start, self.ceiling).size
        answers: list[msgspec.Raw | EndpointError] = []
        for first in range(0, len(calls), size):
            answers += await self._ask(node, calls[first : first + size])
        words: list[bytes] = []
        statuses = bytearray()
        for (method, _), answer in zip(calls, answers, strict=True):
            word, status = _word_of(method, answer)
            words.append(word)
            if method == "eth_call":
                statuses.append(status)
        return Answer(None, b"".join(words), bytes(statuses))

    async def _ask(
        self, node: EvmNode, calls: list[tuple[str, object]]
    ) -> list[msgspec.Raw | EndpointError]:
        if self.ceiling > 1:
            return await node.ask_batch(calls)
        try:
            return [await node.ask_raw(*calls[0])]
        except EndpointError as error:
            if error.kind not in PER_CALL:
                raise
            return [error]


# Failures that speak of one call alone, not of the endpoint.
PER_CALL = frozenset({FailureKind.REVERTED, FailureKind.GAS})


def balance_call(wallet: bytes, token: bytes) -> dict[str, str]:
    """The eth_call object of `balanceOf(wallet)`, with a limit to what it may burn."""
    payload = multicall.BALANCE_OF + bytes(12) + wallet
    return {"to": "0x" + token.hex(), "data": "0x" + payload.hex(), "gas": hex(SINGLE_GAS)}


def _word_of(method: str, answer: msgspec.Raw | EndpointError) -> tuple[bytes, int]:
    """One answer of a batch as a word and a status. Raises EndpointError where it speaks of
    more than this call."""
    if isinstance(answer, EndpointError):
        if method == "eth_call" and answer.kind in PER_CALL:
            return bytes(WORD), BURNT if answer.kind is FailureKind.GAS else REVERTED
        raise answer
    if method == "eth_getBalance":
        try:
            return int(decoded(answer, str, method), 16).to_bytes(WORD, "big"), 0
        except (ValueError, OverflowError) as error:
            raise EndpointError(FailureKind.RPC, "eth_getBalance answered no quantity") from error
    result = hex_bytes(answer, method)
    if len(result) < WORD:
        return bytes(WORD), SHORT + len(result)
    return result[:WORD], 0


def _starved(error: EndpointError) -> EndpointError:
    """A bare revert of a scanner or aggregate means that the gas did not suffice."""
    if error.kind is FailureKind.REVERTED and len(error.payload) <= 2:
        return EndpointError(FailureKind.GAS, "the call's gas does not suffice", code=error.code)
    return error


def _scanned(result: bytes, part: Slice) -> Answer:
    try:
        return Answer(*decode_result(result, len(part.wallets), len(part.tokens)))
    except ScanLayoutError as error:
        # An endpoint that ignores overrides calls an address without code: no bytes come back.
        raise EndpointError(FailureKind.NO_METHOD, str(error)) from error


def ladder(multicall_address: bytes = multicall.ADDRESS) -> tuple[Rung, ...]:
    """All rungs, best first."""
    return (
        OverrideScanner(),
        DeploylessScanner(),
        Multicall3(multicall_address),
        Batch("batch", 100, 1_000, 4),
        Batch("single", 1, 1, 16),
    )
