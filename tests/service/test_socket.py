"""An engine behind its socket answers as it does in its own process."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from core.api import (
    CommandRefusedError,
    EngineLostError,
    EventQuery,
    ImportWallets,
    LedgerAwayError,
    StatePatch,
    SyncNow,
    Update,
    WalletRow,
)
from core.events import EventRecord
from core.model import NoWallet
from core.service.client import EngineClient
from core.service.server import Server, ServiceError
from tests.desk.scripted import NOW_MS, ManualClock, ScriptedEngine

HOUR_MS = 3_600_000


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[ScriptedEngine, EngineClient, Server]]:
    engine = ScriptedEngine(ManualClock())
    server = Server(engine, tmp_path / "engine.sock")
    await server.start()
    client = EngineClient(tmp_path / "engine.sock")
    try:
        yield engine, client, server
    finally:
        await client.close()
        await server.stop()


async def take(stream: AsyncIterator[Update], count: int) -> list[Update]:
    async with asyncio.timeout(60):
        return [await anext(stream) for _ in range(count)]


async def test_state_history_sparklines_and_events_arrive_equal_field_for_field(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (engine, client, _):
        state = await engine.state()
        assert await client.state() == state
        row = next(r for r in state.balances if r.amount)
        symbol = next(a.symbol for a in state.assets if a.id == row.asset)
        wanted = (row.agent, row.chain, symbol, NOW_MS - HOUR_MS, NOW_MS)
        assert await client.history(*wanted) == await engine.history(*wanted)
        span = ((row.account,), NOW_MS - HOUR_MS, NOW_MS, 8)
        assert await client.sparklines(*span) == await engine.sparklines(*span)
        query = EventQuery(limit=3, newest=True)
        assert list(await client.events(query)) == list(await engine.events(query))
        assert await client.execute(SyncNow()) == await engine.execute(SyncNow())


async def test_an_amount_beyond_64_bits_is_a_string_on_the_wire_and_exact_behind_it(
    tmp_path: Path,
) -> None:
    import msgspec

    from core.model import Amount

    async with served(tmp_path) as (engine, client, _):
        row = next(iter(engine.rows.values()))
        engine.push(balances=(msgspec.structs.replace(row, amount=Amount(2**256 - 1)),))
        seen = {r.account: r for r in (await client.state()).balances}
        assert seen[row.account].amount == 2**256 - 1
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "engine.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://e") as http:
            rows = json.loads((await http.get("/v1/balances")).content)
        assert str(2**256 - 1) in {r["balance"] for r in rows}


async def test_updates_carry_patches_and_each_event_once_in_order(tmp_path: Path) -> None:
    async with served(tmp_path) as (engine, client, _):
        state = await client.state()
        stream = client.updates(state.version, state.seq)
        first = asyncio.create_task(take(stream, 1))
        await asyncio.sleep(0.05)
        row = next(iter(engine.rows.values()))
        engine.push(balances=(row,))
        (patch,) = await first
        assert isinstance(patch, StatePatch)
        assert patch.balances == (row,)
        records = [engine.emit("TEST", "a", number=str(n)) for n in range(5)]
        assert await take(stream, 5) == records


async def test_a_stream_resumes_after_the_last_event_seen(tmp_path: Path) -> None:
    async with served(tmp_path) as (engine, client, _):
        state = await client.state()
        missed = [engine.emit("TEST", "a", number=str(n)) for n in range(3)]
        assert await take(client.updates(state.version, state.seq + 1), 2) == missed[1:]


async def test_scripts_follow_events_as_server_sent_events_with_last_event_id(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (engine, client, _):
        seq = (await client.state()).seq
        engine.emit("ONE", "a")
        second = engine.emit("TWO", "a")
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "engine.sock"))
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seq + 1)}
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://e") as http,
            http.stream("GET", "/v1/events", headers=headers) as response,
        ):
            lines = response.aiter_lines()
            got = [await anext(lines) for _ in range(3)]
        assert got[0] == f"id: {second.seq}"
        assert json.loads(got[2].removeprefix("data: ")) == second.as_json()


async def test_refusals_and_unknown_agents_keep_their_kind_and_words(tmp_path: Path) -> None:
    async with served(tmp_path) as (engine, client, _):
        engine.refuse = "a chain named nowhere does not exist"
        with pytest.raises(CommandRefusedError, match="nowhere"):
            await client.execute(ImportWallets((WalletRow("a", "nowhere", "0x"),)))
        with pytest.raises(NoWallet, match="No wallet for agent nobody"):
            await client.history("nobody", "base", "ETH", 0, 1)


async def test_garbage_is_a_bad_request_and_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as (engine, client, _):
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "engine.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://e") as http:
            for path, body in (("/v1/commands", b"{"), ("/v1/commands", b'{"type":"rm"}')):
                answer = await http.post(path, content=body)
                assert answer.status_code == 400
                assert answer.json()["kind"] == "bad-request"
            assert (await http.get("/v1/history?start=-1")).status_code == 400
            assert (await http.get("/v1/nothing")).status_code == 404
        assert engine.executed == []
        await client.state()


async def test_the_socket_is_for_its_owner_and_goes_with_the_server(tmp_path: Path) -> None:
    async with served(tmp_path):
        mode = (tmp_path / "engine.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not (tmp_path / "engine.sock").exists()


async def test_a_client_whose_engine_goes_away_says_so_and_finds_the_next_one(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (engine, client, server):
        state = await client.state()
        stream = client.updates(state.version, state.seq)
        waiting = asyncio.create_task(take(stream, 1))
        await asyncio.sleep(0.05)
        await server.stop()
        with pytest.raises(EngineLostError):
            await waiting
        with pytest.raises(EngineLostError, match="does not answer"):
            await client.state()
        engine.restore()
        again = Server(engine, tmp_path / "engine.sock")
        await again.start()
        fresh = await client.state()
        assert fresh.instance != state.instance
        record = engine.emit("AFTER", "a")
        assert await take(client.updates(fresh.version, fresh.seq), 1) == [record]
        await again.stop()


async def test_attached_readers_are_counted(tmp_path: Path) -> None:
    counts: list[int] = []
    engine = ScriptedEngine(ManualClock())
    server = Server(engine, tmp_path / "engine.sock", counts.append)
    await server.start()
    client = EngineClient(tmp_path / "engine.sock")
    state = await client.state()
    engine.emit("ONE", "a")
    stream = client.updates(state.version, state.seq)
    record = (await take(stream, 1))[0]
    assert isinstance(record, EventRecord)
    assert counts == [1]
    await stream.aclose()  # type: ignore[attr-defined]  # the client's is a generator
    async with asyncio.timeout(60):
        while counts != [1, 0]:
            engine.emit("TWO", "a")
            await asyncio.sleep(0.01)
    await client.close()
    await server.stop()


async def test_a_path_too_long_for_a_socket_is_refused_in_words(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    server = Server(ScriptedEngine(ManualClock()), deep / "engine.sock")
    with pytest.raises(ServiceError, match="shorter path"):
        await server.start()


async def test_the_ledger_answers_the_same_over_the_socket_and_its_absence_too(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (engine, client, _):
        assert list(await client.peer_balances()) == list(await engine.peer_balances())
        assert list(await client.trial_balance()) == list(await engine.trial_balance())
        assert list(await client.ledger_totals()) == list(await engine.ledger_totals())
        engine.take_ledger_away("fsync: No space left on device")
        for ask in (client.peer_balances, client.trial_balance, client.ledger_totals):
            with pytest.raises(LedgerAwayError, match="No space left"):
                await ask()
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "engine.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://e") as http:
            health = json.loads((await http.get("/health")).content)
        assert health["status"] == "degraded"
        assert "No space left" in health["ledger"]
