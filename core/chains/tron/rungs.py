"""TRON's ladder: Multicall3 in small chunks, a JSON-RPC batch, and the wallet calls.

All read the newest state, whatever block they are given. The first names the block it ran in.
(Source: notes on Multicall3 at TEazPvZwDjDtFeJupyo7QunvnrnUjPH8ED; the virtual machine stops a
constant call after 80 ms.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from core.chains.evm.node import EvmNode, hex_bytes
from core.chains.evm.rungs import PER_CALL, Answer, Batch, Multicall3, Rung, Slice, balance_call
from core.chains.evm.scanner import REVERTED, SHORT, WORD
from core.chains.failures import EndpointError, FailureKind
from core.chains.tron.node import TronNode

MULTICALL3: Final = bytes.fromhex("32a4f47a74a6810bd0bf861cabab99656a75de9e")
_AGREE_TRIES: Final = 3  # money moves: a value may differ once or twice without being wrong


class TronMulticall(Multicall3):
    """`aggregate3` within 80 ms. The code's hash is not the canonical one on TRON; instead its
    answers are compared with single reads before it is trusted (`agrees`)."""

    start = 100
    ceiling = 3_000
    in_flight = 2

    def __init__(self) -> None:
        super().__init__(MULTICALL3)

    async def ready(self, node: EvmNode) -> None:
        """See that there is code at all."""
        address = "0x" + self.address.hex()
        if not hex_bytes(await node.ask_raw("eth_getCode", (address, "latest")), "eth_getCode"):
            raise EndpointError(FailureKind.NO_METHOD, "Multicall3 is not deployed here")


class WalletCalls:
    """wallet/getaccount and wallet/triggerconstantcontract, one POST for each word."""

    name = "wallet"
    start = 30
    ceiling = 300
    capped = True  # each call has its own 80 ms
    in_flight = 4

    async def ready(self, node: EvmNode) -> None:
        """Nothing is needed: a node without these calls is no TRON node."""

    async def read(self, node: EvmNode, part: Slice, at: object) -> Answer:
        """Ask for every word by itself."""
        assert isinstance(node, TronNode)
        words: list[bytes] = []
        statuses = bytearray()
        for wallet in part.wallets:
            account = await node.account(wallet)
            words.append(account.balance.to_bytes(WORD))
            for token in part.tokens:
                word, status = await _token(node, wallet, token)
                words.append(word)
                statuses.append(status)
        return Answer(None, b"".join(words), bytes(statuses))


async def _token(node: TronNode, wallet: bytes, token: bytes) -> tuple[bytes, int]:
    try:
        result = await node.balance_of(wallet, token)
    except EndpointError as error:
        if error.kind not in PER_CALL:
            raise
        return bytes(WORD), REVERTED
    if len(result) < WORD:
        return bytes(WORD), SHORT + len(result)
    return result[:WORD], 0


LADDER: Final[tuple[Rung, ...]] = (
    TronMulticall(),
    Batch("batch", 50, 100, 2),
    WalletCalls(),
)


def offered(node: TronNode) -> Sequence[Rung]:
    """The rungs worth trying on an endpoint."""
    return LADDER if node.has_rpc else LADDER[-1:]


async def agrees(node: TronNode, rung: Rung, part: Slice) -> bool:
    """Whether a rung reads what single calls read, for a few wallets. Raises EndpointError."""
    for attempt in range(_AGREE_TRIES):
        if attempt:
            await asyncio.sleep(0.05)
        answer = await rung.read(node, part, "latest")
        if answer.words == await _singly(node, part, answer.statuses):
            return True
    return False


async def _singly(node: TronNode, part: Slice, statuses: bytes) -> bytes:
    """The slice's words by eth_getBalance and eth_call; zeros where the rung has none."""
    words: list[bytes] = []
    marks = iter(statuses)
    for wallet in part.wallets:
        text = await node.ask("eth_getBalance", ("0x" + wallet.hex(), "latest"), str)
        words.append(int(text, 16).to_bytes(WORD))
        for token in part.tokens:
            if next(marks):
                words.append(bytes(WORD))
                continue
            result = await node.call_bytes(balance_call(wallet, token), "latest")
            words.append(result[:WORD].ljust(WORD, b"\0"))
    return b"".join(words)
