"""EngineClient: the EngineApi of an engine in another process, over its Unix socket.

A call that finds nobody raises EngineLostError; whoever holds the client may try `state`
again. The client keeps nothing but the engine's instance, so that a restarted engine is
recognised and asked for everything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from core.api import (
    AccountTotals,
    BackupView,
    Command,
    CommandRefusedError,
    CustodyView,
    EngineLostError,
    EngineState,
    EventQuery,
    History,
    LedgerAwayError,
    Outcome,
    PacketOutcome,
    PacketStep,
    PeerView,
    ReconciliationView,
    RestorePlan,
    RestoreRequest,
    RestoreResult,
    TransferView,
    TrialView,
    Update,
    WalletView,
)
from core.events import EventRecord
from core.model import BursarError, NoWallet, Secret
from core.service import wire
from core.telemetry.trust import trust


class EngineClient:
    """One attached reader; see `core.api.EngineApi` for what the calls mean."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._instance = ""
        transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=trust(()))
        # A command may wait for a reading of every chain; a stream for the next keep-alive.
        self._http = httpx.AsyncClient(
            transport=transport,
            base_url="http://engine",
            timeout=httpx.Timeout(30.0, connect=5.0),
            trust_env=False,
        )

    async def ping(self) -> None:
        """Return when the engine answers. Raises EngineLostError."""
        await self._call("GET", "/health/live")

    async def state(self) -> EngineState:
        state: EngineState = wire.decode_state(await self._call("GET", "/v1/state"))
        self._instance = state.instance
        return state

    async def updates(self, after_version: int, after_seq: int) -> AsyncIterator[Update]:
        query: dict[str, str | int] = {
            "instance": self._instance,
            "version": after_version,
            "seq": after_seq,
        }
        # The server writes a keep-alive every 15 s; three missing ones are a dead engine.
        timeout = httpx.Timeout(10.0, read=45.0)
        try:
            async with self._http.stream(
                "GET", "/v1/updates", params=query, timeout=timeout
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise _error(await response.aread())
                kind = ""
                async for line in response.aiter_lines():
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        body = line.removeprefix("data: ")
                        decode = wire.decode_event if kind == "event" else wire.decode_patch
                        yield decode(body)
        except httpx.TransportError as error:
            raise self._lost(error) from error
        raise EngineLostError(f"The engine behind {self._socket} closed the stream.")

    async def events(self, query: EventQuery) -> Sequence[EventRecord]:
        found: list[EventRecord] = wire.decode_events(
            await self._call(
                "GET",
                "/v1/events",
                form="records",
                after=query.after_seq,
                limit=query.limit,
                newest="1" if query.newest else "0",
                types=",".join(query.types),
                subject=query.subject,
                text=query.text,
                since=query.since_ms,
                until=query.until_ms,
            )
        )
        return found

    async def history(
        self, agent: str, chain: str, asset: str, start_ms: int, end_ms: int
    ) -> History:
        body = await self._call(
            "GET",
            "/v1/history",
            agent=agent,
            chain=chain,
            asset=asset,
            start=start_ms,
            end=end_ms,
        )
        history: History = wire.decode_history(body)
        return history

    async def sparklines(
        self, accounts: Sequence[int], start_ms: int, end_ms: int, buckets: int
    ) -> dict[int, tuple[int | None, ...]]:
        wanted = wire.SparklineRequest(tuple(accounts), start_ms, end_ms, buckets)
        body = await self._call("POST", "/v1/sparklines", content=wire.encode(wanted))
        lines: dict[int, tuple[int | None, ...]] = wire.decode_sparklines(body)
        return lines

    async def execute(self, command: Command) -> Outcome:
        body = await self._call("POST", "/v1/commands", content=wire.encode(command))
        outcome: Outcome = wire.decode_outcome(body)
        return outcome

    async def packets(self, steps: Sequence[PacketStep]) -> Sequence[PacketOutcome]:
        body = await self._call("POST", "/v1/packets", content=wire.encode(list(steps)))
        outcomes: list[PacketOutcome] = wire.decode_packet_outcomes(body)
        return outcomes

    async def transfers(
        self, peer: str, token: str, limit: int, before_ms: int = 0
    ) -> Sequence[TransferView]:
        body = await self._call(
            "GET", "/v1/ledger/transfers", peer=peer, token=token, limit=limit, before=before_ms
        )
        found: list[TransferView] = wire.decode_transfers(body)
        return found

    async def peer_balances(self) -> Sequence[PeerView]:
        found: list[PeerView] = wire.decode_peers(await self._call("GET", "/v1/ledger/accounts"))
        return found

    async def trial_balance(self) -> Sequence[TrialView]:
        found: list[TrialView] = wire.decode_trial(
            await self._call("GET", "/v1/ledger/trial-balance")
        )
        return found

    async def ledger_totals(self) -> Sequence[AccountTotals]:
        found: list[AccountTotals] = wire.decode_totals(
            await self._call("GET", "/v1/ledger/totals")
        )
        return found

    async def explain(self, peer: str, token: str, direction: str = "receivable") -> str:
        body = await self._call(
            "GET", "/v1/settlements/explain", peer=peer, token=token, direction=direction
        )
        told: dict[str, str] = wire.decode_texts(body)
        return told["explanation"]

    async def reconcile(self, agent: str = "") -> Sequence[CustodyView]:
        body = await self._call("POST", "/v1/ledger/reconcile", agent=agent)
        found: list[CustodyView] = wire.decode_custody(body)
        return found

    async def backups_at(self, source: str) -> Sequence[BackupView]:
        found: list[BackupView] = wire.decode_backups(
            await self._call("GET", "/v1/backups/at", source=source)
        )
        return found

    async def drill(self, backup: str, password: Secret) -> Outcome:
        body = wire.encode(wire.SecretRequest(password.reveal(), target=backup))
        outcome: Outcome = wire.decode_outcome(
            await self._call("POST", "/v1/backups/drill", content=body)
        )
        return outcome

    async def set_up_backups(
        self, password: Secret, recovery: Secret, *, create: bool = False
    ) -> Outcome:
        wanted = wire.KeyRequest(password.reveal(), recovery.reveal(), create=create)
        body = wire.encode(wanted)
        outcome: Outcome = wire.decode_outcome(
            await self._call("POST", "/v1/backups/key", content=body)
        )
        return outcome

    async def change_password(self, current: Secret, password: Secret, recovery: Secret) -> Outcome:
        wanted = wire.KeyRequest(password.reveal(), recovery.reveal(), current.reveal())
        outcome: Outcome = wire.decode_outcome(
            await self._call("PUT", "/v1/backups/key", content=wire.encode(wanted))
        )
        return outcome

    async def plan_restore(self, request: RestoreRequest, password: Secret) -> RestorePlan:
        body = wire.encode(wire.SecretRequest(password.reveal(), restore=request))
        plan: RestorePlan = wire.decode_plan(await self._call("POST", "/v1/restore", content=body))
        return plan

    async def apply_restore(self, plan: str, typed: str) -> RestoreResult:
        body = wire.encode({"typed": typed})
        result: RestoreResult = wire.decode_restored(
            await self._call("POST", f"/v1/restore/{quote(plan, safe='')}/apply", content=body)
        )
        return result

    async def planned_restore(self, plan: str) -> RestorePlan:
        body = await self._call("GET", f"/v1/restore/{quote(plan, safe='')}")
        found: RestorePlan = wire.decode_plan(body)
        return found

    async def discard_restore(self, plan: str) -> None:
        await self._call("DELETE", f"/v1/restore/{quote(plan, safe='')}")

    async def undo_restore(self, typed: str) -> RestoreResult:
        body = wire.encode({"typed": typed})
        result: RestoreResult = wire.decode_restored(
            await self._call("POST", "/v1/restore/undo", content=body)
        )
        return result

    async def reconciliation(self) -> ReconciliationView | None:
        found: ReconciliationView | None = wire.decode_reconciliation(
            await self._call("GET", "/v1/restore")
        )
        return found

    async def verify_seed(self, words: Secret) -> Outcome:
        body = wire.encode(wire.SecretRequest(words.reveal()))
        outcome: Outcome = wire.decode_outcome(
            await self._call("POST", "/v1/seed/verify", content=body)
        )
        return outcome

    async def unlock_seed(self, password: Secret) -> Outcome:
        body = wire.encode(wire.SecretRequest(password.reveal()))
        outcome: Outcome = wire.decode_outcome(
            await self._call("POST", "/v1/seed/unlock", content=body)
        )
        return outcome

    async def wallets(self, agent: str = "") -> Sequence[WalletView]:
        found: list[WalletView] = wire.decode_wallets(
            await self._call("GET", "/v1/wallets", agent=agent)
        )
        return found

    async def close(self) -> None:
        await self._http.aclose()

    async def _call(
        self, method: str, path: str, content: bytes | None = None, **query: str | int
    ) -> bytes:
        timeout: Any = httpx.USE_CLIENT_DEFAULT
        if path.startswith("/v1/ledger/"):  # may look at every account
            timeout = httpx.Timeout(180.0, connect=5.0)
        if path == "/v1/commands" or path.startswith(("/v1/restore", "/v1/backups/")):
            timeout = httpx.Timeout(None, connect=5.0)  # takes as long as the work does
        try:
            response = await self._http.request(
                method, path, content=content, params=query, timeout=timeout
            )
        except httpx.TransportError as error:
            raise self._lost(error) from error
        if response.status_code != httpx.codes.OK:
            raise _error(response.content)
        return response.content

    def _lost(self, error: Exception) -> EngineLostError:
        reason = str(error) or type(error).__name__
        return EngineLostError(f"The engine behind {self._socket} does not answer: {reason}.")


def _error(body: bytes) -> BursarError:
    """The error that the engine raised, raised here as the same kind."""
    fault: wire.Fault = wire.decode_fault(body)
    kinds: dict[str, type[BursarError]] = {
        "refused": CommandRefusedError,
        "ledger-away": LedgerAwayError,
        "no-wallet": NoWallet,
        "bad-request": wire.WireError,
    }
    return kinds.get(fault.kind, BursarError)(fault.message)
