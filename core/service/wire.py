"""How the engine's views, commands and events cross a process boundary.

JSON by msgspec; an amount is a decimal string, everything else as its type says. One encoder
and one decoder per type serve the server, the client and the command line's `--json`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from core.api import (
    AccountTotals,
    BackupView,
    BalanceView,
    Command,
    CustodyView,
    EngineState,
    History,
    Outcome,
    PacketOutcome,
    PacketStep,
    PeerView,
    ReconciliationView,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
    StatePatch,
    TransferView,
    TrialView,
    WalletView,
)
from core.events import EventRecord, Json, decode_amount, encode_amount, iso_utc
from core.model import BursarError

T = TypeVar("T")

_encoder = msgspec.json.Encoder(enc_hook=encode_amount)


class WireError(BursarError):
    """What came over the socket is not what this version speaks."""


class Fault(msgspec.Struct, frozen=True):
    """An error as it crosses the socket: `kind` is one of refused, no-wallet, bad-request,
    ledger-away, failed; `message` is for the operator."""

    kind: str
    message: str


class SecretRequest(msgspec.Struct, frozen=True):
    """Body of the requests that carry a password or words; only ever on the Unix socket. `target`
    is the backup of a drill."""

    secret: str
    target: str = ""
    restore: RestoreRequest | None = None

    def __repr__(self) -> str:
        return "SecretRequest(********)"


class KeyRequest(msgspec.Struct, frozen=True):
    """Body of the requests that set or change what opens seed and backups; Unix socket only."""

    password: str
    recovery: str = ""
    current: str = ""
    create: bool = False

    def __repr__(self) -> str:
        return "KeyRequest(********)"


class SparklineRequest(msgspec.Struct, frozen=True):
    """Body of POST /v1/sparklines; times in ms."""

    accounts: tuple[int, ...]
    start_ms: int
    end_ms: int
    buckets: int


def encode(value: Any) -> bytes:
    """Any view, command or builtins as JSON."""
    return _encoder.encode(value)


class Decoder:
    """Decodes one type; raises WireError that names the type and the place."""

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.json.Decoder(kind, dec_hook=decode_amount)
        self._name = getattr(kind, "__name__", str(kind))

    def __call__(self, body: bytes | str) -> Any:
        try:
            return self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise WireError(
                f"The engine's {self._name} cannot be read ({error}); are the desk and the "
                "engine of the same version?"
            ) from error


decode_state: Decoder = Decoder(EngineState)
decode_patch: Decoder = Decoder(StatePatch)
decode_event: Decoder = Decoder(EventRecord)
decode_events: Decoder = Decoder(list[EventRecord])
decode_history: Decoder = Decoder(History)
decode_sparklines: Decoder = Decoder(dict[int, tuple[int | None, ...]])
decode_sparkline_request: Decoder = Decoder(SparklineRequest)
decode_command: Decoder = Decoder(Command)
decode_outcome: Decoder = Decoder(Outcome)
decode_steps: Decoder = Decoder(list[PacketStep])
decode_packet_outcomes: Decoder = Decoder(list[PacketOutcome])
decode_transfers: Decoder = Decoder(list[TransferView])
decode_custody: Decoder = Decoder(list[CustodyView])
decode_peers: Decoder = Decoder(list[PeerView])
decode_trial: Decoder = Decoder(list[TrialView])
decode_totals: Decoder = Decoder(list[AccountTotals])
decode_texts: Decoder = Decoder(dict[str, str])
decode_wallets: Decoder = Decoder(list[WalletView])
decode_backups: Decoder = Decoder(list[BackupView])
decode_plan: Decoder = Decoder(RestorePlan)
decode_restored: Decoder = Decoder(RestoreResult)
decode_reconciliation: Decoder = Decoder(ReconciliationView | None)
decode_secret_request: Decoder = Decoder(SecretRequest)
decode_key_request: Decoder = Decoder(KeyRequest)
decode_fault: Decoder = Decoder(Fault)


def checked_ms(row: BalanceView, swept_ms: dict[str, int]) -> int:
    """When a row was last read well: its own time, or its chain's sweep if the row has no error."""
    return row.checked_ms if row.error else max(row.checked_ms, swept_ms.get(row.chain, 0))


def balance_rows(
    state: EngineState, *, agent: str = "", chain: str = "", asset: str = ""
) -> list[dict[str, Json]]:
    """Balances in the flat public form of `bursar balances --json` and GET /v1/balances.

    `asset` is a symbol (any case) or a contract. `balance` is null where a balance was never
    read; `error` is null or why the last reading failed.
    """
    assets = {a.id: a for a in state.assets}
    agents = {a.id: a for a in state.agents}
    swept = {c.name: c.swept_ms for c in state.chains}
    wanted = asset.lower()
    rows: list[dict[str, Json]] = []
    for row in state.balances:
        token = assets[row.asset]
        if (agent and row.agent != agent) or (chain and row.chain != chain):
            continue
        if wanted and wanted not in {token.symbol.lower(), (token.contract or "").lower()}:
            continue
        checked = checked_ms(row, swept)
        owner = agents.get(row.agent)
        rows.append(
            {
                "agentId": row.agent,
                "group": owner.group if owner else "",
                "chain": row.chain,
                "address": row.address,
                "token": token.symbol,
                "contract": token.contract,
                "decimals": token.decimals,
                "balance": None if row.amount is None else str(int(row.amount)),
                "reserved": str(int(row.reserved)),
                "mark": row.mark or None,
                "block": row.block or None,
                "checkedAt": iso_utc(checked) if checked else None,
                "changedAt": iso_utc(row.changed_ms) if row.changed_ms else None,
                "severity": row.severity.value,
                "problem": row.problem or None,
                "error": row.error or None,
            }
        )
    return rows
