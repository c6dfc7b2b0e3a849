"""What rippled says: commands in, replies out, from a `SimulatedChain`; no socket here.

Reply shapes are api_version 1 and held by tests to recorded fixtures. Trust lines come from a
function, because a SimulatedChain answers for one asset at a time and cannot list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from core.demo.protocol import Fault, FaultPlan, SimulatedChain
from core.events import Json
from core.model import Asset, BlockRef

RIPPLE_EPOCH_S: Final = 946_684_800  # 2000-01-01, in which ledgers count their seconds
FEE_SETTINGS_INDEX: Final = "4BC50C9B0D8515D3EAAE1E74B29A95804346C491EE1A95BF25E4AAB854A6A651"


class TrustLine(msgspec.Struct, frozen=True):
    """One line as account_lines shows it, from the account's own side; `balance` is a decimal
    text and negative where the account owes. `account` is the other party."""

    account: str
    balance: str
    currency: str
    limit: str = "1000000000"
    limit_peer: str = "0"
    quality_in: int = 0
    quality_out: int = 0
    no_ripple: bool = True
    freeze_peer: bool = False


LinesOf = Callable[[str, int], Sequence[TrustLine]]
"""Trust lines of an address at a ledger number."""


def lines_from(chain: SimulatedChain, assets: Sequence[Asset]) -> LinesOf:
    """Lines for the issued currencies among `assets`: one where the chain knows a balance."""
    issued = [asset for asset in assets if asset.contract is not None]

    def lines(address: str, number: int) -> Sequence[TrustLine]:
        found = []
        for asset in issued:
            amount = chain.balance(address, asset.contract, number)
            if amount is not None:
                value = Decimal(amount).scaleb(-asset.decimals).normalize()
                found.append(TrustLine(str(asset.contract), f"{value:f}", asset.symbol))
        return found

    return lines


class Fees(msgspec.Struct):
    """Reserves in drops, as validators vote them; assign to change them from then on."""

    reserve_base: int = 1_000_000
    reserve_inc: int = 200_000
    base_fee: int = 10


class Command(msgspec.Struct):
    """The parameters this server reads; others are allowed and ignored, as rippled does."""

    command: str = ""
    id: Json = None
    account: str = ""
    ledger_hash: str = ""
    ledger_index: str | int = "validated"
    index: str = ""
    limit: int = 0
    marker: str = ""
    peer: str = ""
    streams: list[str] = []


class Refused(Exception):
    """An error reply: rippled's token, code and message."""

    def __init__(self, error: str, code: int, message: str) -> None:
        super().__init__(message)
        self.error, self.code, self.message = error, code, message


