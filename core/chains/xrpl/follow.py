"""What the streams of a server say: new ledgers, and which accounts their transactions touched.

A public server answers 20 requests a second, so a large fleet cannot be swept every cycle. But
an account that no validated transaction touched since it was read still holds what it held. The
follower proves that it saw every transaction of every ledger (`txn_count`); where it cannot,
it says so and everything is read. (Source: XRPL subscribe, streams ledger and transactions.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Container

import msgspec

from core.chains.xrpl.wire import RIPPLE_EPOCH_S, Message
from core.model import BlockRef


class _Limit(msgspec.Struct, gc=False):
    issuer: str = ""


class _Fields(msgspec.Struct, gc=False):
    account: str = msgspec.field(name="Account", default="")
    high: _Limit | None = msgspec.field(name="HighLimit", default=None)
    low: _Limit | None = msgspec.field(name="LowLimit", default=None)


class _Node(msgspec.Struct, gc=False, rename="pascal"):
    ledger_entry_type: str = ""
    final_fields: _Fields | None = None
    new_fields: _Fields | None = None


class _Affected(msgspec.Struct, gc=False, rename="pascal"):
    created_node: _Node | None = None
    modified_node: _Node | None = None
    deleted_node: _Node | None = None


class _Meta(msgspec.Struct, gc=False, rename="pascal"):
    affected_nodes: list[_Affected] = []


_decode_meta = msgspec.json.Decoder(_Meta).decode


class Follower:
    """Fed with stream messages by `take`. `fresh` is set at every new ledger, `latest`.

    `interest` holds the addresses that matter; others are not remembered.
    """

    def __init__(self, interest: Container[str] = ()) -> None:
        self.interest = interest
        self.latest: BlockRef | None = None
        self.fresh = asyncio.Event()
        self._moved = asyncio.Event()
        self._first = 0  # the first ledger seen whole; 0 before there is one
        self._complete = 0  # every ledger from `_first` to this one was seen whole
        self._expected: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._touched: dict[str, int] = {}

    def take(self, message: Message) -> None:
        """File a stream message; others than the two kinds are ignored."""
        if message.type == "ledgerClosed":
            self._closed(message)
        elif message.type == "transaction" and message.validated:
            self._transaction(message)

    def restart(self) -> None:
        """What was seen is worth nothing any more: a gap, or another connection."""
        self._first = self._complete = 0
        self._expected.clear()
        self._seen.clear()
        self._touched.clear()

    def _closed(self, message: Message) -> None:
        number = message.ledger_index
        time_ms = (message.ledger_time + RIPPLE_EPOCH_S) * 1000
        if self.latest is not None and number != self.latest.number + 1:
            self.restart()
        self.latest = BlockRef(number, message.ledger_hash, time_ms)
        if not self._first:
            self._first = number
            self._complete = number - 1
        self._expected[number] = message.txn_count
        self._advance()
        self.fresh.set()

    def _transaction(self, message: Message) -> None:
        number = message.ledger_index
        if not self._first or number < self._first:
            return
        try:
            meta = _decode_meta(message.meta)
        except msgspec.DecodeError:
            self.restart()
            return
        for affected in meta.affected_nodes:
            for node in (affected.modified_node, affected.created_node, affected.deleted_node):
                if node is not None:
                    self._touch(node, number)
        self._seen[number] = self._seen.get(number, 0) + 1
        self._advance()

    def _touch(self, node: _Node, number: int) -> None:
        fields = node.final_fields or node.new_fields
        if fields is None:
            return
        if node.ledger_entry_type == "AccountRoot":
            parties: tuple[str, ...] = (fields.account,)
        elif node.ledger_entry_type == "RippleState":
            parties = tuple(limit.issuer for limit in (fields.high, fields.low) if limit)
        else:
            return
        for party in parties:
            if party in self.interest:
                self._touched[party] = number

    def _advance(self) -> None:
        number = self._complete + 1
        while number in self._expected and self._seen.get(number, 0) >= self._expected[number]:
            del self._expected[number]
            self._seen.pop(number, None)
            self._complete = number
            number += 1
        self._moved.set()

    async def touched(self, since: int, upto: int, patience_s: float) -> set[str] | None:
        """Addresses touched in the ledgers after `since` up to `upto`; None where they were not
        all seen whole, also not within `patience_s` (the stream runs a little behind)."""
        try:
            async with asyncio.timeout(patience_s):
                while self._complete < upto:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return None
        if not self._first or since + 1 < self._first:
            return None
        return {address for address, number in self._touched.items() if since < number <= upto}

    def forget(self, upto: int) -> None:
        """What was touched up to this ledger has been read since."""
        self._touched = {a: number for a, number in self._touched.items() if number > upto}
