"""The self-test of a rung: a few of its values against single reads made with web3.

web3 is somebody else's code path from request to decoding, which is the point. It is imported
here only, in a thread, and only once an endpoint has served its first reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from core.chains.evm.address import checksum
from core.model import BlockRef

_BALANCE_OF = [
    {
        "name": "balanceOf",
        "type": "function",
        "stateMutability": "view",
        "inputs": [{"name": "account", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }
]


class Sample(NamedTuple):
    """One value that a rung read."""

    wallet: str
    token: str | None
    amount: int


class Outcome(NamedTuple):
    """`passed` is None where the test could not be made; `words` say what was seen."""

    passed: bool | None
    words: str


async def compare(
    url: str, samples: Sequence[Sample], block: BlockRef, timeout_s: float
) -> Outcome:
    """Read `samples` singly at `block` and compare."""
    return await asyncio.to_thread(_compare, url, tuple(samples), block, timeout_s)


def _compare(url: str, samples: tuple[Sample, ...], block: BlockRef, timeout_s: float) -> Outcome:
    from web3 import HTTPProvider, Web3

    provider = HTTPProvider(
        url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None
    )
    web3 = Web3(provider)
    try:
        for wallet, token, amount in samples:
            owner = Web3.to_checksum_address(wallet)
            if token is None:
                single = int(web3.eth.get_balance(owner, block_identifier=block.number))
            else:
                contract = web3.eth.contract(
                    address=Web3.to_checksum_address(token), abi=_BALANCE_OF
                )
                single = int(
                    contract.functions.balanceOf(owner).call(block_identifier=block.number)
                )
            if single != amount:
                what = token or "the native balance"
                words = f"{checksum(wallet)}, {what}: read {amount}, singly {single}"
                return _unless_replaced(web3, block, words)
    except Exception as error:  # noqa: BLE001  # web3 raises dozens of kinds; none is a verdict
        return Outcome(None, f"self-test not possible: {type(error).__name__}")
    return Outcome(True, f"{len(samples)} values agree with single reads at block {block.number}")


def _unless_replaced(web3: object, block: BlockRef, words: str) -> Outcome:
    """A difference counts only if the block is still the one the rung read at."""
    from web3 import Web3

    assert isinstance(web3, Web3)
    now = web3.eth.get_block(block.number)["hash"].to_0x_hex()
    if now != block.hash:
        return Outcome(None, f"block {block.number} was replaced during the self-test")
    return Outcome(False, words)
