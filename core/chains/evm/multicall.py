"""Multicall3 `aggregate3` by hand: a tenth of what a general ABI library costs.

Every call of an aggregate has the same shape (one selector, one or no argument), so request
and answer are walked at fixed strides. Source: Multicall3 (mds1), Solidity ABI specification.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.chains.evm.scanner import REVERTED, SHORT, WORD, BlockWords

ADDRESS = bytes.fromhex("ca11bde05977b3631167028862be2a173976ca11")
# The key that deployed it leaked, and on one chain other code stands at the address: only this
# code is trusted (keccak-256 of the 3,808 bytes of runtime code).
CODE_HASH = "d5c15df687b16f2ff992fc8d767b4216323184a2bbc6ee2f9c398c318e770891"

AGGREGATE3 = bytes.fromhex("82ad56cb")  # aggregate3((address,bool,bytes)[])
GET_ETH_BALANCE = bytes.fromhex("4d2301cc")  # getEthBalance(address)
BALANCE_OF = bytes.fromhex("70a08231")  # balanceOf(address)
BLOCK_CALLS = (
    bytes.fromhex("3408e470"),  # getChainId()
    bytes.fromhex("42cbb15c"),  # getBlockNumber()
    bytes.fromhex("0f28c97d"),  # getCurrentBlockTimestamp()
    bytes.fromhex("27e86d6e"),  # getLastBlockHash()
)


class MulticallLayoutError(ValueError):
    """An answer that is no `(bool,bytes)[]` of the expected length."""


def _word(value: int) -> bytes:
    return value.to_bytes(WORD, "big")


def encode(wallets: Sequence[bytes], tokens: Sequence[bytes], multicall: bytes = ADDRESS) -> bytes:
    """Calldata that asks for the block words, then native and tokens of each wallet."""
    pad = bytes(12)
    # (target, allowFailure = true, offset of bytes, its length, selector + argument, padding)
    no_argument = [
        pad + multicall + _word(1) + _word(96) + _word(4) + selector + bytes(28)
        for selector in BLOCK_CALLS
    ]
    tail = _word(1) + _word(96) + _word(36)
    heads = [pad + multicall + tail + GET_ETH_BALANCE + pad]
    heads += [pad + token + tail + BALANCE_OF + pad for token in tokens]
    items = [head + wallet + bytes(28) for wallet in wallets for head in heads]
    count = len(no_argument) + len(items)
    offsets: list[bytes] = []
    at = count * WORD
    for item in no_argument:
        offsets.append(_word(at))
        at += len(item)
    size = len(items[0]) if items else 0
    offsets += [_word(at + i * size) for i in range(len(items))]
    return b"".join([AGGREGATE3, _word(WORD), _word(count), *offsets, *no_argument, *items])


def decode(answer: bytes, wallets: int, tokens: int) -> tuple[BlockWords, bytes, bytes]:
    """Block words, value words and statuses as the scanner would have returned them.

    Raises MulticallLayoutError.
    """
    width = tokens + 1
    count = len(BLOCK_CALLS) + wallets * width
    number = int.from_bytes
    if len(answer) < 2 * WORD * (count + 1) or number(answer[WORD : 2 * WORD], "big") != count:
        raise MulticallLayoutError(f"multicall3 answered {len(answer)} bytes for {count} calls")
    base = 2 * WORD
    words: list[bytes] = []
    statuses = bytearray()
    empty = bytes(WORD)
    for index in range(count):
        # Offsets are below 2^32, so their last four bytes say all.
        slot = base + index * WORD
        item = base + number(answer[slot + 28 : slot + WORD], "big")
        length = number(answer[item + 2 * WORD + 24 : item + 3 * WORD], "big")
        if item + 3 * WORD > len(answer):
            raise MulticallLayoutError("multicall3 answered an offset outside of its answer")
        status = 0
        if not answer[item + WORD - 1]:
            status = REVERTED
        elif length < WORD:
            status = SHORT + length
        word = empty if status else answer[item + 3 * WORD : item + 4 * WORD]
        if len(word) != WORD:
            raise MulticallLayoutError("multicall3 answered an incomplete word")
        words.append(word)
        column = (index - len(BLOCK_CALLS)) % width
        if index >= len(BLOCK_CALLS) and column:
            statuses.append(status)
        elif status:
            raise MulticallLayoutError("multicall3 could not read a native balance or the block")
    chain_id, block, time_s = (number(word, "big") for word in words[:3])
    return (
        BlockWords(chain_id, block, time_s, f"0x{words[3].hex()}"),
        b"".join(words[len(BLOCK_CALLS) :]),
        bytes(statuses),
    )
