"""The self-test of a rung: a few of its values against single reads made with web3.

web3 is somebody else's code path from request to decoding, which is the point. It costs 35 MB and
half a second to import, for a test that an endpoint takes once: so it runs in a process of its
own, started when the endpoint has served its first reading. The URL, which may hold a key, goes
there by standard input, never as an argument.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from core.chains.evm.address import checksum
from core.chains.failures import plain
from core.model import BlockRef

if TYPE_CHECKING:
    from web3 import Web3

START_S = 30.0  # for the process to come up, on a busy machine

_BALANCE_OF = [
    {
        "name": "balanceOf",
        "type": "function",
        "stateMutability": "view",
        "inputs": [{"name": "account", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }
]


class Sample(msgspec.Struct, frozen=True):
    """One value that a rung read. `amount` is a decimal string: JSON numbers end at 2^64."""

    wallet: str
    token: str | None
    amount: str


class Outcome(msgspec.Struct, frozen=True):
    """`passed` is None where the test could not be made; `words` say what was seen."""

    passed: bool | None
    words: str


class Comparison(msgspec.Struct, frozen=True):
    """What the process is asked."""

    url: str
    samples: tuple[Sample, ...]
    block: BlockRef
    timeout_s: float


async def compare(
    url: str, samples: Sequence[Sample], block: BlockRef, timeout_s: float
) -> Outcome:
    """Read `samples` singly at `block` in a process of its own, and compare."""
    asked = msgspec.json.encode(Comparison(url, tuple(samples), block, timeout_s))
    # -P: the folder the operator stands in is not searched for a module called core.
    arguments = ("-P", "-c", f"from {__name__} import main; main()")
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=pipe, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        return Outcome(None, f"self-test not possible: {plain(str(error))}")
    try:
        async with asyncio.timeout(START_S + timeout_s * (len(samples) + 1)):
            told, complaint = await process.communicate(asked)
    except TimeoutError:
        return Outcome(None, "self-test not possible: it did not come to an end")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        return Outcome(None, f"self-test not possible: {plain(last)}")
    return msgspec.json.decode(told, type=Outcome)


def read_singly(asked: Comparison) -> Outcome:
    """Compare with web3, in the process of its own."""
    from web3 import HTTPProvider, Web3

    provider = HTTPProvider(
        asked.url, request_kwargs={"timeout": asked.timeout_s}, exception_retry_configuration=None
    )
    web3 = Web3(provider)
    number = asked.block.number
    try:
        for sample in asked.samples:
            owner = Web3.to_checksum_address(sample.wallet)
            if sample.token is None:
                single = int(web3.eth.get_balance(owner, block_identifier=number))
            else:
                contract = web3.eth.contract(
                    address=Web3.to_checksum_address(sample.token), abi=_BALANCE_OF
                )
                single = int(contract.functions.balanceOf(owner).call(block_identifier=number))
            if single != int(sample.amount):
                what = sample.token or "the native balance"
                words = f"{checksum(sample.wallet)}, {what}: read {sample.amount}, singly {single}"
                return _unless_replaced(web3, asked.block, words)
    except Exception as error:  # noqa: BLE001  # web3 raises dozens of kinds; none is a verdict
        return Outcome(None, f"self-test not possible: {type(error).__name__}")
    return Outcome(True, f"{len(asked.samples)} values agree with single reads at block {number}")


def _unless_replaced(web3: Web3, block: BlockRef, words: str) -> Outcome:
    """A difference counts only if the block is still the one the rung read at."""
    if web3.eth.get_block(block.number)["hash"].to_0x_hex() != block.hash:
        return Outcome(None, f"block {block.number} was replaced during the self-test")
    return Outcome(False, words)


def main() -> None:
    """The process: a Comparison from standard input, an Outcome to standard output."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Comparison)
    sys.stdout.buffer.write(msgspec.json.encode(read_singly(asked)))
