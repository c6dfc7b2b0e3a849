"""rippled's messages: requests as byte templates, replies as small structs.

One struct takes every message, because a reply is decoded once and ten thousand arrive in a
cycle. Amounts leave here as exact integers. (Source: XRPL public API methods, api_version 1.)
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from core.chains.failures import EndpointError, FailureKind, plain
from core.model import BlockRef, BursarError

RIPPLE_EPOCH_S: Final = 946_684_800  # 2000-01-01 UTC, in which ledgers count their seconds
FEE_SETTINGS_INDEX: Final = b"4BC50C9B0D8515D3EAAE1E74B29A95804346C491EE1A95BF25E4AAB854A6A651"

SERVER_INFO: Final = b'{"id":%d,"command":"server_info"}'
SERVER_STATE: Final = b'{"id":%d,"command":"server_state"}'
VALIDATED_LEDGER: Final = b'{"id":%d,"command":"ledger","ledger_index":"validated"}'
LEDGER_BY_HASH: Final = b'{"id":%d,"command":"ledger","ledger_hash":"%b"}'
FEE_SETTINGS: Final = (
    b'{"id":%d,"command":"ledger_entry","index":"' + FEE_SETTINGS_INDEX + b'","ledger_hash":"%b"}'
)
SUBSCRIBE_LEDGERS: Final = b'{"id":%d,"command":"subscribe","streams":["ledger"]}'
SUBSCRIBE_ALL: Final = b'{"id":%d,"command":"subscribe","streams":["ledger","transactions"]}'

_HASH: Final = re.compile(r"[0-9A-F]{64}")
_LARGEST_SHIFT: Final = 200  # an issued amount lies between 1e-96 and 1e96


class AccountRoot(msgspec.Struct, gc=False):
    """An account's entry in the ledger: drops, and how many objects it owns."""

    balance: str = msgspec.field(name="Balance")
    owner_count: int = msgspec.field(name="OwnerCount", default=0)


class Line(msgspec.Struct, gc=False):
    """A trust line from the account's side: negative is owed by it. `account` is the peer."""

    account: str
    balance: str
    currency: str
    freeze_peer: bool = False


class LedgerHeader(msgspec.Struct):
    """A ledger's own words about itself; `close_time` counts from `RIPPLE_EPOCH_S`."""

    ledger_hash: str = ""
    ledger_index: int | str = 0
    close_time: int = 0
    parent_hash: str = ""


class FeeSettings(msgspec.Struct, rename="pascal"):
    """The voted reserves; drops as text since the XRPFees amendment, as numbers before it."""

    reserve_base_drops: str = ""
    reserve_increment_drops: str = ""
    reserve_base: int | None = None
    reserve_increment: int | None = None


class ValidatedLedger(msgspec.Struct):
    """The part of server_state that states reserves, in drops."""

    reserve_base: int
    reserve_inc: int


class ServerState(msgspec.Struct):
    """server_state's `state`."""

    validated_ledger: ValidatedLedger | None = None


class ServerInfo(msgspec.Struct):
    """server_info's `info`; a server that was given no network id leaves it out."""

    network_id: int | None = None
    server_state: str = ""
    build_version: str = ""
    clio_version: str = ""


class Result(msgspec.Struct):
    """What any of the commands used here answers."""

    account_data: AccountRoot | None = None
    lines: list[Line] | None = None
    marker: msgspec.Raw = msgspec.Raw()
    ledger_hash: str = ""
    ledger: LedgerHeader | None = None
    node: FeeSettings | None = None
    info: ServerInfo | None = None
    state: ServerState | None = None


class Message(msgspec.Struct):
    """Any message of a server: a response (`id`), a ledgerClosed or a transaction."""

    type: str = ""
    id: int | None = None
    result: Result | None = None
    error: str = ""
    error_message: str = ""
    warning: str = ""
    ledger_hash: str = ""
    ledger_index: int = 0
    ledger_time: int = 0
    txn_count: int = 0
    validated: bool = False
    meta: msgspec.Raw = msgspec.Raw()


class Reserves(msgspec.Struct, frozen=True):
    """Drops that an account may not spend: `base`, and `increment` per object owned."""

    base: int
    increment: int


decode = msgspec.json.Decoder(Message).decode


def account_info(number: int, account: bytes, ledger_hash: bytes) -> bytes:
    """The request for an account's XRP at one ledger."""
    return b'{"id":%d,"command":"account_info","account":"%b","ledger_hash":"%b"}' % (
        number,
        account,
        ledger_hash,
    )


