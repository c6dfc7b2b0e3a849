"""Which rung an endpoint gets: probed on first contact with one wallet, best rung first.

Also what the scanner's own block words prove: that the node is on the right chain and really
ran at the block it was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.chains.evm.node import EvmNode
from core.chains.evm.rungs import Rung, Slice
from core.chains.evm.scanner import BlockWords
from core.chains.failures import EndpointError, FailureKind
from core.model import BlockRef

PINS = ("hash", "number", "latest")

# Failures that speak of the technique; all others speak of the endpoint and end the probe.
_TECHNIQUE = frozenset(
    {
        FailureKind.NO_METHOD,
        FailureKind.INVALID,
        FailureKind.RPC,
        FailureKind.REVERTED,
        FailureKind.GAS,
        FailureKind.TOO_LARGE,
        FailureKind.INCONSISTENT,
    }
)
_BLOCK_MISSES = 3  # a balancer's backend may lag; an endpoint that never knows hashes exists too


def speaks_of_technique(error: EndpointError) -> bool:
    """Whether a rung that failed this way is to be left for the next one."""
    return error.kind in _TECHNIQUE


async def settle(
    node: EvmNode, rungs: Sequence[Rung], sample: Slice, block: BlockRef, chain_id: int | None
) -> Rung:
    """The best rung that reads `sample` at `block`, and how it can be pinned.

    A rung remembered from earlier is tried first. Raises EndpointError where the endpoint
    failed, or where no rung works.
    """
    remembered = node.remembered_rung
    ordered = sorted(rungs, key=lambda rung: rung.name != remembered)
    for rung in ordered:
        if rung.name in node.unusable:
            continue
        error = await _try(node, rung, sample, block, chain_id)
        if error is None:
            return rung
        node.unusable[rung.name] = str(error)
    node.endpoint.rung = ""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in node.unusable.items())
    node.unusable.clear()  # after the back-off everything is tried again
    raise EndpointError(FailureKind.NO_METHOD, f"no way to read balances works ({reasons})")


async def _try(
    node: EvmNode, rung: Rung, sample: Slice, block: BlockRef, chain_id: int | None
) -> EndpointError | None:
    """Read the sample with each way of pinning; None when one worked and is noted."""
    last = EndpointError(FailureKind.NO_METHOD)
    try:
        await rung.ready(node)
    except EndpointError as error:
        if not speaks_of_technique(error):
            raise
        return error
    for pin in PINS:
        try:
            answer = await rung.read(node, sample, node.at(block, pin))
            if answer.block is not None:
                check(answer.block, block, chain_id, pin)
        except EndpointError as error:
            if error.kind is FailureKind.NO_BLOCK:
                node.block_misses += 1
                if node.block_misses < _BLOCK_MISSES:
                    raise
            elif not speaks_of_technique(error):
                raise
            last = error
        else:
            node.block_misses = 0
            node.settle_on(rung.name, pin)
            return None
    return last


def check(words: BlockWords, block: BlockRef, chain_id: int | None, pin: str) -> None:
    """Hold the block words to the block that was asked for.

    NUMBER is another chain's on some rollups (Arbitrum answers with L1's), so only TIMESTAMP
    decides, and the parent hash where the number agrees. Block 0 has no usual environment.
    Raises EndpointError(WRONG_CHAIN or INCONSISTENT).
    """
    if chain_id is not None and words.chain_id != chain_id:
        raise wrong_chain(words.chain_id, chain_id)
    if pin == "latest" or block.number == 0:
        return
    if words.time_s != block.time_ms // 1000:
        raise EndpointError(
            FailureKind.INCONSISTENT,
            f"asked at block {block.number} of second {block.time_ms // 1000}, "
            f"the node answered from second {words.time_s}",
        )
    known = int(words.parent, 16) != 0
    if words.number == block.number and known and block.parent and words.parent != block.parent:
        raise EndpointError(
            FailureKind.INCONSISTENT, f"the node answered from another block {block.number}"
        )


def wrong_chain(stated: int, expected: int) -> EndpointError:
    """The refusal of an endpoint of another chain."""
    words = f"the endpoint is of chain id {stated}, expected {expected}; correct its URL"
    return EndpointError(FailureKind.WRONG_CHAIN, words)
