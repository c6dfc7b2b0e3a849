"""The official client's types over a wire of ours: its C structs in, a book, its C structs out.

Everything of the client but the socket is real: the mixin with the verbs, the conversion into
and out of the C layout, its enums. Import only where the client is installed.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Sequence
from typing import Any

import tigerbeetle  # type: ignore[import-not-found,unused-ignore]  # an extra

from core.ledger import Book
from core.ledger.types import Account, AccountFilter, QueryFilter, Transfer

Operation = tigerbeetle.Operation
_TAKES: dict[Any, Any] = {
    Operation.CREATE_ACCOUNTS: Account,
    Operation.CREATE_TRANSFERS: Transfer,
    Operation.GET_ACCOUNT_TRANSFERS: AccountFilter,
    Operation.GET_ACCOUNT_BALANCES: AccountFilter,
    Operation.QUERY_ACCOUNTS: QueryFilter,
    Operation.QUERY_TRANSFERS: QueryFilter,
}


def wired_client(book: Book, limit: int = 8_189, reply: asyncio.Event | None = None) -> Any:
    """A class to stand for `ClientAsync`, answering from a book. It takes at most `limit`
    events, and answers nothing while `reply` is given and not set."""

    class WiredClient(tigerbeetle.AsyncStateMachineMixin):  # type: ignore[misc,unused-ignore]  # Any without it
        def __init__(self, cluster_id: int, replica_addresses: str) -> None:
            pass

        async def _submit(
            self, operation: Any, operations: Sequence[Any], c_event: Any, c_result: Any
        ) -> list[Any]:
            array = (c_event * len(operations))(*map(c_event.from_param, operations))
            received = (c_event * len(operations)).from_buffer_copy(bytes(array))
            asked = [event.to_python() for event in received]
            size = asked[0].limit if operation in _FILTERS else len(asked)
            if size > limit:
                raise tigerbeetle.TooMuchDataError
            answered = _ask(book, operation, asked)
            packed = (c_result * len(answered))(*map(c_result.from_param, answered))
            if reply is not None:
                await reply.wait()
            ctypes.memset(ctypes.byref(array), 0, ctypes.sizeof(array))
            return [row.to_python() for row in packed]

        async def close(self) -> None:
            pass

    return WiredClient


_FILTERS = tuple(_TAKES)[2:]


def _ask(book: Book, operation: Any, asked: Sequence[Any]) -> Sequence[Any]:
    if operation in (Operation.LOOKUP_ACCOUNTS, Operation.LOOKUP_TRANSFERS):
        verb = (
            book.lookup_accounts if operation.name.endswith("ACCOUNTS") else (book.lookup_transfers)
        )
        return verb(list(asked))
    kind = _TAKES[operation]
    names = [name for name in kind.__struct_fields__ if name != "reserved"]
    rows = [kind(**{name: getattr(row, name) for name in names}) for row in asked]
    given = rows[0] if operation in _FILTERS else rows
    answer: Sequence[Any] = getattr(book, operation.name.lower())(given)
    return answer