class LedgerReplies:
    """The replies of one server. `page` is the most trust lines in one reply."""

    def __init__(
        self, chain: SimulatedChain, faults: FaultPlan, lines: LinesOf, fees: Fees, page: int
    ) -> None:
        self.served = 0  # account_info and account_lines answered with a result
        self.asked: set[str] = set()  # every account that anyone asked for
        self._chain = chain
        self._faults = faults
        self._lines = lines
        self._fees = fees
        self._page = page
        self._stuck: BlockRef | None = None

    def answer(self, command: Command) -> bytes:
        """The reply to any command but subscribe and unsubscribe."""
        try:
            if command.command == "account_info":
                return self._account_info(command)
            return success(command, self._result(command))
        except Refused as refusal:
            return failure(command, refusal)

    def _result(self, command: Command) -> dict[str, Json]:
        match command.command:
            case "server_info":
                return {"info": self._server_info()}
            case "server_state":
                return {"state": self._server_state()}
            case "ledger":
                return self._ledger(command)
            case "ledger_entry":
                return self._ledger_entry(command)
            case "account_lines":
                return self._account_lines(command)
            case "ping":
                return {}
            case "":
                raise Refused("missingCommand", 86, "Missing command entry.")
            case _:
                raise Refused("unknownCmd", 32, "Unknown method.")

    def _account_info(self, command: Command) -> bytes:
        """Written out by hand: the one reply that is sent ten thousand times a cycle."""
        ledger = self._ledger_asked(command)
        account = command.account
        self.asked.add(account)
        balance = self._chain.balance(account, None, ledger.number)
        if balance is None:
            raise _NotFound(account, ledger)
        self.served += 1
        owned = self._chain.owner_count(account, ledger.number)
        return (
            f'{{"id":{msgspec.json.encode(command.id).decode()},"result":{{"account_data":{{'
            f'"Account":"{account}","Balance":"{balance}","Flags":0,'
            f'"LedgerEntryType":"AccountRoot","OwnerCount":{owned},'
            f'"PreviousTxnID":"{ledger.hash}","PreviousTxnLgrSeq":{ledger.number},'
            f'"Sequence":23,"index":"{ledger.hash}"}},'
            f'"ledger_hash":"{ledger.hash}","ledger_index":{ledger.number},"validated":true}},'
            f'"status":"success","type":"response"}}'
        ).encode()

    def _account_lines(self, command: Command) -> dict[str, Json]:
        ledger = self._ledger_asked(command)
        self.asked.add(command.account)
        if self._chain.balance(command.account, None, ledger.number) is None:
            raise _NotFound(command.account, ledger)
        self.served += 1
        lines = self._lines(command.account, ledger.number)
        limit = min(command.limit or self._page, self._page)
        start = 0
        if command.marker:
            start = int(command.marker.rpartition(",")[2])
        page = lines[start : start + limit]
        result: dict[str, Json] = {
            "account": command.account,
            "ledger_hash": ledger.hash,
            "ledger_index": ledger.number,
            "lines": [
                msgspec.to_builtins(line)
                for line in page
                if not command.peer or line.account == command.peer
            ],
            "validated": True,
        }
        if start + limit < len(lines):
            result["limit"] = limit
            result["marker"] = f"{ledger.hash},{start + limit}"
        return result

    def _ledger(self, command: Command) -> dict[str, Json]:
        ledger = self._ledger_asked(command)
        return {
            "ledger": {
                "account_hash": ledger.hash,
                "close_flags": 0,
                "close_time": _ripple_time(ledger),
                "close_time_resolution": 10,
                "closed": True,
                "ledger_hash": ledger.hash,
                "ledger_index": str(ledger.number),
                "parent_hash": ledger.parent or "0" * 64,
                "total_coins": "99988221902770000",
                "transaction_hash": "0" * 64,
            },
            "ledger_hash": ledger.hash,
            "ledger_index": ledger.number,
            "validated": True,
        }

    def _ledger_entry(self, command: Command) -> dict[str, Json]:
        ledger = self._ledger_asked(command)
        if command.index != FEE_SETTINGS_INDEX:
            raise Refused("entryNotFound", 83, "Requested ledger entry not found.")
        return {
            "index": FEE_SETTINGS_INDEX,
            "ledger_hash": ledger.hash,
            "ledger_index": ledger.number,
            "node": {
                "BaseFeeDrops": str(self._fees.base_fee),
                "Flags": 0,
                "LedgerEntryType": "FeeSettings",
                "ReserveBaseDrops": str(self._fees.reserve_base),
                "ReserveIncrementDrops": str(self._fees.reserve_inc),
                "index": FEE_SETTINGS_INDEX,
            },
            "validated": True,
        }

    def _server_info(self) -> dict[str, Json]:
        head = self.head()
        return {
            "build_version": "2.4.0",
            "complete_ledgers": f"1-{head.number}",
            "hostid": "DEMO",
            "io_latency_ms": 1,
            "last_close": {"converge_time_s": 2, "proposers": 6},
            "load_factor": 1,
            "network_id": self._network_id(),
            "peers": 21,
            "server_state": "full",
            "validated_ledger": {
                "age": 1,
                "base_fee_xrp": self._fees.base_fee / 1e6,
                "hash": head.hash,
                "reserve_base_xrp": self._fees.reserve_base / 1e6,
                "reserve_inc_xrp": self._fees.reserve_inc / 1e6,
                "seq": head.number,
            },
            "validation_quorum": 5,
        }

    def _server_state(self) -> dict[str, Json]:
        head = self.head()
        return {
            "build_version": "2.4.0",
            "complete_ledgers": f"1-{head.number}",
            "io_latency_ms": 1,
            "load_base": 256,
            "load_factor": 256,
            "network_id": self._network_id(),
            "peers": 21,
            "server_state": "full",
            "validated_ledger": {
                "base_fee": self._fees.base_fee,
                "close_time": _ripple_time(head),
                "hash": head.hash,
                "reserve_base": self._fees.reserve_base,
                "reserve_inc": self._fees.reserve_inc,
                "seq": head.number,
            },
            "validation_quorum": 5,
        }

    def _network_id(self) -> int:
        active = self._faults.current()
        wrong = active is not None and active.fault is Fault.WRONG_CHAIN
        return self._chain.chain_id + wrong

    # --- ledgers ----------------------------------------------------------------------------

    def head(self) -> BlockRef:
        """The newest validated ledger; under STALE the one it stopped at."""
        head = self._chain.head()
        active = self._faults.current()
        if active is None or active.fault is not Fault.STALE:
            self._stuck = None
            return head
        self._stuck = self._stuck or self._chain.block(active.stuck_at or head.number) or head
        return self._stuck

    def _ledger_asked(self, command: Command) -> BlockRef:
        found: BlockRef | None
        if command.ledger_hash:
            found = self._chain.block_by_hash(command.ledger_hash)
        elif isinstance(command.ledger_index, int) or command.ledger_index.isdecimal():
            found = self._chain.block(int(command.ledger_index))
        elif command.ledger_index in ("validated", "closed", "current"):
            found = self.head()
        else:
            raise Refused("invalidParams", 31, "ledgerIndexMalformed")
        if found is None or found.number > self.head().number:
            raise Refused("lgrNotFound", 21, "ledgerNotFound")
        return found

    def touched(self, number: int) -> tuple[str, ...]:
        """Of the accounts ever asked for, those that this ledger changed."""
        return tuple(a for a in self.asked if self._state(a, number) != self._state(a, number - 1))

    def _state(self, account: str, number: int) -> tuple[object, ...]:
        balance = self._chain.balance(account, None, number)
        owned = self._chain.owner_count(account, number)
        return balance, owned, tuple(self._lines(account, number))

    def ledger_closed(self, ledger: BlockRef, transactions: int) -> dict[str, Json]:
        """The ledger stream's message; `transactions` is how many the ledger holds."""
        return {
            "fee_base": self._fees.base_fee,
            "ledger_hash": ledger.hash,
            "ledger_index": ledger.number,
            "ledger_time": _ripple_time(ledger),
            "reserve_base": self._fees.reserve_base,
            "reserve_inc": self._fees.reserve_inc,
            "txn_count": transactions,
            "type": "ledgerClosed",
            "validated_ledgers": f"1-{ledger.number}",
        }

    def transaction(self, ledger: BlockRef, account: str) -> dict[str, Json]:
        """The transactions stream's message for a payment that changed `account`."""
        balance = self._chain.balance(account, None, ledger.number) or 0
        final: dict[str, Json] = {
            "Account": account,
            "Balance": str(balance),
            "Flags": 0,
            "OwnerCount": self._chain.owner_count(account, ledger.number),
            "Sequence": 24,
        }
        return {
            "engine_result": "tesSUCCESS",
            "engine_result_code": 0,
            "engine_result_message": "The transaction was applied.",
            "ledger_hash": ledger.hash,
            "ledger_index": ledger.number,
            "meta": {
                "AffectedNodes": [
                    {
                        "ModifiedNode": {
                            "FinalFields": final,
                            "LedgerEntryType": "AccountRoot",
                            "LedgerIndex": ledger.hash,
                        }
                    }
                ],
                "TransactionIndex": 0,
                "TransactionResult": "tesSUCCESS",
            },
            "status": "closed",
            "transaction": {
                "Account": account,
                "Destination": account,
                "Fee": str(self._fees.base_fee),
                "TransactionType": "Payment",
            },
            "type": "transaction",
            "validated": True,
        }


