"""`bursar run` as a process: one per directory, desks attached, killed and started again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from core.api import EventQuery, SyncNow
from core.clock import SystemClock
from core.config import load_settings
from core.engine import EngineMode, connect
from core.service.client import EngineClient
from tests.cli.shell import Home, base_config, base_node, csv_of, small_world
from tui.session import Phase, Session

FAST = '[polling]\ninterval = "1s"\n'


async def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.02)


async def serving(home: Home) -> asyncio.subprocess.Process:
    """A started `bursar run` that answers."""
    process = await home.start("run")
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60)
    assert b"Engine runs on" in line, line
    return process


@asynccontextmanager
async def desk(home: Home) -> AsyncIterator[Session]:
    """A desk's session, attached; everything of a desk but the painting."""
    settings = load_settings(str(home.config), {})
    session = Session(lambda: connect(settings, EngineMode.READ), SystemClock(), period_s=0.1)
    running = asyncio.create_task(session.run())
    try:
        await until(lambda: session.link.phase is Phase.LIVE, "the desk attaches")
        yield session
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await session.close()


def shown(session: Session) -> list[int]:
    return [record.seq for record in session.events.records]


async def test_two_desks_follow_the_same_events_through_a_kill_and_a_restart(
    tmp_path: Path,
) -> None:
    world, clock = small_world(30)
    home = Home(tmp_path)
    (tmp_path / "agents.csv").write_text(csv_of(world))
    async with base_node(world) as node:
        home.write_config(FAST + base_config(node.url))
        assert (await home.run("wallets", "import", "agents.csv")).code == 0
        engine = await serving(home)
        try:
            async with desk(home) as one, desk(home) as two:
                instance = (await one.api.state()).instance
                for _ in range(3):
                    clock.ms += 120_000
                    await one.api.execute(SyncNow())
                await until(lambda: shown(one) == shown(two) != [], "both show the same")
                before = shown(one)
                engine.send_signal(signal.SIGKILL)
                await engine.wait()
                await until(
                    lambda: one.link.phase is two.link.phase is Phase.LOST, "both say it is lost"
                )
                assert len(one.model.rows) == 60  # the last picture stays
                clock.ms += 600_000
                engine = await serving(home)
                await until(
                    lambda: one.link.phase is two.link.phase is Phase.LIVE, "both come back"
                )
                state = await one.api.state()
                assert state.instance != instance
                clock.ms += 600_000
                await one.api.execute(SyncNow())
                stored = [e.seq for e in await one.api.events(EventQuery(limit=10_000))]
                assert len(stored) > len(before)
                for session in (one, two):
                    await until(
                        # The engine lives on: what came after is of no matter here.
                        lambda session=session: shown(session)[: len(stored)] == stored,  # type: ignore[misc]
                        "every event is shown once, in order",
                    )
                amounts = {r.account: r.amount for r in (await one.api.state()).balances}
                for session in (one, two):
                    held = {k: r.view.amount for k, r in session.model.rows.items()}
                    assert held == amounts
        finally:
            if engine.returncode is None:
                engine.terminate()
                await engine.wait()


async def test_a_second_engine_is_refused_and_commands_go_through_the_first(
    tmp_path: Path,
) -> None:
    world, _ = small_world()
    home = Home(tmp_path)
    async with base_node(world) as node:
        home.write_config(FAST + base_config(node.url))
        engine = await serving(home)
        try:
            second = await home.run("run")
            assert second.code == 1
            assert "already owns" in second.err
            agent = world.agents[0]
            added = await home.run("wallets", "watch", agent.id, "base", agent.addresses["base"])
            assert added.code == 0, added.err
            client = EngineClient(home.data / "engine.sock")
            deadline = time.monotonic() + 60
            rows = (await client.state()).balances
            while any(row.amount is None for row in rows):
                assert time.monotonic() < deadline, rows
                await asyncio.sleep(0.05)
                rows = (await client.state()).balances
            assert len(rows) == 2  # read at once, not an interval later
            await client.close()
            assert len((await home.run("balances", "--json")).json()) == 2
        finally:
            engine.terminate()
            _, err = await engine.communicate()
        assert engine.returncode == 0, err
        assert not (home.data / "engine.sock").exists()


async def test_every_signal_that_asks_closes_cleanly(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write_config(base_config("http://127.0.0.1:9"))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        engine = await serving(home)
        engine.send_signal(number)
        out, err = await asyncio.wait_for(engine.communicate(), 60)
        assert engine.returncode == 0, err
        assert b"Engine stopped." in out
        assert err == b""
    kinds = (await home.run("export", "events")).out
    assert kinds.count("ENGINE_STARTED") == kinds.count("ENGINE_STOPPED") == 3


async def test_files_of_an_engine_are_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write_config(base_config("http://127.0.0.1:9"))
    engine = await serving(home)
    try:
        for path in [home.data, *home.data.rglob("*")]:
            mode = path.lstat().st_mode & 0o777
            assert mode & 0o077 == 0, (path, oct(mode))
        lines = home.data / "logs" / "events.jsonl"
        await until(
            lambda: lines.exists() and b"ENGINE_STARTED" in lines.read_bytes(), "event line"
        )
    finally:
        engine.terminate()
        await engine.wait()
    assert b"ENGINE_STOPPED" in lines.read_bytes()
