"""The balance scanner's bytecode and the layout of its call and result, as pure functions.

`scanner.asm` is the commented source; a test assembles it and compares. It runs as `eth_call`
in two ways: by state override (`SCANNER_ADDRESS` is given `BYTECODE`, the call's data is the
payload) or deployless (no `to`, the data is `BYTECODE` with the payload behind it, and the
result arrives as revert data).

    payload   gas cap per token read, 4 bytes | number of tokens n, 2 bytes
              | n token addresses, 20 bytes each | m wallet addresses, 20 bytes each
    result    CHAINID | NUMBER | TIMESTAMP (s) | BLOCKHASH(NUMBER - 1), 32 bytes each
              | per wallet n + 1 words: native, token 1 .. token n
              | per wallet n status bytes, one per token; 0 means the word is a value

All numbers are big-endian. A word with a status other than 0 is no value, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.model import BlockRef, BursarError

BYTECODE = bytes.fromhex(
    "368015600f57806000606037601d565b506101593803806101596060395b6060016060518060d01c61ffff16"
    "6014026066019060e01c46835243836020015242836040015260014303408360600152818303601490046014"
    "60668403046001010260051b830160800183608001836370a0823160e01b6020525b85811015610144578051"
    "60601c80602452318252906020019060665b8581101561013b57848060051c01614e20015a10610153578051"
    "60601c8015610130575a6020600060246020858bfa905a900390156101075750601f3d11156100f157506000"
    "5183525b60140191602001919260010192610095565b3b15610100573d602001610134565b6004610134565b"
    "90508590106101295780516bffffffffffffffffffffffff1681526002610134565b6001610134565b506003"
    "5b84536100df565b50601401610079565b5050839003833661015157fd5bf35b60006000fd"
)
SCANNER_ADDRESS = "0x" + b"bursar".hex().rjust(40, "0")  # no key and no contract stands there
GAS_CAP = 100_000  # per token read; USDC behind its proxy uses about 10,000
HEADER = 128
WORD = 32

REVERTED = 1
BURNT = 2
SKIPPED = 3
NO_CONTRACT = 4
SHORT = 32  # + number of bytes returned, 0 to 31


class ScanLayoutError(BursarError):
    """Bytes that are no scanner payload or no scanner result."""


class BlockWords(NamedTuple):
    """What the scanner itself saw of the block it ran in."""

    chain_id: int
    number: int
    time_s: int
    parent: str  # 0x hex; zero where the node does not know it


class ScanCall(NamedTuple):
    """A decoded payload; addresses are lower-case 0x hex."""

    gas_cap: int
    tokens: tuple[str, ...]
    wallets: tuple[str, ...]


class ScanResult(NamedTuple):
    """A split result. `words` holds wallets x (tokens + 1) words, `statuses` wallets x tokens
    bytes; both are wallet-major."""

    block: BlockWords
    words: bytes
    statuses: bytes


def encode_call(
    wallets: Sequence[bytes], tokens: Sequence[bytes] = (), gas_cap: int = GAS_CAP
) -> bytes:
    """The payload for reading native and `tokens` of `wallets` (20-byte addresses)."""
    head = gas_cap.to_bytes(4, "big") + len(tokens).to_bytes(2, "big")
    return head + b"".join(tokens) + b"".join(wallets)


def decode_call(payload: bytes) -> ScanCall:
    """The payload's parts. Raises ScanLayoutError."""
    tokens_end = 6 + 20 * int.from_bytes(payload[4:6], "big")
    if len(payload) < max(6, tokens_end) or (len(payload) - tokens_end) % 20:
        raise ScanLayoutError(f"{len(payload)} bytes are no scanner payload")
    addresses = [f"0x{payload[at : at + 20].hex()}" for at in range(6, len(payload), 20)]
    count = (tokens_end - 6) // 20
    gas_cap = int.from_bytes(payload[:4], "big")
    return ScanCall(gas_cap, tuple(addresses[:count]), tuple(addresses[count:]))


def result_size(wallets: int, tokens: int) -> int:
    """Bytes of a result."""
    return HEADER + wallets * ((tokens + 1) * WORD + tokens)


def decode_result(result: bytes, wallets: int, tokens: int) -> ScanResult:
    """Split a result into its parts without decoding the words. Raises ScanLayoutError."""
    if len(result) != result_size(wallets, tokens):
        raise ScanLayoutError(
            f"the scanner returned {len(result)} bytes for {wallets} wallets x {tokens} tokens, "
            f"not {result_size(wallets, tokens)}"
        )
    number = int.from_bytes
    block = BlockWords(
        number(result[0:32], "big"),
        number(result[32:64], "big"),
        number(result[64:96], "big"),
        f"0x{result[96:128].hex()}",
    )
    statuses_at = HEADER + wallets * (tokens + 1) * WORD
    return ScanResult(block, result[HEADER:statuses_at], result[statuses_at:])


def status_words(status: int, gas_cap: int = GAS_CAP) -> str:
    """A status in words an operator can act on."""
    if status >= SHORT:
        return f"balanceOf returned {status - SHORT} bytes instead of 32"
    return {
        REVERTED: "balanceOf reverted",
        BURNT: f"balanceOf ran out of gas ({gas_cap:,} allowed)",
        SKIPPED: f"token skipped, it ran out of gas for another wallet ({gas_cap:,} allowed)",
        NO_CONTRACT: "no contract at the token's address",
    }.get(status, f"failed with status {status}")


def payload_of(call: dict[str, object], overrides: object = None) -> bytes | None:
    """For a simulated node: the payload if this `eth_call` object runs the scanner, by override
    (`overrides` is the call's third parameter) or deployless; else None."""
    data = call.get("data", call.get("input"))
    if not isinstance(data, str) or not data.startswith("0x"):
        return None
    code = bytes.fromhex(data[2:])
    to = call.get("to")
    if to is None:
        return code[len(BYTECODE) :] if code.startswith(BYTECODE) else None
    if isinstance(overrides, dict) and str(to).lower() == SCANNER_ADDRESS:
        override = overrides.get(to)
        if isinstance(override, dict) and override.get("code") == f"0x{BYTECODE.hex()}":
            return code
    return None


def answer(
    payload: bytes,
    chain_id: int,
    block: BlockRef,
    read: Callable[[str, str | None], int | None],
) -> bytes:
    """What the scanner would return, for a simulated node.

    `read(wallet, token)` gives base units, native where token is None; None where the token's
    address holds no contract. Addresses are lower-case 0x hex. Raises ScanLayoutError.
    """
    call = decode_call(payload)
    words: list[bytes] = [
        chain_id.to_bytes(WORD, "big"),
        block.number.to_bytes(WORD, "big"),
        (block.time_ms // 1000).to_bytes(WORD, "big"),
        bytes.fromhex(block.parent[2:]).rjust(WORD, b"\0"),
    ]
    statuses = bytearray()
    for wallet in call.wallets:
        words.append((read(wallet, None) or 0).to_bytes(WORD, "big"))
        for token in call.tokens:
            amount = read(wallet, token)
            words.append((amount or 0).to_bytes(WORD, "big"))
            statuses.append(NO_CONTRACT if amount is None else 0)
    return b"".join(words) + bytes(statuses)