def account_lines(
    number: int, account: bytes, ledger_hash: bytes, peer: bytes, marker: bytes
) -> bytes:
    """The request for a page of trust lines; `peer` may be empty, `marker` is JSON or empty."""
    return (
        b'{"id":%d,"command":"account_lines","account":"%b","ledger_hash":"%b","limit":400%b%b}'
        % (
            number,
            account,
            ledger_hash,
            b',"peer":"%b"' % peer if peer else b"",
            b',"marker":%b' % marker if marker else b"",
        )
    )


def ledger_of(message: Message) -> BlockRef:
    """The ledger a `ledger` command described. Raises EndpointError if it described none."""
    result = message.result
    header = result.ledger if result else None
    ledger_hash = (header.ledger_hash if header else "") or (result.ledger_hash if result else "")
    if header is None or not _HASH.fullmatch(ledger_hash):
        raise EndpointError(FailureKind.NOT_JSON, "ledger: no header in the answer")
    return BlockRef(
        int(header.ledger_index),
        ledger_hash,
        (header.close_time + RIPPLE_EPOCH_S) * 1000,
        header.parent_hash,
    )


def reserves_of(message: Message) -> Reserves | None:
    """The reserves in a ledger_entry or server_state answer; None where there are none."""
    result = message.result
    if result is None:
        return None
    if result.state is not None and result.state.validated_ledger is not None:
        ledger = result.state.validated_ledger
        return Reserves(ledger.reserve_base, ledger.reserve_inc)
    node = result.node
    if node is None:
        return None
    if node.reserve_base_drops and node.reserve_increment_drops:
        return Reserves(int(node.reserve_base_drops), int(node.reserve_increment_drops))
    if node.reserve_base is not None and node.reserve_increment is not None:
        return Reserves(node.reserve_base, node.reserve_increment)
    return None


def currency_code(symbol: str) -> str:
    """A currency as it stands in trust lines: three letters, or 40 hex digits for longer names.

    Raises BursarError where the symbol can be neither.
    """
    if len(symbol) == 3 and symbol.isascii():
        return symbol
    if len(symbol) == 40:
        try:
            return bytes.fromhex(symbol).hex().upper()
        except ValueError:
            pass
    if symbol.isascii() and 3 < len(symbol) <= 20:
        return symbol.encode().hex().upper().ljust(40, "0")
    raise BursarError(
        f"{symbol!r} is no XRPL currency code: give 3 letters, up to 20, or 40 hex digits"
    )


def base_units(balance: str, decimals: int) -> int:
    """A decimal text (also `1e-7`) in base units, exactly; negative where the account owes.

    Raises BursarError when it is no number or finer than `decimals`.
    """
    try:
        sign, digits, exponent = Decimal(balance).as_tuple()
    except InvalidOperation:
        raise BursarError(f"balance {plain(balance, 40)!r} is not a number") from None
    if not isinstance(exponent, int) or abs(exponent) > _LARGEST_SHIFT:
        raise BursarError(f"balance {plain(balance, 40)!r} is not an amount")
    number = int("".join(map(str, digits)))
    shift = exponent + decimals
    scale: int = 10 ** abs(shift)
    if shift >= 0:
        units = number * scale
    else:
        units, rest = divmod(number, scale)
        if rest:
            raise BursarError(
                f"balance {balance} is finer than the asset's {decimals} decimals; "
                "raise `decimals` of the asset"
            )
    return -units if sign else units


# rippled's tokens (ErrorCodes.cpp) that speak about the server and not about the account.
_SERVER_ERRORS: Final[dict[str, FailureKind]] = {
    "slowDown": FailureKind.TOO_MANY,
    "tooBusy": FailureKind.SERVER,
    "noNetwork": FailureKind.SERVER,
    "noCurrent": FailureKind.SERVER,
    "noClosed": FailureKind.SERVER,
    "notSynced": FailureKind.SERVER,
    "notReady": FailureKind.SERVER,
    "amendmentBlocked": FailureKind.SERVER,
    "failedToForward": FailureKind.SERVER,
    "lgrNotFound": FailureKind.NO_BLOCK,
    "lgrNotValidated": FailureKind.NO_BLOCK,
    "lgrIdxsInvalid": FailureKind.NO_BLOCK,
    "unknownCmd": FailureKind.NO_METHOD,
    "forbidden": FailureKind.UNAUTHORISED,
}


def server_error(message: Message) -> EndpointError | None:
    """The failure of the whole server that an error reply reports; None where it concerns the
    account asked for."""
    kind = _SERVER_ERRORS.get(message.error)
    return None if kind is None else EndpointError(kind, words_of(message))


def words_of(message: Message) -> str:
    """An error reply in one line."""
    if not message.error_message:
        return plain(message.error)
    return plain(f"{message.error}: {message.error_message}")