SLOW_DOWN: Final = Refused("slowDown", 10, "You are placing too much load on the server.")


class _NotFound(Refused):
    """actNotFound, which alone names account and ledger."""

    def __init__(self, account: str, ledger: BlockRef) -> None:
        super().__init__("actNotFound", 19, "Account not found.")
        self.account, self.ledger = account, ledger


def success(command: Command, result: Json) -> bytes:
    """rippled's form of a good answer."""
    return msgspec.json.encode(
        {"id": command.id, "result": result, "status": "success", "type": "response"}
    )


def failure(command: Command, refusal: Refused) -> bytes:
    """rippled's WebSocket form: the error stands at the top level, the request is copied back."""
    request = {k: v for k, v in msgspec.to_builtins(command).items() if v}
    reply: dict[str, Json] = {
        "error": refusal.error,
        "error_code": refusal.code,
        "error_message": refusal.message,
        "id": command.id,
        "request": request,
        "status": "error",
        "type": "response",
    }
    if isinstance(refusal, _NotFound):
        reply |= {
            "account": refusal.account,
            "ledger_hash": refusal.ledger.hash,
            "ledger_index": refusal.ledger.number,
            "validated": True,
        }
    return msgspec.json.encode(reply)


def decode(message: bytes | str) -> Command:
    """A command as sent; a text that is none becomes the unknown command "?"."""
    try:
        return msgspec.json.decode(message, type=Command)
    except msgspec.DecodeError:
        return Command(command="?")


def _ripple_time(ledger: BlockRef) -> int:
    return ledger.time_ms // 1000 - RIPPLE_EPOCH_S
