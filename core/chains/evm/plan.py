"""From requests to what is asked, and from answers back to amounts.

Requests become groups (the same tokens for many wallets), each wallet once per group. A group
keeps its last answer, so that a cycle decodes only the stretches of words that differ. Pure:
nothing here asks anyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from core.chains.evm.address import to_bytes
from core.chains.evm.scanner import WORD
from core.chains.protocol import AddressError
from core.model import Request

STRETCH = 32 * WORD  # compared and decoded as one
GROUP_COST = 500  # reads' worth: what one more request is reckoned at

Pair = tuple[bytes, bytes | None]  # wallet, token (None is native)


class Group:
    """Wallets read for the same tokens, `reads` words in all. `positions[i]` is the request that
    word i answers, -1 where nobody asked; words are wallet-major, native first."""

    def __init__(self, tokens: tuple[bytes, ...], wallets: tuple[bytes, ...]) -> None:
        self.tokens = tokens
        self.wallets = wallets
        self.width = len(tokens) + 1
        self.reads = len(wallets) * self.width
        self.positions: Sequence[int] = ()
        self.values: list[int] = [0] * self.reads
        self.calls: dict[tuple[int, int], str] = {}  # calldata by slice of wallets
        self._words = bytearray(self.reads * WORD)

    def take(self, first_wallet: int, words: bytes) -> None:
        """Take up the words of a slice of wallets; equal stretches are not decoded again.

        The memory starts as zeros and zeros are what `values` starts as, so the two agree."""
        start = first_wallet * self.width * WORD
        known = self._words
        values = self.values
        from_bytes = int.from_bytes
        for at in range(0, len(words), STRETCH):
            piece = words[at : at + STRETCH]
            here = start + at
            if known[here : here + len(piece)] != piece:
                known[here : here + len(piece)] = piece
                index = here // WORD
                values[index : index + len(piece) // WORD] = [
                    from_bytes(piece[k : k + WORD], "big") for k in range(0, len(piece), WORD)
                ]

    def pour(self, amounts: list[int | None]) -> None:
        """Write the values to the requests they answer."""
        positions = self.positions
        if isinstance(positions, range):
            amounts[positions.start : positions.stop] = self.values
            return
        for position, value in zip(positions, self.values, strict=True):
            if position >= 0:
                amounts[position] = value


class Plan:
    """How a sequence of requests is read. `unreadable` are requests with a malformed address
    and why; `copies` are (to, from) for requests that repeat an earlier one."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.unreadable: dict[int, str] = {}
        self.copies: list[tuple[int, int]] = []
        first: dict[Pair, int] = {}
        known: dict[str, bytes] = {}
        for index, request in enumerate(requests):
            try:
                pair = (
                    _address(request.address, known),
                    None if request.asset.contract is None
                    else _address(request.asset.contract, known),
                )  # fmt: skip
            except AddressError as error:
                self.unreadable[index] = str(error)
                continue
            earlier = first.setdefault(pair, index)
            if earlier != index:
                self.copies.append((index, earlier))
        self.groups = _groups(first)
        for group in self.groups:
            group.positions = _positions(group, first)

    @property
    def reads(self) -> int:
        """Words that are read in one cycle."""
        return sum(group.reads for group in self.groups)

    def amounts(self, failed: Iterable[int], found: Mapping[int, int]) -> list[int | None]:
        """Amounts in the order of the requests: None for those in `failed`, and those in
        `found` as they stand there."""
        amounts: list[int | None] = [None] * len(self.requests)
        for group in self.groups:
            group.pour(amounts)
        for index in failed:
            amounts[index] = None
        for index, amount in found.items():
            amounts[index] = amount
        for to, source in self.copies:
            amounts[to] = amounts[source]
        return amounts


def _address(text: str, known: dict[str, bytes]) -> bytes:
    found = known.get(text)
    if found is None:
        found = known[text] = to_bytes(text)
    return found


def _groups(first: dict[Pair, int]) -> tuple[Group, ...]:
    """The cheapest of three ways to cover the pairs: every wallet for every token, one group
    per set of tokens, one group per token."""
    sets: dict[bytes, dict[bytes, None]] = {}
    natives = False
    for wallet, token in first:
        tokens = sets.setdefault(wallet, {})
        if token is None:
            natives = True
        else:
            tokens[token] = None
    every = dict.fromkeys(token for tokens in sets.values() for token in tokens)
    by_set: dict[frozenset[bytes], list[bytes]] = {}
    by_token: dict[bytes | None, list[bytes]] = {}
    for wallet, tokens in sets.items():
        by_set.setdefault(frozenset(tokens), []).append(wallet)
        for token in tokens:
            by_token.setdefault(token, []).append(wallet)
    if natives:
        by_token[None] = list(sets)
    ways: list[list[tuple[tuple[bytes, ...], list[bytes]]]] = [
        [(tuple(every), list(sets))],
        [(tuple(t for t in every if t in tokens), wallets) for tokens, wallets in by_set.items()],
        [(() if token is None else (token,), wallets) for token, wallets in by_token.items()],
    ]
    cheapest = min(ways, key=lambda way: sum((len(t) + 1) * len(w) + GROUP_COST for t, w in way))
    return tuple(Group(tokens, tuple(wallets)) for tokens, wallets in cheapest if wallets)


def _positions(group: Group, first: dict[Pair, int]) -> Sequence[int]:
    """A group's `positions`: a range where its words answer requests in a row, as those of a
    fleet do. A pair read by two groups is answered by both, with the same block's value, so it
    does not matter which comes last."""
    columns: tuple[bytes | None, ...] = (None, *group.tokens)
    positions = [first.get((wallet, token), -1) for wallet in group.wallets for token in columns]
    in_a_row = range(positions[0], positions[0] + len(positions))
    return in_a_row if positions[0] >= 0 and positions == list(in_a_row) else positions
